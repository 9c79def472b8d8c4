"""What the reading encoder is shown in training: recordings as they come from other machines, papers and wrists.

    view = changed(rng, signal)                   # gain, wander, noise, shift, speed; (records, 12, samples) mV
    known = masks(rng, records)                   # layouts, gaps, missing leads (encoders/layouts.py)

The labels of an ECG hold whatever is done here: rates are changed by at most 4 %, amplitudes by at most a tenth.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from encoders import layouts
from encoders.reading_net import FS_HZ, SAMPLES
from tools.recording import LEADS


def changed(rng: Generator, signal: np.ndarray) -> np.ndarray:
    """(records, 12, samples) float32 mV, each recording changed in its own way."""
    out = np.stack([_stretched(rng, one) for one in signal])
    records = len(out)
    out *= np.exp(rng.normal(0, 0.05, (records, 1, 1)))  # gain of the machine
    out *= np.exp(rng.normal(0, 0.05, (records, 12, 1)))  # chest electrodes sit a little elsewhere
    time_s = np.arange(SAMPLES) / FS_HZ
    hz = rng.uniform(0.05, 0.5, (records, 12, 1))
    wander = np.sin(2 * np.pi * (hz * time_s + rng.uniform(0, 1, (records, 12, 1))))
    out += wander * rng.exponential(0.04, (records, 12, 1))
    out += rng.normal(0, 1, out.shape) * rng.exponential(0.012, (records, 12, 1))
    burst = rng.random((records, 12)) < 0.03  # an electrode that comes loose for a second
    for record, lead in np.argwhere(burst):
        start = int(rng.integers(0, SAMPLES - FS_HZ))
        out[record, lead, start : start + FS_HZ] += rng.normal(0, 0.4) + np.cumsum(rng.normal(0, 0.05, FS_HZ))
    return out.astype(np.float32)


def _stretched(rng: Generator, signal: np.ndarray) -> np.ndarray:
    """The same heart a little faster or slower, begun at another moment; ends are filled by mirroring."""
    speed, start = rng.uniform(0.96, 1.04), rng.uniform(-0.1, 0.1) * SAMPLES
    at = np.abs(start + speed * np.arange(SAMPLES))
    at = np.where(at > SAMPLES - 1, 2 * (SAMPLES - 1) - at, at)
    low = np.clip(at.astype(int), 0, SAMPLES - 2)
    part = (at - low).astype(np.float32)
    return signal[:, low] * (1 - part) + signal[:, low + 1] * part


def masks(rng: Generator, records: int) -> np.ndarray:
    """(records, 12, samples) bool of what is recorded: complete, layouts, gaps and subsets of leads in turn."""
    return np.stack([layouts.random_mask(rng, LEADS, SAMPLES, FS_HZ) for _ in range(records)])
