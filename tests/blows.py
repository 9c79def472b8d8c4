"""Analytic forced expirations whose every number is known.

Flow rises as a squared sine for `rise_s`, then falls exponentially with time constant `tau_s` until `lasts_s` after it
began, and stops; `rest_s` and `after_s` are before and after. Nothing is sampled to know the truth.

    truth = blows.blow(fvc_l=4.0, tau_s=0.5, fs_hz=200)
    truth.volume_l, truth.fev1_l, truth.bev_l
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tools.recording import Recording


@dataclass(frozen=True)
class Blow:
    volume_l: np.ndarray
    fs_hz: float
    zero_s: float
    fev1_l: float
    fvc_l: float
    pef_lps: float
    fef2575_lps: float
    bev_l: float
    fet_s: float


def blow(
    fvc_l: float = 4.0,
    tau_s: float = 0.5,
    rise_s: float = 0.12,
    fs_hz: float = 100.0,
    lasts_s: float = 8.0,
    rest_s: float = 0.5,
    after_s: float = 1.5,
) -> Blow:
    """The lungs would give `fvc_l` in endless time; what they give until `lasts_s` is the FVC."""
    pef = fvc_l / (tau_s + rise_s / 2)
    left = pef * tau_s  # when flow is highest

    def volume(t: np.ndarray) -> np.ndarray:
        t = np.clip(t, 0, lasts_s)
        rising = pef * (t / 2 - rise_s / (2 * math.pi) * np.sin(math.pi * t / rise_s))
        return np.where(t < rise_s, rising, fvc_l - left * np.exp(-(t - rise_s) / tau_s))

    time = np.arange(round((rest_s + lasts_s + after_s) * fs_hz)) / fs_hz - rest_s
    fvc = float(volume(np.array(lasts_s)))
    when = [rise_s - tau_s * math.log((fvc_l - share * fvc) / left) for share in (0.25, 0.75)]
    return Blow(
        volume(time),
        fs_hz,
        rest_s + rise_s / 2,
        float(volume(np.array(1 + rise_s / 2))),
        fvc,
        pef,
        0.5 * fvc / (when[1] - when[0]),
        pef * rise_s * (0.25 - 0.5 / math.pi),
        lasts_s - rise_s / 2,
    )


def recording(*volumes: np.ndarray, fs_hz: float = 100, unit: str = "L", **meta) -> Recording:
    """Blows in litres, one a row, as a spirogram."""
    signal = np.full((len(volumes), max(map(len, volumes))), np.nan, np.float32)
    for row, volume in zip(signal, volumes, strict=True):
        row[: len(volume)] = volume
    leads = tuple(f"manoeuvre {n}" for n in range(1, len(volumes) + 1))
    return Recording(signal, fs_hz, leads, "spirogram", unit, None, meta)
