"""A hospital's own model of VT/VF risk: features, nested cross-validation beside comparators, model, report.

    python -m training.risk --cohort cohort.csv --out OUT [--encoder reading] [--input auto] [--horizon TEXT] [--seed 0]
    python -m training.risk --data DIR --out OUT        # the shipped model, on the cohort of training/risk_data.py

1. cohort    checked (training/risk_cohort.py); the features of every row, kept in OUT/features.jsonl
2. judge     nested, patient-grouped, stratified cross-validation of XGBoost, logistic regression, k nearest
             neighbours and, where there are signals, a 1D-CNN and an RNN (training/risk_models.py, risk_nets.py)
3. model     the same procedure on all rows -> OUT/risk.safetensors and its card; `--risk-model` of the tool takes it
4. report    OUT/report.md, OUT/report.pdf, OUT/figures.json, OUT/predictions.csv (training/risk_report.py)

The method is that of arXiv 2510.17172 (an encoder's probabilities, selection, XGBoost, SHAP). One seed settles all.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

from encoders.risk import RiskModel, packed
from tools.errors import EinthovenError, UsageError
from tools.risk_inputs import ENCODERS
from training import recipe, risk_cohort, risk_figures, risk_models
from training.cards import write_card
from training.risk_models import Data, Fitted

LEAST_KNOWN = 0.05  # of the rows: a feature known for fewer is left out
OURS = "XGBoost"


@dataclass(frozen=True)
class Cohort:
    """The usable rows of a table, what they are called, and what was left out."""

    table: pd.DataFrame
    data: Data
    kind: str
    said: list[str]


def main(words: list[str] | None = None) -> int:
    args = arguments().parse_args(words)
    try:
        report(args)
    except EinthovenError as error:
        print(f"risk: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--cohort", type=Path, help="CSV: path, patient_id, event and covariates")
    source.add_argument("--data", type=Path, help="folder of cudb, vfdb, mitdb and nsrdb: the shipped model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", choices=ENCODERS, default="reading")
    parser.add_argument("--input", choices=("auto", "strip", "ecg"), default="auto")
    parser.add_argument("--horizon", default="VT or VF", help="what an event is, in words, for answers")
    parser.add_argument("--leave-out", default="", help="features not to use, separated by commas")
    parser.add_argument("--no-networks", action="store_true", help="leave out the comparators on the signal")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def report(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that `main` writes; the figures."""
    from training import risk_report

    torch.set_num_threads(1)
    if args.data is not None:
        from training import risk_default

        args.out.mkdir(parents=True, exist_ok=True)
        args.cohort, args.input, args.horizon = risk_default.table(args.data, args.out), "strip", risk_default.HORIZON
    table = risk_cohort.load(args.cohort)
    args.out.mkdir(parents=True, exist_ok=True)
    gathered = cohort(table, args)
    figures, found = judge(gathered, args)
    if args.data is not None:
        figures |= risk_default.further(gathered, args.data, args.out, args.seed, not args.no_networks)
        vars(args).update(risk_default.said(figures))
    fitted = risk_models.fit(gathered.data, args.seed)
    keep(gathered, fitted, figures, args)
    (args.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    predictions(gathered, found).to_csv(args.out / "predictions.csv", index=False)
    risk_report.write(args.out, gathered.data, figures, found)
    ours = figures["models"][OURS]["auc"]
    print(f"{args.out / 'report.md'}: AUC {ours['value']:.3f} {ours['interval']}")
    return figures


def cohort(table: pd.DataFrame, args: argparse.Namespace) -> Cohort:
    """Features of all rows that can be used; raises where too few are left."""
    kind = risk_cohort.kind_of(table) if args.input == "auto" else args.input
    if kind == "strip" and args.encoder != "reading":
        raise UsageError(f"{args.encoder} reads resting ECGs of twelve leads: --encoder reading for strips")
    features = risk_cohort.computed(table, args.out / "features.jsonl", kind, args.encoder)
    left = table[features.usable].reset_index(drop=True)
    risk_cohort.check(left.drop(columns=["path"], errors="ignore"))
    leave = {name.strip() for name in args.leave_out.split(",")}
    x = features.values[features.usable]
    told = np.isfinite(x).mean(0) >= LEAST_KNOWN
    columns = [i for i, name in enumerate(features.names) if told[i] and name not in leave]
    signal, said = None, list(features.said)
    if args.no_networks:
        said.append("the comparators on the signal were left out on request")
    elif "path" not in table:
        said.append("the table holds features only: the comparators on the signal are left out")
    else:
        from training.risk_nets import signals

        signal = signals(left, kind)
    names = [features.names[i] for i in columns]
    data = Data(x[:, columns], names, left.event.to_numpy(int), left.patient_id.to_numpy(str), signal)
    return Cohort(left, data, kind, said)


def judge(gathered: Cohort, args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Figures of every model from nested cross-validation, and the out-of-fold probabilities they stand on."""
    data = gathered.data
    parts = risk_models.outer(data, args.seed)
    found = risk_models.crossed(data, parts, args.seed)
    out = {
        "rows": len(data.event),
        "events": int(data.event.sum()),
        "patients": len(set(data.patient)),
        "patients_with_event": len(set(data.patient[data.event == 1])),
        "features": len(data.names),
        "folds": len(parts),
        "seed": args.seed,
        "said": gathered.said,
        "share": round(float(np.average(data.event, weights=data.weight)), 4),
        "models": risk_figures.all_of(found, data.event, data.patient, data.weight, args.seed),
        "treat_all": {f"{at:g}": value for at, value in risk_figures.treat_all(data.event, data.weight).items()},
    }
    return out, found


def keep(gathered: Cohort, fitted: Fitted, figures: dict[str, Any], args: argparse.Namespace) -> RiskModel:
    """Write OUT/risk.safetensors and its card; the model as the tool opens it."""
    data = gathered.data
    trees, members = risk_models.calibrated(fitted)
    names = [data.names[i] for i in fitted.columns]
    x = data.x[:, fitted.columns]
    ours = figures["models"][OURS]["auc"]
    people = f"{figures['patients']} patients, {figures['patients_with_event']} of them with an event"
    config = {
        "input": gathered.kind,
        "encoder": args.encoder,
        "features": names,
        "covariates": [name for name in risk_cohort.covariates(gathered.table) if name in names],
        "usual": {name: _quantiles(x[:, i], (0.25, 0.5, 0.75)) for i, name in enumerate(names)},
        "range": {name: _quantiles(x[:, i], (0.0, 1.0)) for i, name in enumerate(names)},
        "share": figures["share"],
        "horizon": args.horizon,
        "cohort": getattr(args, "cohort_said", None)
        or f"Learnt from {people} (cross-validated AUC {ours['value']:.2f}, 95 % interval {ours['interval'][0]:.2f} to "
        f"{ours['interval'][1]:.2f}).",
        "warnings": getattr(args, "warnings_said", None) or [],
        "member_bytes": [],
    }
    raw = [packed(one) for one in members]
    config["member_bytes"] = [len(one) for one in raw]
    tensors = {"trees": torch.from_numpy(packed(trees)), "members": torch.from_numpy(np.concatenate(raw))}
    file = args.out / "risk.safetensors"
    save_file(tensors, file, {"config": json.dumps(config)})
    write_card(file, card(gathered, fitted, figures, args))
    return RiskModel(file)


def card(gathered: Cohort, fitted: Fitted, figures: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    kind = {"strip": "one or two leads, a minute to five", "ecg": "any leads"}[gathered.kind]
    return {
        "name": "risk",
        "what": f"risk of {args.horizon}: XGBoost over {len(fitted.columns)} of {figures['features']} named features, "
        f"calibrated, {len(fitted.members)} members for the interval",
        "data": getattr(args, "data_said", None) or f"{args.cohort.name}: the user's own",
        "split": f"{figures['folds']}-fold nested cross-validation, stratified, grouped by patient; the model itself "
        f"learnt from all {figures['rows']} rows of {figures['patients']} patients",
        "command": f"python -m training.risk --data DIR --out OUT --seed {args.seed}"
        if args.data is not None
        else f"python -m training.risk --cohort {args.cohort.name} --out OUT --encoder {args.encoder} --input "
        f"{gathered.kind} --seed {args.seed}",
        "input": {"of": kind, "rate_hz": "any", "setting": vars(fitted.setting)},
        "figures": {
            name: {key: row[key] for key in ("auc", "auprc", "brier")} for name, row in figures["models"].items()
        },
        "limits": getattr(args, "limits_said", None) or ["Holds for patients like those of the cohort."],
    }


def predictions(gathered: Cohort, found: dict[str, dict[str, np.ndarray]]) -> pd.DataFrame:
    """Out-of-fold probabilities beside the rows they are of."""
    table = gathered.table[[name for name in risk_cohort.OWN_COLUMNS if name in gathered.table]].copy()
    table["fold"] = found[OURS]["fold"].astype(int)
    for name, row in found.items():
        table[name.replace(" ", "_")] = np.round(row["p"], 5)
    return table


def _quantiles(values: np.ndarray, at: tuple[float, ...]) -> list[float]:
    known = values[np.isfinite(values)]
    return [round(float(value), 5) for value in np.quantile(known, at)] if len(known) else [0.0] * len(at)


if __name__ == "__main__":
    recipe.run(main)
