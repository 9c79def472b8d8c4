"""How often `tools.quality.assess` agrees with technicians on whether a 12-lead recording is acceptable.

    python -m training.evaluate quality --data DIR/cinc2011 [--all] [--json]

Scored on the held-back fifth (training/quality.py); `--all` takes every record of the folder, for folders that hold no
training record. Baselines of the same run: the rules alone, and calling everything acceptable.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tools import quality
from tools.errors import MissingWeights
from tools.recording import read
from training.quality import held_back, labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of CinC 2011 set-a")
    parser.add_argument("--weights", type=Path, default=quality.WEIGHTS)
    parser.add_argument("--all", action="store_true", help="every record of the folder, not the held-back fifth")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures as JSON."""
    return figures(arguments.data, arguments.weights, arguments.all)


def figures(folder: Path, weights: Path, every: bool = False) -> dict[str, Any]:
    """Accuracy, sensitivity to unacceptable records, and specificity, each with a bootstrap 95 % interval."""
    truth_of = labels(folder)
    names = sorted(name for name in truth_of if every or held_back(name))
    if not weights.exists():
        raise MissingWeights(f"{weights} is not there: train it with python -m training.quality, or name another")
    truth = np.array([truth_of[name] for name in names])
    model, rules = np.zeros((2, len(names)), bool)
    for row, name in enumerate(names):
        [recording] = read(folder / f"{name}.hea")
        result = quality.assess(recording, weights)
        model[row] = result["acceptable"]
        rules[row] = all(lead["usable"] for lead in result["leads"].values())
    return {
        "what": "acceptable or not, CinC 2011 set-a",
        "records": len(names),
        "acceptable": int(truth.sum()),
        "held_back_fifth": not every,
        "model": _scores(truth, model),
        "rules alone (every lead usable)": _scores(truth, rules),
        "everything acceptable": _scores(truth, np.ones_like(truth)),
    }


def _scores(truth: np.ndarray, said: np.ndarray) -> dict[str, Any]:
    right = truth == said
    return {
        "accuracy": _interval(right),
        "unacceptable_found": _interval(~said[~truth]),
        "acceptable_kept": _interval(said[truth]),
    }


def _interval(hits: np.ndarray) -> dict[str, float]:
    draws = np.random.default_rng(0).integers(0, len(hits), (2000, len(hits)))
    low, high = np.quantile(hits[draws].mean(1), (0.025, 0.975))
    return {"value": float(hits.mean()), "low": float(low), "high": float(high)}


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    which = "held-back fifth" if figures["held_back_fifth"] else "all records of the folder"
    lines = [
        f"CinC 2011 set-a, {which}: {figures['records']} records, {figures['acceptable']} acceptable",
        f"{'':34}{'accuracy':>22}{'unacceptable found':>22}{'acceptable kept':>22}",
    ]
    for name in ("model", "rules alone (every lead usable)", "everything acceptable"):
        cells = (f"{v['value']:.3f} [{v['low']:.3f}, {v['high']:.3f}]" for v in figures[name].values())
        lines.append(f"{name:34}" + "".join(f"{cell:>22}" for cell in cells))
    lines.append("The graders disagree among themselves; a record near the border counts as much as a clear one here.")
    return "\n".join(lines)
