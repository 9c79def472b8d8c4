"""From a recording to the named numbers that a risk model reads; the same for training and for the tool.

    strip_values(recording, encoder)   # input "strip": an ambulatory strip of one or two leads, a minute or more
    ecg_values(recording, encoder)     # input "ecg": any ECG, as a hospital's cohort has them

"ecg" gives the encoder's probabilities (`p_CODE`), the measurement matrix (encoders/measures.py) and, where there is a
minute or more, the strip's features with `strip_` before their names. `encoder` is "reading" (the default) or
"ecgfounder-12" (150 probabilities, where its weights were pulled).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from encoders import measures
from tools.errors import MissingWeights, UsageError
from tools.measure import measure_ecg
from tools.recording import LEADS, Recording
from tools.risk_features import GROUPS, MINUTE_S, NAMES, strip_features

ENCODERS = ("reading", "ecgfounder-12")
LONGEST_S = 300.0  # of a strip: its last five minutes
MOST_LEADS = 2
PREFERRED = ("II", "V5", "V1")


@cache
def opened(encoder: str) -> Any:
    """The encoder of that name; MissingWeights where it is not on this machine."""
    from encoders import founder, reading
    from encoders.weights import MissingModel

    if encoder not in ENCODERS:
        raise UsageError(f"--encoder: {' or '.join(ENCODERS)}")
    try:
        return reading.reader() if encoder == "reading" else founder.load(encoder)
    except MissingModel as error:
        raise MissingWeights(str(error)) from None


def strip_of(recording: Recording) -> Recording:
    """The last five minutes of up to two leads: those named `PREFERRED` where there are more."""
    names = recording.leads
    if len(names) > MOST_LEADS:
        wanted = [name for name in PREFERRED if name in names] + [name for name in names if name not in PREFERRED]
        names = tuple(wanted[:MOST_LEADS])
    rows = [recording.leads.index(name) for name in names]
    last = round(LONGEST_S * recording.fs_hz)
    return replace(recording, signal=recording.signal[rows, -last:], leads=names, gain=None)


def strip_values(recording: Recording, encoder: str = "reading") -> dict[str, float] | None:
    """Features of `tools.risk_features.NAMES`; None where no minute can be read."""
    strip = strip_of(recording)
    return strip_features(strip.signal, strip.fs_hz, opened(encoder))


def ecg_values(recording: Recording, encoder: str = "reading") -> dict[str, float]:
    """Probabilities, measurements and, of a minute or more, `strip_…`; NaN where a quantity was not measured."""
    measured = measure_ecg(recording)
    values = {f"p_{code}": p for code, p in _probabilities(recording, measured, encoder).items()}
    values |= dict(zip(measures.NAMES, map(float, measures.vector(measured)), strict=True))
    if recording.duration_s >= MINUTE_S:
        strip = strip_of(recording)
        found = strip_features(strip.signal, strip.fs_hz) or {}
        values |= {f"strip_{name}": value for name, value in found.items()}
    return values


def _probabilities(recording: Recording, measured: dict[str, Any], encoder: str) -> dict[str, float]:
    if encoder != "reading":
        of_founder = opened(encoder)
        if any(lead not in recording.leads for lead in of_founder.leads):
            raise UsageError(f"{encoder} needs all of {', '.join(of_founder.leads)}: use --encoder reading")
        signal = np.stack([recording.lead(lead) for lead in of_founder.leads])
        from encoders.founder import labels

        p, _ = of_founder.read(signal, recording.fs_hz)
        return dict(zip(labels(), map(float, p), strict=True))
    usable = measured["quality"]["leads"]
    used = [name for name in recording.leads if name in LEADS and usable[name]["usable"]]
    if not used:
        return {}
    rows = [recording.leads.index(name) for name in used]
    seen = opened(encoder).read(recording.signal[rows], recording.fs_hz, tuple(used), measured)
    return {code: float(p) for group in GROUPS for code, p in seen.probabilities.get(group, {}).items()}


def number(value: Any) -> float:
    """A covariate as a number, NaN where it is absent; "F" is 1 and "M" is 0."""
    if value is None or value == "":
        return math.nan
    return {"F": 1.0, "M": 0.0}[value] if value in ("F", "M") else float(value)


__all__ = ["NAMES", "ecg_values", "number", "opened", "strip_of", "strip_values"]
