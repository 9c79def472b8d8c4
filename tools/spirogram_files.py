"""Forced expirations in tables: volume over time, flow over time or flow over volume, one blow or several.

    time (s),volume (L)                         one blow
    time (s),volume 1 (L),volume 2 (L)          several, in columns; "manoeuvre 1 (L)" and "trial 1 volume (L)" too
    manoeuvre,time (s),volume (mL)              several, one below the other; a time that starts again does as well
    volume (L),flow (L/s)                       flow-volume curves; time follows from dv / flow
    time (ms);Vol [mL];Flow [L/min]             where there is volume, flow is not needed

The words that are known stand in `WORDS`, units in `UNITS` (in brackets, after an underscore, or in a row of their
own): what a device exports under other names is renamed to these. Volume is exhaled volume, as it rises in a
volume-time curve. "Age,45" and "Sex,F" above the table are kept. What is not said (rate, unit) is asked for and never
guessed.

    spirogram_in(path, fs_hz=None, unit=None, kind=None)   # a Recording, or None if the table is of something else
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools import tables
from tools.errors import NeedsFields, UnreadableFile
from tools.recording import META_FIELDS, Recording
from tools.safety import MAX_LEADS, MAX_TEXT, RATE_HZ, check_count, check_size
from tools.spirometry import from_flow_volume, volume_of_flow

MOST_BYTES = 4 << 20  # eight blows of 15 s at 1,000 Hz take two; each byte costs some fifty of memory

WORDS = {
    "time": "time t zeit temps tiempo elapsed seconds sec s ms",
    "volume": "volume vol volumen fvc",
    "flow": "flow fluss flux debit débit flujo",
    "number": "manoeuvre maneuver manoeuver trial effort blow attempt versuch essai",
    "ignored": "sample samples index idx n no nr row id point",
    "plain": "exhaled expired expiratory forced curve signal",  # say nothing more
}
HOLE_S = 0.1
UNITS = {
    "time": {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "milliseconds": 1e-3},
    "volume": {"l": 1.0, "litre": 1.0, "litres": 1.0, "liter": 1.0, "liters": 1.0, "ml": 1e-3, "cc": 1e-3, "cl": 1e-2},
    "flow": {"l/s": 1.0, "lps": 1.0, "ml/s": 1e-3, "mlps": 1e-3, "l/min": 1 / 60, "lpm": 1 / 60},
}
USUAL_HZ = 100.0  # for curves without even times
LONGEST_S = 120.0
HEAD = 1 << 16  # bytes within which the titles stand
_ROLE = {word: role for role, words in WORDS.items() for word in words.split()}
_UNIT = re.compile(r"[(\[]\s*(?:in\s+)?([a-z/]{1,12})\s*[)\]]|_(l|ml|s|ms|lps|mlps|lpm)$")
_META = re.compile(r"^\W*(age|sex|gender)\b[^,;:\t]{0,12}[,;:\t=]+\s*\"?([\w.]+)", re.I)


@dataclass(frozen=True)
class Column:
    role: str  # of WORDS
    unit: float | None  # in s, L or L/s; None where the title does not say
    number: int | None  # of the blow, where the title has one


def spirogram_in(
    path: Path, *, fs_hz: float | None = None, unit: str | None = None, kind: str | None = None
) -> Recording | None:
    """The blows in a table, (manoeuvres, samples) L; None where its titles do not name volume or flow.

    A table with one flow column and nothing else is left to tools/tables.py.

    Raises
    ------
    NeedsFields, UnreadableFile : as `tools.recording.read`.
    """
    if kind not in (None, "all", "spirogram"):
        return None
    check_size(path, MAX_TEXT, "a table")
    with path.open("rb") as file:
        head = tables._text(file.read(HEAD).removeprefix(b"\xef\xbb\xbf").splitlines(keepends=True))[
            : tables.HEAD_LINES
        ]
    if own := next((line for line in head if line.startswith(tables.OWN_LINE)), None):
        said = json.loads(own[len(tables.OWN_LINE) :])
        if said.get("kind") != "spirogram" or said.get("unit") != "L":
            return None
        check_size(path, MOST_BYTES, "a table of blows")
        return _ours(path, said)
    separator = tables._separator([line for line in head if line.strip()])
    start = 0
    for line in head:
        start += 1
        columns = [_column(line)] if separator is None else []  # "volume (L)" has a blank in it
        if None in columns or not columns:
            columns = [_column(field) for field in tables._split(line, separator)]
        roles = [column.role for column in columns if column]
        if None not in columns and {"volume", "flow"} & set(roles):
            break
        if tables._is_numeric(line, separator):
            return None
    else:
        return None
    known = [column for column in columns if column]
    numbered = "number" in roles or any(column.number is not None for column in known)
    if "volume" not in roles and roles.count("flow") == 1 and not numbered:
        return None
    meta = _above(head[: start - 1])
    warnings: list[str] = []
    if start < len(head) and (units := _unit_row(tables._split(head[start], separator), known)):
        known, start = units, start + 1
    check_size(path, MOST_BYTES, "a table of blows")
    table = _values(path, start, separator, len(known))
    known = _with_unit(known, unit)
    parts = _blows(known, table)
    check_count(len(parts), max(len(part["rows"]) for part in parts))
    if len(parts) > MAX_LEADS:
        raise UnreadableFile(f"the table holds {len(parts)} manoeuvres, at most {MAX_LEADS} are read")
    parts = _without_holes(parts, fs_hz, warnings)
    rate = _rate(parts, fs_hz, warnings)
    curves = [_curve(part, rate) for part in parts]
    return _recording(curves, rate, meta, warnings)


def _column(title: str) -> Column | None:
    """What a title says, None if a word of it is unknown."""
    text = title.lower().strip()
    found = _UNIT.search(text)
    unit = (found[1] or found[2]) if found else None
    text = _UNIT.sub(" ", text)
    words = re.findall(r"[^\W\d_]+", text)
    number = re.findall(r"\d+", text)
    roles = {_ROLE.get(word) for word in words} - {"plain"}
    if len(number) > 1 or None in roles or len(roles & set(UNITS)) > 1:
        return None
    by_unit = next((role for role, units in UNITS.items() if unit in units), None)
    role: str | None = next((role for role in ("flow", "volume", "time", "ignored") if role in roles), None)
    if role is None and "number" in roles:  # "trial 1 (L)" is a curve, "trial" counts
        role = by_unit or "number"
    if role is None or (unit is not None and (role not in UNITS or unit not in UNITS[role])):
        return None
    if role == "time" and not found and words[-1:] == ["ms"]:
        unit = "ms"
    scale = UNITS[role][unit] if unit is not None else 1.0 if role not in ("volume", "flow") else None
    return Column(role, scale, int(number[0]) if number and role != "ignored" else None)


def _unit_row(fields: list[str], columns: list[Column]) -> list[Column] | None:
    """The columns with the units of a row below the titles, None if it is no such row."""
    words = [re.sub(r"[\s()\[\]]", "", field).lower() for field in fields]
    if len(words) != len(columns) or not any(words):
        return None
    if not all(
        word in UNITS.get(column.role, {"": 1}) or not word for word, column in zip(words, columns, strict=True)
    ):
        return None
    return [
        Column(column.role, UNITS[column.role][word] if word else column.unit, column.number)
        for word, column in zip(words, columns, strict=True)
    ]


def _with_unit(columns: list[Column], given: str | None) -> list[Column]:
    """Columns whose unit is known, by what the caller gave where the file is silent."""
    text = (given or "").lower()
    out = []
    for column in columns:
        unit = column.unit
        if unit is None and column.role in ("volume", "flow"):
            unit = UNITS[column.role].get(text)
            if unit is None and any(other.role == "volume" and other.unit for other in columns):
                unit = 1.0 if column.role == "flow" else None  # a flow beside a volume is not read
        if unit is None and column.role == "volume":
            raise NeedsFields("the file does not say its unit (--unit L or mL): give it", ("unit",))
        if unit is None and column.role == "flow":
            raise NeedsFields("the file does not say its unit (--unit L/s or mL/s): give it", ("unit",))
        out.append(Column(column.role, unit, column.number))
    return out


def _values(path: Path, start: int, separator: str | None, width: int) -> np.ndarray:
    """(rows, columns) float64 below the titles."""
    raw = b"".join(path.read_bytes().splitlines(keepends=True)[start:])
    first = next((line for line in raw.decode("latin-1").splitlines() if line.strip()), "")
    if not tables._is_numeric(first, separator):
        raise UnreadableFile("there are no numbers below the titles of the table: export it again")
    table, clock = tables._numbers(raw, separator, first)
    if clock is not None:
        table = np.column_stack([clock - clock[0], table])
    if table.shape[1] != width:
        raise UnreadableFile("the table has more or fewer numbers in a row than titles: export it again")
    return table


def _above(lines: list[str]) -> dict[str, Any]:
    """Age and sex from the lines above the table."""
    meta: dict[str, Any] = {}
    for line in lines:
        if match := _META.match(line):
            if match[1].lower() == "age" and re.fullmatch(r"\d{1,3}(\.\d+)?", match[2]) and float(match[2]) <= 120:
                meta["age"] = float(match[2])
            elif match[2][:1].upper() in ("F", "M"):
                meta["sex"] = match[2][:1].upper()
    return meta


def _blows(columns: list[Column], table: np.ndarray) -> list[dict[str, Any]]:
    """{"time", "volume", "flow": (samples,) or None, "rows"} of each blow, in s, L and L/s."""
    at = {role: [n for n, column in enumerate(columns) if column.role == role] for role in WORDS}
    values = table * np.array([column.unit for column in columns], float)
    if at["number"]:
        marks = table[:, at["number"][0]]
        pieces = [np.flatnonzero(marks == mark) for mark in dict.fromkeys(marks[np.isfinite(marks)])]
    else:
        time = values[:, at["time"][0]] if at["time"] else np.zeros(0)
        again = np.flatnonzero(np.diff(time) < 0) + 1
        pieces = np.split(np.arange(len(table)), again)
    curves = max(len(at["volume"]), len(at["flow"]))
    if min(len(at["volume"]) or curves, len(at["flow"]) or curves, len(at["time"]) or 1) not in (1, curves):
        raise UnreadableFile("volume and flow columns do not pair up: give each manoeuvre both, or one of them")

    def of(role: str, n: int, rows: np.ndarray) -> np.ndarray | None:
        if not at[role]:
            return None
        return values[rows, at[role][n if len(at[role]) > 1 else 0]]

    parts = []
    for rows in pieces:
        for n in range(curves):
            part: dict[str, Any] = {role: of(role, n, rows) for role in ("time", "volume", "flow")}
            curve = part["flow"] if part["volume"] is None else part["volume"]
            keep = np.isfinite(curve)
            if keep.sum() < 5:
                continue
            if part["time"] is None:  # a gap takes its time
                keep = np.maximum.accumulate(keep) & np.maximum.accumulate(keep[::-1])[::-1]
            parts.append({role: None if x is None else x[keep] for role, x in part.items()} | {"rows": rows})
    if not parts:
        raise UnreadableFile("the file holds no valid sample: every value is missing")
    return parts


def _rate(parts: list[dict[str, Any]], given: float | None, warnings: list[str]) -> float:
    """Samples a second for all blows."""
    if parts[0]["time"] is None:
        if parts[0]["volume"] is not None and parts[0]["flow"] is not None:
            return USUAL_HZ
        if given is None:
            raise NeedsFields("the file does not say its sampling rate (--fs-hz): give it", ("fs_hz",))
        rate = given
    else:
        step = [tables._even_step(part["time"]) for part in parts]
        if all(step):
            rate = min(tables._rate_of(part["time"], 1.0) for part in parts)
        else:
            if any(np.any(np.diff(part["time"]) < 0) or not np.isfinite(part["time"]).all() for part in parts):
                raise UnreadableFile("the time column runs backwards or has gaps: export it again")
            warnings.append(f"The times are uneven; the curves were brought to {USUAL_HZ:g} Hz.")
            rate = USUAL_HZ
        if given and abs(given - rate) > 1e-3:
            warnings.append(f"The file says {rate:g} Hz; the given {given:g} Hz was not used.")
    low, high = RATE_HZ["spirogram"]
    if not low <= rate <= high:
        raise UnreadableFile(
            f"a rate of {rate:g} Hz is outside {low:g}–{high:g} Hz, the range for spirograms: check it"
        )
    return rate


def _curve(part: dict[str, Any], rate: float) -> np.ndarray:
    """(samples,) volume in L of one blow at `rate`."""
    time, volume, flow = part["time"], part["volume"], part["flow"]
    if time is None and volume is not None and flow is not None:
        return from_flow_volume(volume, flow, rate)
    curve = flow if volume is None else volume
    if time is not None:
        if time[-1] - time[0] > LONGEST_S:
            raise UnreadableFile(f"a manoeuvre is longer than {LONGEST_S:g} s: give one forced expiration each")
        grid = np.arange(round((time[-1] - time[0]) * rate) + 1) / rate
        curve = np.interp(grid, time - time[0], curve)
    return volume_of_flow(curve, rate) if volume is None else curve


def _without_holes(parts: list[dict[str, Any]], fs_hz: float | None, warnings: list[str]) -> list[dict[str, Any]]:
    """Blows that were recorded all along: what a lung did in a hole cannot be told."""
    whole, holes = [], []
    for n, part in enumerate(parts, 1):
        curve = part["flow"] if part["volume"] is None else part["volume"]
        at_s = np.flatnonzero(np.isfinite(curve)) / (fs_hz or np.inf) if part["time"] is None else part["time"]
        step_s = np.diff(at_s)
        if step_s.max() > max(HOLE_S, 3 * np.median(step_s)):
            holes.append(f"manoeuvre {n} of the file has a hole of {step_s.max():.1f} s")
        else:
            whole.append(part)
    if not whole:
        raise UnreadableFile(f"{holes[0]}: export it whole")
    warnings += [f"{hole[0].upper()}{hole[1:]} and is left out." for hole in holes]
    return whole


def _recording(curves: list[np.ndarray], rate: float, meta: dict[str, Any], warnings: list[str]) -> Recording:
    signal = np.full((len(curves), max(map(len, curves))), np.nan, np.float32)
    for row, curve in zip(signal, curves, strict=True):
        row[: len(curve)] = np.where(np.abs(curve) < 1e7, curve, np.nan)
    leads = tuple(f"manoeuvre {n}" for n in range(1, len(curves) + 1))
    return Recording(signal, rate, leads, "spirogram", "L", None, meta | {"format": "CSV"}, tuple(warnings))


def _ours(path: Path, said: dict[str, Any]) -> Recording:
    """What `tools.writing.write_csv` wrote."""
    rate = float(said["fs_hz"])
    if not RATE_HZ["spirogram"][0] <= rate <= RATE_HZ["spirogram"][1]:
        raise UnreadableFile("its own line says an impossible rate: write it again")
    raw = path.read_bytes().split(b"\n", 2)[2]
    table = np.genfromtxt(io.BytesIO(raw), delimiter=",", ndmin=2)
    check_count(table.shape[1], len(table))
    meta = {key: said.get("meta", {}).get(key) for key in META_FIELDS if said.get("meta", {}).get(key) is not None}
    recording = _recording(list(table.T), rate, meta, [])
    if len(recording.leads) > MAX_LEADS:
        raise UnreadableFile(f"the table holds {len(recording.leads)} manoeuvres, at most {MAX_LEADS} are read")
    return recording
