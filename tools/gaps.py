"""What was not recorded: NaN in `Recording.signal`, as paper leaves it where each lead runs for a part of the time.

Dropouts up to `BRIDGE_S` are bridged by straight lines and forgotten. Whatever is longer stays NaN through all of
`measure_ecg`: filters, which cannot pass over NaN, run on a bridged copy, and what they say inside a gap is dropped.

    gap = gaps(signal, fs_hz)
    smooth = np.where(gap, np.nan, some_filter(bridged(signal)))
    middle(smooth, axis=0)                       # of what is known
    for rows, known in columns(gap): ...         # leads recorded at the same times, handled together
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

BRIDGE_S = 0.1  # shorter than a QRS with its ends: a straight line across it invents no wave


def bridged(signal: np.ndarray) -> np.ndarray:
    """(leads, samples) float copy with missing samples bridged by straight lines; a missing lead is zero."""
    out = np.array(signal, float)
    for row in out:
        known = np.isfinite(row)
        if not known.any():
            row[:] = 0
        elif not known.all():
            row[~known] = np.interp(np.flatnonzero(~known), np.flatnonzero(known), row[known])
    return out


def gaps(signal: np.ndarray, fs_hz: float) -> np.ndarray:
    """(leads, samples) bool: where nothing was recorded for longer than `BRIDGE_S`."""
    missing = ~np.isfinite(signal)
    if not missing.any():
        return missing
    span = 2 * int(BRIDGE_S / 2 * fs_hz) + 1
    inside = ndimage.minimum_filter1d(missing.view(np.uint8), span, axis=1, mode="constant")
    return ndimage.maximum_filter1d(inside, span, axis=1, mode="constant").astype(bool)


def at_times(gap: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(leads, times) bool: the gaps at times `at`, in samples of `gap`; a time is known if its neighbours are."""
    if not gap.any():
        return np.zeros((len(gap), len(at)), bool)
    return np.stack([np.interp(at, np.arange(gap.shape[1]), row) > 0 for row in gap])


def columns(gap: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Leads that were recorded at the same times, as those in a column of a page are.

    Yields rows, (leads,) bool, and known, (samples,) bool, for each such set. A complete recording is one set.
    """
    keys = [row.tobytes() for row in gap]
    for key in dict.fromkeys(keys):
        rows = np.array([other == key for other in keys])
        yield rows, ~gap[rows.argmax()]


def middle(x: np.ndarray, axis: int, keepdims: bool = False) -> np.ndarray:
    """Median of what is known; NaN where nothing is. Exactly, and as quick as, `np.median` where all is known."""
    if np.isfinite(x).all():
        return np.median(x, axis, keepdims=keepdims)
    ordered = np.sort(x, axis=axis)  # NaN last
    count = np.isfinite(x).sum(axis=axis, keepdims=True)
    low, high = (
        np.take_along_axis(ordered, np.clip(at, 0, x.shape[axis] - 1), axis) for at in ((count - 1) // 2, count // 2)
    )
    out = np.where(count > 0, (low + high) / 2, np.nan)
    return out if keepdims else out.squeeze(axis)
