"""CTGage's loss (arXiv 2509.14242; "distribution-aligned regression") and the soft sort that it needs.

    labels = pseudo_labels(64, mean, spread, low, high)              # ages as a batch of 64 would have them
    loss = loss_of(age, acid, true_age, true_acid, labels)

Absolute error, the distance of the batch's soft-sorted estimates from the pseudo-labels, and the slope of true on
estimated ages; beside it cross-entropy for acid cord blood.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

SORTED, SLOPE, ACID = 0.3, 1.0, 3.0  # beside days of absolute error; CTGage's 100 for the slope drowns all here
STRENGTH = 0.1  # of the soft sort
BIN_DAYS, FLOOR, NARROWER = 1.5, 1e-4, 0.8  # of the pseudo-labels' distribution


def soft_sort(values: Tensor, strength: float = STRENGTH) -> Tensor:
    """(n,) values in ascending order, softly: the projection of n/strength … 1/strength onto their permutahedron.

    By isotonic regression (Blondel et al. 2020): values closer than 1/strength … come out sorted, others averaged in
    blocks; gradients flow through the blocks' means. As strength goes to 0 this is `sort`.
    """
    from scipy.optimize import isotonic_regression

    falling = torch.sort(-values, descending=True).values
    anchor = torch.arange(len(values), 0, -1, dtype=values.dtype, device=values.device) / strength
    fitted = isotonic_regression((anchor - falling).detach().cpu().double().numpy(), increasing=False)
    block = torch.from_numpy(np.repeat(np.arange(len(fitted.blocks) - 1), np.diff(fitted.blocks))).to(values.device)
    count = torch.bincount(block).to(values.dtype)

    def mean(of: Tensor) -> Tensor:
        return (torch.zeros_like(count).index_add(0, block, of) / count)[block]

    return -(anchor - mean(anchor) + mean(falling))  # the anchor cancels exactly where a block holds one value


def pseudo_labels(count: int, mean: float, spread: float, low: float, high: float) -> np.ndarray:
    """(count,) ascending ages in days, as a batch of that size would have them.

    Quantiles of a normal distribution of 0.8 spreads, cut to [low, high], in bins of 1.5 days of at least 1e-4 each.
    """
    edges = np.arange(low, high + BIN_DAYS, BIN_DAYS)
    middle = (edges[:-1] + edges[1:]) / 2
    density = np.exp(-0.5 * np.square((middle - mean) / (NARROWER * spread)))
    weight = np.maximum(density / density.sum(), FLOOR)
    upto = np.r_[0, np.cumsum(weight / weight.sum())]
    return np.interp((np.arange(count) + 0.5) / count, upto, edges)


def loss_of(age: Tensor, acid: Tensor, true_age: Tensor, true_acid: Tensor, labels: Tensor) -> Tensor:
    """See the module; all (B,), `labels` the ascending pseudo-labels; a pH that is unknown is NaN."""
    error = (age - true_age).abs().mean()
    spread = (soft_sort(age) - labels).abs().mean()
    apart = age - age.mean()
    slope = (apart * (true_age - true_age.mean())).mean() / (apart.square().mean() + 1.0)
    known = torch.isfinite(true_acid)
    entropy = acid.sum() * 0.0
    if known.any():
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(acid[known], true_acid[known])
    return error + SORTED * spread + SLOPE * (slope - 1).square() + ACID * entropy
