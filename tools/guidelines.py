"""Search the handbook and the user's documents: passages that answer a question, and the sentences to quote.

    search_guidelines(None, SearchGuidelines(query="QTc limits in women"), None)
        -> {"passages": [{"id", "source", "text", "score", "quotes"}], "warnings": [...]}
    quoted(result) -> [Quote(id, source, "A QTc of 460 ms or more …")]

`score` is the probability that a passage answers (tools/retrieval.py); where the best is below the threshold nothing
is found, and that is said. `quotes` are slices of `text`: an answer is made of them, word for word, and no language
model has a hand in it. Passages that disagree are both quoted, each with its source.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tools.errors import MissingWeights
from tools.passages import spans

if TYPE_CHECKING:
    from tools.recording import Recording
    from tools.registry import SearchGuidelines
    from tools.retrieval import Library, Search

NOTHING = "The handbook and your documents hold nothing on this."
MOST = 4  # sentences of an answer
OF_FIRST = 2  # of them from the first passage; the others give their nearest one
BESIDE = 0.6  # how sure a further passage must be, as a share of the first, to be quoted
NEAR = 0.4  # how far the second sentence of the first passage may stay behind the nearest
SHARED, OPENING = 0.5, 0.05  # worth of the question's words in a sentence, and of being first, beside its cosine


class Quote(NamedTuple):
    id: str
    source: str
    quote: str


def search_guidelines(recording: Recording | None, arguments: SearchGuidelines, out: Path | None) -> dict[str, Any]:
    """The passages that answer the query, best first; none where nothing answers.

    Raises
    ------
    MissingWeights : where the sentence encoder is not installed.
    """
    from encoders.weights import MissingModel
    from tools import retrieval

    query = " ".join(arguments.query.split())
    if not query:
        return {"passages": [], "warnings": ["The query is empty."]}
    try:
        shelf = retrieval.library()
        found = retrieval.search(shelf, query)
    except MissingModel as error:
        raise MissingWeights(str(error)) from None
    sure = retrieval.scores(shelf, found)
    order = np.argsort(-sure, kind="stable")[: arguments.top]
    if sure[order[0]] < retrieval.THRESHOLD:
        return {"passages": [], "warnings": [NOTHING]}
    least = max(retrieval.THRESHOLD, BESIDE * sure[order[0]])
    chosen = _chosen(shelf, found, query, [int(i) for i in order if sure[i] >= least])
    passages = []
    for i in order:
        one = shelf.passages[i]
        quotes = _joined(one.text, chosen.get(int(i), []))
        passages.append(
            {"id": one.id, "source": one.source, "text": one.text, "score": round(float(sure[i]), 3), "quotes": quotes}
        )
    return {"passages": passages, "warnings": []}


def quoted(result: dict[str, Any]) -> list[Quote]:
    """What an answer quotes of a result, in the order of its passages."""
    return [Quote(one["id"], one["source"], quote) for one in result["passages"] for quote in one["quotes"]]


def sentences(result: dict[str, Any]) -> list[str]:
    """The quotes, numbered, and after them what the numbers stand for."""
    quotes = quoted(result)
    if not quotes:
        return result["warnings"]
    said = [f"{one.quote} [{number}]" for number, one in enumerate(quotes, 1)]
    return said + [f"[{number}] {one.source}" for number, one in enumerate(quotes, 1)]


def _chosen(shelf: Library, found: Search, query: str, passages: list[int]) -> dict[int, list[int]]:
    """Which sentences of these passages answer: the nearest of each, and one more of the first if it is near too."""
    from tools.retrieval import synonyms, tokens

    asked = set(tokens(query)) | {word for _, words in synonyms(query) for word in tokens(words)}
    whole = max(sum(_rarity(shelf, word) for word in asked), 1e-9)
    taken: dict[int, list[int]] = {}
    for i in passages[: MOST - OF_FIRST + 1]:
        text = shelf.passages[i].text
        rated = []
        for k, (low, high) in enumerate(spans(text)):
            held = sum(_rarity(shelf, word) for word in asked & set(tokens(text[low:high])))
            cosine = float(found.sentences[shelf.starts[i] + k])
            rated.append((cosine + SHARED * held / whole + OPENING * (k == 0), k))
        rated.sort(key=lambda pair: -pair[0])
        kept = rated[: 1 if taken else OF_FIRST]
        taken[i] = [k for value, k in kept if value >= rated[0][0] - NEAR]
    return taken


def _rarity(shelf: Library, word: str) -> float:
    """How much a word tells: nothing if no passage holds it."""
    holders = len(shelf.holders.get(word, ()))
    return float(np.log((len(shelf.passages) + 1) / holders)) if holders else 0.0


def _joined(text: str, chosen: list[int]) -> list[str]:
    """The chosen sentences of a text in its order; neighbours are one quote."""
    where = spans(text)
    runs: list[list[int]] = []
    for k in sorted(chosen):
        if runs and k == runs[-1][1] + 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    return [text[where[first][0] : where[last][1]] for first, last in runs]
