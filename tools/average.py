"""From a recording to its representative beat: clean, align, average.

Electrocardiographs do not measure single beats. They average the beats of the dominant class into one representative
beat a lead, all leads on one time axis, which lowers muscle noise by the root of the number of beats
(Zywietz, in Macfarlane, Comprehensive Electrocardiology; IEC 60601-2-25, Annex GG).

    clean, spikes = without_spikes(resampled(recording.signal, recording.fs_hz))
    beat = representative_beat(without_mains(clean, r), r, others, spikes)

Everything works at `FS_HZ`; positions are samples at that rate unless a name says otherwise.
No filter touches the waves: mains is fitted and subtracted, baseline drifts are drawn through the points just before
each QRS, so that steep onsets stay where they are and ST levels stay what they are.

A lead is averaged over the beats in which it was recorded; where that is never, the beat is NaN (tools/gaps.py). Beats
of leads that were never recorded together, as in the columns of a page, are aligned by tools/alignment.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.ndimage import binary_dilation, median_filter, uniform_filter1d
from scipy.signal import resample_poly

from tools.alignment import lags, lags_apart
from tools.gaps import at_times, bridged, columns, gaps, middle

FS_HZ = 500
MS = 1000 // FS_HZ  # one sample in ms
R = 250  # sample of R in a beat
LENGTH = 650  # samples of a beat: 0.5 s before R, 0.8 s after
CORE = slice(R - 60, R + 150)  # what must be recorded for a beat to count


@dataclass(frozen=True)
class Beat:
    """The representative beat.

    Attributes
    ----------
    wave : (leads, LENGTH) mV, zero just before the QRS; R at sample `R`; NaN where never recorded.
    halves : (2, leads, LENGTH) averages of every other beat: what differs between them is noise.
    r : (beats,) samples of R of the beats averaged.
    counts : (leads,) how many of them each lead has.
    spike : sample of the pacing spike ahead of the QRS, None if there is none.
    rr : samples from beat to beat, median.
    """

    wave: np.ndarray
    halves: np.ndarray
    r: np.ndarray
    rr: float
    counts: np.ndarray
    spike: int | None = None

    @property
    def noise_mv(self) -> np.ndarray:
        """(leads,) standard error of `wave`; a lead with a single beat is taken to be as noisy as the noisiest."""
        apart = [row[np.isfinite(row)] for row in self.halves[0] - self.halves[1]]
        noise = [float(np.std(row)) / 2 if len(row) else None for row in apart]
        worst = max((level for level in noise if level is not None), default=0.0)
        return np.array([worst if level is None else level for level in noise])


def resampled(signal: np.ndarray, fs_hz: float) -> np.ndarray:
    """(leads, samples) at `FS_HZ`; dropouts are bridged by straight lines, gaps stay NaN."""
    filled, gap = bridged(signal), gaps(signal, fs_hz)
    up, down = FS_HZ * 100, round(fs_hz * 100)
    common = int(np.gcd(up, down))
    if up != down:
        middle = np.median(filled, axis=1, keepdims=True)
        filled = resample_poly(filled - middle, up // common, down // common, axis=1) + middle
        gap = at_times(gap, np.arange(filled.shape[1]) * down / up)
    filled[gap] = np.nan
    return filled


def without_spikes(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bridge what is narrower than any heart muscle can be: pacing spikes and clicks.

    Returns the signal and the samples of the spikes. A spike stands out of an 18 ms median by more than half of all
    that happens within 20 ms around it, in all leads together.
    """
    filled = bridged(signal)
    out_of_median = np.linalg.norm(filled - median_filter(filled, size=(1, 9), mode="nearest"), axis=0)
    padded = np.pad(filled, ((0, 0), (10, 10)), mode="edge")
    around = np.linalg.norm(np.ptp(np.lib.stride_tricks.sliding_window_view(padded, 21, axis=1), axis=2), axis=0)
    spike = (out_of_median > 0.55 * around) & (out_of_median > 0.08 * np.percentile(around, 97))
    if not spike.any() or spike.mean() > 0.01:
        return signal, np.empty(0, int)
    bad = binary_dilation(spike, iterations=4)
    good = np.flatnonzero(~bad)
    mended = np.stack([np.interp(np.arange(signal.shape[1]), good, row[good]) for row in filled])
    return np.where(np.isfinite(signal), mended, np.nan), np.flatnonzero(spike)


