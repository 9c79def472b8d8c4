"""Which part of each lead is recorded: what paper shows of ten seconds, and what training takes away.

Machines print twelve leads on a page in columns, each column a part of the time, sometimes with rhythm strips that run
through (`LAYOUTS`). "random" is how PatchECG trains a model to read any of them: each lead loses one run of samples,
of a length drawn between nothing and 80 %.

    recorded = mask("3x4+II", leads, samples=5000, fs_hz=500)   # (leads, samples) bool
    page = printed(signal, "3x4+II", leads, fs_hz=500)          # NaN where nothing is recorded
    recorded = random_mask(rng, leads, samples, fs_hz)          # any of all these, for training
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_LIMB, _AUGMENTED, _RIGHT, _LEFT = ("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6")
_QUARTERS = (_LIMB, _AUGMENTED, _RIGHT, _LEFT)
_HALVES = (_LIMB + _AUGMENTED, _RIGHT + _LEFT)
_PAGES: dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]] = {  # columns in order of time, rhythm strips
    "3x4": (_QUARTERS, ()),
    "3x4+II": (_QUARTERS, ("II",)),
    "3x4+II+V1": (_QUARTERS, ("II", "V1")),
    "2x6": (_HALVES, ()),
    "2x6+II": (_HALVES, ("II",)),
    "12x1": ((_LIMB + _AUGMENTED + _RIGHT + _LEFT,), ()),
}
LAYOUTS = (*_PAGES, "random")
MOST_LOST = 0.8  # of a lead under "random"
PAGE_S = 10.0  # a page holds this much; what is recorded longer is not on it
COMPLETE = 0.3  # of the masks that training sees
SUBSETS = (1, 2, 3, 6, 8)  # leads, where only some are recorded


def mask(
    layout: str, leads: Sequence[str], samples: int, fs_hz: float, rng: np.random.Generator | None = None
) -> np.ndarray:
    """What is recorded.

    Parameters
    ----------
    layout : one of `LAYOUTS`.
    leads : names, canonical; one that the layout does not know is shown throughout, as a rhythm strip is.
    samples, fs_hz : length of the recording; a page shows its first ten seconds, a shorter one fills the page.
    rng : where "random" draws from.

    Returns
    -------
    (leads, samples) bool.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is none of {', '.join(LAYOUTS)}")
    if layout == "random":
        return _runs(len(leads), samples, np.random.default_rng() if rng is None else rng)
    columns, strips = _PAGES[layout]
    shown = min(samples, round(PAGE_S * fs_hz))
    edges = np.round(np.linspace(0, shown, len(columns) + 1)).astype(int)
    out = np.zeros((len(leads), samples), bool)
    for row, name in enumerate(leads):
        place = next((i for i, column in enumerate(columns) if name in column), None)
        first, stop = (0, shown) if place is None or name in strips else edges[place : place + 2]
        out[row, first:stop] = True
    return out


def printed(
    signal: np.ndarray, layout: str, leads: Sequence[str], fs_hz: float, rng: np.random.Generator | None = None
) -> np.ndarray:
    """A copy of (leads, samples) with NaN where the layout shows nothing."""
    return np.where(mask(layout, leads, signal.shape[1], fs_hz, rng), signal, np.asarray(np.nan, signal.dtype))


def random_mask(rng: np.random.Generator, leads: Sequence[str], samples: int, fs_hz: float) -> np.ndarray:
    """(leads, samples) bool as training sees them: complete, a printed layout, random runs, or only some leads."""
    if rng.random() < COMPLETE:
        return np.ones((len(leads), samples), bool)
    kind = rng.integers(3)
    if kind == 0:
        pages = [name for name in _PAGES if name != "12x1"]
        return mask(pages[rng.integers(len(pages))], leads, samples, fs_hz)
    if kind == 1:
        return mask("random", leads, samples, fs_hz, rng)
    out = np.zeros((len(leads), samples), bool)
    out[rng.permutation(len(leads))[: rng.choice(SUBSETS)]] = True
    return out


def _runs(leads: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Each lead without one run of samples, anywhere in it."""
    out = np.ones((leads, samples), bool)
    for row in out:
        lost = int(rng.uniform(0, MOST_LOST) * samples)
        first = rng.integers(samples - lost + 1)
        row[first : first + lost] = False
    return out
