"""What no phrase says literally: the statement whose wording lies nearest by sentence vectors.

    nearest(["scooped-out ST segments"])      {"scooped-out ST segments": "DIG"}

Vectors do not tell left from right or first from second, so a wording counts only where its words of place, wave and
degree are those of the prompt. Without the encoder's wheel nothing is found, and nothing is lost but this.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from tools.drawing_phrases import fillers, key, phrases
from tools.scp import STATEMENTS

if TYPE_CHECKING:
    import numpy as np

LEAST = 0.78  # cosine: under it findings that no label has come near a wrong one
LONGEST = 10  # words; more is a sentence, not a finding
TELLING = frozenset(
    "left right anterior inferior lateral posterior septal anteroseptal anterolateral inferolateral first second third"
    " complete incomplete high low long short tall deep flat inverted atrial ventricular supraventricular sinus axis"
    " elevation depression normal abnormal st t qt qtc pr qrs p q r u v slow fast premature escape junctional".split()
)
SAME = {"ventricle": "ventricular", "atrium": "atrial", "atria": "atrial", "septum": "septal", "prolonged": "long",
        "lengthened": "long", "prolongation": "long", "early": "premature", "elevated": "elevation",
        "depressed": "depression", "flattened": "flat", "flattening": "flat", "qtc": "qt"}  # fmt: skip


def nearest(left: Sequence[str]) -> dict[str, str]:
    """{words as written: code} of those that come near enough to a wording."""
    found = {}
    for written in left:
        wordings = _comparable(_telling(written)) if medical(written) else ()
        vectors = _vectors((written, *(phrase for phrase, _ in wordings))) if wordings else None
        if vectors is not None:
            likeness = vectors[1:] @ vectors[0]
            best = int(likeness.argmax())
            if likeness[best] >= LEAST:
                found[written] = wordings[best][1]
    return found


def medical(written: str) -> bool:
    """Whether the words hold one of the wordings' own."""
    words = key(written)
    return 1 < len(words) <= LONGEST and bool(set(words) & _terms())


def _telling(phrase: str) -> frozenset[str]:
    return frozenset(SAME.get(word, word) for word in key(phrase)) & TELLING


@lru_cache(maxsize=64)
def _comparable(telling: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """(wording, code) of more than one word with just these telling words."""
    said = [(phrase, code) for code in STATEMENTS for phrase in phrases(code) if len(key(phrase)) > 1]
    return tuple(pair for pair in said if _telling(pair[0]) == telling)


@lru_cache(maxsize=16)
def _vectors(texts: tuple[str, ...]) -> np.ndarray | None:
    """Sentence vectors, None without the encoder."""
    from encoders.weights import MissingModel

    try:
        from encoders.sentence import embed

        return embed(list(texts))
    except (MissingModel, ImportError):
        return None


@lru_cache(maxsize=1)
def _terms() -> frozenset[str]:
    """Words of the wordings that are not everyday words."""
    said = {word for code in STATEMENTS for phrase in phrases(code) for word in key(phrase)}
    everyday = "every second third before below so that too beat change early from heart nothing meet left right on at"
    return frozenset(said - fillers() - set(everyday.split()))
