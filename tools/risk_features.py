"""What an ambulatory strip of one or two leads tells about the heart: rate, its variability, ectopy, shape of beats.

    minutes = by_minute(signal_mv, fs_hz)            # a dict of STRIP for each readable minute
    values = strip_features(signal_mv, fs_hz)        # their mean: {name: number, NaN where it cannot be told}

Every lead is resampled to 125 Hz, filtered to 0.5-30 Hz and divided by its own beat height first, so that gain, rate
and bandwidth of the recorder are not what a model learns; shares of the spectrum are left out for the same reason.
Features are taken minute by minute and averaged: five minutes mean the same as one. `training/risk_cohort.py` and
`tools/risk.py` call the same code. HRV as in Task Force 1996 (doi 10.1161/01.CIR.93.5.1043), to the 8 ms of a sample;
T-wave alternans as what repeats every second beat (Rosenbaum et al. 1994, doi 10.1056/NEJM199401273300402), a proxy on
one lead. Words for each feature are in tools/risk_words.py.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from scipy import signal as dsp

from tools.beat_kinds import label_beats
from tools.beats import alike_beats, r_peaks
from tools.gaps import bridged

FS_HZ = 125.0
BAND_HZ = (0.5, 30.0)
MINUTE_S = 60.0
LEAST_BEATS = 20  # in a minute
MOST_LOST = 0.1  # of a lead's minute, to use it
BEFORE_S, AFTER_S = 0.30, 0.48  # of a beat's window

RATE = ("heart_rate_bpm", "rate_trend_bpm")
VARIABILITY = ("sdnn_ms", "rmssd_ms", "pnn50_percent", "rr_cv_percent")
ECTOPY = (
    *("pvc_percent", "pac_percent", "pvc_run_percent", "longest_pvc_run", "pvc_coupling_percent"),
    *("early_beat_percent", "pause_percent"),
)
SHAPE = (
    *("qrs_width_ms", "beat_alike", "odd_beat_percent", "p_height_percent", "st_percent", "t_height_percent"),
    *("rt_ms", "rtc_ms", "t_width_ms", "t_variability_percent", "t_alternans_percent"),
)
STRIP = (*RATE, *VARIABILITY, *ECTOPY, *SHAPE)
GROUPS = ("superclass", "subclass", "statement")
SINGLE = (  # what the reading encoder can tell from a lead that has no name
    *("NORM", "STTC", "CD", "SR", "AFIB", "STACH", "SBRAD", "SARRH", "PVC", "PAC"),
    *("CLBBB", "CRBBB", "IVCD", "INVT", "LOWT"),
)
OF_ENCODER = tuple(f"p_{code}" for code in SINGLE)
NAMES = (*STRIP, *OF_ENCODER)


def at_125_hz(signal: np.ndarray, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """(leads, samples) at 125 Hz, 0.5-30 Hz, a usual second one high; and (leads, samples) bool, where it was lost.

    A lead with no signal is zero.
    """
    signal = np.atleast_2d(np.asarray(signal, float))
    lost = ~np.isfinite(signal)
    clean = bridged(signal)
    clean -= np.median(clean, axis=1, keepdims=True)
    step = Fraction(FS_HZ / fs_hz).limit_denominator(2000)
    slow = dsp.resample_poly(clean, step.numerator, step.denominator, axis=1)
    sos = dsp.butter(2, BAND_HZ, "band", fs=FS_HZ, output="sos")
    x = dsp.sosfiltfilt(sos, slow, axis=1)
    height = usual_height(x)[:, None]
    at = np.minimum((np.arange(x.shape[1]) * fs_hz / FS_HZ).astype(int), lost.shape[1] - 1)
    return np.where(height > 0, x / np.where(height > 0, height, 1), 0), lost[:, at]


def usual_height(x: np.ndarray) -> np.ndarray:
    """(leads,) median over seconds of highest less lowest."""
    second = int(FS_HZ)
    whole = x[:, : x.shape[1] // second * second].reshape(len(x), -1, second)
    return np.median(np.ptp(whole, axis=2), axis=1) if whole.shape[1] else np.zeros(len(x))


def by_minute(signal: np.ndarray, fs_hz: float, encoder: Any = None) -> list[dict[str, float] | None]:
    """Features of every whole minute, counted from the end; None for one that cannot be read.

    Parameters
    ----------
    signal : (leads, samples) in any unit, NaN where nothing was recorded; one or two leads of one heart.
    encoder : of encoders.reading; its probabilities are added as `OF_ENCODER`.
    """
    x, lost = at_125_hz(signal, fs_hz)
    size = round(MINUTE_S * FS_HZ)
    starts = range(x.shape[1] % size, x.shape[1] - size + 1, size)
    return [minute(x[:, at : at + size], lost[:, at : at + size], encoder) for at in starts]


def strip_features(signal: np.ndarray, fs_hz: float, encoder: Any = None) -> dict[str, float] | None:
    """Mean of the minutes' features, NaN for one that no minute tells; None where no minute can be read."""
    return mean_of([one for one in by_minute(signal, fs_hz, encoder) if one is not None])


