"""`measure_ecg`: rate, intervals, axes, amplitudes and ST levels, the way an electrocardiograph takes them.

    quality (tools.quality) -> beats (tools.beats) -> representative beat (tools.average)
    -> global onsets and offsets (tools.delineate) -> matrix a lead and axes (tools.waves) -> intervals, QTc (here)

Rate and rhythm come from the whole recording; the shape of the beat from all of a recording up to `WHOLE_S`, from the
cleanest `WINDOW_S` of a longer one, which `window_s` and `warnings` then say. Leads need not be recorded all the time
(NaN, as a printed page has it): each is averaged over its own beats, and `warnings` says how few they are. What cannot
be measured is None and `warnings` says why. tools/measure_words.py puts the result in words, one fact a sentence.

    result = measure_ecg(recording)
    result["qt_ms"], result["per_lead"]["V2"]["st60_mv"]

How far the numbers are from cardiologists' marks: `python -m training.evaluate measure --data DIR/ludb`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tools import quality
from tools.average import FS_HZ, MS, Beat, R, representative_beat, resampled, without_mains, without_spikes
from tools.beat_kinds import label_beats
from tools.beats import r_peaks, rhythm, unbroken
from tools.delineate import Marks, global_marks, qrs_marks
from tools.measure_words import NO_QRS, sentences
from tools.recording import Recording, made_by_a_model
from tools.waves import KEYS, axes, measurement_matrix

__all__ = ["measure_ecg", "sentences"]

WHOLE_S = 30.0  # a recording up to this long is measured whole
WINDOW_S = 10.0  # of a longer one
LEAST_BEATS = 3
WIDEST_QRS_MS = 240
FLUTTER_RR_MS = 400  # a regular rhythm slower than this is none of flutter or fibrillation
SLOWEST_HZ = 75.0  # below, onsets are off by more than a normal QRS is long
SPIKES_HZ = 400.0  # below, a pacing spike of 0.5 ms may lie between two samples
FEW_LEADS = 3  # fewer cannot tell that there is no P wave
PARTLY = 0.95  # of the time: leads recorded for less are said to be
INTERVALS = ("pr_ms", "qrs_ms", "qt_ms")
ABSENT = {
    **dict.fromkeys(("heart_rate_bpm", *INTERVALS, "p_ms", "qtc_ms", "p_axis_deg", "qrs_axis_deg", "t_axis_deg")),
    "p_waves": None,
    "atrial_fibrillation_suspected": None,
    "paced": None,
    "beats_averaged": 0,
}


def measure_ecg(recording: Recording, arguments: Any = None, out: Path | None = None) -> dict[str, Any]:
    """Measure an ECG of any leads and length. See the module for how.

    Returns
    -------
    heart_rate_bpm, pr_ms, qrs_ms, qt_ms, p_ms, qtc_ms (Bazett), qtc {bazett_ms, …}, {p,qrs,t}_axis_deg, r_peaks_s, rr,
    ectopic, global (ms from R), marks_s (absolute times), per_lead (tools.waves.KEYS), p_waves ("present", "absent", or
    "not found" where there are too few leads to tell), paced (None where the rate is too low to show spikes),
    atrial_fibrillation_suspected, beats_averaged, quality, window_s, age, sex, warnings.
    """
    start, stop = _window(recording)
    part = _cut(recording, start, stop)
    judged = quality.assess(part)
    result: dict[str, Any] = {**ABSENT, "quality": judged, "window_s": [round(start, 3), round(stop, 3)]}
    result |= {"age": recording.meta.get("age"), "sex": recording.meta.get("sex")}
    warnings = [*made_by_a_model(recording), *recording.warnings, *judged.get("warnings", [])]
    if stop - start < recording.duration_s - 1e-6:
        warnings.append(f"Waves are measured in the cleanest {stop - start:.0f} s, from {start:.0f} s to {stop:.0f} s.")
    usable = [name for name in recording.leads if judged["leads"][name]["usable"]]
    heard = [name for name in recording.leads if quality.shows_beats(judged["leads"][name])] if usable else []
    signal = recording.signal[[recording.leads.index(name) for name in heard]]
    clean, spikes = without_spikes(resampled(part.signal[[part.leads.index(name) for name in heard]], part.fs_hz))
    here = r_peaks(clean, FS_HZ) if usable else np.empty(0, int)
    whole = stop - start >= recording.duration_s - 1e-6
    if not whole:  # three leads are enough to follow the beats for hours
        signal = signal[[heard.index(name) for name in _steady(usable)]]
    peaks_s = here / FS_HZ if whole or not usable else r_peaks(signal, recording.fs_hz) / recording.fs_hz
    followed, fs_hz = (clean, FS_HZ) if whole else (signal, recording.fs_hz)
    kinds = _kinds(followed, fs_hz, peaks_s)
    if len(heard) == 1 and kinds.count("V"):
        warnings.append("Ventricular beats are told from one lead: artefacts can look like them.")
    result |= _rhythm(peaks_s, kinds, np.isfinite(followed).any(axis=0), fs_hz, warnings, bool(usable))
    kinds_here = kinds if whole else _as_in_whole(start + here / FS_HZ, peaks_s, kinds)
    clean = clean[[heard.index(name) for name in usable]]
    result |= _morphology(
        clean, spikes, here, kinds_here, usable, recording.leads, start, recording.fs_hz, result["rr"], warnings
    )
    result["warnings"] = list(dict.fromkeys(warnings))
    return result


def _kinds(signal: np.ndarray, fs_hz: float, peaks_s: np.ndarray) -> list[str]:
    return list(label_beats(signal, fs_hz, np.round(peaks_s * fs_hz).astype(int))) if len(peaks_s) else []


def _as_in_whole(here_s: np.ndarray, peaks_s: np.ndarray, kinds: list[str]) -> list[str]:
    """Kinds of a window's beats as the whole recording has them: what is usual is told by all of it."""
    if not len(peaks_s):
        return ["N"] * len(here_s)
    return [kinds[int(np.abs(peaks_s - at).argmin())] for at in here_s]


