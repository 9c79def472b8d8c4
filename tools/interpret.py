"""`interpret_ecg`: what an ECG shows, how sure that is, and why.

    measure_ecg -> the reading encoder (encoders/reading.py)
    -> findings without contradictions (tools.interpret_resolve) -> evidence for and against each (tools.criteria)
    -> where the encoder looked -> words (tools.interpret_words)

Where nothing can be told (no usable lead, under 2 s, a wrong unit) probabilities are withheld: null, with the reason
in `warnings` and in the summary. Patterns that cannot wait stand first.

    result = interpret_ecg(recording)
    result["findings"][0]["name"], result["findings"][0]["evidence"], result["summary"]
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tools import quality
from tools.errors import MissingWeights
from tools.interpret_resolve import HARMLESS, OF_LIMBS, RHYTHMS, Finding, resolve, threshold_of
from tools.interpret_words import ASKED_FOR, sentences, summary
from tools.measure import WHOLE_S, measure_ecg
from tools.recording import LEADS, Recording, made_by_a_model
from tools.scp import GROUPED, STATEMENTS, statement

__all__ = ["interpret_ecg", "sentences"]

SHORTEST_S = 2.0
TALLEST_MV = 20.0  # no QRS of a person is taller; in microvolt read as millivolt every one is
CLEARLY = 0.5  # of its threshold: what lies between is neither found nor said to be absent
LOOKED_AT = 2  # findings whose places are looked for: each costs an occlusion of every lead and stretch
SIGNS = (("1AVB", "pr_ms", 200), ("CLBBB", "qrs_ms", 119), ("CRBBB", "qrs_ms", 119))
WIDE_MS, HIDDEN = 120, {"MI", "STTC"}  # a wide or paced QRS hides an infarction and ischaemia
STRIP_LEADS, STRIP_S = 3, 30.0  # of what may be watched for VT and VF; a resting ECG is read as it stands
GROUPS = ("superclass", "subclass", "statement")


def interpret_ecg(recording: Recording, arguments: Any = None, out: Path | None = None) -> dict[str, Any]:
    """Interpret an ECG of any leads and length. See the module for how.

    Returns
    -------
    findings : [{code, name, probability, threshold, certainty, evidence, urgent, looked_at}], the most pressing first;
        `probability` and `threshold` are None where the measurements alone raised it, `looked_at` is None or
        {"leads": [{lead, drop}], "times": [{start_s, stop_s, drop}]}.
    probabilities : {"superclass", "subclass", "statement": {code: p}}, or None where they are withheld.
    no_sign_of : {code: p} of what is asked for most and lies clearly below its threshold.
    summary, encoder, leads_used, figure, warnings.

    Raises
    ------
    MissingWeights : where the encoder's weights are not on this machine.
    """
    measured = measure_ecg(recording)
    doubts, doubtful = _doubts(recording, measured)
    alone = recording.leads if len(recording.leads) == 1 else LEADS  # a strip of one lead need not be named
    used = [name for name in recording.leads if name in alone and measured["quality"]["leads"][name]["usable"]]
    withheld = why_withheld(recording, used)
    if used and used[0] not in LEADS:
        doubts.append("The lead has no name: its rhythm alone is read.")
    result: dict[str, Any] = {"probabilities": None, "no_sign_of": {}, "encoder": None, "leads_used": used}
    if withheld is None:
        findings, looked = _read(recording, measured, used, doubtful, result)
    else:
        doubts.insert(0, f"No interpretation is given: {withheld}.")
        result["leads_used"] = []
        trusted = "microvolt" not in withheld
        findings, looked = resolve({}, {}, {}, measured) if used and trusted else [], {}
    if running := _running(recording):
        findings = [running, *(one for one in findings if one.code not in {*RHYTHMS, "NORM", "VFIB"})]
        result["no_sign_of"] = {}
    if any(finding.probability is None for finding in findings):
        doubts.append("A finding without a probability is raised by the measurements alone.")
    result["findings"] = [_plain(finding, looked.get(finding.code)) for finding in findings]
    result["figure"], said = _figure(recording, result["findings"], out)
    result["warnings"] = list(dict.fromkeys([*doubts, *measured["warnings"], *said]))
    result["summary"] = summary(result, measured if withheld is None or "microvolt" not in withheld else {})
    order = ("findings", "probabilities", "no_sign_of", "summary", "encoder", "leads_used", "figure", "warnings")
    return {key: result[key] for key in order}


@cache
def reader() -> Any:
    """The reading encoder, loaded once."""
    from encoders import reading
    from encoders.weights import MissingModel

    try:
        return reading.reader()
    except MissingModel as error:
        raise MissingWeights(str(error)) from None


def why_withheld(recording: Recording, used: list[str]) -> str | None:
    """Why nothing can be told from the recording, or None."""
    if recording.unit != "mV":
        return f"the signal is in {recording.unit[:12]}, not in mV"
    known_s = float(np.isfinite(recording.signal).sum(axis=1).max(initial=0)) / recording.fs_hz
    if known_s < SHORTEST_S:
        return f"{known_s:.1f} s of signal is too short, {SHORTEST_S:g} s are needed"
    if (height := height_mv(recording)) > TALLEST_MV:
        return f"beats of {height:.0f} mV look like microvolt read as millivolt; give the unit of the file"
    if len(recording.leads) > 1 and not any(name in LEADS for name in recording.leads):
        return "none of its leads is named as one of the twelve"
    return None if used else "no lead is usable"


def height_mv(recording: Recording) -> float:
    """The usual height of a second of signal, median over the leads that have one."""
    second = round(recording.fs_hz)
    if second < 1 or recording.signal.shape[1] < second:
        return 0.0
    parts = recording.signal[:, : recording.signal.shape[1] // second * second].reshape(
        len(recording.signal), -1, second
    )
    whole = np.isfinite(parts).all(axis=2)
    heights = [
        float(np.median(np.ptp(part[there], axis=1))) for part, there in zip(parts, whole, strict=True) if there.any()
    ]
    return float(np.median([height for height in heights if height > 0] or [0.0]))


def _doubts(recording: Recording, measured: dict[str, Any]) -> tuple[list[str], frozenset[str]]:
    """What makes the recording doubtful, in sentences, and the codes that are then never more than uncertain."""
    said, codes = made_by_a_model(recording), frozenset[str]()
    usable = measured["quality"]["leads"]
    if all(name in usable and usable[name]["usable"] for name in LEADS) and recording.duration_s >= SHORTEST_S:
        order = [recording.leads.index(name) for name in LEADS]
        span = slice(0, round(WHOLE_S * recording.fs_hz))
        if exchanged := quality.reversal(recording.signal[order, span], recording.fs_hz):
            said.append(f"Limb leads look exchanged: {exchanged}.")
            codes |= OF_LIMBS
    if measured["paced"]:
        said.append(
            "Pacing spikes are seen before the QRS: QRS, ST and T follow the pacemaker and are not judged as usual."
        )
        parts = ("conduction", "hypertrophy", "ischaemia")
        codes |= {code for code, entry in (STATEMENTS | GROUPED).items() if entry.part in parts}
    return said, codes


def _read(
    recording: Recording, measured: dict[str, Any], used: list[str], doubtful: frozenset[str], result: dict[str, Any]
) -> tuple[list[Finding], dict[str, dict[str, Any]]]:
    """Findings, and where the encoder looked for the most important ones; fills what of `result` is the encoder's."""
    encoder = reader()
    fs_hz, start_s = recording.fs_hz, 0.0
    signal = np.full(recording.signal.shape, np.nan, np.float32)
    rows = [recording.leads.index(name) for name in used]
    signal[rows] = recording.signal[rows]
    if recording.duration_s > WHOLE_S:  # what was measured is what is read
        start_s, stop_s = measured["window_s"]
        signal = signal[:, round(start_s * fs_hz) : round(stop_s * fs_hz)]
    signal, leads = signal[rows], tuple(used)
    reading = encoder.read(signal, fs_hz, leads, measured)
    probabilities = {
        group: {code: round(float(p), 4) for code, p in reading.probabilities.get(group, {}).items()}
        for group in GROUPS
    }
    if leads[0] not in LEADS:
        rhythm = {code: p for code, p in probabilities["statement"].items() if statement(code).part == "rhythm"}
        probabilities = {"superclass": {}, "subclass": {}, "statement": rhythm}
    findings = resolve(probabilities, reading.thresholds, reading.uncertain, measured, doubtful)
    result |= {"probabilities": probabilities, "encoder": encoder.name}
    result["no_sign_of"] = _no_sign_of(probabilities, reading.thresholds, reading.uncertain, measured)
    important = [finding for finding in findings if finding.probability is not None and finding.code not in HARMLESS]
    first = important[:LOOKED_AT]
    places = encoder.look(signal, fs_hz, leads, [(finding.group, finding.code) for finding in first]) if first else []
    looked = {finding.code: _places(place, start_s) for finding, place in zip(first, places, strict=True)}
    return findings, looked


