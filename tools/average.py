"""From a recording to its representative beat: clean, align, average.

Electrocardiographs do not measure single beats. They average the beats of the dominant class into one representative
beat a lead, all leads on one time axis, which lowers muscle noise by the root of the number of beats
(Zywietz, in Macfarlane, Comprehensive Electrocardiology; IEC 60601-2-25, Annex GG).

    clean, paced = cleaned(resampled(recording.signal, recording.fs_hz))
    beat = representative_beat(clean, r, others)

Everything works at `FS_HZ`; positions are samples at that rate unless a name says otherwise.
No filter touches the waves: mains is fitted and subtracted, baseline drifts are drawn through the points just before
each QRS, so that steep onsets stay where they are and ST levels stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import binary_dilation, median_filter, uniform_filter1d
from scipy.signal import resample_poly

from tools.beats import bridged

FS_HZ = 500
MS = 1000 // FS_HZ  # one sample in ms
R = 250  # sample of R in a beat
LENGTH = 650  # samples of a beat: 0.5 s before R, 0.8 s after


@dataclass(frozen=True)
class Beat:
    """The representative beat.

    Attributes
    ----------
    wave : (leads, LENGTH) mV, zero just before the QRS; R at sample `R`.
    halves : (2, leads, LENGTH) averages of every other beat: what differs between them is noise.
    r : (beats,) samples of R of the beats averaged.
    spike : sample of the pacing spike ahead of the QRS, None if there is none.
    rr : samples from beat to beat, median.
    """

    wave: np.ndarray
    halves: np.ndarray
    r: np.ndarray
    rr: float
    spike: int | None = None

    @property
    def noise_mv(self) -> np.ndarray:
        """(leads,) standard error of `wave`."""
        return np.std(self.halves[0] - self.halves[1], axis=1) / 2


def resampled(signal: np.ndarray, fs_hz: float) -> np.ndarray:
    """(leads, samples) at `FS_HZ`; gaps (NaN) are bridged by straight lines, missing leads are zero."""
    filled = bridged(signal)
    up, down = FS_HZ * 100, round(fs_hz * 100)
    common = int(np.gcd(up, down))
    if up == down:
        return filled
    middle = np.median(filled, axis=1, keepdims=True)
    return resample_poly(filled - middle, up // common, down // common, axis=1) + middle


def without_spikes(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bridge what is narrower than any heart muscle can be: pacing spikes and clicks.

    Returns the signal and the samples of the spikes. A spike stands out of an 18 ms median by more than half of all
    that happens within 20 ms around it, in all leads together.
    """
    out_of_median = np.linalg.norm(signal - median_filter(signal, size=(1, 9), mode="nearest"), axis=0)
    padded = np.pad(signal, ((0, 0), (10, 10)), mode="edge")
    around = np.linalg.norm(np.ptp(np.lib.stride_tricks.sliding_window_view(padded, 21, axis=1), axis=2), axis=0)
    spike = (out_of_median > 0.55 * around) & (out_of_median > 0.08 * np.percentile(around, 97))
    if not spike.any() or spike.mean() > 0.01:
        return signal, np.empty(0, int)
    bad = binary_dilation(spike, iterations=4)
    good = np.flatnonzero(~bad)
    bridged = np.stack([np.interp(np.arange(signal.shape[1]), good, row[good]) for row in signal])
    return bridged, np.flatnonzero(spike)


