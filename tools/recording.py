"""One record type for every signal, and the names of the field.

A `Recording` is what every tool takes: `signal` (leads, samples) float32 in `unit`, sampled at `fs_hz`.
`read` opens any supported file (tools/formats.py), `write` keeps one; what is written reads back equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LIMB_LEADS, CHEST_LEADS = LEADS[:6], LEADS[6:]
KINDS = ("ecg", "ppg", "spirogram", "ctg")
META_FIELDS = ("age", "sex", "date", "device", "format", "synthetic")  # nothing else of a file is ever kept


@dataclass(frozen=True)
class Recording:
    """A recorded signal.

    Attributes
    ----------
    signal : (leads, samples) float32, in `unit`; NaN where nothing was recorded.
    fs_hz : samples a second.
    leads : a name a row, canonical where known (`I … V6`).
    kind : one of `KINDS`.
    unit : "mV" for an ECG.
    gain : digital steps per unit for each lead, where the source was digital; makes writing loss-free.
    meta : the whitelisted `META_FIELDS` only; free text of a file (names, comments) is never kept.
    warnings : what reading had to heal or leave out, one sentence each.
    """

    signal: np.ndarray
    fs_hz: float
    leads: tuple[str, ...]
    kind: str = "ecg"
    unit: str = "mV"
    gain: tuple[float, ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return self.signal.shape[1] / self.fs_hz

    def lead(self, name: str) -> np.ndarray:
        """(samples,) of one lead; KeyError if it is not there."""
        try:
            return self.signal[self.leads.index(name)]
        except ValueError:
            raise KeyError(name) from None
