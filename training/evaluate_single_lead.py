"""Myocardial infarction and its sites from one lead, with alignment to the twelve-lead view and without.

    python -m training.evaluate single_lead --data DIR [--fold 9] [--epochs 15] [--seeds 3] [--weights FILE]

Two copies of the network are trained on one lead alone, from the same random weights, on the same batches of folds 1-7:
one on the labels only, one on the labels and on the embedding that the shipped reader gives for all twelve leads of the
same recording (SelfMIS, arXiv 2509.19397: self-cut pairs, no augmentation of the pair; sigmoid contrast). AUROC of
infarction, its subclasses and statements with at least five positives; seeds are averaged, the difference is a paired
bootstrap over recordings. Beside them the shipped reader's network, which learnt from any leads, sees the same lead
alone. Lead I and lead II, raw and band-passed recordings together: shape is what is read here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from encoders.reading import FILE, Reader
from encoders.reading_net import ReadingNet, Shape
from tools.recording import LEADS
from training import figures, ptbxl, reading, reading_data

SITES = {
    "superclass": ("MI",),
    "subclass": ("AMI", "IMI", "LMI", "PMI"),
    "statement": ("IMI", "ASMI", "AMI", "ALMI", "ILMI", "LMI", "IPLMI", "IPMI", "PMI"),
}
BATCH, LR = 32, 2e-3
WORTH = 1.0  # of the alignment beside the labels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=FILE)
    parser.add_argument("--fold", type=int, default=ptbxl.TEST[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)


def run(args: argparse.Namespace) -> dict[str, Any]:
    table = ptbxl.load(args.data)
    train, test = table.folds(*ptbxl.TRAIN), table.folds(args.fold)
    reader = Reader(args.weights)
    teacher = reading.net_logits(reader.net, train)["embedding"]
    truth, names = sites(test)
    out: dict[str, Any] = {"fold": args.fold, "records": len(test), "sites": names, "seeds": args.seeds}
    for lead in ("I", "II"):
        p = {
            aligned: np.mean(
                [predicted(train, test, teacher, lead, aligned, seed, args.epochs) for seed in range(args.seeds)],
                axis=0,
            )
            for aligned in (True, False)
        }
        compared = figures.with_interval(p[True], truth, p[False])
        each = {
            name: [round(float(figures.auroc(p[a], truth)[i]), 3) for a in (True, False)]
            for i, name in enumerate(names)
        }
        shipped = figures.with_interval(by_reader(reader, test, lead, names), truth)
        out[lead] = {**compared, "each_with_and_without": each, "shipped": shipped}
    return out


def by_reader(reader: Reader, test: ptbxl.Table, lead: str, names: list[str]) -> np.ndarray:
    """(test records, sites) logits of the shipped network, given this lead alone."""
    known = np.zeros(test.signal.shape, bool)
    known[:, LEADS.index(lead)] = True
    seen, columns = reading.net_logits(reader.net, test, known), []
    for name in names:
        group, code = _label(name)
        columns.append(seen[group][:, reader.codes[group].index(code)])
    return np.stack(columns, axis=1)


def sites(table: ptbxl.Table) -> tuple[np.ndarray, list[str]]:
    """(records, sites) labels of infarction with enough positives, and their names."""
    columns: list[np.ndarray] = []
    names: list[str] = []
    for group, codes in SITES.items():
        for code in codes:
            column = table.labels[group][:, table.codes[group].index(code)]
            alike = any((column == other).all() for other in columns)  # IMI is a subclass and a statement
            if column.sum() >= figures.LEAST and not alike:
                columns.append(column)
                names.append(f"{code} ({group})" if group != "superclass" else code)
    return np.stack(columns, axis=1), names


def predicted(
    train: ptbxl.Table, test: ptbxl.Table, teacher: np.ndarray, lead: str, aligned: bool, seed: int, epochs: int
) -> np.ndarray:
    """(test records, sites) probabilities of a network that saw one lead only."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    wanted = sites(test)[1]
    labels = torch.from_numpy(np.stack([_column(train, name) for name in wanted], axis=1))
    net = ReadingNet(Shape(superclass=len(wanted), subclass=1, statement=1, embedding=teacher.shape[1]))
    scale = torch.nn.Parameter(torch.tensor([2.3, -2.0]))
    steps = len(train) // BATCH
    optimiser = torch.optim.AdamW([*net.parameters(), scale], LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=max(epochs * steps, 1))
    at = LEADS.index(lead)
    for _ in tqdm(range(epochs), desc=f"lead {lead}, {'aligned' if aligned else 'labels only'}, seed {seed}"):
        for rows in rng.permutation(len(train))[: steps * BATCH].reshape(steps, BATCH):
            seen = net.train()(*_inputs(reading_data.changed(rng, train.signal[rows])[:, [at]], at))
            loss = F.binary_cross_entropy_with_logits(seen["superclass"], labels[rows]) * 3
            if aligned:
                alike = seen["embedding"] @ torch.from_numpy(teacher[rows]).T * scale[0].exp() + scale[1]
                loss = loss + WORTH * F.softplus(-(2 * torch.eye(len(rows)) - 1) * alike).sum(1).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
    with torch.inference_mode():
        parts = torch.from_numpy(test.signal[:, [at]]).split(256)
        return torch.cat([net.eval()(*_inputs(part.numpy(), at))["superclass"].sigmoid() for part in parts]).numpy()


def _column(table: ptbxl.Table, name: str) -> np.ndarray:
    group, code = _label(name)
    return table.labels[group][:, table.codes[group].index(code)]


def _label(name: str) -> tuple[str, str]:
    """Group and code of a name that `sites` gave."""
    code, _, group = name.partition(" (")
    return group.rstrip(")") or "superclass", code


def _inputs(signal: np.ndarray, lead: int) -> tuple:
    records = len(signal)
    return reading.tensors(signal, np.ones(signal.shape, bool), np.ones(records, bool), "cpu", lead)


def table(out: dict[str, Any]) -> str:
    lines = [
        f"PTB-XL fold {out['fold']}, {out['records']} recordings, mean AUROC of {len(out['sites'])} infarct labels"
    ]
    for lead in ("I", "II"):
        one = out[lead]
        low, high = one["ahead_interval"]
        verdict = "alignment wins" if low > 0 else "alignment loses" if high < 0 else "no difference is shown"
        lines.append(
            f"lead {lead:2s} aligned {one['auroc']:.3f} {one['interval']}, labels only {one['baseline'][0]:.3f}; "
            f"difference {one['ahead']:+.3f} [{low:+.3f}, {high:+.3f}]: {verdict}; the shipped reader on it "
            f"{one['shipped']['auroc']:.3f} {one['shipped']['interval']}"
        )
        lines.append(
            "        " + "  ".join(f"{name} {a:.3f}/{b:.3f}" for name, (a, b) in one["each_with_and_without"].items())
        )
    return "\n".join(lines)
