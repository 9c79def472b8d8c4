"""The rows of an ECG drawing: traces, calibration pulses, lead names, marks and notes, each around its own baseline.

A row keeps a skyline, how far its ink reaches above and below the baseline millimetre by millimetre; lead names and
notes are set on top of it, and `tools.paper` moves the rows apart as far as their skylines need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tools.paper_layout import Plan, Strip
from tools.recording import LEADS, Recording
from tools.sheet import Box, Sheet, polylines

MM_PER_S, MM_PER_MV = 25.0, 10.0
CUT_MV = 8.0  # beyond this distance from its median a trace is cut, and that is said
MARGIN, PULSE, RIGHT = 6.0, 10.0, 5.0  # mm: white rim; room for the calibration pulse; grid after the trace
CALIBRATION = np.array([(2, 0), (3, 0), (3, -MM_PER_MV), (8, -MM_PER_MV), (8, 0), (9, 0)])  # 1 mV, 200 ms
TRACE_WIDTH, LABEL_SIZE = 0.3, 3.6  # mm

Marks = Mapping[str, Iterable[float | None]]
Notes = Iterable[tuple[str | None, float, float, str]]
Bands = Mapping[str, np.ndarray]  # lead -> (samples,) mV, half of the band of what was rebuilt, NaN where measured


class Palette(NamedTuple):
    paper: str
    grid_paper: str
    fine: str
    bold: str
    trace: str
    quiet: str
    alarm: str
    waves: dict[str, str]
    note: str
    rebuilt: str


LIGHT = Palette(
    "#ffffff", "#fffafa", "#f6cccc", "#e9a3a3", "#141414", "#6b6b6b", "#c62828",
    {"p": "#1565c0", "qrs": "#00796b", "t": "#7b1fa2", "r": "#c62828"}, "#f9a825", "#1565c0",
)  # fmt: skip
DARK = Palette(
    "#16181d", "#1b1d23", "#33272c", "#563a41", "#f2f2f2", "#9aa0a6", "#ff6b6b",
    {"p": "#64b5f6", "qrs": "#4db6ac", "t": "#ce93d8", "r": "#ff8a80"}, "#f9a825", "#64b5f6",
)  # fmt: skip


class Row:
    """One row of the page, drawn around its own baseline (y = 0), and its skyline mm by mm above and below it."""

    def __init__(self, width: float):
        self.ink = Sheet(width, 0)
        self.up = np.zeros(math.ceil(width) + 2)
        self.down = np.zeros(math.ceil(width) + 2)

    def occupy(self, x: np.ndarray, y: np.ndarray) -> None:
        columns = x.astype(int)
        np.maximum.at(self.up, columns, -y)
        np.maximum.at(self.down, columns, y)

    def stack(self, x: float, width: float, height: float, least: float = 0.0) -> float:
        """Room for `height` mm above all that lies between x and x + width; returns its lower edge above y = 0."""
        span = slice(max(int(x), 0), int(x + width) + 1)
        edge = max(float(self.up[span].max(initial=0)), least)
        self.up[span] = edge + height
        return edge


def draw_strips(rows: list[Row], page: Plan, recording: Recording, bands: Bands, palette: Palette) -> list[str]:
    """Traces, calibration pulses and lead names; returns what is odd about them, a sentence each."""
    odd: dict[str, list[int]] = {}
    runs_on = page.start_s > 0 or page.stop_s - page.start_s > page.line_s + 1e-6
    timed: set[float] = set()
    for row in rows:
        row.ink.line([CALIBRATION + np.array([MARGIN, 0])], palette.trace, TRACE_WIDTH, "1 mV, 200 ms")
        row.up[int(MARGIN) + 2 : int(MARGIN) + 10] = MM_PER_MV
    for strip in page.strips:
        row, name = rows[strip.row], recording.leads[strip.lead][:12]
        values, state = _values(recording, strip)
        late_s = _first(strip.start_s, recording.fs_hz) / recording.fs_hz - strip.start_s  # of the first sample
        x = _x(strip, strip.start_s)
        doubt, place = _doubt(recording, strip, bands), (x + late_s * MM_PER_S, MM_PER_S / recording.fs_hz)
        known = np.isnan(doubt)
        edges = [polylines((values + side * doubt) * -MM_PER_MV, *place) for side in (1, -1)]
        for above, below in zip(*edges, strict=True):
            row.ink.area(np.concatenate([above, below[::-1]]), palette.rebuilt, 0.2)
        for shown, colour in ((known, palette.trace), (~known, palette.rebuilt)):
            paths = polylines(np.where(shown, values, np.nan) * -MM_PER_MV, *place)
            if paths:
                row.ink.line(paths, colour, TRACE_WIDTH, name)
                row.occupy(*np.concatenate(paths).T)
        odd.setdefault(state, []).append(strip.lead)
        label = name + {"flat": " · flat", "empty": " · no signal", "cut": " · cut at 8 mV"}.get(state, "")
        if runs_on and strip.start_s not in timed:
            timed.add(strip.start_s)
            label += f" · {strip.start_s:g} s"
        width = 1.0 + 0.7 * LABEL_SIZE * len(label)
        edge = row.stack(x, width, LABEL_SIZE + 0.5, least=4.0)
        row.ink.text(x + 0.6, -edge - 1.0, label, palette.trace, LABEL_SIZE, bold=True, halo=palette.grid_paper)
        if strip.x_s > 0:  # where one lead ends and the next begins
            row.ink.line([[(x, -2.5), (x, -5)], [(x, 2.5), (x, 5)]], palette.quiet, 0.25)
    return _oddities(recording, odd)


def _x(strip: Strip, time_s: float) -> float:
    return MARGIN + PULSE + (strip.x_s + time_s - strip.start_s) * MM_PER_S


def _first(time_s: float, fs_hz: float) -> int:
    """The first sample at or after a time."""
    return math.ceil(time_s * fs_hz - 1e-6)


def _values(recording: Recording, strip: Strip) -> tuple[np.ndarray, str]:
    """(samples,) mV around the stretch's median, NaN in gaps; and "flat", "empty", "gaps", "cut" or ""."""
    fs_hz = recording.fs_hz
    values = recording.signal[strip.lead, _first(strip.start_s, fs_hz) : _first(strip.stop_s, fs_hz)].astype(float)
    finite = np.isfinite(values)
    if not finite.any():
        return np.full(len(values), np.nan), "empty"
    values = np.where(finite, values - np.median(values[finite]), np.nan)
    reach = float(np.max(np.abs(values[finite])))
    state = "flat" if reach == 0 and finite.sum() > 1 else "cut" if reach > CUT_MV else "" if finite.all() else "gaps"
    return np.clip(values, -CUT_MV, CUT_MV), state


