"""Do the right passages come first, and does the search say when there is nothing?

    python -m training.evaluate retrieval [--questions validation|test]

Questions as clinicians, students and lay people ask them (training/data/retrieval_test.jsonl), with the passages that
answer each, or none. recall@3: one of them is among the first three; a question that is wrongly refused counts as
missed. Beside the search stand BM25 alone, sentence vectors alone and their reciprocal rank fusion (no glossary), with
a threshold of its own that refuses the same share of the unanswerable validation questions (training/retrieval.py).
Only the handbook is searched. Intervals are bootstrap 95 % over questions. What it does not show: questions, glossary
and list of other subjects are of one hand, so strangers will miss more; nor whether the best sentence is quoted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from encoders.sentence import embed
from tools import retrieval
from tools.retrieval import Library
from training import figures
from training.retrieval import REFUSED, questions

WAYS = ("search", "bm25", "vectors", "fusion")
SHOWN = {"search": "search", "bm25": "BM25 alone", "vectors": "vectors alone", "fusion": "rank fusion"}
RANK = 60  # of reciprocal rank fusion, as it is usual
Rated = tuple[np.ndarray, float]  # (passages,) what they are ordered by, and what is held against the threshold


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--questions", choices=["validation", "test"], default="test")


def run(args: argparse.Namespace) -> dict[str, Any]:
    shelf = retrieval.library(own=False)
    asked, tuned = questions(args.questions), questions("validation")
    rated = {
        way: [rate(shelf, one["question"], way) for one in tqdm(asked, desc=SHOWN[way], mininterval=2)] for way in WAYS
    }
    names = [one.id for one in shelf.passages]
    out: dict[str, Any] = {
        "questions": args.questions,
        "answerable": sum(bool(one["ids"]) for one in asked),
        "unanswerable": sum(not one["ids"] for one in asked),
    }
    for way in WAYS:
        threshold = retrieval.THRESHOLD
        if way != "search":
            nothing = [rate(shelf, one["question"], way)[1] for one in tuned if not one["ids"]]
            threshold = float(np.quantile(nothing, REFUSED))
        out[way] = judged(asked, rated[way], threshold, names)
    return out


def rate(shelf: Library, question: str, way: str) -> Rated:
    """What a way of searching gives every passage, and how sure it is of the first."""
    if way == "search":
        sure = retrieval.scores(shelf, retrieval.search(shelf, question))
        return sure, float(sure.max())
    words = retrieval.by_words(shelf, retrieval.tokens(question))
    if way == "bm25":
        return words, float(words.max())
    near = np.maximum.reduceat(shelf.vectors @ embed([question])[0], shelf.starts)
    if way == "vectors":
        return near, float(near.max())
    both = sum(1 / (RANK + 1 + (-one).argsort(kind="stable").argsort()) for one in (words, near))
    return np.asarray(both), float(near.max())


def judged(asked: list[dict[str, Any]], rated: list[Rated], threshold: float, names: list[str]) -> dict[str, Any]:
    """Figures of one way of searching; answers below its threshold are refused."""
    best = []
    for one, (values, _) in zip(asked, rated, strict=True):
        order = np.argsort(-values, kind="stable")
        ranks = {names[i]: rank for rank, i in enumerate(order, 1)}
        best.append(min((ranks[name] for name in one["ids"]), default=len(names) + 1))
    rank, answerable = np.array(best), np.array([bool(one["ids"]) for one in asked])
    refused = np.array([sure for _, sure in rated]) < threshold
    parts: dict[str, tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]] = {
        "recall@3": (answerable, lambda rows: (rank[rows] <= 3) & ~refused[rows]),
        "recall@1": (answerable, lambda rows: (rank[rows] <= 1) & ~refused[rows]),
        "mrr": (answerable, lambda rows: np.where(refused[rows], 0.0, 1 / rank[rows])),
        "recall@3 before refusal": (answerable, lambda rows: rank[rows] <= 3),
        "unanswerable refused": (~answerable, lambda rows: refused[rows]),
        "answerable refused": (answerable, lambda rows: refused[rows]),
    }
    out: dict[str, Any] = {name: interval(of(np.flatnonzero(among))) for name, (among, of) in parts.items()}
    out["wrong"] = [
        one["question"]
        for one, there, place, gone in zip(asked, answerable, rank, refused, strict=True)
        if (there and (gone or place > 3)) or (not there and not gone)
    ]
    return out


def interval(values: np.ndarray) -> list[float]:
    """Mean and bootstrap 95 % interval."""
    return [round(float(one), 3) for one in (np.mean(values), *figures.interval(values, 2000))]


def table(out: dict[str, Any]) -> str:
    columns = [name for name in out["search"] if name != "wrong"]
    lines = [
        f"retrieval, {out['questions']} questions: {out['answerable']} that the handbook answers, "
        f"{out['unanswerable']} that it does not [95 % interval]"
    ]
    for name in columns:
        cells = [f"{SHOWN[way]} {v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for way in WAYS for v in [out[way][name]]]
        lines.append(f"{name:24s} " + "  ".join(cells))
    return "\n".join([*lines, *(f"wrong: {question}" for question in out["search"]["wrong"])])
