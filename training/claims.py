"""Questions of research with a sentence that answers yes or no, from frames written for this project.

    claims(seed, 500)   -> [{"question", "context", "options", "answer", "key", ...}, ...]

`data/claims.txt` holds the frames, blocks of lines: "?" questions, "+" sentences that answer them with yes, "-" with
no, with slots {a} (exposure or test), {b} (outcome), {p} (people), filled from `data/claim_terms.txt`. Denial is not
given away by a word: "was similar" says no to "is there a difference", and yes to "is it as good as". The sentence
lies among sentences of background and method, often beside a result about something else.
"""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

OPTIONS = ["yes", "no", "maybe"]
SIGNS = {"?": "asks", "+": "yes", "-": "no"}
AROUND = (1, 4)  # sentences of background in a context
BESIDE = 0.5  # share of contexts with a result about something else
Frame = dict[str, list[str]]
FOLDER = Path(__file__).parent / "data"


def frames() -> list[Frame]:
    """[{"asks": [...], "yes": [...], "no": [...]}, ...], in the order of the file."""
    made: list[Frame] = []
    for block in (FOLDER / "claims.txt").read_text(encoding="utf-8").strip().split("\n\n"):
        frame: Frame = {"asks": [], "yes": [], "no": []}
        for line in block.splitlines():
            frame[SIGNS[line[0]]].append(line[1:].strip())
        made.append(frame)
    return made


def terms() -> dict[str, list[str]]:
    """What fills the slots a, b and p; under n the sentences of background."""
    made: dict[str, list[str]] = {}
    for line in (FOLDER / "claim_terms.txt").read_text(encoding="utf-8").splitlines():
        slot, _, text = line.partition(": ")
        made.setdefault(slot, []).append(text.strip())
    return made


def claims(seed: int, count: int) -> list[dict[str, Any]]:
    """So many questions, half of them with each answer; the same seed gives the same ones."""
    rng, every, words = Random(seed), frames(), terms()
    made = []
    for i in range(count):
        frame, answer = rng.choice(every), ("yes", "no")[i % 2]
        filled = _draw(rng, words)
        key = _with(rng.choice(frame[answer]), filled)
        around = [_with(text, filled) for text in rng.sample(words["n"], rng.randint(*AROUND))]
        if rng.random() < BESIDE:
            other = rng.choice(every)
            around.append(_with(rng.choice(other["yes"] + other["no"]), _draw(rng, words)))
            rng.shuffle(around)
        place = rng.choice([len(around), rng.randint(0, len(around))])  # a conclusion stands last more often
        context = " ".join([*around[:place], key, *around[place:]])
        question = _with(rng.choice(frame["asks"]), filled)
        made.append({"id": f"claim-{seed}-{i}", "question": question, "context": context, "options": OPTIONS,
                     "answer": answer, "altered": False, "key": key})  # fmt: skip
    return made


def _draw(rng: Random, words: dict[str, list[str]]) -> dict[str, str]:
    return {slot: rng.choice(words[slot]) for slot in "abp"}


def _with(text: str, filled: dict[str, str]) -> str:
    text = re.sub(r"\{([abp])\}", lambda found: filled[found[1]], text)
    return text[0].upper() + text[1:]
