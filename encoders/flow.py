"""Rectified flow over the latent of encoders/vae.py: noise -> an ECG that fits what is asked for.

    flow.draw(given, seeds, beats)  ->  (B, latent, 125)        Vae.decode makes twelve leads of it

A straight path runs from noise to a latent (Liu et al. 2023, arXiv 2209.03003); the network says the velocity along it:
convolutions see the waves, a transformer over spans of 0.4 s the beats. When the heart beats is told at every step
(encoders/rhythm.py). Conditions are tokens beside those of the spans, each of which may be absent: statements in words
(sentence vectors), heart rate, age, sex, whether amplitudes are as recorded. A person enters by a path of their own:
the vector of encoders/identity.py modulates every layer together with the time (AdaX of ECGTwin, arXiv 2508.02720).
Drawing pushes away from what would be drawn without conditions (classifier-free guidance; Ho and Salimans 2022, arXiv
2207.12598).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.rhythm import TRACK, without_ventricular
from encoders.vae import STEPS
from encoders.weights import WEIGHTS, network

FILE = WEIGHTS / "flow.safetensors"
DRAW_STEPS, GUIDANCE = 15, 2.0
SPAN = 5  # steps of the latent in one token, 0.4 s
NUMBERS = ("heart_rate_bpm", "age_years", "male", "as_recorded")
_MIDDLE, _SPREAD = (75.0, 60.0, 0.5, 0.5), (20.0, 17.0, 0.5, 0.5)


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; kept in its file."""

    latent: int = 8
    narrow: int = 96  # of the convolutions
    width: int = 192  # of the transformer
    layers: int = 6
    heads: int = 6
    text: int = 384
    person: int = 64


class Given(NamedTuple):
    """What is asked for; what is not there is masked, whatever its value.

    text : (B, K, text) sentence vectors, has_text : (B, K) bool.
    numbers : (B, 4) of `NUMBERS`, in their units, has_numbers : (B, 4) bool.
    person : (B, person), has_person : (B,) bool.
    """

    text: Tensor
    has_text: Tensor
    numbers: Tensor
    has_numbers: Tensor
    person: Tensor
    has_person: Tensor

    def without(self, text: Tensor, numbers: Tensor, person: Tensor) -> Given:
        """Less what these masks, shaped as `has_…`, are False for."""
        return self._replace(
            has_text=self.has_text & text, has_numbers=self.has_numbers & numbers, has_person=self.has_person & person
        )

    def nothing(self) -> Given:
        return self.without(*(torch.zeros_like(one) for one in (self.has_text, self.has_numbers, self.has_person)))

    def standardised(self) -> Tensor:
        """(B, 4) the numbers around what is usual, in units of their spread; 0 where they are absent."""
        middle, spread = (torch.tensor(one, device=self.numbers.device) for one in (_MIDDLE, _SPREAD))
        return torch.where(self.has_numbers, (self.numbers - middle) / spread, torch.zeros_like(self.numbers))

    def told(self) -> Tensor:
        """(B, K, text) the sentence vectors, 0 where they are absent."""
        return torch.where(self.has_text[..., None], self.text, torch.zeros_like(self.text))

    def rows(self, rows: Any) -> Given:
        return Given(*(one[rows] for one in self))


