"""Lead II from a pulse wave on patients never seen, beside a mean beat set at each pulse.

    python -m training.evaluate ppg --data DIR/bidmc [--part validation] [--seconds 10] [--weights FILE]
    python -m training.evaluate ppg --data DIR/bidmc --part across

Each record is put through the tool whole (or cut into pieces of `--seconds`, each on its own) and compared in windows
of 10 s; windows in which the recorded pulse wave or lead II is flat or clipped are left out and counted. R peaks of the
recorded ECG come from all its leads.

heart rate    mean distance in bpm; a window without a rate counts with its whole rate
R peaks       F1 within 150 and 50 ms, and within 50 ms after the patient's own constant offset is taken off
r, RMSE       of recorded (0.5-40 Hz) and drawn lead II, mV, windows around their mean
Frechet       distance of real and drawn windows in the embedding of the default reader (encoders/reading.py)

`--part across` leaves the test patients alone: of all others, each is drawn by networks that are trained here on the
other three quarters (six minutes). What was chosen by a few of these patients, the threshold of a beat and the height
at which waves are drawn, stays as it is.

Baseline: the mean beat of the patients learnt from, set at each steepest rise of the pulse less their mean arrival
time. Every figure is a mean over patients with its bootstrap 95 % interval over patients. Not shown: other oximeters,
whose delay differs, and people outside intensive care.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from encoders.ppg import FILE, opened
from encoders.reading import FILE as READING
from encoders.reading import Reader
from encoders.vae import FS_HZ, SAMPLES
from tools import ppg, pulse
from tools.errors import UsageError
from tools.recording import Recording, read
from training import figures, ppg_data
from training import ppg as recipe
from training.evaluate_reconstruct import frechet
from training.vae import correlation

BEFORE_S, AFTER_S = 0.3, 0.5  # of the mean beat
BEATS = ("f1_150_ms", "f1_50_ms", "f1_50_ms_without_offset")
DRAWS = 200  # of the Frechet distance
KINDS = ("flow", "mean beat")
QUARTERS = 4  # of the patients, for `--part across`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=FILE)
    parser.add_argument("--part", choices=("validation", "test", "across"), default="test")
    parser.add_argument("--seconds", type=float, help="cut the records into pieces of this length")


def run(args: argparse.Namespace) -> dict[str, Any]:
    patients: list[dict[str, Any]] = []
    windows: dict[str, list[np.ndarray]] = {kind: [] for kind in ("real", *KINDS)}
    counts = {"kept": 0, "flat or clipped": 0, "fewer than four beats": 0}
    for weights, learnt, files in rounds(args):
        beat, late_s = mean_beat(learnt)
        for file in tqdm(files, desc="patients"):
            (recording,), (_, real, lost, r_s) = read(file, kind="ppg"), ppg_data.signals(file)
            made = {
                "flow": in_pieces(recording, args.seconds, weights, len(real)),
                "mean beat": placed(recording, beat, late_s, len(real)),
            }
            starts, said = kept(real, lost, r_s, max(one[2] for one in made.values()))
            counts = {key: counts[key] + said[key] for key in counts}
            if not len(starts):
                continue
            cut = {kind: np.stack([x[s : s + SAMPLES] for s in starts]) for kind, x in
                   {"real": real, **{kind: one[0] for kind, one in made.items()}}.items()}  # fmt: skip
            cut = {kind: x - x.mean(1, keepdims=True) for kind, x in cut.items()}
            for kind, x in cut.items():
                windows[kind].append(x)
            patients.append({kind: scored(made[kind][1], r_s, starts, cut[kind], cut["real"]) for kind in KINDS})
    out: dict[str, Any] = {"part": args.part, "seconds": args.seconds, "patients": len(patients), "windows": counts}
    for kind in KINDS:
        out[kind] = {name: _mean([one[kind][name] for one in patients]) for name in patients[0][kind]}
    ahead = [one["mean beat"]["rmse_mv"] - one["flow"]["rmse_mv"] for one in patients]
    out["rmse_ahead_mv"] = _mean(ahead)
    out["offset_ms"] = [round(one["flow"]["offset_ms"]) for one in patients]
    return out | {"frechet": distances(windows)}


def rounds(args: argparse.Namespace) -> Iterator[tuple[Path, list[ppg_data.Record], list[Path]]]:
    """Weights, the patients that they and the mean beat learnt from, and the files of those who are judged by them."""
    _, told = opened(args.weights)  # says at once what is missing
    if args.part != "across":
        seen = ("train",) if args.part == "validation" else ("train", "validation")
        files = sorted(ppg_data.folder(args.data).glob("*.hea"))
        yield (
            args.weights,
            ppg_data.load(args.data, seen),
            [one for one in files if ppg_data.part_of(one.stem) == args.part],
        )
        return
    records = ppg_data.load(args.data)
    for quarter in range(QUARTERS):
        judged = records[quarter::QUARTERS]
        learnt = [one for i, one in enumerate(records) if i % QUARTERS != quarter]
        with TemporaryDirectory() as out:
            words = ["--data", str(args.data), "--out", out, "--settled", str(told["threshold"])]
            with redirect_stdout(sys.stderr):  # what training says is no figure
                file = recipe.made(learnt, recipe.arguments().parse_args(words))
            yield file, learnt, [ppg_data.folder(args.data) / f"{one.name}.hea" for one in judged]


def mean_beat(records: list[ppg_data.Record]) -> tuple[np.ndarray, float]:
    """(samples,) mV around the R peak, and the mean arrival time in s, both a mean over patients."""
    span = np.arange(-round(BEFORE_S * FS_HZ), round(AFTER_S * FS_HZ))
    beats = []
    for one in records:
        at = np.round(one.r_s * FS_HZ).astype(int)
        at = at[(at + span[0] >= 0) & (at + span[-1] < len(one.ecg))]
        beats.append(one.height_mv * one.ecg[at[:, None] + span].mean(axis=0))
    return np.mean(beats, axis=0), float(np.mean([np.median(one.arrival_s) for one in records]))


def placed(recording: Recording, beat: np.ndarray, late_s: float, samples: int) -> tuple[np.ndarray, np.ndarray, int]:
    """The baseline's lead II (samples,) mV, its R peaks in s, and the first sample that it cannot tell."""
    wave = pulse.filtered(recording.signal[0].astype(float), recording.fs_hz)
    r_s = pulse.arrivals_s(-wave if pulse.upside_down(wave) else wave) - late_s
    at, first = np.arange(samples) / FS_HZ, round(BEFORE_S * FS_HZ)
    place = np.searchsorted((r_s[1:] + r_s[:-1]) / 2 + 0.05, at)  # a beat reaches further forward than back
    index = np.round((at - r_s[place]) * FS_HZ).astype(int) + first
    inside = (index >= 0) & (index < len(beat))
    return np.where(inside, beat[index.clip(0, len(beat) - 1)], 0.0), r_s[r_s >= 0], samples - round(late_s * FS_HZ)