def _doubt(recording: Recording, strip: Strip, bands: Bands) -> np.ndarray:
    """(samples,) mV: half of the band of a stretch, NaN where it was measured."""
    span = slice(_first(strip.start_s, recording.fs_hz), _first(strip.stop_s, recording.fs_hz))
    of_lead = bands.get(recording.leads[strip.lead])
    return np.full(recording.signal[strip.lead, span].shape, np.nan) if of_lead is None else of_lead[span]


def _oddities(recording: Recording, odd: dict[str, list[int]]) -> list[str]:
    sentences = {
        "flat": "Drawn as a flat line, as recorded: {}.",
        "empty": "No signal in the part drawn: {}.",
        "gaps": "Gaps in the signal are left open: {}.",
        "cut": "Cut in the drawing beyond 8 mV from the median: {}.",
    }
    return [
        text.format(", ".join(lead_name(recording, lead) for lead in sorted(set(odd[state]))))
        for state, text in sentences.items()
        if state in odd
    ]


def lead_name(recording: Recording, lead: int) -> str:
    """The lead's name where it is one of the field; a file's own words never leave the drawing."""
    return recording.leads[lead] if recording.leads[lead] in LEADS else f"channel {lead + 1}"


def draw_marks(rows: list[Row], page: Plan, recording: Recording, marks: Marks, palette: Palette) -> list[str]:
    """Brackets for onsets and offsets, arrowheads for peaks; returns the names drawn, in their order."""
    used = []
    peaks_last = sorted(marks.items(), key=lambda mark: mark[0].rpartition("_")[2] not in ("on", "off"))
    for name, times in peaks_last:  # arrowheads stand on what is drawn already
        wave, _, what = name.partition("_")
        known = np.array([time for time in times if time is not None and math.isfinite(time)])
        for strip in (strip for strip in page.strips if strip.row in page.marked):
            row, values = rows[strip.row], _values(recording, strip)[0]
            paths = []
            inside = known[(known >= strip.start_s) & (known < strip.stop_s)]
            for time in inside if len(values) else ():
                x = _x(strip, time)
                y = -MM_PER_MV * values[min(int((time - strip.start_s) * recording.fs_hz), len(values) - 1)]
                if what not in ("on", "off"):
                    y = -row.stack(x - 1, 2, 2.2)
                paths.append(glyph(what) + np.array([x, np.nan_to_num(y)]))
            if paths:
                row.ink.line(paths, palette.waves.get(wave, palette.quiet), 0.3, name)
                row.occupy(*np.concatenate(paths).T)
                used.append(name)
    return [name for name in marks if name in used]


def glyph(what: str) -> np.ndarray:
    """[ for an onset, ] for an offset, an arrowhead for a peak; (points, 2) mm around the mark."""
    if what in ("on", "off"):
        foot = 0.9 if what == "on" else -0.9
        return np.array([(foot, -2.5), (0, -2.5), (0, 2.5), (foot, 2.5)])
    return np.array([(-0.8, -1.9), (0, -0.5), (0.8, -1.9)])


def draw_notes(rows: list[Row], page: Plan, recording: Recording, notes: list, palette: Palette) -> list[str]:
    """Highlight (lead, start s, stop s, text) where it is drawn; lead None means the rows that carry marks."""
    missing = 0
    for lead, start_s, stop_s, text in notes:
        found = False
        for strip in page.strips:
            begin, end = max(start_s, strip.start_s), min(stop_s, strip.stop_s)
            here = strip.row in page.marked if lead is None else recording.leads[strip.lead] == lead
            if not here or begin >= end:
                continue
            row, width = rows[strip.row], (end - begin) * MM_PER_S
            x = _x(strip, begin)
            span = slice(int(x), int(x + width) + 1)
            top, bottom = float(row.up[span].max()) + 0.8, float(row.down[span].max()) + 1.2
            row.ink.items.insert(0, Box(x, -top, width, top + bottom, palette.note, 0.28))
            size = 2.8
            edge = row.stack(x, max(width, 0.55 * size * len(text)), size + 1.6)
            row.ink.text(x, -edge - 1.6, text, palette.trace, size, halo=palette.grid_paper)
            row.down[span] = np.maximum(row.down[span], bottom)
            found = True
        missing += not found
    return [f"{missing} of the notes lie outside what is drawn."] if missing else []


def mark_label(name: str) -> str:
    wave, _, what = name.partition("_")
    peak = " peak" if wave == "r" else ""
    return {"p": "P", "qrs": "QRS", "t": "T", "r": "R"}.get(wave, wave) + {
        "": peak, "on": " onset", "off": " offset"
    }.get(what, f" {what}")  # fmt: skip
