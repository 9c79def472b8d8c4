"""Generation tokens -> the condition of the flow: what a language model makes of a request to draw an ECG.

    vectors, present = drawer(hidden, there)      (B, SLOTS, 384) of length 1 and (B, SLOTS) logits

A request to draw is answered by a fixed run of reserved words, one a slot; their states, half way up the language
model, look back at those of the request and become sentence vectors as encoders/sentence.py has them, which the flow
takes (UniECG, arXiv 2509.18588, aligns such tokens to the text encoder of its generator). A slot is for a part of the
ECG, in the order in which it is read, so that what is learnt is no set. Rate, age and sex stay numbers, read from the
words by tools/drawing_words.py. Half way up, because the adapter (agent/llm.py) changes the upper half alone: it can be
trained anew without this.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.weights import WEIGHTS, network

FILE = WEIGHTS / "drawing.safetensors"
PARTS = ("rhythm", "rhythm", "conduction", "conduction", "hypertrophy", "ischaemia", "ischaemia", "conclusion")
SLOTS = len(PARTS)


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; kept in its file."""

    hidden: int = 576  # of the language model
    width: int = 192
    heads: int = 4
    text: int = 384  # of a sentence vector


class Drawer(nn.Module):
    """See the module. `forward(hidden, there)` with

    hidden : (B, T, hidden) states of a request and of the generation tokens, which are the last SLOTS.
    there : (B, T) bool.
    """

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        self.inside = nn.Sequential(nn.LayerNorm(shape.hidden), nn.Linear(shape.hidden, shape.width))
        self.place = nn.Parameter(torch.randn(SLOTS, shape.width) * 0.02)
        self.attend = nn.ModuleList(nn.MultiheadAttention(shape.width, shape.heads, batch_first=True) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(shape.width) for _ in range(2))
        self.bend = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(shape.width), nn.Linear(shape.width, 2 * shape.width), nn.GELU(),
                          nn.Dropout(0.1), nn.Linear(2 * shape.width, shape.width)) for _ in range(2)
        )  # fmt: skip
        self.out = nn.Linear(shape.width, shape.text + 1)

    def forward(self, hidden: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        seen = self.inside(hidden)  # (B, T, W)
        slots = seen[:, -SLOTS:] + self.place
        for attend, norm, bend in zip(self.attend, self.norms, self.bend, strict=True):
            slots = slots + attend(norm(slots), seen, seen, key_padding_mask=~there, need_weights=False)[0]
            slots = slots + bend(slots)
        out = self.out(slots)
        return F.normalize(out[..., :-1], dim=-1), out[..., -1]

    def config(self) -> dict[str, Any]:
        return asdict(self.shape)


def slots_of(codes: list[str], part_of: dict[str, str]) -> list[str | None]:
    """The code of each slot: those of a part in alphabetical order; what finds no slot is left out."""
    waiting = {part: sorted(code for code in codes if part_of[code] == part) for part in set(PARTS)}
    return [waiting[part].pop(0) if waiting[part] else None for part in PARTS]


@cache
def opened(file: Path = FILE) -> Drawer:
    """The trained head from its file.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    return network(file, "drawing", lambda shape: Drawer(Shape(**shape)))[0]