def _steady(usable: list[str]) -> list[str]:
    """Up to three leads to follow the beats in, those with the clearest QRS first where the names are known."""
    return sorted(usable, key=lambda name: {"II": 0, "V5": 1, "V2": 2}.get(name, 3))[:3]


def _window(recording: Recording) -> tuple[float, float]:
    """Seconds of the stretch to measure: all, or the stretch of WINDOW_S with the least noise and drift."""
    length = recording.duration_s
    if length <= WHOLE_S:
        return 0.0, length
    n, fs = recording.signal.shape[1], recording.fs_hz
    size = round(WINDOW_S * fs)
    starts = range(0, n - size + 1, max(size // 2, (n - size) // 100))
    cost = [_unrest(recording.signal[:, at : at + size], fs) for at in starts]
    best = starts[int(np.argmin(cost))] / fs
    return best, best + size / fs


def _unrest(signal: np.ndarray, fs_hz: float) -> float:
    """How far a stretch is from a clean ECG: noise and drift over the height of its beats; missing samples forbid."""
    if not np.isfinite(signal).all():
        return 1e6 * (1 + float((~np.isfinite(signal)).mean()))
    samples = round(fs_hz)
    second = signal[:, : signal.shape[1] // samples * samples].reshape(len(signal), -1, samples)
    heights = np.ptp(second, axis=2)
    height = np.median(heights, axis=1) + 1e-3
    drift = np.ptp(np.median(second, axis=2), axis=1) / height
    noise = np.median(np.abs(np.diff(signal, axis=1)), axis=1) * np.sqrt(fs_hz) / height
    uneven = np.std(heights, axis=1) / height + (height < 0.1)
    return float(np.mean(drift + noise + uneven))


def _cut(recording: Recording, start_s: float, stop_s: float) -> Recording:
    first, last = round(start_s * recording.fs_hz), round(stop_s * recording.fs_hz)
    return replace(recording, signal=recording.signal[:, first:last])


def _rhythm(
    peaks_s: np.ndarray, kinds: list[str], known: np.ndarray, fs_hz: float, warnings: list[str], usable: bool
) -> dict[str, Any]:
    """Rate, RR statistics and ectopic beats of all beats; `known` (samples,) where any lead was recorded."""
    whole = unbroken(known, fs_hz, np.round(peaks_s * fs_hz))
    found = rhythm(peaks_s, kinds, whole)
    statistics = {key: round(value) if isinstance(value, float) else value for key, value in found.items()}
    count = len(peaks_s)
    rate = 60_000 / found["rr_mean_ms"] if found["rr_mean_ms"] else None
    if not usable:
        warnings.append("Nothing is measured, neither heart rate nor intervals: no lead is usable.")
    elif rate is None:
        seen = {0: "no beats are seen", 1: "only one beat is seen"}.get(count, "no two beats in a row are recorded")
        warnings.append(f"Heart rate is not measured: {seen}.")
    if usable and not whole.all():
        gap_s = float((~known).sum() / fs_hz)
        warnings.append(f"Nothing was recorded for {gap_s:.1f} s; intervals across it are not counted.")
    return {
        "heart_rate_bpm": None if rate is None else round(rate),
        "r_peaks_s": [round(float(t), 3) for t in peaks_s],
        "rr": statistics,
        "ectopic": {"ventricular": kinds.count("V"), "supraventricular": kinds.count("S"), "of": count},
    }


def _morphology(
    clean: np.ndarray,
    spikes: np.ndarray,
    r: np.ndarray,
    kinds: list[str],
    usable: list[str],
    leads: tuple[str, ...],
    start_s: float,
    fs_hz: float,
    rr: dict[str, Any],
    warnings: list[str],
) -> dict[str, Any]:
    """All that is read from the representative beat."""
    chosen = np.array([kind == _dominant(kinds) for kind in kinds], bool)
    nothing: dict[str, Any] = {
        "qtc": _corrected(None, None),
        "global": _relative(None),
        "marks_s": _absolute(None, r, start_s),
    }
    empty = {lead: dict.fromkeys(KEYS) for lead in leads}
    if fs_hz < SLOWEST_HZ:
        warnings.append(
            f"Intervals are not measured: {fs_hz:g} samples a second are too few, {SLOWEST_HZ:g} are needed."
        )
        return {**nothing, "per_lead": empty}
    if chosen.sum() < LEAST_BEATS:
        if usable:
            warnings.append(f"Intervals are not measured: {chosen.sum()} beats of one kind are too few to average.")
        return {**nothing, "per_lead": empty}
    beat = _beat(without_mains(clean, r), r[chosen], r[~chosen], spikes)
    regular = not str(rr["regularity"]).startswith("irregular")
    marks = global_marks(beat, regular)
    if (marks.qrs_off - marks.qrs_on) * MS > WIDEST_QRS_MS:
        beating = str(rr["regularity"]).startswith("regular") and rr["rr_mean_ms"] > FLUTTER_RR_MS
        why = "the QRS has no end that stands out" if beating else NO_QRS
        warnings.append(f"Intervals are not measured: {why}.")
        return {**nothing, "per_lead": empty}
    rows = measurement_matrix(beat, marks, usable)
    warnings += _recorded_for(np.isfinite(clean), beat.counts)
    return {
        **nothing,
        **_intervals(marks, _mean_rr_ms(clean, r), warnings),
        **_axes(beat, marks, usable, warnings),
        "p_waves": "present" if marks.p_on is not None else "absent" if len(usable) >= FEW_LEADS else "not found",
        "atrial_fibrillation_suspected": marks.p_on is None and rr["regularity"] == "irregularly irregular",
        "paced": True if beat.spike is not None else False if fs_hz >= SPIKES_HZ else None,
        "beats_averaged": len(beat.r),
        "global": _relative(marks),
        "marks_s": _absolute(marks, beat.r, start_s),
        "per_lead": {lead: rows.get(lead, empty[lead]) for lead in leads},
    }


def _mean_rr_ms(clean: np.ndarray, r: np.ndarray) -> float | None:
    """Of the intervals in which something was recorded all along."""
    rr = np.diff(r)[unbroken(np.isfinite(clean).any(axis=0), FS_HZ, r)]
    return float(rr.mean()) * MS if len(rr) else None


def _recorded_for(known: np.ndarray, counts: np.ndarray) -> list[str]:
    """A sentence where usable leads were recorded for a part of the time only, as on a page."""
    if (known.mean(axis=1) >= PARTLY).all():
        return []
    seconds = [f"{value:.1f}".removesuffix(".0") for value in np.sort(known.sum(axis=1) / FS_HZ)[[0, -1]]]
    fewest, most = int(counts.min()), int(counts.max())
    rest = f"amplitudes rest on {fewest if fewest == most else f'{fewest} to {most}'} beat{'s' if most != 1 else ''}."
    if seconds[0] == seconds[1]:
        return [f"Each lead was recorded for {seconds[0]} s only; {rest}"]
    return [f"Leads were recorded for {seconds[0]} to {seconds[1]} s; {rest}"]


def _dominant(kinds: list[str]) -> str:
    """The kind of beat to measure: normal ones wherever there are enough to average, else the commonest."""
    if kinds.count("N") >= LEAST_BEATS:
        return "N"
    return max(("N", "S", "V"), key=kinds.count)


def _beat(clean: np.ndarray, r: np.ndarray, others: np.ndarray, spikes: np.ndarray) -> Beat:
    """The representative beat, averaged again once its QRS onset is known: the baseline passes there."""
    first = representative_beat(clean, r, others, spikes)
    onset, _ = qrs_marks(first)
    return representative_beat(clean, r, others, spikes, before=R - onset + 2)


def _intervals(marks: Marks, rr_ms: float | None, warnings: list[str]) -> dict[str, Any]:
    """PR, QRS, QT and QTc in ms."""
    pr = qt = p = None
    if marks.p_on is not None and marks.p_off is not None:
        pr, p = (marks.qrs_on - marks.p_on) * MS, (marks.p_off - marks.p_on) * MS
    else:
        warnings.append(f"PR interval is not measured: {marks.p_reason}.")
    if marks.t_off is not None:
        qt = (marks.t_off - marks.qrs_on) * MS
    else:
        warnings.append(f"QT interval is not measured: {marks.t_reason}.")
    qtc = _corrected(qt, rr_ms)
    qrs = (marks.qrs_off - marks.qrs_on) * MS
    return {"pr_ms": pr, "p_ms": p, "qrs_ms": qrs, "qt_ms": qt, "qtc_ms": qtc["bazett_ms"], "qtc": qtc}


def _corrected(qt_ms: float | None, rr_ms: float | None) -> dict[str, int | None]:
    """QTc by four formulas; Bazett 1920, Fridericia 1920, Sagie (Framingham) 1992, Hodges 1983."""
    if qt_ms is None or rr_ms is None:
        return dict.fromkeys(("bazett_ms", "fridericia_ms", "framingham_ms", "hodges_ms"))
    rr_s = rr_ms / 1000
    return {
        "bazett_ms": round(qt_ms / rr_s**0.5),
        "fridericia_ms": round(qt_ms / rr_s ** (1 / 3)),
        "framingham_ms": round(qt_ms + 154 * (1 - rr_s)),
        "hodges_ms": round(qt_ms + 1.75 * (60 / rr_s - 60)),
    }


def _axes(beat: Beat, marks: Marks, usable: list[str], warnings: list[str]) -> dict[str, int | None]:
    found = axes(beat, marks, usable)
    if len({"I", "II", "III", "aVF"} & set(usable)) < 2:
        warnings.append("Axes are not measured: they need two limb leads.")
    elif found["qrs"] is None:
        warnings.append("QRS axis is not measured: the complex cancels out in the frontal plane.")
    return {f"{wave}_axis_deg": found[wave] for wave in ("p", "qrs", "t")}


MARKS = ("p_on", "p_off", "qrs_on", "qrs_off", "t_peak", "t_off")


def _positions(marks: Marks | None) -> dict[str, int | None]:
    """Samples from R."""
    if marks is None:
        return dict.fromkeys(MARKS)
    at = {name: getattr(marks, name) for name in MARKS}
    return {name: None if value is None else int(value) - R for name, value in at.items()}


def _relative(marks: Marks | None) -> dict[str, int | None]:
    """ms from R."""
    return {f"{name}_ms": None if at is None else at * MS for name, at in _positions(marks).items()}


def _absolute(marks: Marks | None, r: np.ndarray, start_s: float) -> dict[str, list[float]]:
    """Times in the recording at which each mark falls, one for every beat that was averaged."""
    nowhere = np.empty(0)
    times = {name: nowhere if at is None else (r + at) / FS_HZ for name, at in _positions(marks).items()}
    return {name: [round(start_s + float(t), 3) for t in times[name] if t >= 0] for name in MARKS}
