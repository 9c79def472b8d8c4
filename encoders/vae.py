"""A variational autoencoder of the ECG: any leads with any gaps -> a small latent -> twelve leads.

    encode   (B, 12, 1000) mV and what of it is known  ->  mean and log variance (B, LATENT, 125)
    decode   a latent, and what was measured if anything was  ->  twelve leads in mV, and how far each may be off

Eight leads are independent (I, II, V1 … V6); the other four are made of them by Einthoven's and Goldberger's algebra,
so that no drawn ECG breaks it. The decoder may see the measured leads again at full rate: then the latent holds only
what they do not say. After WearECG (arXiv 2510.11442), with leads really hidden in training, which its scripts forgot.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.weights import WEIGHTS, network

FS_HZ = 100
SAMPLES = 1000  # 10 s
STEPS = 125  # of the latent, 80 ms each
MOVED = 3  # samples by which a recording is moved to be rebuilt again
DRAWS = 4  # latents from the posterior that say how sure a reconstruction is
FILE = WEIGHTS / "vae.safetensors"
INDEPENDENT = (0, 1, 6, 7, 8, 9, 10, 11)  # of I … V6
_OF_I_AND_II = ((1.0, 0.0), (0.0, 1.0), (-1.0, 1.0), (-0.5, -0.5), (1.0, -0.5), (-0.5, 1.0))  # I II III aVR aVL aVF


def twelve_of_eight() -> Tensor:
    """(12, 8): the twelve leads from the independent ones."""
    out = torch.zeros(12, 8)
    out[:6, :2] = torch.tensor(_OF_I_AND_II)
    out[6:, 2:] = torch.eye(6)
    return out


def completed(signal: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 12, S) with the six limb leads wherever two of them are known, and what is known now; unknown is zero."""
    signal = torch.where(known, signal, torch.zeros((), dtype=signal.dtype, device=signal.device))
    algebra = torch.tensor(_OF_I_AND_II, dtype=signal.dtype, device=signal.device)
    some = ~known[:, :6].all(1)  # (B, S) where a limb lead is missing
    if not some.any():
        return signal, known
    limb, solved = torch.zeros_like(signal[:, :2]), torch.zeros_like(some)
    for one, other in combinations(range(6), 2):
        fits = known[:, one] & known[:, other] & ~solved
        if fits.any():
            both = torch.linalg.inv(algebra[[one, other]]) @ signal[:, [one, other]]
            limb = torch.where(fits[:, None], both, limb)
            solved = solved | fits
    here = torch.cat([solved[:, None].expand(-1, 6, -1), torch.zeros_like(known[:, 6:])], 1) & ~known
    filled = torch.cat([algebra @ limb, signal[:, 6:]], 1)
    return torch.where(here, filled, signal), known | here


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; kept in its file."""

    latent: int = 8
    widths: tuple[int, int, int] = (64, 96, 160)  # at 50, 25 and 12.5 Hz
    layers: int = 2  # of attention over the latent's steps, in the encoder and in the decoder
    heads: int = 4
    dropout: float = 0.0


class Vae(nn.Module):
    """See the module. `scale` (latent,) is the spread of the latents of real ECGs, set after training."""

    twelve: Tensor
    scale: Tensor

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        a, b, c = shape.widths
        self.stem = nn.Conv1d(24, a, 8, 2, 3)
        self.down = nn.Sequential(_Res(a), nn.Conv1d(a, b, 4, 2, 1), _Res(b), nn.Conv1d(b, c, 4, 2, 1), _Res(c))
        self.over = _Context(shape)
        self.to_latent = nn.Conv1d(c, 2 * shape.latent, 1)
        self.from_latent = nn.Conv1d(shape.latent, c, 3, padding=1)
        self.under = _Context(shape)
        self.up = nn.Sequential(_Res(c), nn.ConvTranspose1d(c, b, 4, 2, 1), _Res(b), nn.ConvTranspose1d(b, a, 4, 2, 1))
        self.measured = nn.Conv1d(24, a, 8, 2, 3, bias=False)  # nothing measured adds nothing
        self.last = nn.Sequential(_Res(a), _Res(a), nn.GroupNorm(8, a), nn.SiLU(), nn.Conv1d(a, 40, 5, padding=2))
        self.register_buffer("twelve", twelve_of_eight(), persistent=False)
        self.register_buffer("scale", torch.ones(shape.latent))

    def encode(self, signal: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each (B, latent, STEPS)."""
        hidden = self.over(self.down(self.stem(_inputs(signal, known))))
        mean, log_var = self.to_latent(hidden).chunk(2, dim=1)
        return mean, log_var.clamp(-12, 4)

    def decode(self, z: Tensor, signal: Tensor | None = None, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Twelve leads (B, 12, SAMPLES) in mV, and the log of their standard error in mV.

        `signal` and `known` are what was measured; without them the latent alone speaks.
        """
        hidden = self.up(self.under(self.from_latent(z)))
        if signal is not None and known is not None:
            hidden = hidden + self.measured(_inputs(signal, known))
        out = self.last(hidden).view(len(z), 20, 2, SAMPLES // 2).transpose(2, 3).flatten(2)  # (B, 20, SAMPLES)
        return self.twelve @ out[:, :8], (out[:, 8:] - 2.5).clamp(-6, 2)

    def forward(self, signal: Tensor, known: Tensor, shown: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """A sampled reconstruction: leads, log standard errors, and the posterior's mean and log variance.

        `shown` (B,) bool: whose decoder sees the measured leads again.
        """
        mean, log_var = self.encode(signal, known)
        z = mean + torch.randn_like(mean) * (log_var / 2).exp()
        return *self.decode(z, signal, known & shown[:, None, None]), mean, log_var

    @torch.inference_mode()
    def rebuild(self, signal: Tensor, known: Tensor, draws: int = DRAWS, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Twelve leads of the likeliest latent, and their standard error in mV: that which the decoder states, and how
        far latents drawn from the posterior lie apart. The same seed gives the same error.

        The leads are the mean of three: as they are, and moved by `MOVED` samples either way, as a latent step of 80 ms
        begins elsewhere in the beat each time.
        """
        mean, log_var = self.encode(signal, known)
        middle, log_error = self.decode(mean, signal, known)
        total, count = middle.clone(), torch.ones_like(middle)
        for by in (MOVED, -MOVED):
            here = slice(by, None) if by > 0 else slice(None, by)  # what is still inside when it is moved
            there = torch.zeros_like(known)
            there[..., here] = True
            moved, seen = torch.roll(signal, by, 2), torch.roll(known, by, 2) & there
            again = torch.roll(self.decode(self.encode(moved, seen)[0], moved, seen)[0], -by, 2)
            inside = torch.roll(there, -by, 2)
            total, count = total + torch.where(inside, again, 0), count + inside
        leads = total / count
        generator = torch.Generator().manual_seed(seed)
        drawn = []
        for _ in range(draws):
            noise = torch.randn(mean.shape, generator=generator).to(mean.device)
            drawn.append(self.decode(mean + noise * (log_var / 2).exp(), signal, known)[0] - middle)
        apart = torch.stack(drawn).square().mean(0) if drawn else torch.zeros_like(leads)
        return leads, ((2 * log_error).exp() + apart).sqrt()

    def config(self) -> dict[str, Any]:
        return asdict(self.shape)


@cache
def opened(file: Path = FILE) -> tuple[Vae, np.ndarray]:
    """The trained network from its file, and (12,) the factor that makes a standard error half of an 80 % band.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    net, config = network(file, "vae", lambda shape: Vae(Shape(**shape)))
    return net, np.array(config["band"], np.float32)


class _Res(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 5, padding=2),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 5, padding=2),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Context(nn.Module):
    """Attention over the steps: beats of one heart look alike, and a gap is filled from its neighbours."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.widths[-1]
        self.place = nn.Parameter(torch.randn(STEPS, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, shape.heads, 2 * width, shape.dropout, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(shape.layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, STEPS) -> the same"""
        x = x.transpose(1, 2) + self.place
        for layer in self.layers:
            x = layer(x)
        return x.transpose(1, 2)


def _inputs(signal: Tensor, known: Tensor) -> Tensor:
    """(B, 24, SAMPLES): the leads in half millivolts, zero where unknown, and what is known."""
    signal, known = completed(signal, known)
    return torch.cat([2 * signal, known.to(signal.dtype)], dim=1)
