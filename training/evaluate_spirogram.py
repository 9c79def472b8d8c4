"""Obstruction from the curve of a blow alone, beside the ratios people use; and whether derived numbers are right.

    python -m training.evaluate spirogram --data DIR [--weights FILE]

On the people of NHANES that training left untouched (15 %), whose curves are modelled from their measured numbers
(training/spirogram_data.py); obstruction is measured FEV1/FVC below the LLN of GLI Global 2022. AUROC of the network
for whole blows, for blows with artefacts, and for blows cut 1 to 3 s after time zero, with bootstrap 95 % intervals
over people. Beside it on the same curves: the ratio FEV1/FVC measured on the curve, as a score, and as the fixed rule
below 0.70. Then the share of people whose FEV1, FVC, PEF, FEF25-75, FET and BEV, derived from the modelled curve by
tools/spirometry.py, lie within 1 % of what NHANES measured; those whose numbers no falling curve has are counted as
well. Then how far FEV0.5, FEV0.75, FEV3 and FEV6 of modelled curves, which are not built from these, are from those
of NHANES 2011-12 (where `SPX_G.csv` is there). Then the reports that the language model writes from soft tokens
(training/evaluate_spirogram_report.py). Not shown: real curves, which are not public here, and other countries.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from encoders.spiro import FILE, opened
from tools.errors import UsageError
from tools.spirometry import measure
from training import evaluate_spirogram_report, spirogram, spirogram_data
from training.figures import DRAWS, interval

FIXED = 0.70
DERIVED = {"fev1_l": "fev1", "fvc_l": "fvc", "pef_lps": "pef", "fef2575_lps": "fef", "fet_s": "fet", "bev_l": "bev"}
WITHIN = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=FILE)
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--reports", type=int, default=200, help="people of whom the language model writes; 0 for none")


def run(args: argparse.Namespace) -> dict[str, Any]:
    people = spirogram_data.nhanes(args.data)
    people = people.iloc[spirogram_data.split(people)[args.part]].reset_index(drop=True)
    curves = spirogram_data.modelled(people)
    net = opened(args.weights)
    truth = people["obstruction"].to_numpy()
    everyone = np.arange(len(people))
    rng = np.random.default_rng(0)
    kinds = {
        "whole": curves.volume,
        "artefacts": spirogram_data.varied(rng, curves.volume, curves.zero_s, calm=0.0),
        "cut at 1 to 3 s": spirogram.cut(curves, everyone),
    }
    out: dict[str, Any] = {"part": args.part, "people": len(people), "obstructed": int(truth.sum()), "curves": {}}
    told: list[dict[str, Any]] = []
    for name, volume in kinds.items():
        measured = [_measured(one) for one in tqdm(volume, desc=name, mininterval=5)]
        told = told or measured
        ratio = np.array([blow.get("fev1_fvc") or np.nan for blow in measured], float)
        low = -np.where(np.isfinite(ratio), ratio, 1.0)  # a blow that has no ratio gives no sign of obstruction
        p = 1 / (1 + np.exp(-spirogram.logits(net, volume)))
        out["curves"][name] = compared(p, low, truth)
    out["derived"] = derived(people, told)
    out["course"] = course(args.data)
    out["solved"] = round(float(curves.solved.mean()), 4)
    if args.reports:
        out["reports"] = evaluate_spirogram_report.run(people, curves, args.reports, args.weights)
    return out


def _measured(volume: np.ndarray) -> dict[str, Any]:
    try:
        return measure(volume, spirogram_data.FS_HZ)
    except UsageError:
        return {}


def compared(p: np.ndarray, low: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """AUROC of the network and of the ratio, their difference, and how the fixed rule and p of 0.5 decide."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(truth), len(truth))
        drawn.append([spirogram.area(score[rows], truth[rows]) for score in (p, low)])
    ours, ratio = np.array(drawn).T
    return {
        "auroc": round(spirogram.area(p, truth), 4),
        "interval": _range(ours),
        "ratio_auroc": round(spirogram.area(low, truth), 4),
        "ratio_interval": _range(ratio),
        "ahead": round(float(spirogram.area(p, truth) - spirogram.area(low, truth)), 4),
        "ahead_interval": _range(ours - ratio),
        "fixed_ratio": _decided(-low < FIXED, truth),
        "p_above_half": _decided(p >= 0.5, truth),
        "brier": round(float(np.square(p - truth).mean()), 4),
    }


