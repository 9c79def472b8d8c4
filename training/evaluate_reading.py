"""How well the default reader reads PTB-XL's test fold, beside a plain CNN trained on the same recordings.

    python -m training.evaluate reading --data DIR [--fold 9] [--seeds 3] [--weights FILE]
    python -m training.evaluate reading --data DIR --part across

Macro AUROC over the superclasses and over the subclasses with at least five positives, on recordings as recorded and on
band-passed ones apart, bootstrap 95 % intervals over recordings, the difference to the mean of the plain CNNs, atrial
fibrillation, calibration error; the network alone and the trees alone beside. The CNNs train on folds 1-7 in this
command (five minutes a seed on two cores). Not shown: other hospitals, other machines, rare codes.

`--part across` leaves the test fold, with its eight band-passed ECGs of atrial fibrillation, alone: the trees and one
plain CNN read each training fold after learning the other six (20 minutes). Narrower intervals, for the half of the
reader that can be learnt seven times over.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from encoders.reading import FILE, GROUPS, Reader
from training import figures, plain_cnn, ptbxl, reading, reading_fusion, reading_teacher

COMPARED = ("superclass", "subclass")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=FILE)
    parser.add_argument("--fold", type=int, default=ptbxl.TEST[0])
    parser.add_argument("--seeds", type=int, default=3, help="plain CNNs to train; 0 leaves the baseline out")
    parser.add_argument("--part", choices=("fold", "across"), default="fold")


def run(args: argparse.Namespace) -> dict[str, Any]:
    table = ptbxl.load(args.data)
    if args.part == "across":
        return across(table.folds(*ptbxl.TRAIN))
    reader = Reader(args.weights)
    test = table.folds(args.fold)
    views = read(reader, test, reading.measure_all(test))
    cnns = [predicted(trained(table, seed), test) for seed in range(args.seeds)]
    out: dict[str, Any] = {"fold": args.fold, "weights": args.weights.name, "seeds": args.seeds}
    for kind, rows in (("raw", test.raw), ("filtered", ~test.raw)):
        if not rows.any():
            continue
        out[kind] = {"records": int(rows.sum())}
        for group in COMPARED:
            truth, mine = test.labels[group][rows], {name: view[group][rows] for name, view in views.items()}
            out[kind][group] = figures.with_interval(mine["fused"], truth, *[cnn[group][rows] for cnn in cnns])
            out[kind][group] |= {f"{name}_alone": figures.macro(mine[name], truth) for name in ("network", "trees")}
            each = figures.auroc(mine["fused"], truth)
            enough = np.flatnonzero(truth.sum(axis=0) >= figures.LEAST)
            out[kind][group]["each"] = {test.codes[group][i]: round(float(each[i]), 3) for i in enough}
        column = test.codes["statement"].index("AFIB")
        afib = np.s_[rows, column : column + 1]
        out[kind]["AFIB"] = figures.with_interval(views["fused"]["statement"][afib], test.labels["statement"][afib])
        known = {group: [test.codes[group].index(code) for code in reader.codes[group]] for group in GROUPS}
        out[kind]["calibration_error"] = {
            group: round(
                reading_fusion.calibration_error(
                    views["fused"][group][rows][:, known[group]], test.labels[group][rows][:, known[group]]
                ),
                4,
            )
            for group in GROUPS
        }
    return out


def across(table: ptbxl.Table) -> dict[str, Any]:
    """The trees and one plain CNN on each fold of `table`, after learning its other folds; learnt codes alone."""
    chosen = reading.learnt(table)
    labels = reading.joined(table, chosen)
    ends = np.cumsum([len(columns) for columns in chosen.values()])[:-1]
    judged = np.split(reading_teacher.opinions(table, reading.measure_all(table), labels, 0), ends, axis=1)
    trees = dict(zip(chosen, judged, strict=True))
    truth = dict(zip(chosen, np.split(labels, ends, axis=1), strict=True))
    cnn = {group: np.empty_like(truth[group]) for group in COMPARED}
    for fold in np.unique(table.fold):
        apart = table.fold == fold
        for group, p in predicted(trained(table.rows(~apart), 0), table.rows(apart)).items():
            cnn[group][apart] = p[:, chosen[group]]
    afib = [table.codes["statement"][i] for i in chosen["statement"]].index("AFIB")
    out: dict[str, Any] = {"fold": "1-7, each by what learnt the others"}
    for kind, rows in (("raw", table.raw), ("filtered", ~table.raw)):
        if rows.any():
            out[kind] = {"records": int(rows.sum())}
            for group in COMPARED:
                out[kind][group] = figures.with_interval(trees[group][rows], truth[group][rows], cnn[group][rows])
            one = np.s_[rows, afib : afib + 1]
            out[kind]["AFIB"] = figures.with_interval(trees["statement"][one], truth["statement"][one])
            out[kind]["AFIB"]["positives"] = int(truth["statement"][one].sum())
    return out


def read(reader: Reader, table: ptbxl.Table, vectors: np.ndarray, known: np.ndarray | None = None) -> dict[str, Any]:
    """{"fused", "network", "trees": {group: (records, all codes)}}; a code that the reader does not know is 0."""
    net = reading.net_logits(reader.net, table, known)
    trees = reader.tree_logits(vectors, table.raw)
    fused = reader.fused({group: net[group] for group in GROUPS}, trees)
    out: dict[str, Any] = {"fused": {}, "network": {}, "trees": {}}
    start = 0
    for group in GROUPS:
        columns = [table.codes[group].index(code) for code in reader.codes[group]]
        for name, values in (
            ("fused", fused[group]),
            ("network", net[group]),
            ("trees", trees[:, start : start + len(columns)]),
        ):
            whole = np.full((len(table), len(table.codes[group])), values.min())
            whole[:, columns] = values
            out[name][group] = whole
        start += len(columns)
    return out


def trained(table: ptbxl.Table, seed: int) -> Any:
    """A plain CNN after its epochs on the training folds."""
    train = table.folds(*ptbxl.TRAIN)
    labels = np.concatenate([train.labels[group] for group in COMPARED], axis=1)
    return plain_cnn.fit(train.signal, labels, seed)


def predicted(cnn: Any, test: ptbxl.Table) -> dict[str, np.ndarray]:
    """Its probabilities of the test recordings, {group: (records, codes)}."""
    p = plain_cnn.probabilities(cnn, test.signal)
    sizes = np.cumsum([test.labels[group].shape[1] for group in COMPARED])[:-1]
    return dict(zip(COMPARED, np.split(p, sizes, axis=1), strict=True))


def table(out: dict[str, Any]) -> str:
    lines = [f"PTB-XL fold {out['fold']}, macro AUROC [95 % interval]"]
    for kind in ("raw", "filtered"):
        if kind not in out:
            continue
        for group in COMPARED:
            one = out[kind][group]
            low, high = one["interval"]
            line = f"{kind:8s} {group:10s} {one['auroc']:.3f} [{low:.3f}, {high:.3f}] over {one['codes']} codes"
            if "network_alone" in one:
                line += f"; network alone {one['network_alone']:.3f}, trees alone {one['trees_alone']:.3f}"
            if "baseline" in one:
                low, high = one["ahead_interval"]
                each = ", ".join(f"{value:.3f}" for value in one["baseline"])
                line += f"; plain CNNs {each}; ahead of their mean by {one['ahead']:+.3f} [{low:+.3f}, {high:+.3f}]"
            lines.append(line)
            if "each" in one:
                lines.append("         " + "  ".join(f"{code} {value:.3f}" for code, value in one["each"].items()))
        afib = out[kind]["AFIB"]
        lines.append(f"{kind:8s} AFIB {afib['auroc']:.3f} {afib['interval']}")
        if "calibration_error" in out[kind]:
            lines[-1] += f"; calibration error {out[kind]['calibration_error']}"
    return "\n".join(lines)
