"""A risk and what it rests on, in words: a phrase for each feature, and one fact a sentence for answers.

    said("pvc_percent", 18.2, usual)     "frequent ventricular premature complexes (18.2 % of beats)"

`usual` has the quartiles of each feature in the cohort that the model learnt from: above the third a value is called
high, below the first low. Which way a contribution points is said apart: "raises it", "lowers it".
"""

from __future__ import annotations

import re
from typing import Any

from tools.recording import LEADS
from tools.scp import statement

# feature: (what it is, unit, words where it is high, words where it is low)
PHRASES: dict[str, tuple[str, str, str, str]] = {
    "heart_rate_bpm": ("heart rate", "bpm", "a fast heart rate", "a slow heart rate"),
    "rate_trend_bpm": ("change of the heart rate", "bpm", "a rising heart rate", "a falling heart rate"),
    "sdnn_ms": ("SDNN", "ms", "high variability of normal beats", "low variability of normal beats"),
    "rmssd_ms": ("RMSSD", "ms", "high beat-to-beat variability", "low beat-to-beat variability"),
    "pnn50_percent": ("pNN50", "%", "many changes of RR above 50 ms", "few changes of RR above 50 ms"),
    "rr_cv_percent": ("spread of all RR", "%", "irregular RR intervals", "steady RR intervals"),
    "pvc_percent": (
        "ventricular premature complexes", "% of beats", "frequent ventricular premature complexes",
        "few ventricular premature complexes",
    ),
    "pac_percent": (
        "atrial premature complexes", "% of beats", "frequent atrial premature complexes",
        "few atrial premature complexes",
    ),
    "pvc_run_percent": (
        "beats in ventricular couplets and runs", "% of beats", "ventricular couplets and runs",
        "no ventricular couplets or runs",
    ),
    "longest_pvc_run": (
        "longest run of ventricular beats", "beats", "a long run of ventricular beats", "no run of ventricular beats",
    ),
    "pvc_coupling_percent": (
        "coupling of ventricular beats", "% of the usual RR", "late-coupled ventricular beats",
        "early-coupled ventricular beats",
    ),
    "early_beat_percent": ("early beats", "% of beats", "many early beats", "few early beats"),
    "pause_percent": ("pauses", "% of beats", "many pauses", "few pauses"),
    "qrs_width_ms": ("QRS width", "ms", "a wide QRS", "a narrow QRS"),
    "beat_alike": ("likeness of the beats", "correlation", "beats of one shape", "beats of changing shape"),
    "odd_beat_percent": (
        "beats of another shape", "% of beats", "many beats of another shape", "few beats of another shape",
    ),
    "p_height_percent": ("P wave", "% of QRS height", "a tall P wave", "a flat P wave"),
    "st_percent": ("ST level", "% of QRS height", "a raised ST segment", "a lowered ST segment"),
    "t_height_percent": ("T wave", "% of QRS height", "a tall T wave", "a flat or inverted T wave"),
    "rt_ms": ("time from R to the peak of T", "ms", "a late T wave", "an early T wave"),
    "rtc_ms": ("rate-corrected time from R to the peak of T", "ms", "long repolarisation", "short repolarisation"),
    "t_width_ms": ("width of T", "ms", "a broad T wave", "a narrow T wave"),
    "t_variability_percent": ("variability of T", "% of QRS height", "a variable T wave", "a steady T wave"),
    "t_alternans_percent": ("T-wave alternans", "% of QRS height", "T-wave alternans", "little T-wave alternans"),
    "age": ("age", "years", "a high age", "a low age"),
    "pr_ms": ("PR interval", "ms", "a long PR interval", "a short PR interval"),
    "p_ms": ("P duration", "ms", "a long P wave", "a short P wave"),
    "qrs_ms": ("QRS duration", "ms", "a wide QRS", "a narrow QRS"),
    "qt_ms": ("QT interval", "ms", "a long QT interval", "a short QT interval"),
    "qtc_ms": ("QTc", "ms", "a long QTc", "a short QTc"),
    "rr_mean_ms": ("mean RR", "ms", "long RR intervals", "short RR intervals"),
    "rr_sd_ms": ("SD of RR", "ms", "irregular RR intervals", "steady RR intervals"),
    "rr_min_ms": ("shortest RR", "ms", "no short RR interval", "a short RR interval"),
    "rr_max_ms": ("longest RR", "ms", "a long RR interval", "no long RR interval"),
    "no_p": ("no P waves (1: yes)", "", "no P waves", "P waves there"),
    "irregular": ("irregular RR (1: yes)", "", "irregular RR intervals", "regular RR intervals"),
    "paced": ("paced (1: yes)", "", "pacing", "no pacing"),
    "ectopic_v": ("ventricular ectopics", "of the beats", "many ventricular ectopics", "few ventricular ectopics"),
    "ectopic_s": (
        "supraventricular ectopics", "of the beats", "many supraventricular ectopics", "few supraventricular ectopics",
    ),
    "qrs_t_angle_deg": ("QRS-T angle", "°", "a wide QRS-T angle", "a narrow QRS-T angle"),
    "height_i_less_iii_mv": (
        "QRS height in I less that in III", "mV", "a taller QRS in I than in III", "a taller QRS in III than in I",
    ),
    "r_progression": ("R in V3 less R in V1", "mV", "good R progression", "poor R progression"),
}  # fmt: skip
WAVES = {"q": "Q", "r": "R", "s": "S", "r2": "R'", "s2": "S'"}
OF_A_LEAD = {  # of the measurement matrix, encoders/measures.py
    "p_mv": "P amplitude", "t_mv": "T amplitude", "j_mv": "J point", "qrs_area_uvs": "QRS area",
    "st60_mv": "ST at J+60 ms", "st80_mv": "ST at J+80 ms",
    **{f"{key}_{unit}": f"{wave} {what}" for key, wave in WAVES.items() for unit, what in
       (("mv", "amplitude"), ("ms", "duration"))},
}  # fmt: skip
OTHERS = {"sokolow": "Sokolow-Lyon voltage", "cornell": "Cornell voltage"}
ABSENT = {"pvc_coupling_percent": "no ventricular beats whose coupling could be measured"}  # a fact in itself
UNITS = {"mv": "mV", "ms": "ms", "bpm": "bpm", "deg": "°", "percent": "%", "uvs": "µV·s", "cm": "cm", "kg": "kg"}
FOUND, HARDLY = 0.5, 0.1  # a probability is said as the finding itself; as little sign of it
TOLD = 5  # contributions in sentences


