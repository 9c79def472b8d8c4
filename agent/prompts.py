"""What the language model is shown, and what it is asked to write. Training renders the same text.

Two short tasks, told apart by their system line, so that a 135M model can learn both in one adapter:

choose   recordings, earlier questions with their calls, the question  ->  JSON array of calls, [] for none
answer   evidence sentences, the question                              ->  an answer in their words

A call is flat, `{"name": "measure_ecg", "recording": "ecg-1"}`: half the tokens of the nested form.
Recordings appear as opaque ids with their kind; nothing that a file says about itself is ever shown.
"""

from __future__ import annotations

import json
from typing import Any

from tools.registry import TOOLS

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}
Call = dict[str, Any]  # {"name": tool, "arguments": {"recording": id, ...}}

HISTORY_TURNS = 2  # earlier turns shown when choosing; follow-ups lean on the last one or two


def calls_to_json(calls: list[Call]) -> str:
    """The flat text that the model writes for these calls."""
    flat = [{"name": call["name"], **call["arguments"]} for call in calls]
    return json.dumps(flat, ensure_ascii=False, separators=(",", ":"))


def calls_from_json(text: str) -> list[Call]:
    """The calls in a text of that form; ValueError if it is none."""
    return [
        {"name": call["name"], "arguments": {key: value for key, value in call.items() if key != "name"}}
        for call in json.loads(text)
    ]


def choose(
    recordings: list[str], history: list[dict[str, Any]], question: str, describe: bool = False
) -> list[Message]:
    """Messages that ask for tool calls.

    `recordings` like "ecg-1 (12-lead ECG)"; `history` of {"user": str, "calls": [Call]}, oldest first.
    `describe` adds what each tool is for: the default model has learnt that, others have not.
    """
    system = f"Choose tools. Recordings: {', '.join(recordings) or 'none'}."
    if describe:  # in front, where it is the same every time and is read once
        tools = "\n".join(f"{tool.name}: {tool.purpose}" for tool in TOOLS.values())
        system = f"Tools:\n{tools}\nReply with a JSON array of the calls needed, [] for none. {system}"
    messages = [{"role": "system", "content": system}]
    for turn in history[-HISTORY_TURNS:]:
        messages.append({"role": "user", "content": turn["user"]})
        messages.append({"role": "assistant", "content": calls_to_json(turn["calls"])})
    return [*messages, {"role": "user", "content": question}]


def answer(evidence: list[str], question: str) -> list[Message]:
    """Messages that ask for an answer in the words of `evidence`; without evidence, for a polite line without facts."""
    facts = "\n".join(f"- {sentence}" for sentence in evidence) or "none"
    return [
        {"role": "system", "content": "Answer in the words of the evidence only."},
        {"role": "user", "content": f"Evidence:\n{facts}\nQuestion: {question}"},
    ]
