"""A spirogram in words: a short report, and one fact a sentence for answers.

Every number in either is one of `read_spirogram`'s result (tools/spirogram.py), with the digits it has there.
"""

from __future__ import annotations

from typing import Any

DIGITS = {"fev1_l": 2, "fvc_l": 2, "fev6_l": 2, "fev1_fvc": 3, "pef_lps": 2, "fef2575_lps": 2, "fet_s": 1, "bev_l": 3}
NAMES = {
    "fev1_l": ("FEV1", " L"),
    "fvc_l": ("FVC", " L"),
    "fev1_fvc": ("FEV1/FVC", ""),
    "pef_lps": ("PEF", " L/s"),
    "fef2575_lps": ("FEF25-75", " L/s"),
    "fev6_l": ("FEV6", " L"),
    "fet_s": ("Forced expiratory time", " s"),
    "bev_l": ("Back-extrapolated volume", " L"),
}


def report(result: dict[str, Any]) -> str:
    """The result as a short report; every number in it is one of the result."""
    made, good = len(result["manoeuvres"]), [m for m in result["manoeuvres"] if len(m["acceptable"]) == 2]
    parts = [f"Quality: grade {result['grade']}, {len(good)} of {made} manoeuvres acceptable."]
    parts.append(" ".join(_values(result)))
    if result["pattern"]:
        parts.append(f"Interpretation by {result['equations']}: {_named(result)}.")
    elif result["predicted"] is None:
        parts.append("Interpretation: none without predicted values.")
    else:
        parts.append("Interpretation: none, for the quality of the manoeuvres.")
    if result["obstruction_probability"] is not None:
        parts.append(f"From the curve alone the probability of obstruction is {result['obstruction_probability']:.2f}.")
    return "\n".join(parts)


def _named(result: dict[str, Any]) -> str:
    return result["pattern"] + (f", {result['severity']}" if result["severity"] else "")


def _values(result: dict[str, Any]) -> list[str]:
    """A sentence for each of the measurements."""
    said = []
    predicted, lln, z, percent = (result[k] or {} for k in ("predicted", "lln", "z_scores", "percent_predicted"))
    for key, (name, unit) in NAMES.items():
        value = result[key]
        if value is None:
            continue
        beside = []
        if predicted.get(key) is not None:
            share = f"{percent[key]} % of " if key in percent else ""
            beside.append(f"{share}predicted {predicted[key]:.{DIGITS[key]}f}{unit}")
            beside.append(f"LLN {lln[key]:.{DIGITS[key]}f}{unit}")
        if z.get(key) is not None:
            beside.append(f"z {z[key]:.2f}")
        inside = f" ({', '.join(beside)})" if beside else ""
        said.append(f"{name} {value:.{DIGITS[key]}f}{unit}{inside}.")
    return said


def sentences(result: dict[str, Any]) -> list[str]:
    """The result in words, one fact a sentence."""
    said = []
    if result["pattern"]:
        said.append(f"Spirometry pattern by {result['equations']}: {_named(result)}.")
    said += _values(result)
    if result["obstruction_probability"] is not None:
        said.append(f"Probability of obstruction, from the curve alone: {result['obstruction_probability']:.2f}.")
    grades, good = result["grades"], [m for m in result["manoeuvres"] if len(m["acceptable"]) == 2]
    said.append(
        f"Grade of the session: {result['grade']} (FEV1 {grades['fev1']}, FVC {grades['fvc']}), "
        f"{len(good)} of {len(result['manoeuvres'])} manoeuvres acceptable."
    )
    apart = result["repeatability_l"]
    if None not in apart.values():
        said.append(
            f"Repeatability: the two largest differ by {apart['fev1']:.3f} L in FEV1, {apart['fvc']:.3f} L in FVC."
        )
    return [*said, *result["warnings"]]
