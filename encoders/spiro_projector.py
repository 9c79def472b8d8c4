"""A spirogram as soft tokens of a language model: what its encoder sees -> vectors in the place of words.

    seen = features(net_output, there)            what is read off encoders/spiro.py, however long the blow was
    vectors, there = projector(seen)              (B, TOKENS, hidden) and which of them are there

Thirteen tokens a blow: four of the whole, nine of 1.2 s each; what was not recorded has no token. After SpiroProjector
of SpiroLLM (arXiv 2507.16145), which gives the language model the curve and withholds its numbers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from encoders.projector import Bent
from encoders.spiro import SEGMENTS
from encoders.weights import WEIGHTS, network

FILE = WEIGHTS / "spiro_projector.safetensors"
WHOLE, SPAN = 4, 4  # tokens of the whole; segments of a token of time
TIMES = SEGMENTS // SPAN
TOKENS = WHOLE + TIMES


class Features(NamedTuple):
    """whole (B, 2 W), time (B, TIMES, W); has_time (B, TIMES) bool."""

    whole: Tensor
    time: Tensor
    has_time: Tensor

    def rows(self, rows: Any) -> Features:
        return Features(*(one[rows] for one in self))

    def there(self) -> Tensor:
        """(B, TOKENS) bool: which tokens a blow has."""
        return torch.cat([self.has_time.new_ones(len(self.whole), WHOLE), self.has_time], dim=1)


def features(seen: dict[str, Tensor], there: Tensor) -> Features:
    """Means over every 1.2 s of what `SpiroNet` returned; `there` (B, SEGMENTS) as it was given."""
    counts = there.unflatten(1, (TIMES, SPAN)).sum(2)
    kept = (seen["vectors"] * there[..., None]).unflatten(1, (TIMES, SPAN)).sum(2)
    return Features(seen["whole"], kept / counts.clamp_min(1)[..., None], counts > 0)


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; kept in its file."""

    width: int = 128  # of the encoder's vectors
    hidden: int = 576  # of the language model
    inner: int = 192


class SpiroProjector(nn.Module):
    """See the module."""

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        self.whole = nn.Linear(2 * shape.width, WHOLE * shape.hidden)
        self.time = nn.Linear(shape.width, shape.hidden)
        self.place = nn.Parameter(torch.zeros(TOKENS, shape.hidden))
        self.bent_whole = Bent(2 * shape.width, shape.inner, WHOLE * shape.hidden)
        self.bent_time = Bent(shape.width, shape.inner, shape.hidden)

    def forward(self, seen: Features) -> tuple[Tensor, Tensor]:
        """(B, TOKENS, hidden) and (B, TOKENS) bool."""
        whole = (self.whole(seen.whole) + self.bent_whole(seen.whole)).unflatten(1, (WHOLE, -1))
        return torch.cat([whole, self.time(seen.time) + self.bent_time(seen.time)], dim=1) + self.place, seen.there()

    def config(self) -> dict[str, Any]:
        return asdict(self.shape)


@cache
def opened(file: Path = FILE) -> tuple[SpiroProjector, float]:
    """The trained projector from its file, and the probability of obstruction from which on it says so.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    net, config = network(file, "spirogram_report", lambda shape: SpiroProjector(Shape(**shape)))
    return net, float(config["threshold"])
