"""Three ways of answering by copying: CP-Order, CP-Link and CP-Refine of CopyPasteLLM (arXiv 2510.00508).

    say = speaker(llm)                                  any model behind --llm
    made = compose("order", say, question, context)     -> Composed(text, quotes, by)

order    the model lists sentences, word for word, and puts them in order
link     the same sentences, with the model's short transitions between them
refine   the model writes and is shown what it did not copy, until σ (agent/copying.py) is high enough

A model of 135M keeps to few formats. So each step is checked, and where nothing of it holds, the sentences that
sentence vectors find nearest to the question take its place (`by` says which). Every quote is a slice of the context.
The steps are generators that yield what they ask: one model answers them one by one (`run`), or many questions go
through a model together (training/generation.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from agent.copying import SHORTEST, copied, coverage, said, verbatim
from agent.prompts import Message
from tools.passages import spans

WAYS = ("order", "link", "refine")
NOTHING = "The context does not hold the answer."  # the fixed refusal, where nothing can be quoted
MOST = 2  # sentences of an answer
BESIDE = 0.75  # cosine to the question of a further sentence, as a share of the nearest
GOOD = 0.9  # cosine that one of the model's own choice must reach, as a share of the nearest
LEAST = 0.25  # cosine of the nearest sentence, below which the context does not hold the answer
TRANSITION = 15  # words of a transition at most (the paper's)
STEPS, ENOUGH = 5, 0.99  # of CP-Refine (the paper's)
LIMIT = 64  # tokens that a step writes

Say = Callable[[list[Message], int], str]
Ask = tuple[list[Message], int]  # messages, most tokens
Steps = Generator[Ask, str, "Composed"]


@dataclass(frozen=True)
class Composed:
    text: str
    quotes: list[str]  # slices of the context, in the order of the text
    by: str  # who chose them: "model" or "vectors"; "nothing" for the refusal


def speaker(llm: Any) -> Say:
    """`say` of a model that agent.llm.load gave."""
    from agent.endpoint import Endpoint

    if isinstance(llm, Endpoint):
        return lambda messages, limit: (
            llm._ask(messages=messages, temperature=0, max_tokens=limit).choices[0].message.content or ""
        )
    return lambda messages, limit: "".join(llm._text(messages, limit, None, lambda: False))


def compose(way: str, say: Say, question: str, context: str, steps: int = STEPS) -> Composed:
    """An answer to the question by one of `WAYS`, from the context alone."""
    return run(begun(way, question, context, steps), say)


def begun(way: str, question: str, context: str, steps: int = STEPS) -> Steps:
    """The steps of a way of answering."""
    if way == "refine":
        return refine(question, context, steps)
    return {"order": order, "link": link}[way](question, context)


def run(steps: Steps, say: Say) -> Composed:
    """Go through the steps with one model."""
    try:
        asked = next(steps)
        while True:
            asked = steps.send(say(*asked))
    except StopIteration as end:
        return end.value


def order(question: str, context: str) -> Steps:
    """CP-Order: sentences of the context in the order that the model gives them, joined by spaces."""
    chosen, by = yield from _chosen(question, context)
    if len(chosen) > 1:
        numbered = "\n".join(f"[{i}] {context[a:b]}" for i, (a, b) in enumerate(chosen, 1))
        reply = yield (
            _asked(numbered, f"Question: {question}\nOrder the sentences. Write their numbers only, like [2][1]."),
            4 * len(chosen) + 8,
        )
        numbers = [int(digit) for digit in re.findall(r"\d+", reply)]
        if sorted(numbers) == list(range(1, len(chosen) + 1)):  # else they stay by their nearness to the question
            chosen = [chosen[i - 1] for i in numbers]
    return _made([context[a:b] for a, b in chosen], by)


def link(question: str, context: str) -> Steps:
    """CP-Link: the same sentences by their nearness to the question, a transition of the model before each but one."""
    chosen, by = yield from _chosen(question, context)
    quotes = [context[a:b] for a, b in chosen]
    if len(quotes) < 2:
        return _made(quotes, by)
    numbered = "\n".join(f"[{i}] {quote}" for i, quote in enumerate(quotes, 1))
    reply = yield (
        _asked(
            numbered,
            f"Question: {question}\nFor each sentence from [2] on, write a few words that link it to the one before, "
            f"at most {TRANSITION}, like:\n[2] In addition,",
        ),
        20 * len(quotes),
    )
    found = dict(re.findall(r"\[(\d)\]\s*([^\n\[]+)", reply))
    text = quotes[0]
    for number, quote in enumerate(quotes[1:], 2):
        words = found.get(str(number), "").strip(" \"'")
        text += f" {words} {quote}" if _links(words, quotes) else f" {quote}"
    return Composed(text, quotes, by)


def refine(question: str, context: str, steps: int = STEPS) -> Steps:
    """CP-Refine: the model writes, and writes again after it is shown what it did not copy; the best text is kept."""
    task = f"Question: {question}\nAnswer in one or two sentences. Copy whole sentences of the context, word for word."
    best, score, before = "", 0.0, ""
    for _ in range(steps):
        text = said((yield (_asked(context, task), LIMIT)))
        if copied(text, context) > score:
            best, score = text, copied(text, context)
        if score >= ENOUGH or text == before:  # a model that does not hear goes on not hearing
            break
        before = text
        own = [text[a:b] for a, b in spans(text) if coverage(text[a:b], context) < ENOUGH]
        task = (
            f"Question: {question}\nYour answer was: {text}\nThese sentences do not stand in the context: "
            f"{' '.join(own)}\nReplace them by sentences of the context, copied word for word."
        )
    places = [verbatim(best[a:b], context) for a, b in spans(best)]
    quotes = list(dict.fromkeys(context[place[0] : place[1]] for place in places if place))
    if not quotes:
        chosen, by = _nearest(question, context)
        return _made([context[a:b] for a, b in chosen], by)
    return Composed(best, quotes, "model")


def _chosen(question: str, context: str) -> Generator[Ask, str, tuple[list[tuple[int, int]], str]]:
    """Sentences that the model lists and the context holds, nearest to the question first; else the nearest ones."""
    reply = yield (
        _asked(
            context,
            f"Question: {question}\nCopy the sentences of the context that answer it, word for word, one a line.",
        ),
        LIMIT,
    )
    text = said(reply)
    lines = [part[a:b] for part in text.split("\n") for a, b in spans(part)]
    found = {place for line in lines if len(line) >= SHORTEST and (place := verbatim(line, context))}
    nearest, by = _nearest(question, context)
    if not nearest or not found:
        return nearest, by
    kept = sorted(found)
    *cosines, best = _cosines(question, [context[a:b] for a, b in [*kept, nearest[0]]])
    ranked = sorted((i for i in range(len(kept)) if cosines[i] >= BESIDE * best), key=lambda i: -cosines[i])
    good = ranked and cosines[ranked[0]] >= GOOD * best
    return ([kept[i] for i in ranked[:MOST]], "model") if good else (nearest, by)


def _nearest(question: str, context: str) -> tuple[list[tuple[int, int]], str]:
    """The sentences of the context nearest to the question; none where none is near."""
    places = spans(context)
    cosines = _cosines(question, [context[a:b] for a, b in places])
    best = max(cosines, default=0.0)
    if best < LEAST:
        return [], "nothing"
    ranked = sorted(range(len(places)), key=lambda i: -cosines[i])
    return [places[i] for i in ranked if cosines[i] >= BESIDE * best][:MOST], "vectors"


def _cosines(question: str, sentences: list[str]) -> list[float]:
    from encoders.sentence import embed

    if not sentences:
        return []
    vectors = embed([question, *sentences])
    return [float(one) for one in vectors[1:] @ vectors[0]]


def _links(words: str, quotes: list[str]) -> bool:
    """Whether words may stand between quotes: short, without a number, and no copy of a quote."""
    count = len(words.split())
    return 0 < count <= TRANSITION and not re.search(r"\d", words) and not any(words in quote for quote in quotes)


def _made(quotes: list[str], by: str) -> Composed:
    return Composed(" ".join(quotes) or NOTHING, quotes, by if quotes else "nothing")


def asked(question: str, context: str, options: Sequence[str] = (), way: str = "base") -> list[Message]:
    """Messages that ask for an answer in one go: plainly ("base", what the tuned model has learnt to answer by
    copying), from the context only ("attributed"), or with numbers of its sentences ("citations")."""
    task = f"Question: {question}\nSay in one or two sentences what the context says about it."
    if way == "citations":
        context = " ".join(f"[{i}] {context[a:b]}" for i, (a, b) in enumerate(spans(context), 1))
        task += " Cite the sentences that you use by their numbers, like [2]."
    if options:
        task += f' Then write "Answer:" and one of: {", ".join(options)}.'
    only = "Answer from the context only, even where you know otherwise."
    return _asked(context, task, only if way == "attributed" else "Answer the question.")


def settled(question: str, made: Composed, options: Sequence[str]) -> list[Message]:
    """Messages that ask which option a composed answer means."""
    task = f'Question: {question}\nWrite "Answer:" and one of: {", ".join(options)}.'
    return _asked(made.text, task, "Answer the question.")


def _asked(context: str, task: str, system: str = "Answer from the context.") -> list[Message]:
    return [{"role": "system", "content": system}, {"role": "user", "content": f"Context:\n{context}\n\n{task}"}]
