"""Dialogues written by hand, one JSON object a line in `data/tool_use/*.jsonl`.

    {"recordings": ["ecg-1 (12-lead ECG)"], "user": "...", "calls": [{"name": "measure_ecg", "recording": "ecg-1"}]}

with "history" (earlier turns of "user" and "calls") where the request leans on one, and "reply" where no tool is due.
Each line is one way that a person puts a request; the templates of `training.tool_use_data` give quantity, these give
breadth. `written(seed, copies)` reads them with other recordings loaded beside and typing slips: the first copy is as
written, the others are varied.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

from agent.prompts import Call
from training.tool_use_phrases import BANKS, KINDS, LEADS, typo

FILES = sorted(file.stem for file in Path(BANKS).glob("*.jsonl"))
STYLES = {"as written": 45, "lower": 20, "slips": 20, "bare": 15}


def lines(files: list[str] | None = None) -> list[dict[str, Any]]:
    """Every written dialogue (of these of `FILES` only), its calls nested as the agent has them."""
    return [
        _nested(json.loads(line))
        for stem in files or FILES
        for line in (Path(BANKS) / f"{stem}.jsonl").read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]


def written(seed: int, copies: int, files: list[str] | None = None) -> list[dict[str, Any]]:
    """The written dialogues, `copies` of each; the same seed gives the same ones."""
    rng = Random(seed)
    made = []
    for line in lines(files):
        for copy in range(copies):
            made.append(varied(rng, line) if copy else line)
    return made


def varied(rng: Random, line: dict[str, Any]) -> dict[str, Any]:
    """The same request on other leads, beside something else, or typed in haste."""
    scene = list(line["recordings"])
    if line["calls"] and rng.random() < 0.3:
        scene = [re.sub(r"\(\S+ ECG\)", f"({rng.choice(LEADS)})", entry) for entry in scene]
    loaded = {entry.split("-")[0] for entry in scene}
    if (
        line["calls"] and rng.random() < 0.2
    ):  # a kind that is not asked for lies in front, so that "it" stays what it was
        other = rng.choice([kind for kind in ("ppg", "spirogram", "ctg") if kind not in loaded] or [""])
        if other:
            scene.insert(0, f"{other}-1 ({KINDS[other]})")
    quoted = any("prompt" in call["arguments"] for call in line["calls"])  # its words must stay those of the request
    style = rng.choices(list(STYLES), list(STYLES.values()))[0]
    user = line["user"] if quoted else _typed(rng, line["user"], style)
    return {**line, "recordings": scene, "user": user}


def _typed(rng: Random, text: str, style: str) -> str:
    if style == "lower":
        return text.lower()
    if style == "slips":
        return typo(rng, text, 0.15)
    if style == "bare":
        return re.sub(r"[.,;:?!—]+(?= |$)", "", text)
    return text


def _nested(line: dict[str, Any]) -> dict[str, Any]:
    history = [
        {"user": turn["user"], "calls": [_call(one) for one in turn["calls"]]} for turn in line.get("history", [])
    ]
    calls = [_call(one) for one in line["calls"]]
    return {"reply": None, **line, "history": history, "calls": calls}


def _call(flat: dict[str, Any]) -> Call:
    return {"name": flat["name"], "arguments": {key: value for key, value in flat.items() if key != "name"}}
