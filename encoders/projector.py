"""An ECG as soft tokens of a language model: features of the reading encoder -> vectors in the place of words.

    seen = features(net_output, lead_numbers)     what is read off the encoder, whatever leads were recorded
    vectors, there = projector(seen)              (B, TOKENS, hidden) and which of them are there

Twenty-one tokens an ECG, a fixed budget: four of the whole (what the encoder's heads read), one a lead, and five of two
seconds each. So a question about a lead or a moment finds its token, and two ECGs and a conversation fit a small
model's context. A lead that was not recorded has no token. After the projectors of UniECG (arXiv 2509.18588) and
SpiroLLM (arXiv 2507.16145).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from encoders.weights import WEIGHTS, network

FILE = WEIGHTS / "projector.safetensors"
WHOLE, LEADS, TIMES = 4, 12, 5
TOKENS = WHOLE + LEADS + TIMES


class Features(NamedTuple):
    """whole (B, 5 W), lead (B, 12, W), time (B, 5, W); has_lead (B, 12), has_time (B, 5) bool."""

    whole: Tensor
    lead: Tensor
    time: Tensor
    has_lead: Tensor
    has_time: Tensor

    def rows(self, rows: Any) -> Features:
        return Features(*(one[rows] for one in self))

    def there(self) -> Tensor:
        """(B, TOKENS) bool: which tokens an ECG has."""
        return torch.cat([self.has_lead.new_ones(len(self.whole), WHOLE), self.has_lead, self.has_time], dim=1)


def features(seen: dict[str, Tensor], lead: Tensor) -> Features:
    """Means over each lead and over every two seconds of what `ReadingNet` returned; `lead` (B, L) as it was given."""
    tokens, there = seen["tokens"], seen["there"]
    batch, _, steps, width = tokens.shape
    kept = tokens * there[..., None]
    of_lead, has_lead = tokens.new_zeros(batch, LEADS, width), there.new_zeros(batch, LEADS)
    rows = torch.arange(batch)[:, None]
    of_lead[rows, lead] = kept.sum(2) / there.sum(2).clamp_min(1)[..., None]
    has_lead[rows, lead] = there.any(2)
    spans = there.unflatten(2, (TIMES, steps // TIMES)).sum((1, 3))
    of_time = kept.unflatten(2, (TIMES, steps // TIMES)).sum((1, 3)) / spans.clamp_min(1)[..., None]
    return Features(seen["pooled"], of_lead, of_time, has_lead, spans > 0)


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; kept in its file."""

    width: int = 96  # of the encoder's tokens
    hidden: int = 576  # of the language model
    inner: int = 384


class Projector(nn.Module):
    """See the module."""

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        self.whole = nn.Linear(5 * shape.width, WHOLE * shape.hidden)
        self.lead = nn.Linear(shape.width, shape.hidden)
        self.time = nn.Linear(shape.width, shape.hidden)
        self.place = nn.Parameter(torch.zeros(TOKENS, shape.hidden))
        self.bent_whole = Bent(5 * shape.width, shape.inner, WHOLE * shape.hidden)
        self.bent_lead = Bent(shape.width, shape.inner, shape.hidden)
        self.bent_time = Bent(shape.width, shape.inner, shape.hidden)

    def forward(self, seen: Features) -> tuple[Tensor, Tensor]:
        """(B, TOKENS, hidden) and (B, TOKENS) bool."""
        whole = (self.whole(seen.whole) + self.bent_whole(seen.whole)).unflatten(1, (WHOLE, -1))
        lead = self.lead(seen.lead) + self.bent_lead(seen.lead)
        time = self.time(seen.time) + self.bent_time(seen.time)
        return torch.cat([whole, lead, time], dim=1) + self.place, seen.there()

    def config(self) -> dict[str, Any]:
        return asdict(self.shape)


class Bent(nn.Sequential):
    """What a line cannot say; nothing at first."""

    def __init__(self, width: int, inner: int, hidden: int):
        super().__init__(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, hidden))
        for start in self[2].parameters():
            nn.init.zeros_(start)


@cache
def opened(file: Path = FILE) -> Projector:
    """The trained projector from its file.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    return network(file, "multimodal", lambda shape: Projector(Shape(**shape)))[0]
