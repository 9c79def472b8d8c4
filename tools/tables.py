"""Signals in tables: CSV, TSV and their relatives.

Read as people write them: with or without a row of lead names, a time column, units in brackets or a row of
their own, leads in columns or in rows, comma, semicolon, tab or blanks between, decimal comma. The rate comes from
a time column or a line such as "Sample Rate,512 hertz"; the unit from a name such as "II (uV)", a row of units or a
line such as "Unit,µV". What is not said stays None and is asked for by `tools.healing`. Values are counted before
they are read (by pandas, which wfdb brings along).
"""

from __future__ import annotations

import io
import json
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from tools.channels import Channels, volts
from tools.errors import UnreadableFile
from tools.recording import canonical_lead
from tools.safety import MAX_CHANNELS, MAX_LEADS, MAX_TEXT, MAX_VALUES, check_count, check_size

HEAD_LINES = 200  # what stands above a table ends within these
MAX_LINE = 16 << 20
OWN_LINE = "# einthoven "  # begins the line of JSON that our own CSV files carry
_NUMBER = re.compile(
    r"[+-]?(\d{1,40}([.,]\d{0,40})?|[.,]\d{1,40})([eE][+-]?\d{1,3})?|[+-]?(nan|inf)|NA|null|None|", re.I
)
_CLOCK = re.compile(r"\[?'?(?:\d{4}-\d\d-\d\d[T ])?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)(?:Z|[+-]\d\d:?\d\d)?'?\]?")
_TIME = re.compile(
    r"(elapsed[ _])?(time|zeit|t)(stamp)?[ _]*[\[(]?(s|secs?|seconds?|ms|milliseconds?|us)?[\])]?|ms|s|secs?|seconds?"
)
_INDEX = re.compile(r"(sample|index|idx|n|no|nr|#|sample[ _#]*(number|no|index)?|unnamed.*|)", re.I)
_RATE_LINE = re.compile(  # a frequency of its own line; that of a filter or the mains is none
    r"(?:\bfs(?:_hz)?|sampl\w*[ _]*(?:rate|freq\w*)|abtast(?:rate|frequenz)|^\W*freq(?:uency)?\b)"
    r"\W*(?:(k?)hz)?\W*(\d+(?:\.\d+)?)\s*(khz)?",
    re.I | re.M,
)
_UNIT_LINE = re.compile(r"\bunits?\b[\s:=,;\"']*([a-zµμ]+)", re.I)
_LEAD_LINE = re.compile(r"^\W*leads?\b[\s:=,;\"]+(.+)$", re.I | re.M)


def parse_csv(path: Path) -> Channels:
    """A table of numbers, and what the lines above it say."""
    check_size(path, MAX_TEXT, "a table")
    raw = path.read_bytes()
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raw = raw.decode("utf-16").encode()
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    if b"\n" not in raw:  # old Macintosh lines
        raw = raw.replace(b"\r", b"\n")
    if raw.count(b"\n") + max(raw.count(mark) for mark in (b",", b";", b"\t")) > 1.2 * MAX_VALUES:
        raise UnreadableFile(f"the table has more than {MAX_VALUES / 1e6:.0f} million values: cut out a part")
    lines = list(islice(io.BytesIO(raw), HEAD_LINES))
    if max(map(len, lines)) > MAX_LINE:
        raise UnreadableFile("the table has endless lines: put the samples in rows")
    head = _text(lines)
    separator = _separator([line for line in head if line.strip()])
    start = next((row for row, line in enumerate(head) if _is_numeric(line, separator)), len(head))
    if start == len(head) or len(_split(head[start], separator)) > MAX_CHANNELS:
        try:
            return _rows_of_leads(head, separator)
        except UnreadableFile:
            if start < len(head):
                check_count(len(_split(head[start], separator)), 1)
            raise
    first = _split(head[start], separator)
    titles, units = _titles([_split(line, separator) for line in head[:start] if line.strip()], len(first))
    table, times = _numbers(raw[sum(map(len, lines[:start])) :], separator, head[start])
    if times is not None:
        titles, units = titles[1:], units[1:]
    if not titles and len(table) <= MAX_LEADS < table.shape[1]:  # leads in rows
        table = table.T
    found = _columns(table, titles, units, times)
    _apply_preamble(found, "".join(head[:start]))
    return found


def _text(lines: list[bytes]) -> list[str]:
    try:
        return [line.decode("utf-8") for line in lines]
    except UnicodeDecodeError:
        return [line.decode("latin-1") for line in lines]