def _running(recording: Recording) -> Finding | None:
    """VT or VF that a strip of a lead or two shows for a part of the time (tools/risk_running.py)."""
    if len(recording.leads) > STRIP_LEADS or recording.duration_s < STRIP_S:
        return None
    from tools.risk_running import ongoing

    found = ongoing(recording)
    if not found:
        return None
    where = ", ".join(f"{start:.0f} to {stop:.0f} s" for start, stop in found[:3]) + (" and later" if found[3:] else "")
    said = f"VT or VF seems to run from {where}: call for help if it is true."
    return Finding("VFIB", "statement", None, None, "uncertain", True, [said])


def _no_sign_of(probabilities: dict, thresholds: dict, uncertain: dict, measured: dict[str, Any]) -> dict[str, float]:
    """Of `ASKED_FOR`, what lies below half of its threshold and below its uncertain band, with its probability.

    What a measured interval speaks for (AHA/ACCF/HRS 2009) is not said to be without a sign, whatever the encoder says.
    """
    found = {}
    spoken_for = {code for code, key, limit in SIGNS if (measured.get(key) or 0) > limit}
    if measured["atrial_fibrillation_suspected"]:
        spoken_for.add("AFIB")
    if measured["paced"] or (measured["qrs_ms"] or 0) >= WIDE_MS:
        spoken_for |= HIDDEN
    for code in ASKED_FOR:
        if code in spoken_for:
            continue
        group = next((group for group in ("statement", "superclass") if code in probabilities[group]), None)
        if group is None:
            continue
        limit = CLEARLY * threshold_of(code, group, thresholds)
        band = uncertain.get(group, {}).get(code)
        if probabilities[group][code] < (limit if band is None else min(limit, band[0])):
            found[code] = probabilities[group][code]
    return found


