"""What `measure_ecg` found, in words: one fact a sentence, each with its quantity, number and unit.

These sentences are all that an answer may say of a measurement (agent/faithful.py), and their openings are what
agent/evidence.py chooses by. Beside adults' values stand the usual limits (tools/limits.py); a child's have none.
"""

from __future__ import annotations

from typing import Any

from tools import limits

NO_QRS = "no QRS stands out, as in ventricular flutter or fibrillation"


def sentences(result: dict[str, Any]) -> list[str]:
    """The result in words, one fact a sentence."""
    said = _interval_sentences(result)
    ectopic = result["ectopic"]
    if ectopic["of"]:
        said.append(
            f"Ectopic beats: {ectopic['ventricular']} ventricular and {ectopic['supraventricular']} supraventricular "
            f"of {ectopic['of']} beats."
        )
    if result["atrial_fibrillation_suspected"]:
        said.append("Atrial fibrillation is suspected: the rhythm is irregularly irregular and no P waves are seen.")
    if result["paced"]:
        said.append("Pacing spikes are seen before the QRS.")
    for title, key in (
        ("ST level 60 ms after J", "st60_mv"),
        ("ST level 80 ms after J", "st80_mv"),
        ("J level", "j_mv"),
        *((f"{wave} amplitude", f"{wave.lower()}_mv") for wave in "PQRST"),
    ):
        values = [f"{lead} {row[key]:.2f} mV" for lead, row in result["per_lead"].items() if _there(row, key)]
        if values:
            said.append(f"{title}: {', '.join(values)}.")
    return [*said, *_quality_sentences(result["quality"]), *result["warnings"]]


def _there(row: dict[str, Any], key: str) -> bool:
    """Whether a lead has a value to tell: levels always, waves where there is one."""
    return row.get(key) is not None and (row[key] != 0 or key in ("j_mv", "st60_mv", "st80_mv"))


def _interval_sentences(result: dict[str, Any]) -> list[str]:
    said, rr, qtc = [], result["rr"], result["qtc"]
    child = result["age"] is not None and result["age"] < limits.ADULT_YEARS

    def usual(key: str) -> str:
        return "" if child else limits.beside(key, result[key])

    if result["heart_rate_bpm"] is not None:
        said.append(f"Heart rate {result['heart_rate_bpm']} bpm{usual('heart_rate_bpm')}.")
    if rr["regularity"] is not None:
        said.append(f"The rhythm is {rr['regularity']} (RR {rr['rr_mean_ms']} ms, SD {rr['rr_sd_ms']} ms).")
    for title, key in (("PR interval", "pr_ms"), ("QRS duration", "qrs_ms"), ("QT interval", "qt_ms")):
        if result[key] is not None:
            said.append(f"{title} {result[key]} ms{usual(key)}.")
    if result["qtc_ms"] is not None:
        said.append(
            f"QTc {qtc['bazett_ms']} ms by Bazett, {qtc['fridericia_ms']} ms by Fridericia, "
            f"{qtc['framingham_ms']} ms by Framingham, {qtc['hodges_ms']} ms by Hodges."
        )
        if not child:
            said.append(limits.qtc(result["qtc_ms"], result["sex"]))
    if result["qrs_axis_deg"] is not None:
        said.append(f"QRS axis {result['qrs_axis_deg']}°{usual('qrs_axis_deg')}.")
    others = [
        f"{wave} axis {result[key]}°"
        for wave, key in (("P", "p_axis_deg"), ("T", "t_axis_deg"))
        if result[key] is not None
    ]
    if others:
        said.append(", ".join(others) + ".")
    if result["p_waves"] is not None:
        said.append(f"P waves are {result['p_waves']}.")
    if result["p_ms"] is not None:
        said.append(f"P duration {result['p_ms']} ms.")
    return said


def _quality_sentences(judged: dict[str, Any]) -> list[str]:
    leads = judged["leads"]
    bad = {name: lead["reasons"] for name, lead in leads.items() if not lead["usable"]}
    if bad:
        alike: dict[str, list[str]] = {}
        for name, why in bad.items():
            alike.setdefault(", ".join(why), []).append(name)
        return [
            f"Signal quality: {', '.join(names)} {'is' if len(names) == 1 else 'are'} not usable ({why})."
            for why, names in alike.items()
        ]
    if not judged["acceptable"]:
        return ["Signal quality is not acceptable."]
    return [
        f"Signal quality is acceptable in all {len(leads)} leads."
        if len(leads) > 1
        else "Signal quality is acceptable."
    ]
