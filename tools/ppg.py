"""`ppg_to_ecg`: lead II as it may have been, and when the heart beat, from a pulse wave.

    pulse wave made ready (tools/pulse.py) -> beats and a drawn ECG in the time of the pulse (encoders/ppg.py)
    -> both moved back by the arrival time that is usual at this heart rate and rise

When the heart beats and how fast is told by the pulse. What a beat looks like is not: the waves drawn are those of a
usual heart, marked as synthetic wherever they go. The same pulse wave gives the same ECG.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tools import pulse
from tools.beats import rhythm
from tools.errors import MissingWeights, UsageError
from tools.recording import Recording, write

SEED = 0
LONGEST_S = 7200.0
FEWEST = 3  # beats
CANNOT = (
    "A pulse wave holds no ST segment: ischaemia and infarction cannot be told from this ECG.",
    "It holds no P wave and no QRS width: P waves and QRS shapes drawn are usual ones, and atrial fibrillation or "
    "conduction block cannot be told with certainty.",
    "Amplitudes are not this person's: waves are drawn at less than half of the height usual in lead II.",
)


@dataclass(frozen=True)
class Estimate:
    """ecg_mv : (samples,) lead II at 100 Hz on the clock of the pulse wave, NaN where no pulse tells it; it ends an
    arrival time before the pulse wave does. r_s : (beats,). wave, told : the pulse wave it was made from, (longer,)."""

    ecg_mv: np.ndarray
    r_s: np.ndarray
    wave: np.ndarray
    told: np.ndarray
    arrival_s: float
    arrival_error_s: float
    inverted: bool
    warnings: tuple[str, ...]

    @property
    def heart_rate_bpm(self) -> float | None:
        """Mean rate over the intervals that do not span a stretch without a pulse; None where there is none."""
        rr_s = np.diff(self.r_s)
        late = round(self.arrival_s * pulse.FS_HZ)
        silent = np.r_[0, np.cumsum(~self.told)]
        at = np.clip(np.round(self.r_s * pulse.FS_HZ).astype(int) + late, 0, len(silent) - 1)
        whole = rr_s[silent[at[1:]] == silent[at[:-1]]]
        return float(60 / whole.mean()) if len(whole) else None


def ppg_to_ecg(recording: Recording, arguments: Any = None, out: Path | None = None) -> dict[str, Any]:
    """Estimate lead II from a pulse wave; writes a WFDB record and a figure of both into `out`.

    Returns
    -------
    record, figure : paths; the record is marked as synthetic.
    heart_rate_bpm, r_peaks_s : when the heart beat; regularity : of the beats, None where it cannot be told.
    arrival_ms, arrival_error_ms : what was taken off each pulse's time, and its standard deviation between patients.
    inverted : whether the wave was turned. seconds : of ECG. synthetic : True. warnings.

    Raises
    ------
    UsageError : too short, too slow a rate, no pulse; MissingWeights : where the weights are not on this machine.
    """
    from tools.paper import compose, save

    made = estimated(recording)
    kept = {key: value for key, value in recording.meta.items() if key in ("age", "sex", "date")}
    one = Recording(made.ecg_mv[None], float(pulse.FS_HZ), ("II",), meta={**kept, "synthetic": True})
    folder = Path() if out is None else Path(out)
    both = _both(made, kept)
    sheet, _, drawn = compose(both, marks={"r": made.r_s}, bands={both.leads[1]: np.zeros(both.signal.shape[1])})
    figure = save(sheet, both, "from-ppg", "svg", folder)
    digest = hashlib.sha256(made.ecg_mv.tobytes()).hexdigest()[:8]
    rate = made.heart_rate_bpm
    return {
        "record": str(write(one, folder / f"from-ppg-{digest}")),
        "heart_rate_bpm": None if rate is None else round(rate, 1),
        "r_peaks_s": [round(float(time_s), 3) for time_s in made.r_s],
        "regularity": rhythm(made.r_s)["regularity"] if made.told.all() else None,
        "arrival_ms": round(1000 * made.arrival_s),
        "arrival_error_ms": round(1000 * made.arrival_error_s),
        "inverted": made.inverted,
        "seconds": round(one.duration_s, 2),
        "figure": str(figure),
        "synthetic": True,
        "warnings": [*made.warnings, *CANNOT, *(text for text in drawn if text.startswith("The drawing shows"))],
    }


def estimated(recording: Recording, seed: int = SEED, weights: Path | None = None) -> Estimate:
    """See `Estimate`; raises as `ppg_to_ecg` does. `weights`: of a model other than the shipped one."""
    from encoders.ppg import FILE, opened, translate
    from encoders.weights import MissingModel

    if recording.duration_s > LONGEST_S:
        raise UsageError(f"the pulse wave is longer than {LONGEST_S / 3600:g} h: cut out a part")
    found = pulse.pulse_wave(recording)
    try:
        net, told = opened(weights or FILE)
    except MissingModel as error:
        raise MissingWeights(str(error)) from None
    drawn = translate(net, found.wave, seed)
    beats_s = pulse.beats_s(drawn.beat, told["threshold"])
    beats_s = beats_s[found.told[np.clip(np.round(beats_s * pulse.FS_HZ).astype(int), 0, len(found.told) - 1)]]
    if len(beats_s) < FEWEST:
        raise UsageError(
            f"fewer than {FEWEST} pulses can be told in this wave (motion or noise): keep still and record again"
        )
    late = round(arrival_s(net.arrival.tolist(), found.wave, told["usual_arrival_s"]) * pulse.FS_HZ)
    ecg = np.where(found.told, drawn.ecg_mv, np.nan)[late:].astype(np.float32)
    r_s = beats_s - late / pulse.FS_HZ
    error_s = told["arrival_error_s"]
    said = (
        *found.warnings,
        f"R peaks were placed {1000 * late / pulse.FS_HZ:.0f} ms before the steepest rise of each pulse, the arrival "
        f"time usual in {told['patients']} patients at this rate; this person's may differ by some "
        f"{1000 * error_s:.0f} ms (standard deviation), another device by more: then all R peaks are off alike.",
    )
    return Estimate(ecg, r_s[r_s >= 0], found.wave, found.told, late / pulse.FS_HZ, error_s, found.inverted, said)


def arrival_s(line: list[float], wave: np.ndarray, usual_s: float) -> float:
    """Seconds from the R peak to the steepest rise of the pulse, by the rate and rise of this wave; `usual_s` where the
    wave has too few pulses, and no further from it than patients were."""
    of = pulse.usual_pulse(wave)
    told = usual_s if of is None else line[0] + line[1] * of[0] + line[2] * of[1]
    return float(np.clip(told, usual_s - FURTHEST_S, usual_s + FURTHEST_S))


FURTHEST_S = 0.1


def _both(made: Estimate, meta: dict[str, Any]) -> Recording:
    """What the figure shows: the pulse wave, a usual pulse 10 mm high, above the estimated ECG."""
    wave = np.where(made.told, made.wave, np.nan)
    height = float(np.subtract(*np.nanpercentile(wave, [95, 5])))
    ecg = np.full(len(wave), np.nan)
    ecg[: len(made.ecg_mv)] = made.ecg_mv
    signal = np.stack([np.clip(wave / height, -2.0, 2.0), ecg]).astype(np.float32)
    return Recording(signal, float(pulse.FS_HZ), ("PPG", "II estimated"), meta={**meta, "rebuilt": "II"})


def sentences(result: dict[str, Any]) -> list[str]:
    """The result in words, one fact a sentence."""
    rate, count = result["heart_rate_bpm"], len(result["r_peaks_s"])
    said = ["The heart rate cannot be told." if rate is None else f"Heart rate {rate:.0f} bpm, from {count} pulses."]
    if result["regularity"] is not None:
        said.append(f"The pulse is {result['regularity']}.")
    said.append(f"Lead II was estimated from the pulse wave over {result['seconds']:.1f} s.")
    said.append("It is no recorded ECG: a model drew it.")
    return [*said, *result["warnings"]]
