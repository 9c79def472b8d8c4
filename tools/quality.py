"""Signal quality: which leads can be used, what is wrong with the others, whether the recording is acceptable.

    assess(recording) -> {"acceptable", "probability", "method", "leads": {name: {"usable", "reasons"}}, "warnings"}
    reversal(signal12, fs_hz) -> a sentence where limb leads look exchanged, else None

Every lead is measured (`lead_features`) over the time in which it was recorded, and judged by the rules of `REASONS`;
how much is missing is said, and makes it useless only where less than `LEAST_S` or `LEAST_BEATS` are left. Twelve leads
of five seconds or more are then judged as a whole by a small model that learnt from the PhysioNet/CinC Challenge 2011
which 10 s recordings technicians would repeat (training/quality.py, encoders/weights/quality.json); other sets of leads
by the rules alone. `method` says which.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from scipy import ndimage
from scipy import signal as dsp

from tools import beats
from tools.gaps import bridged, columns, gaps, middle
from tools.recording import LEADS, Recording

WINDOW_S = 10.0  # judged at a time
FEATURES = (
    "missing",  # share of samples
    "flat",  # share of time within 10 µV for 0.2 s
    "saturated",  # share of samples that rest at the lead's extreme
    "size",  # log10 mV, between the 1st and 99th percentile, 0.7-40 Hz
    "wander",  # log10 mV, standard deviation below 0.7 Hz
    "muscle",  # log10 mV, 20-40 Hz between beats
    "hum",  # log10 mV, amplitude of the mains line
    "step",  # log10 mV, largest change in 20 ms
    "burst",  # log of the highest 2 s of the QRS band over the usual
    "standing",  # log of beat height over background in the QRS band
    "swing",  # log10 mV, height of the tallest tenth of the half seconds
    "wild",  # share of half seconds over 2 mV and thrice as tall as usual
    "rough",  # log10 mV, 20-40 Hz of the noisiest fifth of the time
    "alike",  # median correlation of a beat with the typical beat of the lead
)

# feature, words, noticed above, lead unusable above (logarithms as in FEATURES)
REASONS = (
    ("missing", "missing {percent:.0f} % of samples", 0.05, 1.0),
    ("flat", "flat for {percent:.0f} % of the time", 0.3, 0.5),
    ("saturated", "saturated", 0.01, 0.2),
    ("wander", "baseline wander", np.log10(0.3), np.log10(1.0)),
    ("hum", "mains hum", np.log10(0.05), np.log10(0.3)),
    ("muscle", "muscle noise", np.log10(0.025), np.log10(0.08)),
    ("wild", "steps/spikes", 0.05, 0.25),
    ("step", "steps/spikes", np.log10(5), np.log10(20)),
)
LEAST_S = 2.0  # of a lead, to use it: a beat at 30 bpm
LEAST_BEATS = 2  # in it
MODEL_S = 5.0  # of each lead, for the model
MOST_WINDOWS = 12
# of the model: no training record has gaps, and wander adds nothing to swing in cross-validation
LEARNT = [row for row, name in enumerate(FEATURES) if name not in ("missing", "wander")]
WEIGHTS = Path(__file__).parents[1] / "encoders" / "weights" / "quality.safetensors"


def lead_features(signal: np.ndarray, fs_hz: float, peaks: np.ndarray | None = None) -> np.ndarray:
    """(leads, len(FEATURES)) of (leads, samples) mV, each lead over the time in which it was recorded.

    A lead recorded for less than a second counts as zero. `peaks` from `beats.r_peaks` spares finding them again.
    """
    signal = np.asarray(signal, float)
    peaks = beats.r_peaks(signal, fs_hz) if peaks is None else peaks
    gap, out = gaps(signal, fs_hz), np.zeros((len(signal), len(FEATURES)))
    for rows, known in columns(gap):
        recorded = bridged(signal[rows])[:, known] if known.sum() >= fs_hz else np.zeros((rows.sum(), signal.shape[1]))
        out[rows, 1:-1] = _features(recorded - np.median(recorded, axis=1, keepdims=True), fs_hz)
    out[:, FEATURES.index("missing")] = 1 - np.isfinite(signal).mean(1)
    if len(peaks) > 2:
        beat_like = np.where(gap, np.nan, middle_at(beats.filled(signal), fs_hz))
        out[:, FEATURES.index("alike")] = np.nan_to_num(middle(beats.alike_beats(beat_like, fs_hz, peaks), 1))
    return out


def _features(x: np.ndarray, fs_hz: float) -> np.ndarray:
    """(leads, all FEATURES but the first and last) of leads without gaps."""
    work = beats.resampled(x, fs_hz)
    slow = dsp.sosfiltfilt(dsp.butter(2, 0.7, "low", fs=beats.WORK_HZ, output="sos"), work, axis=1)
    middle = dsp.sosfiltfilt(dsp.butter(2, 40, "low", fs=beats.WORK_HZ, output="sos"), work - slow, axis=1)
    low, high = np.quantile(middle, (0.01, 0.99), axis=1)
    fast = dsp.sosfiltfilt(dsp.butter(2, (20, 40), "band", fs=beats.WORK_HZ, output="sos"), work, axis=1)
    quiet = np.sqrt(ndimage.uniform_filter1d(fast**2, 40, axis=1).clip(0))
    envelope = beats.qrs_envelope(work)
    block = min(400, envelope.shape[1])
    highest = envelope[:, : envelope.shape[1] // block * block].reshape(len(x), -1, block).max(2)
    floor = np.quantile(envelope, 0.25, axis=1)
    usual = np.median(highest, 1)
    heights = np.ptp(work[:, : work.shape[1] // 100 * 100].reshape(len(x), -1, 100), axis=2)
    return np.stack(
        [
            _flat(x, fs_hz),
            _saturated(x, fs_hz),
            _log(high - low),
            _log(slow.std(1)),
            _log(np.quantile(quiet, 0.3, axis=1)),
            _log(_hum(x, fs_hz)),
            _log(np.abs(work[:, 4:] - work[:, :-4]).max(1)),
            np.log(np.maximum(highest.max(1), 1e-4) / np.maximum(usual, 1e-4)),
            np.log(np.maximum(usual, 1e-4) / np.maximum(floor, 1e-4)),
            _log(np.quantile(heights, 0.9, axis=1)),
            ((heights > 2) & (heights > 3 * np.median(heights, axis=1, keepdims=True))).mean(1),
            _log(np.quantile(quiet, 0.9, axis=1)),
        ],
        axis=1,
    )


def middle_at(x: np.ndarray, fs_hz: float) -> np.ndarray:
    """1-40 Hz, where beats keep their shape."""
    sos = dsp.butter(2, (1.0, min(40.0, 0.45 * fs_hz)), "band", fs=fs_hz, output="sos")
    return dsp.sosfiltfilt(sos, x, axis=1)


def _log(x: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(x, 1e-3))


def _flat(x: np.ndarray, fs_hz: float) -> np.ndarray:
    """(leads,) share of time in which the lead moves less than 10 µV for 0.2 s."""
    span = max(2, int(0.2 * fs_hz))
    height = ndimage.maximum_filter1d(x, span, axis=1) - ndimage.minimum_filter1d(x, span, axis=1)
    return (height <= 0.0101).mean(1)


def _saturated(x: np.ndarray, fs_hz: float) -> np.ndarray:
    """(leads,) share of samples in rests of 30 ms or more at the lead's own extreme."""
    span = max(3, int(0.03 * fs_hz))
    still = (ndimage.maximum_filter1d(x, span, axis=1) - ndimage.minimum_filter1d(x, span, axis=1)) < 1e-6
    top, bottom = x.max(1, keepdims=True), x.min(1, keepdims=True)
    at_edge = (x >= top - 1e-6) | (x <= bottom + 1e-6)
    return (still & at_edge & (top - bottom > 1)).mean(1)


