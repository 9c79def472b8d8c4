"""Signals in tables and arrays: CSV/TSV, NPY, NPZ.

Read as people write them: with or without a row of lead names, a time column, units in brackets or a row of
their own, leads in columns or in rows, comma, semicolon, tab or blanks between, decimal comma. The rate comes from
a time column or a line such as "Sample Rate,512 hertz"; the unit from a name such as "II (uV)", a row of units or a
line such as "Unit,µV". What is not said stays None and is asked for by `tools.healing`. Sizes are checked against
the file before an array is made; nothing is unpickled.
"""

from __future__ import annotations

import json
import math
import re
import zipfile
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from tools.errors import UnreadableFile
from tools.healing import Channels, volts
from tools.recording import KINDS, canonical_lead
from tools.safety import MAX_CHANNELS, MAX_FILE, MAX_LEADS, MAX_TEXT, MAX_VALUES, check_count, check_size

OWN_LINE = "# einthoven "  # begins the line of JSON that our own CSV files carry
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?|[+-]?(nan|inf)|NA|null|None|", re.I)
_CLOCK = re.compile(r"\[?'?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)'?\]?")
_TIME = re.compile(
    r"(elapsed[ _])?(time|zeit|t)(stamp)?[ _]*[\[(]?(s|secs?|seconds?|ms|milliseconds?|us)?[\])]?|ms|s|secs?|seconds?"
)
_INDEX = re.compile(r"(sample|index|idx|n|no|nr|#|sample[ _#]*(number|no|index)?|unnamed.*|)", re.I)
_RATE_LINE = re.compile(r"(?:\bfs(?:_hz)?|sampl\w*[ _]*(?:rate|freq\w*)|frequency)\W*?[\s:=,;\"]*(\d+(?:\.\d+)?)", re.I)
_UNIT_LINE = re.compile(r"\bunits?\b[\s:=,;\"']*([a-zµμ]+)", re.I)
_LEAD_LINE = re.compile(r"^\W*leads?\b[\s:=,;\"]+(.+)$", re.I | re.M)


# ---- CSV, TSV ------------------------------------------------------------------------------------------------------


def parse_csv(path: Path) -> Channels:
    """A table of numbers, and what the lines above it say."""
    check_size(path, MAX_TEXT, "a table")
    lines = [line for line in _decode(path.read_bytes()).splitlines() if line.strip()]
    separator = _separator(lines)
    start = next((row for row, line in enumerate(lines) if _is_numeric(_split(line, separator))), None)
    if start is None:
        return _rows_of_leads(lines, separator)
    rows = lines[start:]
    width = len(_split(rows[0], separator))
    check_count(min(width, len(rows)), max(width, len(rows)))
    titles, units = _titles([_split(line, separator) for line in lines[:start]], width)
    times = _clock_times(rows, separator)
    if times is not None:
        rows = [line.split(separator, 1)[1] for line in rows]
        titles, units = titles and titles[1:], units[1:]
    table = _numbers(rows, separator)
    if not titles and len(table) <= MAX_LEADS < table.shape[1]:  # leads in rows
        table = table.T
    found = _columns(table, titles, units, times)
    _apply_preamble(found, "\n".join(lines[:start]))
    return found


def _decode(raw: bytes) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _separator(lines: list[str]) -> str | None:
    """What stands between numbers; None for blanks. Judged by the last line, which is not a heading."""
    last = lines[-1] if lines else ""
    return next((mark for mark in ("\t", ";", ",") if mark in last), None)


def _split(line: str, separator: str | None) -> list[str]:
    return [field.strip().strip("\"'").strip() for field in line.split(separator)]


def _is_numeric(fields: list[str]) -> bool:
    """Numbers only (a clock time may come first), at least one of them."""
    first_is_time = len(fields) > 1 and _CLOCK.fullmatch(fields[0]) is not None
    rest = fields[1:] if first_is_time else fields
    return all(_NUMBER.fullmatch(field) for field in rest) and any(re.search(r"\d", field) for field in rest)


