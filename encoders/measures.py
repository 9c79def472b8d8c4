"""The measurement matrix as a vector: the second view of the reading encoder.

`measure_ecg` knows voltages, axes, durations and the irregularity of RR exactly; a network that looks at shapes does
not. `vector` takes its result (a plain dict) and gives one float32 for each of `NAMES`, NaN where the quantity could
not be measured: absent is not zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
PER_LEAD = (
    *("p_mv", "q_mv", "q_ms", "r_mv", "r_ms", "s_mv", "s_ms", "r2_mv", "r2_ms", "s2_mv", "t_mv"),
    *("j_mv", "st60_mv", "st80_mv", "qrs_area_uvs"),
)
RHYTHM = ("rr_mean_ms", "rr_sd_ms", "rr_min_ms", "rr_max_ms", "rmssd_ms")
GLOBAL = ("heart_rate_bpm", "pr_ms", "p_ms", "qrs_ms", "qt_ms", "qtc_ms")
AXES = ("p_axis_deg", "qrs_axis_deg", "t_axis_deg")
DERIVED = (
    *("no_p", "irregular", "paced", "ectopic_v", "ectopic_s", "qrs_t_angle_deg"),
    *("sokolow_mv", "cornell_mv", "height_i_less_iii_mv", "r_progression"),
)
NAMES = (
    *GLOBAL,
    *(f"{axis}_{part}" for axis in AXES for part in ("sin", "cos")),
    *RHYTHM,
    *DERIVED,
    *(f"{lead}_{key}" for lead in LEADS for key in PER_LEAD),
)


def vector(measured: dict[str, Any]) -> np.ndarray:
    """(len(NAMES),) float32 of a result of `measure_ecg`; NaN where it has no value."""
    rows = {lead: measured.get("per_lead", {}).get(lead, {}) for lead in LEADS}
    rr = measured.get("rr", {})
    values = [_number(measured.get(key)) for key in GLOBAL]
    for axis in AXES:
        angle = np.radians(_number(measured.get(axis)))
        values += [float(np.sin(angle)), float(np.cos(angle))]
    values += [_number(rr.get(key)) for key in RHYTHM]
    values += _derived(measured, rows, rr)
    values += [_number(rows[lead].get(key)) for lead in LEADS for key in PER_LEAD]
    return np.array(values, np.float32)


def _derived(measured: dict[str, Any], rows: dict[str, dict[str, Any]], rr: dict[str, Any]) -> list[float]:
    """In the order of DERIVED; the voltage sums are those of Sokolow-Lyon and Cornell."""

    def of(lead: str, key: str) -> float:
        return _number(rows[lead].get(key))

    ectopic = measured.get("ectopic", {})
    beats = ectopic.get("of") or np.nan
    p_waves, regularity = measured.get("p_waves"), rr.get("regularity")
    turn = _number(measured.get("qrs_axis_deg")) - _number(measured.get("t_axis_deg"))
    return [
        np.nan if p_waves is None else float(p_waves != "present"),
        np.nan if regularity is None else float(str(regularity).startswith("irregular")),
        np.nan if p_waves is None else float(bool(measured.get("paced"))),
        _number(ectopic.get("ventricular")) / beats,
        _number(ectopic.get("supraventricular")) / beats,
        abs((turn + 180) % 360 - 180),
        -of("V1", "s_mv") + max(of("V5", "r_mv"), of("V6", "r_mv")),
        of("aVL", "r_mv") - of("V3", "s_mv"),
        of("I", "r_mv") - of("I", "s_mv") + of("III", "s_mv") - of("III", "r_mv"),
        of("V3", "r_mv") - of("V1", "r_mv"),
    ]


def _number(value: Any) -> float:
    return np.nan if value is None else float(value)
