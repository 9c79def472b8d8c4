"""From two sets of logits to calibrated probabilities, thresholds and an honest band between; all on validation.

    fusion = fuse(net, trees, labels)              # weights a, b shared by the codes of a group, an offset a code
    thresholds, bands = decide(probabilities, labels)

One weight for all codes of a group and a shrunken offset for each: validation has few patients with a rare code.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

SHRINK = 4.0  # an offset of 1 costs as much as this many nats


def fuse(net: np.ndarray, net_alone: np.ndarray, trees: np.ndarray, labels: np.ndarray) -> dict[str, list[float]]:
    """Weights and offsets that make `encoders.reading.combined` most likely; all arrays are (records, codes).

    `net_alone` are the network's logits of recordings for which the trees have nothing to see.
    """
    both = _best(np.stack([net, trees]), labels)
    alone = _best(net_alone[None], labels)
    return {
        "both": both[:2].tolist(),
        "offset": both[2:].tolist(),
        "net_alone": alone[:1].tolist(),
        "offset_alone": alone[1:].tolist(),
    }


def _best(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(views + codes,) weights and offsets by maximum likelihood; weights are not negative."""
    views, codes = len(logits), labels.shape[1]

    def loss(x: np.ndarray) -> float:
        z = np.tensordot(x[:views], logits, axes=1) + x[views:]
        return float((np.logaddexp(0, z) - labels * z).sum() + SHRINK / 2 * np.square(x[views:]).sum())

    start = np.r_[np.full(views, 1 / views), np.zeros(codes)]
    bounds = [(0.0, 3.0)] * views + [(-3.0, 3.0)] * codes
    return minimize(loss, start, bounds=bounds, method="L-BFGS-B").x


def decide(p: np.ndarray, labels: np.ndarray, codes: list[str]) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Threshold of best F1 a code, drawn towards the group's own where positives are few, and the uncertain band.

    The band runs from where one in ten of a code's patients lies below to where seven in ten above are right.
    """
    shared = _best_f1(p.ravel(), labels.ravel())
    thresholds, bands = {}, {}
    for column, code in enumerate(codes):
        positives = int(labels[:, column].sum())
        own = _best_f1(p[:, column], labels[:, column]) if positives >= 3 else shared
        trust = positives / (positives + 10)
        threshold = float(np.clip(trust * own + (1 - trust) * shared, 0.05, 0.9))
        low = float(np.quantile(p[labels[:, column] == 1, column], 0.1)) if positives >= 10 else threshold / 2
        high = _precise(p[:, column], labels[:, column], 0.7) if positives >= 10 else (1 + threshold) / 2
        thresholds[code] = round(threshold, 4)
        bands[code] = [round(min(low, threshold), 4), round(max(high, threshold), 4)]
    return thresholds, bands


def _best_f1(p: np.ndarray, labels: np.ndarray) -> float:
    """Half way between the last record that counts and the next, so that another patient need not reach the last."""
    order = np.argsort(-p)
    hits = np.cumsum(labels[order])
    last = int((2 * hits / (np.arange(1, len(p) + 1) + labels.sum())).argmax())
    return float(p[order[last : last + 2]].mean())


def _precise(p: np.ndarray, labels: np.ndarray, wanted: float) -> float:
    """The lowest probability above which `wanted` of the records have the code; 0.9 if there is none."""
    order = np.argsort(-p)
    precision = np.cumsum(labels[order]) / np.arange(1, len(p) + 1)
    right = np.flatnonzero(precision >= wanted)
    return float(p[order[right[-1]]]) if len(right) else 0.9


def calibration_error(p: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over all codes together (Guo et al. 2017), ten bins of equal width."""
    p, labels = p.ravel(), labels.ravel()
    place = np.minimum((p * bins).astype(int), bins - 1)
    total = 0.0
    for one in range(bins):
        inside = place == one
        if inside.any():
            total += inside.mean() * abs(p[inside].mean() - labels[inside].mean())
    return float(total)
