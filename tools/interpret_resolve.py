"""From probabilities to findings: what is said, what contradicts it, what is urgent.

`resolve` takes the calibrated probabilities of an encoder and the measurement, and gives `Finding`s in the order in
which they should be read: urgent first, then likely before uncertain, the more probable first.

1. Candidates are codes at or above their threshold; the most specific of a family stays (`tools.scp.belongs`).
2. Of rhythms that exclude each other, and of blocks that do, the most probable one that the measured rate allows stays.
3. Where the measurement speaks only against a finding, or its probability lies in its uncertain band, it is uncertain.
4. Patterns that cannot wait, and a rhythm without P waves that is irregularly irregular, are raised by the measurement
   alone; without a probability they are uncertain.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from tools import criteria, criteria_ischaemia
from tools.criteria_view import View
from tools.limits import ADULT_YEARS
from tools.scp import belongs, statement

GROUPS = ("statement", "subclass", "superclass")  # the most specific first
DEFAULT_THRESHOLD = 0.5
RHYTHMS = ("SR", "SARRH", "SBRAD", "STACH", "AFIB", "AFLT", "SVTAC", "PSVT", "PACE")  # one of them at a time
OF_SINUS = ("SARRH", "SBRAD", "STACH")  # say more than SR
RATES = {
    "STACH": (100, 400),
    "SBRAD": (0, 60),
    "SR": (40, 150),
    "SARRH": (30, 130),
    "SVTAC": (100, 400),
    "PSVT": (100, 400),
}
EXCLUDE = [
    {"CLBBB", "CRBBB", "ILBBB", "IRBBB", "IVCD"},
    {"CLBBB", "LAFB", "LPFB", "LAFB/LPFB"},
    {"WPW", "CLBBB", "CRBBB", "ILBBB", "IRBBB", "IVCD"},
    {"1AVB", "2AVB", "3AVB"},
    {"LVOLT", "LVH", "VCLVH", "HVOLT"},
]  # sets of which one stays, the most probable
WITHOUT_P = ("AFIB", "AFLT")
MANY_PVCS, MANY_PVCS_SHARE = 2, 0.05  # of the beats: so many are a finding, whatever the encoder thinks
NEED_PR = ("1AVB", "LPR")
SINUS_AXIS_DEG = (-60, 135)  # of P: one sinus rhythm in three hundred of PTB-XL lies outside
FAST_BPM = 150  # of a resting adult: none of PTB-XL's sinus tachycardias is so fast
NEED_P = ("1AVB", "2AVB", "LPR", "_AVB", "SARRH", "LAO/LAE", "RAO/RAE", "PAC")
HARMLESS = frozenset({"NORM", "SR", "SARRH", "SBRAD", "STACH"})  # may stand beside a normal ECG
OF_LIMBS = frozenset(
    {"LAFB", "LPFB", "LAFB/LPFB", "IMI", "ILMI", "IPMI", "IPLMI", "LMI", "ALMI", "ISCIN", "ISCIL", "ISCI"}
)


@dataclass(frozen=True)
class Finding:
    """One finding; `probability` is None where the measurement alone raised it."""

    code: str
    group: str
    probability: float | None
    threshold: float | None
    certainty: str  # "likely" or "uncertain"
    urgent: bool = False
    evidence: list[str] = field(default_factory=list)


def resolve(
    probabilities: dict[str, dict[str, float]],
    thresholds: dict[str, dict[str, float]],
    uncertain: dict[str, dict[str, tuple[float, float]]],
    measured: dict[str, Any],
    doubtful: Collection[str] = (),
) -> list[Finding]:
    """Findings, the most pressing first; see the module.

    Parameters
    ----------
    probabilities, thresholds, uncertain : {group: {code: …}} as an encoder gives them; may be empty.
    measured : result of `measure_ecg`.
    doubtful : codes that this recording cannot be trusted with (exchanged limb leads, pacing); they stay uncertain.
    """
    chosen = _candidates(probabilities, thresholds)
    rate = measured.get("heart_rate_bpm")
    chosen = {code: entry for code, entry in chosen.items() if _rate_allows(code, rate)}
    if measured.get("p_waves") == "absent":  # what is judged by PR has nothing to be judged by
        chosen = {code: entry for code, entry in chosen.items() if code not in NEED_PR}
    doubtful = {*doubtful, *_not_sinus(measured)}
    _one_rhythm(chosen)
    if chosen.keys() & set(WITHOUT_P):
        for code in NEED_P:
            chosen.pop(code, None)
    broad = [code for code in chosen if any(belongs(other, code) for other in chosen)]
    chosen = {code: entry for code, entry in chosen.items() if code not in broad}
    for alternatives in EXCLUDE:
        _one_of(chosen, alternatives)
    found = {code: _finding(code, *entry, thresholds, uncertain, measured, doubtful) for code, entry in chosen.items()}
    _normal_or_not(found)
    for code, sentences in urgent(measured).items():
        _raise(found, code, sentences, probabilities, thresholds, measured)
    if measured.get("atrial_fibrillation_suspected") and not found.keys() & {*WITHOUT_P, "VFIB", "VTACH"}:
        sentences = criteria.evidence("AFIB", measured).speaks_for
        _raise(found, "AFIB", sentences, probabilities, thresholds, measured, pressing=False)
        found.pop("NORM", None)
    beats = measured.get("ectopic") or {"ventricular": 0, "of": 1}
    many = beats["ventricular"] >= max(MANY_PVCS, MANY_PVCS_SHARE * beats["of"])
    if many and not found.keys() & {"PVC", "VFIB", "VTACH"}:
        sentences = criteria.evidence("PVC", measured).speaks_for
        _raise(found, "PVC", sentences, probabilities, thresholds, measured, pressing=False)
        found.pop("NORM", None)
    if any(finding.urgent for finding in found.values()):
        found.pop("NORM", None)
    return sorted(found.values(), key=_pressing)


def _not_sinus(measured: dict[str, Any]) -> set[str]:
    """Codes that the measurement forbids to be sure of: a heart that fibrillates, or P waves from elsewhere."""
    if measured.get("atrial_fibrillation_suspected"):
        return {"NORM", "SR", *OF_SINUS}
    axis = measured.get("p_axis_deg")
    return {"SR", *OF_SINUS} if axis is not None and not SINUS_AXIS_DEG[0] <= axis <= SINUS_AXIS_DEG[1] else set()


def _normal_or_not(found: dict[str, Finding]) -> None:
    """No normal ECG beside a pathological finding; an uncertain, less probable form gives way to the normal."""
    if "NORM" not in found:
        return
    sure = found["NORM"].probability or 0.0
    for code in [code for code in found if code not in HARMLESS]:
        finding = found[code]
        form = not statement(code).superclass and statement(code).part != "rhythm"
        if form and finding.certainty == "uncertain" and (finding.probability or 0.0) <= sure:
            del found[code]
    if found.keys() - HARMLESS:
        del found["NORM"]


def _pressing(finding: Finding) -> tuple[bool, bool, bool, float]:
    """Urgent, then likely, then what is not plain sinus rhythm, then probable."""
    plain = finding.code in HARMLESS - {"NORM"}
    return (not finding.urgent, finding.certainty != "likely", plain, -(finding.probability or 0.0))


def threshold_of(code: str, group: str, thresholds: dict[str, dict[str, float]]) -> float:
    return thresholds.get(group, {}).get(code, DEFAULT_THRESHOLD)


def _candidates(
    probabilities: dict[str, dict[str, float]], thresholds: dict[str, dict[str, float]]
) -> dict[str, tuple[str, float]]:
    """{code: (group, probability)} of what reaches its threshold, each code from its most specific group."""
    found: dict[str, tuple[str, float]] = {}
    for group in GROUPS:
        for code, probability in probabilities.get(group, {}).items():
            if code not in found and probability >= threshold_of(code, group, thresholds):
                found[code] = (group, float(probability))
    return found


def _rate_allows(code: str, rate: float | None) -> bool:
    if code not in RATES or rate is None:
        return True
    low, high = RATES[code]
    return low <= rate <= high


def _one_rhythm(chosen: dict[str, tuple[str, float]]) -> None:
    """Keep the most probable rhythm; sinus rhythm gives way to the kind of it that was found."""
    if "SR" in chosen and (better := [code for code in OF_SINUS if code in chosen]):
        best = max(better, key=lambda code: chosen[code][1])
        group, probability = chosen[best]
        sure = max(probability, chosen.pop("SR")[1])  # together they are as sure as sinus rhythm against the others
        kept = _one_of(chosen, set(RHYTHMS), {best: sure})
        if kept == best:
            chosen[best] = (group, probability)
        return
    _one_of(chosen, set(RHYTHMS))


def _one_of(
    chosen: dict[str, tuple[str, float]], alternatives: set[str], instead: dict[str, float] | None = None
) -> str | None:
    """Drop all but the most probable of the alternatives."""
    there = [code for code in chosen if code in alternatives]
    best = max(there, key=lambda code: (instead or {}).get(code, chosen[code][1]), default=None)
    for code in there:
        if code != best:
            del chosen[code]
    return best


def _finding(
    code: str,
    group: str,
    probability: float,
    thresholds: dict[str, dict[str, float]],
    uncertain: dict[str, dict[str, tuple[float, float]]],
    measured: dict[str, Any],
    doubtful: Collection[str],
) -> Finding:
    shown = criteria.evidence(code, measured)
    band = uncertain.get(group, {}).get(code)
    doubt = band is not None and band[0] <= probability <= band[1]
    doubt |= bool(shown.speaks_against) and not shown.speaks_for
    doubt |= code in doubtful
    rate = measured.get("heart_rate_bpm")
    pressing = code in ("3AVB", "VTACH", "VFIB") or (code == "AFIB" and rate is not None and rate > 120)
    return Finding(
        code,
        group,
        round(probability, 4),
        round(threshold_of(code, group, thresholds), 4),
        "uncertain" if doubt else "likely",
        pressing,
        sentences_of(code, shown),
    )


def sentences_of(code: str, shown: criteria.Evidence) -> list[str]:
    """What speaks for it as it is; what speaks against it says so."""
    against = [f"Against {statement(code).name}: {_lowered(sentence)}" for sentence in shown.speaks_against]
    return [*shown.speaks_for, *against]


def _lowered(sentence: str) -> str:
    """The sentence to follow a colon; abbreviations and lead names keep their capitals."""
    first = sentence.split(" ", 1)[0]
    ordinary = first.isalpha() and first[1:].islower() and first not in ("Sokolow", "Cornell", "Peguero")
    return sentence[0].lower() + sentence[1:] if ordinary and len(first) > 1 else sentence


def urgent(measured: dict[str, Any]) -> dict[str, list[str]]:
    """{code: sentences} of patterns that cannot wait, from the measurement alone."""
    view = View(measured)
    rate, qrs = view["heart_rate_bpm"], view["qrs_ms"]
    raised: dict[str, list[str]] = {}
    if found := criteria.evidence("VFIB", measured).speaks_for:
        raised["VFIB"] = found
    if view.age is not None and view.age < ADULT_YEARS:
        return raised
    wide = qrs is not None and qrs >= 120
    without_p = view["p_waves"] == "absent" and not view["paced"]
    if rate is not None and rate > 120 and wide and without_p and view.rr.get("regularity") == "regular":
        raised["VTACH"] = criteria.evidence("VTACH", measured).speaks_for
    if view["qtc_ms"] is not None and view["qtc_ms"] >= 500 and not wide:
        raised["LNGQT"] = criteria.evidence("LNGQT", measured).speaks_for
    if rate is not None and rate > 120 and view["atrial_fibrillation_suspected"]:
        raised["AFIB"] = criteria.evidence("AFIB", measured).speaks_for
    narrow = qrs is not None and not wide
    if rate is not None and rate >= FAST_BPM and narrow and not view["atrial_fibrillation_suspected"]:
        raised["SVTAC"] = criteria.evidence("SVTAC", measured).speaks_for
    elevation = criteria_ischaemia.st_elevation(view).speaks_for
    if elevation and not wide and not view["paced"] and criteria_ischaemia.reciprocal(view):
        raised["STE_"] = elevation
    return raised


def _raise(
    found: dict[str, Finding],
    code: str,
    sentences: list[str],
    probabilities: dict[str, dict[str, float]],
    thresholds: dict[str, dict[str, float]],
    measured: dict[str, Any],
    pressing: bool = True,
) -> None:
    """Mark a finding urgent, or add it as the measurement's own; where it is not `pressing`, as the others are."""
    if code in found:
        found[code] = replace(found[code], urgent=True)
        return
    if code == "STE_":  # the encoder calls it an infarction: that one is urgent, with the elevation as evidence
        acute = [other for other in found.values() if statement(other.code).superclass == "MI"]
        for old in acute:
            said = list(dict.fromkeys([*old.evidence, *sentences]))
            found[old.code] = replace(old, urgent=True, evidence=said)
        if acute:
            return
    if code == "SVTAC" and (named := [other for other in ("AFIB", "AFLT", "PSVT") if other in found]):
        found[named[0]] = replace(found[named[0]], urgent=True)
        return
    if code in ("AFIB", "VTACH", "VFIB", "SVTAC"):  # two rhythms at a time would contradict each other
        for other in (*RHYTHMS, *NEED_P):
            found.pop(other, None)
    known = probabilities.get("statement", {}).get(code)
    threshold = None if known is None else round(threshold_of(code, "statement", thresholds), 4)
    certainty = "likely" if code == "LNGQT" else "uncertain"  # a QTc over its limit is a long QTc
    found[code] = Finding(
        code, "statement", None if known is None else round(known, 4), threshold, certainty, pressing, sentences
    )
