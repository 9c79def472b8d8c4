"""How much of an answer is copied from its context, and what of it the context does not hold.

    coverage(answer, context)      κ: the share of the answer's words that stand in copied runs
    density(answer, context)       δ: mean square length of those runs, over the answer's words
    verbatim(line, context)        (start, end) of the sentences of the context that a line means, or None
    unsupported(answer, context)   the sentences of an answer that the context does not hold

κ and δ as CopyPasteLLM defines them (arXiv 2510.00508): the answer is walked from left to right; at each word the
longest run that stands somewhere in the context is taken and jumped past. Words are lower-cased, split at spaces,
with their punctuation. The paper's code drops a run that came before (`once=True`), its definition does not.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher

from tools.passages import spans

ALIKE = 0.7  # difflib ratio at which a line counts as a sentence of the context (the paper's)
SHORTEST = 10  # characters of a line that is looked for (the paper's)
COSINE = 0.7  # of a sentence and the nearest of the context, below which it is unsupported
HELD = 0.6  # share of a sentence's words in copied runs, below which it is unsupported
RUN = 2  # words that make a run, for that share
FINAL = re.compile(r"\s*\banswer(?: is)?:[^\n]*$|\s*\[\d+\]", re.IGNORECASE)  # and numbers of citations
CLAIM = 3  # words that make a claim; "Yes." is an answer, not one
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
DENIED = re.compile(
    r"\b(?:not|no|nor|neither|none|never|cannot|without|lacks?|lacking|fail(?:s|ed)?|unlikely|unable|insufficient"
    r"|ineffective|unnecessary|unaffected|unrelated)\b|n't\b",
    re.IGNORECASE,
)


def fragments(answer: str, context: str, once: bool = False) -> list[list[str]]:
    """The copied runs of an answer, in its order; with `once` none comes twice."""
    words, source = answer.lower().split(), context.lower().split()
    places: dict[str, list[int]] = {}
    for place, word in enumerate(source):
        places.setdefault(word, []).append(place)
    found: list[list[str]] = []
    at = 0
    while at < len(words):
        longest = 0
        for place in places.get(words[at], []):
            length = 1
            while words[at + length : at + length + 1] == source[place + length : place + length + 1] != []:
                length += 1
            longest = max(longest, length)
        if longest and not (once and words[at : at + longest] in found):
            found.append(words[at : at + longest])
        at += max(longest, 1)
    return found


def coverage(answer: str, context: str, once: bool = False) -> float:
    """κ, from 0 to 1; 0 for an empty answer."""
    return sum(map(len, fragments(answer, context, once))) / max(len(answer.split()), 1)


def density(answer: str, context: str, once: bool = False) -> float:
    """δ, from 0 to the number of the answer's words, which it is for one run."""
    return sum(len(run) ** 2 for run in fragments(answer, context, once)) / max(len(answer.split()), 1)


def copied(answer: str, context: str) -> float:
    """σ of CP-Refine: 0.6 κ + min(δ^¼ / 4, 0.4); 0.99 needs κ of 0.983 and δ of 6.6."""
    return 0.6 * coverage(answer, context) + min(density(answer, context) ** 0.25 / 4, 0.4)


def verbatim(line: str, context: str) -> tuple[int, int] | None:
    """Where the sentence that a line means stands in the context; None if nothing is alike.

    The paper's order: the same but for case and spaces, then a window of the line's length that is alike by
    `ALIKE`, then a part of a sentence. What is found is widened to whole sentences.
    """
    line = line.strip(" \t\"'-•*")
    if len(line) < SHORTEST:
        return None
    sentences = spans(context)
    loose = re.search(r"\s+".join(map(re.escape, line.split())), context, re.IGNORECASE)
    if loose:
        inside = [(a, b) for a, b in sentences if a < loose.end() and b > loose.start()]
        return (inside[0][0], inside[-1][1]) if inside else None
    ratios = [(SequenceMatcher(None, line.lower(), context[a:b].lower()).ratio(), (a, b)) for a, b in sentences]
    best = max(ratios, default=(0.0, (0, 0)))
    return best[1] if best[0] >= ALIKE else None


def said(answer: str) -> str:
    """An answer without its final "Answer: …" and without numbers of citations like [2]."""
    return FINAL.sub("", answer.strip()).strip()


def claims(answer: str) -> list[str]:
    """The sentences of an answer that claim something: `CLAIM` words or more, the final "Answer: …" left out."""
    text = said(answer)
    return [text[a:b] for a, b in spans(text) if len(text[a:b].split()) >= CLAIM]


def unsupported(answer: str, context: str) -> list[str]:
    """Sentences of an answer that the context does not hold; the final "Answer: …" is not one.

    A sentence is held if it is copied (`HELD` of its words in runs of at least `RUN`) or near in meaning to one of
    the context (`COSINE`), its numbers all stand in the context, and it denies where the sentence nearest to it
    denies and only there. This is a check of form: it can be wrong, alike for every model.
    """
    from encoders.sentence import embed

    sentences = claims(answer)
    given = [context[a:b] for a, b in spans(context)]
    if not sentences or not given:
        return sentences
    vectors = embed([*sentences, *given])
    near = vectors[: len(sentences)] @ vectors[len(sentences) :].T
    numbers = set(NUMBER.findall(context))
    lacking = []
    for sentence, cosines in zip(sentences, near, strict=True):
        if flat(sentence) in flat(context):
            continue
        nearest = given[int(cosines.argmax())]
        runs = [run for run in fragments(sentence, context) if len(run) >= RUN]
        share = sum(map(len, runs)) / len(sentence.split())
        alike = cosines.max() >= COSINE or share >= HELD
        denies = bool(DENIED.search(sentence)) == bool(DENIED.search(nearest))
        if not (alike and denies and set(NUMBER.findall(sentence)) <= numbers):
            lacking.append(sentence)
    return lacking


def flat(text: str) -> str:
    """A text in lower case, with one space between words and no full stop at its end."""
    return " ".join(text.lower().split()).rstrip(".")