def mean_of(minutes: list[dict[str, float]]) -> dict[str, float] | None:
    """One strip of several minutes."""
    if not minutes:
        return None
    rows = np.array([list(one.values()) for one in minutes])
    known = np.isfinite(rows)
    total = np.where(known, rows, 0).sum(0) / np.maximum(known.sum(0), 1)
    return dict(zip(minutes[0], map(float, np.where(known.any(0), total, np.nan)), strict=True))


def minute(x: np.ndarray, lost: np.ndarray, encoder: Any = None) -> dict[str, float] | None:
    """Features of a minute that `at_125_hz` gave; None where beats cannot be told."""
    x = x[(lost.mean(1) <= MOST_LOST) & (usual_height(x) > 0)]
    peaks = r_peaks(x, FS_HZ) if len(x) else np.empty(0, int)
    if len(peaks) < LEAST_BEATS:
        return None
    kinds = np.array(label_beats(x, FS_HZ, peaks))
    alike = alike_beats(x, FS_HZ, peaks)
    best = int(np.nanmedian(alike, axis=1).argmax())
    values = dict.fromkeys(STRIP, float("nan"))
    values |= _rhythm(peaks, kinds) | _shape(x[best], peaks, kinds, alike[best])
    return values if encoder is None else values | _read(x[best], encoder)


def _rhythm(peaks: np.ndarray, kinds: np.ndarray) -> dict[str, float]:
    """Rate, variability of normal beats (Task Force 1996), and ectopic beats as shares of all."""
    rr = np.diff(peaks) / FS_HZ * 1000
    ventricular, early = kinds == "V", kinds == "S"
    normal = kinds == "N"
    nn = rr[normal[:-1] & normal[1:]]
    usual = float(np.median(nn)) if len(nn) else float(np.median(rr))
    pair = normal[:-2] & normal[1:-1] & normal[2:]
    change = np.diff(rr)[pair]
    half = len(rr) // 2
    runs = _runs(ventricular)
    coupled = rr[ventricular[1:] & ~ventricular[:-1]]
    found = {
        "heart_rate_bpm": 60_000 / rr.mean(),
        "rate_trend_bpm": 60_000 / rr[half:].mean() - 60_000 / rr[:half].mean(),
        "rr_cv_percent": 100 * rr.std() / rr.mean(),
        "pvc_percent": 100 * ventricular.mean(),
        "pac_percent": 100 * early.mean(),
        "pvc_run_percent": 100 * sum(n for n in runs if n > 1) / len(kinds),
        "longest_pvc_run": max(runs, default=0),
        "early_beat_percent": 100 * (rr < 0.8 * usual).mean(),
        "pause_percent": 100 * (rr > 1.3 * usual).mean(),
    }
    if len(nn) >= 10:
        found["sdnn_ms"] = nn.std(ddof=1)
    if len(change) >= 10:
        found |= {"rmssd_ms": np.sqrt(np.mean(change**2)), "pnn50_percent": 100 * (np.abs(change) > 50).mean()}
    if len(coupled):
        found["pvc_coupling_percent"] = 100 * np.median(coupled) / usual
    return {name: float(value) for name, value in found.items()}


def _runs(flags: np.ndarray) -> list[int]:
    """Lengths of the runs of True."""
    edges = np.flatnonzero(np.diff(np.r_[False, flags, False].astype(int)))
    return [int(n) for n in edges[1::2] - edges[::2]]


