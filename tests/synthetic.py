"""Analytic ECGs whose every onset, offset and amplitude is known.

A heart vector runs through P, QRS and T; each lead is its projection, so Einthoven's and Goldberger's identities hold
by construction. The waves have compact support, so that where they begin and end is a fact and not a convention:
`shape="smooth"` uses raised cosines, `shape="linear"` triangles with kinks, as the CTS calibration signals do.

    truth = synthetic.ecg(fs_hz=500, rate_bpm=72, qrs_ms=90)
    truth.recording, truth.qrs_ms, truth.amplitude_mv["V5"]["r_mv"]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tools.recording import LEADS, Recording

# Heart vector (x left, y down, z front) -> leads. The limb leads follow from x and y alone.
_CHEST = {
    "V1": (-0.55, 0.10, 0.75),
    "V2": (-0.15, 0.15, 1.05),
    "V3": (0.35, 0.20, 0.95),
    "V4": (0.85, 0.30, 0.60),
    "V5": (1.00, 0.30, 0.15),
    "V6": (0.90, 0.25, -0.15),
}
_UNIT = {"smooth": lambda u: 0.5 * (1 + np.cos(np.pi * u)), "linear": lambda u: 1 - np.abs(u)}


@dataclass(frozen=True)
class Truth:
    """A synthetic recording and what must be measured in it; times in ms, amplitudes in mV."""

    recording: Recording
    r_s: np.ndarray
    rate_bpm: float
    p_ms: float | None
    pr_ms: float | None
    qrs_ms: float
    qt_ms: float | None
    amplitude_mv: dict[str, dict[str, float]]


def projection() -> np.ndarray:
    """(12, 3) matrix from the heart vector to the leads."""
    one, foot = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    two = 0.5 * one + foot  # aVF is II - I / 2
    three = two - one
    limb = [one, two, three, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.vstack([limb, list(_CHEST.values())])


def _waves(qrs_ms: float, qt_ms: float, pr_ms: float, p_ms: float, st_mv: float, p: bool, t: bool) -> list:
    """(name, onset ms, duration ms, peak vector mV), times from the QRS onset."""
    waves: list[tuple[str, float, float, tuple[float, float, float]]] = [
        ("qrs", 0.0, 0.40 * qrs_ms, (-0.12, -0.10, 0.30)),
        ("qrs", 0.20 * qrs_ms, 0.55 * qrs_ms, (1.00, 0.80, -0.30)),
        ("qrs", 0.62 * qrs_ms, 0.38 * qrs_ms, (-0.20, -0.15, -0.45)),
    ]
    if p:
        waves.append(("p", -pr_ms, p_ms, (0.09, 0.11, 0.04)))
    if t:
        duration = min(180.0, 0.62 * (qt_ms - qrs_ms))
        waves.append(("t", qt_ms - duration, duration, (0.28, 0.22, 0.15)))
    return waves


def ecg(
    fs_hz: float = 500.0,
    rate_bpm: float = 72.0,
    qrs_ms: float = 90.0,
    qt_ms: float | None = 380.0,
    pr_ms: float | None = 160.0,
    p_ms: float = 100.0,
    shape: str = "smooth",
    seconds: float = 10.0,
    gain: float = 1.0,
    irregular: float = 0.0,
    leads: tuple[str, ...] = LEADS,
    seed: int = 0,
) -> Truth:
    """Build one; `qt_ms=None` leaves T out, `pr_ms=None` leaves P out, `irregular` is the SD of RR over its mean."""
    rng = np.random.default_rng(seed)
    waves = _waves(qrs_ms, qt_ms or 0.0, pr_ms or 0.0, p_ms, 0.0, pr_ms is not None, qt_ms is not None)
    time_ms = np.arange(round(seconds * fs_hz)) / fs_hz * 1000
    rr_ms = 60000 / rate_bpm
    steps = rr_ms * np.clip(1 + irregular * rng.standard_normal(int(seconds * 1000 / rr_ms) + 4), 0.5, 1.8)
    onsets = -0.55 * rr_ms + np.r_[0, np.cumsum(steps)] + rng.uniform(0, 0.1) * rr_ms
    vector = np.zeros((3, len(time_ms)))
    for onset in onsets:
        vector += _vector(time_ms - onset, waves, shape)
    fine = np.arange(-400.0, 700.0, 0.25)
    every = gain * projection() @ _vector(fine, waves, shape)
    part = (fine >= 0) & (fine <= qrs_ms)
    peak_ms = float(fine[part][np.linalg.norm(_vector(fine[part], waves, shape), axis=0).argmax()])
    chosen = [LEADS.index(name) for name in leads]
    signal = (gain * projection() @ vector)[chosen].astype(np.float32)
    r_s = (onsets + peak_ms) / 1000
    inside = (r_s > 0.05) & (r_s < seconds - 0.05)
    return Truth(
        Recording(signal, fs_hz, leads),
        r_s[inside],
        rate_bpm,
        p_ms if pr_ms is not None else None,
        pr_ms,
        qrs_ms,
        qt_ms,
        {name: _amplitudes(every[LEADS.index(name)], fine, qrs_ms, qt_ms, pr_ms, p_ms) for name in leads},
    )


def _vector(time_ms: np.ndarray, waves: list, shape: str) -> np.ndarray:
    """(3, samples) heart vector of one beat whose QRS begins at 0."""
    out = np.zeros((3, len(time_ms)))
    for _, onset, duration, peak in waves:
        u = (time_ms - onset - duration / 2) / (duration / 2)
        bump = np.where(np.abs(u) < 1, _UNIT[shape](np.clip(u, -1, 1)), 0.0)
        out += np.outer(peak, bump)
    return out


def _amplitudes(
    lead: np.ndarray, time_ms: np.ndarray, qrs_ms: float, qt_ms: float | None, pr_ms: float | None, p_ms: float
) -> dict[str, float]:
    """Extremes of each wave of one lead."""
    qrs = lead[(time_ms >= 0) & (time_ms <= qrs_ms)]
    out = {"r_mv": float(max(qrs.max(), 0)), "lowest_mv": float(min(qrs.min(), 0))}
    for name, lo, hi in (("p_mv", -(pr_ms or 0), p_ms - (pr_ms or 0)), ("t_mv", qrs_ms, qt_ms or 0)):
        part = lead[(time_ms >= lo) & (time_ms <= hi)]
        if (name == "p_mv" and pr_ms is not None) or (name == "t_mv" and qt_ms is not None):
            out[name] = float(part[np.abs(part).argmax()])
    return out


def noisy(recording: Recording, kind: str, snr_db: float = 20.0, seed: int = 0) -> Recording:
    """The recording with mains (50 Hz), muscle (20-100 Hz) or baseline (0.15-0.4 Hz) noise at `snr_db` in each lead."""
    rng = np.random.default_rng(seed)
    leads, n = recording.signal.shape
    t = np.arange(n) / recording.fs_hz
    if kind == "mains":
        noise = np.sin(2 * np.pi * 50 * t + rng.uniform(0, 2 * np.pi, (leads, 1)))
    elif kind == "baseline":
        drift_hz = np.array([0.15, 0.25, 0.4])[:, None, None]
        noise = np.sin(2 * np.pi * drift_hz * t + rng.uniform(0, 2 * np.pi, (3, leads, 1))).sum(axis=0)
    elif kind == "muscle":
        spectrum = np.fft.rfft(rng.standard_normal((leads, n)), axis=1)
        hz = np.fft.rfftfreq(n, 1 / recording.fs_hz)
        noise = np.fft.irfft(spectrum * ((hz >= 20) & (hz <= 100)), n, axis=1)
    else:
        raise ValueError(kind)
    power = recording.signal.std(axis=1, keepdims=True) / noise.std(axis=1, keepdims=True)
    scaled = noise * power * 10 ** (-snr_db / 20)
    return Recording((recording.signal + scaled).astype(np.float32), recording.fs_hz, recording.leads)
