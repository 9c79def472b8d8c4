"""Reading printed layouts and gaps: the default reader beside three ways of filling what was not recorded.

    python -m training.evaluate layouts --data DIR [--fold 9] [--weights FILE] [--without-cnn]

Macro AUROC over the superclasses of the raw test fold, in seven layouts (encoders/layouts.py):

ours          the reader: network and trees, what was not recorded left out of both
zero-fill     the same network, told that zeros were recorded
interpolated  the same network, gaps filled by straight lines as if recorded
plain CNN     trained on complete recordings in this command, zeros where nothing was recorded

Trees see measurements taken from the same layout. Intervals are bootstrap 95 % over recordings.
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
    for layout in layouts.LAYOUTS:
        rng = np.random.default_rng(0)
        known = np.stack([layouts.mask(layout, LEADS, ptbxl.SAMPLES, ptbxl.FS_HZ, rng) for _ in range(len(test))])
        views = evaluate_reading.read(reader, test, reading.measure_all(test, known), known)
        others = {
            "zero-fill": _network(reader, filled(test, known, "zero")),
            "interpolated": _network(reader, filled(test, known, "lines")),
        }
        if cnn is not None:
            others["plain CNN"] = evaluate_reading.predicted(cnn, filled(test, known, "zero"))[GROUP]
        ours = views["fused"][GROUP]
        alone = figures.macro(views["network"][GROUP], truth)
        row: dict[str, Any] = {"ours": figures.with_interval(ours, truth), "network alone": alone}
        row |= {name: figures.with_interval(ours, truth, p) for name, p in others.items()}
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


def _network(reader: Reader, test: ptbxl.Table) -> np.ndarray:
    """(records, superclasses) of the network alone, everything taken as recorded."""
    return reading.net_logits(reader.net, test)[GROUP]


def table(out: dict[str, Any]) -> str:
    lines = [f"PTB-XL fold {out['fold']}, {out['records']} raw recordings, macro AUROC of superclasses [95 % interval]"]
    for layout, row in out["layouts"].items():
        low, high = row["ours"]["interval"]
        cells = [f"{layout:10s} ours {row['ours']['auroc']:.3f} [{low:.3f}, {high:.3f}]"]
        cells.append(f"network alone {row['network alone']:.3f}")
        for name in ("zero-fill", "interpolated", "plain CNN"):
            if name in row:
                one = row[name]
                low, high = one["ahead_interval"]
                cells.append(f"{name} {one['baseline'][0]:.3f} (ours {one['ahead']:+.3f} [{low:+.3f}, {high:+.3f}])")
        lines.append("  ".join(cells))
    return "\n".join(lines)
