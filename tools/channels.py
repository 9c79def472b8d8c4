"""What a parser hands over before healing: the channels of a file as they stand in it, and units of voltage."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tools.recording import KINDS

_MV = {"nv": 1e-6, "uv": 1e-3, "mv": 1.0, "v": 1e3}
_MV |= {"nanovolt": 1e-6, "microvolt": 1e-3, "millivolt": 1.0, "volt": 1e3}


def plain_unit(text: str) -> str:
    """Lower case, micro as u, no spaces or brackets."""
    return re.sub(r"[\s()\[\]]", "", text.replace("µ", "u").replace("μ", "u")).lower()


def volts(unit: str | None) -> float | None:
    """mV in one of `unit`, None if it is not a voltage."""
    return _MV.get(plain_unit(unit).removesuffix("s")) if unit else None


@dataclass
class Channels:
    """What a parser found in a file, before healing; lists have one entry a channel.

    signals : (samples,) float arrays, in the file's units.
    rates_hz, units : None where the file does not say.
    gain : digital steps per file unit, None where the source was not digital.
    kind : what the file itself says it is, if it does.
    """

    signals: list[np.ndarray]
    names: list[str]
    rates_hz: list[float | None]
    units: list[str | None]
    gain: list[float | None]
    kind: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def take(self, rows: list[int]) -> None:
        """Keep these channels only, in this order."""
        for name in ("signals", "names", "rates_hz", "units", "gain"):
            values = getattr(self, name)
            setattr(self, name, [values[row] for row in rows])

    def believe(self, said: dict[str, Any]) -> None:
        """Take what a CSV or NPZ of ours says of itself, as far as it makes sense."""
        count = len(self.signals)
        fs_hz, unit, gain = said.get("fs_hz"), said.get("unit"), said.get("gain")
        if isinstance(fs_hz, (int, float)) and math.isfinite(fs_hz):
            self.rates_hz = [float(fs_hz)] * count
        if isinstance(unit, str):
            self.units = [unit] * count
        if isinstance(gain, list) and len(gain) == count and all(math.isfinite(step) and step > 0 for step in gain):
            self.gain = [float(step) for step in gain]
        self.kind = said["kind"] if said.get("kind") in KINDS else None
        self.meta |= said.get("meta") or {}