def _shape(x: np.ndarray, peaks: np.ndarray, kinds: np.ndarray, alike: np.ndarray) -> dict[str, float]:
    """The usual beat of one lead, in shares of its QRS height, and how beats differ from it."""
    before, after = round(BEFORE_S * FS_HZ), round(AFTER_S * FS_HZ)
    inside = (peaks >= before) & (peaks < len(x) - after)
    found = {"beat_alike": float(np.median(alike)), "odd_beat_percent": float(100 * (alike < 0.8).mean())}
    chosen = inside & (kinds == "N") if (inside & (kinds == "N")).sum() >= 10 else inside
    beats = x[peaks[chosen][:, None] + np.arange(-before, after)]
    usual_s = float(np.median(np.diff(peaks))) / FS_HZ
    beat = np.median(beats, axis=0)
    at_ms = np.arange(-before, after) / FS_HZ * 1000
    level = float(np.median(beat[(at_ms >= -90) & (at_ms <= -60)]))
    qrs = beat[np.abs(at_ms) <= 80]
    height = float(np.ptp(qrs))
    if height <= 0:
        return found
    up = 1.0 if qrs.max() - level >= level - qrs.min() else -1.0
    p = beat[(at_ms >= -240) & (at_ms <= -100)]
    t_end_ms = min(440.0, 1000 * 0.7 * usual_s)
    of_t = (at_ms >= 140) & (at_ms <= t_end_ms)
    found |= {
        "qrs_width_ms": _width_ms(np.abs(np.gradient(beat))[np.abs(at_ms) <= 120], 0.15),
        "p_height_percent": 100 * float(p.max() - np.median(p)) / height,
        "st_percent": 100 * up * (float(beat[(at_ms >= 80) & (at_ms <= 110)].mean()) - level) / height,
    }
    if of_t.sum() < 10:  # too fast to have a T wave of its own
        return found
    t = beat[of_t] - level
    peak = int(np.abs(t).argmax())
    rt_ms = float(at_ms[of_t][peak])
    # between beats: T as a mean over its top, against the beat's own level
    top = of_t & (np.abs(at_ms - rt_ms) <= 60)
    levels = beats[:, (at_ms >= -90) & (at_ms <= -60)].mean(1)
    each = beats[:, top].mean(1) - levels
    found |= {
        "t_height_percent": 100 * up * float(t[peak]) / height,
        "rt_ms": rt_ms,
        "rtc_ms": rt_ms / usual_s**0.5,
        "t_width_ms": _width_ms(np.abs(t), 0.5),
        "t_variability_percent": 100 * float(np.median(np.abs(each - np.median(each)))) / height,
        "t_alternans_percent": 100 * _alternans(each) / height,
    }
    return found


def _width_ms(curve: np.ndarray, share: float) -> float:
    """Time for which a curve stays above a share of its peak, around the peak; between samples by straight lines."""
    peak = int(curve.argmax())
    limit = share * curve[peak]
    above = np.flatnonzero(curve >= limit)
    first, last = int(above[0]), int(above[-1])
    left = first - (curve[first] - limit) / (curve[first] - curve[first - 1]) if first else 0.0
    right = last + (curve[last] - limit) / (curve[last] - curve[last + 1]) if last < len(curve) - 1 else float(last)
    return float(right - left) / FS_HZ * 1000


def _alternans(values: np.ndarray) -> float:
    """Size of what repeats every second beat, less what noise of the neighbouring rhythms gives; never below 0."""
    if len(values) < 16:
        return float("nan")
    power = np.abs(np.fft.rfft(dsp.detrend(values[: len(values) // 2 * 2]))) ** 2 / (len(values) // 2 * 2) ** 2
    near = power[int(0.86 * len(power)) : -1]
    return float(np.sqrt(max(power[-1] - near.mean(), 0)))


def _read(x: np.ndarray, encoder: Any) -> dict[str, float]:
    """What the network of the reading encoder makes of one lead whose beats are one millivolt high."""
    seen = encoder.read(x[None].astype(np.float32), FS_HZ, ("lead",))
    flat = {code: p for group in GROUPS for code, p in seen.probabilities.get(group, {}).items()}
    return {f"p_{code}": float(flat.get(code, np.nan)) for code in SINGLE}
