"""Phrases of the tool-choice dialogues: the hand-written banks, their slots, and how people type.

The banks lie in `data/tool_use/*.txt`, one a tool, with sections by form: [do] commands, [ask] questions,
[terse] keywords, [world] other languages. `clause` turns one line into a request and its call; `roughen` writes
it as someone types. `training.tool_use_data` joins these into dialogues.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

BANKS = Path(__file__).parent / "data" / "tool_use"

# bank of phrases → tool, and the share of each among requests for one tool: the confusable ones come most
TOOLS = {
    "measure": ("measure_ecg", 22),
    "interpret": ("interpret_ecg", 20),
    "search": ("search_guidelines", 17),
    "risk": ("predict_vtvf_risk", 7),
    "leads": ("reconstruct_leads", 6),
    "generate": ("generate_ecg", 8),
    "ppg": ("ppg_to_ecg", 4),
    "spirogram": ("read_spirogram", 4),
    "fetal": ("estimate_fetal_age", 4),
    "plot": ("plot_recording", 8),
}
FAMILIES = {"ecg": "an ECG", "ppg": "a PPG recording", "spirogram": "a spirogram", "ctg": "a CTG"}
KINDS = {"ppg": "PPG", "spirogram": "spirogram", "ctg": "CTG"}
LEADS = ("12-lead ECG", "3-lead ECG", "1-lead ECG")
FORMS = {"do": 34, "ask": 42, "terse": 20, "world": 9, "pair": 35, "ref": 26}
LAYOUTS = {
    "3x4": ["3x4", "3 by 4", "three by four", "3 x 4"],
    "6x2": ["6x2", "6 by 2", "six by two", "6 x 2"],
    "12x1": ["12x1", "12 by 1", "twelve rows", "12 x 1", "one lead per row"],
}
FORMATS = {"svg": ["svg", "SVG", "svg file"], "png": ["png", "PNG", "PNG image"], "pdf": ["pdf", "PDF", "PDF file"]}
COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5, "ten": 10, "2": 2, "3": 3, "6": 6, "8": 8, "12": 12, "20": 20}
SPECIFIC = {
    "ecg": r"ECG|EKG",
    "ppg": r"PPG|pulse|photo",
    "spirogram": r"spiro|blow|lung|flow",
    "ctg": r"CTG|fetal|cardio",
}
# words that name the kind of recording even when no noun for it is there
TELLS = r"\{(rec|quantity|finding|lead)\}|ECG|QT|QRS|leads|VF|GA\b|gestat|f[oe]e?tal|fetus|FEV|spiro|COPD|PPG|ppg|pulse"

QUESTION = r"\b(wh\w+|how|is|are|do|does|did|can|could|would|was|has|may|might|should|will|any)\b"


@cache
def bank(name: str) -> dict[str, list[str]]:
    """The phrases of one file by section; a file without sections has the one section ''."""
    sections: dict[str, list[str]] = {}
    lines = sections.setdefault("", [])
    for line in (BANKS / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"\[\w+\]", line):
            lines = sections.setdefault(line[1:-1], [])
        elif line:
            lines.append(line)
    return {section: lines for section, lines in sections.items() if lines}


@dataclass
class Clause:
    """A request in words and the calls that serve it. In `text`, NUL stands for the prompt of generate_ecg."""

    text: str
    calls: list[dict[str, Any]] = field(default_factory=list)
    form: str = "ask"
    slots: dict[str, str] = field(default_factory=dict)


def pick(rng: Random, shares: dict[str, int]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def family(bank_name: str) -> str | None:
    """The kind of recording a bank's tool takes, None where it needs none."""
    return {"ppg": "ppg", "spirogram": "spirogram", "fetal": "ctg", "search": None, "generate": None}.get(
        bank_name, "ecg"
    )


def of_family(scene: list[str], wanted: str) -> list[str]:
    return [entry.split()[0] for entry in scene if entry.startswith(wanted + "-")]


