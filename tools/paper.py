"""Draw an ECG on ECG paper: 25 mm/s and 10 mm/mV in true millimetres, on a 1 mm and 5 mm grid.

    plot_recording(recording, arguments, out)   the tool: writes ecg-….svg, .png or .pdf
    svg(recording), draw(recording)             the same drawing for the page and as a matplotlib figure

The layouts are those of the machines: 3x4 (2.5 s a column, one running clock, a rhythm strip below), 6x2 and 12x1.
Leads keep their standard place; empty rows and columns fall away. Long recordings of few leads run on in lines of
10 s until the page is full. Each stretch is centred on its median, as paper has no zero; nothing is filtered, gaps
stay open, and rows move apart as far as the waves need, so nothing is clipped below 8 mV (beyond: cut, and said).
Marks (measured onsets, R peaks) and notes (findings) lie on the trace. Own drawing rather than `ecg-plot` 0.3:
its SVG is several times larger, all its rows take the tallest lead's height, and its 3x4 needs all twelve leads.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import uuid
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tools.errors import UsageError
from tools.paper_layout import Plan, plan
from tools.paper_rows import (
    DARK,
    LIGHT,
    MARGIN,
    MM_PER_S,
    PULSE,
    RIGHT,
    Bands,
    Marks,
    Notes,
    Palette,
    Row,
    draw_marks,
    draw_notes,
    draw_strips,
    glyph,
    lead_name,
    mark_label,
)
from tools.recording import Recording
from tools.sheet import Sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tools.registry import PlotRecording


def compose(
    recording: Recording,
    layout: str | None = None,
    marks: Marks | None = None,
    notes: Notes | None = None,
    dark: bool = False,
    start_s: float = 0.0,
    bands: Bands | None = None,
) -> tuple[Sheet, Plan, list[str]]:
    """The drawing, its plan, and what had to be left out in sentences; arguments as in `svg`.

    `bands` has half of the band (samples,) mV of each lead that a model rebuilt, NaN where it was measured.
    """
    if recording.unit != "mV":
        raise UsageError(f"ECG paper needs millivolts, this recording is in {recording.unit[:12]}: give its unit")
    if recording.signal.size == 0 or not 0 <= start_s < recording.duration_s:
        raise UsageError("there is nothing to draw: the recording has no samples where the drawing would start")
    palette, page = DARK if dark else LIGHT, plan(recording, layout, start_s)
    grid_width = max(125.0, 5 * math.ceil((PULSE + page.line_s * MM_PER_S + RIGHT) / 5 - 1e-9))
    rows = [Row(MARGIN + grid_width) for _ in range(page.rows)]
    said = draw_strips(rows, page, recording, bands or {}, palette)
    used = draw_marks(rows, page, recording, marks or {}, palette)
    said += draw_notes(rows, page, recording, list(notes or ()), palette)
    said = [*_part_shown(recording, page), *said]
    legend = [(name, palette.waves.get(name.split("_")[0], palette.quiet)) for name in used]
    title = f"ECG, {len(recording.leads)} leads, {page.layout}, 25 mm/s, 10 mm/mV"
    return _assemble(rows, grid_width, recording, page, legend, palette, title), page, said


def _part_shown(recording: Recording, page: Plan) -> list[str]:
    if page.stop_s - page.start_s >= recording.duration_s - 1e-6:
        return []
    return [f"The drawing shows {page.start_s:g} to {page.stop_s:g} s of {recording.duration_s:.6g} s."]


def _assemble(
    rows: list[Row],
    grid_width: float,
    recording: Recording,
    page: Plan,
    legend: list[tuple[str, str]],
    palette: Palette,
    title: str,
) -> Sheet:
    """Paper, grid, header, the rows as far apart as they need, footer."""
    least = 25 if len(rows) <= 4 else 20 if len(rows) <= 7 else 15
    baselines = [_up_to_5(max(rows[0].up.max() + 2, 15))]
    for above, below in itertools.pairwise(rows):
        need = float(np.max(_widen(above.down) + _widen(below.up))) + 1
        baselines.append(baselines[-1] + max(least, _up_to_5(need)))
    grid_height = baselines[-1] + _up_to_5(max(rows[-1].down.max() + 2, 10))
    header = _header(recording)
    rebuilt = ", ".join(str(recording.meta.get("rebuilt") or "").split())
    top = MARGIN + (4 if header or rebuilt or recording.meta.get("synthetic") else 0)
    bottom = MARGIN + (8 if legend else 3)
    sheet = Sheet(grid_width + 2 * MARGIN, top + grid_height + bottom, title)
    sheet.box(0, 0, sheet.width, sheet.height, palette.paper)
    _rule(sheet, top, grid_width, grid_height, palette)
    right, foot = MARGIN + grid_width, top + grid_height + 4.5
    sheet.text(MARGIN, top - 2, header, palette.quiet, 3)
    if recording.meta.get("synthetic"):
        middle, size = MARGIN + grid_width / 2, grid_width / 8
        height = top + grid_height / 2 + size / 3
        sheet.text(middle, height, "SYNTHETIC", palette.alarm, size, bold=True, anchor="middle", opacity=0.1)
        sheet.text(right, top - 2, "SYNTHETIC · not recorded from a person", palette.alarm, 3, bold=True, anchor="end")
    elif rebuilt:
        notice = f"REBUILT by a model, not recorded: {rebuilt}"
        sheet.text(right, top - 2, notice, palette.rebuilt, 3, bold=True, anchor="end")
    for row, baseline in zip(rows, baselines, strict=True):
        sheet.put(row.ink, top + baseline)
    sheet.text(MARGIN, foot, "25 mm/s  10 mm/mV · research use only", palette.quiet, 3)
    if part := _part_shown(recording, page):
        sheet.text(right, foot, part[0].removeprefix("The drawing shows ").rstrip("."), palette.quiet, 3, anchor="end")
    x = MARGIN
    for name, colour in legend:
        label = mark_label(name)
        sheet.line([glyph(name.partition("_")[2]) * 0.6 + np.array([x + 0.6, foot + 4])], colour, 0.3)
        sheet.text(x + 2.2, foot + 5, label, colour, 3)
        x += 6 + 0.55 * 3 * len(label)
    return sheet


def _rule(sheet: Sheet, top: float, grid_width: float, grid_height: float, palette: Palette) -> None:
    """The grid of 1 mm and 5 mm; two paths, not hundreds of elements."""
    sheet.box(MARGIN, top, grid_width, grid_height, palette.grid_paper)
    for step, colour, width in ((1, palette.fine, 0.1), (5, palette.bold, 0.2)):
        upright = [[(MARGIN + x, top), (MARGIN + x, top + grid_height)] for x in range(0, int(grid_width) + 1, step)]
        level = [[(MARGIN, top + y), (MARGIN + grid_width, top + y)] for y in range(0, int(grid_height) + 1, step)]
        sheet.line(upright + level, colour, width, f"{step} mm grid")


def _up_to_5(mm: float) -> int:
    return 5 * math.ceil(mm / 5)


def _widen(skyline: np.ndarray) -> np.ndarray:
    """The skyline with a millimetre of air on both sides."""
    return np.maximum(skyline, np.maximum(np.roll(skyline, 1), np.roll(skyline, -1)))


def _header(recording: Recording) -> str:
    """Age, sex, date and device, where the recording names them."""
    meta = recording.meta
    age, sex = meta.get("age"), meta.get("sex")
    words = [
        "" if age is None else f"{age:g} years" if isinstance(age, int | float) else str(age),
        "" if sex is None else {"M": "male", "F": "female"}.get(str(sex), str(sex)),
        str(meta.get("date") or "")[:19].replace("T", " "),
        str(meta.get("device") or "")[:40],
    ]
    return " · ".join(word for word in words if word)


def svg(
    recording: Recording,
    layout: str | None = None,
    marks: Marks | None = None,
    notes: Notes | None = None,
    dark: bool = False,
    start_s: float = 0.0,
) -> str:
    """The recording on ECG paper as an SVG document in millimetres, for the page.

    Parameters
    ----------
    layout : "3x4", "6x2", "12x1", or None for what suits the leads.
    marks : times in s by name, e.g. `{"qrs_on": […], "r": […]}`; `None` and NaN times are left out.
    notes : (lead or None, start s, stop s, text) to highlight.
    dark : for a dark page.
    start_s : where the drawing begins, for long recordings.
    """
    return compose(recording, layout, marks, notes, dark, start_s)[0].svg()


def draw(
    recording: Recording,
    layout: str | None = None,
    marks: Marks | None = None,
    notes: Notes | None = None,
    dark: bool = False,
    start_s: float = 0.0,
) -> Figure:
    """The same drawing as a matplotlib figure of true size; arguments as in `svg`."""
    return compose(recording, layout, marks, notes, dark, start_s)[0].figure()


def plot_recording(recording: Recording, arguments: PlotRecording, out: Path | None = None) -> dict[str, Any]:
    """Write the recording on ECG paper into `out`; the file is named after the signal, so the same input
    gives the same file and two recordings never overwrite each other."""
    if recording.kind != "ecg":
        from tools.traces import traced

        sheet, (start_s, stop_s), said = traced(recording)
        path = save(sheet, recording, "trace", arguments.format, out)
        seconds = round(stop_s - start_s, 3)
        return {"figure": str(path), "layout": None, "rhythm_strip": None, "seconds": seconds, "warnings": said}
    sheet, page, said = compose(recording, arguments.layout)
    path = save(sheet, recording, page.layout, arguments.format, out)
    return {
        "figure": str(path),
        "layout": page.layout,
        "rhythm_strip": None if page.rhythm is None else lead_name(recording, page.rhythm),
        "seconds": round(page.stop_s - page.start_s, 3),
        "warnings": said,
    }


def save(sheet: Sheet, recording: Recording, what: str, form: str, out: Path | None) -> Path:
    """Write a drawing of the recording into `out`, whole or not at all; the file."""
    words = repr((recording.fs_hz, recording.leads, sorted(recording.meta.items()))).encode()
    digest = hashlib.sha256(words + np.ascontiguousarray(recording.signal).tobytes()).hexdigest()[:8]
    path = (Path() if out is None else Path(out)) / f"{recording.kind}-{digest}-{what}.{form}"
    _write(sheet, path)
    return path


def _write(sheet: Sheet, path: Path) -> None:
    """Whole or not at all: beside its place first, then renamed."""
    part = path.with_name(f".{path.stem}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".svg":
            part.write_text(sheet.svg(), encoding="utf-8")
        else:
            _save_figure(sheet, part)
        part.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another folder with --out") from None
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)


def _save_figure(sheet: Sheet, path: Path) -> None:
    import matplotlib

    metadata = {"CreationDate": None} if path.suffix == ".pdf" else {"Software": "einthoven"}
    with matplotlib.rc_context({"pdf.fonttype": 42}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter the font lacks
        sheet.figure().savefig(path, dpi=200, metadata=metadata)


def sentences(result: dict[str, Any]) -> list[str]:
    """The result in words, one fact a sentence."""
    if result["layout"] is None:
        return [f"The recording is drawn, {result['seconds']:g} s.", *result["warnings"]]
    strip = " with a rhythm strip" if result["rhythm_strip"] else ""
    first = f"The recording is drawn on ECG paper, {result['layout']}{strip}, 25 mm/s and 10 mm/mV."
    return [first, *result["warnings"]]
