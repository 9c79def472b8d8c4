"""What the language model learns to read an ECG from: what the encoder sees of PTB-XL, and conversations about it.

    known = prepared(root, folder)                 # once, kept in `folder`: every recording in several views
    talk = conversation(rng, known, row)           # up to four turns about one ECG, or about two

A view is the recording complete, or changed and with leads and stretches missing as in training/reading_data.py. The
answers are what the encoder's own heads decide on that very view (network alone, thresholds of the card): a label that
the encoder cannot see would teach the language model to invent it. Measurements are those of `measure_ecg`; they stand
before the question in half of the conversations and are withheld in the other half, as SpiroLLM tests it.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from agent import prompts
from encoders import measures
from encoders.projector import Features, features
from encoders.reading import FILE, GROUPS, Reader
from tools.recording import LEADS
from training import ptbxl, reading, reading_data, recipe
from training.multimodal_text import (
    BY_EYE,
    FAMILIES,
    INTERPRET,
    RHYTHMS,
    TITLES,
    Facts,
    interpretation,
    measured_line,
    name_of,
    question,
)

VIEWS = 8  # complete, changed, and the rest with parts missing
LEAST_MV, Q_WAVE_MS = 0.1, 30  # of an inversion or elevation; of a Q wave
PAIRS = 0.35  # share of conversations about two ECGs
TURNS = (2, 4)


class Known(NamedTuple):
    """features : of (records VIEWS); decided : (records, VIEWS) of {group: codes}; the rest (records, …)."""

    features: Features
    decided: list[list[dict[str, list[str]]]]
    vectors: np.ndarray
    table: ptbxl.Table
    views: int

    def seen(self, row: int, view: int) -> int:
        """Which row of `features`."""
        return row * self.views + view


class Talk(NamedTuple):
    messages: list[prompts.Message]
    seen: list[int]  # rows of `Known.features`, in the order of the recordings


def prepared(root: Path, folder: Path, folds: tuple[int, ...], views: int = VIEWS, seed: int = 0) -> Known:
    """Views of the recordings of these folds; measurements and features are kept in `folder`."""
    table = ptbxl.load(root).folds(*folds)
    folder.mkdir(parents=True, exist_ok=True)
    vectors = reading.measured(table, folder / "measures.npz")
    reader, file = Reader(FILE), folder / f"views_{'_'.join(map(str, folds))}_{views}.pt"
    if file.exists():
        kept = recipe.load(file)
    else:
        kept = encoded(reader, table, views, seed)
        recipe.save(kept, file)
    logits = {group: kept[group].numpy() for group in GROUPS}
    p = reader.fused(logits, None)
    decided = [decisions(reader, {group: p[group][i] for group in GROUPS}) for i in range(len(table) * views)]
    by_record = [decided[i * views : (i + 1) * views] for i in range(len(table))]
    return Known(Features(*(kept[name] for name in Features._fields)), by_record, vectors, table, views)


@torch.no_grad()
def encoded(reader: Reader, table: ptbxl.Table, views: int, seed: int) -> dict[str, torch.Tensor]:
    """Features and logits of every view of every recording, record by record."""
    rng = np.random.default_rng(seed)
    parts: list[dict[str, torch.Tensor]] = []
    for row in tqdm(range(len(table)), desc="views"):
        signal = np.repeat(table.signal[row : row + 1], views, axis=0)
        known = np.ones(signal.shape, bool)
        if views > 1:
            signal[1:] = reading_data.changed(rng, signal[1:])
        if views > 2:
            known[2:] = reading_data.masks(rng, views - 2)
        given = reading.tensors(signal, known, np.repeat(table.raw[row], views), "cpu")
        seen = reader.net(*given)
        parts.append({**features(seen, given[2])._asdict(), **{group: seen[group] for group in GROUPS}})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def decisions(reader: Reader, p: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """{group: codes at or above their thresholds} less contradictions: one rhythm, no normal ECG beside a disease."""
    out = {}
    for group in GROUPS:
        of = dict(zip(reader.codes[group], map(float, p[group]), strict=True))
        sure = [code for code, value in of.items() if value >= reader.thresholds[group][code]]
        for alone in (RHYTHMS, None):
            among = [code for code in sure if alone is None or code in alone]
            best = max(among, key=lambda code: of[code], default="")
            if alone:
                sure = [code for code in sure if code not in alone or code == best]
            elif "NORM" in sure and group != "statement":
                sure = ["NORM"] if best == "NORM" else [code for code in sure if code != "NORM"]
        out[group] = sure
    if out["superclass"] != ["NORM"]:
        out = {group: [code for code in codes if code != "NORM"] for group, codes in out.items()}
    return out


def facts(known: Known, row: int, view: int, name: str = "ecg-1") -> Facts:
    """What there is to say of a view; voltages by lead only where they are those recorded."""
    values = dict(zip(measures.NAMES, map(float, known.vectors[row]), strict=True))
    axis = np.degrees(np.arctan2(values["qrs_axis_deg_sin"], values["qrs_axis_deg_cos"]))
    numbers = {key: values[key] for key in TITLES if key in values} | {"qrs_axis_deg": float(axis)}
    out = Facts(known.decided[row][view], {k: v for k, v in numbers.items() if np.isfinite(v)}, name=name)
    if not known.table.raw[row]:
        return out
    has = known.features.has_lead[known.seen(row, view)]
    there = [lead for i, lead in enumerate(LEADS) if has[i]]
    upright = [lead for lead in there if lead != "aVR"]  # in aVR an inverted T wave and a Q wave are usual
    out.leads = {
        "inverted T waves": [lead for lead in upright if values[f"{lead}_t_mv"] <= -LEAST_MV],
        "ST elevation": [lead for lead in there if values[f"{lead}_j_mv"] >= LEAST_MV],
        "Q waves": [lead for lead in upright if values[f"{lead}_q_ms"] >= Q_WAVE_MS],
    }
    return out


def conversation(rng: Random, known: Known, row: int, word: str = prompts.RESERVED[0]) -> Talk:
    """A conversation about a recording (and sometimes a second one), in a random view, with or without measurements."""
    view = rng.randrange(known.views)
    pair = rng.random() < PAIRS
    count = rng.randint(1, 9)
    names = [f"ecg-{count}", f"ecg-{count + 1}"] if rng.random() < 0.3 else ["ecg-1", "ecg-2"]
    rows = [row, rng.randrange(len(known.table))] if pair else [row]
    views = [view, rng.randrange(known.views)]
    about = [facts(known, one, v, name) for one, v, name in zip(rows, views, names, strict=False)]
    measured = rng.random() < 0.5
    turns: list[tuple[str, str]] = []
    wanted = rng.randint(*TURNS)
    if rng.random() < 0.6:
        one = rng.choice(about)
        turns.append((rng.choice(INTERPRET).format(n=one.name), interpretation(one, measured)))
    while len(turns) < wanted:
        family = rng.choice(
            [*FAMILIES[:-1], "verify", *(["compare"] * 4 if pair else []), *(["cannot"] * (rng.random() < 0.4))]
        )
        one = rng.choice(about)
        apart = facts(known, rng.randrange(len(known.table)), 0)  # another patient's, for the wrong answers
        if made := question(rng, family, one, about[1 - about.index(one)] if family == "compare" else apart):
            turns.append((rng.choice(BY_EYE).format(q=made[0]) if rng.random() < 0.2 else made[0], made[1]))
    counts = [int(known.features.there()[known.seen(one, v)].sum()) for one, v in zip(rows, views, strict=False)]
    given = {one.name: n for one, n in zip(about, counts, strict=True)}
    lines = [measured_line(one) for one in about] if measured else []
    messages = prompts.read(given, lines, turns, word)
    return Talk(messages, [known.seen(one, v) for one, v in zip(rows, views, strict=False)])


def words_of(known: Known, embed: Any) -> torch.Tensor:
    """(views, WHOLE, hidden) where the projector begins: the mean word vectors of what is said of each view."""
    out = []
    cache: dict[str, torch.Tensor] = {}
    for row in range(len(known.table)):
        for view in range(known.views):
            one = facts(known, row, view)
            said = (
                [name_of(code, "superclass") for code in one.codes["superclass"]],
                [name_of(code, "subclass") for code in one.findings()],
                [name_of(code) for code in one.rhythm()],
                interpretation(one, False).partition("Rhythm")[0].split(". "),
            )
            out.append(torch.stack([_mean(cache, embed, " ".join(names) or "none") for names in said]))
    return torch.stack(out)


def _mean(cache: dict[str, torch.Tensor], embed: Any, text: str) -> torch.Tensor:
    if text not in cache:
        cache[text] = embed(text)
    return cache[text]
