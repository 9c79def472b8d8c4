"""The pulse wave of a photoplethysmogram: which way is up, where it says nothing, when each pulse arrives.

    pulse = pulse_wave(recording)             # 100 Hz, 0.5-8 Hz, upright
    pulse.wave, pulse.told, pulse.inverted
    arrivals_s(pulse.wave)                    # steepest rise of each pulse, in seconds

A pulse rises faster than it falls, so the steepest slope tells which way is up. Where the sensor was off, stuck at the
end of its range or moved, that is said and not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import signal as dsp

from tools.errors import UsageError
from tools.gaps import bridged
from tools.recording import Recording

FS_HZ = 100  # of the wave made ready, as encoders/ppg.py takes it
BAND_HZ = (0.5, 8.0)
SHORTEST_S = 5.0
LOWEST_HZ = 20.0  # below this the steep rise of a pulse, and with it the time of the beat, is lost
STUCK_S = 0.3  # a level held longer than this is no pulse wave
SILENT_S = 1.5  # a stretch without a wave that is left out; a heart may pause for less
FASTEST_BPM, SLOWEST_BPM = 240.0, 25.0
UNLIKE = 0.5  # correlation with the record's usual pulse under which a stretch counts as motion
WILD = 5.0  # times the usual height


@dataclass(frozen=True)
class Pulse:
    """A pulse wave made ready.

    wave : (samples,) float64 at `FS_HZ`, band-passed, upright, height of a usual stretch 1 (standard deviation).
    told : (samples,) bool, False where nothing was recorded or the sensor was stuck.
    inverted : whether it had to be turned. warnings : what was found, a sentence each.
    """

    wave: np.ndarray
    told: np.ndarray
    inverted: bool
    warnings: tuple[str, ...]


def pulse_wave(recording: Recording) -> Pulse:
    """See `Pulse`; of several channels the one that shows the clearest pulse.

    Raises
    ------
    UsageError : under 5 s, under 20 Hz, or no pulse in any channel; the line says which and what to do.
    """
    if recording.duration_s < SHORTEST_S:
        raise UsageError(
            f"the pulse wave is too short: {SHORTEST_S:g} s are needed, {recording.duration_s:.3g} s are there"
        )
    if recording.fs_hz < LOWEST_HZ:
        raise UsageError(
            f"{recording.fs_hz:g} Hz is too low to time beats by a pulse wave: record at {LOWEST_HZ:g} Hz or more"
        )
    found = [_channel(row.astype(float), recording.fs_hz) for row in recording.signal]
    clear = [-1.0 if isinstance(one, str) else rhythmic(one.wave) for one in found]
    best = found[int(np.argmax(clear))]
    if isinstance(best, str):
        raise UsageError(best)
    if len(found) > 1:
        note = f"Of {len(found)} channels the one with the clearest pulse was used, number {int(np.argmax(clear)) + 1}."
        return Pulse(best.wave, best.told, best.inverted, (note, *best.warnings))
    return best


def _channel(values: np.ndarray, fs_hz: float) -> Pulse | str:
    """One channel made ready, or in one line why it cannot be."""
    held = stuck(values, fs_hz)
    silent = _long(held | ~np.isfinite(values), int(SILENT_S * fs_hz))
    if (~silent).mean() * len(values) / fs_hz < SHORTEST_S:
        if np.isfinite(values).mean() < 0.5:
            return "most of the pulse wave is missing: record it again"
        if saturated(values, held).mean() > 0.2:
            return "the pulse wave is saturated (stuck at the end of its range): lower the gain and record again"
        return "the pulse wave is flat, no pulse is there: check that the sensor is on the finger"
    wave = filtered(np.where(silent, np.nan, values), fs_hz)
    told = ~silent[np.minimum((np.arange(len(wave)) * fs_hz / FS_HZ).astype(int), len(silent) - 1)]
    height = _usual_height(wave, told)
    if height <= 0:
        return "the pulse wave is flat, no pulse is there: check that the sensor is on the finger"
    wave = np.where(told, wave / height, 0.0)
    inverted = upside_down(wave)
    wave = -wave if inverted else wave
    if not shows_pulses(wave):
        return "no pulse can be told in this wave (motion or noise): keep the sensor still and record again"
    said = ["The pulse wave was upside down and was turned."] if inverted else []
    said += [f"No pulse wave at {_spans(~told)}: nothing is drawn there."] if not told.all() else []
    lost = saturated(values, held)
    if lost.mean() > 0.01:
        said.append(
            f"The pulse wave is saturated for {100 * lost.mean():.0f} % of the time; beats may be missed there."
        )
    moved = motion(wave, told)
    if moved.any():
        said.append(f"Motion or weak pulses at {_spans(moved)}: beats there are uncertain.")
    return Pulse(wave, told, inverted, tuple(said))


def filtered(values: np.ndarray, fs_hz: float) -> np.ndarray:
    """(samples,) at `FS_HZ`, 0.5-8 Hz forwards and backwards; missing samples are bridged."""
    from encoders.reading import at_100_hz

    row = bridged(values[None])
    slow = at_100_hz(row, np.ones(row.shape, bool), fs_hz)[0][0].astype(float)
    sos = dsp.butter(3, BAND_HZ, "band", fs=FS_HZ, output="sos")
    return dsp.sosfiltfilt(sos, slow, padlen=min(len(slow) - 1, 3 * FS_HZ))


def stuck(values: np.ndarray, fs_hz: float, least_s: float = STUCK_S) -> np.ndarray:
    """(samples,) bool: where one level is held for `least_s` or longer."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.zeros(len(values), bool)
    reach = float(np.subtract(*np.percentile(known, [99, 1])))
    same = np.abs(np.diff(values)) <= 1e-3 * reach
    out = np.zeros(len(values), bool)
    out[1:] = _long(same, max(int(least_s * fs_hz), 2))
    return out


