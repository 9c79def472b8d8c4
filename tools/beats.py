"""R peaks and rhythm statistics of an ECG with any number of leads.

    peaks = r_peaks(recording.signal, recording.fs_hz)             # sample indices
    kinds = label_beats(recording.signal, recording.fs_hz, peaks)  # of tools/beat_kinds.py
    statistics = rhythm(peaks / recording.fs_hz, kinds)

`r_peaks` works in three steps:

1. Each lead becomes an envelope of its QRS band (band pass, square and integrate as Pan & Tompkins, IEEE Trans Biomed
   Eng 1985;32:230) divided by its own running beat height. A lead counts by how far its beats stand above its own
   background at that moment and by how even they are, so a flat or noisy lead falls silent; where a lead was not
   recorded (tools/gaps.py), the others have its say.
2. Peaks of the fused envelope are candidates. The best sequence of candidates, under a cost for weak peaks, short
   intervals and gaps, is found by dynamic programming: what a search-back with rules does, in one stroke.
3. Each beat moves to the extremum of one reference signal, the same mixture of leads for all beats.

`python -m training.evaluate beats --data DIR/mitdb` scores it on the MIT-BIH Arrhythmia Database beside a library's
single-channel detector; fusion is why the detector is our own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage
from scipy import signal as dsp

from tools.gaps import at_times, bridged, gaps, middle

WORK_HZ = 200.0  # the QRS band needs no more
QRS_BAND_HZ = (7.0, 28.0)
SPAN_S = 0.14  # of integration: joins the two halves of a wide QRS
BLOCK_S = 2.0  # holds a beat down to 30 bpm
SMALLEST_MV = 0.01  # envelope of a beat; less is no signal
THRESHOLD = 0.38  # of the running beat height: where a candidate is as likely noise as beat
CLOSEST_S = 0.20  # refractory
ALIKE = 0.62  # correlation of beats with their median: noise stays below 0.62 nineteen times in twenty, beats above 0.7


def r_peaks(signal: np.ndarray, fs_hz: float) -> np.ndarray:
    """Sample indices of the R peaks, fused over all leads.

    Parameters
    ----------
    signal : (leads, samples) mV; NaN where nothing was recorded. A (samples,) array is one lead.
    fs_hz : samples a second.

    Returns
    -------
    (beats,) int, ascending; empty where no beat can be told from noise.
    """
    signal = np.atleast_2d(signal)
    if signal.shape[1] < fs_hz:
        return np.empty(0, int)
    clean, gap = filled(signal), gaps(signal, fs_hz)
    envelope = qrs_envelope(resampled(clean, fs_hz))
    height, weight = lead_weights(envelope, at_times(gap, np.arange(envelope.shape[1]) / WORK_HZ * fs_hz))
    fused = (weight * np.minimum(envelope / height, 2)).sum(0)
    fused = ndimage.uniform_filter1d(fused, int(0.06 * WORK_HZ))
    candidates, _ = dsp.find_peaks(fused, height=0.15, distance=int(0.18 * WORK_HZ))
    times_s = candidates[_best_sequence(candidates / WORK_HZ, fused[candidates])] / WORK_HZ
    return _refined(clean, gap, fs_hz, times_s, weight / height)


def filled(signal: np.ndarray) -> np.ndarray:
    """`bridged`, with the median of each lead taken off."""
    out = bridged(signal)
    return out - np.median(out, axis=1, keepdims=True)


def resampled(x: np.ndarray, fs_hz: float) -> np.ndarray:
    """(leads, samples) at WORK_HZ."""
    if fs_hz > 1.5 * WORK_HZ:  # take out what would fold
        x = dsp.sosfiltfilt(dsp.butter(2, 60, "low", fs=fs_hz, output="sos"), x, axis=1)
    at = np.arange(int(x.shape[1] / fs_hz * WORK_HZ)) / WORK_HZ * fs_hz
    return np.stack([np.interp(at, np.arange(x.shape[1]), row) for row in x])


def qrs_envelope(work: np.ndarray) -> np.ndarray:
    """(leads, samples) root mean square in the QRS band, mV."""
    sos = dsp.butter(2, QRS_BAND_HZ, "band", fs=WORK_HZ, output="sos")
    power = ndimage.uniform_filter1d(dsp.sosfiltfilt(sos, work, axis=1) ** 2, int(SPAN_S * WORK_HZ), axis=1)
    return np.sqrt(np.maximum(power, 0))


def lead_weights(envelope: np.ndarray, gap: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running beat height (mV) and weight (sums to 1, or 0 where no lead shows beats), (leads, samples) each."""
    samples = envelope.shape[1]
    block = min(int(BLOCK_S * WORK_HZ), samples)
    count = samples // block
    blocks = [_recorded_blocks(row, ~lost, count, block) for row, lost in zip(envelope, gap, strict=True)]
    highest = np.stack([part.max(1) for part in blocks])
    height = ndimage.median_filter(highest, (1, 5), mode="nearest")
    quiet = np.stack([np.quantile(part, 0.15, axis=1) for part in blocks])
    floor = ndimage.median_filter(quiet, (1, 5), mode="nearest")
    burst = np.maximum(0, np.log(np.maximum(highest, 1e-9) / np.maximum(height, 1e-9)))
    burst = ndimage.percentile_filter(burst, 85, (1, 11), mode="nearest")  # loose electrodes strike again
    standing = np.clip(height / np.maximum(floor, 1e-6) - 2.3, 0, 30) * (height > SMALLEST_MV)
    weight = standing / (1 + (3 * burst) ** 2)
    weight = weight / np.maximum(weight.sum(0), 1e-9)
    centres, at = (np.arange(count) + 0.5) * block, np.arange(samples)

    def spread(rows: np.ndarray) -> np.ndarray:
        return np.stack([np.interp(at, centres, row) for row in rows])

    share = spread(weight)
    heard = share * ~gap
    heard = heard * (share.sum(0) / np.maximum(heard.sum(0), 1e-9))  # by exactly 1 where all leads are recorded
    return spread(np.maximum(height, 1e-9)), heard


