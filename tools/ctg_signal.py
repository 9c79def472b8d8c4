"""A cardiotocogram at 4 Hz with what is no heart rate taken out: the step before every figure of tools/ctg.py.

    trace = heart_trace(recording)
    trace.fhr_bpm, trace.uc, trace.loss            # NaN where nothing is known

Missing is 0, NaN, or outside 50-220 bpm. Autocorrelation of the Doppler signal can lock on half or twice the rate, and
a lost signal leaves spikes: both begin with a step that no heart takes (over `JUMP_BPM` within a quarter of a second;
Spilka et al. 2012, doi 10.1016/j.bspc.2011.06.008). They are removed, never corrected, and `removed_s` says how much.
Two hearts in one channel show as many such steps between the same two rates, each held for some time: `two_rates`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np

from tools.errors import UsageError
from tools.recording import Recording

FS_HZ = 4
LOWEST_BPM, HIGHEST_BPM = 50.0, 220.0
JUMP_BPM = 25.0  # within one sample
SPIKE_S = 5.0  # a piece between such steps that is no longer, away from both sides, is a spike
LOCKED_S = 60.0  # half or twice the rate is believed to be an error for no longer
HALF, TWICE = (0.43, 0.57), (1.75, 2.3)
HOLD_S, SWITCHES, STEP_BPM = 4.0, 12, 12.0  # two rates: each held so long, changed so often, by steps so high
WINDOW = 10 * 60 * FS_HZ
UC_NAMES = ("UC", "TOCO", "UA")


@dataclass(frozen=True)
class Trace:
    """A cleaned cardiotocogram.

    Attributes
    ----------
    fhr_bpm : (samples,) float64 at 4 Hz, NaN where missing or removed.
    uc : (samples,) uterine activity in the recorder's units, NaN where missing; None without a usable channel.
    loss : share of the recording without a usable heart rate.
    removed_s : {"spikes" | "halved" | "doubled": seconds taken out}.
    two_rates : bpm of the lower and the higher rate between which the trace jumps; None if it does not.
    constant : whether the rate never changes, as from a test generator.
    warnings : one sentence each.
    """

    fhr_bpm: np.ndarray
    uc: np.ndarray | None
    loss: float
    removed_s: dict[str, float] = field(default_factory=dict)
    two_rates: tuple[float, float] | None = None
    constant: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def minutes(self) -> float:
        return len(self.fhr_bpm) / FS_HZ / 60


def heart_trace(recording: Recording) -> Trace:
    """The cleaned trace of a `ctg` recording.

    Raises
    ------
    UsageError : no channel of fetal heart rate, another unit than bpm, or not one plausible value.
    """
    if recording.unit != "bpm":
        raise UsageError(f"a fetal heart rate is read in bpm, this recording is in {recording.unit[:12]}: convert it")
    names = [name for name in recording.leads if name.startswith("FHR")]
    if not names:
        there = ", ".join(recording.leads)[:60]
        raise UsageError(f"the recording has no channel of fetal heart rate (FHR), only {there}: record or name it")
    fhr = _plausible(at_4_hz(recording.lead(names[0]), recording.fs_hz))
    if not np.isfinite(fhr).any():
        raise UsageError(f"channel {names[0]} holds no heart rate of 50 to 220 bpm: check the transducer and the unit")
    warnings = _other_hearts(recording, names, fhr)
    fhr, removed = without_artefacts(fhr)
    uc, said = _uterus(recording)
    rates = _two_rates(fhr)
    if rates:
        warnings.append(
            f"The trace jumps between two rates, about {rates[0]:.0f} and {rates[1]:.0f} bpm: "
            "a second twin's or the mother's heart is mixed in."
        )
    known = fhr[np.isfinite(fhr)]
    constant = len(known) > 60 * FS_HZ and bool(np.ptp(np.percentile(known, [1, 99])) < 1)
    if constant:
        warnings.append(
            f"The heart rate stays at {np.nanmedian(fhr):.0f} bpm without any change, which no heart does: "
            "a test signal or a stuck channel."
        )
    loss = float(np.isnan(fhr).mean())
    return Trace(fhr, uc, loss, removed, rates, constant, (*warnings, *said))


def at_4_hz(values: np.ndarray, fs_hz: float) -> np.ndarray:
    """(samples,) at 4 Hz: the mean of what is known in a quarter of a second (0 and NaN are not), held if slower."""
    values = np.asarray(values, float)
    if fs_hz == FS_HZ:
        return values.copy()
    n = int(len(values) / fs_hz * FS_HZ + 1e-6)
    if fs_hz < FS_HZ:
        return values[np.minimum((np.arange(n) * fs_hz / FS_HZ).astype(int), len(values) - 1)]
    cell = np.minimum((np.arange(len(values)) * FS_HZ / fs_hz).astype(int), n - 1)
    known = np.isfinite(values) & (values != 0)
    total = np.bincount(cell[known], values[known], n)
    count = np.bincount(cell[known], minlength=n)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def without_artefacts(fhr: np.ndarray) -> tuple[np.ndarray, dict[str, float]]:
    """The trace (bpm at 4 Hz) with spikes and halved or doubled stretches as NaN, and seconds taken out of each kind.

    A stretch goes if it begins or ends with a step beyond `JUMP_BPM` and is a spike (short, and away from the half
    minute around it by more than that) or lies at half or twice its neighbour across the step. A deceleration does
    neither: it falls beat by beat.
    """
    out = fhr.copy()
    removed = dict.fromkeys(("spikes", "halved", "doubled"), 0.0)
    for _ in range(3):  # what a removed piece stood between is judged again
        first, stop = _pieces(out, JUMP_BPM)
        gone = 0
        for a, b in zip(first, stop, strict=True):
            edges = [(out[i], out[j]) for i, j in ((a, a - 1), (b - 1, b)) if 0 <= j < len(out) and np.isfinite(out[j])]
            if not edges or b - a > LOCKED_S * FS_HZ:
                continue
            kind = _artefact(out, a, b, [mine / other for mine, other in edges])
            if kind:
                removed[kind] += float(b - a) / FS_HZ
                out[a:b], gone = np.nan, gone + 1
        if not gone:
            break
    return out, removed


def _artefact(fhr: np.ndarray, a: int, b: int, ratios: list[float]) -> str | None:
    """What the piece [a, b) is, given its ratio to the neighbours across its steps; None for a heart's own rate."""
    around = np.r_[fhr[max(a - 15 * FS_HZ, 0) : a], fhr[b : b + 15 * FS_HZ]]
    around = around[np.isfinite(around)]
    if len(around) < max(b - a, FS_HZ):  # more of this than of the rest: which is true cannot be told
        return None
    level = float(np.median(fhr[a:b])) / float(np.median(around))
    for kind, (low, high) in (("halved", HALF), ("doubled", TWICE)):
        if low <= level <= high and any(low <= ratio <= high for ratio in ratios):
            return kind
    short = b - a <= SPIKE_S * FS_HZ
    return "spikes" if short and abs(float(np.median(fhr[a:b])) - float(np.median(around))) > JUMP_BPM else None


