"""What words ask of an ECG that is to be drawn: statements, heart rate, age, sex.

    understood("62-year-old man, AF with RVR and LBBB", codes)
    Condition(("AFIB", "CLBBB"), 130.0, 62.0, "M", "atrial fibrillation. complete left bundle branch block.", (), (…,))

1. Numbers, age and sex (tools/drawing_numbers.py).
2. Phrases, the longest first, a typing error mended, nothing taken of what is negated (tools/drawing_matching.py).
3. Medical words left over are compared with all phrases by their sentence vectors (tools/drawing_nearest.py).
4. What excludes itself or has no training label is refused (tools/drawing_checks.py); single words that no label has
   are given back as `ignored`, and all that was assumed is said in `warnings`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tools import drawing_checks as checks
from tools import drawing_matching as matching
from tools import drawing_numbers as numbers
from tools.drawing_matching import Hit, written
from tools.drawing_nearest import medical, nearest
from tools.drawing_phrases import SKIPPED, Meaning, Token, folded, phrases, sentence, tokens
from tools.errors import UsageError

__all__ = ["LONGEST", "Condition", "phrases", "sentence", "understood"]

LONGEST = 2000  # characters
HISTORY = frozenset({"history", "hx", "previous", "previously", "prior", "formerly", "former", "past"})
STAGE = frozenset("acute old chronic fresh recent evolving established akuter alter frischer antiguo agudo".split())
USUAL_BPM = {"STACH": 120.0, "SBRAD": 48.0, "SVTAC": 170.0, "PSVT": 170.0}
FAST, SLOW = 120.0, 48.0  # what the bare words tachycardia and bradycardia stand for
INFARCTIONS = ("IMI", "AMI", "ASMI", "ALMI", "ILMI", "IPMI", "IPLMI", "LMI", "PMI")
FAMILIES = (
    ("1AVB", "2AVB", "3AVB"),
    ("CLBBB", "ILBBB", "CRBBB", "IRBBB", "IVCD", "WPW", "PACE", "PVC"),
    ("LAFB", "LPFB"),
    ("LVH", "RVH", "SEHYP", "VCLVH"),
    ("LAO/LAE", "RAO/RAE"),
    ("INJAS", "INJAL", "INJLA", "INJIN", "INJIL"),
    INFARCTIONS,
    (*checks.RHYTHMS, "BIGU", "TRIGU", "PVC", "PAC", "PRC(S)", "2AVB", "3AVB"),
)  # one named makes a vague word for it superfluous
HOW = "name a finding, a rhythm, a rate, an age or a sex, as in 'atrial fibrillation at 110 bpm, woman aged 71'"


@dataclass(frozen=True)
class Condition:
    """What was understood.

    Attributes
    ----------
    statements : SCP codes that the generator was trained on, in the order of the words.
    heart_rate_bpm, age_years, sex : None where the words do not say.
    text : the statements in canonical words, a sentence each.
    ignored : words for which the training labels have none, as they were written.
    warnings : what was assumed, mended, replaced or left out, a sentence each.
    """

    statements: tuple[str, ...]
    heart_rate_bpm: float | None
    age_years: float | None
    sex: str | None
    text: str
    ignored: tuple[str, ...]
    warnings: tuple[str, ...]


def understood(prompt: str, codes: Sequence[str]) -> Condition:
    """Read a prompt; see the module.

    Parameters
    ----------
    codes : SCP codes that the generator was trained on; no other is returned.

    Raises
    ------
    UsageError : contradictions, the impossible, rhythms that cannot be drawn, nothing medical, over LONGEST characters.
    """
    if len(prompt) > LONGEST:
        raise UsageError(f"the prompt has {len(prompt)} characters; at most {LONGEST} are read")
    prompt = unicodedata.normalize("NFC", prompt)
    text = folded(prompt)
    said = numbers.read(text)
    words = matching.leads(text, matching.without(tokens(text), [*said.spans, *said.aside]))
    words, warnings = matching.mended(prompt, words)
    hits = matching.negated(words, matching.matched(words))
    taken = {i for hit in hits for i in range(hit.first, hit.last + 1)}
    rate = said.heart_rate_bpm
    bare = None if rate is not None else matching.bare_rate(words, taken)
    if bare is not None:
        rate = numbers.value(words[bare].norm)
        taken.add(bare)
        warnings.append(f"{words[bare].norm} was read as a heart rate in bpm.")
    left, absent = matching.left_over(prompt, words, taken, hits)
    past = _past(words, hits)
    meant = [hit for hit in hits if not hit.negated and hit not in past]
    for phrase, code in nearest(left).items():
        if code in codes:
            meant.append(Hit(len(words), len(words), Meaning((code,), "statements")))
            left.remove(phrase)
            warnings.append(f'"{phrase}" was read as {checks.name(code)}.')
    _refuse_unlabelled(meant, codes, rate)
    asked, more = _statements(prompt, words, meant)
    warnings += more
    if rate is None:
        rate, more = _usual_rate(prompt, words, meant, asked)
        warnings += more
    bounds = {hit.meaning.bound for hit in meant if hit.meaning.bound}
    checks.contradictions(asked, rate, bounds)
    drawn, missing, more = checks.available(asked, codes)
    warnings += [*more, *said.assumed]
    unlabelled = [written(prompt, words, hit) for hit in meant if hit.meaning.kind == "without"]
    unlabelled += [written(prompt, words, hit) for code in missing for hit in meant if code in hit.meaning.codes]
    context = [written(prompt, words, hit) for hit in (*meant, *past) if hit.meaning.kind == "context" or hit in past]
    aside = [prompt[start:end].strip() for start, end in said.aside]
    ignored = tuple(sorted({*unlabelled, *context, *left, *aside} - {""}, key=lambda one: (prompt.find(one), one)))
    if absent:
        warnings.append(f"Not drawn, as asked: {', '.join(absent)}.")
    if not drawn and rate is None:
        if unlabelled:
            raise UsageError(f"no training label for {_quoted(unlabelled)}; it can draw {_some(codes)}")
        person = (said.age_years is not None) + (said.sex is not None) + any(hit.meaning.kind == "ecg" for hit in meant)
        _refuse_nothing(person, [*left, *aside], absent)
        if said.age_years is None and said.sex is None:
            warnings.append("The words ask for no finding: any ECG may be drawn.")
    return Condition(
        drawn, rate, said.age_years, said.sex, sentence(drawn), ignored, tuple(dict.fromkeys(warnings))
    )  # fmt: skip


def _past(words: list[Token], hits: list[Hit]) -> list[Hit]:
    """Rhythms of the past give way to that of today: "history of AF, now sinus rhythm"."""
    rhythms = [hit for hit in hits if set(hit.meaning.codes) & set(checks.RHYTHMS)]
    found = []
    for hit in rhythms:
        before = [word.norm for word in words[max(0, hit.first - 3) : hit.first] if word.norm not in SKIPPED]
        if before and before[-1] in HISTORY and len(rhythms) > 1:
            found.append(hit)
    return found


def _statements(prompt: str, words: list[Token], meant: list[Hit]) -> tuple[tuple[str, ...], list[str]]:
    """Codes in the order of the words, and what was assumed for them."""
    sure = {code for hit in meant if hit.meaning.kind not in ("assumed", "healthy") for code in hit.meaning.codes}
    codes: list[str] = []
    said = []
    for hit in meant:
        meaning, phrase = hit.meaning, written(prompt, words, hit)
        if meaning.kind == "assumed" and any(sure & set(family) for family in FAMILIES if meaning.codes[0] in family):
            continue
        if meaning.kind == "healthy" and sure - checks.HARMLESS:
            continue
        codes += meaning.codes
        named = " and ".join(checks.name(code) for code in meaning.codes)
        if meaning.kind == "assumed":
            said.append(f'"{phrase}" does not say which; {named} assumed.')
        if meaning.kind == "nearest":
            said.append(f'No label of its own for "{phrase}"; drawn as {named}.')
    plain = {hit.meaning.bound for hit in meant if hit.meaning.kind == "rate" and hit.meaning.rate_bpm in (FAST, SLOW)}
    if len(plain) == 1 and not set(codes) & ({*checks.RHYTHMS, "2AVB", "3AVB"} - {"SR"}):
        codes.append("STACH" if plain == {">"} else "SBRAD")
        said.append(f"No rhythm was named with the rate; {checks.name(codes[-1])} assumed.")
    if set(codes) & {"STACH", "SBRAD", "SARRH"}:  # they say more than sinus rhythm, and are labelled instead of it
        codes = [code for code in codes if code != "SR"]
    if set(codes) & set(INFARCTIONS) and any(word.norm in STAGE for word in words):
        said.append("The training labels do not tell a fresh infarction from an old one.")
    if "STE_" in codes and set(codes) & set(INFARCTIONS):
        said.append("Most infarctions among the training labels are old: ST elevation may be slight.")
    return tuple(dict.fromkeys(codes)), said


def _usual_rate(
    prompt: str, words: list[Token], meant: list[Hit], asked: Collection[str]
) -> tuple[float | None, list[str]]:
    """The rate that words without a number stand for."""
    for hit in meant:
        if hit.meaning.rate_bpm is not None:
            bpm = hit.meaning.rate_bpm
            return bpm, [f'Heart rate assumed: {bpm:g} bpm for "{written(prompt, words, hit)}".']
    for code in asked:
        if code in USUAL_BPM:
            return USUAL_BPM[code], [f"Heart rate assumed: {USUAL_BPM[code]:g} bpm for {checks.name(code)}."]
    return None, []


def _refuse_unlabelled(meant: list[Hit], codes: Collection[str], rate: float | None) -> None:
    asked = {code for hit in meant for code in hit.meaning.codes}
    for hit in meant:
        name = hit.meaning.name
        if name == "idioventricular rhythm" and "3AVB" in asked:
            continue  # the escape rhythm that a complete block has anyway
        if hit.meaning.kind == "unlabelled":
            if name == "asystole" and rate is not None:
                raise UsageError(f"asystole at {rate:g} bpm contradicts itself: in asystole nothing beats")
            raise UsageError(
                f"{name} cannot be drawn: no training label names it; rhythms it can draw: {checks.rhythms(codes)}"
            )


def _refuse_nothing(person: int, left: list[str], absent: list[str]) -> None:
    """`person`: how many of age, sex and a word for an ECG were found."""
    if person and (not left or person > 1) and not (absent and person < 2):
        return
    if absent:
        raise UsageError(f"the words only say what is not there ({_quoted(absent)}); {HOW}")
    if (person and left) or any(any(map(str.isdigit, one)) or medical(one) for one in left):
        raise UsageError(f"no training label for {_quoted(left)}; {HOW}")
    raise UsageError(f"nothing in the prompt describes an ECG; {HOW}")


def _quoted(said: list[str]) -> str:
    return ", ".join(f'"{" ".join(one.split())[:40]}"' for one in said[:3])


def _some(codes: Collection[str]) -> str:
    """A few of the statements that can be drawn."""
    named = [checks.name(code) for code in codes]
    return ", ".join(named[:8]) + (f" and {len(named) - 8} more" if len(named) > 8 else "")
