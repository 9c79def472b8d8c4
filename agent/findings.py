"""Which findings a text names, and how it says them: likely, uncertain, suspected, no sign of, against.

An answer may name a finding only in the way in which the evidence does: "atrial fibrillation is uncertain" holds
neither "atrial fibrillation is likely", nor "the ECG shows atrial fibrillation", nor "no atrial fibrillation".

    mentions("Atrial fibrillation is likely, and no sign of LVH.")
    [Mention("AFIB", "likely", …), Mention("LVH", "no", …)]
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tools.scp import GROUPED, STATEMENTS, belongs

OTHER_NAMES = {  # as people and models write them; regular expressions
    "AFIB": r"a-?fib|af|auricular fibrillation|vorhofflimmern",
    "AFLT": r"a-?flutter|vorhofflattern|(?<!ventricular )flutter",
    "CLBBB": r"complete lbbb|clbbb|(?:complete )?left bundle[- ]branch block|lbbb",
    "CRBBB": r"complete rbbb|crbbb|(?:complete )?right bundle[- ]branch block|rbbb",
    "ILBBB": r"ilbbb|incomplete lbbb",
    "IRBBB": r"irbbb|incomplete rbbb",
    "LVH": r"lvh",
    "RVH": r"rvh",
    "MI": r"(?:heart attack|infarct(?:ion|s)?|stemi|nstemi)",
    "1AVB": r"first[- ]degree (?:av|heart|atrioventricular) block",
    "2AVB": r"second[- ]degree (?:av|heart|atrioventricular) block",
    "3AVB": r"(?:third[- ]degree|complete) (?:av|heart|atrioventricular) block",
    "WPW": r"wpw|wolff-parkinson-white(?: syndrome)?|pre-?excitation",
    "LAFB": r"lafb",
    "LPFB": r"lpfb",
    "LNGQT": r"long qt(?: interval| syndrome)?",
    "NORM": r"normal ecg|normal sinus rhythm",
    "PVC": r"pvcs?",
    "PAC": r"pacs?",
    "STTC": r"isch(?:a?emia|a?emic changes)",
    "VTACH": r"vt",
    "VFIB": r"vf",
    "PACE": r"paced|pacing|pacemaker",
    "HYP": r"hypertrophy",
}


def _patterns() -> list[tuple[str, str]]:
    """(code, expression), the longest first, so that "inferior myocardial infarction" is not read as any infarction."""
    found = []
    for code, entry in (STATEMENTS | GROUPED).items():
        name = (
            re.escape(entry.name).replace(r"bundle\-branch", "bundle[- ]branch").replace("ischemia", "isch(?:a?e)mia")
        )
        found.append((code, name))
    found += list(OTHER_NAMES.items())
    return sorted(found, key=lambda item: -len(item[1]) if item[0] in STATEMENTS else -len(item[1]) / 2)


AS_QUANTITIES = ("STE_", "QWAVE", "STD_")  # "the Q waves in III" names no finding; "Q waves are likely" does
PATTERNS = _patterns()
NAMED = re.compile("|".join(rf"(?P<n{i}>\b(?:{pattern})\b)" for i, (_, pattern) in enumerate(PATTERNS)), re.IGNORECASE)
SAID = re.compile(
    r"\b(?P<no>no signs? of|no evidence of|no|not|without|absent|excluded?|excludes|ruled out|rules out|neither|nor"
    r"|unlikely|isn't|free of)\b"
    r"|\b(?P<against>against)\b"
    r"|\b(?P<suspected>suspected|suspicion of|suspicious)\b"
    r"|\b(?P<uncertain>uncertain|unsure|possible|possibly|may be|might be|perhaps|borderline)\b"
    r"|\b(?P<likely>likely|probable|probably|certain|certainly|definite|definitely|confirmed)\b",
    re.IGNORECASE,
)
LIST = re.compile(r"\s*(?:,|and|or|nor|, and|, or|/)\s*(?:(?:a|an|the)\s+)?", re.IGNORECASE)
PREDICATE = re.compile(r"\s*(?:\([^)]*\)\s*)?(?:is|are|was|were|looks?|seems?|remains?|cannot be|:)\b")
CLAUSE = re.compile(r"(?:,|;)\s*(?:and|but|while)\s+|;\s*")


class Mention(NamedTuple):
    """A finding, how it is said ("likely", "uncertain", "suspected", "no", "against", "" for plainly), its sentence."""

    code: str
    said: str
    sentence: str


def named(sentence: str) -> list[tuple[str, int, int]]:
    """(code, start, end) of each finding that a sentence names."""
    found = []
    for match in NAMED.finditer(sentence):
        code = PATTERNS[int((match.lastgroup or "n0")[1:])][0]
        found.append((code, match.start(), match.end()))
    return found


def mentions(text: str) -> list[Mention]:
    """Every finding that a text names, with how it is said."""
    found = []
    for sentence in re.split(r"(?<=[.!?;])\s+|\n", text):
        places = named(sentence)
        said = [_said(sentence, places, i) for i in range(len(places))]
        for i in range(len(places) - 1, 0, -1):  # "A and B are likely": what is said last holds for the list before it
            if not said[i - 1] and LIST.fullmatch(sentence[places[i - 1][2] : places[i][1]]):
                said[i - 1] = said[i]
        for i in range(1, len(places)):  # "no sign of A or B"
            if not said[i] and LIST.fullmatch(sentence[places[i - 1][2] : places[i][1]]):
                said[i] = said[i - 1]
        found += [Mention(code, how, sentence) for (code, _, _), how in zip(places, said, strict=True)]
    return found


def _said(sentence: str, places: list[tuple[str, int, int]], i: int) -> str:
    """How one finding is said: by what stands before it back to the last finding, else by what follows."""
    start = places[i - 1][2] if i else 0
    stop = places[i + 1][1] if i + 1 < len(places) else len(sentence)
    before, after = sentence[start : places[i][1]], sentence[places[i][2] : stop]
    behind = list(SAID.finditer(after)) if PREDICATE.match(after) else []
    if behind:  # "P waves are absent, and A is likely": a clause that says it of its own is not told by the one before
        before = CLAUSE.split(before)[-1]
    ahead = list(SAID.finditer(before))
    if ahead and (i == 0 or not re.match(r"\s*(?:\([^)]*\)\s*)?(?:is|are|was|were|looks?)\b", before)):
        return ahead[-1].lastgroup or ""
    if ahead and i and not _verb(before[: ahead[-1].start()], ahead[0].start() == ahead[-1].start()):
        return ahead[-1].lastgroup or ""
    if behind:
        first = behind[0]
        negated = first.lastgroup == "no" and len(behind) > 1 and behind[1].start() - first.end() < 3
        return "no" if negated else first.lastgroup or ""
    return ""


def _verb(before: str, only: bool) -> bool:
    """Whether the one word that says how, in "A is likely, B …", belongs to A."""
    return only and bool(re.match(r"\s*(?:\([^)]*\)\s*)?(?:is|are|was|were|looks?)\s*$", before))


def problems(answer: str, evidence: list[str]) -> list[str]:
    """Findings that the answer says otherwise than the evidence, one line each."""
    held = [mention for sentence in evidence for mention in mentions(sentence)]
    return [
        f"{mention.code} said as {mention.said or 'a fact'} is not in the evidence"
        for mention in mentions(answer)
        if (mention.said or mention.code not in AS_QUANTITIES) and not any(_supports(one, mention) for one in held)
    ]


def _supports(held: Mention, claim: Mention) -> bool:
    """The same finding in the same way; what is said plainly ("as in …") only where the whole sentence is."""
    same = held.code == claim.code or (held.said == "likely" and belongs(held.code, claim.code))
    if not same or held.said != claim.said:
        return False
    if claim.said:
        return True
    ours, theirs = _words(held.sentence), _words(claim.sentence)
    return len(ours & theirs) >= 0.6 * len(ours)


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[\w-]+", text.lower()) if len(word) > 3}
