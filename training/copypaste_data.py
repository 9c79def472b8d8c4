"""What CopyPaste is taught from: questions with contexts, six ways of answering each, and pairs of better and worse.

    items(folder, part)         PubMedQA of "train", "validation" or "test", and the handbook (train only)
    candidates(writer, items)   {way: answer} of each, by base, attributed, citations, order, link, refine
    judged(writer, ...)         what holds of each candidate, and its Elo
    pairs(item, judged, arm)    [{"prompt", "chosen", "rejected"}]

After CopyPasteLLM (arXiv 2510.00508) with models that run offline: support is agent/copying.py's in place of
AlignScore and MiniCheck, relevance the cosine of sentence vectors, fluency the base model's own perplexity; Elo comes
of comparing candidates measure by measure, or of a larger judge behind an endpoint.
PubMedQA: its 500 test questions are the test; of the others those whose id is divisible by 5 validate. Each training
question stands once, with its context as it is or altered (training/counterfactual.py). Its context is the abstract
with the conclusion, cut to the `WORDS` words nearest to the question.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from agent.copying import claims, coverage, density, said, unsupported
from agent.copypaste import LIMIT, WAYS, asked, begun
from encoders.sentence import embed
from tools.errors import UsageError
from tools.passages import handbook, spans
from training.counterfactual import altered, other_number
from training.generation import Writer, option_of, together

Item = dict[str, Any]  # {"id", "question", "context", "options", "answer", "altered"}; "" and [] where no gold answer

ONE_GO = ("base", "attributed", "citations")
OPTIONS = ["yes", "no", "maybe"]
WORDS = 90  # of a context
STEPS = 2  # of CP-Refine here; a small model does not hear more
COVERED, DENSE = 0.8, 5.0  # κ and δ that a winner must exceed (the paper's)
RELEVANT = 0.95  # cosine of its nearest sentence to the question, as a share of the context's nearest (paper: 0.65)
FLUENT = 250.0  # perplexity that it must stay below (33 in the paper, by another model)
ELO, K = 1000.0, 32.0
ASKED_WELL = Path(__file__).parent / "data" / "retrieval_validation.jsonl"
Judge = Callable[[str, str, str, str], float]  # question, context, first, second -> 1 first, 0 second, 0.5 tie


def items(folder: Path, part: str, limit: int | None = None, skip: int = 0) -> list[Item]:
    """Questions of a part; in training each once and half of them altered, else one item for each of the two contexts.
    Of these `skip` questions are left out first.

    Only questions whose answer can be turned reliably are there, as many with yes as with no: who gives one answer
    to all is right half of the time.
    """
    found = turnable(folder, part)
    if part == "train":
        made = []
        for twins in found.values():
            made += [as_is if i % 2 else turned for i, (as_is, turned) in enumerate(twins)]
        made, more = _balanced(made), from_handbook()
        mixed = [
            one for i, item in enumerate(made) for one in (item, *(more[i // 3 : i // 3 + 1] if i % 3 == 0 else ()))
        ]
        return mixed[:limit]
    first, each = skip // 2, min(map(len, found.values()), default=0)
    last = min(each, first + limit // 2) if limit else each
    return [item for answer in found for twins in found[answer][first:last] for item in twins]


def turnable(folder: Path, part: str) -> dict[str, list[tuple[Item, Item]]]:
    """By answer: each question whose answer can be turned, with its context as it is and altered."""
    found: dict[str, list[tuple[Item, Item]]] = {"yes": [], "no": []}
    for name, one in abstracts(folder, part):
        question, answer, body = one["QUESTION"], one["final_decision"], " ".join(one["CONTEXTS"])
        if two := altered(question, answer, body, one["LONG_ANSWER"]):
            key, whole = one["LONG_ANSWER"], two[0] if part == "train" else f"{body} {one['LONG_ANSWER']}"
            as_is = _item(name, question, cut(whole, question, key), answer, False)
            turned = _item(name, question, cut(two[1], question, _last(two[1])), two[2], True)
            as_is["swap"], turned["swap"] = [_last(two[0]), _last(two[1])], [_last(two[1]), _last(two[0])]
            found[answer].append((as_is, turned))
    return found


def abstracts(folder: Path, part: str) -> list[tuple[str, dict[str, Any]]]:
    """PubMedQA's entries of a part with their ids, in a fixed mixed order."""
    if not (folder / "ori_pqal.json").exists():
        raise UsageError(f"{folder}: no ori_pqal.json there; give PubMedQA's folder")
    every = json.loads((folder / "ori_pqal.json").read_text(encoding="utf-8"))
    test = json.loads((folder / "test_ground_truth.json").read_text(encoding="utf-8"))
    return [
        (name, every[name])
        for name in sorted(every, key=lambda one: zlib.crc32(one.encode()))
        if part == ("test" if name in test else "validation" if int(name) % 5 == 0 else "train")
    ]


def _balanced(made: list[Item]) -> list[Item]:
    """As many with each answer, in a fixed mixed order."""
    of = {answer: [one for one in made if one["answer"] == answer] for answer in ("yes", "no")}
    least = min(map(len, of.values()))
    return [one for both in zip(of["yes"][:least], of["no"][:least], strict=True) for one in both]


