"""Does an answer say only what the evidence says?

Six checks, each on the text alone, so that they hold for any language model:

numbers     each number stands in the evidence with the same digits and unit, said of the same quantity,
            lead, formula and recording ("QT 368 ms" does not support "PR 368 ms")
states      within, above, absent, regular, … are said of the same quantity as in the evidence
findings    each finding named is said of in the evidence in the same way: likely, uncertain, no sign of
            (agent/findings.py); a probability belongs to its finding
leads       each lead named in the answer is named in the evidence
words       each word that carries meaning stands in the evidence, findings and negations among them;
            only the grammar around them (`GLUE`) is the model's own
no evidence nothing measured, found or advised may be said at all

`problems` returns what does not hold, one line each; an empty list lets the answer pass.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from agent import findings

QUANTITIES = {
    "heart rate": "rate", "rate": "rate", "pr interval": "pr", "pr": "pr", "qrs duration": "qrs", "qrs": "qrs",
    "qrs axis": "qrs axis", "p axis": "p axis", "t axis": "t axis", "qt interval": "qt", "qt": "qt", "qtc": "qtc",
    "rr": "rr", "sd": "sd", "st level": "st", "st": "st", "r amplitude": "r", "s amplitude": "s", "t amplitude": "t",
    "q amplitude": "q", "p amplitude": "p", "ectopic beats": "ectopic", "ectopic": "ectopic",
    "sokolow-lyon voltage": "sokolow", "cornell voltage": "cornell", "peguero-lo presti voltage": "peguero",
    "p duration": "p duration", "s depth": "s", "j level": "st", "st elevation": "st", "q wave": "q",
    "probability": "probability", "threshold": "threshold",
    "p waves": "p waves", "rhythm": "rhythm", "signal quality": "quality",
    "usual": "usual", "limit": "usual", "limits": "usual",  # the number of a limit is not a measurement
}  # fmt: skip
LEAD = r"aVR|aVL|aVF|V[1-6]|III|II"
OF_A_FINDING = ("probability", "threshold")
UNITS = r"bpm|ms|mV|°|%|mm/s|mm/mV|mm|Hz|s|beats|years?|ventricular|supraventricular|leads?"
TOKEN = re.compile(
    rf"(?P<record>\b[a-z]+-\d+\b)"
    rf"|(?P<quantity>\b(?:{'|'.join(sorted(QUANTITIES, key=len, reverse=True))})\b)"
    rf"|(?P<state>\b(?:within|above|below|outside|present|absent|regular|irregular|irregularly|acceptable|usable)\b)"
    rf"|(?P<lead>\b(?:{LEAD})\b|\bI(?= -?\d)|(?<=lead )I\b)"
    rf"|(?P<number>(?<![\w.])-?\d+(?:\.\d+)?)\s?(?P<unit>(?:{UNITS})(?![a-zA-Z]))?"
    rf"(?:\s?(?:\(|by |, by )*(?P<formula>Bazett|Fridericia|Framingham|Hodges))?"
    rf"(?:\s(?:in|for)\s(?:lead\s)?(?P<place>{LEAD}|I)\b)?",
    re.IGNORECASE,
)
FORMULA = re.compile(r"Bazett|Fridericia|Framingham|Hodges", re.IGNORECASE)

GLUE = frozenset(
    (
        "a an the this that these those it its is are was were be been and or but also with of in on "
        "at for to from by as has have had there here which while both each all other than then so i we you "
        "your can could did does do measured measures shows show shown gives given found seen recording "
        "recordings ecg tracing trace lead leads value values interval duration about because says say tools "
        "tool return returned following result results respectively between "
    ).split()
)
NOT_RETURNED = "The tools did not return that for this recording."
CLINICAL = re.compile(
    r"\d|\b(normal|abnormal|healthy|safe|danger\w*|urgent\w*|infarct\w*|fibrillat\w*|flutter|block|isch\w+"
    r"|prolong\w*|tachycard\w*|bradycard\w*|hypertroph\w*|elevat\w*|depress\w*|regular|irregular|dose|mg"
    r"|you have an?|you should take|your heart|diagnos(?:is|ed) (?:is|with|of)|no sign|risk is)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Pair:
    """A number with what it is said of; None where the text does not say."""

    number: str
    unit: str | None
    quantity: str | None
    lead: str | None
    formula: str | None
    record: str | None
    finding: str | None = None  # whose probability or threshold it is

    def supports(self, claim: Pair) -> bool:
        """Whether this evidence holds the claim: equal where the claim says something, and digits always."""
        return self.number == claim.number and all(
            theirs is None or ours is None or theirs == ours
            for ours, theirs in (
                (self.unit, claim.unit),
                (self.quantity, claim.quantity),
                (self.lead, claim.lead),
                (self.formula, claim.formula),
                (self.record, claim.record),
                (self.finding, claim.finding),
            )
        )


def number_pairs(text: str) -> list[Pair]:
    """Every number of a text, with what it is said of."""
    return [pair for pair in claims(text) if pair.number[-1].isdigit()]


def claims(text: str) -> list[Pair]:
    """Every number and state of a text, with the last quantity, lead and recording named before it in its sentence.

    A state ("within", "absent") stands in the place of the number.
    """
    pairs = []
    record = None
    for sentence in re.split(r"(?<=[.!?;])\s+|\n", text):
        quantity = lead = None
        tokens = list(TOKEN.finditer(sentence))
        first = next((QUANTITIES[t["quantity"].lower()] for t in tokens if t["quantity"]), None)
        for token in tokens:
            if token["record"]:
                record, lead = token["record"].lower(), None
            elif token["quantity"]:
                quantity, lead = QUANTITIES[token["quantity"].lower()], None
            elif token["lead"]:
                lead = token["lead"].upper()
            elif token["state"]:
                pairs.append(Pair(token["state"].lower(), None, quantity or first, None, None, record))
            elif token["number"]:
                unit = token["unit"].lower() if token["unit"] else None
                formula = token["formula"].lower() if token["formula"] else _formula_before(sentence, token.start())
                where = token["place"].upper() if token["place"] else lead
                whose = _finding_before(sentence, token.start()) if quantity in OF_A_FINDING else None
                pairs.append(Pair(token["number"], unit, quantity or first, where, formula, record, whose))
    return pairs


def _finding_before(sentence: str, end: int) -> str | None:
    """The last finding named before a place, else the first of the sentence."""
    named = findings.named(sentence)
    before = [name for name, start, _ in named if start < end]
    return before[-1] if before else named[0][0] if named else None


def _formula_before(sentence: str, end: int) -> str | None:
    """The formula in "by Bazett it is 371 ms", where none follows the number."""
    if re.match(r"[^,;]*\b(?:by )(?:Bazett|Fridericia|Framingham|Hodges)", sentence[end:], re.IGNORECASE):
        return None
    found = FORMULA.findall(sentence[:end])
    return found[-1].lower() if found and re.search(r"\d", FORMULA.split(sentence[:end])[-1]) is None else None


def problems(answer: str, evidence: list[str]) -> list[str]:
    """What the answer asserts without support, one line each; [] if it holds."""
    if answer.strip() == NOT_RETURNED:
        return []
    if not evidence:
        return [f"{found[0]!r} without evidence" for found in CLINICAL.finditer(answer)]
    held = [pair for sentence in evidence for pair in claims(sentence)]
    found = [
        f"{claim.number} {claim.unit or ''} of {claim.quantity or 'nothing named'} is not in the evidence"
        for claim in claims(answer)
        if not any(pair.supports(claim) for pair in held)
    ]
    text = " ".join(evidence)
    named = {lead.upper() for lead in re.findall(rf"\b(?:{LEAD})\b", text)}
    found += findings.problems(answer, evidence)
    found += [
        f"lead {lead} is not in the evidence"
        for lead in re.findall(rf"\b(?:{LEAD})\b", answer)
        if lead.upper() not in named
    ]
    counts = " ".join(one for one in re.split(r"(?<=[.!?])\s+", answer) if "ectopic beats are" in one.lower())
    found += [  # counts of two kinds in one sentence are easily told of each other
        f"{number} is not said to be {kind}"
        for number, kind in re.findall(r"(\d+) ((?:supra)?ventricular)\b", text)
        if re.search(rf"\b{number}\b", counts) and not re.search(rf"\b{number}\b[^.]{{0,24}}\b{kind}\b", counts)
    ]
    known = _words(text) | GLUE
    return found + [f"{word!r} is not in the evidence" for word in sorted(_words(answer) - known)]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-zà-ÿ]+(?:-[a-z]+)*", text.lower()))


KINDS = {"ecg": "ecg", "ppg": "ppg", "pulse wave": "ppg", "spirogram": "spirogram", "ctg": "ctg", "recording": ""}
LOADED = re.compile(
    rf"\bonly (?:an? )?(?P<only>{'|'.join(KINDS)})s? (?:is|are) (?:loaded|here)"
    rf"|\bneeds? an? (?P<needs>{'|'.join(KINDS)})\b"
    rf"|\bno (?P<no>{'|'.join(KINDS)})s? (?:is|are) (?:loaded|here)"
    rf"|\b(?:load|upload) an? (?P<first>{'|'.join(KINDS)})\b",
    re.IGNORECASE,
)


SUBJECT = re.compile(
    r"\b(?:help|tool|do anything) (?:with|for|about) (?:(?:the|an?|your|this|that) )?(?P<subject>[a-z]+)", re.IGNORECASE
)
FOREIGN = re.compile(r"[äöüßéèêàçñ¿]|\b(?:ich|kann|nicht|je|peux|puedo|herramienta|werkzeug)\b", re.IGNORECASE)


def wrong_subject(answer: str, question: str) -> list[str]:
    """What an answer refuses that nobody asked for; one line each."""
    plain = {"that", "this", "it", "any", "recording", "recordings", "ecg", "ecgs"}
    if FOREIGN.search(answer):
        return ["without evidence it speaks a language that it hardly knows"]
    return [
        f"{match[0]!r} was not asked"
        for match in SUBJECT.finditer(answer)
        if match["subject"].lower() not in plain and match["subject"].lower()[:5] not in question.lower()
    ]


def wrong_about_loaded(answer: str, kinds: Collection[str]) -> list[str]:
    """What an answer says of the recordings that are loaded, `kinds` of them, and is not so; one line each."""
    found = []
    for match in LOADED.finditer(answer):
        kind = KINDS[(match[1] or match[2] or match[3] or match[4]).lower()]
        there = kind in kinds if kind else bool(kinds)
        if there != bool(match["only"]):
            found.append(f"{match[0]!r} is not so")
    return found