def _numbers(rows: list[str], separator: str | None) -> np.ndarray:
    """(rows, columns) float64; empty fields and NA are NaN."""
    text = "\n".join(rows)
    if separator in (";", "\t", None) and re.search(r"\d,\d", rows[0]):  # decimal comma
        text = text.replace(",", ".")
    text = re.sub(r"\b(NA|null|None)\b", "nan", text)
    if separator:
        mark = re.escape(separator)
        text = re.sub(rf"(?m)(^|(?<={mark}))[ \"']*(?={mark}|$)", "nan", text)
    text = text.replace('"', "").replace("'", "")
    try:
        table = np.loadtxt(text.split("\n"), delimiter=separator, ndmin=2, comments=None)
    except ValueError:
        raise UnreadableFile(
            "the table has rows of different length or words among its numbers: export it again"
        ) from None
    return table


def _rows_of_leads(lines: list[str], separator: str | None) -> Channels:
    """A lead a line, its name first: "V1,0.1,0.2,…"."""
    body = [line for line in lines if not line.startswith("#")]
    rows = [line.split(separator, 1) for line in body]
    if not rows or len(rows) > MAX_CHANNELS or any(len(row) < 2 for row in rows):
        raise UnreadableFile("text without a table of numbers: check that this is a recording")
    table = _numbers([row[1] for row in rows], separator)
    found = _columns(table.T, [_split(row[0], None)[0] if row[0].strip() else "" for row in rows], [], None)
    _apply_preamble(found, "\n".join(line for line in lines if line.startswith("#")))
    return found


def _titles(preamble: list[list[str]], width: int) -> tuple[list[str], list[str]]:
    """Lead names and units from the lines above the numbers that are as wide as the table."""
    wide = [
        fields
        for fields in preamble
        if len(fields) == width
        and not fields[0].startswith("#")
        and (width > 1 or not re.search(r"[\s:=,;]", fields[0]) or canonical_lead(fields[0]))
    ]
    if width == 2:  # "Sample Rate,512": a setting, not two leads
        wide = [
            fields
            for fields in wide
            if not re.search(r"\d{2,}|^(unit|lead)s?$", " ".join(fields[:1]) + fields[1], re.I)
        ]
    if len(wide) >= 2 and any(volts(field) for field in wide[-1]):
        return wide[-2], wide[-1]
    return (wide[-1], []) if wide else ([], [])


def _clock_times(rows: list[str], separator: str | None) -> np.ndarray | None:
    """(rows,) seconds from a first column such as 0:00.003, else None."""
    if separator is None or not _CLOCK.fullmatch(_split(rows[0], separator)[0]):
        return None
    matches = [_CLOCK.fullmatch(line.split(separator, 1)[0].strip().strip('"')) for line in rows]
    if not all(matches):
        raise UnreadableFile("the time column is not uniform: export it again")
    return np.array([int(m[1] or 0) * 3600 + int(m[2]) * 60 + float(m[3]) for m in matches if m])


def _columns(table: np.ndarray, titles: list[str], units: list[str], times: np.ndarray | None) -> Channels:
    """(samples, columns) and what stands above -> channels; a time column becomes the rate."""
    names = titles or [""] * table.shape[1]
    keep = [col for col in range(table.shape[1]) if names[col] or not np.isnan(table[:, col]).all()]
    rate, notes = None, []
    if times is not None:
        rate = _rate_of(times, 1.0)
    elif len(keep) > 1 and (step := _even_step(table[:, keep[0]])):
        title = names[keep[0]].lower()
        if _TIME.fullmatch(title) or _INDEX.fullmatch(title):
            rate, note = _rate_of_column(table[:, keep[0]], title, step)
            notes += [note] if note else []
            keep = keep[1:]
    elif len(keep) > 1 and titles and _TIME.fullmatch(names[keep[0]].lower()):
        raise UnreadableFile("the time column does not advance evenly: resample the signal or cut out a part")
    unit_of = [_unit_in(names[col]) or (units[col] if col < len(units) and units[col] else None) for col in keep]
    return Channels(
        signals=[np.ascontiguousarray(table[:, col]) for col in keep],
        names=[re.sub(r"[(\[].*?[)\]]", "", names[col]).strip() for col in keep],
        rates_hz=[rate] * len(keep),
        units=unit_of,
        gain=[None] * len(keep),
        warnings=notes,
    )


