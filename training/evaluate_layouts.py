"""Reading printed layouts and gaps: the default reader beside three ways of filling what was not recorded.

    python -m training.evaluate layouts --data DIR [--fold 9] [--weights FILE] [--without-cnn]

Macro AUROC over the superclasses of the raw test fold, in seven layouts (encoders/layouts.py):

ours          the reader: network and trees, what was not recorded left out of both
zero-fill     the same reader, its network told that zeros were recorded
interpolated  the same reader, its network shown gaps filled by straight lines as if recorded
plain CNN     trained on complete recordings in this command, zeros where nothing was recorded

All but the CNN have the same trees, over measurements taken from the same layout, so that only the filling differs;
the networks alone stand beside. Intervals are bootstrap 95 % over recordings.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from encoders import layouts
from encoders.reading import FILE, Reader
from tools.recording import LEADS
from training import evaluate_reading, figures, ptbxl, reading

GROUP = "superclass"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=FILE)
    parser.add_argument("--fold", type=int, default=ptbxl.TEST[0])
    parser.add_argument("--without-cnn", action="store_true", help="leave out the baseline that is trained here")


def run(args: argparse.Namespace) -> dict[str, Any]:
    everything = ptbxl.load(args.data)
    test = everything.folds(args.fold)
    test = test.rows(test.raw)
    reader = Reader(args.weights)
    truth = test.labels[GROUP]
    cnn = None if args.without_cnn else evaluate_reading.trained(everything, seed=0)
    out: dict[str, Any] = {"fold": args.fold, "records": len(test), "layouts": {}}
    columns = [reader.codes[GROUP].index(code) for code in test.codes[GROUP]]
    for layout in layouts.LAYOUTS:
        rng = np.random.default_rng(0)
        known = np.stack([layouts.mask(layout, LEADS, ptbxl.SAMPLES, ptbxl.FS_HZ, rng) for _ in range(len(test))])
        trees = reader.tree_logits(reading.measure_all(test, known), test.raw)
        network = {
            "ours": reading.net_logits(reader.net, test, known),
            "zero-fill": reading.net_logits(reader.net, filled(test, known, "zero")),
            "interpolated": reading.net_logits(reader.net, filled(test, known, "lines")),
        }
        p = {name: reader.fused(logits, trees)[GROUP][:, columns] for name, logits in network.items()}
        if cnn is not None:
            p["plain CNN"] = evaluate_reading.predicted(cnn, filled(test, known, "zero"))[GROUP]
        ours = p.pop("ours")
        row: dict[str, Any] = {"ours": figures.with_interval(ours, truth)}
        row |= {name: figures.with_interval(ours, truth, one) for name, one in p.items()}
        alone = {name: logits[GROUP][:, columns] for name, logits in network.items()}
        row["network alone"] = {name: figures.macro(one, truth) for name, one in alone.items()}
        row["network alone"]["ahead of zero-fill"] = figures.with_interval(alone["ours"], truth, alone["zero-fill"])
        out["layouts"][layout] = row
    return out


def filled(test: ptbxl.Table, known: np.ndarray, how: str) -> ptbxl.Table:
    """The recordings with their gaps filled by zeros or by straight lines, as if that had been recorded."""
    signal = np.where(known, test.signal, 0).astype(np.float32)
    if how == "lines":
        at = np.arange(signal.shape[2])
        for record, lead in np.argwhere(known.any(axis=2) & ~known.all(axis=2)):
            there = known[record, lead]
            signal[record, lead] = np.interp(at, at[there], signal[record, lead, there])
    return replace(test, signal=signal)


def table(out: dict[str, Any]) -> str:
    lines = [f"PTB-XL fold {out['fold']}, {out['records']} raw recordings, macro AUROC of superclasses [95 % interval]"]
    for layout, row in out["layouts"].items():
        low, high = row["ours"]["interval"]
        cells = [f"{layout:10s} ours {row['ours']['auroc']:.3f} [{low:.3f}, {high:.3f}]"]
        for name in ("zero-fill", "interpolated", "plain CNN"):
            if name in row:
                one = row[name]
                low, high = one["ahead_interval"]
                cells.append(f"{name} {one['baseline'][0]:.3f} (ours {one['ahead']:+.3f} [{low:+.3f}, {high:+.3f}])")
        lines.append("  ".join(cells))
        alone = row["network alone"]
        low, high = alone["ahead of zero-fill"]["ahead_interval"]
        lines.append(
            f"{'':10s} network alone {alone['ours']:.3f}, zero-fill {alone['zero-fill']:.3f} "
            f"(ours {alone['ahead of zero-fill']['ahead']:+.3f} [{low:+.3f}, {high:+.3f}]), "
            f"interpolated {alone['interpolated']:.3f}"
        )
    return "\n".join(lines)
