"""Spirometry from the volume of forced expirations, as the ATS and ERS standardised it in 2019.

    volume -> flow -> time zero by back-extrapolation -> FEV1, FVC, FEF25-75 … and what is wrong with it (`measure`)
    several blows -> acceptable, usable, repeatable -> the best values and a grade A-F (`session`)

    blow = measure(volume_l, fs_hz)          # blow["fev1_l"], blow["bev_l"], blow["faults"]
    told = session([blow, blow, blow])       # told["fvc_l"], told["grades"]["fev1"]

Rules, limits and grades: Graham et al. 2019, Standardization of Spirometry 2019 Update, doi 10.1164/rccm.201908-1590ST.
Volumes are taken as BTPS. What the standard sees and a curve does not (a leak, an obstructed mouthpiece) is not judged.
`volume_of_flow` and `from_flow_volume` bring other curves to volume over time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.errors import UsageError

BEV_L, BEV_SHARE = 0.100, 0.05  # of FVC; the larger is the limit
PLATEAU_L, PLATEAU_S = 0.025, 1.0
LONG_S = 15.0  # a blow of this length has ended, plateau or not
HESITATION_S = 2.0
YOUNG = 6.0  # years; up to this age the limits are other ones
REPEATS_L = {False: (0.150, 0.200, 0.250), True: (0.100, 0.150, 0.200)}  # grades A and B, C, D; True: young
YOUNG_SHARE = 0.10  # of the largest value, if that is more
SMOOTH_S = 0.05  # over which flow is taken from volume
LEAST_PEF_LPS, LEAST_FVC_L = 0.2, 0.1  # below: no blow
MOST_PEF_LPS = 60.0  # four times what any lung blows
FAULTS = {  # fault: (bars FEV1 from being acceptable, FVC acceptable, FEV1 usable, FVC usable)
    "late start": (True, True, True, True),
    "faulty zero flow": (True, True, True, True),
    "cough in the first second": (True, False, False, False),
    "closed glottis in the first second": (True, True, True, True),
    "closed glottis": (False, True, False, False),
    "early end": (False, True, False, False),
    "not from full lungs": (True, True, False, False),
    "hesitation": (False, False, False, False),
    "shorter than one second": (True, True, True, False),
}


def measure(volume_l: np.ndarray, fs_hz: float, young: bool = False) -> dict[str, Any]:
    """One blow.

    Parameters
    ----------
    volume_l : (samples,) exhaled volume, NaN where there is none; what comes before and after the blow may be there.
    young : whether the child is six or younger: then the first 0.75 s count where else the first second does.

    Returns
    -------
    fev1_l, fvc_l, fev1_fvc, pef_lps, fef2575_lps, fev6_l, fet_s, bev_l, time_zero_s, peak_s, hesitation_s, plateau_l
    (what was exhaled in the last second), ended (why the end counts as one, or None), faults (names of `FAULTS`).

    Raises
    ------
    UsageError : no forced expiration is in it.
    """
    volume = _whole(volume_l)
    flow = flow_of(volume, fs_hz)
    peak = int(flow.argmax())
    before = volume[: peak + 1]
    start = int(len(before) - 1 - before[::-1].argmin())  # the last of the smallest
    end = _end(volume, peak)
    fvc, pef = float(volume[end] - volume[start]), float(flow[peak])
    if pef < LEAST_PEF_LPS or fvc < LEAST_FVC_L:
        raise UsageError("no forced expiration is in it")
    if pef > MOST_PEF_LPS:
        raise UsageError(f"a flow of {pef:.0f} L/s is impossible in one breath: it is noise, or the unit is another")
    exhaled = np.maximum.accumulate(volume[start : end + 1] - volume[start])
    seconds = np.arange(start, end + 1) / fs_hz
    top = _top(volume, flow, peak, fs_hz)
    zero = top[0] - (top[1] - volume[start]) / pef  # the tangent at the peak meets the level of full lungs
    last = end + int(np.flatnonzero(volume[end:] >= volume[end] - PLATEAU_L)[-1])  # flow may have stopped long before
    blow: dict[str, Any] = {
        "fvc_l": fvc,
        "pef_lps": pef,
        "bev_l": float(np.interp(zero, seconds, exhaled)),
        "time_zero_s": float(zero),
        "peak_s": float(top[0]),
        "hesitation_s": max(0.0, float(zero - _last_rest(seconds, exhaled))),
        "fet_s": float(seconds[-1] - zero),
    }
    lasts_s = last / fs_hz - zero
    for key, after_s in (("fev1_l", 1.0), ("fev6_l", 6.0)):
        told = blow["fet_s"] >= after_s or lasts_s >= after_s
        blow[key] = float(np.interp(zero + after_s, seconds, exhaled)) if told else None
    blow["fev1_fvc"] = None if blow["fev1_l"] is None else blow["fev1_l"] / fvc
    t25, t75 = (_time_at(exhaled, seconds, share * fvc) for share in (0.25, 0.75))
    blow["fef2575_lps"] = 0.5 * fvc / (t75 - t25) if t75 > t25 else None
    since = np.interp(last / fs_hz - PLATEAU_S, np.arange(len(volume)) / fs_hz, volume)
    blow["plateau_l"] = float(volume[end] - since) if lasts_s >= PLATEAU_S else None
    blow["ended"] = _ended(blow)
    blow["faults"] = _faults(blow, volume, flow, (peak, end, last), fs_hz, 0.75 if young else 1.0)
    return blow


def flow_of(volume_l: np.ndarray, fs_hz: float) -> np.ndarray:
    """(samples,) flow in L/s: the slope of a quartic through `SMOOTH_S` (Savitzky and Golay 1964).

    At 100 Hz it keeps 98 % of 15 Hz, up to which the standard wants a peak flow to be flat.
    """
    from scipy.signal import savgol_filter

    window = 2 * int(SMOOTH_S * fs_hz / 2) + 1
    if window < 5 or len(volume_l) < window:
        return np.gradient(volume_l, 1 / fs_hz)
    return savgol_filter(volume_l, window, 4, deriv=1, delta=1 / fs_hz, mode="nearest")


def volume_of_flow(flow_lps: np.ndarray, fs_hz: float) -> np.ndarray:
    """(samples,) volume in L of flow over time, from 0; gaps count as no flow, NaN at the ends stays."""
    there = np.flatnonzero(np.isfinite(flow_lps))
    out = np.full(len(flow_lps), np.nan)
    if there.size:
        part = np.nan_to_num(np.asarray(flow_lps, float)[there[0] : there[-1] + 1])
        out[there[0] : there[-1] + 1] = np.r_[0, np.cumsum((part[1:] + part[:-1]) / 2)] / fs_hz
    return out


def from_flow_volume(volume_l: np.ndarray, flow_lps: np.ndarray, fs_hz: float = 100.0) -> np.ndarray:
    """(samples,) volume over time of the expiratory limb of a flow-volume loop.

    Between two points the flow is taken to change evenly in time, so the step lasts dv over the mean of both flows;
    points where nothing flows and nothing is exhaled take no time.
    """
    volume, flow = np.asarray(volume_l, float), np.asarray(flow_lps, float)
    keep = np.isfinite(volume) & np.isfinite(flow)
    volume, flow = volume[keep], np.clip(flow[keep], 0, None)
    step, mean = np.diff(volume), (flow[1:] + flow[:-1]) / 2
    forward = (step > 0) & (mean > 1e-3)
    if forward.sum() < 5:
        raise UsageError("the flow-volume curve holds no expiration")
    at = np.r_[0, np.cumsum(step[forward] / mean[forward])]
    level = np.r_[0, np.cumsum(step[forward])]
    speed = np.r_[flow[:-1][forward][0], flow[1:][forward]]
    from scipy.interpolate import CubicHermiteSpline

    grid = np.arange(int(at[-1] * fs_hz) + 1) / fs_hz
    return np.maximum.accumulate(CubicHermiteSpline(at, level, speed)(grid))


def _whole(volume_l: np.ndarray) -> np.ndarray:
    """Without NaN: cut off at the ends, bridged inside."""
    volume = np.asarray(volume_l, float)
    there = np.flatnonzero(np.isfinite(volume))
    if there.size < 5:
        raise UsageError("no forced expiration is in it")
    at = np.arange(there[0], there[-1] + 1)
    return np.interp(at, there, volume[there])


def _end(volume: np.ndarray, peak: int) -> int:
    """Where the most is exhaled before the next breath in: the first sample of the highest."""
    after = volume[peak:]
    highest = np.maximum.accumulate(after)
    breath = np.flatnonzero(highest - after > max(0.1, 0.1 * float(after[0] - volume[: peak + 1].min())))
    stop = int(breath[0]) if breath.size else len(after)
    return peak + int(after[:stop].argmax())


def _top(volume: np.ndarray, flow: np.ndarray, peak: int, fs_hz: float) -> tuple[float, float]:
    """Time in s and volume in L of the highest flow, between samples: the parabola through three."""
    if not 0 < peak < len(flow) - 1:
        return peak / fs_hz, float(volume[peak])
    a, b, c = flow[peak - 1 : peak + 2]
    bend = a - 2 * b + c
    shift = float(np.clip(0.5 * (a - c) / bend, -0.5, 0.5)) if bend < 0 else 0.0
    return (peak + shift) / fs_hz, float(volume[peak] + shift * b / fs_hz)


def _last_rest(seconds: np.ndarray, exhaled: np.ndarray) -> float:
    """When the first 10 mL began to leave."""
    return float(seconds[np.flatnonzero(exhaled <= 0.010)[-1]])


def _time_at(exhaled: np.ndarray, seconds: np.ndarray, level: float) -> float:
    after = int(np.searchsorted(exhaled, level))
    low, high = exhaled[after - 1], exhaled[after]
    return float(seconds[after - 1] + (level - low) / (high - low) * (seconds[after] - seconds[after - 1]))


def _ended(blow: dict[str, Any]) -> str | None:
    if blow["plateau_l"] is not None and blow["plateau_l"] <= PLATEAU_L:
        return "plateau"
    return "15 seconds" if blow["fet_s"] >= LONG_S else None


def _faults(
    blow: dict[str, Any],
    volume: np.ndarray,
    flow: np.ndarray,
    at: tuple[int, int, int],
    fs_hz: float,
    first_s: float,
) -> list[str]:
    """Names of `FAULTS`, in its order."""
    peak, end, last = at
    zero, pef, fvc = blow["time_zero_s"], blow["pef_lps"], blow["fvc_l"]
    found = set()
    if blow["bev_l"] > max(BEV_L, BEV_SHARE * fvc):
        found.add("late start")
    if blow["hesitation_s"] > HESITATION_S:
        found.add("hesitation")
    if blow["fev1_l"] is None:
        found.add("shorter than one second")
    early = slice(peak, max(peak + 1, min(end, int((zero + first_s) * fs_hz)) + 1))
    rebound = flow[early] - np.minimum.accumulate(flow[early])
    if rebound.max(initial=0) > max(0.1 * pef, 0.4):
        found.add("cough in the first second")
    brisk = flow[max(peak, end - int(0.15 * fs_hz)) : max(peak, end - int(0.05 * fs_hz)) + 1].mean()
    if brisk > max(0.4, 0.08 * pef) and (last - end) / fs_hz >= 0.3:
        found.add("closed glottis" if blow["fet_s"] > first_s else "closed glottis in the first second")
    if blow["ended"] is None:
        found.add("early end")
    breath_in = float(volume[end] - volume[end:].min())
    if breath_in - fvc > max(BEV_L, BEV_SHARE * fvc):
        found.add("not from full lungs")
    tail = volume[end:]
    if len(tail) > 2 * fs_hz:  # a breath in is faster and ends
        slope = float(np.polyfit(np.arange(len(tail)) / fs_hz, tail, 1)[0])
        if slope < -0.02 and -flow[end:].min() < 0.4:
            found.add("faulty zero flow")
    return [fault for fault in FAULTS if fault in found]


def session(blows: list[dict[str, Any]], young: bool = False) -> dict[str, Any]:
    """The best of several blows, in the order they were made.

    Returns
    -------
    fev1_l, fvc_l : the largest of the acceptable, else of the usable, else of all blows; fev1_fvc of these two;
    pef_lps : the largest; fef2575_lps, fev6_l, fet_s, bev_l : of the blow with the largest FEV1 + FVC;
    best (its number from 0), ended (whether any reached a plateau or 15 s);
    acceptable, usable : {"fev1", "fvc": numbers of blows};
    repeatability_l : {"fev1", "fvc": difference of the two largest acceptable, None for fewer than two};
    grades : {"fev1", "fvc": "A" … "F"}, grade : the worse of both.
    """
    if not blows:
        raise UsageError("no blow can be measured")
    faults = [list(blow["faults"]) for blow in blows]
    for n, blow in enumerate(blows):  # the third way to end: as much came out as before
        prior = max((other["fvc_l"] for other in blows[:n]), default=None)
        if prior is not None and blow["fvc_l"] >= prior - _limits(young, prior)[0]:
            faults[n] = [fault for fault in faults[n] if fault != "early end"]
    allowed = {
        (what, of): [n for n, names in enumerate(faults) if not any(FAULTS[name][column] for name in names)]
        for column, (what, of) in enumerate(
            (("acceptable", "fev1"), ("acceptable", "fvc"), ("usable", "fev1"), ("usable", "fvc"))
        )
    }
    told: dict[str, Any] = {"grades": {}, "repeatability_l": {}}
    for of in ("fev1", "fvc"):
        values = [blow[f"{of}_l"] for blow in blows]
        from_ = next((rows for what in ("acceptable", "usable") if (rows := allowed[what, of])), range(len(blows)))
        told[f"{of}_l"] = max((values[n] for n in from_ if values[n] is not None), default=None)
        good = sorted((values[n] for n in allowed["acceptable", of]), reverse=True)
        told["repeatability_l"][of] = good[0] - good[1] if len(good) > 1 else None
        told["grades"][of] = _grade(good, len(allowed["usable", of]), young)
    told["ended"] = any(blow["ended"] for blow in blows)
    told["acceptable"] = {of: allowed["acceptable", of] for of in ("fev1", "fvc")}
    told["usable"] = {of: allowed["usable", of] for of in ("fev1", "fvc")}
    told["grade"] = max(told["grades"].values(), key="ABCDEUF".index)
    told["fev1_fvc"] = None if told["fev1_l"] is None else min(1.0, told["fev1_l"] / told["fvc_l"])
    among = allowed["acceptable", "fvc"] or allowed["usable", "fvc"] or range(len(blows))
    told["best"] = max(among, key=lambda n: (blows[n]["fev1_l"] or 0) + blows[n]["fvc_l"])
    told["pef_lps"] = max(blows[n]["pef_lps"] for n in (allowed["acceptable", "fev1"] or range(len(blows))))
    best = blows[told["best"]]
    return told | {key: best[key] for key in ("fef2575_lps", "fev6_l", "fet_s", "bev_l")} | {"faults": faults}


def _limits(young: bool, largest: float) -> tuple[float, ...]:
    least = YOUNG_SHARE * largest if young else 0.0
    return tuple(max(limit, least) for limit in REPEATS_L[young])


def _grade(good: list[float], usable: int, young: bool) -> str:
    """Of the acceptable values, largest first, and how many are usable."""
    if len(good) > 1:
        apart = good[0] - good[1] - 1e-9
        ab, c, d = _limits(young, good[0])
        return (
            "B"
            if apart <= ab and len(good) == 2
            else "A"
            if apart <= ab
            else "C"
            if apart <= c
            else "D"
            if apart <= d
            else "E"
        )
    return "E" if good else "U" if usable else "F"