def _unit_in(title: str) -> str | None:
    """The unit in "II (mV)" or "II [uV]"."""
    match = re.search(r"[(\[]\s*([^)\]]{1,12}?)\s*[)\]]", title)
    return match[1] if match and (volts(match[1]) or match[1].lower() in ("bpm", "nu", "l/s", "l")) else None


def _even_step(column: np.ndarray) -> float | None:
    """The step of a column that rises evenly, else None."""
    if len(column) < 3 or not np.isfinite(column).all():
        return None
    step = (column[-1] - column[0]) / (len(column) - 1)
    if step <= 0:
        return None
    off = np.abs(column - (column[0] + step * np.arange(len(column))))
    return float(step) if off.max() <= 0.6 * step else None


def _rate_of(times: np.ndarray, per_second: float) -> float:
    """Samples a second; a whole number if the rounding of the times allows it."""
    step = _even_step(times)
    if step is None:
        raise UnreadableFile("the time column does not advance evenly: resample the signal or cut out a part")
    rate = per_second / step
    off = np.abs(times - (times[0] + step * np.arange(len(times)))).max()
    slack = rate * (2 * off / (times[-1] - times[0]) + 1e-6)
    return float(round(rate)) if abs(rate - round(rate)) <= slack and round(rate) else rate


def _rate_of_column(column: np.ndarray, title: str, step: float) -> tuple[float | None, str]:
    """The rate by a first column that rises evenly, and what was assumed; None if it only counts."""
    if re.search(r"\bms\b|milli", title):
        return _rate_of(column, 1e3), ""
    if re.search(r"\bus\b", title):
        return _rate_of(column, 1e6), ""
    if re.search(r"(^|[\W_])(s|secs?|seconds?)\b", title):
        return _rate_of(column, 1.0), ""
    if (_INDEX.fullmatch(title) and (title or step == 1)) or step == 1:
        return None, ""
    for per_second, unit in ((1.0, "seconds"), (1e3, "milliseconds")):
        if 2 < per_second / step <= 2000:
            rate = _rate_of(column, per_second)
            return rate, f"The first column was taken as time in {unit}, which makes {rate:g} Hz."
    return None, ""


def _apply_preamble(found: Channels, text: str) -> None:
    """Rate, unit, lead and, in our own files, everything else from the lines above the table."""
    own = next((line for line in text.split("\n") if line.startswith(OWN_LINE)), None)
    if own:
        _apply_own(found, json.loads(own[len(OWN_LINE) :]))
        return
    if match := _RATE_LINE.search(text):
        found.rates_hz = [rate or float(match[1]) or None for rate in found.rates_hz]
    if match := _UNIT_LINE.search(text):
        found.units = [unit or match[1] for unit in found.units]
    if (match := _LEAD_LINE.search(text)) and len(found.names) == 1 and not found.names[0]:
        found.names = [match[1].strip(" \"'")]


def _apply_own(found: Channels, said: dict[str, Any]) -> None:
    """What our own CSV or NPZ says of itself."""
    count = len(found.signals)
    fs_hz, unit, gain = said.get("fs_hz"), said.get("unit"), said.get("gain")
    if isinstance(fs_hz, (int, float)) and math.isfinite(fs_hz):
        found.rates_hz = [float(fs_hz)] * count
    if isinstance(unit, str):
        found.units = [unit] * count
    if isinstance(gain, list) and len(gain) == count and all(math.isfinite(step) and step > 0 for step in gain):
        found.gain = [float(step) for step in gain]
    found.kind = said["kind"] if said.get("kind") in KINDS else None
    found.meta |= said.get("meta") or {}


