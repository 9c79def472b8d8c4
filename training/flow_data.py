"""What the flow and the extractor of persons learn from: latents of labelled ECGs, and what is said of each.

    known = prepared(root, net, folder)       # once, kept in `folder`; the columns of `Latents`
    given = asked(known, rows, rng, words)    # conditions of a batch, each statement in one of its wordings

Every recording is there in several versions: as recorded, varied as in training/vae_data.py (each with its own
beats), and its two halves alone, of which the autoencoder guesses the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from encoders.flow import NUMBERS, Given
from encoders.rhythm import MOST, track
from encoders.sentence import WIDTH, embed
from encoders.vae import FS_HZ, SAMPLES, Vae
from tools.beat_kinds import label_beats
from tools.beats import r_peaks
from tools.drawing_words import phrases
from training import ptbxl, vae_data

VERSIONS = 6  # as recorded, and varied
MOST_STATEMENTS = 6
HALVES = (slice(0, SAMPLES // 2), slice(SAMPLES // 2, SAMPLES))


class Latents(NamedTuple):
    """latent (records, VERSIONS, latent, STEPS), half (records, 2, latent, STEPS) float16, in units of their spread;
    hearts (records, VERSIONS, MOST, 2) as in encoders/rhythm.py, NaN behind the last beat; numbers (records, VERSIONS,
    4), NaN where unknown; statement (records, codes) bool; the rest (records,)."""

    latent: np.ndarray
    hearts: np.ndarray
    half: np.ndarray
    numbers: np.ndarray
    statement: np.ndarray
    patient: np.ndarray
    fold: np.ndarray
    raw: np.ndarray

    def rows(self, chosen: np.ndarray) -> Latents:
        return Latents(*(one[chosen] for one in self))


def prepared(root: Path, table: ptbxl.Table, net: Vae, folder: Path, seed: int = 0) -> Latents:
    """Encode every recording of `table` once; kept as `folder`/latents.npz."""
    file = folder / "latents.npz"
    if file.exists():
        with np.load(file) as kept:
            if set(kept.files) == set(Latents._fields):  # else an earlier version of this recipe made it
                return Latents(*(kept[name] for name in Latents._fields))
    rng = np.random.default_rng(seed)
    signal = vae_data.levelled(table.signal)
    known = np.ones((1, 12, SAMPLES), bool)
    latent, hearts = [encoded(net, signal, known)], [beats(signal)]
    for _ in tqdm(range(VERSIONS - 1), desc="versions"):
        other = vae_data.varied(rng, signal)
        latent.append(encoded(net, other, known))
        hearts.append(beats(other))
    half = []
    for part in HALVES:
        seen = np.zeros((1, 12, SAMPLES), bool)
        seen[:, :, part] = True
        half.append(encoded(net, signal, seen))
    people = ptbxl.people(root)
    told = [people.get(record, (None, None)) for record in table.record]
    age = np.array([np.nan if years is None else years for years, _ in told])
    male = np.array([np.nan if sex is None else float(sex == "M") for _, sex in told])
    numbers = np.stack([np.column_stack([rate(one), age, male, table.raw]) for one in hearts], axis=1)
    made = Latents(
        np.stack(latent, axis=1), np.stack(hearts, axis=1), np.stack(half, axis=1), numbers,
        table.labels["statement"] > 0, table.patient, table.fold, table.raw,
    )  # fmt: skip
    np.savez(file, **made._asdict())
    return made


def beats(signal: np.ndarray) -> np.ndarray:
    """(records, MOST, 2) hearts of (records, 12, SAMPLES) mV; NaN behind the last beat."""
    out = np.full((len(signal), MOST, 2), np.nan, np.float32)
    for row, one in zip(out, tqdm(signal, desc="beats", leave=False, disable=len(signal) < 2), strict=True):
        found = r_peaks(one, FS_HZ)[:MOST]
        row[: len(found), 0] = found
        row[: len(found), 1] = [kind == "V" for kind in label_beats(one, FS_HZ, found)]
    return out


def listed(hearts: np.ndarray) -> list[np.ndarray]:
    """(records, MOST, 2) as a list of (beats, 2)."""
    return [one[np.isfinite(one[:, 0])] for one in hearts]


def rate(hearts: np.ndarray) -> np.ndarray:
    """(records,) mean ventricular rate in bpm of (records, MOST, 2); NaN under three beats."""
    peaks = hearts[..., 0]
    count = np.isfinite(peaks).sum(axis=1)
    span = np.nanmax(np.column_stack([peaks, np.zeros(len(peaks))]), axis=1) - np.nan_to_num(peaks[:, 0])
    return np.where(count > 2, 60 * FS_HZ * (count - 1) / np.maximum(span, 1), np.nan)


def heart_rate(signal: np.ndarray) -> float:
    """Mean ventricular rate of (12, samples) mV in bpm; NaN under three beats."""
    return float(rate(beats(signal[None]))[0])


def told(hearts: np.ndarray) -> torch.Tensor:
    """`rhythm.track` of (records, MOST, 2)."""
    return track(listed(hearts))


@torch.inference_mode()
def encoded(net: Vae, signal: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(records, latent, STEPS) float16, in units of `net.scale`."""
    parts = []
    for part in torch.from_numpy(signal).split(64):
        mean, _ = net.encode(part, torch.from_numpy(known).expand(part.shape))
        parts.append((mean / net.scale[:, None]).half())
    return torch.cat(parts).numpy()


class Words(NamedTuple):
    """Sentence vectors of every wording of every statement: vector (wordings, 384), of (codes,) first and last."""

    vector: np.ndarray
    of: list[slice]


def words(codes: tuple[str, ...]) -> Words:
    said: list[str] = []
    of = []
    for code in codes:
        of.append(slice(len(said), len(said) + len(phrases(code))))
        said += phrases(code)
    return Words(embed(said), of)


def asked(known: Latents, rows: np.ndarray, version: np.ndarray, wording: Words, rng: np.random.Generator) -> Given:
    """Conditions of these recordings: their statements in a random wording each, the numbers, nobody's person."""
    text = np.zeros((len(rows), MOST_STATEMENTS, WIDTH), np.float32)
    has = np.zeros((len(rows), MOST_STATEMENTS), bool)
    for i, row in enumerate(rows):
        codes = rng.permutation(np.flatnonzero(known.statement[row]))[:MOST_STATEMENTS]
        for k, code in enumerate(codes):
            span = wording.of[code]
            text[i, k], has[i, k] = wording.vector[rng.integers(span.start, span.stop)], True
    numbers = known.numbers[rows, version].astype(np.float32)
    there = np.isfinite(numbers)
    told = [torch.from_numpy(one) for one in (text, has, np.nan_to_num(numbers), there)]
    person, has_person = nobody(len(rows))
    return Given(told[0], told[1], told[2], told[3], person, has_person)


def nobody(count: int, width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(count, width), torch.zeros(count, dtype=torch.bool)


assert NUMBERS == ("heart_rate_bpm", "age_years", "male", "as_recorded")