def _places(places: dict[str, list], start_s: float) -> dict[str, list[dict[str, Any]]]:
    """Leads and stretches whose hiding lowers the probability, in the recording's own time."""
    return {
        "leads": [{"lead": lead, "drop": round(float(drop), 4)} for lead, drop in places["leads"] if drop > 0],
        "times": [
            {
                "start_s": round(start_s + float(start), 3),
                "stop_s": round(start_s + float(stop), 3),
                "drop": round(float(drop), 4),
            }
            for start, stop, drop in places["times"]
            if drop > 0
        ],
    }


def _plain(finding: Finding, looked: dict[str, Any] | None) -> dict[str, Any]:
    entry = asdict(finding)
    entry.pop("group")
    keys = ("code", "name", "probability", "threshold", "certainty", "evidence", "urgent", "looked_at")
    entry |= {"name": statement(finding.code).name, "looked_at": looked}
    return {key: entry[key] for key in keys}


def _figure(recording: Recording, findings: list[dict[str, Any]], out: Path | None) -> tuple[str | None, list[str]]:
    """The paper with the places that the encoder looked at, and what could not be drawn."""
    if out is None:
        return None, []
    notes: list[tuple[str | None, float, float, str]] = []
    for finding in findings:
        looked = finding["looked_at"] or {"leads": [], "times": []}
        notes += [(place["lead"], 0.0, recording.duration_s, finding["name"]) for place in looked["leads"][:1]]
        notes += [(None, place["start_s"], place["stop_s"], finding["name"]) for place in looked["times"][:2]]
    if not notes:
        return None, ["No figure is drawn: there is no place that a finding rests on."]
    from tools.errors import UsageError
    from tools.paper import compose, save

    first_s = min((note[1] for note in notes if note[0] is None), default=0.0)
    start_s = max(0.0, first_s - 1) if recording.duration_s > WHOLE_S else 0.0
    try:
        sheet, _, said = compose(recording, notes=notes, start_s=start_s)
        return str(save(sheet, recording, "reading", "svg", out)), said
    except UsageError as error:
        return None, [f"No figure is drawn: {error}."]
