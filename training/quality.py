"""Train the model that says whether a 12-lead recording is fit to be read.

Data: PhysioNet/CinC Challenge 2011 set-a (Silva, Moody & Celi, Computing in Cardiology 2011;38:273), 10 s of twelve
leads at 500 Hz, judged by technicians; folder with RECORDS-acceptable and RECORDS-unacceptable. A fifth of the records,
chosen by a hash of their names, is held back and opened once, at the end. The others choose among a few strengths of
regularisation by cross-validation.

    python -m training.quality --data DIR/cinc2011 --out encoders/weights

A logistic regression over pooled lead features (tools/quality.py) is all there is to it: boosted trees, random forests
and support vector machines over the same features did not do better in cross-validation.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tools.errors import UsageError
from tools.quality import FEATURES, lead_features, pooled
from tools.recording import LEADS, read
from training import recipe
from training.cards import write_card

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0)  # C of the logistic regression


def labels(folder: Path) -> dict[str, bool]:
    """Record name -> acceptable, for the records whose header is in `folder`."""
    found = {}
    for verdict, file in ((True, "RECORDS-acceptable"), (False, "RECORDS-unacceptable")):
        if not (folder / file).exists():
            raise UsageError(f"{folder} has no {file}: name the folder of CinC 2011 set-a with --data")
        for name in (folder / file).read_text().split():
            if (folder / f"{name}.hea").exists():
                found[name] = verdict
    return found


def held_back(name: str) -> bool:
    """Whether a record belongs to the fifth that is opened once."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5 == 0


def features(folder: Path, names: list[str]) -> np.ndarray:
    """(records, 12, features) as tools.quality sees them."""
    out = np.zeros((len(names), len(LEADS), len(FEATURES)))
    for row, name in enumerate(names):
        [recording] = read(folder / f"{name}.hea")
        order = [recording.leads.index(lead) for lead in LEADS]
        out[row] = lead_features(recording.signal[order], recording.fs_hz)
    return out


def cross_validated(inputs: np.ndarray, truth: np.ndarray, strength: float, folds: int = 10, times: int = 5) -> float:
    """Accuracy out of fold, mean of `times` shuffles."""
    right = 0
    for seed in range(times):
        order = np.random.default_rng(seed).permutation(len(truth))
        for fold in np.array_split(order, folds):
            rest = np.setdiff1d(order, fold)
            model = fit(inputs[rest], truth[rest], strength)
            right += int(((probability(model, inputs[fold]) >= 0.5) == truth[fold]).sum())
    return right / (times * len(truth))


def fit(inputs: np.ndarray, truth: np.ndarray, strength: float) -> dict[str, np.ndarray]:
    """The arrays of tools.quality's model."""
    from sklearn.linear_model import LogisticRegression

    mean, scale = inputs.mean(0), inputs.std(0) + 1e-3
    regression = LogisticRegression(C=strength, max_iter=5000)
    regression.fit(np.clip((inputs - mean) / scale, -6, 6), truth)
    arrays = {"mean": mean, "scale": scale, "weight": regression.coef_[0], "bias": regression.intercept_}
    return {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def probability(model: dict[str, np.ndarray], inputs: np.ndarray) -> np.ndarray:
    """(records,) probability of being acceptable."""
    scaled = np.clip((inputs - model["mean"]) / model["scale"], -6, 6)
    return 1 / (1 + np.exp(-(scaled @ model["weight"] + model["bias"])))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of CinC 2011 set-a")
    parser.add_argument("--out", type=Path, required=True, help="folder for quality.safetensors and quality.json")
    arguments = parser.parse_args()
    truth_of = labels(arguments.data)
    names = sorted(name for name in truth_of if not held_back(name))
    inputs, truth = pooled(features(arguments.data, names)), np.array([truth_of[name] for name in names])
    accuracy = {strength: cross_validated(inputs, truth, strength) for strength in STRENGTHS}
    for strength, value in accuracy.items():
        print(f"C {strength}: accuracy {value:.4f} in 10-fold cross-validation of {len(names)} records")
    strength = max(accuracy, key=lambda s: accuracy[s])
    arguments.out.mkdir(parents=True, exist_ok=True)
    weights = arguments.out / "quality.safetensors"
    save_file(fit(inputs, truth, strength), weights)

    from training import evaluate_quality

    figures = evaluate_quality.figures(arguments.data, weights)
    print(evaluate_quality.table(figures))
    write_card(
        weights,
        {
            "name": "quality",
            "what": "probability that a 12-lead ECG is acceptable: logistic regression over pooled lead features",
            "data": "PhysioNet/CinC Challenge 2011 set-a (ODC-By 1.0); the gain of the files is inferred",
            "split": f"{len(names)} records to train, {figures['records']} held back: SHA-256 of the name, modulo 5."
            " The challenge names no patients, so one person may be on both sides.",
            "command": "python -m training.quality --data DIR/cinc2011 --out encoders/weights",
            "input": {
                "leads": list(LEADS),
                "rate_hz": "any; features at 200 Hz",
                "unit": "mV",
                "seconds": 10,
            },
            "figures": {**figures, "strength": strength, "cross_validated_accuracy": accuracy[strength]},
            "limits": "The labels are one grading scheme's; records that graders left undecided are not in it. "
            "Fewer than twelve leads are judged by rules alone. Trained on resting ECGs sent from phones.",
        },
    )


if __name__ == "__main__":
    recipe.run(main)
