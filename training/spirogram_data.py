"""Forced expirations for training: modelled from what NHANES measured, or real ones of UK Biobank.

NHANES publishes the numbers of a blow, not its curve. `modelled` builds the curve that has these numbers. The lung
empties with a local time constant: of what is left, a share of 1/e takes tau seconds, and tau changes smoothly as the
lung empties. Its logarithm is a Gaussian process over the logarithm of what is left (RBF and linear kernel), and the
curve is its likeliest course, around a random one of each person, that meets FVC, FEV1, PEF, FEF25-75 and FET exactly
(Newton's steps in function space). Before the peak, flow rises as a squared sine that lasts as long as the measured
back-extrapolated volume says. So the numbers are real and the course between them is a model's.

    people = nhanes(DIR)                       # a table; z and obstruction by GLI Global 2022
    curves = modelled(people, seed=0)          # curves.volume (people, samples) L at 100 Hz, NaN after the end
    varied(rng, volume)                        # with effort, cough, noise and early ends, as people blow
    ukb(FILE)                                  # volumes of UK Biobank field 3066, for who has it
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from tools import gli
from tools.errors import UnreadableFile

FS_HZ = 100
PRE_S, POST_S = 0.3, 1.0  # rest before, and at most after the blow
LONGEST_S = 16.0
LEFT = 0.005  # share of FVC that the model thinks is left at the end: what still flows then
GRID = 240
STEPS = 20  # of Newton
SPREAD, REACH, TREND = 0.5, 1.0, 0.4  # of the process: amplitude, length in e-foldings, slope
ROUND, NEAR, FADES = 0.15, 0.10, 0.20  # of its part that rounds the peak: amplitude, length, how soon it fades
RANDOM = 0.10  # amplitude of each person's own course
RISE_BEV = 0.25 - 0.5 / np.pi  # BEV of a rise as a squared sine, in peak flow times its length
FILES = ("nhanes/SpirometryUS.csv", "SpirometryUS.csv")


def nhanes(data: Path) -> pd.DataFrame:
    """Persons of NHANES 2007-12 with fvc, fev1 (L), pef, fef (L/s), bev (L), fet (s), age, sex, height; and z and
    obstruction (FEV1/FVC below the LLN) by GLI Global 2022."""
    file = next((data / name for name in FILES if (data / name).is_file()), None)
    if file is None:
        raise UnreadableFile(f"{data.name} holds no nhanes/SpirometryUS.csv: name the folder it lies in")
    table = pd.read_csv(file)
    table["sex"] = table["gender"].str[0].str.upper()
    table["bev"] = table["volume"] / 1000
    of = [np.zeros(len(table)) for _ in range(3)]
    for sex in "FM":
        rows = (table["sex"] == sex).to_numpy()
        age, height = (table.loc[rows, key].to_numpy() for key in ("age", "height"))
        for out, part in zip(of, gli.lms("fev1_fvc", age, sex, height), strict=True):
            out[rows] = part
    table["z"] = gli.z_score(table["fev1"] / table["fvc"], *of)
    table["obstruction"] = table["z"] < gli.LLN_Z
    return table


def timed(data: Path) -> pd.DataFrame | None:
    """Persons of NHANES 2011-12 in the columns of `nhanes`, with volumes that no curve is built from: fev05, fev075,
    fev3, fev6 (L); None where `SPX_G.csv` is not there. Height is missing, so there is no z."""
    file = next((data / name for name in ("nhanes/SPX_G.csv", "SPX_G.csv") if (data / name).is_file()), None)
    if file is None:
        return None
    table = pd.read_csv(file)
    columns = {"fvc": "FVC", "fev1": "FEV1", "pef": "PEF", "fef": "F257", "bev": "EV"}
    columns |= {"fev05": "FEV5", "fev075": "FEV7", "fev3": "FEV3", "fev6": "FEV6"}
    out = pd.DataFrame({name: table[f"SPXN{column}"] / 1000 for name, column in columns.items()})
    return out.assign(fet=table["SPXNFET"]).dropna().query("fef > 0 and fet > 1.5").reset_index(drop=True)


def split(table: pd.DataFrame, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows (a row is a person) to learn from, to choose by, and to test with: 70, 15 and 15 %."""
    order = np.random.default_rng(seed).permutation(len(table))
    a, b = round(0.70 * len(table)), round(0.85 * len(table))
    return {"train": np.sort(order[:a]), "validation": np.sort(order[a:b]), "test": np.sort(order[b:])}


@dataclass(frozen=True)
class Curves:
    """volume (people, samples) float32 L at `FS_HZ`, NaN after the end; `zero_s`, time zero; `solved`, whether the
    model could meet all numbers with a flow that falls (the curve is the nearest else)."""

    volume: np.ndarray
    zero_s: np.ndarray
    solved: np.ndarray