def _decided(said: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return {
        "sensitivity": round(float(said[truth].mean()), 3),
        "specificity": round(float((~said[~truth]).mean()), 3),
    }


def _range(values: np.ndarray) -> list[float]:
    return [round(float(v), 4) for v in np.percentile(values, [2.5, 97.5])]


def derived(people: pd.DataFrame, told: list[dict[str, Any]]) -> dict[str, Any]:
    """For each number: share of people within 1 % with its interval, median and 95th percentile of the error in %."""
    out = {}
    for key, column in DERIVED.items():
        true = people[column].to_numpy()
        mine = np.array([blow.get(key) if blow.get(key) is not None else np.nan for blow in told], float)
        error = np.abs(mine - true) / np.maximum(true, 1e-6)
        inside = np.nan_to_num(error, nan=np.inf) <= WITHIN
        out[key] = {
            "within": round(float(inside.mean()), 4),
            "interval": [round(v, 4) for v in interval(inside)],
            "median_percent": round(float(100 * np.nanmedian(error)), 3),
            "p95_percent": round(float(100 * np.nanquantile(error, 0.95)), 2),
        }
    return out


def course(data: Path, people: int = 1000) -> dict[str, Any]:
    """For volumes at times that no curve is built from: median and 95th percentile of the error in %."""
    timed = spirogram_data.timed(data)
    if timed is None:
        return {}
    timed = timed.sample(min(people, len(timed)), random_state=0).reset_index(drop=True)
    curves = spirogram_data.modelled(timed)
    out = {}
    for name, after_s in (("fev05", 0.5), ("fev075", 0.75), ("fev3", 3.0), ("fev6", 6.0)):
        at = (curves.zero_s + after_s) * spirogram_data.FS_HZ
        held = pd.DataFrame(curves.volume).ffill(axis=1).to_numpy()
        grid = np.arange(held.shape[1])
        mine = np.array([np.interp(when, grid, row) for when, row in zip(at, held, strict=True)])
        error = 100 * np.abs(mine / timed[name].to_numpy() - 1)
        out[name] = {
            f"{part}_percent": round(float(np.quantile(error, q)), 2) for part, q in (("median", 0.5), ("p95", 0.95))
        }
    return out


def table(out: dict[str, Any]) -> str:
    lines = [
        f"NHANES 2007-12, {out['people']} people ({out['part']}), {out['obstructed']} with FEV1/FVC below the GLI LLN; "
        f"modelled curves, {100 * out['solved']:.1f} % meet all numbers"
    ]
    for name, row in out["curves"].items():
        fixed, half = row["fixed_ratio"], row["p_above_half"]
        lines.append(
            f"{name:16s} AUROC {row['auroc']:.3f} {row['interval']}  measured ratio {row['ratio_auroc']:.3f} "
            f"{row['ratio_interval']}: {row['ahead']:+.3f} {row['ahead_interval']}  Brier {row['brier']:.4f}"
        )
        lines.append(
            f"{'':16s} fixed ratio 0.70: sensitivity {fixed['sensitivity']}, specificity {fixed['specificity']}; "
            f"network at 0.5: {half['sensitivity']}, {half['specificity']}"
        )
    for key, row in out["derived"].items():
        lines.append(
            f"{key:12s} within 1 % of NHANES in {100 * row['within']:.1f} % of people {row['interval']}, "
            f"error: median {row['median_percent']} %, 95th percentile {row['p95_percent']} %"
        )
    for name, row in out["course"].items():
        lines.append(
            f"{name:12s} of the modelled curve against NHANES, which it was not built from: error median "
            f"{row['median_percent']} %, 95th percentile {row['p95_percent']} %"
        )
    lines += evaluate_spirogram_report.lines(out["reports"]) if "reports" in out else []
    return "\n".join(lines)
