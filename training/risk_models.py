"""Nested, patient-grouped, stratified cross-validation of XGBoost and its comparators, for `training.risk`.

    parts = outer(data, seed)                  # [(train rows, test rows)]; a patient is on one side only
    found = crossed(data, parts, seed)         # out-of-fold probabilities of every model, thresholds, settings
    final = fit(data, seed)                    # the model on all rows: trees calibrated, members for the interval

Everything that looks at `event` happens inside the training part of a fold: ranking features by gain and keeping the
best, choosing depth, rounds and how many features (inner folds), calibration (Platt 1999, on inner out-of-fold
log-odds), the threshold of F1. Imbalance: events weigh more by the square root of the odds, which calibration then
takes back. Rows of one patient share one patient's weight.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from encoders.risk import matrix, scaled
from training.risk_figures import auc

OUTER, INNER = 5, 3
DEPTHS, KEPT, ROUNDS = (2, 3), (12, 40), (40, 80, 160)
PARAMETERS: dict[str, Any] = {
    "objective": "binary:logistic", "eta": 0.06, "subsample": 0.8, "colsample_bytree": 0.7, "min_child_weight": 3,
    "lambda": 3, "tree_method": "hist", "max_bin": 64, "base_score": 0.5, "nthread": 1,
}  # fmt: skip
RANKING_ROUNDS = 60
MEMBERS = 30
NEIGHBOURS = (5, 15, 45)
Folds = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Data:
    """Rows to learn from.

    Attributes
    ----------
    x : (rows, features) float, NaN where absent; names : of its columns.
    event : (rows,) 0 or 1; patient : (rows,) anything that tells patients apart.
    signal : (rows, leads, samples) float32 for the networks, or None.
    """

    x: np.ndarray
    names: list[str]
    event: np.ndarray
    patient: np.ndarray
    signal: np.ndarray | None = None

    @property
    def weight(self) -> np.ndarray:
        """(rows,) one for a patient of a class, shared by its rows; mean 1."""
        pair = [f"{one}|{event}" for one, event in zip(self.patient, self.event, strict=True)]
        _, at, count = np.unique(pair, return_inverse=True, return_counts=True)
        weight = 1 / count[at]
        return weight / weight.mean()

    def rows(self, chosen: np.ndarray) -> Data:
        signal = None if self.signal is None else self.signal[chosen]
        return replace(self, x=self.x[chosen], event=self.event[chosen], patient=self.patient[chosen], signal=signal)

    def columns(self, chosen: list[int]) -> Data:
        return replace(self, x=self.x[:, chosen], names=[self.names[i] for i in chosen])


@dataclass(frozen=True)
class Setting:
    depth: int
    kept: int
    rounds: int


@dataclass
class Fitted:
    """Trees over `columns`, their calibration, and the threshold that inner folds chose for F1."""

    trees: Any
    columns: list[int]
    setting: Setting
    slope: float
    offset: float
    threshold: float
    members: list[Any] = field(default_factory=list)

    def log_odds(self, x: np.ndarray) -> np.ndarray:
        return self.slope * margins(self.trees, x[:, self.columns]) + self.offset


def outer(data: Data, seed: int, parts: int = OUTER) -> Folds:
    """[(train, test)] row numbers: stratified by event, no patient on both sides."""
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(set(data.patient[data.event == one])) for one in (0, 1))
    folds = StratifiedGroupKFold(min(parts, max(fewest, 2)), shuffle=True, random_state=seed)
    return list(folds.split(data.x, data.event, data.patient))


def crossed(data: Data, parts: Folds, seed: int, networks: bool = True) -> dict[str, dict[str, np.ndarray]]:
    """{model: {"p": (rows,), "threshold": (rows,), "fold": (rows,)}}, each row judged by models that never saw it."""
    out: dict[str, dict[str, np.ndarray]] = {}
    for fold, (train, test) in enumerate(tqdm(parts, desc="outer folds")):
        for name, (p, threshold) in judged(data.rows(train), data.rows(test), seed, networks).items():
            row = out.setdefault(name, {key: np.full(len(data.event), np.nan) for key in ("p", "threshold", "fold")})
            row["p"][test], row["threshold"][test], row["fold"][test] = p, threshold, fold
    return out


def judged(train: Data, test: Data, seed: int, networks: bool = True) -> dict[str, tuple[np.ndarray, float]]:
    """{model: (probabilities of the test rows, threshold)} of all models fitted to the train rows."""
    ours = fit(train, seed, members=0)
    found = {"XGBoost": (sigmoid(ours.log_odds(test.x)), ours.threshold)}
    for name, model in (("logistic regression", logistic), ("k nearest neighbours", neighbours)):
        found[name] = model(train.columns(ours.columns), test.columns(ours.columns), seed)
    if networks and train.signal is not None:
        from training import risk_nets

        for name, build in risk_nets.NETWORKS.items():
            found[name] = risk_nets.judged(build, train, test, seed)
    return found


def fit(data: Data, seed: int, members: int = MEMBERS) -> Fitted:
    """Settings by inner folds, calibration on their out-of-fold log-odds, then the trees on all rows of `data`."""
    parts = outer(data, seed + 1, INNER)
    tried: dict[Setting, np.ndarray] = {}
    for train, test in parts:
        part, rest = data.rows(train), data.x[test]
        order = ranked(part, seed)
        for depth in DEPTHS:
            for kept in sorted({min(kept, len(order)) for kept in KEPT}):
                chosen = order[:kept]
                trees = grown(part.columns(chosen), depth, max(ROUNDS), seed)
                for rounds in ROUNDS:
                    row = tried.setdefault(Setting(depth, kept, rounds), np.zeros(len(data.event)))
                    row[test] = margins(trees, rest[:, chosen], rounds)
    weight = data.weight
    best = max(tried, key=lambda setting: round(auc(tried[setting], data.event, weight), 3))
    slope, offset = platt(tried[best], data.event, weight)
    threshold = best_f1(sigmoid(slope * tried[best] + offset), data.event, weight)
    columns = ranked(data, seed)[: best.kept]
    kept_only = data.columns(columns)
    trees = grown(kept_only, best.depth, best.rounds, seed)
    rng = np.random.default_rng(seed)
    drawn = [grown(redrawn(kept_only, rng), best.depth, best.rounds, seed + 1 + i) for i in range(members)]
    return Fitted(trees, columns, best, slope, offset, threshold, drawn)


def calibrated(fitted: Fitted) -> tuple[Any, list[Any]]:
    """Trees and members with the calibration folded in."""
    return scaled(fitted.trees, fitted.slope, fitted.offset), [
        scaled(one, fitted.slope, fitted.offset) for one in fitted.members
    ]


def ranked(data: Data, seed: int) -> list[int]:
    """Columns by the gain that a first set of trees has from them, best first; those of no gain are left out."""
    trees = grown(data, 3, RANKING_ROUNDS, seed)
    gain = {int(name[1:]): value for name, value in trees.get_score(importance_type="total_gain").items()}
    order = sorted(gain, key=lambda column: -gain[column])
    return order or list(range(min(1, data.x.shape[1])))


def grown(data: Data, depth: int, rounds: int, seed: int) -> Any:
    """A booster; events weigh more by the square root of the odds."""
    import xgboost

    weight = data.weight.copy()
    event = data.event == 1
    weight[event] *= np.sqrt(weight[~event].sum() / max(weight[event].sum(), 1e-9))
    told = matrix(data.x, label=data.event, weight=weight)
    return xgboost.train({**PARAMETERS, "max_depth": depth, "seed": seed}, told, rounds)


def margins(trees: Any, x: np.ndarray, rounds: int = 0) -> np.ndarray:
    """(rows,) log-odds of the first `rounds` trees (0: all)."""
    return trees.predict(matrix(x), output_margin=True, iteration_range=(0, rounds)).astype(float)


def redrawn(data: Data, rng: np.random.Generator) -> Data:
    """Patients of each class drawn with replacement."""
    chosen: list[np.ndarray] = []
    names = []
    for event in (0, 1):
        people = np.unique(data.patient[data.event == event])
        for i, person in enumerate(rng.choice(people, len(people))):
            rows = np.flatnonzero((data.patient == person) & (data.event == event))
            chosen.append(rows)
            names += [f"{event}-{i}"] * len(rows)
    return replace(data.rows(np.concatenate(chosen)), patient=np.array(names))


def platt(log_odds: np.ndarray, event: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Slope (0.05 to 2) and offset that make log-odds true of `event` (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=10.0).fit(log_odds[:, None], event, sample_weight=weight)
    slope = float(np.clip(model.coef_[0, 0], 0.05, 2))
    centre = float(model.coef_[0, 0] - slope) * float(np.average(log_odds, weights=weight))
    return slope, float(model.intercept_[0]) + centre


def best_f1(p: np.ndarray, event: np.ndarray, weight: np.ndarray) -> float:
    """The threshold on p with the highest F1."""
    order = np.argsort(-p)
    hits, called = np.cumsum(weight[order] * event[order]), np.cumsum(weight[order])
    return float(p[order][np.argmax(2 * hits / (called + (weight * event).sum()))])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def filled(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both standardised by the train rows, absent values at its median, at most five deviations out."""
    with np.errstate(all="ignore"):
        middle = np.where(np.isfinite(train).any(0), np.nanmedian(np.where(np.isfinite(train).any(0), train, 0), 0), 0)
    train, test = (np.where(np.isfinite(x), x, middle) for x in (train, test))
    mean, spread = train.mean(0), train.std(0) + 1e-9
    return np.clip((train - mean) / spread, -5, 5), np.clip((test - mean) / spread, -5, 5)