def without_mains(signal: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Subtract the 50 or 60 Hz sine that fits best between the QRS complexes, in leads where it explains something."""
    quiet = np.ones(signal.shape[1], bool)
    for peak in r:  # a QRS holds 50 Hz of its own
        quiet[max(0, peak - 50) : peak + 60] = False
    out = signal.copy()
    for rows, known in columns(~np.isfinite(signal)):
        if (quiet & known).sum() >= FS_HZ:
            out[rows] = _without_sines(signal[rows], quiet & known)
    return out


def _without_sines(signal: np.ndarray, quiet: np.ndarray) -> np.ndarray:
    """(leads, samples) with the sines fitted where it is quiet, (samples,) bool, taken off throughout."""
    t = np.arange(signal.shape[1]) / FS_HZ
    filled = bridged(signal)
    fast = (filled - uniform_filter1d(filled, 25, axis=1))[:, quiet]
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
    at = r - before - 5
    at = at[(at >= 5) & (at < signal.shape[1] - 5)]
    curve = np.full(signal.shape, np.nan)
    for rows, known in columns(~np.isfinite(signal)):
        if known.any():
            curve[rows] = _through(signal[rows], known, np.array([p for p in at if known[p - 5 : p + 5].all()], int))
    return curve


def _through(signal: np.ndarray, known: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(leads, samples) curve through the levels at `at`, between them and level beyond."""
    n = signal.shape[1]
    if not len(at):
        return np.repeat(np.median(signal[:, known], axis=1, keepdims=True), n, axis=1)
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
    beats = _stack(signal, r)
    r = _moved(r, lags_apart(beats, _has_qrs(beats), R), signal)  # ahead of the baseline, which passes before the QRS
    flat = signal - baseline(signal, r, before)
    for _ in range(2):
        beats = _stack(flat, r)
        r = _moved(r, lags(beats, _has_qrs(beats), R), signal)
    beats = _stack(flat, r)
    r = _moved(r, lags_apart(beats, _has_qrs(beats), R), signal)
    beats = _stack(flat, r)
    has = _has_qrs(beats)
    has |= ~has.any()  # beats that are all cut off: what there is of them
    like = _likeness(beats, middle(beats, 0), has)
    kept = (like >= min(0.9, float(np.median(like)))) & has.any(axis=1)  # the first and last beat may be cut off
    r, has = r[kept], has[kept]
    beats = np.where(has[:, :, None], beats[kept], np.nan)
    turn = np.where(has, np.cumsum(has, axis=0) % 2, -1)[:, :, None] if len(r) > 1 else None
    halves = [_centre(beats if turn is None else np.where(turn == i, beats, np.nan)) for i in (1, 0)]
    return Beat(_centre(beats), np.stack(halves), r, rr, has.sum(axis=0), _spike(r, spikes))


def _moved(r: np.ndarray, shifts: np.ndarray, signal: np.ndarray) -> np.ndarray:
    return np.clip(r + shifts, 0, signal.shape[1] - 1)


def _has_qrs(beats: np.ndarray) -> np.ndarray:
    """(beats, leads) bool: which QRS each lead recorded."""
    return np.isfinite(beats[:, :, CORE]).all(axis=2)


def _spike(r: np.ndarray, spikes: np.ndarray | None) -> int | None:
    """Where in the beat the last pacing spike ahead of the QRS stands, if half of the beats have one."""
    if spikes is None or not len(spikes):
        return None
    last = [spikes[(spikes > p - 90) & (spikes < p)].max(initial=-1) - p for p in r]
    paced = np.array([gap for gap in last if gap > -90])
    return R + int(np.median(paced)) if 2 * len(paced) >= len(r) else None


def _stack(signal: np.ndarray, r: np.ndarray) -> np.ndarray:
    """(beats, leads, LENGTH) cut out around each R; NaN beyond the ends of the recording."""
    padded = np.pad(signal, ((0, 0), (R, LENGTH)), constant_values=np.nan)
    return np.stack([padded[:, p : p + LENGTH] for p in r])


def _centre(beats: np.ndarray) -> np.ndarray:
    """Mean of the middle half of the beats at each sample: as robust as a median, less noisy. NaN where none is."""
    ordered = np.sort(beats, axis=0)  # NaN last
    known = np.isfinite(ordered).sum(axis=0)
    rank = np.arange(len(beats))[:, None, None]
    cut = known // 4
    inside = (rank >= cut) & (rank < known - cut)
    total = np.where(inside, np.nan_to_num(ordered), 0).sum(axis=0)
    return np.where(known > 0, total / np.maximum(inside.sum(axis=0), 1), np.nan)


def _likeness(beats: np.ndarray, wave: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Correlation of every beat with the median beat over QRS and T, in all leads that have it together."""
    part = slice(R - 60, R + 200)
    told = np.where(has.any(axis=1, keepdims=True), has, True)
    a = np.where(told[:, :, None], np.nan_to_num(beats[:, :, part]), 0).reshape(len(beats), -1)
    b = np.nan_to_num(wave[:, part])
    power = told @ (b**2).sum(axis=1)
    return (a @ b.ravel()) / (np.linalg.norm(a, axis=1) * np.sqrt(power) + 1e-12)
