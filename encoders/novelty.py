"""Whether a drawn ECG lies nearer to a recording that was learnt from than those recordings lie to each other.

    opened().too_near(autoencoder, signal)     (B,) bool

Distances are Euclidean in the latent of the autoencoder, as `training.evaluate generate` measures copying. Of each
recording a sketch is kept, random projections that keep distances within some percent (Johnson and Lindenstrauss 1984),
not the recording. Made by `python -m training.novelty`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders.vae import Vae
from encoders.weights import WEIGHTS, stored

FILE = WEIGHTS / "novelty.safetensors"
WIDTH = 512  # of a sketch: its distances are off by about 3 %
MARGIN = 1.08  # so that what the sketch takes for a little further away is near all the same


@dataclass(frozen=True)
class Novelty:
    """sketches (recordings, WIDTH); limit: the distance below which a drawing is too near to one of them."""

    sketches: Tensor
    limit: float

    def too_near(self, autoencoder: Vae, signal: np.ndarray) -> np.ndarray:
        """(B,) bool for (B, 12, SAMPLES) mV."""
        own = sketch(latents(autoencoder, signal))
        return (torch.cdist(own, self.sketches).min(dim=1).values < MARGIN * self.limit).numpy()


@torch.inference_mode()
def latents(autoencoder: Vae, signal: np.ndarray) -> Tensor:
    """(B, latent STEPS) of (B, 12, SAMPLES) mV, each lead around its median, in units of the latent's spread."""
    level = np.median(signal, axis=2, keepdims=True)
    parts = torch.from_numpy((signal - level).astype(np.float32)).split(64)
    means = [autoencoder.encode(part, torch.ones_like(part, dtype=torch.bool))[0] for part in parts]
    return (torch.cat(means) / autoencoder.scale[:, None]).flatten(1)


def sketch(latent: Tensor) -> Tensor:
    """(B, WIDTH) projections of (B, n)."""
    return latent @ _directions(latent.shape[1])


@cache
def _directions(size: int) -> Tensor:
    """(size, WIDTH), the same for ever: RandomState's stream is frozen."""
    signs = 2 * np.random.RandomState(0).randint(0, 2, (size, WIDTH)) - 1
    return torch.from_numpy(signs.astype(np.float32)) / WIDTH**0.5


@cache
def opened(file: Path = FILE) -> Novelty:
    """The sketches of what the shipped flow has learnt from.

    Raises
    ------
    MissingModel : where they are not there.
    """
    config, tensors = stored(file, "novelty")
    return Novelty(tensors["sketches"].float() * config["step"], config["limit"])
