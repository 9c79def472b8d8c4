"""A risk model that explains itself: boosted trees over named features, calibrated, with members for the interval.

    model = RiskModel(file)
    seen = model.read({"heart_rate_bpm": 71.0, ...})       # absent or None counts as missing
    seen.risk, seen.interval, seen.base_log_odds, seen.contributions["heart_rate_bpm"]

The calibration is folded into the trees (`scaled`), so the model is one XGBoost ensemble whose log-odds are those
shown. Contributions are its exact SHAP values (Lundberg et al. 2020, doi 10.1038/s42256-019-0138-9), from XGBoost's
own `pred_contribs`: base and contributions add up to the log-odds. The interval is that of members fitted to patients
drawn with replacement. Made by `python -m training.risk`; the header of the file says what it takes and on whom it
was learnt.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from encoders.weights import WEIGHTS, stored

FILE = WEIGHTS / "risk.safetensors"
INPUTS = ("strip", "ecg")  # what the features are of: an ambulatory strip, or a recording of any leads
NEEDED = ("input", "features", "usual", "share", "cohort", "horizon", "member_bytes")


@dataclass(frozen=True)
class Risk:
    """Risk (0-1), its 95 % interval, and the log-odds taken apart: base + sum of contributions = log_odds."""

    risk: float
    interval: tuple[float, float]
    log_odds: float
    base_log_odds: float
    contributions: dict[str, float]


@cache
def model() -> RiskModel:
    """The shipped model, opened once.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    return RiskModel(FILE)


class RiskModel:
    """A trained model from its file; ValueError where the file is another kind of model."""

    def __init__(self, file: Path):
        config, tensors = stored(file, "risk")
        if (
            not isinstance(config, dict)
            or any(key not in config for key in NEEDED)
            or {"trees", "members"} - set(tensors)
        ):
            raise ValueError("its header lacks " + ", ".join(NEEDED))
        if config["input"] not in INPUTS:
            raise ValueError(f"its input is none of {', '.join(INPUTS)}")
        self.config: dict[str, Any] = config
        self.features: list[str] = config["features"]
        self.trees = booster(tensors["trees"].numpy().tobytes())
        self.members = [
            booster(part.tobytes())
            for part in np.split(tensors["members"].numpy(), np.cumsum(config["member_bytes"])[:-1])
        ]

    def vector(self, values: dict[str, float | None]) -> np.ndarray:
        """(1, features) float32 in the model's order, NaN where a value is absent."""
        row = [values.get(name) for name in self.features]
        return np.array([[math.nan if value is None else value for value in row]], np.float32)

    def read(self, values: dict[str, float | None]) -> Risk:
        """The risk of one recording from its features by name."""
        data = matrix(self.vector(values))
        parts = self.trees.predict(data, pred_contribs=True)[0].astype(float)
        log_odds = float(parts.sum())
        risk = sigmoid(log_odds)
        drawn = [sigmoid(float(one.predict(data, output_margin=True)[0])) for one in self.members] or [risk]
        low, high = np.quantile(drawn, (0.025, 0.975))
        interval = (min(float(low), risk), max(float(high), risk))
        return Risk(
            risk, interval, log_odds, float(parts[-1]), dict(zip(self.features, map(float, parts), strict=False))
        )


def matrix(features: np.ndarray, **more: Any) -> Any:
    """An XGBoost matrix on one thread."""
    import xgboost

    return xgboost.DMatrix(np.asarray(features, np.float32), nthread=1, **more)


def booster(raw: bytes) -> Any:
    """A booster from its own bytes."""
    import xgboost

    made = xgboost.Booster({"nthread": 1})
    made.load_model(bytearray(raw))
    return made


def scaled(trees: Any, slope: float, offset: float) -> Any:
    """The booster whose log-odds are `slope` times those of `trees` plus `offset`; its SHAP values are scaled alike.

    A leaf keeps its value in `split_conditions` of XGBoost's JSON, and again in `base_weights`.
    """
    held = json.loads(trees.save_raw("json"))
    learner = held["learner"]
    for tree in learner["gradient_booster"]["model"]["trees"]:
        for node, child in enumerate(tree["left_children"]):
            tree["base_weights"][node] *= slope
            if child == -1:
                tree["split_conditions"][node] *= slope
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    start = slope * math.log(base / (1 - base)) + offset
    learner["learner_model_param"]["base_score"] = f"[{sigmoid(start):.9E}]"
    return booster(json.dumps(held).encode())


def packed(trees: Any) -> np.ndarray:
    """A booster's bytes for safetensors: (n,) uint8."""
    return np.frombuffer(bytes(trees.save_raw("ubj")), np.uint8).copy()


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-min(max(x, -30.0), 30.0)))
