"""Which passages answer a question: words (BM25) and meaning (sentence vectors), and how sure that is.

    shelf = library()                     the handbook and the user's documents, read once
    found = scores(shelf, "QTc limits")   (passages,) probability that each answers; below THRESHOLD none does

Figures of a passage go into one logistic: the cosine of its nearest sentence, its BM25 beside the best of all, the
share of the question's words that it holds (rare words count more), and how near the question, in the handbook's words
and in those of the person, is to what the handbook leaves out (elsewhere.txt) and to questions that the passage answers
(asked.txt: a paragraph does not show how people will ask for it; after arXiv 1904.08375). Lay words,
abbreviations and brand names are searched by the handbook's words too (glossary.txt). Vectors of the handbook are made
at the first search and kept in the cache.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import bm25s
import numpy as np

from encoders.sentence import embed
from encoders.weights import cache_folder
from tools import documents
from tools.passages import Passage, handbook

# Chosen on training/data/retrieval_validation.jsonl by: python -m training.retrieval
WEIGHTS = (3.34, 5.26, 0.94, -1.53, -3.11, 4.77, 6.24)  # sentence, BM25, words held, 2 of elsewhere, 2 of asked
BIAS = -11.65
THRESHOLD = 0.211

K1, B = 1.2, 0.3  # of BM25: paragraphs are of like length
NAMED = 0.5  # least probability of a passage whose topic holds every word of the question: "Sgarbossa criteria"
EVERYWHERE = frozenset({"heart", "ecg", "ekg"})  # what all of the handbook is about tells no topic
NEUTRAL = 0.3  # nearness to elsewhere for the user's own documents, whose subjects are not known
STOP = frozenset(
    "a an the and or of in on at to for is are was were be been being it its it's this that these those with by as "
    "from what what's whats which who whom how when where why do does did can could should shall would will may might "
    "must i my me mine you your we our us they their he him his she her there here if not no so than then any some "
    "about into much many more most have has had am just please tell give get got explain mean means meaning "
    "say says said call calls called according".split()
)
ENDINGS = tuple("ations ation ments ment ingly edly ings ing ies ied ed es s ly al ic".split())
WORD = re.compile(r"[a-z0-9]+(?:[.'][a-z0-9]+)*")


@dataclass(frozen=True, eq=False)
class Library:
    passages: tuple[Passage, ...]
    vectors: np.ndarray  # (sentences, width) of length 1, passage after passage
    starts: np.ndarray  # (passages,) first sentence of each
    yours: np.ndarray  # (passages,) whether it is of the user's documents
    words: bm25s.BM25
    holders: dict[str, np.ndarray]  # word -> passages that hold it
    topics: tuple[tuple[frozenset[str], frozenset[str]], ...]  # (passages,) words of its topic, of subject and source
    elsewhere: np.ndarray  # (subjects, width)
    asked: np.ndarray  # (questions, width) that the handbook answers
    answers: np.ndarray  # (questions,) by which passage


@dataclass(frozen=True, eq=False)
class Search:
    """A question beside every passage."""

    figures: np.ndarray  # (passages, 7), in the order of WEIGHTS
    named: np.ndarray  # (passages,) whether its topic holds every word of the question
    sentences: np.ndarray  # (sentences,) cosine of each


def library(own: bool = True) -> Library:
    """The handbook, and the user's documents unless `own` is False; read again when these have changed."""
    return _library(documents.state() if own else None)


@lru_cache(maxsize=2)
def _library(state: object) -> Library:
    passages, vectors = handbook(), [_kept("handbook", [said for one in handbook() for said in one.sentences()])]
    yours: list[Passage] = []
    if state:
        yours, more = documents.load()
        vectors += more
    shelf = (*passages, *yours)
    counts = [len(one.sentences()) for one in shelf]
    texts = [tokens(one.searched()) for one in shelf]
    words = bm25s.BM25(k1=K1, b=B)
    words.index(texts, show_progress=False)
    place = {one.id: i for i, one in enumerate(shelf)}
    written = asked()
    holders: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        for word in set(text):
            holders.setdefault(word, []).append(i)
    return Library(
        shelf,
        np.concatenate(vectors),
        np.cumsum([0, *counts[:-1]]),
        np.arange(len(shelf)) >= len(passages),
        words,
        {word: np.array(rows) for word, rows in holders.items()},
        tuple((frozenset(tokens(one.title)), frozenset(tokens(f"{one.subject} {one.source}"))) for one in shelf),
        _kept("elsewhere", elsewhere()),
        _kept("asked", [question for _, question in written]),
        np.array([place[name] for name, _ in written]),
    )


def scores(shelf: Library, search: Search) -> np.ndarray:
    """(passages,) probability that a passage answers, by the validation questions."""
    sure = 1 / (1 + np.exp(-(search.figures @ np.array(WEIGHTS) + BIAS)))
    return np.where(search.named, np.maximum(sure, NAMED), sure)


