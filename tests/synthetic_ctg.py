"""Cardiotocograms with known answers: baseline, bandwidth, accelerations, decelerations and contractions as ordered."""

from __future__ import annotations

import numpy as np

from tools.recording import Recording

FS_HZ = 4
EDGE_S = 5.0  # an event rises and falls within this
SWING_S = 20.0  # period of the baseline's oscillation


def ctg(
    minutes: float = 40,
    baseline_bpm: float = 140,
    bandwidth_bpm: float = 8,
    events: tuple[tuple[float, float, float], ...] = (),
    acmes_s: tuple[float, ...] = (),
    gaps: tuple[tuple[float, float], ...] = (),
    edge_s: float = EDGE_S,
    uterus: bool = True,
    missing: float = 0.0,
) -> Recording:
    """`events` are trapezoids of (start s, duration s, bpm up or down), contractions last 80 s, `gaps` from s to s."""
    t = np.arange(round(minutes * 60 * FS_HZ)) / FS_HZ
    fhr = baseline_bpm + bandwidth_bpm / 2 * np.sin(2 * np.pi * t / SWING_S)
    for start, duration, height in events:
        part = (t >= start) & (t <= start + duration)
        fhr[part] = baseline_bpm
        fhr += height * np.interp(t, [start, start + edge_s, start + duration - edge_s, start + duration], [0, 1, 1, 0])
    for start, stop in gaps:
        fhr[(t >= start) & (t < stop)] = missing
    uc = np.full(len(t), 10.0)
    for acme in acmes_s:
        uc += 50 * np.exp(-0.5 * ((t - acme) / 17) ** 2)
    rows, names = ([fhr, uc], ("FHR", "UC")) if uterus else ([fhr], ("FHR",))
    return Recording(np.stack(rows).astype(np.float32), FS_HZ, names, "ctg", "bpm")
