"""Draw a cardiotocogram on its paper: heart rate 50-210 bpm at 20 bpm/cm above, uterine activity 0-100 below.

    sheet, said = compose(trace, read, speed_cm_min=1)      # tools/ctg_signal.py, tools/ctg.py
    sheet.svg(); sheet.figure().savefig("ctg.png")

1 cm/min, in rows of 30 minutes, or 3 cm/min, in rows of 10 minutes, in true millimetres. On the trace lie the baseline,
accelerations and decelerations, each with the letter of its kind; what is missing stays open, on grey where it lasts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tools.ctg import Features
from tools.ctg_signal import FS_HZ, Trace
from tools.errors import UsageError
from tools.paper_rows import DARK, LIGHT, Palette
from tools.sheet import Sheet, polylines

SPEEDS = (1, 3)  # cm/min
ROW_MM = 300.0
LOW_BPM, HIGH_BPM, BPM_PER_MM = 50.0, 210.0, 2.0
FHR_MM, BETWEEN_MM, UC_MM, APART_MM = 80.0, 7.0, 40.0, 9.0
LEFT_MM, RIGHT_MM, TOP_MM, FOOT_MM = 13.0, 5.0, 11.0, 12.0
NORMAL_BPM = (110.0, 160.0)
GAP_S, BASE_GAP_S = 10.0, 120.0  # a gap this long is shown on grey, and parts the baseline
LETTERS = {"variable": "V", "late": "L", "early": "E", "prolonged": "P", "gradual": "G"}
LIGHT_MARKS = {"up": "#2e7d32", "down": "#c62828", "base": "#1565c0", "gap": "#9e9e9e"}
DARK_MARKS = {"up": "#81c784", "down": "#ff8a80", "base": "#64b5f6", "gap": "#757575"}


def compose(trace: Trace, read: Features, speed_cm_min: int = 1, dark: bool = False) -> tuple[Sheet, list[str]]:
    """The drawing, and what had to be left out in sentences.

    Raises
    ------
    UsageError : another speed than 1 or 3 cm/min.
    """
    if speed_cm_min not in SPEEDS:
        raise UsageError("CTG paper runs at 1 or 3 cm/min")
    palette, marks = (DARK, DARK_MARKS) if dark else (LIGHT, LIGHT_MARKS)
    row_min = ROW_MM / 10 / speed_cm_min
    rows = max(1, math.ceil(trace.minutes / row_min - 0.02))
    width = ROW_MM if rows > 1 else max(100.0, 10 * speed_cm_min * math.ceil(trace.minutes - 1e-6))
    step = FHR_MM + BETWEEN_MM + APART_MM + (UC_MM if trace.uc is not None else 0)
    title = f"Cardiotocogram, {trace.minutes:.0f} min, {speed_cm_min} cm/min, 20 bpm/cm"
    height = TOP_MM + rows * step - APART_MM + FOOT_MM
    sheet = Sheet(LEFT_MM + width + RIGHT_MM, height, title)
    sheet.box(0, 0, sheet.width, sheet.height, palette.paper)
    sheet.text(LEFT_MM, 6, title, palette.quiet, 3.2)
    per_row = round(row_min * 60 * FS_HZ)
    base = np.where(_gone(trace, BASE_GAP_S), np.nan, read.baseline_bpm)
    for row in range(rows):
        page = _Row(sheet, TOP_MM + row * step, width, speed_cm_min, row * per_row, (row + 1) * per_row, palette)
        _rule(page, trace.uc is not None)
        _gaps(page, trace, marks)
        _events(page, trace, read, marks)
        page.sheet.line(page.fhr(base), marks["base"], 0.35, "baseline")
        page.sheet.line(page.fhr(trace.fhr_bpm), palette.trace, 0.25, "FHR")
        _uterus(page, trace, read, palette)
    _legend(sheet, read, trace, marks, palette)
    known = trace.fhr_bpm[np.isfinite(trace.fhr_bpm)]
    beyond = float(((known > HIGH_BPM) | (known < LOW_BPM)).sum()) / FS_HZ
    return sheet, [
        f"{beyond:.0f} s of heart rate lie beyond the paper and are drawn on its edge."
    ] if beyond > 1 else []


class _Row:
    """A row of the page: where a time and a value lie in millimetres."""

    def __init__(self, sheet: Sheet, top: float, width: float, speed: int, first: int, stop: int, palette: Palette):
        self.sheet, self.top, self.width, self.speed, self.palette = sheet, top, width, speed, palette
        self.first, self.stop = first, stop
        self.step = 10 * speed / 60 / FS_HZ  # mm a sample
        self.uc_top = top + FHR_MM + BETWEEN_MM

    def x(self, sample: float) -> float:
        return LEFT_MM + (sample - self.first) * self.step

    def fhr_y(self, bpm: np.ndarray) -> np.ndarray:
        return self.top + (HIGH_BPM - np.clip(bpm, LOW_BPM, HIGH_BPM)) / BPM_PER_MM

    def fhr(self, bpm: np.ndarray) -> list[np.ndarray]:
        """What of a curve lies in this row; one sample more joins it to the next."""
        return polylines(self.fhr_y(bpm[self.first : self.stop + 1]), LEFT_MM, self.step)

    def within(self, a_s: float, b_s: float) -> tuple[int, int] | None:
        """Samples of an event that lie in this row."""
        a, b = max(round(a_s * FS_HZ), self.first), min(round(b_s * FS_HZ), self.stop)
        return (a, b) if b > a else None


def _rule(row: _Row, uterus: bool) -> None:
    """Grid, scales and clock of one row: a line each half or sixth of a minute, strong each minute or half minute."""
    sheet, palette, left, right = row.sheet, row.palette, LEFT_MM, LEFT_MM + row.width
    panels = [(row.top, FHR_MM)] + [(row.uc_top, UC_MM)] * uterus
    for top, height in panels:
        sheet.box(left, top, row.width, height, palette.grid_paper)
    normal = [row.top + (HIGH_BPM - bpm) / BPM_PER_MM for bpm in reversed(NORMAL_BPM)]
    sheet.box(left, normal[0], row.width, normal[1] - normal[0], LIGHT_MARKS["up"], 0.05)
    for step, bpm_step, uc_step, colour, width in (
        (5, 5, 5, palette.fine, 0.1),
        (10, 20, 25, palette.bold, 0.2),
    ):
        level = [row.top + (HIGH_BPM - bpm) / BPM_PER_MM for bpm in range(60, 201, bpm_step)]
        level += [row.top, row.top + FHR_MM]
        level += [row.uc_top + UC_MM * value / 100 for value in range(0, 101, uc_step)] * uterus
        ends = [(top, top + height) for top, height in panels]
        upright = [[(left + x, a), (left + x, b)] for a, b in ends for x in np.arange(0, row.width + 0.1, step)]
        sheet.line(upright + [[(left, y), (right, y)] for y in level], colour, width, "grid")
    for bpm in range(60, 201, 20):
        sheet.text(left - 1, row.top + (HIGH_BPM - bpm) / BPM_PER_MM + 1, str(bpm), palette.quiet, 2.8, anchor="end")
    sheet.text(1.5, row.top + 3, "bpm", palette.quiet, 2.8)
    if uterus:
        for value in (0, 50, 100):
            y = row.uc_top + UC_MM * (1 - value / 100) + 1
            sheet.text(left - 1, y, str(value), palette.quiet, 2.8, anchor="end")
    every = 5 if row.speed == 1 else 1
    first_min = row.first / FS_HZ / 60
    for minute in range(0, int(row.width / 10 / row.speed) + 1, every):
        x = left + minute * 10 * row.speed
        y, anchor = row.top + FHR_MM + 4.2, "middle" if x + 4 < right else "end"
        sheet.text(x, y, f"{first_min + minute:.0f} min", palette.quiet, 2.8, anchor=anchor)


def _gaps(row: _Row, trace: Trace, marks: dict[str, str]) -> None:
    gone = _gone(trace, GAP_S)
    for a, b in np.flatnonzero(np.diff(np.r_[False, gone, False].astype(int))).reshape(-1, 2):
        part = row.within(a / FS_HZ, b / FS_HZ)
        if part:
            row.sheet.box(row.x(part[0]), row.top, (part[1] - part[0]) * row.step, FHR_MM, marks["gap"], 0.16)


def _gone(trace: Trace, least_s: float) -> np.ndarray:
    """(samples,) bool: in a gap of at least so long."""
    out = np.isnan(trace.fhr_bpm)
    for a, b in np.flatnonzero(np.diff(np.r_[False, out, False].astype(int))).reshape(-1, 2):
        out[a:b] = b - a >= least_s * FS_HZ
    return out


def _events(row: _Row, trace: Trace, read: Features, marks: dict[str, str]) -> None:
    """Accelerations and decelerations: the area between trace and baseline, and a letter at its far end."""
    for colour, found, sign in ((marks["up"], read.accelerations, 1), (marks["down"], read.decelerations, -1)):
        for event in found:
            part = row.within(event["start_s"], event["stop_s"])
            if part is None:
                continue
            at = np.arange(part[0], min(part[1], len(trace.fhr_bpm)))
            known = at[np.isfinite(trace.fhr_bpm[at])]
            if len(known) < 2:
                continue
            rate, base = (row.fhr_y(curve[known]) for curve in (trace.fhr_bpm, read.baseline_bpm))
            x = LEFT_MM + (known - row.first) * row.step
            outline = np.r_[np.c_[x, rate], np.c_[x, base][::-1]]
            row.sheet.area(outline, colour, 0.28)
            peak = event["peak_s"] * FS_HZ
            if row.first <= peak < row.stop:
                y = float(rate.min() - 1.2 if sign > 0 else rate.max() + 3.4)
                y = min(max(y, row.top + 2.8), row.top + FHR_MM - 0.8)
                letter = "A" if sign > 0 else LETTERS[event["kind"]]
                halo = row.palette.grid_paper
                row.sheet.text(row.x(peak), y, letter, colour, 2.8, bold=True, anchor="middle", halo=halo)


def _uterus(row: _Row, trace: Trace, read: Features, palette: Palette) -> None:
    if trace.uc is None:
        return
    part = trace.uc[row.first : row.stop + 1]
    y = row.uc_top + UC_MM * (1 - np.clip(part, 0, 100) / 100)
    row.sheet.line(polylines(y, LEFT_MM, row.step), palette.trace, 0.25, "UC")
    acmes = [one["acme_s"] * FS_HZ for one in read.contractions if row.first <= one["acme_s"] * FS_HZ < row.stop]
    tips = [row.x(acme) for acme in acmes]
    if tips:
        ticks = [
            [(x - 1, row.uc_top - 1.6), (x + 1, row.uc_top - 1.6), (x, row.uc_top - 0.2), (x - 1, row.uc_top - 1.6)]
            for x in tips
        ]
        row.sheet.line(ticks, palette.quiet, 0.3, "contractions")


def _legend(sheet: Sheet, read: Features, trace: Trace, marks: dict[str, str], palette: Palette) -> None:
    """What the colours and letters mean, of those that are on the sheet, and how much is missing."""
    y, x = sheet.height - 6.5, LEFT_MM
    base = read.values.get("baseline_bpm")
    words: list[tuple[str, str]] = []
    if base is not None:
        words.append((f"baseline {base} bpm", marks["base"]))
    if read.accelerations:
        words.append((f"A acceleration ({len(read.accelerations)})", marks["up"]))
    seen: dict[str, Any] = read.values.get("decelerations") or {}
    for kind, count in seen.items():
        if count:
            words.append((f"{LETTERS[kind]} {kind} deceleration ({count})", marks["down"]))
    if read.contractions:
        words.append((f"▽ contraction ({len(read.contractions)})", palette.quiet))
    if trace.uc is None:
        words.append(("no uterine channel", palette.quiet))
    words.append((f"no signal {100 * trace.loss:.0f} %", marks["gap"]))
    for text, colour in words:
        length = 1.75 * len(text) + 4
        if x + length > sheet.width and x > LEFT_MM:
            x, y = LEFT_MM, y + 4
        sheet.text(x, y, text, colour, 3)
        x += length
    sheet.text(sheet.width - RIGHT_MM, 6, "research use only", palette.quiet, 3, anchor="end")
