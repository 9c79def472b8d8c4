"""The reading encoder: any leads, any gaps -> probabilities, an embedding, tokens.

    stem      one convolution stack shared by all leads turns 0.4 s of a lead into a token (leads, 25, width)
    blocks    attention along the leads, attention along time, feed-forward; what was not recorded is left out of both
    heads     superclasses, subclasses, statements; an embedding that is alike for one lead and for twelve

Each lead is seen as a shape (divided by its own spread) beside its voltage: a recording whose voltage was lost still
teaches shape. Robust to layouts after PatchECG (arXiv 2508.09165), with missing tokens masked in attention rather than
set to zero; one lead is aligned with twelve after SelfMIS (arXiv 2509.19397).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FS_HZ = 100
SAMPLES = 1000  # 10 s
TOKENS = 25  # a lead
PATCH = SAMPLES // TOKENS


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; kept in the card."""

    width: int = 96
    blocks: int = 3
    heads: int = 4
    embedding: int = 128
    superclass: int = 5
    subclass: int = 23
    statement: int = 71
    dropout: float = 0.1


class ReadingNet(nn.Module):
    """See the module. `forward(signal, known, lead, voltage)` with

    signal : (B, L, SAMPLES) float32 mV, anything where not known
    known : (B, L, SAMPLES) bool, what was recorded
    lead : (B, L) int64, 0-11 for I … V6
    voltage : (B, L) bool, whether amplitudes are those recorded

    and gives {"superclass", "subclass", "statement": (B, codes) logits, "embedding": (B, embedding) of length 1,
    "tokens": (B, L, TOKENS, width), "there": (B, L, TOKENS) bool, "pooled": (B, 5 width), what the heads read}.
    """

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        width = shape.width
        self.stem = nn.Sequential(
            _conv(2, 32, 9, 2), _conv(32, 64, 7, 2), _conv(64, width, 5, 2), _conv(width, width, 5, 5)
        )  # 1000 -> 500 -> 250 -> 125 -> 25
        self.lead = nn.Embedding(12, width)
        self.time = nn.Parameter(torch.randn(TOKENS, width) * 0.02)
        self.voltage = nn.Linear(2, width)
        self.blocks = nn.ModuleList(Block(width, shape.heads, shape.dropout) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 4)  # where each of four summaries looks
        pooled = 5 * width
        self.dropout = nn.Dropout(2 * shape.dropout)
        self.superclass = nn.Linear(pooled, shape.superclass)
        self.subclass = nn.Linear(pooled, shape.subclass)
        self.statement = nn.Linear(pooled, shape.statement)
        self.embedding = nn.Linear(pooled, shape.embedding)

    def forward(self, signal: Tensor, known: Tensor, lead: Tensor, voltage: Tensor) -> dict[str, Tensor]:
        return self.read(*self.stemmed(signal, known, lead, voltage))

    def stemmed(self, signal: Tensor, known: Tensor, lead: Tensor, voltage: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, L, TOKENS, width) before they have seen each other, and which of them are there (B, L, TOKENS)."""
        form, spread = standardised(signal, known)
        batch, leads, samples = form.shape
        both = torch.stack([form, known.float()], dim=2).view(batch * leads, 2, samples)
        tokens = self.stem(both).transpose(1, 2).view(batch, leads, TOKENS, -1)  # (B, L, T, W)
        there = known.view(batch, leads, TOKENS, PATCH).float().mean(-1) > 0.5  # (B, L, T)
        told = voltage.float()
        size = torch.stack([torch.log(spread.clamp_min(1e-3)) * told, told], dim=-1)  # (B, L, 2)
        return tokens + (self.lead(lead) + self.voltage(size))[:, :, None] + self.time, there

    def read(self, tokens: Tensor, there: Tensor) -> dict[str, Tensor]:
        """From tokens and what is there to the outputs of `forward`."""
        for block in self.blocks:
            tokens = block(tokens, there)
        tokens = self.norm(tokens)
        pooled = self.dropout(self._pooled(tokens, there))
        out = {name: getattr(self, name)(pooled) for name in ("superclass", "subclass", "statement")}
        return {
            **out,
            "embedding": F.normalize(self.embedding(pooled), dim=-1),
            "tokens": tokens,
            "there": there,
            "pooled": pooled,
        }

    def _pooled(self, tokens: Tensor, there: Tensor) -> Tensor:
        """(B, 5 W): the mean of what is there and four gated means."""
        flat, seen = tokens.flatten(1, 2), there.flatten(1, 2)  # (B, N, W), (B, N)
        score = self.gate(flat).masked_fill(~seen[..., None], -1e4)
        weight = torch.cat([seen[..., None] / seen.sum(1).clamp_min(1)[:, None, None], score.softmax(1)], dim=-1)
        return torch.einsum("bnk,bnw->bkw", weight, flat).flatten(1)

    def config(self) -> dict[str, Any]:
        return asdict(self.shape)


class Block(nn.Module):
    """Attention along leads, attention along time, feed-forward; pre-norm."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.across = _Attention(width, heads)
        self.along = _Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.forth, self.back = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """(B, L, T, W), (B, L, T) -> (B, L, T, W)"""
        turned = self.across(tokens.transpose(1, 2), there.transpose(1, 2))  # leads of one moment
        tokens = tokens + self.dropout(turned.transpose(1, 2))
        tokens = tokens + self.dropout(self.along(tokens, there))  # moments of one lead
        return tokens + self.dropout(self.back(F.gelu(self.forth(self.norm(tokens)))))


class _Attention(nn.Module):
    """Self-attention along the third axis of (B, R, N, W), over what is there."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        batch, rows, n, width = tokens.shape
        mixed = self.qkv(self.norm(tokens)).view(batch * rows, n, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)  # each (B R, H, N, W / H)
        nobody = ~there.any(-1, keepdim=True)  # a row without tokens attends to itself; nothing reads it
        mask = (there | nobody).reshape(batch * rows, 1, 1, n)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.out(out.transpose(1, 2).reshape(batch, rows, n, width))


def standardised(signal: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Shape (B, L, S) without level and size, zero where not known; and the spread (B, L) in mV that was taken out."""
    weight = known.float()
    count = weight.sum(-1, keepdim=True).clamp_min(1)
    signal = torch.where(known, signal, torch.zeros((), dtype=signal.dtype))
    level = signal.sum(-1, keepdim=True) / count
    centred = (signal - level) * weight
    spread = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    return (centred / (spread + 0.01)).clamp(-12, 12), spread[..., 0]


def _conv(inside: int, outside: int, kernel: int, stride: int) -> nn.Sequential:
    padding = (kernel - 1) // 2 if stride < kernel else 0
    return nn.Sequential(
        nn.Conv1d(inside, outside, kernel, stride, padding, bias=False), nn.BatchNorm1d(outside), nn.SiLU()
    )