def saturated(values: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(samples,) bool: held at the highest or lowest value of the record."""
    known = values[np.isfinite(values)]
    if not len(known):
        return held
    edge = 0.005 * float(np.ptp(known))
    with np.errstate(invalid="ignore"):
        return held & ((values >= known.max() - edge) | (values <= known.min() + edge)) & (edge > 0)


def upside_down(wave: np.ndarray) -> bool:
    """Whether the steep slopes of the wave fall instead of rise."""
    return steeper_up(wave) < 0


def steeper_up(wave: np.ndarray) -> float:
    """Skewness of the slope, median over stretches of 5 s: about 1 for an upright pulse, -1 for one turned."""
    return float(np.median([_skewness(np.diff(part)) for part in _stretches(wave)]))


def rhythmic(wave: np.ndarray) -> float:
    """0-1: how much the wave repeats itself at the rate of some heart, median over stretches of 5 s."""
    return float(np.median([_repeats(part) for part in _stretches(wave)]))


def shows_pulses(wave: np.ndarray) -> bool:
    """Whether an upright wave repeats itself as a heart does, or a little less and rises as a pulse does.

    Of noise in the same band nine stretches in ten repeat less than 0.36, of drift less than 0.55; pulses in atrial
    fibrillation repeat 0.55, but their slopes are skewed by 1.
    """
    repeats = rhythmic(wave)
    return repeats >= 0.6 or (repeats >= 0.3 and steeper_up(wave) >= 0.5)


def _stretches(wave: np.ndarray) -> list[np.ndarray]:
    """Whole stretches of 5 s that are not empty; the wave itself where there is none."""
    span = int(5 * FS_HZ)
    parts = [wave[start : start + span] for start in range(0, len(wave) - span + 1, span)]
    return [part for part in parts if part.any()] or [wave]


def _skewness(values: np.ndarray) -> float:
    around = values - values.mean()
    return float(np.mean(around**3) / max(float(around.std()), 1e-12) ** 3)


def _repeats(part: np.ndarray) -> float:
    part = part - part.mean()
    power = float(part @ part)
    if power <= 0:
        return 0.0
    lags = np.correlate(part, part, "full")[len(part) - 1 :] / power
    lags = lags / (1 - np.arange(len(part)) / len(part)).clip(0.1)  # fewer samples overlap at long lags
    low, high = int(60 / FASTEST_BPM * FS_HZ), min(int(60 / SLOWEST_BPM * FS_HZ), len(part) - 1)
    peaks, _ = dsp.find_peaks(lags[: high + 1])
    peaks = peaks[peaks >= low]
    return float(lags[peaks].max(initial=0.0).clip(0, 1))


def motion(wave: np.ndarray, told: np.ndarray) -> np.ndarray:
    """(samples,) bool: pulses unlike the record's usual one, or far larger than usual."""
    out = np.zeros(len(wave), bool)
    at = np.round(arrivals_s(wave) * FS_HZ).astype(int)
    reach = slice(-20, 40)
    inside = at[(at + reach.start >= 0) & (at + reach.stop <= len(wave))]
    if len(inside) < 4:
        return out
    beats = wave[inside[:, None] + np.arange(reach.start, reach.stop)]
    beats = beats - beats.mean(1, keepdims=True)
    usual = np.median(beats, axis=0)
    size = np.sqrt(np.square(beats).sum(1))
    alike = beats @ usual / np.maximum(size * np.sqrt(usual @ usual), 1e-9)
    for place, off in zip(inside, (alike < UNLIKE) | (size > WILD * np.median(size)), strict=True):
        if off:
            out[max(place - 50, 0) : place + 50] = True
    return out & told


def arrivals_s(wave: np.ndarray) -> np.ndarray:
    """(pulses,) times in seconds of the steepest rise of each pulse of an upright wave at `FS_HZ`."""
    slope = np.gradient(wave)
    usual = float(np.percentile(slope, 98)) if len(slope) else 0.0
    if usual <= 0:
        return np.empty(0)
    peaks, _ = dsp.find_peaks(slope, height=0.35 * usual, distance=int(0.28 * FS_HZ))
    return refined(slope, peaks) / FS_HZ


def beats_s(likely: np.ndarray, threshold: float) -> np.ndarray:
    """(beats,) times in seconds of the peaks of how likely a beat is, (samples,) 0-1 at `FS_HZ`."""
    peaks, _ = dsp.find_peaks(np.r_[0.0, likely, 0.0], height=threshold, distance=int(0.25 * FS_HZ))
    return refined(likely, peaks - 1) / FS_HZ


def usual_pulse(wave: np.ndarray) -> tuple[float, float] | None:
    """Of an upright wave, in seconds: median distance of two pulses, and how long the usual pulse takes from its foot
    to its steepest rise; None where there are fewer than four whole pulses."""
    times = arrivals_s(wave)
    before, after = 60, 20  # samples around the steepest rise
    at = np.round(times * FS_HZ).astype(int)
    at = at[(at >= before) & (at + after <= len(wave))]
    if len(at) < 4:
        return None
    slope = np.gradient(np.median(wave[at[:, None] + np.arange(-before, after)], axis=0))
    top = before - 10 + int(np.argmax(slope[before - 10 : before + 10]))
    falling = np.flatnonzero(slope[:top] <= 0)
    foot = int(falling[-1]) if len(falling) else 0
    part = slope[foot] / min(slope[foot] - slope[foot + 1], -1e-9)  # of a sample: where the slope crosses zero
    return float(np.median(np.diff(times))), float(refined(slope, np.array([top]))[0] - foot - part) / FS_HZ


def refined(values: np.ndarray, peaks: np.ndarray) -> np.ndarray:
    """(peaks,) places of maxima between samples, by a parabola through three."""
    inner = np.clip(peaks, 1, len(values) - 2)
    a, b, c = values[inner - 1], values[inner], values[inner + 1]
    curve = a - 2 * b + c
    shift = np.where(curve < 0, 0.5 * (a - c) / np.where(curve < 0, curve, -1.0), 0.0)
    return inner + np.clip(shift, -0.5, 0.5)


def _usual_height(wave: np.ndarray, told: np.ndarray) -> float:
    """Median over seconds of the standard deviation of what was told."""
    parts = [wave[i : i + FS_HZ] for i in range(0, len(wave) - FS_HZ + 1, FS_HZ) if told[i : i + FS_HZ].all()]
    return float(np.median([part.std() for part in parts])) if parts else 0.0


def _long(flag: np.ndarray, least: int) -> np.ndarray:
    """Runs of True of at least `least` samples."""
    edges = np.flatnonzero(np.diff(np.r_[False, flag, False].astype(int))).reshape(-1, 2)
    out = np.zeros(len(flag), bool)
    for begin, end in edges:
        out[begin:end] = end - begin >= least
    return out


def _spans(flag: np.ndarray) -> str:
    """ "3-5 s, 20-24 s", joined where they lie within a second; at most five, then how many more."""
    edges = np.flatnonzero(np.diff(np.r_[False, flag, False].astype(int))).reshape(-1, 2) / FS_HZ
    joined: list[list[float]] = []
    for begin, end in edges:
        if joined and begin - joined[-1][1] < 1:
            joined[-1][1] = end
        else:
            joined.append([begin, end])
    said = ", ".join(f"{begin:.0f}-{end:.0f} s" for begin, end in joined[:5])
    return said + (f" and {len(joined) - 5} more stretches" if len(joined) > 5 else "")