def logistic(train: Data, test: Data, seed: int) -> tuple[np.ndarray, float]:
    """Ridge-penalised logistic regression over the same features; the penalty by inner folds."""
    from sklearn.linear_model import LogisticRegression

    def made(strength: float) -> Callable:
        def one(x: np.ndarray, event: np.ndarray, weight: np.ndarray, other: np.ndarray) -> np.ndarray:
            model = LogisticRegression(C=strength, max_iter=500).fit(x, event, sample_weight=weight)
            return model.predict_proba(other)[:, 1]

        return one

    return _chosen([made(strength) for strength in (0.01, 0.1, 1.0)], train, test, seed)


def neighbours(train: Data, test: Data, seed: int) -> tuple[np.ndarray, float]:
    """k nearest neighbours over the same features, each by the weight of its row; k by inner folds."""
    from sklearn.neighbors import NearestNeighbors

    def made(k: int) -> Callable:
        def one(x: np.ndarray, event: np.ndarray, weight: np.ndarray, other: np.ndarray) -> np.ndarray:
            near = NearestNeighbors(n_neighbors=min(k, len(x))).fit(x).kneighbors(other, return_distance=False)
            return (weight[near] * event[near]).sum(1) / weight[near].sum(1)

        return one

    return _chosen([made(k) for k in NEIGHBOURS], train, test, seed)


def _chosen(models: list[Callable], train: Data, test: Data, seed: int) -> tuple[np.ndarray, float]:
    """The best of `models` by inner folds: its probabilities of the test rows, and its threshold."""
    seen = np.zeros((len(models), len(train.event)))
    for inside, outside in outer(train, seed + 1, INNER):
        part = train.rows(inside)
        x, other = filled(part.x, train.x[outside])
        for row, model in enumerate(models):
            seen[row, outside] = model(x, part.event, part.weight, other)
    weight = train.weight
    best = int(np.argmax([auc(p, train.event, weight) for p in seen]))
    x, other = filled(train.x, test.x)
    return models[best](x, train.event, weight, other), best_f1(seen[best], train.event, weight)
