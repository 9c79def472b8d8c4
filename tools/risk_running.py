"""Whether VT, VF or ventricular flutter seems to run in a strip: then its risk is no question.

    running(x)                # of tools.risk_features.at_125_hz -> [(start_s, stop_s), …]
    ongoing(recording)        # the same of a recording's last five minutes

Two numbers of every 8 s: the leakage of a filter tuned to the signal's own mean period (Kuo and Dillman 1978, Computers
in Cardiology), low where the signal is close to a sine wave, and the share of time that it rests within a tenth of its
height around its median, low where there is no isoelectric line. A line between the two was set by logistic regression
on the annotated 8 s of CUDB, VFDB, MIT-BIH and NSRDB; `python -m training.evaluate risk` prints how often it is right.
A slow VT whose complexes stand apart is not told; the rule of `tools.interpret_resolve.urgent` added only false alarms.
"""

from __future__ import annotations

import numpy as np

from tools.recording import Recording
from tools.risk_features import FS_HZ, at_125_hz
from tools.risk_inputs import strip_of

WINDOW_S, STEP_S = 8.0, 4.0
OF_LEAKAGE, OF_REST, START = -10.9, -9.2, 9.75
LEAST_LOG_ODDS = 0.0


def leakage(x: np.ndarray) -> float:
    """0 for a sine wave, near 1 for narrow beats; x (samples,) around zero."""
    steps = float(np.abs(np.diff(x)).sum())
    half = int(np.clip(round(np.pi * float(np.abs(x).sum()) / max(steps, 1e-9)), 2, len(x) // 4))
    return float(np.abs(x[half:] + x[:-half]).sum() / max((np.abs(x[half:]) + np.abs(x[:-half])).sum(), 1e-9))


def rest(x: np.ndarray) -> float:
    """Share of the time within a tenth of the height around the median."""
    low, high = np.quantile(x, (0.01, 0.99))
    return float((np.abs(x - np.median(x)) < 0.1 * (high - low)).mean())


def log_odds(window: np.ndarray) -> float:
    """Of VT or VF in (leads, samples); leads without signal do not count."""
    there = [row for row in window if np.ptp(row) > 0]
    if not there:
        return float("-inf")
    return float(np.mean([OF_LEAKAGE * leakage(row) + OF_REST * rest(row) + START for row in there]))


def running(x: np.ndarray, least: float = LEAST_LOG_ODDS) -> list[tuple[float, float]]:
    """Stretches (start_s, stop_s) of (leads, samples) at 125 Hz in which VT or VF seems to run."""
    size, step = round(WINDOW_S * FS_HZ), round(STEP_S * FS_HZ)
    found: list[tuple[float, float]] = []
    for at in range(0, x.shape[1] - size + 1, step):
        if log_odds(x[:, at : at + size]) >= least:
            start, stop = at / FS_HZ, (at + size) / FS_HZ
            if found and start <= found[-1][1]:
                start = found.pop()[0]
            found.append((start, stop))
    return found


def ongoing(recording: Recording) -> list[tuple[float, float]]:
    """Stretches of the recording's last five minutes in which VT or VF seems to run, in the recording's own time."""
    strip = strip_of(recording)
    start_s = recording.duration_s - strip.duration_s
    return [(start_s + a, start_s + b) for a, b in running(at_125_hz(strip.signal, strip.fs_hz)[0])]
