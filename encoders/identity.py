"""Whose ECG it is, whatever it shows: latent of encoders/vae.py and its condition -> a vector of the person.

    extractor(latent, given)  ->  (B, 64) of length 1, alike for two recordings of one heart

The individual base extractor of ECGTwin (arXiv 2508.02720): attention over the latent, from which what the condition
explains (statements, rate, age, sex) is taken away, then a mean. It is learnt by contrast of two recordings of one
patient, and of two halves of one recording, against everybody else (training/identity.py).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.flow import NUMBERS, Given
from encoders.vae import STEPS
from encoders.weights import WEIGHTS, network

FILE = WEIGHTS / "identity.safetensors"


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; kept in its file."""

    latent: int = 8
    width: int = 96
    layers: int = 2
    heads: int = 4
    text: int = 384
    person: int = 64


class Identity(nn.Module):
    """See the module. `forward(latent, given)` with the latent (B, latent, STEPS) in units of its usual spread."""

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        width = shape.width
        self.inside = nn.Conv1d(shape.latent, width, 5, padding=2)
        self.place = nn.Parameter(torch.randn(STEPS, width) * 0.02)
        self.text = nn.Linear(shape.text, width)
        self.number = nn.ModuleList(nn.Linear(1, width) for _ in NUMBERS)
        self.layers = nn.ModuleList(_Layer(width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(width)
        self.outside = nn.Linear(width, shape.person)

    def forward(self, latent: Tensor, given: Given) -> Tensor:
        numbers = given.standardised()
        of_numbers = torch.stack([map_(numbers[:, i, None]) for i, map_ in enumerate(self.number)], dim=1)
        asked = torch.cat([self.text(given.told()), of_numbers], dim=1)  # (B, C, W)
        there = torch.cat([given.has_text, given.has_numbers], dim=1)
        h = self.inside(latent).transpose(1, 2) + self.place
        for layer in self.layers:
            h = layer(h, asked, there)
        return F.normalize(self.outside(self.norm(h).mean(dim=1)), dim=-1)

    def config(self) -> dict[str, Any]:
        return asdict(self.shape)


class _Layer(nn.Module):
    """Attention along the latent, less what attention to the condition brings up, then feed-forward."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.own = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.forth, self.back = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, h: Tensor, asked: Tensor, there: Tensor) -> Tensor:
        x = self.norms[0](h)
        h = h + self.own(x, x, x, need_weights=False)[0]
        nobody = ~there.any(dim=1, keepdim=True)  # without a condition nothing is taken away
        explained = self.cross(self.norms[1](h), asked, asked, key_padding_mask=~(there | nobody), need_weights=False)[
            0
        ]
        h = h - F.relu(explained) * ~nobody[..., None]
        return h + self.back(F.gelu(self.forth(self.norms[2](h))))


@cache
def opened(file: Path = FILE) -> Identity:
    """The trained extractor from its file.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    return network(file, "identity", lambda shape: Identity(Shape(**shape)))[0]
