"""An interpretation in words: the summary in the order a cardiologist reads, and one fact a sentence for answers.

A finding is said in one of three ways, which agent/faithful.py holds answers to: "… is likely", "… is uncertain",
"No sign of …". Probabilities have two decimals.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tools import limits
from tools.scp import PARTS, belongs, statement

# what a reader expects to be told is not there, if the encoder knows it
ASKED_FOR = ("AFIB", "AFLT", "3AVB", "1AVB", "CLBBB", "CRBBB", "WPW", "LVH", "RVH", "MI", "STTC", "LNGQT")


NOT_EXCLUDED = (
    "An ECG without a sign of it does not exclude an acute infarction, and the reader does not tell an acute one from "
    "an old one."
)


def summary(result: dict[str, Any], measured: dict[str, Any]) -> str:
    """Rate, rhythm, axis, intervals, conduction, hypertrophy, ischaemia or infarction, conclusion."""
    said = [f"Urgent: {_said(finding)}" for finding in result["findings"] if finding["urgent"]]
    said += doubts(result)
    child = measured.get("age") is not None and measured["age"] < limits.ADULT_YEARS
    said += _value("Heart rate", measured.get("heart_rate_bpm"), "bpm", "heart_rate_bpm", child)
    said += _rhythm(measured)
    said += _part(result, "rhythm")
    said += _value("QRS axis", measured.get("qrs_axis_deg"), "°", "qrs_axis_deg", child)
    said += _value("PR interval", measured.get("pr_ms"), "ms", "pr_ms", child)
    said += _value("QRS duration", measured.get("qrs_ms"), "ms", "qrs_ms", child)
    said += _value("QT interval", measured.get("qt_ms"), "ms", "qt_ms", child)
    if measured.get("qtc_ms") is not None:
        said.append(f"QTc by Bazett {measured['qtc_ms']} ms.")
    for part in PARTS[1:-1]:
        said += _part(result, part)
    return " ".join([*said, conclusion(result)])


def _value(title: str, value: Any, unit: str, key: str, child: bool) -> list[str]:
    if value is None:
        return []
    space = "" if unit == "°" else " "
    return [f"{title} {value}{space}{unit}{'' if child else limits.beside(key, value)}."]


def _rhythm(measured: dict[str, Any]) -> list[str]:
    rr = measured.get("rr") or {}
    if rr.get("regularity") is None:
        return []
    p_waves = measured.get("p_waves")
    tail = [f"P waves are {p_waves}."] if p_waves else []
    return [f"The rhythm is {rr['regularity']} (RR {rr['rr_mean_ms']} ms, SD {rr['rr_sd_ms']} ms).", *tail]


def _part(result: dict[str, Any], part: str) -> list[str]:
    """Findings of one part, or the absence that is expected to be said; what was said as urgent is not said again."""
    here = [
        _said(finding)
        for finding in result["findings"]
        if statement(finding["code"]).part == part and not finding["urgent"]
    ]
    absent = [statement(code).name for code, _ in _absences(result) if statement(code).part == part]
    if absent:
        here.append(f"No sign of {', '.join(absent[:-1])}{' or ' if len(absent) > 1 else ''}{absent[-1]}.")
    return here


def conclusion(result: dict[str, Any]) -> str:
    """What it all comes to, in one sentence."""
    if result["probabilities"] is None and not result["findings"]:
        return "Conclusion: no interpretation is given."
    named = {
        certainty: [statement(f["code"]).name for f in result["findings"] if f["certainty"] == certainty]
        for certainty in ("likely", "uncertain")
    }
    parts = []
    if named["likely"]:
        parts.append(f"likely {', likely '.join(named['likely'])}")
    if named["uncertain"]:
        parts.append(f"uncertain {', uncertain '.join(named['uncertain'])}")
    return f"Conclusion: {'; '.join(parts)}." if parts else "Conclusion: nothing reaches its threshold."


def doubts(result: dict[str, Any]) -> list[str]:
    """What makes the recording itself doubtful, said before anything is read from it."""
    marked = ("No interpretation", "Limb leads", "This recording is synthetic", "Leads rebuilt", "Pacing")
    return [warning for warning in result["warnings"] if warning.startswith(marked)]


def _said(finding: dict[str, Any]) -> str:
    name = finding["name"][0].upper() + finding["name"][1:]
    if finding["probability"] is None:
        return f"{name} {verb(name)} {finding['certainty']}, from the measurements alone."
    numbers = f"probability {finding['probability']:.2f}, threshold {finding['threshold']:.2f}"
    return f"{name} {verb(name)} {finding['certainty']} ({numbers})."


def verb(name: str) -> str:
    """ "are" after a finding in the plural."""
    plural = name.split(" in ")[0].split(" of ")[0].endswith(("complexes", "changes", "waves", "abnormalities"))
    return "are" if plural else "is"


def unfound(result: dict[str, Any], codes: Iterable[str]) -> list[str]:
    """A sentence for each of `codes` that is neither found nor said to be without a sign."""
    if result["probabilities"] is None:
        return []
    there = {finding["code"] for finding in result["findings"]} | {code for code, _ in _absences(result)}
    said = []
    for code in dict.fromkeys(codes):
        if any(code == other or belongs(other, code) or belongs(code, other) for other in there):
            continue
        name = statement(code).name[0].upper() + statement(code).name[1:]
        p = next((group[code] for group in result["probabilities"].values() if code in group), None)
        why = (
            "what the reader has learnt"
            if result["probabilities"]["superclass"]
            else "what a lead without a name tells"
        )
        said.append(
            f"{name} {verb(name)} beyond {why}."
            if p is None
            else f"{name} {verb(name)} not found (probability {p:.2f})."
        )
    return said


def _absences(result: dict[str, Any]) -> list[tuple[str, str]]:
    """(code, "No sign of …") of what is asked for and lies clearly below its threshold."""
    if result["probabilities"] is None:
        return []
    there = {finding["code"] for finding in result["findings"]}
    said = []
    for code, below in result["no_sign_of"].items():
        if code in there or any(belongs(found, code) or belongs(code, found) for found in there):
            continue
        said.append((code, f"No sign of {statement(code).name} (probability {below:.2f})."))
    return said


def sentences(result: dict[str, Any]) -> list[str]:
    """The result in words, one fact a sentence: urgent findings, doubts, findings with evidence, what is not there."""
    said = [f"Urgent: {_said(finding)}" for finding in result["findings"] if finding["urgent"]]
    said += doubts(result)
    said.append(conclusion(result))
    said += [_said(finding) for finding in result["findings"] if not finding["urgent"]]
    for finding in result["findings"]:
        said += finding["evidence"]
        said += _looked(finding)
    said += [sentence for _, sentence in _absences(result)]
    if result["encoder"] is not None:
        said.append(f"Read by {result['encoder']} from leads {', '.join(result['leads_used'])}.")
    return list(dict.fromkeys([*said, *result["warnings"]]))


def _looked(finding: dict[str, Any]) -> list[str]:
    """Where the encoder looked, where that was asked."""
    looked = finding["looked_at"]
    if not looked:
        return []
    said = []
    name = finding["name"]
    if looked["leads"]:
        leads = ", ".join(f"{entry['lead']} by {entry['drop']:.2f}" for entry in looked["leads"][:3])
        said.append(f"Hiding a lead lowers the probability of {name}: {leads}.")
    if looked["times"]:
        top = looked["times"][0]
        said.append(
            f"Hiding {top['start_s']:g} s to {top['stop_s']:g} s lowers the probability of {name} by {top['drop']:.2f}."
        )
    return said
