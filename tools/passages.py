"""What can be cited: passages of the handbook, and text cut into passages.

    handbook()                       -> the 212 paragraphs of agent/handbook, each with an id and its source
    cut("a long text …")             -> pieces of at most `WORDS` words, each of whole sentences
    spans("One. Two.")               -> [(0, 4), (5, 9)]: where its sentences stand

A passage is a paragraph that one quotes from; what is quoted is always a slice of `text`, never a new wording.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HANDBOOK = Path(__file__).parent.parent / "agent" / "handbook"  # beside the package that speaks from it
WORDS = 110  # of a passage: a paragraph, and about what the sentence encoder reads
LONGEST = 400  # characters of a sentence; tables and lists without a full stop are cut there
SOURCE = re.compile(r"\[source: ([^|\]]+) \| ([^|\]]+) \| ([^\]]+)\]")
BREAK = re.compile(r"(?<=[.!?])\s+(?=[\"'(]?[A-Z0-9Ä-Ü])")
ABBREVIATED = re.compile(r"(?:\b(?:e\.g|i\.e|et al|vs|cf|Fig|Figs|Dr|No|approx|ca|resp)|(?:^|\s)[A-HJ-UW-Z])\.$")


@dataclass(frozen=True)
class Passage:
    id: str  # stable: "qt/bazett-correction"
    source: str  # "NAME, YEAR, SECTION", or "file.pdf, page 12"
    title: str  # its topic, searched beside the text
    text: str
    subject: str = ""  # of its file, for words alone

    def sentences(self) -> list[str]:
        """Each sentence after its topic, as the sentence encoder reads them."""
        return [f"{self.title}: {self.text[a:b]}" if self.title else self.text[a:b] for a, b in spans(self.text)]

    def searched(self) -> str:
        """All words that it can be found by."""
        return f"{self.title} {self.subject} {self.text}"


@cache
def handbook() -> tuple[Passage, ...]:
    """Every paragraph of the handbook, in the order of its files."""
    found = []
    for file in sorted(HANDBOOK.glob("*.md")):
        subject, *sections = re.split(r"^## ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for section in sections:
            topic, _, body = section.partition("\n")
            sources = "; ".join(", ".join(part.strip() for part in one) for one in SOURCE.findall(body))
            text = " ".join(line for line in body.split("\n") if line and not line.startswith("[source:"))
            about = subject.strip().lstrip("# ")
            found.append(Passage(f"{file.stem}/{slug(topic)}", sources, topic.strip(), text, about))
    return tuple(found)


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence of a text."""
    found = []
    start = 0
    for gap in BREAK.finditer(text):
        if not ABBREVIATED.search(text[start : gap.start()]):
            found.append((start, gap.start()))
            start = gap.end()
    found.append((start, len(text)))
    return [piece for low, high in found if low < high for piece in _shortened(text, low, high)]


def _shortened(text: str, low: int, high: int) -> list[tuple[int, int]]:
    """The span, cut between words where it is longer than a reader would call a sentence."""
    pieces = []
    while high - low > LONGEST:
        space = text.rfind(" ", low + 1, low + LONGEST)
        at = space if space > low else low + LONGEST
        pieces.append((low, at))
        low = at + 1 if space > low else at
    return [*pieces, (low, high)] if low < high else pieces


def cut(text: str, words: int = WORDS) -> list[str]:
    """A text in pieces of whole sentences, each of about `words` words at most; white space becomes single spaces."""
    text = " ".join(text.split())
    pieces: list[str] = []
    start = count = 0
    end = 0
    for low, high in spans(text) if text else []:
        more = text.count(" ", low, high) + 1
        if count and count + more > words:
            pieces.append(text[start:end])
            start, count = low, 0
        end, count = high, count + more
    return [*pieces, text[start:end]] if end > start else pieces