def _pieces(fhr: np.ndarray, jump: float) -> tuple[np.ndarray, np.ndarray]:
    """First and one-past-last sample of each piece without a gap or a step beyond `jump`."""
    known = np.isfinite(fhr)
    step = np.zeros(len(fhr), bool)
    step[1:] = np.abs(np.diff(np.nan_to_num(fhr))) > jump
    begins = known & (np.r_[True, ~known[:-1]] | step)
    ends = known & (np.r_[~known[1:], True] | np.r_[step[1:], True])
    return np.flatnonzero(begins), np.flatnonzero(ends) + 1


def _two_rates(fhr: np.ndarray) -> tuple[float, float] | None:
    """The two rates of a trace that keeps jumping between them, or None.

    Beat-to-beat noise jumps as well; two hearts leave nothing between their rates. So in every ten minutes with steps
    between held levels, the share of samples around the middle of both is looked at.
    """
    count, between, rates = 0, [], []
    for start in range(0, max(len(fhr) - WINDOW // 2, 1), WINDOW):
        part = fhr[start : start + WINDOW]
        first, stop = _pieces(part, STEP_BPM)
        held = [(a, b) for a, b in zip(first, stop, strict=True) if b - a >= HOLD_S * FS_HZ]
        steps = [(part[a - 8 : a], part[b : b + 8]) for (_, a), (b, _) in itertools.pairwise(held) if b - a < 3]
        levels = np.array([sorted((np.median(one), np.median(two))) for one, two in steps]).reshape(-1, 2)
        levels = levels[np.diff(levels, axis=1)[:, 0] > STEP_BPM]
        if len(levels) < 3:
            continue
        low, high = np.median(levels, axis=0)
        known, middle = part[np.isfinite(part)], (low + high) / 2
        if 0.15 < (known < middle).mean() < 0.85:
            count += len(levels)
            between.append(float((np.abs(known - middle) < (high - low) / 8).mean()))
            rates.append((low, high))
    if count < SWITCHES or np.mean(between) > 0.03:
        return None
    low, high = np.median(rates, axis=0)
    return float(low), float(high)


def _plausible(fhr: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where((fhr >= LOWEST_BPM) & (fhr <= HIGHEST_BPM), fhr, np.nan)


def _other_hearts(recording: Recording, names: list[str], fhr: np.ndarray) -> list[str]:
    """What a second fetal or the mother's own channel says of the first."""
    said = []
    for name in [*names[1:], *(name for name in recording.leads if name.startswith("MHR"))]:
        other = _plausible(at_4_hz(recording.lead(name), recording.fs_hz))
        both = np.isfinite(fhr) & np.isfinite(other)
        same = bool(both.any()) and float((np.abs(fhr - other)[both] < 2).mean()) > 0.5
        if same and both.sum() > 60 * FS_HZ:
            said.append(f"{names[0]} and {name} show the same rate most of the time: one heart may be recorded twice.")
    if len(names) > 1:
        said.insert(0, f"The recording has {len(names)} fetal heart rates; {names[0]} is read, {names[1]} is not.")
    return said


def _uterus(recording: Recording) -> tuple[np.ndarray | None, list[str]]:
    """Uterine activity at 4 Hz, or None and why."""
    name = next((name for name in recording.leads if name.startswith(UC_NAMES)), None)
    if name is None:
        return None, ["There is no uterine channel: contractions, and late from early decelerations, cannot be told."]
    uc = at_4_hz(recording.lead(name), recording.fs_hz)
    uc[_dead(uc)] = np.nan
    known = uc[np.isfinite(uc)]
    if len(known) < 5 * 60 * FS_HZ or np.ptp(np.percentile(known, [2, 98])) < 4:
        return None, ["The uterine channel is empty: contractions, and late from early decelerations, cannot be told."]
    return uc, []


def _dead(uc: np.ndarray) -> np.ndarray:
    """Where nothing was recorded: NaN, or at 0 for over half a minute (a resting uterus is set to 10 or so)."""
    flat = ~np.isfinite(uc) | (uc <= 0)
    edges = np.flatnonzero(np.diff(np.r_[False, flat, False].astype(int))).reshape(-1, 2)
    out = ~np.isfinite(uc)
    for a, b in edges:
        if b - a > 30 * FS_HZ:
            out[a:b] = True
    return out