def _item(name: str, question: str, context: str, answer: str, turned: bool) -> Item:
    return {"id": f"{name}{'-altered' if turned else ''}", "question": question, "context": context,
            "options": OPTIONS, "answer": answer, "altered": turned}  # fmt: skip


def _last(context: str) -> str:
    return context[slice(*spans(context)[-1])]


def from_handbook() -> list[Item]:
    """Questions written for the validation of retrieval, with their passage; a number in the sentence that answers is
    altered in every second one and gives the options, where there is none there is no gold answer."""
    passages = {one.id: one.text for one in handbook()}
    lines = [json.loads(line) for line in ASKED_WELL.read_text(encoding="utf-8").splitlines()]
    asked_of = [(line["question"], passages[line["ids"][0]], line["ids"][0]) for line in lines if len(line["ids"]) == 1]
    made: list[Item] = []
    for i, ((question, text, name), nearest) in enumerate(zip(asked_of, _nearest(asked_of), strict=True)):
        context, answer, options, turned = text, "", [], False
        changed = other_number(nearest)
        if changed and changed[2] not in text and text.count(changed[1]) == 1:
            turned = bool(i % 2)
            context = text.replace(nearest, changed[0]) if turned else text
            answer = changed[2] if turned else changed[1]
            options = sorted(changed[1:], key=lambda one: zlib.crc32(one.encode()))
        elif i % 3:
            continue
        key = changed[0] if turned and changed else nearest
        made.append({"id": f"{name}-{i}", "question": question, "context": cut(context, question), "options": options,
                     "answer": answer, "altered": turned, "key": key})  # fmt: skip
    return made


def _nearest(asked_of: list[tuple[str, str, str]]) -> list[str]:
    """The sentence of each passage that is nearest to its question."""
    texts = [[text[a:b] for a, b in spans(text)] for _, text, _ in asked_of]
    vectors = embed([question for question, _, _ in asked_of])
    every = sorted({one for some in texts for one in some})
    place = {one: i for i, one in enumerate(every)}
    near = embed(every) @ vectors.T  # (sentences, questions)
    return [max(some, key=lambda one: near[place[one], i]) for i, some in enumerate(texts)]


def cut(context: str, question: str, keep: str = "", words: int = WORDS) -> str:
    """The sentences of a context that are nearest to the question, at most `words`, in their order.

    Those of `keep` come first where they stand in the context.
    """
    sentences = [context[a:b] for a, b in spans(context)]
    if len(context.split()) <= words:
        return context
    vectors = embed([question, *sentences])
    near = vectors[1:] @ vectors[0] + [one in keep for one in sentences]
    chosen: list[int] = []
    for i in sorted(range(len(sentences)), key=lambda i: -near[i]):
        if not chosen or sum(len(sentences[j].split()) for j in [*chosen, i]) <= words:
            chosen.append(i)
    return " ".join(sentences[i] for i in sorted(chosen))


def candidates(writer: Writer, some: list[Item]) -> list[dict[str, str]]:
    """Six answers to each item."""
    out: list[dict[str, str]] = [{} for _ in some]
    for way in ONE_GO:
        texts = writer.texts([asked(one["question"], one["context"], one["options"], way) for one in some], LIMIT)
        for row, text in zip(out, texts, strict=True):
            row[way] = text
    for way in WAYS:
        steps = [begun(way, one["question"], one["context"], STEPS) for one in some]
        for row, made in zip(out, together(writer, steps), strict=True):
            row[way] = made.text
    return out


def judged(writer: Writer, item: Item, answers: dict[str, str], judge: Judge | None = None) -> dict[str, Item]:
    """Of each way: its text without a final answer, four measures, whether it passes all, and its Elo."""
    texts = {way: said(text) for way, text in answers.items()}
    context = item["context"]
    given = embed([item["question"], *(context[a:b] for a, b in spans(context))])
    nearest = float((given[1:] @ given[0]).max())
    distinct = list(dict.fromkeys(texts.values()))  # composers often agree
    of: dict[str, Item] = {}
    for text, perplexity in zip(distinct, writer.perplexity(distinct), strict=True):
        sentences = [text[a:b] for a, b in spans(text)]
        vectors = embed([item["question"], *sentences])
        lacking, claimed = unsupported(text, context), claims(text)
        one: Item = {
            "text": text,
            "supported": 1 - len(lacking) / len(claimed) if claimed else 0.0,
            "kappa": coverage(text, context),
            "delta": density(text, context),
            "relevance": float((vectors[1:] @ vectors[0]).max()) / nearest if sentences else 0.0,
            "perplexity": float(min(perplexity, 1e6)),
        }
        one["passes"] = bool(
            claimed and not lacking and one["kappa"] > COVERED and one["delta"] > DENSE
            and one["relevance"] > RELEVANT and one["perplexity"] < FLUENT
        )  # fmt: skip
        of[text] = one
    out = {way: {**of[text], "option": option_of(answers[way], item["options"])} for way, text in texts.items()}
    for way, rating in elo(item, out, judge).items():
        out[way]["elo"] = rating
    return out