def make_scene(
    rng: Random, wanted: str | None, count: int = 0, few_leads: bool = False, last: bool = False
) -> list[str]:
    """What is loaded: `count` recordings of the wanted family (0: chance decides) and at times others.

    With `last`, the wanted recordings are the last ones loaded.
    """
    mixed = [rng.choice(list(FAMILIES)) for _ in range(rng.choices([0, 1, 2], [78, 17, 5])[0])]
    if wanted is None:
        order = mixed + ["ecg"] * rng.choices([0, 1, 2], [35, 50, 15])[0]
    else:
        others = [other for other in mixed if other != wanted]
        count = count or rng.choices([1, 2, 3], [72, 24, 4] if wanted == "ecg" else [92, 8, 0])[0]
        order = others + [wanted] * count
        if not last:
            rng.shuffle(order)
    seen: dict[str, int] = {}
    scene = []
    for name in order:
        seen[name] = seen.get(name, 0) + 1
        kind = KINDS.get(name) or rng.choices(LEADS, [2, 4, 4] if few_leads else [66, 14, 20])[0]
        scene.append(f"{name}-{seen[name]} ({kind})")
    return scene


def name_recording(rng: Random, scene: list[str], target: str) -> str:
    """A phrase that names the target: its id, its place in the row, or its leads where these tell it apart."""
    name = target.split("-")[0]
    alike = of_family(scene, name)
    phrases = [target, target, target, f"recording {target}"]
    if len(alike) > 1:
        noun = {"ecg": "ECG", "ppg": "PPG", "spirogram": "spirogram", "ctg": "CTG"}[name]
        place = ["first", "second", "third"][alike.index(target)]
        phrases += [f"the {place} {noun}"] * 2 + ([f"the {place} one"] if len(alike) == len(scene) else [])
        kinds = [entry.split(" ", 1)[1] for entry in scene if entry.startswith(name)]
        kind = kinds[alike.index(target)]
        if kinds.count(kind) == 1 and name == "ecg":
            phrases += [f"the {kind[1:-1]}"]
    return rng.choice(phrases)


def point_to(rng: Random, scene: list[str], wanted: str, explicit: bool) -> str:
    """An unnamed mention ("this ECG", "it"); one that says the kind if something else is loaded too."""
    phrases = bank("slots")[f"unit_{wanted}"]
    if explicit or len(of_family(scene, wanted)) < len(scene):
        phrases = [phrase for phrase in phrases if re.search(SPECIFIC[wanted], phrase)]
    return rng.choice(phrases)


def body(rng: Random) -> tuple[str, dict[str, Any]]:
    """A person's age, sex and height in words and as arguments."""
    age, height, sex = rng.randint(7, 88), rng.randint(148, 196), rng.choice("FM")
    woman = {"F": ["woman", "female", "lady"], "M": ["man", "male", "gentleman"]}[sex]
    text, keys = rng.choice(
        [
            (f"{age}-year-old {rng.choice(woman)}", "as"),
            (f"{age}-year-old {rng.choice(woman)}, {height} cm", "ash"),
            (f"{rng.choice(woman[:2])} of {age} years and {height} cm", "ash"),
            (f"{age} y/o {rng.choice(woman[:2])} {height} cm tall", "ash"),
            (f"{age}{sex}, {height} cm", "ash"),
            (f"{age} years old patient", "a"),
        ]
    )
    values = {"a": ("age", age), "s": ("sex", sex), "h": ("height_cm", height)}
    return text, dict(values[key] for key in keys)


def fill(rng: Random, template: str, given: dict[str, str]) -> tuple[str, dict[str, str], dict[str, Any]]:
    """Fill a template's slots; returns the text, the last word put in each slot, and arguments they imply."""
    used = dict(given)
    arguments: dict[str, Any] = {}
    numbers = {"age": (18, 90), "rate": (38, 190), "number": (90, 560), "seed": (0, 999)}

    def one(match: re.Match[str]) -> str:
        slot, word = match[1], ""
        if slot in given:
            return given[slot]
        if slot in numbers:
            word = str(rng.randint(*numbers[slot]))
            if slot == "seed":
                arguments["seed"] = int(word)
        elif slot in ("layout", "format"):
            table = LAYOUTS if slot == "layout" else FORMATS
            value = rng.choice(list(table))
            word, arguments[slot] = rng.choice(table[value]), value
        elif slot == "count":
            word = rng.choice(list(COUNTS))
            arguments["count"] = COUNTS[word]
        elif slot == "body":
            word, values = body(rng)
            arguments.update(values)
        else:
            lines = bank("search")["topic"] if slot == "topic" else bank("slots")[slot.removesuffix("_b")]
            word, inner, _ = fill(rng, rng.choice(lines), given)
            used.update(inner)
            if slot == "prompt":
                arguments["prompt"] = word
                used["prompt"] = word
                return "\0"
        used[slot] = word
        return word

    return re.sub(r"\{(\w+)\}", one, template), used, arguments


