"""Gestational age from a fetal heart trace, beside the cohort's mean and a regression on FIGO's features.

    python -m training.evaluate ctg --data DIR/ctu-uhb [--weights FILE] [--all] [--json]

On the test patients of CTU-UHB (training/ctg.py): mean absolute error in days of the network, of always saying the
training cohort's mean (and its median), and of a ridge regression on FIGO's features fitted to the training patients;
by how much the network is ahead of each; how often the interval holds the age; the groups of the gap. Then the AUROC of
cord pH <= 7.05, beside a logistic regression on the same features. Intervals are bootstrap 95 % over patients. Where a
folder holds no training patient, a regression cannot be fitted and is left out; `--all` then takes every record.
Not shown: other hospitals, preterm or antepartum traces, ages to the day (here known to the week, so that no method
can come below about two days).
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from encoders.ctg import FILE, CtgReader
from encoders.weights import MissingModel
from tools.ctg import features, vector
from tools.errors import MissingWeights, UsageError
from tools.fetal_age import GROUPS, gap_group
from training import figures
from training.ctg import ACID_PH, Records, load

LEAST_TRAINING = 50  # records, for a regression


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of CTU-UHB, or the one that holds ctu-uhb")
    parser.add_argument("--weights", type=Path, default=FILE)
    parser.add_argument("--all", action="store_true", help="every record of the folder, not the test patients alone")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Figures as JSON."""
    return figures_of(load(args.data), args.weights, args.all)


def figures_of(records: Records, weights: Path, every: bool = False) -> dict[str, Any]:
    """See the module."""
    try:
        reader = CtgReader(weights)
    except MissingModel as error:
        raise MissingWeights(str(error)) from None
    test = records if every else records.part("test")
    if not len(test):
        raise UsageError("no test patient in this folder: add --all if none of it was trained on")
    train = records.part("train")
    seen = [reader.read(trace.fhr_bpm, trace.uc) for trace in test.traces]
    mean, median = reader.cohort["mean_days"], reader.cohort["median_days"]
    age = np.array([one.age_days if one.age_days is not None else mean for one in seen])
    acid = np.array([one.acidaemia or 0.0 for one in seen])
    true = test.age_days
    estimates = {"network": age, "mean": np.full(len(true), mean), "median": np.full(len(true), median)}
    known = np.isfinite(test.ph)
    is_acid = (test.ph[known] <= ACID_PH).astype(float)
    risks = {"network": acid[known]}
    if not every and len(train) >= LEAST_TRAINING:
        of_train, of_test = vectors(train), vectors(test)
        estimates["figo"] = regression(of_train, train.age_days)(of_test)
        told = np.isfinite(train.ph)
        risks["figo"] = classifier(of_train[told], train.ph[told] <= ACID_PH)(of_test[known])
    return {
        "records": len(test), "test_patients_only": not every, "learnt_from": reader.cohort["records"],
        "withheld": sum(not one.windows for one in seen),
        "age": compared(estimates, true, reader.half_width_days, reader.coverage),
        "acidaemia": areas(risks, is_acid),
    }  # fmt: skip


def compared(estimates: dict[str, np.ndarray], true: np.ndarray, half: float, coverage: float) -> dict[str, Any]:
    """Errors of each method, how far the network is ahead, coverage of its interval, groups of its gap."""
    errors = {name: np.abs(one - true) for name, one in estimates.items()}
    out: dict[str, Any] = {
        "mae_days": {name: [_round(one.mean()), *map(_round, figures.interval(one))] for name, one in errors.items()}
    }
    for name in errors.keys() - {"network"}:
        ahead = errors[name] - errors["network"]
        out[f"ahead_of_{name}"] = _round(ahead.mean())
        out[f"ahead_of_{name}_interval"] = [_round(value) for value in figures.interval(ahead)]
    inside = (errors["network"] <= half).astype(float)
    out |= {"half_width_days": half, "promised": coverage, "covered": _round(inside.mean())}
    out["covered_interval"] = [_round(value) for value in figures.interval(inside)]
    spread = estimates["network"].std() * true.std()
    out["correlation"] = _round(float(np.corrcoef(estimates["network"], true)[0, 1])) if spread > 1e-9 else None
    for name in ("network", "mean"):
        count = Counter(gap_group(gap) for gap in estimates[name] - true)
        out[f"gap_groups_{name}"] = {group: count[group] for group in GROUPS}
    return out


