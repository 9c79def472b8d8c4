"""What is asked of a spirogram that the language model sees, and how it answers: wordings, and reading them back.

    report(facts)                     "Breath medium. End early. Curve hollow. Pattern: airflow obstruction."
    report(facts, measured=True)      "FEV1 1.60 L: low. FVC 3.01 L: normal. FEV1/FVC 0.532: low. … Pattern: …"
    said(text)                        {"pattern": "airflow obstruction", "End": "early", …}
    question(rng, facts)              (question, answer)

Without numbers a report tells what the curve shows: how much was blown, whether the blow came to its end, how its flow
falls, and whether that is obstruction. With them it says each as it was given, judged as it was given: what is low is
the tool's to decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tools import gli
from tools.spirogram import FULL_PATTERNS
from tools.spirogram_words import DIGITS, NAMES

OBSTRUCTED, FREE = "airflow obstruction", "no obstruction"
CANNOT = "That cannot be told from this spirogram."
BREATHS = ((2.5, "small"), (4.0, "medium"), (float("inf"), "large"))  # L exhaled
HOLLOW = ((0.5, "hollow"), (0.9, "bent"), (float("inf"), "straight"))  # FEF25-75 / FVC, 1/s
JUDGED = ("fev1_l", "fvc_l", "fev1_fvc")
SAID = (*JUDGED, "pef_lps")


@dataclass
class Facts:
    """Of one blow. numbers : {measure: value} as the tool rounds them; z : {measure: z-score}.

    told : {"Breath" | "End" | "Curve": word}; obstructed : by the encoder, which sees the curve alone."""

    told: dict[str, str]
    obstructed: bool
    numbers: dict[str, float] = field(default_factory=dict)
    z: dict[str, float] = field(default_factory=dict)
    name: str = "spirogram-1"


def facts(blow: dict[str, Any], obstructed: bool, z: dict[str, float], name: str = "spirogram-1") -> Facts:
    """Of a blow as `tools.spirometry.measure` has it."""
    numbers = {key: round(float(blow[key]), DIGITS[key]) for key in SAID if blow[key] is not None}
    told = {"Breath": _word(BREATHS, blow["fvc_l"]), "End": "reached" if blow["ended"] else "early"}
    if blow["fef2575_lps"] is not None:
        told["Curve"] = _word(HOLLOW, blow["fef2575_lps"] / blow["fvc_l"])
    return Facts(told, obstructed, numbers, {key: round(z[key], 2) for key in JUDGED if key in numbers}, name)


def _word(steps: tuple[tuple[float, str], ...], value: float) -> str:
    return next(word for limit, word in steps if value < limit)


def pattern(one: Facts, measured: bool) -> str:
    """By the z-scores where numbers are given, else by the curve."""
    if not measured or "fev1_fvc" not in one.z:
        return OBSTRUCTED if one.obstructed else FREE
    low = {key: one.z[key] < gli.LLN_Z for key in one.z}
    usual = "low FEV1 alone" if low["fev1_l"] else "normal spirometry"
    return FULL_PATTERNS.get((low["fev1_fvc"], low["fvc_l"]), usual)


def judged(one: Facts, key: str) -> str:
    """Against the lower limit of normal, by z."""
    return "low" if one.z[key] < gli.LLN_Z else "normal"


def measured_line(one: Facts) -> str:
    """What is put before the question where numbers are given: as the report says them, so that it can copy."""
    return f"Measured of {one.name}: {' '.join(_given(one)) or 'nothing.'}"


def _given(one: Facts) -> list[str]:
    """["FEV1 1.60 L: low.", …]: a sentence a measure, judged where there is a z-score."""
    said = []
    for key, value in one.numbers.items():
        name, unit = NAMES[key]
        word = f": {judged(one, key)}" if key in one.z else ""
        said.append(f"{name} {value:.{DIGITS[key]}f}{unit}{word}.")
    return said


def report(one: Facts, measured: bool = False) -> str:
    """See the module."""
    parts = _given(one) if measured else []
    parts += [f"{title} {word}." for title, word in one.told.items()]
    return " ".join([*parts, f"Pattern: {pattern(one, measured)}."])


def said(text: str) -> dict[str, str]:
    """What a report says, by its parts; "numbers" is what it gives as measured, word for word."""
    words = {"Breath": BREATHS, "Curve": HOLLOW}
    out = {}
    for title in ("Breath", "End", "Curve"):
        known = [word for _, word in words[title]] if title in words else ["reached", "early"]
        if found := re.search(rf"\b{title} ({'|'.join(known)})\.", text):
            out[title] = found[1]
    names = {OBSTRUCTED, FREE, *FULL_PATTERNS.values(), "low FEV1 alone", "normal spirometry"}
    if (found := re.search(r"Pattern: ([^.]+)\.", text)) and found[1] in names:
        out["pattern"] = found[1]
    return out


REPORT = (
    "What does {n} show?", "Interpret {n}.", "Read {n} for me.", "Write a report of {n}.", "What do you see in {n}?",
    "Your own impression of {n}, please.", "Describe {n} and conclude.", "What do you see yourself, without any tool?",
    "How does {n} look to you?", "Just look at {n} and tell me.", "Report on {n}, please.", "By eye: what is {n}?",
)  # fmt: skip
OF_OBSTRUCTION = (
    "Is there airflow obstruction in {n}?", "Does {n} look obstructive?", "By eye, is {n} obstructed?",
    "Any obstruction in {n}?", "Is the airflow limited in {n}?",
)  # fmt: skip
OF_END = ("Was {n} blown to the end?", "Did the blow of {n} end early?", "Is {n} complete?", "Was {n} stopped early?")
OF_CURVE = ("What shape has the curve of {n}?", "How does the flow of {n} fall?", "Is the curve of {n} hollow?")
NEVER = (
    "What is the diffusing capacity of {n}?", "What is the total lung capacity of {n}?", "Is it asthma or COPD in {n}?",
    "Does the person of {n} smoke?", "How old is the person of {n}?", "What is the residual volume of {n}?",
)  # fmt: skip


def question(rng: Random, one: Facts) -> tuple[str, str]:
    """A question other than the report, and its answer."""
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(OF_OBSTRUCTION).format(n=one.name), "Yes." if one.obstructed else "No."
    if kind < 0.65:
        return rng.choice(OF_END).format(n=one.name), f"End {one.told['End']}."
    if kind < 0.8 and "Curve" in one.told:
        return rng.choice(OF_CURVE).format(n=one.name), f"Curve {one.told['Curve']}."
    return rng.choice(NEVER).format(n=one.name), CANNOT
