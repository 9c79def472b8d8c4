"""Features of a cardiotocogram as FIGO defines them (Ayres-de-Campos et al. 2015, doi 10.1016/j.ijgo.2015.06.020).

    read = features(heart_trace(recording))        # tools/ctg_signal.py
    read.values["baseline_bpm"], read.decelerations[0]["depth_bpm"], read.baseline_bpm   # numbers, events, the curve

FIGO's words leave room; where they do, each function says how it is measured here. What cannot be measured is None and
`warnings` says why. Nothing here is a verdict: FIGO's classes (normal, suspicious, pathological) are not given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.ctg_events import accelerations, contractions, decelerations
from tools.ctg_signal import FS_HZ, Trace

MOST_LOSS = 0.2  # FIGO: a trace with more loss is to be read with care
SHORTEST_MIN, ASKED_MIN = 2.0, 10.0  # of heart rate for a baseline: least, and as FIGO asks
EPOCH = 15  # samples: 3.75 s, a sixteenth of a minute, as Dawes and Redman count
MINUTE = 60 * FS_HZ
NUMBERS = (
    *("baseline_bpm", "variability_bpm", "reduced_share", "stv_ms", "ltv_ms", "accelerations_per_h"),
    *("decelerations_per_h", "deepest_bpm", "deceleration_share", "prolonged_per_h", "tachycardia_share"),
    *("bradycardia_share", "signal_loss", "contractions_per_10_min"),
)


@dataclass(frozen=True)
class Features:
    """What was read from a trace.

    Attributes
    ----------
    values : plain numbers (`features` lists them).
    accelerations, decelerations, contractions : one dict an event, times in s from the beginning.
    baseline_bpm : (samples,) the baseline at 4 Hz; NaN throughout if there is none.
    warnings : one sentence each.
    """

    values: dict[str, Any]
    accelerations: list[dict[str, Any]]
    decelerations: list[dict[str, Any]]
    contractions: list[dict[str, Any]]
    baseline_bpm: np.ndarray
    warnings: tuple[str, ...]


def features(trace: Trace) -> Features:
    """All features of a cleaned trace.

    `values` holds baseline_bpm (median over time), baseline_per_10_min_bpm, tachycardia_min and bradycardia_min (time
    above 160 and below 110 bpm), variability_bpm, reduced_variability_min and increased_variability_min (longest
    stretch below 5 and above 25 bpm), stv_ms, ltv_ms, accelerations, decelerations {kind: count}, signal_loss (share),
    longest_gap_s, contractions_per_10_min, tachysystole, minutes, and the rates and shares of `NUMBERS`.
    """
    fhr, said = trace.fhr_bpm, list(trace.warnings)
    known_min = float(np.isfinite(fhr).sum()) / MINUTE
    values: dict[str, Any] = {
        "minutes": round(trace.minutes, 2),
        "signal_loss": round(trace.loss, 4),
        "longest_gap_s": _longest_gap_s(fhr),
        "removed_s": {kind: round(float(seconds), 1) for kind, seconds in trace.removed_s.items()},
    }
    cramps = contractions(trace.uc)
    values |= _uterine(trace.uc, cramps)
    if trace.loss > MOST_LOSS:
        said.append(f"{100 * trace.loss:.0f} % of the heart rate is missing; FIGO asks for less than 20 %.")
    usable = known_min >= SHORTEST_MIN and not trace.two_rates and not trace.constant
    if not usable:
        if known_min < SHORTEST_MIN:
            said.append(f"No baseline is read: {60 * known_min:.0f} s of heart rate are less than two minutes.")
        else:
            said.append("Baseline, variability, accelerations and decelerations are not read from such a trace.")
        return Features(values | _NOTHING, [], [], cramps, np.full(len(fhr), np.nan), tuple(said))
    if known_min < ASKED_MIN:
        said.append(f"The baseline rests on {known_min:.1f} min of heart rate; FIGO asks for ten.")
    base = baseline(fhr)
    ups, downs = accelerations(fhr, base), decelerations(fhr, base, cramps, trace.uc is not None)
    values |= _levels(base, fhr, known_min) | _variability(fhr, ups, downs) | _counts(ups, downs, known_min)
    return Features(values, ups, downs, cramps, base, tuple(said))


_NOTHING = {
    **dict.fromkeys(("baseline_bpm", "baseline_per_10_min_bpm", "tachycardia_min", "bradycardia_min")),
    **dict.fromkeys(("variability_bpm", "reduced_variability_min", "increased_variability_min", "stv_ms", "ltv_ms")),
    **dict.fromkeys(("accelerations", "decelerations", *NUMBERS[5:12], "reduced_share")),
}


def baseline(fhr: np.ndarray) -> np.ndarray:
    """(samples,) baseline in bpm: FIGO's "mean level of the most horizontal and less oscillatory segments".

    Estimated each minute from the ten minutes around it: seconds weighed by how still the half minute around them is,
    the commonest level of these (kernel of 3 bpm; a little of the whole trace's levels is added, so that ten minutes
    of decelerations do not become the baseline), the weighed mean within 8 bpm of it; then a line through the minutes.
    """
    from scipy.ndimage import gaussian_filter1d, uniform_filter1d

    seconds = _seconds(fhr)
    known = np.isfinite(seconds)
    still = 1 / (1 + np.square(_spread(seconds, 31) / 3)) * known
    bins = np.arange(49.5, 221)
    level = np.nan_to_num(seconds, nan=0.0)

    def histogram(part: slice) -> np.ndarray:
        return gaussian_filter1d(np.histogram(level[part], bins, weights=still[part])[0], 3.0)

    whole = histogram(slice(None))
    at, found = [], []
    width = min(600, len(seconds))
    for middle in range(0, len(seconds) + 60, 60):
        start = min(max(middle - width // 2, 0), len(seconds) - width)
        part = slice(start, start + width)
        if known[part].sum() < 60 * min(SHORTEST_MIN, width / 120):
            continue
        here = histogram(part)
        mode = 50 + int(np.argmax(here / here.sum() + 0.25 * whole / whole.sum()))
        near = still[part] * (np.abs(level[part] - mode) <= 8)
        if near.sum() > 0:
            at.append(middle)
            found.append(float((near * level[part]).sum() / near.sum()))
    curve = np.interp(np.arange(len(seconds)), at, found)
    curve = uniform_filter1d(curve, 121, mode="nearest")
    return np.interp(np.arange(len(fhr)) / FS_HZ, np.arange(len(seconds)), curve)


def vector(values: dict[str, Any]) -> np.ndarray:
    """(len(NUMBERS),) float of a trace's values; NaN where there is none. For regressions on FIGO features."""
    return np.array([np.nan if values.get(name) is None else float(values[name]) for name in NUMBERS])