def call(tool: str, target: str | None, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"name": tool, "arguments": ({"recording": target} if target else {}) | arguments}


def clause(
    rng: Random, name: str, scene: list[str], forms: Iterable[str] = FORMS, named: float = 0.3, explicit: bool = False
) -> Clause:
    """One request for the tool of bank `name`; `explicit` keeps to phrases that say the kind of recording."""
    sections = {form: FORMS[form] for form in forms if form in bank(name)}
    if not of_family(scene, "ecg"):
        sections.pop("ref", None)
    form = pick(rng, sections)
    lines = bank(name)[form]
    if explicit:
        lines = [line for line in lines if re.search(TELLS, line)] or lines
    template, _, query = rng.choice(lines).partition(" => ")
    wanted = "ecg" if form == "ref" else family(name)
    target, phrase, text_named = None, "", False
    if wanted:
        alike = of_family(scene, wanted) or [f"{wanted}-1"]
        target, phrase = alike[-1], point_to(rng, scene, wanted, explicit)
        if rng.random() < named and not explicit:
            target, text_named = rng.choice(alike), True
            phrase = name_recording(rng, scene, target)
    text, slots, arguments = fill(rng, template, {"rec": phrase})
    if form == "world" and name == "generate":
        arguments["prompt"] = slots["condition"]
    if text_named and "{rec}" not in template:
        short = ["{0}: {1}", "{1} {0}", "{0} {1}", "{1}, {0}"]
        long = ["{0}: {1}", "in {0}, {1}", "for {0}, {1}", "{1} in {0}", "{1} for {0}", "{1} ({0})", "{1}, {0}"]
        text = rng.choice(short if form == "terse" else long).format(phrase, text.rstrip("? "))
    if name == "search":
        arguments = {"query": fill(rng, query, slots)[0] if query else slots["topic"]}
    return Clause(text, [call(TOOLS[name][0], target, arguments)], form, slots)


def typo(rng: Random, text: str, rate: float) -> str:
    """Swap, drop, double letters and lose spaces in words; ids, numbers and short words stay whole."""
    words = text.split(" ")
    for i, word in enumerate(words):
        if len(word) < 4 or not word.isalpha() or rng.random() > rate:
            continue
        at = rng.randrange(1, len(word) - 1)
        words[i] = rng.choice(
            [
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
            ]
        )
    if len(words) > 3 and rng.random() < rate:
        at = rng.randrange(len(words) - 1)
        if (words[at] + words[at + 1]).isalpha():
            words[at : at + 2] = [words[at] + words[at + 1]]
    return " ".join(words)


def roughen(rng: Random, request: Clause) -> str:
    """The request as someone types it: case, end mark, slips. A prompt in its call is changed alike."""
    text = request.text
    if request.form in ("ask", "do") and rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if text[-1].isalnum() and request.form != "terse":
        question = re.search(QUESTION, " ".join(text.lower().split(" ")[:4])) or (request.form == "ask" and "?" in text)
        text += rng.choices(["", "?" if question else "."], [35, 65] if question else [75, 25])[0]
    style = rng.choices(["", "typos", "many", "lower", "upper", "bare"], [58, 14, 4, 15, 2, 7])[0]
    change = {
        "typos": lambda words: typo(rng, words, 0.15),
        "many": lambda words: typo(rng, words, 0.4).lower(),
        "lower": str.lower,
        "upper": str.upper,
        "bare": lambda words: re.sub(r"[.,;:?!—]+(?= |$)", "", words).replace("'", ""),
    }.get(style, str)
    for one in request.calls:
        if "\0" in text and "prompt" in one["arguments"]:
            one["arguments"]["prompt"] = change(one["arguments"]["prompt"])
            return change(text).replace("\0", one["arguments"]["prompt"])
        if "prompt" in one["arguments"] and style == "":
            return text
    if any("prompt" in one["arguments"] for one in request.calls):
        return text  # the prompt stands in the words themselves: leave both as they are
    return re.sub(r"  +", " ", change(text)).strip() or text