def _recorded_blocks(row: np.ndarray, known: np.ndarray, count: int, block: int) -> np.ndarray:
    """(count, up to `block`) samples of each block; a block that was not recorded whole has the nearest that were."""
    at = np.flatnonzero(known)
    if not len(at):
        return np.zeros((count, 1))
    first = np.searchsorted(at, np.arange(count) * block).clip(0, max(len(at) - block, 0))
    return row[at[first[:, None] + np.arange(min(block, len(at)))]]


def _best_sequence(times_s: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Indices of the candidates that are beats: the chain of highest total gain."""
    count = len(times_s)
    if count == 0:
        return np.empty(0, int)
    gain = np.clip(np.log(heights / THRESHOLD), -3, 0.7)
    strong_s = np.diff(times_s[heights > 0.6])
    typical_s = float(np.clip(np.median(strong_s), 0.27, 2.4)) if len(strong_s) else 1.0
    best, previous, first = gain.copy(), np.full(count, -1), 0
    for i in range(1, count):
        while times_s[i] - times_s[first] > 8 and first < i - 1:
            first += 1
        rr_s = times_s[i] - times_s[first:i]
        t_wave = np.maximum(0, 0.6 - heights[i] / heights[first:i])  # small and close behind: not a beat
        cost = 100 * np.maximum(0, CLOSEST_S + 0.04 - rr_s) / 0.2
        cost += np.where(rr_s < 0.4, 5 * t_wave, 0) + 0.8 * np.clip(rr_s / typical_s - 1.6, 0, 3)
        j = int(np.argmax(best[first:i] - cost))
        best[i] += best[first + j] - cost[j]
        previous[i] = first + j
    chain = [int(np.argmax(best))]
    while previous[chain[-1]] >= 0:
        chain.append(int(previous[chain[-1]]))
    return np.array(chain[::-1])


def _refined(clean: np.ndarray, gap: np.ndarray, fs_hz: float, times_s: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Move each beat to the extremum, within 90 ms, of the leads' mixture in which R waves stand up."""
    times_s = times_s[(times_s > 0.03) & (times_s < clean.shape[1] / fs_hz - 0.03)]  # half a beat has no peak
    if len(times_s) == 0:
        return np.empty(0, int)
    band = (1.0, min(40.0, 0.45 * fs_hz))
    smooth = dsp.sosfiltfilt(dsp.butter(2, band, "band", fs=fs_hz, output="sos"), clean, axis=1)
    smooth[gap] = np.nan
    reach = int(0.09 * fs_hz)
    windows = np.round(times_s * fs_hz).astype(int)[:, None] + np.arange(-reach, reach + 1)
    windows = np.clip(windows, 0, clean.shape[1] - 1)
    at = np.minimum((times_s * WORK_HZ).astype(int), weight.shape[1] - 1)
    mixture = np.zeros(windows.shape)
    for row, share in zip(smooth, weight, strict=True):
        beats = row[windows]
        shape = np.nan_to_num(middle(beats, 0))
        upright = 1 if shape.max() >= -0.6 * shape.min() else -1
        mixture += upright * share[at, None] * np.nan_to_num(beats)
    mixture = np.maximum(mixture, -0.5 * mixture)  # a beat that points down has its peak there
    peaks = np.unique(windows[np.arange(len(windows)), np.argmax(mixture, 1)])
    heard = weight[:, at].mean(1) > 0
    kinds = [peaks] if len(peaks) < 8 else [peaks, peaks[::2], peaks[1::2]]  # in bigeminy every other beat is alike
    noise = [_noise(alike_beats(smooth[heard], fs_hz, of)) for of in kinds]
    if len(peaks) >= 4 and noise[0] and (len(noise) < 3 or noise[1] or noise[2]):
        return np.empty(0, int)
    return peaks


def _noise(alike: np.ndarray) -> bool:
    """Whether "beats" share no shape in any lead; the fewer a lead has, the more alike they are by chance."""
    count = np.isfinite(alike).sum(1)
    chance = 1 / np.sqrt(np.maximum(count, 1)) - 1 / np.sqrt(alike.shape[1])
    told = count > 1
    least = np.minimum(ALIKE + chance, 0.95)
    return bool(told.any() and (middle(alike, 1)[told] < least[told]).all())


def windows(x: np.ndarray, fs_hz: float, peaks: np.ndarray, before_s: float, after_s: float) -> np.ndarray:
    """(leads, beats, samples) around the peaks, mean taken off; the ends of the record are repeated.

    Of a beat that a lead did not record whole, nothing is known in it: NaN.
    """
    span = np.arange(-round(before_s * fs_hz), round(after_s * fs_hz) + 1)
    beats = x[:, np.clip(np.asarray(peaks)[:, None] + span, 0, x.shape[1] - 1)]
    return beats - beats.mean(2, keepdims=True)


def alike_beats(x: np.ndarray, fs_hz: float, peaks: np.ndarray) -> np.ndarray:
    """(leads, beats) correlation of each beat's QRS with the median beat of its lead; NaN where it is not known."""
    beats = windows(x, fs_hz, peaks, 0.12, 0.12)
    typical = middle(beats, 1, keepdims=True)
    power = (beats**2).sum(2) * (typical**2).sum(2)
    return (beats * typical).sum(2) / np.sqrt(power + 1e-12)


def unbroken(known: np.ndarray, fs_hz: float, peaks: np.ndarray) -> np.ndarray:
    """(beats - 1,) whether the interval behind each beat was recorded, so that no beat can have hidden in it.

    `known` (samples,) whether any lead recorded; `peaks` (beats,) in samples of `fs_hz`.
    """
    silent = np.r_[0, np.cumsum(~known)] / fs_hz
    at = np.clip(np.asarray(peaks, int), 0, len(known))
    return np.diff(silent[at]) <= CLOSEST_S


def rhythm(peaks_s: np.ndarray, kinds: list[str] | None = None, whole: np.ndarray | None = None) -> dict[str, Any]:
    """RR statistics.

    Parameters
    ----------
    peaks_s : (beats,) times in seconds.
    kinds : from `label_beats`; beats that are not "N" are left out of the judgement of regularity (not of the numbers).
    whole : (beats - 1,) from `unbroken`; other intervals are left out of everything.

    Returns
    -------
    rr_mean_ms, rr_sd_ms (SDNN over all intervals), rmssd_ms, rr_min_ms, rr_max_ms, and regularity: "regular",
    "regular with ectopic beats", "irregular", "irregularly irregular" (as in atrial fibrillation; the P wave is judged
    elsewhere), or None where there are fewer than four intervals. Absent numbers are None.
    """
    every_ms = np.diff(np.asarray(peaks_s, float)) * 1000
    whole = np.ones(len(every_ms), bool) if whole is None else whole
    rr_ms, change_ms = every_ms[whole], np.diff(every_ms)[whole[1:] & whole[:-1]]
    statistics: dict[str, Any] = {
        "rr_mean_ms": float(rr_ms.mean()) if len(rr_ms) else None,
        "rr_sd_ms": float(rr_ms.std(ddof=1)) if len(rr_ms) > 1 else None,
        "rmssd_ms": float(np.sqrt(np.mean(change_ms**2))) if len(change_ms) else None,
        "rr_min_ms": float(rr_ms.min()) if len(rr_ms) else None,
        "rr_max_ms": float(rr_ms.max()) if len(rr_ms) else None,
        "regularity": None,
    }
    if len(rr_ms) >= 4:
        statistics["regularity"] = _regularity(every_ms, whole, kinds)
    return statistics


def _regularity(rr_ms: np.ndarray, whole: np.ndarray, kinds: list[str] | None) -> str:
    ectopic = np.array(kinds) != "N" if kinds is not None else _out_of_turn(rr_ms)
    touched = ectopic[:-1] | ectopic[1:] | ~whole  # the early interval and the pause behind it; what is not known
    rest = rr_ms[~touched]
    if len(rest) < 3:
        return "irregular"
    change = np.abs(np.diff(rr_ms)) / rr_ms[whole].mean()
    change = change[~touched[:-1] & ~touched[1:]]
    if len(change) >= 3 and np.median(change) > 0.07 and np.sqrt(np.mean(change**2)) > 0.1:
        return "irregularly irregular"
    if rest.std() / rest.mean() > 0.08:
        return "irregular"
    return "regular with ectopic beats" if ectopic.any() else "regular"


def _out_of_turn(rr_ms: np.ndarray) -> np.ndarray:
    """(beats,) bool: beats that come early and are followed by a pause, told by intervals alone."""
    usual = ndimage.median_filter(rr_ms, min(len(rr_ms), 11) | 1, mode="nearest")
    steady = np.median(np.abs(rr_ms / usual - 1)) < 0.08
    early = (rr_ms[:-1] < 0.85 * usual[:-1]) & (rr_ms[1:] > 1.05 * usual[1:]) & steady
    return np.r_[False, early, False]