# ---- NPY, NPZ ------------------------------------------------------------------------------------------------------


def parse_npy(path: Path) -> Channels:
    """One array, (leads, samples) or (samples, leads)."""
    check_size(path, MAX_FILE, "an array")
    with path.open("rb") as file:
        array = _read_npy(file, path.stat().st_size)
    return _from_array(array, [])


def parse_npz(path: Path) -> Channels:
    """`signal` (or the only long array of numbers), and fs_hz or fs, leads, unit, kind, gain, meta."""
    with zipfile.ZipFile(path) as archive:
        arrays = {}
        for info in islice(archive.infolist(), 64):
            with archive.open(info) as file:
                arrays[info.filename.removesuffix(".npy")] = _read_npy(file, info.file_size)
    numeric = [key for key, array in arrays.items() if array.size > MAX_LEADS and array.dtype.kind in "iuf"]
    key = "signal" if "signal" in arrays else numeric[0] if len(numeric) == 1 else None
    if key is None:
        raise UnreadableFile("the NPZ has no array named signal: save it with the keys signal, fs_hz, leads, unit")
    leads = next((arrays[name] for name in ("leads", "sig_name", "names") if name in arrays), np.array([], "U1"))
    names = [str(name) for name in np.atleast_1d(leads)] if leads.dtype.kind == "U" else []
    found = _from_array(arrays[key], names)
    _apply_own(found, _said(arrays))
    return found


def _said(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What the small arrays of an NPZ say of the signal."""
    said: dict[str, Any] = {}
    for name, keys in (("fs_hz", ("fs_hz", "fs", "sampling_rate")), ("unit", ("unit", "units")), ("kind", ("kind",))):
        array = next((arrays[key] for key in keys if key in arrays), np.array([]))
        if array.size:
            said[name] = array.reshape(-1)[0].item()
    if "gain" in arrays:
        said["gain"] = arrays["gain"].reshape(-1).tolist()
    if "meta" in arrays and arrays["meta"].dtype.kind == "U":
        said["meta"] = json.loads(str(arrays["meta"].reshape(-1)[0]))
    return said


def _read_npy(file: IO[bytes], size: int) -> np.ndarray:
    """One .npy stream of `size` bytes, refused before memory is taken if its header promises more or other things."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise UnreadableFile("a version of NPY that is not read: save the array again")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(file)
    count = math.prod(shape)
    if dtype.hasobject or dtype.kind not in "iufbU":
        raise UnreadableFile("the array holds objects, which are not unpickled: save plain numbers")
    if min(shape, default=1) < 0 or count > MAX_VALUES or count * dtype.itemsize > size:
        raise UnreadableFile(
            f"the array promises {count:.3g} values, more than the file holds or is read: save it again"
        )
    raw = file.read(count * dtype.itemsize)
    return np.frombuffer(raw, dtype, count).reshape(shape, order="F" if fortran else "C")


def _from_array(array: np.ndarray, names: list[str]) -> Channels:
    """Leads are the short side, or the side that has as many entries as there are names."""
    if array.dtype.kind not in "iuf":
        raise UnreadableFile("the array holds no numbers: save the signal as numbers")
    array = np.squeeze(array) if array.ndim > 2 else array
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.size:
        raise UnreadableFile("the array is not (leads, samples): save one recording with two dimensions")
    if len(names) == array.shape[1] != array.shape[0] or (
        len(names) != array.shape[0] and array.shape[0] > array.shape[1]
    ):
        array = array.T
    check_count(*array.shape)
    if len(names) != len(array):
        names = [""] * len(array)
    count = len(array)
    return Channels(list(array), names, [None] * count, [None] * count, [None] * count)
