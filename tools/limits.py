"""The usual limits of resting adults, said beside a measurement.

Rate, PR, axis, and QRS: AHA/ACCF/HRS recommendations for the standardization and interpretation of the ECG,
part III (Surawicz et al. 2009, doi 10.1016/j.jacc.2008.12.013); QTc: part IV (Rautaharju et al. 2009,
doi 10.1016/j.jacc.2008.12.014). Children have others; these are said of nobody under 18.
"""

from __future__ import annotations

ADULT_YEARS = 18


def beside(what: str, value: float) -> str:
    """The words that follow a value, like ", within the usual 60–100 bpm"; "" where there is no limit.

    `what` is a key of `measure_ecg`'s result.
    """
    if what == "heart_rate_bpm":
        return f", {_side(value, 60, 100)} the usual 60–100 bpm"
    if what == "pr_ms":
        return f", {_side(value, 120, 200)} the usual 120–200 ms"
    if what == "qrs_ms":
        return f", {_side(value, 0, 110)} the usual limit of 110 ms"
    if what == "qrs_axis_deg":
        return f", {'within' if -30 <= value <= 90 else 'outside'} the usual -30° to 90°"
    return ""


def qtc(value_ms: float, sex: str | None = None) -> str:
    """A sentence on QTc by Bazett; without a known sex it names both limits."""
    if sex in ("F", "M"):
        limit, who = (460, "women") if sex == "F" else (450, "men")
        return f"QTc by Bazett is {'above' if value_ms >= limit else 'within'} the usual limit of {limit} ms for {who}."
    if 450 <= value_ms < 460:
        return "QTc by Bazett is above the usual limit of 450 ms for men but within that of 460 ms for women."
    side = "above" if value_ms >= 460 else "within"
    return f"QTc by Bazett is {side} the usual limits of 450 ms for men and 460 ms for women."


def _side(value: float, low: float, high: float) -> str:
    return "below" if value < low else "above" if value > high else "within"
