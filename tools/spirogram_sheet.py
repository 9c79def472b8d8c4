"""Draw a spirogram: flow over volume and volume over time, with what is predicted, and a table of the numbers.

    sheet = drawn(blows, result)     # blows: [(time from time zero s, volume L, flow L/s)]; a tools.sheet.Sheet

The best blow is dark, the others pale; a mark on the axes shows predicted PEF and FVC, FEV1 at one second.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.sheet import Sheet

INK, QUIET, GRID, PALE, BEST, LOW, MARK = (
    *("#141414", "#6b6b6b", "#ececec", "#b9c7d6", "#0d47a1", "#c62828", "#ef6c00"),
)
WIDTH, PANEL, TOP, BOTTOM = 190.0, 62.0, 14.0, 90.0  # mm; height of both panels between TOP and BOTTOM
ROWS = (
    ("FEV1", "fev1_l", "L"),
    ("FVC", "fvc_l", "L"),
    ("FEV1/FVC", "fev1_fvc", ""),
    ("PEF", "pef_lps", "L/s"),
    ("FEF25-75", "fef2575_lps", "L/s"),
)
Blow = tuple[np.ndarray, np.ndarray, np.ndarray]


DIAMOND = np.array([[-1.3, 0], [0, -1.3], [1.3, 0], [0, 1.3], [-1.3, 0]])


class Panel:
    """Axes on the sheet: `at` takes values to millimetres."""

    def __init__(
        self, sheet: Sheet, left: float, x: tuple[float, float], y: tuple[float, float], titles: tuple[str, str]
    ):
        self.sheet, self.left, self.x, self.y = sheet, left, x, y
        for value in _ticks(*x):
            mm = float(self.at(value, 0)[0])
            sheet.line([[(mm, TOP), (mm, BOTTOM)]], GRID, 0.2)
            sheet.text(mm, BOTTOM + 4, f"{value:g}", QUIET, 2.8, anchor="middle")
        for value in _ticks(*y):
            mm = float(self.at(0, value)[1])
            sheet.line([[(left, mm), (left + PANEL, mm)]], GRID, 0.2)
            sheet.text(left - 1.5, mm + 1, f"{value:g}", QUIET, 2.8, anchor="end")
        zero = float(self.at(0, max(0.0, y[0]))[1])
        sheet.line([[(left, TOP), (left, BOTTOM)], [(left, zero), (left + PANEL, zero)]], QUIET, 0.3)
        sheet.text(left + PANEL / 2, BOTTOM + 8.5, titles[0], INK, 3, anchor="middle")
        sheet.text(left - 6, TOP - 3, titles[1], INK, 3)

    def at(self, x: Any, y: Any) -> np.ndarray:
        """(2,) or (points, 2) mm."""
        across = self.left + (np.asarray(x) - self.x[0]) / (self.x[1] - self.x[0]) * PANEL
        down = BOTTOM - (np.asarray(y) - self.y[0]) / (self.y[1] - self.y[0]) * (BOTTOM - TOP)
        return np.stack(np.broadcast_arrays(across, down), axis=-1)

    def curve(self, x: np.ndarray, y: np.ndarray, colour: str, width: float, name: str) -> None:
        inside = (x >= self.x[0]) & (x <= self.x[1])
        points = self.at(x[inside], np.clip(y[inside], *self.y))
        if len(points) > 1:
            moved = np.r_[True, np.abs(np.diff(points, axis=0)).max(axis=1) > 0.02]
            self.sheet.line([points[moved]], colour, width, name)

    def mark(self, x: float, y: float, name: str) -> None:
        """A small diamond."""
        self.sheet.line([DIAMOND + self.at(x, y)], MARK, 0.45, name)


def drawn(blows: list[Blow], result: dict[str, Any]) -> Sheet:
    """See the module; `result` is that of `read_spirogram`."""
    predicted, best = result["predicted"] or {}, result["best_manoeuvre"] - 1
    sheet = Sheet(WIDTH, 136, "Spirogram: flow over volume, volume over time")
    sheet.box(0, 0, sheet.width, sheet.height, "#ffffff")
    order = [n for n in range(len(blows)) if n != best] + [best]
    low_flow = min(0.0, *(float(flow.min()) for _, _, flow in blows))
    volume_to = 1.06 * max(*(float(v.max()) for _, v, _ in blows), predicted.get("fvc_l") or 0)
    flow_to = 1.08 * max(*(float(f.max()) for _, _, f in blows), predicted.get("pef_lps") or 0)
    time_to = float(np.clip(1.05 * max(float(t[-1]) for t, _, _ in blows), 2.0, 20.0))
    loop = Panel(sheet, 18, (0, volume_to), (1.1 * low_flow, flow_to), ("volume, L", "flow, L/s"))
    curve = Panel(sheet, 112, (-0.3, time_to), (0, volume_to), ("time, s", "volume, L"))
    for n in order:
        time, volume, flow = blows[n]
        colour, width = (BEST, 0.55) if n == best else (PALE, 0.4)
        loop.curve(np.maximum(volume, 0), flow, colour, width, f"manoeuvre {n + 1}")
        curve.curve(time, volume, colour, width, f"manoeuvre {n + 1}")
    if result["fev1_l"] is not None:
        dot = curve.at(1, np.interp(1.0, blows[best][0], blows[best][1]))
        sheet.line([[(dot[0], dot[1]), (dot[0], BOTTOM)]], QUIET, 0.25, "1 s")
        sheet.text(dot[0] + 1.5, BOTTOM - 2, "FEV1", QUIET, 2.8)
    marks = (
        *((loop, 0.0, predicted.get("pef_lps"), "PEF"), (loop, predicted.get("fvc_l"), 0.0, "FVC")),
        *((curve, 1.0, predicted.get("fev1_l"), "FEV1"), (curve, time_to, predicted.get("fvc_l"), "FVC")),
    )
    for panel, x, y, key in marks:
        if x is not None and y is not None:
            panel.mark(x, y, f"predicted {key}")
    _table(sheet, result)
    if predicted:
        sheet.line([DIAMOND + np.array([71, 104.6])], MARK, 0.45)
    sheet.text(12, 133, "research use only", QUIET, 2.8)
    return sheet


def _table(sheet: Sheet, result: dict[str, Any]) -> None:
    predicted, lln, z = (result[key] or {} for key in ("predicted", "lln", "z_scores"))
    columns = ((30, "measured"), (56, "predicted"), (80, "LLN"), (100, "z"))
    y = 105.5
    for x, title in columns:
        sheet.text(12 + x, y, title if predicted or x == 30 else "", QUIET, 2.8, anchor="end")
    for name, key, unit in ROWS:
        y += 4.6
        low = key in lln and None not in (lln[key], result[key]) and result[key] < lln[key]
        cells = (result[key], predicted.get(key), lln.get(key), z.get(key))
        sheet.text(12, y, name, INK, 3)
        for (x, _), value in zip(columns, cells, strict=True):
            if value is not None:
                words = f"{value:.{3 if key == 'fev1_fvc' and x != 100 else 2}f}".replace("-", "−")
                of = f" {unit}" if x == 30 and unit else ""
                sheet.text(
                    12 + x + 0.0,
                    y,
                    words,
                    LOW if low and x in (30, 100) else INK,
                    3,
                    anchor="end",
                    bold=low and x == 30,
                )
                sheet.text(12 + x + 0.5, y, of.strip(), QUIET, 2.4)
    side = [f"grade {result['grade']}  (FEV1 {result['grades']['fev1']}, FVC {result['grades']['fvc']})"]
    side += [f"pattern: {result['pattern']}"] if result["pattern"] else []
    if result["predicted"]:
        person = f"{result['age']:g} years, {'female' if result['sex'] == 'F' else 'male'}, {result['height_cm']:g} cm"
        side += [f"{result['equations']}: {person}", *(["PEF: NHANES III"] if predicted.get("pef_lps") else [])]
    if result["obstruction_probability"] is not None:
        side.append(f"obstruction, from the curve alone: {result['obstruction_probability']:.2f}")
    for n, words in enumerate(side):
        sheet.text(122, 110.1 + 4.6 * n, words, INK if n < 2 else QUIET, 3)


def _ticks(low: float, high: float) -> np.ndarray:
    """Round numbers from low to high, five or so."""
    raw = (high - low) / 6
    step = next(unit for power in (0.01, 0.1, 1, 10, 100) for f in (1, 2, 5) if (unit := f * power) >= raw)
    return step * np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) + 0.0
