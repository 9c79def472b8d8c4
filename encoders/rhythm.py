"""When a drawn heart beats: the intervals of a recording that shows the same, at the rate that is asked for.

    heart = opened().beats(("AFIB",), 110.0, rng)     (beats, 2): R peak in samples of 100 Hz from 0 to 10 s, and
                                                      whether the beat is ventricular (an extrasystole), 0 or 1
    told = track([heart, ...])                        (B, TRACK, STEPS), what the flow is told at each step

Beats first, waves after: a flow that also has to decide when the heart beats, and which beat comes from where, draws
every beat in another shape. Of each recording that was learnt from the RR intervals are kept, as shares of their mean,
which beats were ventricular, and what it shows; nothing else.
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
TRACK = STEP + 3  # a bump at each R peak, sample by sample; cosine and sine of the phase between two; ventricular beats
WIDTH = 2.0  # samples, of a bump
BEFORE, AFTER = 15, 45  # samples around the R peak that a ventricular beat lasts
MOST = 40  # beats
FEW = 12  # recordings at most, the most alike, of which one lends its intervals
BEATING = frozenset("SR AFIB AFLT STACH SARRH SBRAD PACE SVARR BIGU SVTAC PSVT TRIGU PVC PAC 2AVB 3AVB".split())
VENTRICULAR = frozenset({"PVC"})
OF_BEATING = 5.0  # what a statement on the rhythm counts beside another


def track(hearts: Sequence[np.ndarray]) -> Tensor:
    """See the module. A row of under two beats is zero: nothing is known of it."""
    out = np.zeros((len(hearts), TRACK, STEPS), np.float32)
    middle = STEP * (np.arange(STEPS) + 0.5)
    for row, heart in zip(out, hearts, strict=True):
        if len(heart) < 2:
            continue
        one = heart[:, 0]
        bumps = np.exp(-0.5 * np.square((np.arange(SAMPLES) - one[:, None]) / WIDTH)).sum(axis=0)
        row[:STEP] = bumps.reshape(STEPS, STEP).T
        wide = np.r_[2 * one[0] - one[1], one, 2 * one[-1] - one[-2]]  # one more beat on either side
        turn = 2 * np.pi * np.interp(middle, wide, np.arange(len(wide)))
        row[STEP : STEP + 2] = np.cos(turn), np.sin(turn)
        since = middle - one[heart[:, 1] > 0, None]
        row[-1] = ((since > -BEFORE) & (since < AFTER)).any(axis=0)
    return torch.from_numpy(out)


def without_ventricular(told: Tensor) -> Tensor:
    """The same beats, all of the usual kind: what an extrasystole is drawn away from."""
    out = told.clone()
    out[:, -1] = 0
    return out


@dataclass(frozen=True)
class Rhythms:
    """codes; shows (recordings, codes) bool; share (recordings, MOST) RR interval over their mean, 0 where there is
    none; ventricular (recordings, MOST) bool, of the beat that ends it; rate_bpm (recordings,)."""

    codes: tuple[str, ...]
    shows: np.ndarray
    share: np.ndarray
    ventricular: np.ndarray
    rate_bpm: np.ndarray

    def beats(self, statements: Sequence[str], rate_bpm: float | None, rng: np.random.Generator) -> np.ndarray:
        """A heart of ten seconds: in sinus rhythm where `statements` (SCP codes) tell no other, at the rate of the
        recording that lends its intervals where none is asked for."""
        asked = set(statements) if BEATING & set(statements) else {*statements, "SR"}
        wanted = np.array([*(code in asked for code in self.codes), bool(asked & VENTRICULAR)])
        counts = np.array([*(OF_BEATING if code in BEATING else 1.0 for code in self.codes), OF_BEATING])
        shows = np.column_stack([self.shows, self.ventricular.any(axis=1)])  # what is said, and what was seen
        alike = (shows & wanted) @ counts / np.maximum((shows | wanted) @ counts, 1.0)
        nearest = np.argsort(-alike, kind="stable")[:FEW]
        row = int(rng.choice(nearest[alike[nearest] >= alike[nearest[0]] / 2]))
        there = self.share[row] > 0
        share, ventricular = self.share[row][there].astype(float), self.ventricular[row][there]
        rate = float(self.rate_bpm[row]) if rate_bpm is None else rate_bpm
        mean = 60 * FS_HZ / rate
        first, count = float(rng.uniform(0, mean)), max(int(SAMPLES / mean), 2)
        by = -int(rng.integers(len(share)))
        share, ventricular = np.roll(share, by), np.roll(ventricular, by)
        within = np.resize(share, count).mean()  # intervals inside the window are of the rate asked for
        peaks = first + np.r_[0.0, np.cumsum(np.resize(share, count + 4) / within * mean)]
        kinds = np.r_[ventricular[-1], np.resize(ventricular, count + 4)]
        return np.column_stack([peaks, kinds])[peaks < SAMPLES]


def of(hearts: Sequence[np.ndarray], shows: np.ndarray, codes: tuple[str, ...]) -> Rhythms:
    """Of recordings with these hearts; those of under four beats are left out."""
    kept = [i for i, one in enumerate(hearts) if len(one) > 3]
    share, rate = np.zeros((len(kept), MOST), np.float16), np.zeros(len(kept), np.float32)
    ventricular = np.zeros((len(kept), MOST), bool)
    for row, i in enumerate(kept):
        rr = np.diff(hearts[i][:, 0])[:MOST]
        share[row, : len(rr)], rate[row] = rr / rr.mean(), 60 * FS_HZ / rr.mean()
        ventricular[row, : len(rr)] = hearts[i][1:, 1][:MOST] > 0
    return Rhythms(codes, shows[kept], share, ventricular, rate)


@cache
def opened(file: Path = FILE) -> Rhythms:
    """The rhythms that belong to the shipped flow.

    Raises
    ------
    MissingModel : where they are not there.
    """
    config, tensors = stored(file, "flow")
    parts = {name: value.numpy() for name, value in tensors.items()}
    shows, ventricular = parts["shows"].astype(bool), parts["ventricular"].astype(bool)
    return Rhythms(tuple(config["codes"]), shows, parts["share"], ventricular, parts["rate_bpm"])
