"""Contexts in which the fact that answers the question says the opposite, so that the right answer flips.

    opposite("Statins were not associated with falls.")   -> "Statins were associated with falls."
    altered("Is it associated with falls?", "no", text)   -> (context as it was, altered context, "yes") or None
    other_number("A QTc above 460 ms is long.")           -> ("A QTc above 580 ms is long.", "460 ms", "580 ms")

A conclusion of PubMedQA is altered only where it is plain: the answer is yes and its sentence denies nothing, or no
and it denies once; the sentence shares words with the question; one change turns it. Sentences of the abstract that
tell the result in other words would contradict the change, so they are left out of both contexts. The rules are
written for English abstracts. What they cannot turn is skipped.
"""

from __future__ import annotations

import re
import zlib

from agent.copying import DENIED
from tools.passages import spans
from tools.retrieval import tokens

LONGEST = 45  # words of an answering sentence; a longer one says several things
SHARED = 2  # words of the question that the answering sentence must hold
QUALITY = (
    "difference association correlation relationship relation effect benefit impact influence evidence advantage "
    "increase improvement role change reduction need link interaction support value risk predictor indication reason"
).replace(" ", "|")
ANTONYMS = [
    ("likely", "unlikely"), ("effective", "ineffective"), ("sufficient", "insufficient"), ("necessary", "unnecessary"),
    ("affected", "unaffected"), ("related", "unrelated"), ("able", "unable"), ("reliable", "unreliable"),
]  # fmt: skip
VERBS = (
    "improve reduce affect predict correlate provide play cause lead contribute occur offer represent allow depend "
    "enhance induce differ explain justify warrant protect reflect exist prevent prolong facilitate worsen"
).split()
PRESENT = {"has": "have"} | {verb + "s": verb for verb in VERBS}
PAST = {"had": "have", "led": "lead"} | {  # but for those that are adjectives more often ("improved outcomes")
    verb + "d" if verb.endswith("e") else verb + "ed": verb
    for verb in "predict correlate play contribute differ".split()
}
BESIDE = frozenset(  # words that open a clause beside the claim
    "who whom which that whether if although while but however, when where until because since unless".split()
)
CALL = re.compile(
    r"\b(?:further|future|prospective|more research|needed|required|warranted|least|versus|vs)\b", re.IGNORECASE
)
ADVERB = r"(?:(?:significantly|clearly|also|independently|strongly|substantially|only)\s+)?"
BE = r"is|are|was|were"
MODAL = r"can|could|should|would|will|must"
CLAUSE = re.compile(
    r"\b(?:suggest|show|indicate|demonstrate|conclude|find|found|confirm|reveal|support|imply)\w*(?:\s+the\s+\w+)?\s+that\b"
)

# first rule that fits is used, once; to deny something that is said
DENY = [
    (rf"\bthere\s+({BE})\s+(?:also\s+)?(?:an?\s+)?(?=(?:\w+\s+){{0,2}}(?:{QUALITY}))", r"there \1 no "),
    (rf"\b({BE})\s+(?=\w)", r"\1 not "),
    (r"\b(may|might|can|could)\s+(?=\w)", "cannot "),
    (rf"\b({MODAL})\s+(?=\w)", r"\1 not "),
    (r"\b(has|have|had)\s+(?=\w+ed\b|been\b)", r"\1 not "),
    (r"\b(seem|appear)s\s+(?=to|\w)", r"does not \1 "),
    (r"\b(seem|appear)ed\s+(?=to|\w)", r"did not \1 "),
    (r"\b(seem|appear)\s+(?=to|\w)", r"do not \1 "),
]
# to affirm what is denied
AFFIRM = [
    (r"\b(can)\s?not\b", r"\1"),
    (rf"\b({BE}|{MODAL}|has|have|had|may|might|do|does|did)\s+not\b", r"\1"),
    (rf"\bno\s+(?:statistically\s+|clinically\s+)?significant\s+(?=(?:\w+\s+)?(?:{QUALITY})\b)", "a significant "),
    (r"\bno\s+(?:statistically\s+|clinically\s+)?significant\s+", "significant "),
    (rf"\bno\s+(?=(?:\w+\s+){{0,2}}(?:evidence|support|benefit|{QUALITY})s\b)", "clear "),
    (r"\bno\s+(?=(?:\w+\s+){0,1}(?:evidence|support)\b)", "clear "),
    (rf"\bno\s+(?=(?:\w+\s+){{0,2}}(?:{QUALITY})\b)", "a clear "),
    (r"\bfailed to\b", "did"),
    (r"\bfails to\b", "does"),
    (r"\bfail to\b", "do"),
]
RESULT = re.compile(
    r"\bp\s*[<=>]|signific|differ|associat|correlat|\b(?:higher|lower|greater|fewer|less|more|better|worse)\b|increas|decreas"
    r"|improv|reduc|predict|\d\s*%|odds|\bOR\b|\bCI\b|similar|effect",
    re.IGNORECASE,
)
VALUE = re.compile(r"(?<![\w.\-–/])(\d+(?:\.\d+)?)\s?(ms|mV|mm|bpm|Hz|%|years|months|weeks|days|hours|s|L|beats)\b")


