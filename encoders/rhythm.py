"""When a drawn heart beats: the intervals of a recording that shows the same, at the rate that is asked for.

    peaks = opened().beats(("AFIB",), 110.0, rng)     (beats,) R peaks, in samples of 100 Hz from 0 to 10 s
    told = track([peaks, ...])                        (B, TRACK, STEPS), what the flow is told at each step

Beats first, waves after: a flow that also has to decide when the heart beats draws every beat in another shape. Of each
recording that was learnt from the RR intervals are kept, as shares of their mean, and what it shows; nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders.vae import FS_HZ, SAMPLES, STEPS
from encoders.weights import WEIGHTS, stored

FILE = WEIGHTS / "rhythm.safetensors"
STEP = SAMPLES // STEPS  # samples of a latent step
TRACK = STEP + 2  # a bump at each R peak, sample by sample; cosine and sine of the phase between two
WIDTH = 2.0  # samples, of a bump
MOST = 40  # beats
FEW = 12  # recordings at most, the most alike, of which one lends its intervals
BEATING = frozenset("SR AFIB AFLT STACH SARRH SBRAD PACE SVARR BIGU SVTAC PSVT TRIGU PVC PAC 2AVB 3AVB".split())
OF_BEATING = 5.0  # what a statement on the rhythm counts beside another


def track(peaks: Sequence[np.ndarray]) -> Tensor:
    """See the module. A row of under two beats is zero: nothing is known of it."""
    out = np.zeros((len(peaks), TRACK, STEPS), np.float32)
    middle = STEP * (np.arange(STEPS) + 0.5)
    for row, one in zip(out, peaks, strict=True):
        if len(one) < 2:
            continue
        bumps = np.exp(-0.5 * np.square((np.arange(SAMPLES) - one[:, None]) / WIDTH)).sum(axis=0)
        row[:STEP] = bumps.reshape(STEPS, STEP).T
        wide = np.r_[2 * one[0] - one[1], one, 2 * one[-1] - one[-2]]  # one more beat on either side
        turn = 2 * np.pi * np.interp(middle, wide, np.arange(len(wide)))
        row[STEP:] = np.cos(turn), np.sin(turn)
    return torch.from_numpy(out)


@dataclass(frozen=True)
class Rhythms:
    """codes; shows (recordings, codes) bool; share (recordings, MOST) RR interval over their mean, 0 where there is
    none; rate_bpm (recordings,)."""

    codes: tuple[str, ...]
    shows: np.ndarray
    share: np.ndarray
    rate_bpm: np.ndarray

    def beats(self, statements: Sequence[str], rate_bpm: float | None, rng: np.random.Generator) -> np.ndarray:
        """R peaks of ten seconds, in samples: in sinus rhythm where `statements` (SCP codes) tell no other, at the rate
        of the recording that lends its intervals where none is asked for."""
        asked = set(statements) if BEATING & set(statements) else {*statements, "SR"}
        wanted = np.array([code in asked for code in self.codes])
        counts = np.array([OF_BEATING if code in BEATING else 1.0 for code in self.codes])
        alike = (self.shows & wanted) @ counts / np.maximum((self.shows | wanted) @ counts, 1.0)
        nearest = np.argsort(-alike, kind="stable")[:FEW]
        row = int(rng.choice(nearest[alike[nearest] >= alike[nearest[0]] / 2]))
        share = self.share[row][self.share[row] > 0].astype(float)
        rate = float(self.rate_bpm[row]) if rate_bpm is None else rate_bpm
        mean = 60 * FS_HZ / rate
        first, count = float(rng.uniform(0, mean)), max(int(SAMPLES / mean), 2)
        share = np.roll(share, -int(rng.integers(len(share))))
        within = np.resize(share, count)
        intervals = (
            np.resize(share, count + 4) / within.mean() * mean
        )  # those inside the window are of the rate asked for
        peaks = first + np.r_[0.0, np.cumsum(intervals)]
        return peaks[peaks < SAMPLES]


def of(peaks: Sequence[np.ndarray], shows: np.ndarray, codes: tuple[str, ...]) -> Rhythms:
    """Of recordings with these R peaks; those of under four beats are left out."""
    kept = [i for i, one in enumerate(peaks) if len(one) > 3]
    share, rate = np.zeros((len(kept), MOST), np.float16), np.zeros(len(kept), np.float32)
    for row, i in enumerate(kept):
        rr = np.diff(peaks[i])[:MOST]
        share[row, : len(rr)], rate[row] = rr / rr.mean(), 60 * FS_HZ / rr.mean()
    return Rhythms(codes, shows[kept], share, rate)


@cache
def opened(file: Path = FILE) -> Rhythms:
    """The rhythms that belong to the shipped flow.

    Raises
    ------
    MissingModel : where they are not there.
    """
    config, tensors = stored(file, "flow")
    parts = {name: value.numpy() for name, value in tensors.items()}
    return Rhythms(tuple(config["codes"]), parts["shows"].astype(bool), parts["share"], parts["rate_bpm"])
