"""Accelerations, decelerations and contractions of a cardiotocogram, as FIGO 2015 defines them (see tools/ctg.py).

    ups = accelerations(fhr_bpm, baseline_bpm)                       # one dict an event, times in s
    downs = decelerations(fhr_bpm, baseline_bpm, contractions(uc), uterus=True)

All traces are (samples,) at 4 Hz, NaN where missing. Keys of an event: start_s, peak_s, stop_s, duration_s, height_bpm
or depth_bpm (at the peak, from the baseline), to_peak_s, to_threshold_s (from the start to 15 bpm), from_peak_s, whole.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tools.ctg_signal import FS_HZ

AWAY_BPM, LEAST_BPM, LEAST_S = 5.0, 15.0, 15.0
ABRUPT_S, PROLONGED_S, LONGEST_S = 30.0, 180.0, 600.0
BRIDGED_S = 15.0  # gaps up to this long do not part an event
MINUTE = 60 * FS_HZ


def accelerations(fhr: np.ndarray, base: np.ndarray) -> list[dict[str, Any]]:
    """Abrupt rises (15 bpm passed in under 30 s) over 15 bpm above the baseline for over 15 s and under 10 min.

    Before 32 weeks FIGO takes 10 bpm and 10 s; that is not done here.
    """
    ups = _events(fhr, base, 1)
    return [up for up in ups if up["to_threshold_s"] < ABRUPT_S and up["duration_s"] < LONGEST_S]


def decelerations(
    fhr: np.ndarray, base: np.ndarray, cramps: list[dict[str, Any]], uterus: bool
) -> list[dict[str, Any]]:
    """Falls over 15 bpm below the baseline for over 15 s, each with its `kind`; `uterus`: whether it was recorded."""
    return [{**down, "kind": _kind_of(down, cramps, uterus)} for down in _events(fhr, base, -1)]


def _events(fhr: np.ndarray, base: np.ndarray, sign: int) -> list[dict[str, Any]]:
    """Accelerations (`sign` 1) or decelerations (-1): over 15 bpm from the baseline, lasting over 15 s.

    They begin and end where the rate, smoothed over 3 s, leaves and regains a band of 5 bpm around the baseline. Gaps
    up to 15 s are bridged; longer ones end an event, and `whole` is then False.
    """
    from scipy.ndimage import uniform_filter1d

    filled = _bridged(fhr, BRIDGED_S)
    known = np.isfinite(filled)
    away = sign * (np.where(known, filled, base) - base)
    away = uniform_filter1d(away, 3 * FS_HZ, mode="nearest")
    edges = np.flatnonzero(np.diff(np.r_[False, (away > AWAY_BPM) & known, False].astype(int))).reshape(-1, 2)
    out = []
    for a, b in edges:
        part = away[a:b]
        if part.max() <= LEAST_BPM or (b - a) / FS_HZ <= LEAST_S or np.isfinite(fhr[a:b]).mean() < 0.5:
            continue
        peak = int(part.argmax())
        whole = bool(a > 0 and b < len(fhr) and known[a - 1] and known[b])
        out.append({
            "start_s": float(a / FS_HZ), "peak_s": float((a + peak) / FS_HZ), "stop_s": float(b / FS_HZ),
            "duration_s": float((b - a) / FS_HZ),
            ("height_bpm" if sign > 0 else "depth_bpm"): round(float(part.max()), 1),
            "to_peak_s": peak / FS_HZ, "to_threshold_s": int(np.argmax(part > LEAST_BPM)) / FS_HZ,
            "from_peak_s": float((b - a - peak) / FS_HZ), "whole": whole,
        })  # fmt: skip
    return out


def _kind_of(down: dict[str, Any], cramps: list[dict[str, Any]], uterus: bool) -> str:
    """FIGO's kind of a deceleration.

    prolonged : over 3 min.
    late : gradual (over 30 s from onset to nadir, or from nadir to its end), begins over 20 s after the onset of a
        contraction, its nadir after the acme, its end after the contraction's.
    early : shallow and short (less than 30 bpm and 2 min: FIGO gives no numbers), begins within 20 s of a contraction's
        onset, its nadir within 15 s of the acme.
    variable : any other with a drop in under 30 s.
    gradual : the rest; without a uterine channel late and early are among these.
    Reduced variability within, which FIGO also takes as a sign of a late one, is not judged.
    """
    if down["duration_s"] > PROLONGED_S:
        return "prolonged"
    abrupt = down["to_peak_s"] < ABRUPT_S
    if uterus:
        near = [one for one in cramps if one["start_s"] - 20 < down["start_s"] < one["stop_s"] + 30]
        for one in near:
            after = down["start_s"] - one["start_s"]
            gradual = not abrupt or down["from_peak_s"] > ABRUPT_S
            if gradual and after > 20 and down["peak_s"] > one["acme_s"] and down["stop_s"] > one["stop_s"]:
                return "late"
            mild = down["depth_bpm"] < 30 and down["duration_s"] < 120
            if mild and abs(after) <= 20 and abs(down["peak_s"] - one["acme_s"]) <= 15:
                return "early"
    return "variable" if abrupt else "gradual"


def contractions(uc: np.ndarray | None) -> list[dict[str, Any]]:
    """Bell-shaped rises of the uterine channel of 45 to 120 s (FIGO); taken from 30 to 180 s, as belts slip.

    A peak, smoothed over 12 s, that stands out by a fifth of the channel's range, the longest of peaks within a minute
    of each other; start and stop where it has lost nine tenths of its height. Keys: start_s, acme_s, stop_s, height.
    """
    if uc is None:
        return []
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    known = np.isfinite(uc)
    at = np.flatnonzero(known)
    smooth = gaussian_filter1d(np.interp(np.arange(len(uc)), at, uc[at]), 5 * FS_HZ)
    low, high = np.percentile(smooth[known], [5, 95])
    out = []
    least = max(0.2 * (high - low), 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peaks that stand out by nothing and are dropped
        peaks, found = find_peaks(
            smooth, prominence=least, distance=60 * FS_HZ, width=1, rel_height=0.9, wlen=4 * MINUTE
        )
    for acme, a, b, height in zip(peaks, found["left_ips"], found["right_ips"], found["prominences"], strict=True):
        if 30 <= (b - a) / FS_HZ <= 180 and known[int(a) : int(b) + 1].mean() > 0.7:
            out.append({
                "start_s": round(float(a) / FS_HZ, 2), "acme_s": float(acme) / FS_HZ,
                "stop_s": round(float(b) / FS_HZ, 2), "height": round(float(height), 1),
            })  # fmt: skip
    return out


def _bridged(fhr: np.ndarray, longest_s: float) -> np.ndarray:
    """The trace with gaps up to `longest_s` between known samples filled by straight lines."""
    known = np.isfinite(fhr)
    at = np.flatnonzero(known)
    filled = np.interp(np.arange(len(fhr)), at, fhr[at], left=np.nan, right=np.nan)
    edges = np.flatnonzero(np.diff(np.r_[False, ~known, False].astype(int))).reshape(-1, 2)
    for a, b in edges:
        if b - a > longest_s * FS_HZ:
            filled[a:b] = np.nan
    return filled