def modelled(people: pd.DataFrame, seed: int = 0) -> Curves:
    """See the module; takes a second for a thousand people."""
    starts = range(0, len(people), 1000)
    parts = [
        _modelled(people[at : at + 1000], (seed, at)) for at in tqdm(starts, desc="curves", disable=len(starts) < 3)
    ]
    return Curves(*(np.concatenate([getattr(part, key) for part in parts]) for key in ("volume", "zero_s", "solved")))


def _modelled(people: pd.DataFrame, seed: tuple[int, int]) -> Curves:
    fvc, fev1, pef, fef, bev, fet = (
        people[key].to_numpy(float)[:, None] for key in ("fvc", "fev1", "pef", "fef", "bev", "fet")
    )
    rng = np.random.default_rng(seed)
    rise = np.clip(bev / (RISE_BEV * pef), 0.04, np.minimum(0.4, 0.4 * fvc / pef))
    s = np.linspace(0, np.log((1 + LEFT) / LEFT), GRID)  # e-foldings of what is left
    s_peak, s25, s75, s1 = (_emptied(x) for x in (pef * rise / 2 / fvc, 0.25, 0.75, np.minimum(fev1 / fvc, 0.997)))
    peak_after = rise / 2  # from time zero
    weights = np.stack([_between(s, s25, s75) + 0 * fvc, _between(s, s_peak, s1), _between(s, s_peak, s[-1])], axis=1)
    wanted = np.log(np.concatenate([0.5 * fvc / fef, 1 - peak_after, fet - peak_after], axis=1))
    at_peak, slope = _hat(s, s_peak), (_hat(s, s_peak + 0.02) - _hat(s, s_peak - 0.02)) / 0.04
    linear = np.stack([at_peak, slope], axis=1)
    left = (1 + LEFT) * np.exp(-s)
    of_linear = np.concatenate([np.log(fvc * (1 + LEFT) * np.exp(-s_peak) / pef), -np.ones_like(fvc)], axis=1)
    apart = s[:, None] - s[None]
    kernel = SPREAD**2 * np.exp(-0.5 * (apart / REACH) ** 2) + TREND**2 * s[:, None] * s[None] / s[-1] + SPREAD**2
    fade = np.exp(-s / FADES)
    kernel = kernel + ROUND**2 * np.exp(-0.5 * (apart / NEAR) ** 2) * fade[:, None] * fade
    course = np.linalg.cholesky(np.exp(-0.5 * (apart / REACH) ** 2) + 1e-6 * np.eye(GRID))
    mean = np.log(0.5 * fvc / fef / np.log(3)) + RANDOM * rng.standard_normal((len(fvc), GRID)) @ course.T
    w = mean.copy()
    for _ in range(STEPS):
        taken = weights * np.exp(w)[:, None]
        total = taken.sum(-1)
        jacobian = np.concatenate([taken / total[..., None], linear], axis=1)
        off = np.concatenate([wanted - np.log(total), of_linear - (linear @ w[..., None])[..., 0]], axis=1)
        spread = jacobian @ kernel
        inner = spread @ jacobian.transpose(0, 2, 1) + 1e-8 * np.eye(5)
        to = off + (jacobian @ (w - mean)[..., None])[..., 0]
        new = mean + (np.linalg.solve(inner, to[..., None]).transpose(0, 2, 1) @ spread)[:, 0]
        step = new - w
        w = w + step * np.minimum(1.0, 1.5 / np.abs(step).max(1, keepdims=True))
        w = np.maximum(w, np.where(s > s_peak, np.log(fvc * left / pef), -np.inf))  # no flow above the peak
    flow = np.where(s > s_peak, np.log(fvc * left / pef) - w, 0.0)  # logarithm of its share of the peak
    again = np.exp(flow) - np.minimum.accumulate(np.exp(flow), axis=1)
    solved = (np.abs(off[:, :4]).max(axis=1) < 0.01) & (again.max(axis=1) < 0.1)  # a flat peak is no number
    return Curves(*_sampled(w, s, s_peak, fvc, pef, rise, rng), solved)


def _emptied(x: Any) -> Any:
    """e-foldings of what is left when the share x of FVC is out."""
    return -np.log((1 - x + LEFT) / (1 + LEFT))


