"""Twelve leads from few: the autoencoder beside the best linear reconstruction fitted on the same recordings.

    python -m training.evaluate reconstruct --data DIR [--fold 9] [--weights FILE]

For each set of measured leads: mean squared error (mV²) and Pearson correlation of the leads that were hidden, mean
over leads and recordings, each lead around its median; the slope of rebuilt on true R amplitudes (1 is no bias); the
share of samples inside the 80 % band. The linear baseline is least squares from the measured leads and their two
neighbours in time on each side (5 taps), with intercept. Then what the default reader finds in rebuilt ECGs, and the
Fréchet distance of its embeddings from those of real ones. Intervals are bootstrap 95 % over recordings. Not shown:
other hospitals, what a cardiologist would say of them.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from encoders import layouts
from encoders.reading import FILE as READING
from encoders.reading import Reader
from encoders.vae import DRAWS, FILE, FS_HZ, SAMPLES, opened
from tools.recording import LEADS
from training import figures, ptbxl, reading, vae, vae_data

SETS = {
    "II V1 V5": ("II", "V1", "V5"),
    "I II V2": ("I", "II", "V2"),
    "I": ("I",),
    "II": ("II",),
    "3x4": None,
}
MAIN = "II V1 V5"
REACH = 2  # samples on each side that the linear baseline sees: 5 taps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=FILE)
    parser.add_argument("--fold", type=int, default=ptbxl.TEST[0])


def run(args: argparse.Namespace) -> dict[str, Any]:
    everything = ptbxl.load(args.data)
    table = everything.folds(args.fold)
    table = table.rows(table.raw)
    signal, raw = vae_data.signals(args.data, everything)
    train = signal[raw]
    signal = vae_data.levelled(table.signal)
    net, factor = opened(args.weights)
    reader = Reader(READING)
    out: dict[str, Any] = {"fold": args.fold, "records": len(table), "learnt_from": len(train), "sets": {}}
    for name, leads in SETS.items():
        known = seen(leads, len(signal))
        ours, error = vae.rebuilt(net, signal, known, DRAWS)
        linear = page(train, signal) if leads is None else fitted(train, leads)(signal)
        missing = ~known
        row: dict[str, Any] = {}
        for kind, made in (("ours", ours), ("linear", linear)):
            row[kind] = compared(np.where(known, signal, made), signal, missing)
        row["ratio"] = ratio(row["ours"].pop("each"), row["linear"].pop("each"))
        inside = np.abs(ours - signal) <= error * factor[:, None]
        row["inside_band"] = round(float(inside[missing].mean()), 3)
        row["inside_band_of"] = {lead: _share(inside[:, n], missing[:, n]) for n, lead in enumerate(LEADS)}
        row["leads"] = by_lead(ours, linear, signal, missing)
        if name == MAIN:
            row |= read_back(reader, table, ours, linear, known)
        out["sets"][name] = row
    return out


def seen(leads: tuple[str, ...] | None, records: int) -> np.ndarray:
    """(records, 12, SAMPLES) bool: these leads, or None for a printed page of 3x4."""
    if leads is None:
        return np.repeat(layouts.mask("3x4", LEADS, SAMPLES, FS_HZ)[None], records, axis=0)
    return vae.only(leads, records, SAMPLES)


def fitted(train: np.ndarray, leads: tuple[str, ...]) -> Any:
    """The best linear reconstruction from `leads`: (records, 12, samples) -> the same."""
    at = [LEADS.index(lead) for lead in leads]
    square, product = 0.0, 0.0
    for part in np.array_split(train, max(1, len(train) // 64)):
        x = taps(part[:, at])
        square = square + x.T @ x
        product = product + x.T @ part.transpose(0, 2, 1).reshape(-1, 12)
    weights = np.linalg.lstsq(square, product, rcond=None)[0]
    return lambda signal: np.stack([(taps(one[None, at]) @ weights).T for one in signal]).astype(np.float32)


def taps(signal: np.ndarray) -> np.ndarray:
    """(records * samples, leads * 5 + 1): each sample with its neighbours, and one for the intercept."""
    wide = np.pad(signal, ((0, 0), (0, 0), (REACH, REACH)), mode="edge")
    rows = [wide[:, :, i : i + signal.shape[2]] for i in range(2 * REACH + 1)]
    x = np.concatenate(rows, axis=1).transpose(0, 2, 1).reshape(-1, signal.shape[1] * len(rows)).astype(np.float64)
    return np.column_stack([x, np.ones(len(x))])


def page(train: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """The linear baseline for a printed page: each column of the page from the leads that stand in it."""
    known = layouts.mask("3x4", LEADS, SAMPLES, FS_HZ)
    out = np.zeros_like(signal)
    for column in np.unique(known, axis=1).T:
        leads = tuple(lead for lead, there in zip(LEADS, column, strict=True) if there)
        here = (known == column[:, None]).all(axis=0)
        out[:, :, here] = fitted(train, leads)(signal)[:, :, here]
    return out


def compared(made: np.ndarray, signal: np.ndarray, missing: np.ndarray) -> dict[str, Any]:
    """Error and correlation over what was hidden; `each` has the squared error of every recording."""
    rows = missing.any(axis=(0, 2))
    hidden = missing[:, rows]
    squared = np.square(made - signal)[:, rows]
    each = (squared * hidden).sum((1, 2)) / hidden.sum((1, 2))
    whole = hidden.all()
    pcc = vae.correlation(made[:, rows], signal[:, rows]) if whole else _masked_correlation(made, signal, missing)
    mean_pcc = np.nanmean(pcc, axis=1)
    return {
        "mse_mv2": round(float(each.mean()), 5),
        "mse_interval": [round(value, 5) for value in figures.interval(each)],
        "pcc": round(float(mean_pcc.mean()), 4),
        "pcc_interval": [round(value, 5) for value in figures.interval(mean_pcc)],
        "each": each,
    }


def _masked_correlation(made: np.ndarray, signal: np.ndarray, missing: np.ndarray) -> np.ndarray:
    out = np.full(missing.shape[:2], np.nan)
    for record, lead in np.argwhere(missing.any(axis=2)):
        at = missing[record, lead]
        out[record, lead] = vae.correlation(made[record, lead, at], signal[record, lead, at])
    return out


def ratio(ours: np.ndarray, linear: np.ndarray) -> dict[str, Any]:
    """Our squared error as a share of the linear one's, and its interval over recordings drawn in pairs."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, len(ours), (figures.DRAWS, len(ours)))
    drawn_ = ours[rows].mean(1) / linear[rows].mean(1)
    return {
        "of_linear": round(float(ours.mean() / linear.mean()), 3),
        "interval": [round(float(value), 3) for value in np.percentile(drawn_, [2.5, 97.5])],
    }


