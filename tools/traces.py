"""Draw a recording that is no ECG: a pulse wave, blows of a spirogram, a fetal heart trace.

    sheet, said = traced(recording, dark=False, start_s=0.0)      # tools/sheet.py

A fetal trace is laid on its own paper (tools/ctg_paper.py). Anything else is a row a channel over time, each scaled to
what it holds, with its unit beside it; stretches without signal stay open.
"""

from __future__ import annotations

import numpy as np

from tools.errors import UsageError
from tools.paper_rows import DARK, LIGHT, Palette
from tools.recording import Recording
from tools.sheet import Sheet, polylines

LEFT_MM, TOP_MM, ROW_MM, APART_MM, WIDTH_MM, FOOT_MM = 16.0, 13.0, 32.0, 6.0, 250.0, 10.0
LONGEST_S = {"ppg": 20.0, "spirogram": 30.0, "ctg": 1800.0}  # on one sheet
MOST_ROWS = 12
NAMES = {"ppg": "Pulse wave", "spirogram": "Forced expiration", "ctg": "Fetal heart trace"}


def traced(
    recording: Recording, dark: bool = False, start_s: float = 0.0
) -> tuple[Sheet, tuple[float, float], list[str]]:
    """The drawing, which seconds it shows, and what it leaves out in sentences."""
    if recording.kind == "ctg":
        from tools.ctg import features
        from tools.ctg_paper import compose
        from tools.ctg_signal import heart_trace

        try:
            trace = heart_trace(recording)
            sheet, said = compose(trace, features(trace), 1, dark)
            return sheet, (0.0, recording.duration_s), said
        except UsageError:
            pass  # no heart rate to lay on its paper: the channels as they are
    palette = DARK if dark else LIGHT
    longest = LONGEST_S.get(recording.kind, 10.0)
    start_s = float(np.clip(start_s, 0.0, max(recording.duration_s - longest, 0.0)))
    stop_s = min(start_s + longest, recording.duration_s)
    first, last = round(start_s * recording.fs_hz), round(stop_s * recording.fs_hz)
    names = recording.leads[:MOST_ROWS]
    title = f"{NAMES.get(recording.kind, 'Recording')}, {stop_s - start_s:.3g} s"
    sheet = Sheet(LEFT_MM + WIDTH_MM + 5, TOP_MM + len(names) * (ROW_MM + APART_MM) + FOOT_MM, title)
    sheet.box(0, 0, sheet.width, sheet.height, palette.paper)
    sheet.text(LEFT_MM, 6, title, palette.quiet, 3)
    sheet.text(LEFT_MM + WIDTH_MM, 6, "research use only", palette.quiet, 3, anchor="end")
    for row, name in enumerate(names):
        _row(sheet, TOP_MM + row * (ROW_MM + APART_MM), name, recording, slice(first, last + 1), palette)
    _clock(sheet, start_s, stop_s, palette)
    said = (
        [f"{len(recording.leads) - MOST_ROWS} more channels are not drawn."] if len(recording.leads) > MOST_ROWS else []
    )
    if stop_s - start_s < recording.duration_s - 1e-6:
        said.append(f"The drawing shows {start_s:.0f} to {stop_s:.0f} s of {recording.duration_s:.0f} s.")
    return sheet, (start_s, stop_s), said


def _row(sheet: Sheet, top: float, name: str, recording: Recording, part: slice, palette: Palette) -> None:
    """One channel between its lowest and highest value."""
    values = recording.lead(name)[part]
    sheet.box(LEFT_MM, top, WIDTH_MM, ROW_MM, palette.grid_paper)
    known = values[np.isfinite(values)]
    if not known.size:
        sheet.text(LEFT_MM + 2, top + ROW_MM / 2, f"{name}: nothing was recorded here", palette.quiet, 3)
        return
    low, high = float(known.min()), float(known.max())
    span = max(high - low, 1e-9)
    for value in (low, high):
        y = top + ROW_MM - (value - low) / span * ROW_MM
        sheet.text(LEFT_MM - 1, y + (0 if value == low else 2.5), f"{value:.3g}", palette.quiet, 2.6, anchor="end")
    y_mm = top + ROW_MM - (values - low) / span * ROW_MM
    sheet.line(polylines(y_mm, LEFT_MM, WIDTH_MM / max(len(values) - 1, 1)), palette.trace, 0.3, name)
    label = f"{name}, {recording.unit}"
    sheet.text(LEFT_MM, top - 1, label, palette.trace, 3, bold=True)


def _clock(sheet: Sheet, start_s: float, stop_s: float, palette: Palette) -> None:
    """Round seconds below the last row, a thin line through all rows at each."""
    span = stop_s - start_s
    step = next((unit for unit in (0.5, 1, 2, 5, 10, 60, 300) if span / unit <= 16), 600)
    bottom = sheet.height - FOOT_MM - APART_MM
    for time_s in np.arange(np.ceil(start_s / step), np.floor(stop_s / step) + 1) * step:
        x = LEFT_MM + (time_s - start_s) / span * WIDTH_MM
        sheet.line([[(x, TOP_MM), (x, bottom)]], palette.bold, 0.1)
        sheet.text(x, bottom + 4, f"{time_s:g} s", palette.quiet, 2.8, anchor="middle")
