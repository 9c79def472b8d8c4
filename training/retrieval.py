"""How sure is sure enough: fit the weights and the threshold of tools/retrieval.py.

    python -m training.retrieval          prints the lines to put there

On the validation questions alone (training/data/retrieval_validation.jsonl): a logistic regression on the passages
that come first for each question, and the threshold that refuses `REFUSED` of the unanswerable ones. Weights and
threshold are judged on questions that were left out of the fit, ten parts in turn; the line in brackets says how.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from tqdm import tqdm

from tools import retrieval
from training import recipe

DATA = Path(__file__).parent / "data"
FIRST = 15  # passages of a question that the fit sees
REFUSED = 0.92


def questions(name: str) -> list[dict[str, Any]]:
    """Of "validation" or "test": {"question", "ids": passages that answer it, none if nothing does}."""
    lines = (DATA / f"retrieval_{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def main() -> None:
    asked = questions("validation")
    shelf = retrieval.library(own=False)
    place = {one.id: i for i, one in enumerate(shelf.passages)}
    figures = np.stack([retrieval.search(shelf, one["question"]).figures for one in tqdm(asked, mininterval=2)])
    right = np.zeros(figures.shape[:2], bool)
    for row, one in enumerate(asked):
        right[row, [place[name] for name in one["ids"]]] = True
    rough = figures[..., 0] + 0.2 * figures[..., 1] + 0.5 * figures[..., -1]
    first = (-rough).argsort(1).argsort(1) < FIRST

    def fit(rows: np.ndarray) -> LogisticRegression:
        chosen = first & rows[:, None]
        return LogisticRegression(C=3, max_iter=1000).fit(figures[chosen], right[chosen])

    out = np.zeros(right.shape)
    for train, test in KFold(10, shuffle=True, random_state=0).split(asked):
        model = fit(np.isin(np.arange(len(asked)), train))
        out[test] = model.predict_proba(figures[test].reshape(-1, figures.shape[-1]))[:, 1].reshape(len(test), -1)
    answerable = right.any(1)
    threshold = float(np.quantile(out.max(1)[~answerable], REFUSED))
    ranks = (-out).argsort(1).argsort(1)
    hit = np.where(right, ranks, len(shelf.passages)).min(1) < 3
    spoken = out.max(1) >= threshold
    model = fit(np.ones(len(asked), bool))
    print(f"WEIGHTS = ({', '.join(f'{w:.2f}' for w in model.coef_[0])})")
    print(f"BIAS = {model.intercept_[0]:.2f}\nTHRESHOLD = {threshold:.3f}")
    print(
        f"(left out: recall@3 {(hit & spoken)[answerable].mean():.3f}, {(~spoken)[~answerable].mean():.3f} of the "
        f"unanswerable refused, {(~spoken)[answerable].mean():.3f} of the answerable)"
    )


if __name__ == "__main__":
    recipe.run(main)
