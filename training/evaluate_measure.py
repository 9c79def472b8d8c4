"""`measure_ecg` against cardiologists' marks (LUDB: 12 leads, 10 s, onset and end of P, QRS and T in every lead).

    python -m training.evaluate measure --data DIR/ludb [--json]

The reference is global as the measurement is: for each lead the median over the measured beats of the cardiologists'
mark (ms from R); then the third earliest lead for an onset and the third latest for an end, so that at least three
leads agree and one hasty mark does not decide ("first" instead of third is given beside it). Errors are measured
minus marked, one number a record: mean ± SD with bootstrap 95 % intervals over records.
The baseline of the same run is the library alone: openecg on lead II, median over the same beats.
Beside them stand the limits of the CSE Working Party (2 SD of the referees; Eur Heart J 1985;6:815).

The records fall into halves A and B by a hash of their number. The last settings were chosen on A, but the first
scans of the QRS, P and T thresholds saw both, so B is not untouched. What this does not show: openecg was trained
on a part of LUDB, so P and T lean on seen records; the QRS marks do not use it.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import wfdb

from tools.errors import UsageError
from tools.measure import measure_ecg
from tools.recording import LEADS, Recording, read

CSE_2SD_MS = {"p_on": 10.2, "p_off": 12.7, "qrs_on": 6.5, "qrs_off": 11.6, "t_off": 30.6}
WAVES = {"p": ("p_on", "p_off"), "N": ("qrs_on", "qrs_off"), "t": ("t_on", "t_off")}
QUANTITIES = (*CSE_2SD_MS, "pr", "qrs", "qt")
AGREEING = 3  # leads
LEAST_LEADS = 6
Times = dict[str, float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder of LUDB."""
    parser.add_argument("--data", type=Path, required=True, help="folder of LUDB")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Figures as JSON."""
    folder = Path(arguments.data)
    folder = folder / "data" if (folder / "data").is_dir() else folder
    headers = sorted((file for file in folder.glob("*.hea") if file.stem.isdigit()), key=lambda file: int(file.stem))
    if not headers:
        raise UsageError(f"{folder} holds no LUDB records: name the folder of LUDB with --data")
    rows = [_record(header) for header in headers]
    halves = {half: [row for row in rows if row["half"] == half] for half in "AB"}
    rates = [row["rate_error_bpm"] for row in rows if row["rate_error_bpm"] is not None]
    return {
        "what": "measure_ecg, LUDB, measured minus marked, ms",
        "records": len(rows),
        "reference": f"median over beats, then lead number {AGREEING} from the outside",
        "measured": _errors(rows, "measured", "third"),
        "half A": _errors(halves["A"], "measured", "third"),
        "half B": _errors(halves["B"], "measured", "third"),
        "measured, outermost lead": _errors(rows, "measured", "first"),
        "openecg on lead II": _errors(rows, "single", "third"),
        "heart rate within 1 bpm": {"share": float(np.mean(np.abs(rates) <= 1)), "records": len(rates)},
        "p waves": _presence(rows),
        "per_record": {row["name"]: {key: row[key] for key in ("measured", "third")} for row in rows},
    }


def _record(header: Path) -> dict[str, Any]:
    [recording] = read(header)
    result = measure_ecg(recording)
    r_s = np.array(result["marks_s"]["qrs_on"]) - (result["global"]["qrs_on_ms"] or 0) / 1000
    marks = {lead: _marks(header, lead) for lead in recording.leads if lead in LEADS}
    matched = [_match(waves, r_s) for waves in marks.values()]
    found = {key: value for key in CSE_2SD_MS if (value := result["global"][f"{key}_ms"]) is not None}
    digest = int(hashlib.sha256(header.stem.encode()).hexdigest(), 16)
    return {
        "name": header.stem,
        "half": "AB"[digest % 2],
        "measured": _with_intervals(found),
        "third": _with_intervals(_global(matched, AGREEING - 1)),
        "first": _with_intervals(_global(matched, 0)),
        "single": _with_intervals(_library_alone(recording, r_s)),
        "rate_error_bpm": _rate_error(marks, result["r_peaks_s"]),
    }


def _marks(header: Path, lead: str) -> list[tuple[str, float, float, float]]:
    """(wave of WAVES, onset, peak, end) in seconds of one lead, complete waves only."""
    annotation = wfdb.rdann(str(header.with_suffix("")), lead.lower())
    rate = annotation.fs or 500
    waves, onset, peak = [], None, None
    for symbol, sample in zip(annotation.symbol, annotation.sample, strict=True):
        if symbol == "(":
            onset, peak = sample, None
        elif symbol == ")":
            if onset is not None and peak is not None:
                waves.append((peak[0], onset / rate, peak[1] / rate, sample / rate))
            onset = peak = None
        else:
            peak = (symbol, sample)
    return waves


def _match(waves: list[tuple[str, float, float, float]], r_s: np.ndarray) -> Times:
    """Median over the beats at `r_s` of each mark of one lead, ms from R; marks seen in under half of them left out."""
    found: dict[str, list[float]] = {}
    for r in r_s:
        for kind, onset, end in _of_beat(waves, r):
            for key, at in zip(WAVES[kind], (onset, end), strict=True):
                found.setdefault(key, []).append((at - r) * 1000)
    most = len(found.get("qrs_on", ()))
    return {key: float(np.median(values)) for key, values in found.items() if 2 * len(values) >= most}


def _of_beat(waves: list[tuple[str, float, float, float]], r: float) -> list[tuple[str, float, float]]:
    """The QRS at `r` with the P right before it and the T right after it."""
    for i, (kind, onset, _, end) in enumerate(waves):
        if kind == "N" and onset - 0.06 <= r <= end + 0.06:
            beat = [("N", onset, end)]
            if i and waves[i - 1][0] == "p" and onset - waves[i - 1][1] < 0.4:
                beat.append(("p", waves[i - 1][1], waves[i - 1][3]))
            if i + 1 < len(waves) and waves[i + 1][0] == "t" and waves[i + 1][1] - end < 0.5:
                beat.append(("t", waves[i + 1][1], waves[i + 1][3]))
            return beat
    return []


def _global(leads: list[Times], rank: int) -> Times:
    """The `rank`-th earliest onset and latest end over the leads."""
    out = {}
    for key in CSE_2SD_MS:
        values = sorted((lead[key] for lead in leads if key in lead), reverse=key.endswith("off"))
        if len(values) >= LEAST_LEADS:
            out[key] = values[rank]
    return out


def _library_alone(recording: Recording, r_s: np.ndarray) -> Times:
    """openecg on lead II: median over the beats at `r_s`."""
    import openecg

    lead = recording.lead("II") if "II" in recording.leads else recording.signal[0]
    codec = openecg.encode(lead, fs=500, model=_codec())
    kinds = {1: "p", 2: "N", 3: "t"}
    events = codec.events("frame", drop_class=0)
    return _match([(kinds[k], a / 500, a / 500, b / 500) for a, b, k in events if k in kinds], r_s)


def _codec() -> Any:
    import openecg

    if not hasattr(_codec, "model"):
        _codec.model = openecg.load_codec_onnx()  # type: ignore[attr-defined]
    return _codec.model  # type: ignore[attr-defined]


def _with_intervals(at: Times) -> Times:
    pairs = {"pr": ("p_on", "qrs_on"), "qrs": ("qrs_on", "qrs_off"), "qt": ("qrs_on", "t_off")}
    return {**at, **{name: at[b] - at[a] for name, (a, b) in pairs.items() if a in at and b in at}}


def _rate_error(marks: dict[str, list], r_peaks_s: list[float]) -> float | None:
    """Measured minus marked rate in bpm, over the stretch the cardiologists marked."""
    leads = [np.array([wave[2] for wave in waves if wave[0] == "N"]) for waves in marks.values()]
    counts = [len(peaks) for peaks in leads]
    usual = max(set(counts), key=counts.count)
    marked = np.median([peaks for peaks in leads if len(peaks) == usual], axis=0)
    found = np.array([t for t in r_peaks_s if marked[0] - 0.15 <= t <= marked[-1] + 0.15])
    if len(marked) < 2:
        return None
    return 60 / float(np.diff(found).mean()) - 60 / float(np.diff(marked).mean()) if len(found) > 1 else 60.0


def _presence(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How often P waves were marked and measured."""
    marked, measured = (np.array(["p_on" in row[key] for row in rows]) for key in ("third", "measured"))
    return {
        "marked and measured": int((marked & measured).sum()),
        "marked, not measured": int((marked & ~measured).sum()),
        "not marked, measured": int((~marked & measured).sum()),
        "neither": int((~marked & ~measured).sum()),
    }