def known(feature: str) -> tuple[str, str, str, str]:
    """(title, unit, high, low) of a feature; of one not in `PHRASES` from its name."""
    name = feature.removeprefix("strip_")
    if name in PHRASES:
        return PHRASES[name]
    if axis := re.fullmatch(r"(p|qrs|t)_axis_deg_(sin|cos)", name):
        title = f"{axis[1].upper()} axis, {'sine' if axis[2] == 'sin' else 'cosine'}"
        return title, "", f"high {title}", f"low {title}"
    if name.startswith("p_"):
        finding = statement(name[2:]).name
        return finding, "probability", f"more sign of {finding} than usual", f"little sign of {finding}"
    *words, last = re.sub(r"[^\w ]", "", name)[:60].split("_")
    unit = UNITS.get(last, "")
    title = " ".join(words if unit and words else [*words, last])
    lead, _, wave = name.partition("_")
    if lead in LEADS and wave in OF_A_LEAD:
        title = f"{OF_A_LEAD[wave]} in {lead}"
    elif unit and len(words) == 1:
        title = OTHERS.get(words[0], title)
    return title, unit, f"high {title}", f"low {title}"


def title(feature: str) -> str:
    """A short name for a figure's row."""
    name, unit, _, _ = known(feature)
    return f"{name} ({unit})" if unit else name


def amount(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    number = f"{value:.2f}" if unit in ("probability", "correlation", "mV") else f"{value:.3g}"
    return f"{unit} {number}" if unit in ("probability", "correlation") else f"{number} {unit}".strip()


def said(feature: str, value: float | None, usual: dict[str, list[float]]) -> str:
    """The feature and its value as a phrase, with the cohort's quartiles as the measure of high and low."""
    name, unit, high, low = known(feature)
    if value is None:
        return ABSENT.get(feature.removeprefix("strip_"), f"{name} not measured")
    first, _, third = usual.get(feature, (value, value, value))
    if first == third == value:
        return f"{name} ({amount(value, unit)})"
    if unit == "probability":
        words = name if value >= FOUND else high if value > third else low if value < HARDLY else f"some sign of {name}"
        return f"{words} ({amount(value, unit)})"
    words = high if value > third or (value == third > first) else low if value <= first else f"{name} as usual"
    return f"{words} ({amount(value, unit)})"


def sentences(result: dict[str, Any]) -> list[str]:
    """The result in words, one fact a sentence: risk, what moves it, on whom it was learnt, doubts."""
    if result["risk"] is None:
        return list(dict.fromkeys(result["warnings"]))
    low, high = result["risk_interval"]
    out = [
        f"Risk of {result['horizon']}: {result['risk']:.2f} (95 % interval {low:.2f} to {high:.2f}), "
        f"where the cohort's own share was {result['share_in_cohort']:.2f}."
    ]
    for one in result["explanation"][:TOLD]:
        if abs(one["shap"]) >= 0.005:
            verb = "raises" if one["shap"] > 0 else "lowers"
            words = one["words"][0].upper() + one["words"][1:]
            out.append(f"{words}: {verb} the risk of VT or VF, log-odds {one['shap']:+.2f}.")
    out.append(f"Without anything known of the patient the log-odds would be {result['base_value']:.2f}.")
    return list(dict.fromkeys([*out, result["cohort"], *result["warnings"]]))
