"""`estimate_fetal_age`: gestational age from a cardiotocogram, its gap to the stated one, and FIGO's features.

    result = estimate_fetal_age(recording, arguments, out)

Heart rate and uterus are cleaned (tools/ctg_signal.py), read by FIGO's definitions (tools/ctg.py), drawn on CTG paper
(tools/ctg_paper.py), and the network of encoders/ctg.py estimates the age, after CTGage (arXiv 2509.14242). It learnt
from traces in labour at 37 to 43 weeks, all near the same age: where it did not beat the cohort's mean on patients it
had not seen, `informative` is False, and the sentences give FIGO's features first and say so before they give an age.
What the trace does not allow is None, with a reason in `warnings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.ctg import Features, features
from tools.ctg_signal import Trace, heart_trace
from tools.errors import MissingWeights, UsageError
from tools.recording import Recording

GROUPS = ("< -21", "-21 to -7", "-7 to 7", "7 to 21", "> 21")  # days
POSSIBLE_DAYS = (100, 315)  # of a stated age
MOST_LOSS = 0.5
SHORTEST_S = 60.0


def estimate_fetal_age(recording: Recording, arguments: Any = None, out: Path | None = None) -> dict[str, Any]:
    """Read a cardiotocogram; `arguments`: gestational_age_days or weeks as stated, speed_cm_min (1, 3), format.

    Returns
    -------
    age_days, interval_days [lo, hi] : the network's, with the coverage that `coverage` names.
    gap_days, gap_group : estimate less stated age, and which of CTGage's five groups that is.
    baseline_age_days, informative : mean age of the training cohort; whether the estimate beats saying just that.
    features : FIGO's, see `tools.ctg.features`; accelerations, decelerations, contractions : each with its times.
    figure : path of the trace on CTG paper. warnings.

    Raises
    ------
    UsageError : no heart rate channel, under a minute of trace, an impossible stated age.
    MissingWeights : where the network's weights are not on this machine.
    """
    stated, warnings = _stated(arguments)
    if recording.duration_s < SHORTEST_S:
        raise UsageError(f"the trace is too short: {recording.duration_s:.0f} s; a baseline takes ten minutes")
    trace = heart_trace(recording)
    read = features(trace)
    result: dict[str, Any] = {
        **_aged(trace, read, stated, warnings),
        "stated_age_days": stated,
        "features": read.values,
        "accelerations": read.accelerations,
        "decelerations": read.decelerations,
        "contractions": read.contractions,
    }
    figure, said = _drawn(recording, trace, read, arguments, out)
    every = [*recording.warnings, *read.warnings, *warnings, *said]
    return result | {"figure": str(figure), "warnings": list(dict.fromkeys(every))}


def gap_group(gap_days: float) -> str:
    """CTGage's group of a gap; its edges belong to the inner group."""
    if gap_days < -21 or gap_days > 21:
        return GROUPS[0] if gap_days < 0 else GROUPS[-1]
    if -7 <= gap_days <= 7:
        return GROUPS[2]
    return GROUPS[1] if gap_days < 0 else GROUPS[3]


def weeks_and_days(days: float) -> str:
    """283 -> "40+3", as obstetrics writes it."""
    whole = round(days)
    return f"{whole // 7}+{whole % 7}"


def _stated(arguments: Any) -> tuple[float | None, list[str]]:
    """The stated age in days, and what to say of it."""
    days, weeks = getattr(arguments, "gestational_age_days", None), getattr(arguments, "weeks", None)
    if days is not None and weeks is not None and abs(7 * weeks - days) >= 7:
        raise UsageError(f"--weeks {weeks:g} and --gestational-age-days {days:g} are not the same age: give one")
    said = []
    if days is None and weeks is not None:
        days = round(7 * weeks)
        if float(weeks).is_integer():
            said.append(f"{weeks:g} weeks is taken as {weeks:g}+0, {days} days; completed weeks may be 6 days more.")
    if days is not None and not POSSIBLE_DAYS[0] <= days <= POSSIBLE_DAYS[1]:
        raise UsageError(
            f"a gestational age of {days:g} days is not one: give {POSSIBLE_DAYS[0]} to {POSSIBLE_DAYS[1]}"
        )
    return days, said