class Flow(nn.Module):
    """See the module. `forward(x, t, given, beats)` is the velocity (B, latent, STEPS) at time `t` (B,) of 0 noise … 1
    ECG; `beats` (B, TRACK, STEPS) of `rhythm.track`, None where they are not known."""

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        width = shape.width
        self.inside = nn.Conv1d(shape.latent, shape.narrow, 5, padding=2)
        self.beats = nn.Conv1d(TRACK, shape.narrow, 5, padding=2, bias=False)  # what is not known adds nothing
        self.waves = nn.ModuleList(_Waves(shape.narrow, width) for _ in range(4))  # two before the beats, two after
        self.down = nn.Conv1d(shape.narrow, width, SPAN, SPAN)
        self.up = nn.ConvTranspose1d(width, shape.narrow, SPAN, SPAN)
        self.place = nn.Parameter(torch.randn(STEPS // SPAN, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.person = nn.Linear(shape.person, width)
        self.text = nn.Linear(shape.text, width)
        self.number = nn.ModuleList(nn.Linear(32, width) for _ in NUMBERS)
        self.layers = nn.ModuleList(_Layer(width, shape.heads) for _ in range(shape.layers))
        self.outside = nn.Conv1d(shape.narrow, shape.latent, 5, padding=2)
        for start in self.outside.parameters():
            nn.init.zeros_(start)

    def forward(self, x: Tensor, t: Tensor, given: Given, beats: Tensor | None = None) -> Tensor:
        tokens, there = self._conditions(given)  # (B, C, W), (B, C)
        told = self.person(given.person) * given.has_person[:, None] + (tokens * there[..., None]).sum(dim=1)
        mode = self.time(_sines(t * 1000, 64)) + told  # (B, W)
        h = self.inside(x) if beats is None else self.inside(x) + self.beats(beats)  # (B, N, STEPS)
        for local in self.waves[:2]:
            h = local(h, mode)
        spans = torch.cat([tokens, self.down(h).transpose(1, 2) + self.place], dim=1)
        seen = torch.cat([there, there.new_ones(len(x), STEPS // SPAN)], dim=1)
        for layer in self.layers:
            spans = layer(spans, seen, mode)
        h = h + self.up(spans[:, tokens.shape[1] :].transpose(1, 2))
        for local in self.waves[2:]:
            h = local(h, mode)
        return self.outside(F.silu(h))

    def _conditions(self, given: Given) -> tuple[Tensor, Tensor]:
        numbers = given.standardised()
        of_numbers = torch.stack([map_(_sines(numbers[:, i] * 10, 32)) for i, map_ in enumerate(self.number)], dim=1)
        return torch.cat([self.text(given.told()), of_numbers], 1), torch.cat([given.has_text, given.has_numbers], 1)

    @torch.inference_mode()
    def draw(
        self, given: Given, seeds: list[int], beats: Tensor | None = None, steps: int = DRAW_STEPS,
        guidance: float = GUIDANCE,
    ) -> Tensor:  # fmt: skip
        """(B, latent, STEPS), row i from the noise of `seeds[i]` alone, whatever else is drawn beside it."""
        noise = [torch.randn(self.shape.latent, STEPS, generator=torch.Generator().manual_seed(s)) for s in seeds]
        x = torch.stack(noise).to(given.text.device)
        both = Given(*(torch.cat([one, other]) for one, other in zip(given, given.nothing(), strict=True)))
        twice = None if beats is None else torch.cat([beats, without_ventricular(beats)])
        for step in range(steps):
            t = torch.full((2 * len(x),), step / steps, device=x.device)
            asked, free = self(x.repeat(2, 1, 1), t, both, twice).chunk(2)
            x = x + (free + guidance * (asked - free)) / steps
        return x

    def config(self) -> dict[str, Any]:
        return asdict(self.shape)


class _Waves(nn.Module):
    """Two convolutions, modulated."""

    def __init__(self, narrow: int, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, narrow, affine=False) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv1d(narrow, narrow, 5, padding=2) for _ in range(2))
        self.modulate = nn.Linear(width, 3 * narrow)
        nn.init.zeros_(self.modulate.weight), nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, mode: Tensor) -> Tensor:
        """(B, N, STEPS), (B, W) -> (B, N, STEPS)"""
        a, b, c = self.modulate(F.silu(mode))[..., None].chunk(3, dim=1)
        x = self.convs[0](F.silu(self.norms[0](h) * (1 + a) + b))
        return h + (1 + c) * self.convs[1](F.silu(self.norms[1](x)))


class _Layer(nn.Module):
    """Attention and feed-forward, both modulated (adaLN-zero; Peebles and Xie 2023, arXiv 2212.09748)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.forth, self.back = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulate = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight), nn.init.zeros_(self.modulate.bias)

    def forward(self, h: Tensor, seen: Tensor, mode: Tensor) -> Tensor:
        """(B, N, W), (B, N) bool, (B, W) -> (B, N, W)"""
        a, b, c, d, e, f = self.modulate(F.silu(mode))[:, None].chunk(6, dim=-1)
        batch, n, width = h.shape
        mixed = self.qkv(self.norms[0](h) * (1 + a) + b).view(batch, n, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)  # each (B, H, N, W / H)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None])
        h = h + c * self.out(mixed.transpose(1, 2).reshape(batch, n, width))
        return h + f * self.back(F.gelu(self.forth(self.norms[1](h) * (1 + d) + e)))


def _sines(value: Tensor, width: int) -> Tensor:
    """(B, width) sines and cosines of a number, from one turn in 10,000 to one in a single unit."""
    rates = torch.exp(-math.log(10_000) * torch.arange(width // 2, device=value.device) / (width // 2))
    angle = value[:, None].float() * rates
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


@cache
def opened(file: Path = FILE) -> tuple[Flow, tuple[str, ...]]:
    """The trained flow from its file, and the SCP codes that it has learnt to draw.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    net, config = network(file, "flow", lambda shape: Flow(Shape(**shape)))
    return net, tuple(config["codes"])
