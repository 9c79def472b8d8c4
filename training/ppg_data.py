"""Pulse waves and lead II of one moment, moved together, for training/ppg.py: records as BIDMC keeps them.

    records = load(root)                      # every record with a pulse wave and lead II, at 100 Hz
    rows, counts = windows(records, 250)      # (record, start) of the usable windows of 10 s, a window every 2.5 s
    batch(records, rows, rng)                 # pulse waves, ECGs moved to them, where the R peaks are

The arrival time of a record is the lag at which steep rises of the pulse follow R peaks most consistently; where the
heart beats so fast that two lags fit, the one nearer to the other patients'. It is followed through the record by a
running median. R peaks come from all ECG leads of the record together.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy import signal as dsp
from tqdm import tqdm

from encoders.vae import FS_HZ, SAMPLES
from tools import pulse
from tools.beats import r_peaks
from tools.errors import EinthovenError, UsageError
from tools.gaps import bridged
from tools.recording import read

ECG_HZ = (0.5, 40.0)
WIDTH_S = 0.02  # of the bump that marks an R peak
NEAR_S = 0.1  # a pulse this near to where it is expected is the beat's own
BEATS = 31  # of the running median of the arrival time
MOST_LOST = 0.05  # share of a window that may be flat or clipped
SPLIT = (20, 35)  # of 100 parts by hash: test, validation, the rest trains
SPEEDS = (0.75, 1.35)
TALLEST = 8.0  # times the usual height: ECGs are cut there


@dataclass(frozen=True)
class Record:
    """One patient. wave, ecg, lost : (samples,) at 100 Hz; ecg in units of `height_mv`; r_s, arrival_s : (beats,)."""

    name: str
    part: str
    wave: np.ndarray
    ecg: np.ndarray
    lost: np.ndarray
    r_s: np.ndarray
    arrival_s: np.ndarray
    height_mv: float

    @property
    def rr_s(self) -> float:
        return float(np.median(np.diff(self.r_s)))


def part_of(name: str) -> str:
    """Which split a patient is in, for ever: by the hash of the record's name."""
    place = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 100
    return "test" if place < SPLIT[0] else "validation" if place < SPLIT[1] else "train"


def folder(root: Path) -> Path:
    """Where the records lie: `root`/bidmc or `root` itself."""
    for place in (root / "bidmc", root):
        if any(place.glob("*.hea")):
            return place
    raise UsageError(f"no WFDB records (.hea) in {root} or {root / 'bidmc'}: give the folder of BIDMC")