def _aged(trace: Trace, read: Features, stated: float | None, warnings: list[str]) -> dict[str, Any]:
    """The estimate and what it is compared with; reasons for what is absent are added to `warnings`."""
    from encoders.ctg import opened
    from encoders.weights import MissingModel

    try:
        reader = opened()
    except MissingModel as error:
        raise MissingWeights(str(error)) from None
    low, high = reader.cohort["range_days"]
    mean = reader.cohort["mean_days"]
    result: dict[str, Any] = {
        "age_days": None, "interval_days": None, "gap_days": None, "gap_group": None,
        "baseline_age_days": mean, "informative": reader.informative, "coverage": reader.coverage,
    }  # fmt: skip
    trained = f"{weeks_and_days(low)} to {weeks_and_days(high)} weeks"
    warnings.append(f"The network has learnt from traces in labour at {trained} only; elsewhere its age means nothing.")
    age, reason = None, _withheld(trace)
    if reason is None and stated is not None and not low <= stated <= high:
        reason = f"the stated {weeks_and_days(stated)} weeks lie outside the trained range, {trained}"
    if reason is None:
        age = reader.read(trace.fhr_bpm, trace.uc).age_days
        reason = None if age is not None else "no half hour of the trace holds enough heart rate"
    if age is None:
        warnings.append(f"The age is not estimated: {reason}.")
        return result
    if trace.uc is not None and not read.contractions:
        warnings.append("No contraction is seen: if this is not labour, it lies outside what the network has learnt.")
    half = reader.half_width_days
    result |= {"age_days": round(age, 1), "interval_days": [round(age - half, 1), round(age + half, 1)]}
    if stated is None:
        warnings.append("There is no gap: it needs the stated gestational age (--gestational-age-days or --weeks).")
    else:
        gap = round(age - stated, 1)
        result |= {"gap_days": gap, "gap_group": gap_group(gap)}
    return result


def _withheld(trace: Trace) -> str | None:
    """Why a trace gives no age, if it does not."""
    if trace.two_rates:
        return "two hearts are mixed in the trace"
    if trace.constant:
        return "the trace is constant"
    if trace.loss > MOST_LOSS:
        return f"{100 * trace.loss:.0f} % of the heart rate is missing"
    return None


def _drawn(
    recording: Recording, trace: Trace, read: Features, arguments: Any, out: Path | None
) -> tuple[Path, list[str]]:
    from tools.ctg_paper import compose
    from tools.paper import save

    speed = getattr(arguments, "speed_cm_min", 1)
    sheet, said = compose(trace, read, speed)
    return save(sheet, recording, f"{speed}-cm-per-min", getattr(arguments, "format", "svg"), out), said


def sentences(result: dict[str, Any]) -> list[str]:
    """The result in words, one fact a sentence; an age that tells something comes first, else FIGO's features do."""
    said, age = [], result["age_days"]
    mean = result["baseline_age_days"]
    if age is not None:
        if not result["informative"]:
            said.append(
                "Gestational age is not informative at term: on patients it had not seen, the estimate was no better "
                f"than always saying the cohort's mean, {mean:.0f} days."
            )
        low, high = result["interval_days"]
        said.append(
            f"Gestational age is estimated at {age:.0f} days ({weeks_and_days(age)} weeks), "
            f"{100 * result['coverage']:.0f} % interval {low:.0f} to {high:.0f} days."
        )
        if result["gap_days"] is not None:
            said.append(
                f"Gestational age gap is {result['gap_days']:+.0f} days to the stated {result['stated_age_days']:.0f} "
                f"days (group {result['gap_group']} days)."
            )
            if not result["informative"]:
                said.append(
                    "Gestational age gap: here it tells how far the stated age is from the cohort's mean, no more."
                )
    features = feature_sentences(result["features"])
    return [*(said + features if result["informative"] else features + said), *result["warnings"]]


def feature_sentences(values: dict[str, Any]) -> list[str]:
    """FIGO's features in words."""
    said = []
    if values["baseline_bpm"] is not None:
        said.append(f"Baseline heart rate is {values['baseline_bpm']} bpm (FIGO's normal: 110 to 160 bpm).")
    for key, words in (("tachycardia_min", "above 160 bpm"), ("bradycardia_min", "below 110 bpm")):
        if (values[key] or 0) > 10:
            said.append(f"Baseline is {words} for {values[key]:.0f} min.")
    if values["variability_bpm"] is not None:
        said.append(f"Variability is {values['variability_bpm']:.0f} bpm (FIGO's normal: 5 to 25 bpm).")
    if values["stv_ms"] is not None:
        said.append(f"Short-term variability is {values['stv_ms']:.1f} ms.")
    if values["accelerations"] is not None:
        said.append(f"Accelerations: {values['accelerations']}.")
        kinds = ", ".join(f"{count} {kind}" for kind, count in values["decelerations"].items() if count)
        deepest = f"; the deepest falls by {values['deepest_bpm']:.0f} bpm" if kinds else ""
        said.append(f"Decelerations: {kinds or 'none'}{deepest}.")
    if values["contractions"] is not None:
        said.append(f"Contractions: {values['contractions_per_10_min']:.1f} in 10 min.")
        if values["tachysystole"]:
            said.append("Contractions are over five in 10 min: tachysystole.")
    said.append(f"Signal loss is {100 * values['signal_loss']:.0f} %, the longest gap {values['longest_gap_s']:.0f} s.")
    return said