def search(shelf: Library, question: str) -> Search:
    """Compare a question with every passage."""
    alike = synonyms(question)
    meant = " ".join([question, *(words for _, words in alike)])
    vector, as_said = embed([meant, question])
    near = shelf.vectors @ vector
    bm25 = by_words(shelf, tokens(meant))
    both = np.stack([vector, as_said], axis=1)
    far = np.where(shelf.yours[:, None], NEUTRAL, (shelf.elsewhere @ both).max(0))
    nearest = np.maximum.reduceat(near, shelf.starts)
    to_written = np.repeat(np.where(shelf.yours, nearest, -1.0)[:, None], 2, axis=1)  # (passages, 2); yours have none
    np.maximum.at(to_written, shelf.answers, shelf.asked @ both)
    figures = [
        nearest,
        bm25 / max(bm25.max(), 1e-9),
        _held(shelf, question, alike),
        *far.T,
        *to_written.T,
    ]
    return Search(np.stack(figures, axis=1), _named(shelf, question, alike), near)


def by_words(shelf: Library, words: list[str]) -> np.ndarray:
    """(passages,) BM25 of these words."""
    known = [word for word in dict.fromkeys(words) if word in shelf.holders]
    return shelf.words.get_scores(known) if known else np.zeros(len(shelf.passages), np.float32)


def _held(shelf: Library, question: str, alike: list[tuple[str, str]]) -> np.ndarray:
    """(passages,) share of the question's words that each passage holds, itself or by a synonym."""
    groups = [set(tokens(f"{said} {words}")) for said, words in alike]
    groups += [set(tokens(word)) for word in _others(question, alike)]
    held, whole = np.zeros(len(shelf.passages)), 1e-9
    for group in filter(None, groups):
        rows = [shelf.holders[word] for word in group if word in shelf.holders]
        rarest = min(map(len, rows), default=0)
        weight = float(np.log((len(shelf.passages) + 1) / (rarest + 0.5)))
        whole += weight
        if rows:
            held[np.unique(np.concatenate(rows))] += weight
    return held / whole


def _named(shelf: Library, question: str, alike: list[tuple[str, str]]) -> np.ndarray:
    """(passages,) whether topic and source hold every word of the question, and the topic most of them."""
    ways = [[set(tokens(said)), set(tokens(words))] for said, words in alike]
    ways += [[set(tokens(word))] for word in _others(question, alike) if word not in EVERYWHERE]
    asked = [way for way in ways if way[0]]

    def holds(words: frozenset[str], way: list[set[str]]) -> bool:
        return any(one <= words for one in way)

    return np.array([
        bool(asked)
        and sum(holds(topic, way) for way in asked) > len(asked) / 2
        and all(holds(topic | source, way) for way in asked)
        for topic, source in shelf.topics
    ])  # fmt: skip


def _others(question: str, alike: list[tuple[str, str]]) -> list[str]:
    """The words of a question that are in no entry of the glossary."""
    known = {word for said, _ in alike for word in WORD.findall(said.lower())}
    return [word for word in dict.fromkeys(WORD.findall(question.lower())) if word not in known]


def tokens(text: str) -> list[str]:
    """Words that carry meaning, without their endings and with one spelling of "haem-" and "hem-"."""
    return [_stem(word) for word in WORD.findall(text.lower()) if word not in STOP]


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    word = word.replace("ae", "e").replace("oe", "e")
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


def synonyms(question: str) -> list[tuple[str, str]]:
    """(what is said, what the handbook calls it) for each entry of the glossary in a question."""
    known, pattern = _glossary()
    return [(found[1], known[found[1].lower()]) for found in pattern.finditer(question)]


@cache
def _glossary() -> tuple[dict[str, str], re.Pattern[str]]:
    known: dict[str, str] = {}
    for line in _lines("glossary.txt"):
        said, _, called = line.partition(" = ")
        known |= {one: f"{known[one]} {called}" if one in known else called for one in said.split(", ")}
    longest_first = sorted(map(re.escape, known), key=len, reverse=True)
    return known, re.compile(rf"(?<![\w-])({'|'.join(longest_first)})(?![\w-])", re.IGNORECASE)


def asked() -> list[tuple[str, str]]:
    """(id of a passage of the handbook, a question that it answers, as people put it)."""
    found, name = [], ""
    for line in _lines("asked.txt"):
        if line.startswith("["):
            name = line.strip("[]")
        else:
            found.append((name, line))
    return found


def elsewhere() -> list[str]:
    """Subjects and questions that the handbook has nothing on."""
    return _lines("elsewhere.txt")


def _lines(name: str) -> list[str]:
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _kept(name: str, texts: list[str]) -> np.ndarray:
    """Vectors of texts, from the cache if it holds these very texts."""
    key = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
    file = cache_folder() / f"{name}-{key}.npy"
    try:
        return np.load(file)
    except (OSError, ValueError, EOFError):
        vectors = embed(texts)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(f".{os.getpid()}.part")
        with open(new, "wb") as stream:
            np.save(stream, vectors)
        os.replace(new, file)
    except OSError:  # a cache that cannot be written costs time only
        pass
    return vectors
