"""How good probabilities of a rare event are, with bootstrap intervals over patients.

    draws = drawn(patient, weight, seed)                 # (1 + DRAWS, rows) weights; the first is the sample itself
    of = figures(p, event, called, draws)                # {name: (1 + DRAWS,)}
    summary(of["auc"]), compared(of["auc"], other["auc"])

Every row weighs a share of its patient; a draw multiplies patients by how often they were drawn. AUPRC sums precision
over steps of recall; `sensitivity_at_90` is the highest sensitivity at a specificity of 0.9 or more; net benefit is
that of Vickers and Elkin 2006 (doi 10.1177/0272989X06295361).
"""

from __future__ import annotations

from typing import Any

import numpy as np

DRAWS = 1000
SPECIFICITY = 0.9
DECISIONS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
BINS = 5


def drawn(patient: np.ndarray, weight: np.ndarray, seed: int = 0, draws: int = DRAWS) -> np.ndarray:
    """(1 + draws, rows) float32 weights: of the rows themselves, then of patients drawn with replacement."""
    people, at = np.unique(patient, return_inverse=True)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), draws)
    return (np.concatenate([np.ones((1, len(people)), int), times])[:, at] * weight).astype(np.float32)


def auc(score: np.ndarray, event: np.ndarray, weight: np.ndarray) -> float:
    """Weighted area under the ROC curve; half for ties."""
    return float(_curves(score, event, weight[None])["auc"][0])


def figures(p: np.ndarray, event: np.ndarray, called: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
    """{auc, auprc, f1, brier, sensitivity_at_90, net_benefit_T…}, a value a draw.

    p : (rows,) probabilities; called : (rows,) bool, at or above the threshold; draws : from `drawn`.
    """
    out = _curves(p, event, draws)
    total = draws.sum(1)
    hits, calls = draws @ (called * event), draws @ called.astype(float)
    out["f1"] = 2 * hits / np.maximum(calls + draws @ event, 1e-9)
    out["brier"] = draws @ np.square(p - event) / total
    for at in DECISIONS:
        above = p >= at
        harm = draws @ (above * (1 - event)) * at / (1 - at)
        out[f"net_benefit_{at:g}"] = (draws @ (above * event) - harm) / total
    return out


def _curves(score: np.ndarray, event: np.ndarray, draws: np.ndarray) -> dict[str, np.ndarray]:
    """AUC, AUPRC and sensitivity at a specificity, over all draws at once."""
    order = np.argsort(-score, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(score[order]) != 0])  # of each group of ties
    ours = draws[:, order]
    hits = np.add.reduceat(ours * event[order], first, axis=1).astype(float)
    alarms = np.add.reduceat(ours * (1 - event[order]), first, axis=1).astype(float)
    positive, negative = hits.sum(1, keepdims=True), alarms.sum(1, keepdims=True)
    true, false = np.cumsum(hits, axis=1), np.cumsum(alarms, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (alarms * (true - hits / 2)).sum(1) / (positive * negative)[:, 0]
        precision = (hits * true / np.maximum(true + false, 1e-12)).sum(1) / positive[:, 0]
        allowed = false / negative <= 1 - SPECIFICITY + 1e-9
        found = np.where(allowed, true / positive, 0).max(1)
    return {"auc": area, "auprc": precision, "sensitivity_at_90": found}


def summary(values: np.ndarray) -> dict[str, Any]:
    """The value itself and the 95 % interval of its draws."""
    low, high = np.nanpercentile(values[1:], (2.5, 97.5))
    return {"value": round(float(values[0]), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def compared(ours: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """How far ours is above the other on the same draws: difference, interval, two-sided bootstrap p."""
    ahead = ours - other
    drawn_ = ahead[1:][np.isfinite(ahead[1:])]
    p = 2 * min((1 + (drawn_ <= 0).sum()), (1 + (drawn_ >= 0).sum())) / (1 + len(drawn_))
    return summary(ahead) | {"p": round(min(float(p), 1.0), 4)}


def all_of(
    found: dict[str, dict[str, np.ndarray]], event: np.ndarray, patient: np.ndarray, weight: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """{model: {figure: {value, interval}, calibration, ours_ahead}} of out-of-fold probabilities; the first is ours."""
    draws = drawn(patient, weight, seed)
    out: dict[str, Any] = {}
    ours = None
    for name, row in found.items():
        of = figures(row["p"], event, row["p"] >= row["threshold"], draws)
        ours = of if ours is None else ours
        out[name] = {key: summary(values) for key, values in of.items()}
        out[name]["calibration"] = calibration(row["p"], event, weight)
        if of is not ours:
            out[name]["ours_ahead"] = {key: compared(ours[key], of[key]) for key in ("auc", "auprc")}
    return out


def calibration(p: np.ndarray, event: np.ndarray, weight: np.ndarray) -> dict[str, Any]:
    """Slope and offset of a logistic fit of events on log-odds (1 and 0 are right), and observed shares in `BINS`."""
    from sklearn.linear_model import LogisticRegression

    safe = np.clip(p, 1e-4, 1 - 1e-4)
    log_odds = np.log(safe / (1 - safe))
    fit = LogisticRegression(C=1e4).fit(log_odds[:, None], event, sample_weight=weight)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, p, side="right")
    return {
        "slope": round(float(fit.coef_[0, 0]), 3),
        "offset": round(float(fit.intercept_[0]), 3),
        "bins": [
            {
                "predicted": round(float(np.average(p[bins == one], weights=weight[bins == one])), 4),
                "observed": round(float(np.average(event[bins == one], weights=weight[bins == one])), 4),
                "rows": int((bins == one).sum()),
            }
            for one in np.unique(bins)
        ],
    }


def treat_all(event: np.ndarray, weight: np.ndarray) -> dict[float, float]:
    """Net benefit of calling everybody, at each threshold."""
    share = float(np.average(event, weights=weight))
    return {at: round(share - (1 - share) * at / (1 - at), 4) for at in DECISIONS}