def _errors(rows: list[dict[str, Any]], by: str, against: str) -> dict[str, Any]:
    """Mean and SD of the error of every quantity, each with a bootstrap 95 % interval."""
    out = {}
    for key in QUANTITIES:
        error = np.array([row[by][key] - row[against][key] for row in rows if key in row[by] and key in row[against]])
        if len(error) > 2:
            out[key] = {
                "records": len(error),
                "mean": float(error.mean()),
                "mean_95": _interval(error, np.mean),
                "sd": float(error.std(ddof=1)),
                "sd_95": _interval(error, np.std),
            }
    return out


def _interval(error: np.ndarray, statistic: Callable[..., np.ndarray]) -> list[float]:
    draws = np.random.default_rng(0).integers(0, len(error), (2000, len(error)))
    return [float(value) for value in np.quantile(statistic(error[draws], axis=1), (0.025, 0.975))]


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    named = ("measured", "half A", "half B", "measured, outermost lead", "openecg on lead II")
    lines = [
        f"LUDB, {figures['records']} records, measured minus marked in ms: mean ± SD [95 % of SD]",
        f"reference: {figures['reference']}",
        f"{'':9}{'CSE 2 SD':>9}" + "".join(f"{name:>27}" for name in named),
    ]
    for key in QUANTITIES:
        cells = []
        for name in named:
            row = figures[name].get(key)
            text = f"{row['mean']:.1f} ± {row['sd']:.1f} [{row['sd_95'][0]:.1f}, {row['sd_95'][1]:.1f}]" if row else "-"
            cells.append(f"{text:>27}")
        lines.append(f"{key:9}{CSE_2SD_MS.get(key, '-'):>9}" + "".join(cells))
    rate = figures["heart rate within 1 bpm"]
    lines.append(f"heart rate within 1 bpm: {100 * rate['share']:.1f} % of {rate['records']} records")
    lines.append("P waves: " + ", ".join(f"{name} {count}" for name, count in figures["p waves"].items()))
    lines.append("Thresholds were last set on half A; first scans saw both halves.")
    lines.append("openecg was trained on a part of LUDB: P and T lean on it, QRS does not.")
    return "\n".join(lines)
