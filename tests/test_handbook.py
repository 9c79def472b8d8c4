"""The handbook: short paragraphs that each name where they come from, so that an answer can cite them."""

import re
from itertools import takewhile
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parent.parent / "agent" / "handbook").glob("*.md"))
SOURCE = re.compile(r"\[source: [^|\[\]]+ \| (1[89]|20)\d\d \| [^|\[\]]+\]")


def paragraphs(file):
    """(topic, words, source lines) of each `##` section."""
    title, *sections = re.split(r"^## ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert re.fullmatch(r"# [^\n]+\s*", title), file.name
    for section in sections:
        topic, *lines = [line for line in section.strip().splitlines() if line]
        sources = list(takewhile(lambda line: line.startswith("["), reversed(lines)))
        yield topic, lines[: len(lines) - len(sources)], sources


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_paragraph_carries_its_source(file):
    for topic, text, sources in paragraphs(file):
        assert sources, topic
        assert all(SOURCE.fullmatch(line) for line in sources), (topic, sources)
        assert len(text) == 1, f"{topic}: one paragraph a section"
        assert len(text[0].split()) <= 110, topic


def test_there_is_enough_of_it_and_nothing_twice():
    topics = [topic.lower() for file in FILES for topic, _, _ in paragraphs(file)]
    sentences = [
        s for file in FILES for _, text, _ in paragraphs(file) for s in re.split(r"(?<=\.) (?=[A-Z])", text[0])
    ]
    assert len(topics) >= 150
    assert len(set(topics)) == len(topics)
    assert len(set(sentences)) == len(sentences)