def areas(risks: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, Any]:
    """AUROC of each method with its interval, cases and records; None where only one outcome is there."""
    out: dict[str, Any] = {"records": len(truth), "cases": int(truth.sum())}
    if 0 < truth.sum() < len(truth):
        rng = np.random.default_rng(0)
        draws = rng.integers(0, len(truth), (figures.DRAWS, len(truth)))
        for name, risk in risks.items():
            each = [float(figures.auroc(risk[rows, None], truth[rows, None])[0]) for rows in draws]
            area = float(figures.auroc(risk[:, None], truth[:, None])[0])
            out[name] = [_round(area), *(_round(value) for value in np.nanpercentile(each, [2.5, 97.5]))]
    return out


def vectors(records: Records) -> np.ndarray:
    """(records, features) of tools/ctg.py."""
    bar = tqdm(records.traces, desc="FIGO features", mininterval=5, disable=None)
    return np.stack([vector(features(trace).values) for trace in bar])


def regression(inputs: np.ndarray, days: np.ndarray) -> Any:
    """Ridge regression, its strength chosen by leave-one-out on the training patients: (n, features) -> days."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), RidgeCV(np.logspace(0, 5, 11)))
    return model.fit(inputs, days).predict


def classifier(inputs: np.ndarray, acid: np.ndarray) -> Any:
    """Logistic regression, its strength chosen by cross-validation on the training patients: -> probabilities."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipe = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(max_iter=2000))
    search = GridSearchCV(pipe, {"logisticregression__C": [1e-3, 1e-2, 0.1, 1.0]}, scoring="roc_auc", cv=5)
    search.fit(inputs, acid)
    return lambda x: search.predict_proba(x)[:, 1]


def _round(value: float) -> float:
    return round(float(value), 3)


NAMES = {
    "network": "network",
    "mean": "always the cohort's mean",
    "median": "always its median",
    "figo": "FIGO features",
}


def table(out: dict[str, Any]) -> str:
    """The figures for people."""
    age, acid = out["age"], out["acidaemia"]
    lines = [
        f"CTU-UHB, {out['records']} {'test patients' if out['test_patients_only'] else 'records, all of the folder'}; "
        f"{out['learnt_from']} learnt from"
        + (f"; {out['withheld']} traces hold too little and got the mean" if out["withheld"] else ""),
        "mean absolute error of gestational age, days (95 % interval; how far the network is ahead)",
    ]
    for name, (value, low, high) in age["mae_days"].items():
        ahead = ""
        if name != "network":
            low_, high_ = age[f"ahead_of_{name}_interval"]
            ahead = f"   {age[f'ahead_of_{name}']:+.2f} [{low_:+.2f}, {high_:+.2f}]"
        lines.append(f"  {NAMES[name]:28}{value:6.2f} [{low:.2f}, {high:.2f}]{ahead}")
    low, high = age["covered_interval"]
    lines.append(
        f"  interval of ±{age['half_width_days']:.1f} days: holds {age['covered']:.3f} [{low:.3f}, {high:.3f}], "
        f"promised {age['promised']:.2f}; correlation with the age {age['correlation']}"
    )
    for name in ("network", "mean"):
        groups = ", ".join(f"{group}: {count}" for group, count in age[f"gap_groups_{name}"].items())
        lines.append(f"  gap groups of {NAMES[name]}, days: {groups}")
    lines.append(f"AUROC of cord pH <= {ACID_PH} ({acid['cases']} of {acid['records']})")
    for name in ("network", "figo"):
        if name in acid:
            lines.append(f"  {NAMES[name]:28}{acid[name][0]:6.3f} [{acid[name][1]:.3f}, {acid[name][2]:.3f}]")
    lines.append("Ages are known to the week; term labours of one hospital only.")
    return "\n".join(lines)
