"""R peaks of `tools.beats` against the annotations of the MIT-BIH Arrhythmia Database, as ANSI/AAMI EC57 counts them.

    python -m training.evaluate beats --data DIR/mitdb [--json]

A peak within 150 ms of a beat annotation is a hit, each annotation met once (`wfdb`'s comparison). The first five
minutes of every record are left out, and so is ventricular flutter (between "[" and "]": record 207); the same with the
first five minutes is given too. All channels of a record are used. The baseline of the same run is a library's detector
(openecg.detect_qrs, Makowski's method) on the first channel. Gross figures count all beats of all records; intervals
come from drawing records with replacement.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import wfdb
from wfdb.processing import compare_annotations

from tools.beat_kinds import label_beats
from tools.beats import r_peaks
from tools.errors import UsageError
from tools.recording import read

BEATS = set("NLRBAaJSVrFejnE/fQ?")
VENTRICULAR, SUPRAVENTRICULAR = set("VEr"), set("AaJS")
WINDOW_S, LEARNING_S = 0.15, 300.0
Detector = Callable[[np.ndarray, float], np.ndarray]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of the MIT-BIH Arrhythmia Database")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures as JSON."""
    from openecg import detect_qrs

    folder = Path(arguments.data)
    names = sorted(path.stem for path in folder.glob("*.atr") if path.with_suffix(".hea").exists())
    if not names:
        raise UsageError(f"{folder} holds no annotated records: name the folder of the MIT-BIH database with --data")
    fused = [_score(folder / name, r_peaks) for name in names]
    single = [_score(folder / name, lambda x, fs_hz: detect_qrs(x[0], round(fs_hz))) for name in names]
    return {
        "what": "R peaks, MIT-BIH Arrhythmia Database, 150 ms",
        "records": len(names),
        "fused": _gross([score["late"] for score in fused]),
        "fused, first five minutes included": _gross([score["all"] for score in fused]),
        "openecg on channel 1": _gross([score["late"] for score in single]),
        "ventricular ectopic beats": _gross([score["ectopic"] for score in fused]),
        "per_record": {name: score["late"] for name, score in zip(names, fused, strict=True)},
    }


def _score(path: Path, detect: Detector) -> dict[str, list[int]]:
    """[hits, missed, false] from five minutes on, over all, and of ventricular ectopic beats from five minutes on."""
    [recording] = read(path.with_suffix(".hea"))
    annotation = wfdb.rdann(str(path), "atr")
    symbols, at = np.array(annotation.symbol), np.asarray(annotation.sample)
    is_beat = np.array([symbol in BEATS for symbol in symbols])
    flutter = _flutter(symbols, at)
    peaks = np.asarray(detect(recording.signal, recording.fs_hz), int)
    if detect is r_peaks:
        kinds = np.array(label_beats(recording.signal, recording.fs_hz, peaks))
    else:
        kinds = np.full(len(peaks), "N")
    start = round(LEARNING_S * recording.fs_hz)

    def count(reference: np.ndarray, found: np.ndarray, start: int) -> list[int]:
        reference, found = (_outside(x[x >= start], flutter) for x in (reference, found))
        if not len(reference) or not len(found):
            return [0, len(reference), len(found)]
        result = compare_annotations(reference, found, round(WINDOW_S * recording.fs_hz))
        return [int(result.tp), int(result.fn), int(result.fp)]

    ectopic = at[np.array([symbol in VENTRICULAR for symbol in symbols])]
    return {
        "late": count(at[is_beat], peaks, start),
        "all": count(at[is_beat], peaks, 0),
        "ectopic": count(ectopic, peaks[kinds == "V"], start),
    }


def _flutter(symbols: np.ndarray, at: np.ndarray) -> list[tuple[int, int]]:
    """Stretches of ventricular flutter or fibrillation, in samples."""
    return list(zip(at[symbols == "["].tolist(), at[symbols == "]"].tolist(), strict=False))


def _outside(samples: np.ndarray, stretches: list[tuple[int, int]]) -> np.ndarray:
    for start, end in stretches:
        samples = samples[(samples < start) | (samples > end)]
    return samples


def _gross(counts: list[list[int]]) -> dict[str, Any]:
    """Sensitivity and positive predictivity over all beats, with bootstrap 95 % intervals over records."""
    table = np.array(counts)
    draws = table[np.random.default_rng(0).integers(0, len(table), (2000, len(table)))].sum(1)
    hits, missed, false = (int(value) for value in table.sum(0))

    def share(wrong: int, column: int) -> dict[str, float]:
        low, high = np.nanquantile(draws[:, 0] / np.maximum(draws[:, 0] + draws[:, column], 1), (0.025, 0.975))
        return {"value": hits / max(hits + wrong, 1), "low": float(low), "high": float(high)}

    return {
        "beats": hits + missed,
        "missed": missed,
        "false": false,
        "sensitivity": share(missed, 1),
        "positive_predictivity": share(false, 2),
    }


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"MIT-BIH Arrhythmia Database, {figures['records']} records, 150 ms window, flutter of record 207 left out",
        f"{'':38}{'beats':>8}{'missed':>8}{'false':>8}{'sensitivity %':>24}{'positive predictivity %':>26}",
    ]
    for name, row in figures.items():
        if not isinstance(row, dict) or "beats" not in row:
            continue
        shares = [
            f"{100 * row[key]['value']:.2f} [{100 * row[key]['low']:.2f}, {100 * row[key]['high']:.2f}]"
            for key in ("sensitivity", "positive_predictivity")
        ]
        lines.append(f"{name:38}{row['beats']:>8}{row['missed']:>8}{row['false']:>8}{shares[0]:>24}{shares[1]:>26}")
    worst = sorted(figures["per_record"].items(), key=lambda item: -sum(item[1][1:]))[:5]
    lines.append("most errors (missed + false): " + ", ".join(f"{n} ({c[1]} + {c[2]})" for n, c in worst))
    lines.append("Thresholds were set on these records; it says nothing about fibrillation or paediatric recordings.")
    return "\n".join(lines)