def without_mains(signal: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Subtract the 50 or 60 Hz sine that fits best between the QRS complexes, in leads where it explains something."""
    n = signal.shape[1]
    t = np.arange(n) / FS_HZ
    quiet = np.ones(n, bool)
    for peak in r:  # a QRS holds 50 Hz of its own
        quiet[max(0, peak - 50) : peak + 60] = False
    if quiet.sum() < FS_HZ:
        return signal
    fast = (signal - uniform_filter1d(signal, 25, axis=1))[:, quiet]
    for mains_hz in (50.0, 60.0):
        tried_hz = mains_hz + np.arange(-0.3, 0.31, 0.05)
        phase = 2 * np.pi * np.multiply.outer(tried_hz, t[quiet])
        power = (np.cos(phase) @ fast.T) ** 2 + (np.sin(phase) @ fast.T) ** 2
        hz = tried_hz[power.sum(axis=1).argmax()]
        basis = np.stack([np.cos(2 * np.pi * hz * t), np.sin(2 * np.pi * hz * t)])
        seen = basis[:, quiet]
        weight = np.linalg.solve(seen @ seen.T, seen @ fast.T)
        left = np.var(fast - weight.T @ seen, axis=1) / (np.var(fast, axis=1) + 1e-12)
        signal = signal - (weight * (left < 0.8)).T @ basis
    return signal


def baseline(signal: np.ndarray, r: np.ndarray, before: int) -> np.ndarray:
    """(leads, samples) smooth curve through the level in the 20 ms that end `before` samples ahead of each R."""
    n = signal.shape[1]
    at = r - before - 5
    at = at[(at >= 5) & (at < n - 5)]
    if not len(at):
        return np.repeat(np.median(signal, axis=1, keepdims=True), n, axis=1)
    level = np.stack([signal[:, p - 5 : p + 5].mean(axis=1) for p in at])
    if len(at) < 4:
        return np.stack([np.interp(np.arange(n), at, column) for column in level.T])
    at, level = np.r_[0, at, n - 1], np.vstack([level[:1], level, level[-1:]])
    apart = np.r_[True, np.diff(at) > 0]
    return CubicSpline(at[apart], level[apart], bc_type="natural")(np.arange(n)).T


def representative_beat(
    signal: np.ndarray, r: np.ndarray, others: np.ndarray, spikes: np.ndarray | None = None, before: int = 45
) -> Beat:
    """Average the beats at `r`.

    Parameters
    ----------
    signal : (leads, samples) mV at `FS_HZ`, clean.
    r : samples of R of the dominant class, at least one.
    others : samples of R of all other beats.
    spikes : samples of pacing spikes, from `without_spikes`.
    before : samples from the QRS onset to R, as far as known.
    """
    every = np.sort(np.concatenate([r, others]))
    rr = float(np.median(np.diff(every))) if len(every) > 1 else float(FS_HZ)
    flat = signal - baseline(signal, r, before)
    padded = np.pad(flat, ((0, 0), (R + 50, LENGTH)), constant_values=np.nan)
    for _ in range(2):
        lags = _lags(padded, r, np.nanmedian(_stack(padded, r), axis=0))
        r = np.clip(r + lags, 0, signal.shape[1] - 1)
    beats = _stack(padded, r)
    like = _likeness(beats, np.nanmedian(beats, axis=0))
    whole = np.isfinite(beats[:, 0, R - 60 : R + 150]).all(axis=1)  # the first and last beat may be cut off
    kept = (like >= min(0.9, float(np.median(like)))) & (whole if whole.any() else True)
    beats = beats[kept]
    halves = [_centre(beats[i::2]) if len(beats) > 1 else _centre(beats) for i in (0, 1)]
    return Beat(_centre(beats), np.stack(halves), r[kept], rr, _spike(r[kept], spikes))


def _spike(r: np.ndarray, spikes: np.ndarray | None) -> int | None:
    """Where in the beat the last pacing spike ahead of the QRS stands, if half of the beats have one."""
    if spikes is None or not len(spikes):
        return None
    last = [spikes[(spikes > p - 90) & (spikes < p)].max(initial=-1) - p for p in r]
    paced = np.array([gap for gap in last if gap > -90])
    return R + int(np.median(paced)) if 2 * len(paced) >= len(r) else None


def _stack(padded: np.ndarray, r: np.ndarray) -> np.ndarray:
    """(beats, leads, LENGTH) cut out around each R."""
    return np.stack([padded[:, p + 50 : p + 50 + LENGTH] for p in r])


def _centre(beats: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the beats at each sample: as robust as a median, less noisy."""
    ordered = np.sort(beats, axis=0)  # NaN last
    known = np.isfinite(ordered).sum(axis=0)
    rank = np.arange(len(beats))[:, None, None]
    cut = known // 4
    inside = (rank >= cut) & (rank < known - cut)
    total = np.where(inside, np.nan_to_num(ordered), 0).sum(axis=0)
    return total / np.maximum(inside.sum(axis=0), 1)


def _lags(padded: np.ndarray, r: np.ndarray, wave: np.ndarray, reach: int = 20) -> np.ndarray:
    """Shift of each beat, in samples, at which its slopes fit the mean QRS best."""
    core = np.nan_to_num(np.diff(wave[:, R - 50 : R + 60], axis=1))
    shifts = []
    for p in r:
        around = np.nan_to_num(np.diff(padded[:, p + R - reach : p + R + 110 + reach], axis=1))
        windows = np.lib.stride_tricks.sliding_window_view(around, core.shape[1], axis=1)
        shifts.append(int(np.tensordot(windows, core, axes=([0, 2], [0, 1])).argmax()) - reach)
    found = np.array(shifts)
    return found - int(np.median(found))


def _likeness(beats: np.ndarray, wave: np.ndarray) -> np.ndarray:
    """Correlation of every beat with the mean beat over QRS and T, all leads together."""
    part = slice(R - 60, R + 200)
    a = np.nan_to_num(beats[:, :, part]).reshape(len(beats), -1)
    b = np.nan_to_num(wave[:, part]).ravel()
    return (a @ b) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b) + 1e-12)
