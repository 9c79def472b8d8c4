"""AUROC with bootstrap intervals, and the difference of two models on the same recordings."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

DRAWS = 1000
LEAST = 5  # positives that a code needs in a fold to be counted


def auroc(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(codes,) area under the ROC curve of (records, codes) probabilities; NaN where only one class is there."""
    positive = truth.sum(axis=0)
    negative = len(truth) - positive
    ranks = rankdata(p, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((ranks * truth).sum(axis=0) - positive * (positive + 1) / 2) / (positive * negative)


def macro(p: np.ndarray, truth: np.ndarray, counted: np.ndarray | None = None) -> float:
    """Mean AUROC over the codes with at least `LEAST` positives (or over those `counted`)."""
    chosen = truth.sum(axis=0) >= LEAST if counted is None else counted
    each = auroc(p[:, chosen], truth[:, chosen])
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")  # a draw without a single patient


def with_interval(ours: np.ndarray, truth: np.ndarray, *others: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """Macro AUROC with its bootstrap 95 % interval over recordings, and how far it is above the mean of `others`.

    The codes counted are those of the whole fold in every draw.
    """
    rng = np.random.default_rng(seed)
    counted = truth.sum(axis=0) >= LEAST
    drawn, ahead = [], []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(truth), len(truth))
        drawn.append(macro(ours[rows], truth[rows], counted))
        if others:
            ahead.append(drawn[-1] - float(np.mean([macro(one[rows], truth[rows], counted) for one in others])))
    out: dict[str, Any] = {"auroc": macro(ours, truth), "interval": _percentiles(drawn), "codes": int(counted.sum())}
    if others:
        each = [macro(one, truth) for one in others]
        out |= {"baseline": each, "ahead": out["auroc"] - float(np.mean(each)), "ahead_interval": _percentiles(ahead)}
    return _rounded(out)


def interval(values: np.ndarray, draws: int = DRAWS) -> list[float]:
    """Bootstrap 95 % interval of the mean of `values` over recordings, prompts or persons."""
    values = np.asarray(values, float)
    rows = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    return _percentiles(list(values[rows].mean(axis=1)))


def median(values: np.ndarray, digits: int) -> dict[str, Any]:
    """Median of `values` over recordings and its bootstrap 95 % interval, rounded."""
    values = np.asarray(values, float)
    rows = np.random.default_rng(0).integers(0, len(values), (DRAWS, len(values)))
    low, high = np.percentile(np.median(values[rows], axis=1), [2.5, 97.5])
    return {
        "median": round(float(np.median(values)), digits),
        "interval": [round(float(v), digits) for v in (low, high)],
    }


def _percentiles(values: list[float]) -> list[float]:
    return [float(v) for v in np.nanpercentile(values, [2.5, 97.5])]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value
