"""The waterfall of a risk: from the base value, one contribution after the other, to the log-odds that are shown.

sheet = waterfall(result)          # a tools.sheet.Sheet; `result` as predict_vtvf_risk returns it
"""

from __future__ import annotations

import math
from typing import Any

from tools.risk_words import amount, known
from tools.sheet import Sheet

WIDTH, LEFT, RIGHT = 210.0, 92.0, 12.0
ROW, TOP = 7.0, 22.0
LONGEST = 46  # letters of a name
MOST = 9  # rows; the rest is one
RAISES, LOWERS, INK, QUIET, PAPER, RULE = "#c0392b", "#2471a3", "#222222", "#6b6b6b", "#ffffff", "#dddddd"


def waterfall(result: dict[str, Any]) -> Sheet:
    """Rows from the least to the most important upwards, as SHAP's own waterfall has them."""
    parts = [(_label(one), one["shap"]) for one in result["explanation"]]
    rows, rest = parts[:MOST], parts[MOST:]
    if rest:
        rows.append((f"{len(rest)} other features", sum(value for _, value in rest)))
    rows = rows[::-1]
    sheet = Sheet(WIDTH, TOP + ROW * len(rows) + 20, f"Risk {result['risk']:.2f}, taken apart")
    sheet.box(0, 0, sheet.width, sheet.height, PAPER)
    sheet.text(6, 8, f"Risk of {result['horizon']}: {result['risk']:.2f}", INK, 4.4, bold=True)
    low, high = result["risk_interval"]
    sheet.text(6, 13.5, f"95 % interval {low:.2f} to {high:.2f} · research software, no medical device", QUIET, 3)
    ends = [result["base_value"]]
    for _, value in rows:
        ends.append(ends[-1] + value)
    place = _scale(ends)
    bottom = TOP + ROW * len(rows)
    for tick in _ticks(min(ends), max(ends)):
        sheet.line([[(place(tick), TOP - 2), (place(tick), bottom)]], RULE, 0.2)
        risk = 1 / (1 + math.exp(-tick))
        sheet.text(
            place(tick), bottom + 4.5, f"{risk:.0%}" if risk >= 0.01 else f"{risk:.1%}", QUIET, 2.8, anchor="middle"
        )
    sheet.text((LEFT + WIDTH - RIGHT) / 2, bottom + 10, "risk, on the scale of log-odds", QUIET, 2.8, anchor="middle")
    for row, ((label, value), start, stop) in enumerate(zip(rows, ends, ends[1:], strict=False)):
        y = bottom - ROW * (row + 1)
        a, b = sorted((place(start), place(stop)))
        sheet.box(a, y + 1, max(b - a, 0.3), ROW - 2, RAISES if value > 0 else LOWERS)
        sheet.line([[(place(stop), y + 1), (place(stop), y - 1)]], QUIET, 0.15)
        sheet.text(LEFT - 3, y + ROW / 2 + 1.1, label, INK, 3, anchor="end")
        right = b + 1.2
        if right + 9 < WIDTH:
            sheet.text(right, y + ROW / 2 + 1, f"{value:+.2f}", INK, 2.8)
        else:
            sheet.text(a - 1.2, y + ROW / 2 + 1, f"{value:+.2f}", INK, 2.8, anchor="end")
    sheet.text(6, bottom + 16, f"Base value {ends[0]:.2f}, log-odds of this recording {ends[-1]:.2f}.", QUIET, 2.8)
    sheet.text(WIDTH - 6, bottom + 16, "red raises, blue lowers", QUIET, 2.8, anchor="end")
    return sheet


def _label(one: dict[str, Any]) -> str:
    name, unit, _, _ = known(one["feature"])
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    if unit == "probability" and one["value"] is not None:
        return f"{name} · p {one['value']:.2f}"
    return f"{name} · {amount(one['value'], unit.split(' of ')[0])}"


def _scale(ends: list[float]) -> Any:
    low, high = min(ends), max(ends)
    room = max(high - low, 0.2)
    low, high = low - 0.12 * room, high + 0.12 * room
    return lambda value: LEFT + (value - low) / (high - low) * (WIDTH - RIGHT - LEFT)


def _ticks(low: float, high: float) -> list[float]:
    """Log-odds of round risks between the ends."""
    round_risks = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999)
    return [math.log(p / (1 - p)) for p in round_risks if low - 0.05 <= math.log(p / (1 - p)) <= high + 0.05]
