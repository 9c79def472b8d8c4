"""Keep a recording as WFDB, CSV or NPZ so that it reads back equal, and never half.

WFDB holds whole steps. The recording's own gain is used where its values lie on those steps; else 1000 steps/mV
(1 µV); else the finest power of ten that 16 bits can hold, 0.1 µV for an ECG, which rounds. CSV and NPZ keep every
value as it is.

    write_wfdb(recording, Path("out/ecg"))  # out/ecg.hea, out/ecg.dat; also through tools.recording.write
"""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tools.errors import UsageError
from tools.recording import META_FIELDS, Recording
from tools.safety import quiet
from tools.tables import OWN_LINE

_WIDTHS = (("16", 2**15 - 1), ("24", 2**23 - 1), ("32", 2**31 - 1))  # WFDB formats and their largest value


def write_wfdb(recording: Recording, path: Path) -> Path:
    """`path`.hea and `path`.dat; the header's path."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem if path.suffix in (".hea", ".dat") else path.name) or "record"
    steps = [_steps(row, recording.gain[n] if recording.gain else None) for n, row in enumerate(recording.signal)]
    largest = max((int(np.abs(digital).max(initial=0)) for digital, _ in steps), default=0)
    width, limit = next((pair for pair in _WIDTHS if largest <= pair[1]), (None, 0))
    if width is None:
        raise UsageError("the values are too large for WFDB: write CSV or NPZ")
    missing = np.isnan(recording.signal)
    digital = np.where(missing, -limit - 1, np.stack([row for row, _ in steps]))
    with quiet(), _appear(path.parent, (f"{name}.dat", f"{name}.hea")) as folder:
        import wfdb

        wfdb.wrsamp(
            name,
            fs=int(recording.fs_hz) if recording.fs_hz == int(recording.fs_hz) else recording.fs_hz,
            units=[recording.unit] * len(recording.leads),
            sig_name=list(recording.leads),
            d_signal=np.ascontiguousarray(digital.T),
            fmt=[width] * len(recording.leads),
            adc_gain=[gain for _, gain in steps],
            baseline=[0] * len(recording.leads),
            comments=_comments(recording),
            write_dir=str(folder),
        )
    return path.parent / f"{name}.hea"


def write_csv(recording: Recording, path: Path) -> Path:
    """A line that says rate, unit and the rest, a line of lead names, then a sample a line."""
    path = path.with_suffix(".csv")
    with _appear(path.parent, (path.name,)) as folder, (folder / path.name).open("w", encoding="utf-8") as file:
        file.write(OWN_LINE + json.dumps(_said(recording)) + "\n" + ",".join(recording.leads) + "\n")
        np.savetxt(file, recording.signal.T, fmt="%.9g", delimiter=",")  # nine digits hold any float32
    return path


def write_npz(recording: Recording, path: Path) -> Path:
    """Arrays `signal`, `fs_hz`, `leads`, `unit`, `kind`, `gain` if known, and `meta` as JSON."""
    path = path.with_suffix(".npz")
    said = _said(recording)
    arrays: dict[str, Any] = {key: np.array(said[key]) for key in ("fs_hz", "unit", "kind", "gain") if key in said}
    arrays |= {"leads": np.array(recording.leads), "meta": np.array(json.dumps(said["meta"]))}
    with _appear(path.parent, (path.name,)) as folder:
        np.savez(folder / path.name, signal=recording.signal, **arrays)
    return path


WRITERS = {"wfdb": write_wfdb, "csv": write_csv, "npz": write_npz}


def _steps(row: np.ndarray, gain: float | None) -> tuple[np.ndarray, float]:
    """(samples,) whole steps of one lead (0 where missing), and steps per unit."""
    values = np.nan_to_num(row.astype(np.float64), nan=0.0)
    peak = float(np.abs(values).max(initial=0))
    finest = 10.0 ** min(max(math.floor(math.log10(_WIDTHS[0][1] / peak)), 0), 6) if peak else 1000.0
    for candidate in (float(gain or 1000), 1000.0, 10_000.0, finest):
        digital = np.rint(values * candidate)
        if np.array_equal((digital / candidate).astype(np.float32), values.astype(np.float32)):
            break
    return digital.astype(np.int64), candidate


def _said(recording: Recording) -> dict[str, Any]:
    said: dict[str, Any] = {"fs_hz": recording.fs_hz, "unit": recording.unit, "kind": recording.kind}
    if recording.gain:
        said["gain"] = [float(gain) for gain in recording.gain]
    return said | {
        "meta": {key: recording.meta[key] for key in META_FIELDS[:4] + META_FIELDS[5:] if key in recording.meta}
    }


def _comments(recording: Recording) -> list[str]:
    """The whitelisted fields as LUDB and BIDMC write them: "<age>: 51"."""
    said: dict[str, Any] = {"kind": recording.kind, **_said(recording)["meta"]}
    return [f"<{key}>: {str(value).lower() if isinstance(value, bool) else value}" for key, value in said.items()]


@contextmanager
def _appear(target: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """A folder to write in; its files move to `target` only when all are whole."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target, prefix=".writing-") as folder:
            yield Path(folder)
            for name in names:
                os.replace(Path(folder) / name, target / name)
    except OSError:
        raise UsageError(
            "the recording cannot be written there: check the folder's permissions and free space"
        ) from None
