"""One record type for every signal, and the names of the field.

A `Recording` is what every tool takes: `signal` (leads, samples) float32 in `unit`, sampled at `fs_hz`.
`read` opens any supported file (tools/formats.py), `write` keeps one (tools/writing.py); what is written reads
back equal. `canonical_lead` knows the spellings of lead names that files use.

    recording, = read("00001_hr")                     # WFDB by its stem, as PhysioNet names records
    recording, = read("ecg.csv", fs_hz=500, unit="mV")
    write(recording, "out/ecg")                       # -> out/ecg.hea and out/ecg.dat
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tools.errors import UsageError

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LIMB_LEADS, CHEST_LEADS = LEADS[:6], LEADS[6:]
KINDS = ("ecg", "ppg", "spirogram", "ctg")
META_FIELDS = ("age", "sex", "date", "device", "format", "synthetic", "rebuilt")  # nothing else of a file is ever kept


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


_ALIASES = {lead.lower(): lead for lead in LEADS}
_ALIASES |= {"d1": "I", "d2": "II", "d3": "III", "di": "I", "dii": "II", "diii": "III"}  # as Latin countries write
_ALIASES |= {f"c{n}": f"V{n}" for n in range(1, 7)}  # IEC names of the chest electrodes
_PREFIX = re.compile(r"(mdcecglead|ecglead|ekglead|lead|ecg|ekg)(?=.)")


def made_by_a_model(recording: Recording) -> list[str]:
    """What of it no heart was recorded for, in sentences: whatever is told of it must say so."""
    said = []
    if recording.meta.get("synthetic"):
        said.append("This recording is synthetic: it was drawn by a model, not recorded from a person.")
    if rebuilt := recording.meta.get("rebuilt"):
        said.append(f"Leads rebuilt by a model, not recorded: {', '.join(str(rebuilt).split())}.")
    return said


def canonical_lead(name: str) -> str | None:
    """The field's spelling of one of the twelve leads, or None if the name is not one of them.

    >>> [canonical_lead(name) for name in ("AVR", "MDC_ECG_LEAD_I", "ECG Lead II", "v1,", "V5 (uV)", "MLII", "ECG 1")]
    ['aVR', 'I', 'II', 'V1', 'V5', None, None]
    """
    key = re.sub(r"[(\[].*?[)\]]", "", name).lower()  # "I (mV)"
    if key.lstrip().startswith("-"):  # "-aVR" is another lead
        return None
    key = re.sub(r"[^a-z0-9]", "", key)
    return _ALIASES.get(key) or _ALIASES.get(_PREFIX.sub("", key, count=1))


def read(
    path: str | Path, *, fs_hz: float | None = None, unit: str | None = None, kind: str | None = None
) -> list[Recording]:
    """Every recording in a file: one for a plain file, several for a zip, or for a file of several kinds.

    Parameters
    ----------
    path : a file of any supported format; for WFDB the header, the signal file beside it, or the stem of both.
    fs_hz, unit : for files that do not say their rate or unit; a file that does is believed.
    kind : of `KINDS`; which signals to take from a file that holds several (default: the ECG, else what there is);
        "all" for a recording of each.

    Raises
    ------
    NeedsFields : the file does not say its rate or unit and they were not given.
    UnreadableFile : anything else that is wrong with the file, in one line.
    UsageError : an argument that makes no sense.
    """
    from tools.formats import read as read_file
    from tools.healing import known_unit

    if kind is not None and kind not in (*KINDS, "all"):
        raise UsageError(f"--kind: {', '.join(KINDS)}")
    if fs_hz is not None and not (math.isfinite(fs_hz) and fs_hz > 0):
        raise UsageError("--fs-hz: a number of samples a second, such as 500")
    if unit is not None and not known_unit(unit):
        raise UsageError("--unit: mV, uV, V or nV for an ECG; NU, bpm, L or L/s for other kinds")
    return read_file(path, fs_hz=fs_hz, unit=unit, kind=kind)


def write(recording: Recording, path: str | Path, format: str = "wfdb") -> Path:
    """Keep a recording as "wfdb", "csv" or "npz" under `path`; the file (for WFDB the header) that was written.

    The suffix of `path` is set by the format. Files appear whole or not at all.
    """
    from tools.writing import WRITERS

    if format not in WRITERS:
        raise UsageError(f"--format: {', '.join(WRITERS)}")
    return WRITERS[format](recording, Path(path))