def load(root: Path, parts: tuple[str, ...] = ("train", "validation")) -> list[Record]:
    """The records of these parts; records without a pulse wave or lead II are left out and said."""
    files = [file for file in sorted(folder(root).glob("*.hea")) if part_of(file.stem) in parts]
    raw = []
    for file in tqdm(files, desc="records"):
        try:
            raw.append((file.stem, *signals(file)))
        except (EinthovenError, KeyError) as error:
            print(f"left out {file.stem}: {error}")
    lags = [_lags(pulse.arrivals_s(wave), r_s) for _, wave, _, _, r_s in raw]
    usual = float(np.median([found[0] for found in lags if len(found)]))
    records = []
    for (name, wave, ecg, lost, r_s), found in zip(raw, lags, strict=True):
        if not len(found):
            print(f"left out {name}: no pulse follows its beats")
            continue
        lag = float(found[np.argmin(np.abs(found - usual))])
        height = float(np.median([part.std() for part in np.array_split(ecg, max(len(ecg) // SAMPLES, 1))]))
        scaled = (ecg / height).clip(-TALLEST, TALLEST).astype(np.float32)
        arrival = _followed(pulse.arrivals_s(wave), r_s, lag)
        records.append(Record(name, part_of(name), wave.astype(np.float32), scaled, lost, r_s, arrival, height))
    return records


def signals(file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Upright pulse wave, lead II in mV, what is lost (all at 100 Hz), and R peaks in s."""
    from encoders.reading import at_100_hz

    (ppg,), (ecg,) = read(file, kind="ppg"), read(file, kind="ecg")
    raw, lead = ppg.signal[0].astype(float), ecg.lead("II").astype(float)
    wave = pulse.filtered(raw, ppg.fs_hz)
    wave = -wave if pulse.upside_down(wave) else wave
    sos = dsp.butter(3, ECG_HZ, "band", fs=ecg.fs_hz, output="sos")
    clean = dsp.sosfiltfilt(sos, bridged(lead[None]))
    slow = at_100_hz(clean, np.ones(clean.shape, bool), ecg.fs_hz)[0][0]
    edge = (lead >= np.nanmax(lead) - 1e-6) | (lead <= np.nanmin(lead) + 1e-6)
    held = pulse.stuck(lead, ecg.fs_hz, 0.03) & edge | pulse.stuck(lead, ecg.fs_hz, 0.5) | ~np.isfinite(lead)
    held |= pulse.stuck(raw, ppg.fs_hz) | ~np.isfinite(raw)
    n = min(len(wave), len(slow))
    at = np.minimum((np.arange(n) * ecg.fs_hz / FS_HZ).astype(int), len(held) - 1)
    return wave[:n] / wave.std(), slow[:n], held[at], r_peaks(ecg.signal, ecg.fs_hz) / ecg.fs_hz


def _lags(arrivals: np.ndarray, r_s: np.ndarray) -> np.ndarray:
    """Lags in s at which pulses follow beats, the most consistent first."""
    apart = (arrivals[:, None] - r_s[None]).ravel()
    step = 0.008
    count, edges = np.histogram(apart, np.arange(0, 1.0, step))
    smooth = ndimage.uniform_filter1d(count.astype(float), 5, mode="constant")
    peaks, _ = dsp.find_peaks(smooth, height=max(0.5 * smooth.max(), 3 / 5), distance=20)
    return edges[peaks[np.argsort(-smooth[peaks])]] + step / 2


def _followed(arrivals: np.ndarray, r_s: np.ndarray, lag: float) -> np.ndarray:
    """(beats,) arrival time in s of every beat, by a running median of those whose pulse is there."""
    nearest = arrivals[np.abs(arrivals[None] - (r_s[:, None] + lag)).argmin(1)] - r_s
    good = np.abs(nearest - lag) < NEAR_S
    if good.sum() < BEATS:
        return np.full(len(r_s), lag)
    smooth = ndimage.median_filter(nearest[good], BEATS, mode="nearest")
    return np.interp(r_s, r_s[good], smooth)


def windows(records: list[Record], hop: int) -> tuple[np.ndarray, dict[str, int]]:
    """(windows, 2) record and first sample of the usable windows, and how many were left out and why."""
    rows, counts = [], {"kept": 0, "flat or clipped": 0, "fewer than four beats": 0}
    for number, one in enumerate(records):
        first = int(np.ceil(one.arrival_s.max() * FS_HZ))
        for start in range(first, len(one.wave) - SAMPLES + 1, hop):
            beats = np.sum((one.r_s * FS_HZ >= start) & (one.r_s * FS_HZ < start + SAMPLES))
            lost = one.lost[start : start + SAMPLES].mean() > MOST_LOST
            why = "flat or clipped" if lost else "fewer than four beats" if beats < 4 else "kept"
            counts[why] += 1
            rows += [(number, start)] if why == "kept" else []
    return np.array(rows, int).reshape(-1, 2), counts


def batch(
    records: list[Record], rows: np.ndarray, rng: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pulse waves, ECGs moved onto them, and bumps where R peaks are, (rows, SAMPLES) float32 each; varied if `rng`.

    Varied: speed, noise and drift of the pulse, its size from beat to beat, and an end without a signal.
    """
    out = np.zeros((3, len(rows), SAMPLES), np.float32)
    for i, (number, start) in enumerate(rows):
        one = records[number]
        speed = 1.0 if rng is None or rng.random() < 0.4 else float(np.exp(rng.uniform(*np.log(SPEEDS))))
        first = start if rng is None else start + int(rng.integers(-SAMPLES // 2, SAMPLES // 2))
        first = int(np.clip(first, 0, max(len(one.wave) - speed * SAMPLES, 0)))
        at = first + speed * np.arange(SAMPLES)
        late = float(np.interp((first + speed * SAMPLES / 2) / FS_HZ, one.r_s, one.arrival_s)) * FS_HZ
        grid = np.arange(len(one.wave))
        out[0, i] = np.interp(at, grid, one.wave, left=0, right=0)
        out[1, i] = np.interp(at - late, grid, one.ecg, left=0, right=0)
        beats = (one.r_s * FS_HZ + late - first) / speed
        beats = beats[(beats > -10) & (beats < SAMPLES + 10)]
        apart = (np.arange(SAMPLES)[:, None] - beats) / (WIDTH_S * FS_HZ)
        out[2, i] = np.exp(-0.5 * np.square(apart)).sum(1).clip(0, 1)
        if rng is not None:
            out[0, i] += _noise(rng) * rng.exponential(0.15) * out[0, i].std()
            out[0, i] *= 1 + rng.uniform(0, 0.3) * np.interp(
                np.arange(SAMPLES), np.linspace(0, SAMPLES, 12), rng.normal(0, 1, 12)
            )
            if rng.random() < 0.15:  # a recording that ends, or a sensor that falls off
                out[:, i, rng.integers(SAMPLES // 2, SAMPLES) :] = 0
    return out[0], out[1], out[2]


def _noise(rng: np.random.Generator) -> np.ndarray:
    """(SAMPLES,) noise of the band of a pulse wave, standard deviation about 1."""
    coarse = rng.normal(0, 1, SAMPLES // 8 + 1)
    return np.interp(np.arange(SAMPLES), np.arange(len(coarse)) * 8, coarse)
