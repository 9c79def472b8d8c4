"""The measurement matrix: amplitudes and durations of every wave in every lead, and the axes.

Amplitudes are signed and in mV. Q, R, S, J, ST and T count from the level just before the QRS, P from the line
between its onset and end (CSE Working Party, Eur Heart J 1985;6:815). A deflection is a wave if it reaches
`tools.delineate.SMALLEST_MV` and lasts 6 ms; a wave the lead does not have is 0. A complex without R is a Q (QS).

    rows = measurement_matrix(beat, marks, names)
    axis = axes(beat, marks, names)
"""

from __future__ import annotations

import numpy as np

from tools.average import MS, Beat
from tools.delineate import SMALLEST_MV, Marks

QRS_WAVES = ("q", "r", "s", "r2", "s2")
KEYS = (
    *("p_mv", "p_ms", "q_mv", "q_ms", "r_mv", "r_ms", "s_mv", "s_ms", "r2_mv", "r2_ms", "s2_mv", "s2_ms"),
    *("t_mv", "j_mv", "st60_mv", "st80_mv", "qrs_area_uvs"),
)


def measurement_matrix(beat: Beat, marks: Marks, names: list[str]) -> dict[str, dict[str, float | int | None]]:
    """{lead: {key of KEYS: value}}; None where the wave is in no lead, or was not recorded whole in this one."""
    return {name: _row(wave, noise, marks) for name, wave, noise in zip(names, beat.wave, beat.noise_mv, strict=True)}


def _row(wave: np.ndarray, noise_mv: float, marks: Marks) -> dict[str, float | int | None]:
    wave = wave - wave[marks.qrs_on - 8 : marks.qrs_on].mean()
    row: dict[str, float | int | None] = dict.fromkeys(KEYS)
    qrs = wave[marks.qrs_on : marks.qrs_off + 1]
    if not np.isfinite(qrs).all():
        return row
    for name, (height, duration) in _deflections(qrs, max(SMALLEST_MV, 2.5 * noise_mv)).items():
        row[f"{name}_mv"], row[f"{name}_ms"] = round(height, 3), duration
    row["qrs_area_uvs"] = round(float(qrs.sum()) * MS, 2)  # mV ms = µV s
    row["j_mv"] = _told(_level(wave, marks.qrs_off))
    for delay_ms in (60, 80):
        at = marks.qrs_off + delay_ms // MS
        early = marks.t_peak is None or at <= marks.t_peak  # at high rates the point may lie behind the T
        row[f"st{delay_ms}_mv"] = _told(_level(wave, at)) if early else None
    if marks.p_on is not None and marks.p_off is not None:
        p = wave[marks.p_on : marks.p_off + 1]
        p = p - np.linspace(_level(wave, marks.p_on), _level(wave, marks.p_off), len(p))
        height = _extreme(p)
        if np.isfinite(height):
            row["p_mv"], row["p_ms"] = height, _width(p, height, max(0.02, 2.5 * noise_mv))
    if marks.t_off is not None:
        row["t_mv"] = _told(_extreme(wave[marks.qrs_off + 20 : marks.t_off + 1]))
    return row


def _told(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _level(wave: np.ndarray, at: int) -> float:
    """Mean of 6 ms around a sample."""
    return round(float(wave[at - 1 : at + 2].mean()), 3)


def _extreme(part: np.ndarray) -> float:
    """The value farthest from zero; NaN if a part is not known."""
    return round(float(part[np.abs(part).argmax()]), 3)


def _width(part: np.ndarray, height_mv: float, least_mv: float) -> int:
    """ms for which a wave stands out; 0 if it does not."""
    if abs(height_mv) < least_mv:
        return 0
    return int((np.abs(part) > 0.1 * abs(height_mv)).sum()) * MS


def _deflections(qrs: np.ndarray, least_mv: float) -> dict[str, tuple[float, int]]:
    """{wave: (peak mV, duration ms)} of Q, R, S, R', S' in order of time; (0, 0) if the lead has no such wave."""
    found = dict.fromkeys(QRS_WAVES, (0.0, 0))
    waves: list[tuple[float, int]] = []
    edges = np.flatnonzero(np.diff(np.sign(qrs))) + 1
    for part in np.split(qrs, edges):
        if len(part) * MS >= 6 and np.abs(part).max() >= least_mv:
            peak = float(part[np.abs(part).argmax()])
            if waves and np.sign(waves[-1][0]) == np.sign(peak):  # a notch that does not cross zero for long
                waves[-1] = (max(waves[-1][0], peak, key=abs), waves[-1][1] + len(part) * MS)
            else:
                waves.append((peak, len(part) * MS))
    order = ["r", "s", "r2", "s2"] if waves and waves[0][0] > 0 else list(QRS_WAVES)
    found.update(zip(order, waves, strict=False))
    return found


def axes(beat: Beat, marks: Marks, names: list[str]) -> dict[str, int | None]:
    """Frontal axes of P, QRS and T in degrees, from areas; None where the leads or the wave are missing."""
    frontal = _frontal(beat.wave - beat.wave[:, marks.qrs_on - 8 : marks.qrs_on].mean(axis=1, keepdims=True), names)
    out: dict[str, int | None] = {"p": None, "qrs": None, "t": None}
    if frontal is None:
        return out
    out["qrs"] = _angle(frontal[:, marks.qrs_on : marks.qrs_off + 1])
    if marks.t_off is not None:
        out["t"] = _angle(frontal[:, marks.qrs_off + 20 : marks.t_off + 1])
    if marks.p_on is not None and marks.p_off is not None:
        p = frontal[:, marks.p_on : marks.p_off + 1]
        ramp = np.linspace(0, 1, p.shape[1])
        out["p"] = _angle(p - p[:, :1] * (1 - ramp) - p[:, -1:] * ramp)
    return out


def _frontal(wave: np.ndarray, names: list[str]) -> np.ndarray | None:
    """(2, samples) heart vector left and down from any two limb leads that give both."""
    row = dict(zip(names, wave, strict=True))
    if "I" in row and "aVF" in row:
        left, foot = row["I"], row["aVF"]
    elif "I" in row and "II" in row:
        left, foot = row["I"], row["II"] - row["I"] / 2
    elif "II" in row and "III" in row:
        left, foot = row["II"] - row["III"], (row["II"] + row["III"]) / 2
    elif "I" in row and "III" in row:
        left, foot = row["I"], row["III"] + row["I"] / 2
    else:
        return None
    return np.stack([left, foot * 2 / np.sqrt(3)])  # aVF is the vertical shortened by Einthoven's triangle


def _angle(part: np.ndarray) -> int | None:
    """Direction of the mean vector; None if it is not known or the wave cancels out in the frontal plane."""
    left, down = part.sum(axis=1)
    if not np.isfinite(left + down):
        return None
    if np.hypot(left, down) < 0.05 * np.abs(part).sum() + 1e-9:
        return None
    return round(float(np.degrees(np.arctan2(down, left))))
