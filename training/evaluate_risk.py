"""How far the shipped model of VT/VF risk can be believed, on the public strips it learnt from.

    python -m training.evaluate risk --data DIR [--cache FOLDER] [--seed 0]

DIR holds cudb, vfdb, mitdb and nsrdb. Nested, patient-grouped cross-validation of XGBoost and its comparators; then
the same with two whole databases left out (the figure to believe); how well the features tell databases apart; whether
attacks are told from earlier strips of the same people; how often running VT or VF is noticed. The rule of the last
was set on these recordings. Intervals are bootstrap 95 % over patients. Not shown: any other recorder or
hospital, or patients as rarely ill as those of a ward.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from encoders.weights import cache_folder
from training import risk, risk_default

FIGURES = ("auc", "auprc", "f1", "brier", "sensitivity_at_90")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of cudb, vfdb, mitdb and nsrdb")
    parser.add_argument("--cache", type=Path, default=None, help="where the features are kept between runs")
    parser.add_argument("--no-networks", action="store_true")
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> dict[str, Any]:
    torch.set_num_threads(1)
    folder = args.cache or cache_folder() / "risk"
    gathered = risk_default.cohort(args.data, folder, args.no_networks)
    figures, _ = risk.judge(gathered, args)
    return figures | risk_default.further(gathered, args.data, folder, args.seed, not args.no_networks)


def table(out: dict[str, Any]) -> str:
    lines = [
        f"{out['rows']} strips, {out['patients']} patients ({out['patients_with_event']} before an attack); patients: "
        + ", ".join(f"{name} {count}" for name, count in out["databases"].items()),
        *out["said"],
        f"{out['folds']}-fold nested cross-validation, grouped by patient, each patient counts once",
        f"{'':24}" + "".join(f"{name:>26}" for name in FIGURES) + f"{'slope':>8}{'ahead':>8}{'p':>7}",
    ]
    lines += [_row(name, row) for name, row in out["models"].items()]
    bins = out["models"][risk.OURS]["calibration"]["bins"]
    lines.append(
        "calibration, predicted -> observed: " + ", ".join(f"{b['predicted']:.2f} -> {b['observed']:.2f}" for b in bins)
    )
    for pair, models in out["across"].items():
        if pair != "mean AUC":
            lines.append(f"left out and tried: {pair}")
            lines += [_row(name, row) for name, row in models.items()]
    means = out["across"]["mean AUC"]
    lines.append("mean AUC over the four: " + ", ".join(f"{name} {value:.3f}" for name, value in means.items()))
    for what, one in out["which_database"].items():
        lines.append(f"which database, {what}: AUC {_shown(one)} (0.5: the features do not tell)")
    same = out["same_people"]
    lines.append(
        f"the same people of VFDB, {same['blocks'][0]} blocks before an attack against {same['blocks'][1]} at other "
        f"times: AUC {_shown(same['auc'])}"
    )
    alarm = out["running"]
    lines.append(
        f"running VT or VF noticed in {_shown(alarm['noticed'])} of {alarm['attacks']} episodes, falsely in "
        f"{_shown(alarm['falsely_alarmed'])} of {alarm['control_blocks']} control blocks"
    )
    return "\n".join(lines)


def _row(name: str, row: dict[str, Any]) -> str:
    cells = "".join(f"{_shown(row[key]):>26}" for key in FIGURES)
    ahead = row.get("ours_ahead", {}).get("auc")
    tail = f"{ahead['value']:>+8.3f}{ahead['p']:>7.3f}" if ahead else ""
    return f"{name:24}{cells}{row['calibration']['slope']:>8.2f}{tail}"


def _shown(one: dict[str, Any]) -> str:
    return f"{one['value']:.3f} [{one['interval'][0]:.3f}, {one['interval'][1]:.3f}]"
