"""Reports that the language model writes of spirograms from soft tokens; part of `training.evaluate spirogram`.

Greedy decoding, on people whom training left untouched, as many obstructed as not, blown as people blow. Numbers
withheld: the share of reports that are valid (every part there, no number, no word too many), and how well the pattern
that they name tells measured FEV1/FVC below the LLN; beside it the encoder at the same threshold, which is all that the
model sees, the tokens of another person, and none. Numbers given: the share of reports in which every number is right
(each measure once, as given, low or normal by its z) and the pattern is that of the z-scores. The probability of
obstruction is never among what the model is told.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from agent import prompts
from agent.llm import LocalModel
from encoders import spiro
from encoders.spiro_projector import FILE, opened
from training import spirogram_data as data
from training.evaluate_multimodal import written
from training.figures import interval
from training.spirogram_report import Seen, chosen, seen
from training.spirogram_text import OBSTRUCTED, measured_line, pattern, report, said

ASKED = "Write a report of spirogram-1."
LONGEST = 80  # tokens
CONTROLS = ("own", "another person's", "no")


def run(people: Any, curves: data.Curves, count: int, encoder: Path = spiro.FILE, file: Path = FILE) -> dict[str, Any]:
    """`people` and `curves` of the part that is evaluated."""
    projector, threshold = opened(file)
    rng = np.random.default_rng(0)
    rows = chosen(people, np.flatnonzero(curves.solved), count, rng)
    blown = data.varied(rng, curves.volume[rows], curves.zero_s[rows])
    known = seen(spiro.opened(encoder), people, rows, blown, threshold)
    truth = people["obstruction"].to_numpy()[known.row]
    model = LocalModel()
    out: dict[str, Any] = {"people": len(truth), "threshold": threshold, "withheld": {}}
    out["withheld"]["encoder"] = decided(known.probability >= threshold, truth)
    everyone = range(len(truth))
    for control in CONTROLS:
        talks = [asked(known, n, control) for n in everyone]
        texts = written(model, projector, known.features, talks, LONGEST, f"reports, {control} tokens")
        named = [said(text).get("pattern") for text in texts]
        out["withheld"][f"{control} tokens"] = decided(np.array([name == OBSTRUCTED for name in named]), truth)
        if control == CONTROLS[0]:
            good = np.array([valid(text, known, n) for n, text in enumerate(texts)])
            out["valid"] = [round(v, 4) for v in (float(good.mean()), *interval(good))]
            out["examples"] = texts[:3]
    talks = [asked(known, n, CONTROLS[0], measured=True) for n in everyone]
    texts = written(model, projector, known.features, talks, LONGEST, "reports, numbers given")
    right = np.array([numbers(text) == numbers(report(known.facts[n], True)) for n, text in enumerate(texts)])
    same = np.array([said(text).get("pattern") == pattern(known.facts[n], True) for n, text in enumerate(texts)])
    for key, found in (("numbers_right", right), ("pattern_right", same)):
        out[key] = [round(v, 4) for v in (float(found.mean()), *interval(found))]
    out["examples"] += texts[:2]
    return out


def asked(known: Seen, n: int, control: str, measured: bool = False) -> tuple[list[prompts.Message], list[int]]:
    """Messages and the row of the features, with the tokens that a control gives."""
    shown = (n + len(known.facts) // 2) % len(known.facts) if control == CONTROLS[1] else n
    count = 0 if control == CONTROLS[2] else int(known.features.there()[shown].sum())
    lines = [measured_line(known.facts[n])] if measured else []
    return prompts.read({"spirogram-1": count}, lines, [(ASKED, "")]), [shown] if count else []


def valid(text: str, known: Seen, n: int) -> bool:
    """Whether every part that can be told is there, nothing else is, and no number is among it."""
    parts = said(text)
    whole = " ".join([*(f"{title} {word}." for title, word in parts.items() if title != "pattern"),
                      f"Pattern: {parts.get('pattern')}."])  # fmt: skip
    return parts.keys() - {"pattern"} == known.facts[n].told.keys() and text == whole


def numbers(text: str) -> list[str]:
    """What a report gives as measured, sentence for sentence; "low FEV1 alone" is a pattern, not a number."""
    return [part for part in text.split(". ") if re.search(r"\d", part) and not part.startswith("Pattern:")]


def decided(found: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Sensitivity, specificity and their mean, with its interval."""
    right = found == truth
    rng = np.random.default_rng(0)
    ill, well = (np.flatnonzero(truth == one) for one in (True, False))
    drawn = [
        (right[rng.choice(ill, len(ill))].mean() + right[rng.choice(well, len(well))].mean()) / 2 for _ in range(1000)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    sensitivity, specificity = float(right[ill].mean()), float(right[well].mean())
    out = {"sensitivity": sensitivity, "specificity": specificity, "balanced": (sensitivity + specificity) / 2}
    return {key: round(value, 3) for key, value in out.items()} | {
        "interval": [round(float(v), 3) for v in (low, high)]
    }


def lines(out: dict[str, Any]) -> list[str]:
    """For the table of `training.evaluate spirogram`."""
    made = [f"reports by the language model, {out['people']} people, half of them obstructed; no probability is told"]
    for name, one in out["withheld"].items():
        made.append(
            f"  numbers withheld, {name:24s} sensitivity {one['sensitivity']:.3f}, specificity "
            f"{one['specificity']:.3f}, mean {one['balanced']:.3f} {one['interval']}"
        )
    for key, words in (("valid", "valid with the numbers withheld"), ("numbers_right", "every number right"),
                       ("pattern_right", "pattern that of the z-scores, numbers given")):  # fmt: skip
        share, low, high = out[key]
        made.append(f"  {words}: {share:.3f} [{low:.3f}, {high:.3f}]")
    return made + [f"  e.g. {text}" for text in out["examples"]]