def _separator(lines: list[str]) -> str | None:
    """What stands between numbers; None for blanks. Judged by the last line, which is not a heading."""
    return next((mark for mark in ("\t", ";", ",") if lines and mark in lines[-1]), None)


def _split(line: str, separator: str | None) -> list[str]:
    return [field.strip().strip("\"'").strip() for field in line.strip("\r\n").split(separator)]


def _is_numeric(line: str, separator: str | None) -> bool:
    """Numbers only (a clock time may come first), at least one of them."""
    if line[:1].isalpha() and line[:3].lower() not in ("nan", "inf", "nul", "non", "na,"):  # most headings, quickly
        return False
    fields = _split(line, separator)
    rest = fields[1:] if len(fields) > 1 and _CLOCK.fullmatch(fields[0]) else fields
    return all(_NUMBER.fullmatch(field) for field in rest) and any(re.search(r"\d", field) for field in rest)


def _numbers(raw: bytes, separator: str | None, first: str) -> tuple[np.ndarray, np.ndarray | None]:
    """(rows, columns) float64, NaN where a field is empty or NA; and (rows,) seconds if clock times come first."""
    import pandas

    has_clock = _CLOCK.fullmatch(_split(first, separator)[0]) is not None
    try:
        frame = pandas.read_csv(
            io.BytesIO(raw),
            encoding_errors="replace",
            sep=separator or r"\s+",
            header=None,
            decimal="," if separator != "," and re.search(r"\d,\d", first) else ".",
            dtype={column: str if has_clock and column == 0 else float for column in range(MAX_CHANNELS + 1)},
            skipinitialspace=True,
        )
    except ValueError:  # pandas' own errors are among them
        raise UnreadableFile("the table has rows of different length or words in them: export it again") from None
    times = _seconds(frame.pop(0)) if has_clock else None
    return frame.to_numpy(np.float64), times


def _seconds(clock: Any) -> np.ndarray:
    """(rows,) seconds from texts such as 0:00.003."""
    matches = [_CLOCK.fullmatch(str(text).strip()) for text in clock]
    if not all(matches):
        raise UnreadableFile("the time column does not advance evenly: resample the signal or cut out a part")
    return np.array([int(m[1] or 0) * 3600 + int(m[2]) * 60 + float(m[3]) for m in matches if m])


def _rows_of_leads(lines: list[str], separator: str | None) -> Channels:
    """A lead a line, perhaps its name first: "V1,0.1,0.2,…"."""
    body = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    names, rows = [], []
    for line in body:
        name, *rest = line.split(separator, 1)
        named = not _NUMBER.fullmatch(name.strip())
        names.append(name.strip(" \"'") if named else "")
        values = rest[0] if named and rest else line
        column = values.replace(separator, "\n") if separator else "\n".join(values.split())
        rows.append(column)
    if not rows or len(rows) > MAX_CHANNELS or not all("\n" in row for row in rows):
        raise UnreadableFile("text without a table of numbers: check that this is a recording")
    leads = [_numbers(row.encode(), "\t", row.split("\n", 1)[0])[0] for row in rows]
    if len({lead.shape for lead in leads}) > 1:
        raise UnreadableFile("the table has rows of different length or words in them: export it again")
    found = _columns(np.hstack(leads), names if any(names) else [], [], None)
    _apply_preamble(found, "".join(line for line in lines if line.startswith("#")))
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
        names=[re.sub(r"[(\[].*?[)\]]|_[mu\u00b5\u03bc]?V$", "", names[col], flags=re.I).strip() for col in keep],
        rates_hz=[rate] * len(keep),
        units=unit_of,
        gain=[None] * len(keep),
        warnings=notes,
    )


def _unit_in(title: str) -> str | None:
    """The unit in "II (mV)", "II [uV]" or "II_mV"."""
    match = re.search(r"[(\[]\s*([^)\]]{1,12}?)\s*[)\]]", title) or re.search(r"_([mu\u00b5\u03bc]?V)$", title, re.I)
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
        found.believe(json.loads(own[len(OWN_LINE) :]))
        return
    if match := _RATE_LINE.search(text):
        told_hz = float(match[2]) * (1000 if match[1] or match[3] else 1)
        found.rates_hz = [rate or told_hz or None for rate in found.rates_hz]
    if match := _UNIT_LINE.search(text):
        found.units = [unit or match[1] for unit in found.units]
    if (match := _LEAD_LINE.search(text)) and len(found.names) == 1 and not found.names[0]:
        found.names = [match[1].strip(" \"'")]