def _hat(s: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(people, GRID) weights of linear interpolation at `at`."""
    return np.clip(1 - np.abs(s - at) / (s[1] - s[0]), 0, None)


def _between(s: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """(people, GRID) weights that integrate a piecewise linear function from `low` to `high`."""
    step = s[1] - s[0]

    def below(to: Any) -> np.ndarray:  # integral of each hat from the left up to `to`
        u = np.clip((to - s) / step, -1, 1)
        return step * np.where(u < 0, 0.5 * (1 + u) ** 2, 0.5 + u - 0.5 * u**2)

    return below(high) - below(low)


def _sampled(
    w: np.ndarray, s: np.ndarray, s_peak: np.ndarray, fvc: np.ndarray, pef: np.ndarray, rise: np.ndarray, rng: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Volumes at `FS_HZ`, and where their time zero is."""
    samples = int((PRE_S + LONGEST_S + POST_S) * FS_HZ)
    out = np.full((len(w), samples), np.nan, np.float32)
    time = np.arange(samples) / FS_HZ - PRE_S  # from when flow begins
    rest = rng.uniform(0.0, POST_S, len(w))
    for n in range(len(w)):
        fine = np.linspace(s_peak[n, 0], s[-1], 1500)
        tau = np.exp(np.interp(fine, s, w[n]))
        at = rise[n, 0] + np.r_[0, np.cumsum((tau[1:] + tau[:-1]) / 2 * np.diff(fine))]
        x = 1 + LEFT - (1 + LEFT) * np.exp(-fine)
        before = np.clip(time, 0, rise[n, 0])
        early = pef[n, 0] * (before / 2 - rise[n, 0] / (2 * np.pi) * np.sin(np.pi * before / rise[n, 0]))
        volume = np.where(time < rise[n, 0], early, fvc[n, 0] * np.interp(time, at, x))
        last = min(samples, int((PRE_S + at[-1] + rest[n]) * FS_HZ) + 2)
        out[n, :last] = volume[:last]
    return out, PRE_S + rise[:, 0] / 2


def varied(rng: np.random.Generator, volume: np.ndarray, zero_s: np.ndarray, calm: float = 0.25) -> np.ndarray:
    """A copy in which people blow as people do; a share `calm` blows well.

    Each of the others has some of: an early end (40 %, 0.8 to 6 s after time zero), a weak or late start (20 %: the
    first second runs slower), a cough (20 %: flow stops and comes back), and all have noise of up to 3 mL.
    """
    out = volume.copy()
    lame = rng.random(len(out)) >= calm
    for n in np.flatnonzero(lame):
        if rng.random() < 0.2:
            out[n] = weak(out[n], zero_s[n], rng.uniform(1.1, 2.5))
        if rng.random() < 0.2:
            out[n] = coughed(out[n], zero_s[n] + rng.uniform(0.2, 3.0), rng.uniform(0.05, 0.3))
    stop = np.where(lame & (rng.random(len(out)) < 0.4), rng.uniform(0.8, 6.0, len(out)), np.inf)
    out = stopped(out, zero_s, stop)
    return out + rng.normal(0, 1, out.shape).astype(np.float32) * (lame * rng.uniform(0, 0.003, len(out)))[
        :, None
    ].astype(np.float32)


def stopped(volume: np.ndarray, zero_s: np.ndarray, after_s: np.ndarray | float) -> np.ndarray:
    """The curves cut off `after_s` after time zero; nothing is recorded from then on."""
    time = np.arange(volume.shape[1]) / FS_HZ
    return np.where(time > (zero_s + after_s)[:, None], np.nan, volume).astype(np.float32)


def weak(volume: np.ndarray, zero_s: float, slower: float, lasts_s: float = 0.4) -> np.ndarray:
    """(samples,) with its beginning stretched `slower` times: less peak flow, more back-extrapolated volume."""
    time = np.arange(len(volume)) / FS_HZ - zero_s + 0.1
    at = np.where(time < 0, time, np.where(time < lasts_s * slower, time / slower, time - lasts_s * (slower - 1)))
    return np.interp(at, time, volume).astype(np.float32)


def coughed(volume: np.ndarray, at_s: float, lasts_s: float) -> np.ndarray:
    """(samples,) with a stop of flow at `at_s` that lasts `lasts_s`; what follows comes later."""
    time = np.arange(len(volume)) / FS_HZ
    at = np.where(time < at_s, time, np.maximum(at_s, time - lasts_s))
    return np.interp(at, time, volume).astype(np.float32)


def ukb(file: Path) -> list[np.ndarray]:
    """Volumes in L at 100 Hz of UK Biobank field 3066: a blow a cell, "blow1,1203,0,0,1,…", in mL.

    `file` is a CSV whose columns of blows have "3066" in their title; empty cells are left out. A count before the
    samples is recognised by its value.
    """
    table = pd.read_csv(file, dtype=str)
    blows = []
    for column in (name for name in table if "3066" in name):
        for cell in table[column].dropna():
            numbers = pd.to_numeric(pd.Series(cell.split(",")), errors="coerce").dropna().to_numpy()
            if len(numbers) > 2 and numbers[0] == len(numbers) - 1:
                numbers = numbers[1:]
            if len(numbers) > FS_HZ:
                blows.append(numbers.astype(np.float32) / 1000)
    if not blows:
        raise UnreadableFile(f"{file.name} has no blows in a column of field 3066: check the export")
    return blows
