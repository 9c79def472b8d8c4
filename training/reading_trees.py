"""The second view of the reader: gradient-boosted trees over the measurement matrix, one set for all codes.

    booster = fit(vectors, labels, chest_voltage, seed=0)

Rows are repeated with leads taken away (their columns and what rests on them become absent), so that the trees can
also read three leads or one. Absent stays absent: XGBoost learns which way it goes (Chen and Guestrin 2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from encoders import measures
from encoders.reading import tree_features

SUBSETS = (  # leads that people have when they do not have twelve
    ("I",), ("II",), ("I", "II"), ("I", "II", "III", "aVR", "aVL", "aVF"), ("I", "II", "V2"), ("II", "V1", "V5"),
)  # fmt: skip
PARAMETERS: dict[str, Any] = {
    "objective": "binary:logistic", "max_depth": 3, "eta": 0.08, "subsample": 0.7, "colsample_bynode": 0.3,
    "min_child_weight": 2, "lambda": 3, "tree_method": "hist", "max_bin": 64,
}  # fmt: skip
ROUNDS = 120


def fit(vectors: np.ndarray, labels: np.ndarray, chest_voltage: np.ndarray, seed: int, rounds: int = ROUNDS):
    """An XGBoost booster that gives a logit a code.

    Parameters
    ----------
    vectors : (records, len(measures.NAMES)) of `measures.vector`.
    labels : (records, codes) of 0 and 1.
    chest_voltage : (records,) whether the voltages of V1-V6 are those recorded.
    """
    import xgboost

    rng = np.random.default_rng(seed)
    fewer = np.stack([without(row, SUBSETS[rng.integers(len(SUBSETS))]) for row in vectors])
    features = np.concatenate([tree_features(vectors, chest_voltage), tree_features(fewer, chest_voltage)])
    weight = np.r_[np.ones(len(vectors)), np.full(len(vectors), 0.3)]
    data = xgboost.QuantileDMatrix(features, np.tile(labels, (2, 1)), weight=weight, max_bin=PARAMETERS["max_bin"])
    return xgboost.train({**PARAMETERS, "seed": seed}, data, rounds)


def without(vector: np.ndarray, kept: tuple[str, ...]) -> np.ndarray:
    """The vector as if only the leads `kept` had been recorded."""
    out = vector.copy()
    gone = {lead for lead in measures.LEADS if lead not in kept}
    for column, name in enumerate(measures.NAMES):
        lead, _, key = name.partition("_")
        if (lead in gone and key in measures.PER_LEAD) or NEEDS.get(name, set()) & gone:
            out[column] = np.nan
    if len({"I", "II", "III", "aVF"} & set(kept)) < 2:  # axes need two limb leads
        for column, name in enumerate(measures.NAMES):
            if "axis" in name or "angle" in name:
                out[column] = np.nan
    return out


NEEDS = {
    "sokolow_mv": {"V1", "V5", "V6"}, "cornell_mv": {"aVL", "V3"}, "height_i_less_iii_mv": {"I", "III"},
    "r_progression": {"V1", "V3"},
}  # fmt: skip