def opposite(sentence: str) -> str | None:
    """The sentence with its claim turned; None where no rule is sure."""
    denials = DENIED.findall(sentence)
    if len(denials) > 1:
        return None
    found = CLAUSE.search(sentence)
    start = found.end() if found else 0
    head, body = sentence[:start], sentence[start:]
    if denials and DENIED.search(head):
        return None
    for one, other in ANTONYMS:  # a word that is there: take its opposite
        if re.search(rf"\b{other}\b", body):
            return head + re.sub(rf"\b{other}\b", one, body, count=1)
    if denials:
        return _first(AFFIRM, head, body)
    if turned := _first(DENY, head, body):
        return turned
    for verbs, auxiliary in ((PRESENT, "does not"), (PAST, "did not")):
        for found in re.finditer(rf"(?<=[a-z)]) ({ADVERB})({'|'.join(verbs)})\b(?! by\b)", body):
            before = body[: found.start()].split()[-1].lower()
            if not re.fullmatch(r"with|of|for|in|and|or|to|the|an?|by|from|more|who|which|that|be|been|an", before):
                return f"{head}{body[: found.start()]} {auxiliary} {found[1]}{verbs[found[2]]}{body[found.end() :]}"
    return None


def _first(rules: list[tuple[str, str]], head: str, body: str) -> str | None:
    for pattern, put in rules:
        for found in re.finditer(pattern, body):
            if BESIDE & {*body[: found.start()].lower().split()[-6:]}:
                continue
            return head + body[: found.start()] + found.expand(put) + body[found.end() :]
    return None


def altered(question: str, answer: str, context: str, conclusion: str) -> tuple[str, str, str] | None:
    """(context, altered context, flipped answer) of a yes/no question; None where no reliable change is possible.

    Both contexts hold the sentences of the abstract that tell no result, and the one sentence of the conclusion
    that answers.
    """
    if answer not in ("yes", "no") or DENIED.search(question) or CALL.search(question):
        return None
    asked = set(tokens(question))
    sentences = [conclusion[a:b] for a, b in spans(conclusion)]
    shared = [len(asked & set(tokens(one))) for one in sentences]
    best = max(range(len(sentences)), key=lambda i: shared[i], default=None)
    if best is None or shared[best] < max(SHARED, len(asked) / 3):
        return None
    key = sentences[best]
    if bool(DENIED.search(key)) != (answer == "no") or CALL.search(key) or len(key.split()) > LONGEST:
        return None
    if re.search(r"\b(?:but|however|although|except|despite|whereas)\b", key, re.IGNORECASE):
        return None
    turned = opposite(key)
    if turned is None or turned == key or bool(DENIED.search(turned)) != (answer == "yes"):
        return None
    rest = [context[a:b] for a, b in spans(context)]
    neutral = " ".join(one for one in rest if not RESULT.search(one))
    return f"{neutral} {key}".strip(), f"{neutral} {turned}".strip(), {"yes": "no", "no": "yes"}[answer]


def other_number(sentence: str) -> tuple[str, str, str] | None:
    """The sentence with its one value changed by a fifth or more; with the value as it was and as it is now."""
    values = list(VALUE.finditer(sentence))
    if len(values) != 1:
        return None
    number, unit = values[0].groups()
    factor = (0.5, 0.6, 1.3, 1.5)[zlib.crc32(sentence.encode()) % 4]
    new = f"{float(number) * factor:.{len(number.partition('.')[2])}f}"
    if float(new) in (0, float(number)) or (unit == "%" and float(new) > 100):
        return None
    said = values[0][0].replace(number, new)
    return sentence[: values[0].start()] + said + sentence[values[0].end() :], values[0][0], said