def _hum(x: np.ndarray, fs_hz: float) -> np.ndarray:
    """(leads,) amplitude in mV of the stronger of the 50 and 60 Hz lines; 0 where the rate is too low to see them."""
    best = np.zeros(len(x))
    t = np.arange(x.shape[1]) / fs_hz
    for line_hz in (50.0, 60.0):
        if line_hz < 0.48 * fs_hz:
            best = np.maximum(best, 2 * np.abs(x @ np.exp(-2j * np.pi * line_hz * t)) / len(t))
    return best


def assess(recording: Recording, weights: Path = WEIGHTS) -> dict[str, Any]:
    """Quality of an ECG, lead by lead and as a whole.

    Returns
    -------
    acceptable : whether it can be read; probability : of that, by the learnt model, None where only rules apply;
    method : "model" or "rules"; leads : {name: {"usable", "reasons"}}; warnings : sentences.
    A recording longer than 10 s is judged in at most twelve windows spread evenly.
    """
    if recording.duration_s < 1:
        lead = {"usable": False, "reasons": ["shorter than a second"]}
        leads = {name: dict(lead) for name in recording.leads}
        warnings = ["the recording is shorter than a second"]
        return {"acceptable": False, "probability": None, "method": "rules", "leads": leads, "warnings": warnings}
    windows = _split(recording.signal, recording.fs_hz)
    peaks = [beats.r_peaks(window, recording.fs_hz) for window in windows]
    features = np.stack(  # (windows, leads, features)
        [lead_features(window, recording.fs_hz, at) for window, at in zip(windows, peaks, strict=True)]
    )
    enough = np.mean([_enough(window, recording.fs_hz, at) for window, at in zip(windows, peaks, strict=True)], 0)
    leads = {name: _judge(features[:, row], bool(enough[row] >= 0.5)) for row, name in enumerate(recording.leads)}
    probability = _probability(features, weights) if _is_standard(recording) else None
    unusable = [name for name, lead in leads.items() if not lead["usable"]]
    if probability is None:
        acceptable = len(unusable) <= (len(leads) // 4 if len(leads) > 3 else len(leads) - 1)
    else:
        acceptable = probability >= 0.5 and len(unusable) <= len(leads) // 2
    warnings = []
    if unusable:
        warnings.append(f"{'leads' if len(unusable) > 1 else 'lead'} {', '.join(unusable)} cannot be used")
    if not acceptable:
        warnings.append("the recording is not fit to be read; repeat it if possible")
    return {
        "acceptable": acceptable,
        "probability": probability,
        "method": "rules" if probability is None else "model",
        "leads": leads,
        "warnings": warnings,
    }


def _split(signal: np.ndarray, fs_hz: float) -> list[np.ndarray]:
    """At most `MOST_WINDOWS` stretches of WINDOW_S, spread evenly; a shorter recording is one."""
    length = round(WINDOW_S * fs_hz)
    count = int(np.clip(signal.shape[1] // max(length, 1), 1, MOST_WINDOWS))
    starts = np.linspace(0, max(0, signal.shape[1] - length), count).astype(int)
    return [signal[:, start : start + length] for start in starts]


def _enough(signal: np.ndarray, fs_hz: float, peaks: np.ndarray) -> np.ndarray:
    """(leads,) bool: whether enough of a lead was recorded to use it.

    A lead without gaps has what there is, however short. Where no lead shows beats, seconds alone decide.
    """
    known = ~gaps(signal, fs_hz)
    seconds, seen = known.sum(1) / fs_hz, known[:, peaks].sum(1)
    return known.all(1) | ((seconds >= LEAST_S) & (seen >= min(LEAST_BEATS, len(peaks))))


def _judge(features: np.ndarray, enough: bool) -> dict[str, Any]:
    """One lead from its (windows, features): what is noticed in half of the windows, and whether any of it is bad."""
    value = dict(zip(FEATURES, np.median(features, 0), strict=True))
    if value["missing"] > 0.99:
        return {"usable": False, "reasons": ["no signal"]}
    if value["flat"] > 0.98:
        little = REASONS[0][1].format(percent=100 * value["missing"])  # too little of it even to say that it is flat
        return {"usable": False, "reasons": ["flat" if enough else little]}
    reasons, usable = [], enough
    for name, words, noticed, bad in REASONS:
        if name == "wild" and value["burst"] < 0.7 and value["alike"] > 0.9:
            continue  # tall ectopic beats, not a loose electrode
        if value[name] > noticed:
            said = words.format(percent=100 * value[name])
            reasons += [said] * (said not in reasons)
            slow_and_clean = name == "flat" and value["alike"] > 0.9  # rests between its beats
            usable &= bool(value[name] <= bad or slow_and_clean)
    if value["alike"] < 0.4 and value["standing"] < 1.5:
        reasons.append("no beats to be told from noise")
        usable = False
    return {"usable": usable, "reasons": reasons}


def shows_beats(lead: dict[str, Any]) -> bool:
    """Whether R peaks may be sought in a judged lead: it is usable, or only too little of it was recorded."""
    return lead["usable"] or all(why.startswith("missing") for why in lead["reasons"])


def _is_standard(recording: Recording) -> bool:
    """Twelve leads, each recorded for long enough that the model knows its like, or unplugged."""
    seconds = np.isfinite(recording.signal).sum(axis=1) / recording.fs_hz
    long = (seconds >= MODEL_S) | (seconds == 0)
    return set(recording.leads) == set(LEADS) and recording.duration_s >= MODEL_S and bool(long.all())


def pooled(features: np.ndarray) -> np.ndarray:
    """(records, inputs of the model) from (records, 12 leads, features): worst, middle and best leads of each feature.

    The order of the leads does not matter; neither does which end of a feature is the bad one.
    """
    ranked = np.sort(features[:, :, LEARNT], axis=1)
    return np.concatenate([ranked[:, 0], ranked[:, 1], ranked[:, 4:8].mean(1), ranked[:, 10], ranked[:, 11]], 1)


def _probability(features: np.ndarray, weights: Path) -> float | None:
    """Of being acceptable, median over the windows; None without weights."""
    model = _model(weights)
    if model is None:
        return None
    inputs = np.clip((pooled(features) - model["mean"]) / model["scale"], -6, 6)
    return float(np.median(1 / (1 + np.exp(-(inputs @ model["weight"] + model["bias"])))))


@cache
def _model(weights: Path) -> dict[str, np.ndarray] | None:
    return load_file(weights) if weights.exists() else None


def reversal(signal12: np.ndarray, fs_hz: float = 500.0) -> str | None:
    """A sentence that says which limb electrodes look exchanged, or None. Conservative: it speaks of the plain cases.

    Parameters
    ----------
    signal12 : (12, samples) mV in the order of `tools.recording.LEADS`.

    Notes
    -----
    Arms: P and QRS of lead I point down, those of aVR do not, and V6 points up (in dextrocardia it does not).
    Right leg with an arm: lead II (right arm) or III (left arm) shows next to nothing while the others do.
    After Batchvarov, Malik & Camm, Europace 2007;9:1081.
    """
    x = beats.filled(signal12)
    peaks = beats.r_peaks(x, fs_hz)
    before, after = round(0.3 * fs_hz), round(0.1 * fs_hz)
    peaks = peaks[(peaks >= before) & (peaks < x.shape[1] - after)]
    if len(peaks) < 3:
        return None
    beat = np.median(middle_at(x, fs_hz)[:, peaks[:, None] + np.arange(-before, after)], axis=1)
    at_ms = np.arange(-before, after) / fs_hz * 1000
    baseline = np.median(beat[:, (at_ms < -250) | ((at_ms > -90) & (at_ms < -60))], axis=1, keepdims=True)
    beat = beat - baseline
    p_mv = _net(beat[:, (at_ms > -220) & (at_ms < -90)])
    qrs = beat[:, np.abs(at_ms) <= 60]
    net_mv, height_mv = _net(qrs), np.ptp(qrs, axis=1)
    lead = {name: row for row, name in enumerate(LEADS)}
    down = net_mv[lead["I"]] < -0.1 and p_mv[lead["I"]] < -0.025
    if down and net_mv[lead["aVR"]] > -0.1 and p_mv[lead["aVR"]] > -0.02 and net_mv[lead["V6"]] > 0.2:
        return "lead I points down while V6 points up: the arm electrodes may be exchanged"
    for name, arm in (("II", "right"), ("III", "left")):
        if height_mv[lead[name]] < 0.08 and np.median(height_mv[[lead["I"], lead["II"], lead["III"]]]) > 0.35:
            return f"lead {name} shows next to nothing: the {arm} arm and right leg electrodes may be exchanged"
    return None


def _net(waves: np.ndarray) -> np.ndarray:
    """(leads,) highest plus lowest: the direction in which a wave points."""
    return waves.max(1) + waves.min(1)