def in_pieces(
    recording: Recording, seconds: float | None, weights: Path, samples: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """As `placed`, by the tool: the whole record, or pieces each on its own; a piece that is refused is flat."""
    step = recording.signal.shape[1] if seconds is None else round(seconds * recording.fs_hz)
    ecg, beats, last = np.zeros(samples), [], samples
    for start in range(0, recording.signal.shape[1] - step + 1, step):
        piece = Recording(recording.signal[:, start : start + step], recording.fs_hz, recording.leads, "ppg", "NU")
        try:
            made = ppg.estimated(piece, weights=weights)
        except UsageError:
            continue
        first = round(start / recording.fs_hz * FS_HZ)
        part = np.nan_to_num(made.ecg_mv)[: samples - first]
        ecg[first : first + len(part)] = part
        beats.append(made.r_s + start / recording.fs_hz)
        last = first + len(part)
    return ecg, np.concatenate(beats) if beats else np.empty(0), last


def kept(real: np.ndarray, lost: np.ndarray, r_s: np.ndarray, last: int) -> tuple[np.ndarray, dict[str, int]]:
    """First samples of the windows that are compared, and how many were left out and why."""
    starts, counts = [], {"kept": 0, "flat or clipped": 0, "fewer than four beats": 0}
    for start in range(0, min(last, len(real)) - SAMPLES + 1, SAMPLES):
        beats = np.sum((r_s * FS_HZ >= start) & (r_s * FS_HZ < start + SAMPLES))
        flat = lost[start : start + SAMPLES].mean() > ppg_data.MOST_LOST
        why = "flat or clipped" if flat else "fewer than four beats" if beats < 4 else "kept"
        counts[why] += 1
        starts += [start] if why == "kept" else []
    return np.array(starts, int), counts


def scored(
    found: np.ndarray, true: np.ndarray, starts: np.ndarray, made: np.ndarray, real: np.ndarray
) -> dict[str, float]:
    """Figures of one patient: R peaks in s, and windows (windows, SAMPLES) mV."""
    rates = [(_rate(true, start), _rate(found, start)) for start in starts]
    near = found[np.abs(found[:, None] - true[None]).argmin(0)] - true if len(found) else np.empty(0)
    near = near[np.abs(near) < 0.15]
    offset_s = float(np.median(near)) if len(near) else 0.0
    return {
        "rate_error_bpm": float(np.mean([abs((wanted or 0.0) - (told or 0.0)) for wanted, told in rates])),
        "f1_150_ms": f1(found, true, starts, 0.15),
        "f1_50_ms": f1(found, true, starts, 0.05),
        "f1_50_ms_without_offset": f1(found - offset_s, true, starts, 0.05),
        "r": float(correlation(made, real).mean()),
        "rmse_mv": float(np.sqrt(np.square(made - real).mean(1)).mean()),
        "offset_ms": 1000 * offset_s,
    }


def _rate(r_s: np.ndarray, start: int) -> float | None:
    inside = r_s[(r_s * FS_HZ >= start) & (r_s * FS_HZ < start + SAMPLES)]
    return float(60 * (len(inside) - 1) / (inside[-1] - inside[0])) if len(inside) > 1 else None


def f1(found: np.ndarray, true: np.ndarray, starts: np.ndarray, within_s: float) -> float:
    """Of R peaks in the windows; each is matched once. Partners may lie just outside the window."""
    pairs = matched(found, true, within_s)
    seen_found, seen_true = (_inside(one, starts) for one in (found, true))
    hit_found, hit_true = np.zeros(len(found), bool), np.zeros(len(true), bool)
    hit_found[[i for i, _ in pairs]] = hit_true[[j for _, j in pairs]] = True
    precise = (hit_found & seen_found).sum() / max(seen_found.sum(), 1)
    recalled = (hit_true & seen_true).sum() / max(seen_true.sum(), 1)
    return float(2 * precise * recalled / max(precise + recalled, 1e-9))


def _inside(r_s: np.ndarray, starts: np.ndarray) -> np.ndarray:
    return np.isin((r_s * FS_HZ // SAMPLES).astype(int), starts // SAMPLES)


def matched(found: np.ndarray, true: np.ndarray, within_s: float) -> list[tuple[int, int]]:
    """Pairs of (found, true) no further apart than `within_s`, nearest first, each in one pair."""
    apart = np.abs(found[:, None] - true[None])
    pairs, free_found, free_true = [], np.ones(len(found), bool), np.ones(len(true), bool)
    at = np.argwhere(apart <= within_s)
    for i, j in at[np.argsort(apart[tuple(at.T)], kind="stable")]:
        if free_found[i] and free_true[j]:
            pairs.append((int(i), int(j)))
            free_found[i] = free_true[j] = False
    return pairs


def distances(windows: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """Frechet distance of each kind from the real windows; intervals over patients, of the difference in pairs."""
    reader = Reader(READING)
    seen = {kind: [embedded(reader, one) for one in of] for kind, of in windows.items()}
    rng, count = np.random.default_rng(0), len(windows["real"])

    def far(rows: np.ndarray) -> list[float]:
        every = {kind: np.concatenate([one[row] for row in rows]) for kind, one in seen.items()}
        return [frechet(every["real"], every[kind]) for kind in KINDS]

    whole = far(np.arange(count))
    drawn = np.array([far(rng.integers(0, count, count)) for _ in tqdm(range(DRAWS), desc="Frechet")])
    out: dict[str, Any] = {
        kind: {"distance": round(value, 4), "interval": _span(drawn[:, i])}
        for i, (kind, value) in enumerate(zip(KINDS, whole, strict=True))
    }
    return out | {"ahead": round(whole[1] - whole[0], 4), "ahead_interval": _span(drawn[:, 1] - drawn[:, 0])}


@torch.inference_mode()
def embedded(reader: Reader, ecg: np.ndarray) -> np.ndarray:
    """(windows, SAMPLES) mV of lead II -> (windows, features) of the default reader's network."""
    signal = torch.from_numpy(ecg[:, None].astype(np.float32))
    lead = torch.ones(len(ecg), 1, dtype=torch.long)
    given = (signal, torch.ones_like(signal, dtype=torch.bool), lead, torch.ones_like(lead, dtype=torch.bool))
    parts = zip(*(one.split(32) for one in given), strict=True)
    return torch.cat([reader.net(*part)["embedding"] for part in parts]).numpy().astype(np.float64)


def _mean(values: list[float]) -> dict[str, Any]:
    return {
        "mean": round(float(np.mean(values)), 4),
        "interval": [round(one, 4) for one in figures.interval(np.array(values))],
    }


def _span(values: np.ndarray) -> list[float]:
    return [round(float(one), 4) for one in np.percentile(values, [2.5, 97.5])]


def table(out: dict[str, Any]) -> str:
    counts = out["windows"]
    whose = (
        f"{out['patients']} {out['part']} patients"
        if out["part"] != "across"
        else (f"{out['patients']} patients who are not of the test, each by networks that did not see them")
    )
    whole = "whole records" if out["seconds"] is None else f"pieces of {out['seconds']:g} s"
    lines = [
        f"BIDMC, {whose}, {whole}; {counts['kept']} windows of 10 s, left out: "
        f"{counts['flat or clipped']} flat or clipped, {counts['fewer than four beats']} with fewer than four beats"
    ]
    words = {
        "rate_error_bpm": "heart rate off by, bpm", "f1_150_ms": "R peaks, F1 within 150 ms",
        "f1_50_ms": "R peaks, F1 within 50 ms", "f1_50_ms_without_offset": "... without each patient's offset",
        "r": "Pearson r", "rmse_mv": "RMSE, mV",
    }  # fmt: skip
    lines.append(f"{'':36s}" + "".join(f"{kind:28s}" for kind in KINDS))
    for name, said in words.items():
        cells = [f"{out[kind][name]['mean']:.3f} {out[kind][name]['interval']}" for kind in KINDS]
        lines.append(f"{said:36s}" + "".join(f"{cell:28s}" for cell in cells))
    far = out["frechet"]
    cells = [f"{far[kind]['distance']:.3f} {far[kind]['interval']}" for kind in KINDS]
    lines.append(f"{'Frechet distance':36s}" + "".join(f"{cell:28s}" for cell in cells))
    ahead = out["rmse_ahead_mv"]
    lines.append(
        f"flow ahead of the mean beat: RMSE by {ahead['mean']:.4f} mV {ahead['interval']}, Frechet distance by "
        f"{far['ahead']:.3f} {far['ahead_interval']}; offsets of the patients, ms: {out['offset_ms']}"
    )
    return "\n".join(lines)
