"""What kind each beat is: usual, ventricular, or early.

    kinds = label_beats(signal, fs_hz, r_peaks(signal, fs_hz))

"N", "V" or "S" of each.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy import signal as dsp

from tools.beats import alike_beats, filled, windows
from tools.gaps import gaps, middle

FEW, LEAST_SHARE, APART, TOGETHER = 6, 0.3, 0.6, 0.85  # of two shapes: beats, share of each, correlations


def label_beats(signal: np.ndarray, fs_hz: float, peaks: np.ndarray) -> list[str]:
    """What kind each beat is, by how early it comes and how it differs from the median beat.

    Parameters
    ----------
    signal, fs_hz : as for `r_peaks`.
    peaks : (beats,) sample indices from `r_peaks`.

    Returns
    -------
    For each beat "N", "V" (another, wider shape, as a ventricular beat) or "S" (the usual shape, early). In a rhythm
    irregular throughout no narrow beat is called early.
    """
    peaks = np.asarray(peaks, int)
    if len(peaks) < 4:
        return ["N"] * len(peaks)
    signal = np.atleast_2d(signal)
    band = (1.0, min(40.0, 0.45 * fs_hz))
    x = dsp.sosfiltfilt(dsp.butter(2, band, "band", fs=fs_hz, output="sos"), filled(signal), axis=1)
    x[gaps(signal, fs_hz)] = np.nan
    alike, wider = _shape(x, fs_hz, peaks)
    rr_s = np.diff(peaks) / fs_hz
    usual_s = ndimage.median_filter(rr_s, min(len(rr_s), 11) | 1, mode="nearest")
    early = np.r_[1, rr_s / usual_s]  # below 1: before its time
    pause = np.r_[1, rr_s[1:] / rr_s[:-1], 1]
    off_beat = (early < 0.93) | (pause > 1.1) | (alike < 0.5)  # else a usual beat under noise
    ventricular = (alike < 0.8) & (early < 1.03) & ((wider > 1.26) | (pause > 1.25)) & off_beat & (wider < 4)
    steady = ndimage.median_filter(np.r_[0, np.abs(rr_s / usual_s - 1)], 21, mode="nearest") < 0.05
    supraventricular = ~ventricular & steady & (early < 0.83) & (pause > 1.15) & (alike > 0.8)
    return list(np.where(ventricular, "V", np.where(supraventricular, "S", "N")))


def _shape(x: np.ndarray, fs_hz: float, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each beat, (beats,): correlation with the typical QRS over the good leads, and width relative to it.

    The good leads are chosen among those that recorded the beat; one that no lead recorded whole counts as usual.
    """
    beats = windows(x, fs_hz, peaks, 0.15, 0.2)
    known = np.isfinite(beats[:, :, 0])
    good = np.where(known, middle(alike_beats(x, fs_hz, peaks), 1)[:, None], np.nan)  # (leads, beats)
    best, half = np.nan_to_num(good, nan=-1).max(0), middle(good, 0)
    keep = np.where(best >= 0.7, good >= np.maximum(0.7, half), good == best)
    chosen = keep.any(1)
    if not chosen.any():
        return np.ones(len(peaks)), np.ones(len(peaks))
    beats, keep = beats[chosen], keep[chosen]
    usual = _usual(np.where(keep[:, :, None], beats, np.nan))
    typical = middle(beats[:, usual], 1, keepdims=True)
    size = np.sqrt((typical**2).mean((1, 2), keepdims=True)) + 1e-6  # every lead counts the same
    scaled = np.where(keep[:, :, None], beats / size, np.nan)
    flat = np.concatenate(list(scaled), 1)  # (beats, leads x samples)
    model = np.nan_to_num(np.concatenate(list((typical / size)[:, 0])))
    told, flat = np.isfinite(flat), np.nan_to_num(flat)
    alike = flat @ model / np.sqrt((flat**2).sum(1) * (told @ model**2) + 1e-12)
    wider = _spread_s(scaled) / _spread_s(np.where(keep[:, :, None], typical / size, np.nan))
    seen = keep.any(0)
    return np.where(seen, alike, 1), np.where(seen, wider, 1)


def _usual(beats: np.ndarray) -> np.ndarray:
    """(beats,) bool: those that tell what is usual. All of (leads, beats, samples), but where two shapes are about as
    frequent, as in bigeminy, the narrower: a median of both would be like neither."""
    flat = np.nan_to_num(np.concatenate(list(beats), 1))
    unit = flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9)
    everyone = np.ones(len(unit), bool)
    if len(unit) < FEW:
        return everyone
    one = unit[(unit @ np.median(unit, axis=0)).argmin()]
    other = unit[(unit @ one).argmin()]
    for _ in range(3):
        near = unit @ one > unit @ other
        if not LEAST_SHARE <= near.mean() <= 1 - LEAST_SHARE:
            return everyone
        one, other = (mean / (np.linalg.norm(mean) + 1e-9) for mean in (unit[near].mean(0), unit[~near].mean(0)))
    alike = np.array([np.median(unit[near] @ one), np.median(unit[~near] @ other)])
    if one @ other > APART or alike.max() < TOGETHER:
        return everyone
    if alike.min() < TOGETHER:  # early beats are not always met at the same point
        return near if alike[0] > alike[1] else ~near
    spread_s = _spread_s(beats)
    return near if np.median(spread_s[near]) < np.median(spread_s[~near]) else ~near


def _spread_s(beats: np.ndarray) -> np.ndarray:
    """(beats,) spread of the slope's energy around its centre: what a wide QRS has more of."""
    energy = np.nan_to_num(np.diff(beats, axis=2) ** 2).sum(0)
    energy = np.maximum(energy - np.median(energy, 1, keepdims=True), 0)
    at = np.arange(energy.shape[1])
    total = energy.sum(1) + 1e-12
    centre = energy @ at / total
    return np.sqrt((energy * (at - centre[:, None]) ** 2).sum(1) / total) + 1e-6
