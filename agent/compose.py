"""An answer from what the tools returned: the language model's where it holds, the evidence itself where it does not.

    text, by = compose(llm, evidence, question, emit, stop, kinds, before)     by "model", "retry" or "evidence"

Some questions need no model: what it can do, everything that was measured, symptoms that nobody here can judge.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from agent import faithful
from agent.evidence import complete, going_on, relevant
from tools.registry import TOOLS

FEW = 3  # sentences in a line
SPEECHLESS = "I can answer only from what the tools return. Load a recording and ask about it, or ask what I can do."
UNFIT = "I can answer only from what the tools return, and for that I have none. What they do with what is loaded:"
ABILITIES = re.compile(
    r"\bwhat (?:else )?(?:can|could|do) you (?:do|help)|\bhow can you help|\bwhat are you (?:able|good)|^\W*help\W*$"
    r"|\bwhat tools\b|\bwas kannst du|\bque (?:peux|puedes)",
    re.IGNORECASE,
)
EMERGENCY = re.compile(
    r"\bchest (?:pain|hurts|tight\w*|pressure)|\bpain in (?:my|the) chest|\bpalpitations?\b|\bfaint\w*"
    r"|\bpass(?:ed|ing)? out|\bcollaps\w+|\bunconscious|\b(?:can't|cannot|hard to) breathe|\bshort of breath"
    r"|\bbreathless|\bemergency\b|\bmy (?:pulse|heart rate) is \d+|\bheart is racing",
    re.IGNORECASE,
)
CALL = (
    "I cannot judge symptoms. With chest pain, fainting, breathlessness or a collapse, call the emergency services now."
)
EVERYTHING = re.compile(
    r"\b(?:everything|all (?:of )?(?:the |your )?(?:measurements?|values|numbers|results))\b", re.IGNORECASE
)


def compose(
    llm: Any, evidence: list[str], question: str, emit: Callable[[dict[str, Any]], None], stop: Callable[[], bool],
    kinds: Collection[str] = (), before: str = "",
) -> tuple[str, str]:  # fmt: skip
    """An answer and who wrote it: the "model", the model on a "retry" with less before it, or the "evidence".

    A question that goes on is about what the one `before` it was about. Words are streamed as they are written; when a
    try does not hold, the listener is told to drop it.
    """
    about = going_on(question, before)
    chosen = relevant(about, evidence)
    if not evidence and EMERGENCY.search(question):
        emit({"kind": "word", "text": CALL})
        return CALL, "evidence"
    if not evidence and ABILITIES.search(question):
        text = "\n• ".join(["I can:", *(tool.purpose for tool in TOOLS.values())])
        emit({"kind": "word", "text": text})
        return text, "evidence"
    if evidence and EVERYTHING.search(question):
        text = set_out(evidence)
        emit({"kind": "word", "text": text})
        return text, "evidence"
    for by, facts in (("model", chosen), ("retry", relevant(about, evidence, FEW))):
        text = ""
        for word in llm.write(facts, question, stop):
            text += word
            emit({"kind": "word", "text": word})
        text = text.strip()
        if stop():
            return text or "Stopped.", "stopped"
        wrong = faithful.problems(text, facts) + faithful.wrong_about_loaded(text, kinds)
        wrong += [] if facts else faithful.wrong_subject(text, question)
        if text and not wrong and complete(text, about, facts):
            return text, by
        emit({"kind": "drop"})
    text = set_out(chosen) or speechless(kinds)
    emit({"kind": "word", "text": text})
    return text, "evidence"


def speechless(kinds: Collection[str]) -> str:
    """What is said where nothing can be: what the tools do with the kinds that are loaded."""
    can = [tool.purpose for tool in TOOLS.values() if set(tool.kinds) & set(kinds) and not tool.recording_optional]
    return "\n• ".join([UNFIT, *can]) if can else SPEECHLESS


def set_out(facts: list[str]) -> str:
    """Sentences as a person reads them: a few in a line, more as a list under the first."""
    return " ".join(facts) if len(facts) <= FEW else "\n• ".join(facts)
