"""What the autoencoder of ECGs learns from: whole twelve-lead ECGs in true millivolt, and how they are varied.

    signal, raw = signals(root, table)        # PTB-XL, and acceptable records of CinC 2011, LUDB beside it
    seen = varied(rng, signal[rows])          # other rates, gains and positions of the heart
    known = hidden(rng, len(rows))            # leads and stretches that are kept from the encoder

Band-passed recordings have lost their chest amplitudes: `raw` tells them apart, and their heart is not turned.
The heart is turned in the chest by Dower's matrix (1980): eight leads are a projection of the dipole and a rest;
the dipole is turned by some degrees, the rest is kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.random import Generator
from scipy.signal import resample_poly
from tqdm import tqdm

from encoders import layouts
from encoders.vae import FS_HZ, INDEPENDENT, SAMPLES, twelve_of_eight
from tools.recording import LEADS, read
from training import ptbxl, reading_teacher

TALLEST_MV = 8.0  # beyond it an electrode came loose: nothing follows from such a lead, and it would rule the error
SPEEDS = (0.85, 1.17)
TURN_DEGREES = 12.0  # spread of each of three rotations
HOLTERS = (("II", "V1", "V5"), ("I", "II", "V2"), ("I", "II", "V1", "V5"), ("II",), ("I",), ("I", "II", "III"))
DOWER = np.array(
    [
        (0.632, -0.235, 0.059),
        (0.235, 1.066, -0.132),
        (-0.515, 0.157, -0.917),
        (0.044, 0.164, -1.387),
        (0.882, 0.098, -1.277),
        (1.213, 0.127, -0.601),
        (1.125, 0.127, -0.086),
        (0.831, 0.076, 0.230),
    ]
)  # fmt: skip  of I, II, V1 … V6 from X (left), Y (down), Z (back)
_INVERSE = np.linalg.pinv(DOWER)


def signals(root: Path, table: ptbxl.Table) -> tuple[np.ndarray, np.ndarray]:
    """(records, 12, SAMPLES) float32 mV to learn from, and (records,) whether their amplitudes are true: the training
    folds of `table`, and unlabelled sets beside it, without recordings of more than `TALLEST_MV`."""
    learnt = table.folds(*ptbxl.TRAIN)
    parts = [learnt.signal]
    if (more := reading_teacher.strips(root, table.codes)) is not None:
        parts.append(more.signal)
    if (root / "ludb").is_dir():
        parts.append(_ludb(root / "ludb"))
    whole = levelled(np.concatenate(parts))
    raw = np.ones(len(whole), bool)
    raw[: len(learnt)] = learnt.raw
    whole, raw = (one[np.abs(whole).max(axis=(1, 2)) < TALLEST_MV] for one in (whole, raw))
    return whole, raw


def levelled(signal: np.ndarray) -> np.ndarray:
    """Each lead around its own median: where the baseline lies says nothing about another lead's."""
    return (signal - np.median(signal, axis=2, keepdims=True)).astype(np.float32)


def _ludb(folder: Path) -> np.ndarray:
    made = []
    for file in tqdm(sorted(folder.rglob("*.hea")), desc="reading ludb", leave=False):
        [recording] = read(file)
        at = [recording.leads.index(lead) for lead in LEADS]
        made.append(resample_poly(recording.signal[at], 1, round(recording.fs_hz / FS_HZ), axis=1)[:, :SAMPLES])
    return np.stack(made).astype(np.float32)


def varied(
    rng: Generator, signal: np.ndarray, speed: np.ndarray | None = None, turned: np.ndarray | None = None
) -> np.ndarray:
    """(records, 12, SAMPLES) float32: each recording at another rate (up to a sixth, or `speed` times its own), from
    another moment, of another gain and, but where `turned` (records,) says no, heart position."""
    speed = rng.uniform(*SPEEDS, len(signal)) if speed is None else speed
    out = np.stack([_stretched(rng, one, fast) for one, fast in zip(signal, speed, strict=True)])
    twelve = twelve_of_eight().numpy()
    for i, one in enumerate(out):
        if turned is not None and not turned[i]:
            continue
        angles = np.deg2rad(rng.normal(0, TURN_DEGREES, 3))
        turn = np.eye(8) + DOWER @ (_rotation(angles) - np.eye(3)) @ _INVERSE
        out[i] = twelve @ (turn @ one[list(INDEPENDENT)])
    return (out * np.exp(rng.normal(0, 0.15, (len(out), 1, 1)))).astype(np.float32)


def _rotation(angles: np.ndarray) -> np.ndarray:
    """(3, 3) rotation about x, then y, then z, in radians."""
    out = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (i for i in range(3) if i != axis)
        one = np.eye(3)
        one[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        out = one @ out
    return out


def _stretched(rng: Generator, signal: np.ndarray, speed: float) -> np.ndarray:
    """The same heart faster or slower, begun at another moment; ends are filled by mirroring."""
    start = rng.uniform(0, 1) * SAMPLES
    at = np.abs((start + speed * np.arange(SAMPLES)) % (2 * SAMPLES - 2))
    at = np.where(at > SAMPLES - 1, 2 * (SAMPLES - 1) - at, at)
    low = np.clip(at.astype(int), 0, SAMPLES - 2)
    part = (at - low).astype(np.float32)
    return signal[:, low] * (1 - part) + signal[:, low + 1] * part


def hidden(rng: Generator, records: int) -> np.ndarray:
    """(records, 12, SAMPLES) bool of what is seen: everything, a printed page, gaps, or a few leads."""
    out = np.zeros((records, 12, SAMPLES), bool)
    for one in out:
        if rng.random() < 0.45:
            few = HOLTERS[rng.integers(len(HOLTERS))]
            one[[LEADS.index(lead) for lead in few]] = True
        else:
            one[:] = layouts.random_mask(rng, LEADS, SAMPLES, FS_HZ)
    return out