def by_lead(ours: np.ndarray, linear: np.ndarray, signal: np.ndarray, missing: np.ndarray) -> dict[str, Any]:
    """For each hidden lead: squared errors, and the slope of rebuilt on true amplitudes (highest less lowest)."""
    out = {}
    for n, lead in enumerate(LEADS):
        at = missing[:, n]
        if not at.any():
            continue
        true, one, other = (np.where(at, x[:, n], 0) for x in (signal, ours, linear))
        height = [np.ptp(x, axis=1) for x in (true, one, other)]
        out[lead] = {
            "mse_mv2": [round(float((np.square(x - true).sum(1) / at.sum(1)).mean()), 4) for x in (one, other)],
            "amplitude_slope": [round(float(np.polyfit(height[0], x, 1)[0]), 2) for x in height[1:]],
        }
    return out


def read_back(
    reader: Reader, table: ptbxl.Table, ours: np.ndarray, linear: np.ndarray, known: np.ndarray
) -> dict[str, Any]:
    """What the reader's network finds in real and rebuilt ECGs: macro AUROC, and how far its embeddings are off."""
    truth = table.labels["superclass"]
    columns = [reader.codes["superclass"].index(code) for code in table.codes["superclass"]]
    made = {"real": table.signal, "ours": ours, "linear": linear}
    seen_by = {
        kind: reading.net_logits(reader.net, replace(table, signal=np.where(known, table.signal, one)))
        for kind, one in made.items()
    }
    p = {kind: logits["superclass"][:, columns] for kind, logits in seen_by.items()}
    real = seen_by["real"]["embedding"]
    return {
        "read_as": {
            "real": figures.with_interval(p["real"], truth),
            "ours": figures.with_interval(p["ours"], truth, p["real"]),
            "linear": figures.with_interval(p["linear"], truth, p["real"]),
        },
        "frechet": {kind: round(frechet(real, seen_by[kind]["embedding"]), 4) for kind in ("ours", "linear")},
    }


def frechet(one: np.ndarray, other: np.ndarray) -> float:
    """Fréchet distance of two sets of vectors taken as normal (Heusel et al. 2017, arXiv 1706.08500)."""
    from scipy.linalg import sqrtm

    a, b = np.cov(one.T), np.cov(other.T)
    root = np.real(np.asarray(sqrtm(a @ b)))
    return float(np.square(one.mean(0) - other.mean(0)).sum() + np.trace(a + b - 2 * root))


def _share(inside: np.ndarray, missing: np.ndarray) -> float | None:
    return round(float(inside[missing].mean()), 3) if missing.any() else None


def table(out: dict[str, Any]) -> str:
    lines = [f"PTB-XL fold {out['fold']}, {out['records']} raw recordings; {out['learnt_from']} learnt from"]
    for name, row in out["sets"].items():
        a, b, r = row["ours"], row["linear"], row["ratio"]
        lines.append(
            f"{name:9s} MSE {a['mse_mv2']:.4f} {a['mse_interval']} (linear {b['mse_mv2']:.4f}: x {r['of_linear']:.2f} "
            f"{r['interval']})  r {a['pcc']:.3f} {a['pcc_interval']} (linear {b['pcc']:.3f})  "
            f"inside the 80 % band {row['inside_band']:.3f}"
        )
        slopes = "  ".join(f"{lead} {one['amplitude_slope'][0]:.2f}" for lead, one in row["leads"].items())
        lines.append(f"          amplitude slope {slopes}")
        if "read_as" in row:
            read, far = row["read_as"], row["frechet"]
            lines.append(
                f"          superclasses read from real {read['real']['auroc']:.3f}, ours {read['ours']['auroc']:.3f} "
                f"({read['ours']['ahead']:+.3f} {read['ours']['ahead_interval']}), "
                f"linear {read['linear']['auroc']:.3f}; Frechet distance ours {far['ours']}, linear {far['linear']}"
            )
    return "\n".join(lines)