def elo(item: Item, of: dict[str, Item], judge: Judge | None = None) -> dict[str, float]:
    """Ratings from every pair of candidates: by the judge, else on support, relevance, copying and fluency each."""
    ratings = dict.fromkeys(of, ELO)
    ways = sorted(of)
    for i, first in enumerate(ways):
        for second in ways[i + 1 :]:
            for won in _matches(item, of[first], of[second], judge):
                expected = 1 / (1 + 10 ** ((ratings[second] - ratings[first]) / 400))
                ratings[first] += K * (won - expected)
                ratings[second] -= K * (won - expected)
    return ratings


def twin(item: Item, of: dict[str, Item]) -> tuple[Item, dict[str, Item]] | None:
    """A training question with its other context: what was copied of the answering sentence is exchanged for what
    stands there now, the rest stays; None where nothing was copied of it."""
    here, there = item.get("swap", ["", ""])
    if not here or here not in item["context"] or not any(here in of[way]["text"] for way in WAYS):
        return None
    other = {"yes": "no", "no": "yes"}[item["answer"]]
    texts = {way: {**one, "text": one["text"].replace(here, there)} for way, one in of.items() if way in WAYS}
    changed = {"id": f"{item['id']}-twin", "context": item["context"].replace(here, there), "answer": other}
    return {**item, **changed, "swap": [there, here], "altered": not item["altered"]}, {**of, **texts}


def _matches(item: Item, first: Item, second: Item, judge: Judge | None) -> list[float]:
    if judge:
        return [judge(item["question"], item["context"], first["text"], second["text"])]
    margins = [
        (first["supported"] - second["supported"], 0.01),
        (first["relevance"] - second["relevance"], 0.02),
        (first["kappa"] - second["kappa"], 0.02),
        (float(np.log(second["perplexity"] / first["perplexity"])), 0.05),
    ]
    return [0.5 if abs(gap) < tie else float(gap > 0) for gap, tie in margins]


def endpoint_judge(address: str) -> Judge:
    """A larger model behind an OpenAI-style endpoint; the context is declared true, as in the paper."""
    from agent.copypaste import speaker
    from agent.endpoint import Endpoint

    say = speaker(Endpoint(address))

    def judge(question: str, context: str, first: str, second: str) -> float:
        task = (
            "Take the context as true. Which answer alters fewer of its facts and joins fewer that do not belong "
            f"together?\nContext: {context}\nQuestion: {question}\nA: {first}\nB: {second}\nReply A, B or TIE."
        )
        reply = say([{"role": "user", "content": task}], 2000)
        verdict = re.findall(r"\b(A|B|TIE)\b", reply)
        return {"A": 1.0, "B": 0.0}.get(verdict[-1] if verdict else "TIE", 0.5)

    return judge


def pairs(item: Item, of: dict[str, Item], arm: str = "copypaste", most: int = 2, seed: int = 0) -> list[Item]:
    """Preference pairs of an item, in TRL's conversational form; [] where no candidate passes.

    copypaste  the winner with the right answer; against the other copying ones with a wrong answer, and against base,
               attributed and citations as they are
    stamping   the base answer with the right answer against itself with a wrong one: nothing about copying
    copying    the winner against base, attributed and citations, none with an answer: nothing about being right
    Where there is no gold answer nothing is stamped. A winner must hold the sentence or the number that answers, where
    that is known: else it would be stamped with what it does not say.
    """
    passing = [way for way in WAYS if of[way]["passes"] and _holds(item, of[way]["text"])]
    if not passing:
        return []
    rng = random.Random(f"{seed}{item['id']}")
    winner = max(passing, key=lambda way: of[way]["elo"])
    wrong = [one for one in item["options"] if one != item["answer"] and one != "maybe"] or [""]
    plain = [of[way]["text"] for way in rng.sample(ONE_GO, len(ONE_GO)) if of[way]["text"] != of[winner]["text"]]
    best = of[winner]["text"]
    if arm == "stamping":
        made = [(stamped(text, item["answer"]), stamped(text, rng.choice(wrong))) for text in plain]
    elif arm == "copying":
        made = [(best, text) for text in plain]
    else:
        others = [of[way]["text"] for way in rng.sample(WAYS, len(WAYS)) if way != winner]
        copying = [stamped(text, rng.choice(wrong)) for text in others if item["answer"] or text != best]
        both = [text for pair in zip_longest(copying, plain) for text in pair if text]
        made = [(stamped(best, item["answer"]), text) for text in both]
    prompt = asked(item["question"], item["context"], item["options"])
    return [
        {"prompt": prompt, "chosen": [_reply(good)], "rejected": [_reply(bad)]}
        for good, bad in made[:most]
        if good != bad and bad
    ]


def _holds(item: Item, text: str) -> bool:
    answering = item["swap"][0] if "swap" in item else item["answer"] if item["answer"] not in OPTIONS else ""
    return answering in text


def stamped(text: str, answer: str) -> str:
    """An answer with its final line; as it is where there is no gold answer."""
    return f"{text}\nAnswer: {answer}" if answer else text


def _reply(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}
