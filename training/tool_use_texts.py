"""What the adapter is trained on: conversations as the model sees them, and which of their tokens it must write.

Requests that stand alone and have the same recordings loaded are put into one conversation of up to three turns (two
earlier turns are what the agent shows), so that what is loaded is read once for three requests and the model learns
to leave earlier turns alone when a request does not lean on them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from agent import prompts
from tools.registry import MAKERS
from training import answer_data, tool_use_data
from training.tool_use_written import written

APART = [
    Path(__file__).parent / "data" / f"{name}.jsonl"
    for name in ("tool_use_heldout", "tool_use_validation", "deciding_heldout", "deciding_validation")
]


def conversations(
    seed: int, dialogues: int, answers: int, copies: int, files: list[str] | None = None
) -> list[list[prompts.Message]]:
    """Messages that end with what the model should write, for both tasks, in random order.

    `dialogues` come from templates, `copies` of each hand-written one (of `files`) beside; `answers` teach wording.
    """
    held_back = told_apart()
    turns = tool_use_data.dialogues(seed, dialogues) + written(seed, copies, files)
    turns = [turn for turn in turns if not held_back & {plain(one["user"]) for one in (*turn["history"], turn)}]
    rng = random.Random(seed)
    rng.shuffle(turns)
    made = [_messages(turn) for turn in joined(turns)]
    made += [[*prompts.answer([], turn["user"]), _said(turn["reply"])] for turn in turns if turn.get("reply")]
    for evidence, question, answer in answer_data.answers(seed, answers):
        made.append([*prompts.answer(evidence, question), _said(answer)])
    rng.shuffle(made)
    return made


def joined(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join requests that stand alone, three of a scene at a time; the shortest, which could lean, comes first."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    made = []
    for turn in turns:
        kinds = [entry.split("-")[0] for entry in turn["recordings"]]
        makes = any(call["name"] in MAKERS for call in turn["calls"])  # "it" could then mean what they made
        if turn["history"] or makes or len(set(kinds)) < len(kinds):  # of two ECGs, "it" is the one asked of before
            made.append(turn)
        else:
            alike.setdefault(tuple(turn["recordings"]), []).append(turn)
    for scene in alike.values():
        for start in range(0, len(scene), prompts.HISTORY_TURNS + 1):
            *before, last = sorted(scene[start : start + prompts.HISTORY_TURNS + 1], key=lambda turn: len(turn["user"]))
            made.append({**last, "history": [{"user": turn["user"], "calls": turn["calls"]} for turn in before]})
    return made


def encode(tokenizer: Any, messages: list[prompts.Message]) -> tuple[list[int], list[int]]:
    """Token ids and labels of one conversation; labels are -100 where the model only reads."""
    ids: list[int] = []
    labels: list[int] = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        upto = tokenizer.apply_chat_template(messages[:i], add_generation_prompt=True, return_dict=True)["input_ids"]
        wrote = tokenizer(message["content"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        labels += [-100] * (len(upto) - len(ids)) + wrote
        ids = upto + wrote
    return ids, labels


def _messages(turn: dict[str, Any]) -> list[prompts.Message]:
    asked = prompts.choose(turn["recordings"], turn["history"], turn["user"])
    return [*asked, _said(prompts.calls_to_json(turn["calls"]))]


def _said(text: str) -> prompts.Message:
    return {"role": "assistant", "content": text}


def told_apart() -> set[str]:
    """The requests of validation and of the held-back set, as `plain` has them: never learnt from."""
    return {plain(json.loads(line)["user"]) for file in APART for line in file.read_text().splitlines()}


def plain(text: str) -> str:
    return text.lower().strip(" ?.!")
