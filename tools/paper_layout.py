"""Which lead lies where on a sheet of ECG paper, and when: the layouts of the machines.

3x4 and 6x2 show the leads in their standard places, a column after the other on one running clock, 3x4 with a
rhythm strip below; 12x1 and few leads run over the whole line. Empty rows and columns fall away, leads with other
names follow below. Recordings longer than a line run on, system by system as in a score, until the page is full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tools.recording import CHEST_LEADS, LEADS, LIMB_LEADS, Recording

COLUMNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "3x4": (LEADS[0:3], LEADS[3:6], LEADS[6:9], LEADS[9:12]),
    "6x2": (LIMB_LEADS, CHEST_LEADS),
}
LINE_S = 10.0  # a line of paper
LINES = 10  # lines of a page, for recordings that run on


@dataclass(frozen=True)
class Strip:
    """A stretch of one lead (its row in the signal) on one row of the page, from `x_s` seconds into the line."""

    lead: int
    row: int
    x_s: float
    start_s: float
    stop_s: float


@dataclass(frozen=True)
class Plan:
    """What lies where: the shape in words, the seconds shown, the strips, the rows that carry marks."""

    layout: str
    rhythm: int | None
    start_s: float
    stop_s: float
    line_s: float
    strips: list[Strip]
    rows: int

    @property
    def marked(self) -> set[int]:
        """The rhythm strip where there is one, else every row."""
        return set(range(self.rows)) if self.rhythm is None else {self.rows - 1}


def plan(recording: Recording, layout: str | None = None, start_s: float = 0.0) -> Plan:
    """Choose what is drawn where; `layout` None takes 3x4 from six leads on, fewer run on line by line."""
    total, names = recording.duration_s, recording.leads
    standard = sum(lead in names for lead in LEADS)
    grid = _arrange(names, layout or ("3x4" if standard >= 6 else "12x1"))
    columns = max(len(row) for row in grid)
    left_s = total - start_s
    line_s = left_s if left_s <= LINE_S * 1.1 else LINE_S  # 10.24 s still is one line
    lines = min(math.ceil(left_s / line_s - 1e-9), max(1, LINES // len(grid))) if columns == 1 else 1
    stop_s = min(start_s + lines * line_s, total)
    strips, step = [], line_s / columns
    for line in range(lines):
        for row, leads in enumerate(grid):
            for column, lead in enumerate(leads):
                begin = start_s + line * line_s + column * step
                if lead is not None:
                    strips.append(Strip(lead, line * len(grid) + row, column * step, begin, min(begin + step, total)))
    rhythm, rows = None, lines * len(grid)
    if columns > 1 and layout != "6x2":
        rhythm = _rhythm_lead(recording, start_s, stop_s)
        strips.append(Strip(rhythm, rows, 0.0, start_s, stop_s))
        rows += 1
    return Plan(f"{len(grid)}x{columns}", rhythm, start_s, stop_s, line_s, strips, rows)


def _arrange(names: Sequence[str], layout: str) -> list[list[int | None]]:
    """Rows of leads (their rows in the signal): standard places, empty rows and columns left out, others below."""
    if layout == "12x1":
        return [[lead] for lead in range(len(names))]
    place = {name: names.index(name) for name in LEADS if name in names}
    columns = [[place.get(name) for name in column] for column in COLUMNS[layout]]
    columns = [column for column in columns if any(lead is not None for lead in column)]
    rows = [list(row) for row in zip(*columns, strict=True) if any(lead is not None for lead in row)]
    others: list[int | None] = [lead for lead in range(len(names)) if lead not in place.values()]
    width = len(columns) or min(len(COLUMNS[layout]), len(others))
    for first in range(0, len(others), width):
        more = others[first : first + width]
        rows.append(more + [None] * (width - len(more)))
    return rows


def _rhythm_lead(recording: Recording, start_s: float, stop_s: float) -> int:
    """II, or the first of V1, V5, I, … that carries a signal in what is drawn."""
    span = slice(round(start_s * recording.fs_hz), round(stop_s * recording.fs_hz))
    first = [recording.leads.index(name) for name in ("II", "V1", "V5", "I") if name in recording.leads]
    order = list(dict.fromkeys([*first, *range(len(recording.leads))]))
    for lead in order:
        values = recording.signal[lead, span]
        values = values[np.isfinite(values)]
        if values.size > (span.stop - span.start) / 2 and np.ptp(values) > 0:
            return lead
    return order[0]
