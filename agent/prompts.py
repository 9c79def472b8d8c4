"""What the language model is shown, and what it is asked to write. Training renders the same text.

Three short tasks, told apart by their system line, so that a 135M model can learn them in one adapter:

choose   recordings, earlier questions with their calls, the question  ->  JSON array of calls, [] for none
answer   evidence sentences, the question                              ->  an answer in their words
read     soft tokens of recordings, earlier turns, the question        ->  what the model itself sees in them

A call is flat, `{"name": "measure_ecg", "recording": "ecg-1"}`: half the tokens of the nested form.
Recordings appear as opaque ids with their kind; nothing that a file says about itself is ever shown.
"""

from __future__ import annotations

import json
from typing import Any

from tools.errors import UsageError
from tools.registry import TOOLS

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}
Call = dict[str, Any]  # {"name": tool, "arguments": {"recording": id, ...}}

# A reserved word of the vocabulary in whose place a soft token comes (encoders/projector.py): the default model's,
# and those of other families. New words would need embeddings of their own, which learn badly.
RESERVED = ("<empty_output>", "<|reserved_special_token_0|>", "<|fim_pad|>", "<unused0>", "<|extra_0|>")
BRACKETS = "<|>[]"  # around a control word of a vocabulary; without them it is a word
LONGEST = 4000  # characters of a question
HISTORY_TURNS = 2  # earlier turns shown when choosing; follow-ups lean on the last one or two


def kind_of(name: str) -> str:
    """What kind of recording an id is of: "ecg" of "ecg-2" (agent/graph.py gives them)."""
    return name.rsplit("-", 1)[0]


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


def soft_word(tokenizer: Any) -> tuple[str, int]:
    """The reserved word that a tokenizer has, and its number.

    Raises
    ------
    UsageError : where it has none of them.
    """
    known = tokenizer.get_vocab()
    for word in RESERVED:
        if word in known:
            return word, known[word]
    raise UsageError(f"this model's vocabulary has no reserved word for soft tokens ({', '.join(RESERVED)})")


def read(
    given: dict[str, int], measured: list[str], turns: list[tuple[str, str]], word: str = RESERVED[0]
) -> list[Message]:
    """Messages that ask what the model itself sees: `given` says how many soft tokens, each a `word`, a recording has.

    `turns` are questions with their answers; the last answer may be "", and is then left out.
    """
    recordings = "\n".join(f"{name}: {word * count}" for name, count in given.items())
    first = "\n".join([recordings, *measured])
    messages = [{"role": "system", "content": "Read the recording yourself."}]
    for i, (question, answer) in enumerate(turns):
        messages.append({"role": "user", "content": question if i else f"{first}\n{question}"})
        messages += [{"role": "assistant", "content": answer}] if answer else []
    return messages


def plain(question: str, control: tuple[str, ...]) -> tuple[str, list[str]]:
    """A question as a language model may read it, and what to say of that; `control` words mean nothing in it."""
    heard, notes, named = question.strip(), [], []
    while found := [word for word in control if word in heard]:  # again: "<|<|im_end|>|>" hides one in another
        for word in found:
            heard = heard.replace(word, word.strip(BRACKETS))
            named.append(word.strip(BRACKETS))
    if named:
        notes.append(f"Read as plain text, not as control words: {', '.join(dict.fromkeys(named))}.")
    if len(heard) > LONGEST:
        notes.append(f"The question is longer than {LONGEST} characters; the rest was not read.")
    return heard[:LONGEST], notes