def _levels(base: np.ndarray, fhr: np.ndarray, known_min: float) -> dict[str, Any]:
    """Baseline as one number and for each ten minutes; time and share above 160 and below 110 bpm."""
    parts = [slice(a, a + 10 * MINUTE) for a in range(0, max(len(base) - 5 * MINUTE, 1), 10 * MINUTE)]
    seen = [np.isfinite(fhr[part]).sum() >= SHORTEST_MIN * MINUTE for part in parts]
    each = [round(float(base[part].mean())) if there else None for part, there in zip(parts, seen, strict=True)]
    level = np.round(base[np.isfinite(fhr)])
    fast, slow = float((level > 160).mean()), float((level < 110).mean())
    return {
        "baseline_bpm": round(float(np.median(base))), "baseline_per_10_min_bpm": each,
        "tachycardia_share": fast, "bradycardia_share": slow,
        "tachycardia_min": round(fast * known_min, 1),
        "bradycardia_min": round(slow * known_min, 1),
    }  # fmt: skip


def _variability(fhr: np.ndarray, ups: list[dict[str, Any]], downs: list[dict[str, Any]]) -> dict[str, Any]:
    """FIGO's variability, mean bandwidth (highest less lowest) of one-minute segments, and Dawes and Redman's.

    Minutes count that are known for half and lie outside accelerations and decelerations; the rate is taken as means
    of a second. stv_ms: mean step between pulse intervals averaged over 3.75 s, ltv_ms: mean range of these in a minute
    (Pardey, Moulden and Redman 2002, doi 10.1067/mob.2002.122447), both outside decelerations.
    """
    seconds = _seconds(fhr)
    calm = seconds.copy()
    for event in [*ups, *downs]:
        calm[int(event["start_s"]) : int(event["stop_s"]) + 1] = np.nan
    minutes = calm[: len(calm) // 60 * 60].reshape(-1, 60)
    seen = np.isfinite(minutes).sum(axis=1) >= 30
    band = np.full(len(minutes), np.nan)
    band[seen] = np.nanmax(minutes[seen], axis=1) - np.nanmin(minutes[seen], axis=1)
    intervals = 60000 / fhr
    for event in downs:
        intervals[int(event["start_s"] * FS_HZ) : int(event["stop_s"] * FS_HZ) + 1] = np.nan
    epochs = intervals[: len(intervals) // EPOCH * EPOCH].reshape(-1, EPOCH)
    enough = np.isfinite(epochs).sum(axis=1) > EPOCH // 2
    mean = np.full(len(epochs), np.nan)
    mean[enough] = np.nanmean(epochs[enough], axis=1)
    steps = np.abs(np.diff(mean))
    rows = mean[: len(mean) // 16 * 16].reshape(-1, 16)
    rows = rows[np.isfinite(rows).sum(axis=1) >= 8]
    long_ms = np.nanmax(rows, axis=1) - np.nanmin(rows, axis=1) if len(rows) else np.empty(0)
    return {
        "variability_bpm": _mean(band), "stv_ms": _mean(steps, 2), "ltv_ms": _mean(long_ms),
        "reduced_variability_min": _longest(band < 5), "increased_variability_min": _longest(band > 25),
        "reduced_share": float((band[seen] < 5).mean()) if seen.any() else None,
    }  # fmt: skip


def _counts(ups: list[dict[str, Any]], downs: list[dict[str, Any]], known_min: float) -> dict[str, Any]:
    kinds = ("early", "late", "variable", "prolonged", "gradual")
    count = {kind: sum(down["kind"] == kind for down in downs) for kind in kinds}
    per_h = 60 / known_min
    return {
        "accelerations": len(ups), "decelerations": count,
        "accelerations_per_h": len(ups) * per_h, "decelerations_per_h": len(downs) * per_h,
        "prolonged_per_h": count["prolonged"] * per_h,
        "deepest_bpm": max((down["depth_bpm"] for down in downs), default=0.0),
        "deceleration_share": float(sum(down["duration_s"] for down in downs) / (60 * known_min)),
    }  # fmt: skip


def _uterine(uc: np.ndarray | None, cramps: list[dict[str, Any]]) -> dict[str, Any]:
    """Contractions in ten minutes of known uterine activity; tachysystole: over five, averaged over at least 30 min."""
    if uc is None:
        return {"contractions": None, "contractions_per_10_min": None, "tachysystole": None}
    minutes = float(np.isfinite(uc).sum()) / MINUTE
    rate = round(10 * len(cramps) / minutes, 2)
    return {
        "contractions": len(cramps), "contractions_per_10_min": rate,
        "tachysystole": rate > 5 if minutes >= 30 else None,
    }  # fmt: skip


def _seconds(fhr: np.ndarray) -> np.ndarray:
    """(seconds,) mean of what is known of each second, NaN if nothing is."""
    rows = fhr[: len(fhr) // FS_HZ * FS_HZ].reshape(-1, FS_HZ)
    count = np.isfinite(rows).sum(axis=1)
    return np.where(count > 0, np.nansum(rows, axis=1) / np.maximum(count, 1), np.nan)


def _spread(values: np.ndarray, width: int) -> np.ndarray:
    """Running standard deviation of what is known in `width` samples around each; 9 where little is."""
    from scipy.ndimage import uniform_filter1d

    known = np.isfinite(values).astype(float)
    level = np.nan_to_num(values - np.nanmedian(values))
    share = uniform_filter1d(known, width, mode="constant")
    safe = np.maximum(share, 1e-9)
    mean = uniform_filter1d(level, width, mode="constant") / safe
    square = uniform_filter1d(level * level, width, mode="constant") / safe
    return np.where(share > 0.3, np.sqrt(np.maximum(square - mean * mean, 0)), 9.0)


def _longest_gap_s(fhr: np.ndarray) -> float:
    edges = np.flatnonzero(np.diff(np.r_[False, np.isnan(fhr), False].astype(int))).reshape(-1, 2)
    return float(np.diff(edges).max(initial=0)) / FS_HZ


def _longest(flags: np.ndarray) -> int:
    """Length of the longest run of true values: minutes."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(int))).reshape(-1, 2)
    return int(np.diff(edges).max(initial=0))


def _mean(values: np.ndarray, digits: int = 1) -> float | None:
    known = values[np.isfinite(values)]
    return round(float(known.mean()), digits) if len(known) else None
