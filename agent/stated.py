"""What the person says of the patient, for a tool's arguments: age, sex, height, weeks of gestation.

    checked({"name": "read_spirogram", "arguments": {"recording": "spirogram-1", "age": 45}},
            "a woman of 54, 1.62 m, is that obstruction?", [])   ->   age 54, sex "F", height_cm 162

A small language model miscopies numbers and makes up what was not said, so a call holds what these patterns hear, and
of the model's own numbers those alone that stand in the words. English, with a little of seven other languages.
"""

from __future__ import annotations

import re
from typing import Any

from agent.prompts import Call, kind_of
from tools.errors import EinthovenError
from tools.registry import MAKERS
from tools.scp import STATEMENTS

YEARS = r"(?:y\b|yo\b|y/o|y\.o|yrs?\b|years?\b|[- ]year|Jahre?\b|jährig|J\b|ans\b|años|anni\b|anos\b|jaar\b|år\b)"
LASTING = "for last past smoked after over about seit depuis hace al".split()  # no age follows these
AGES = (
    "".join(rf"(?<!\b{word} )" for word in LASTING)
    + rf"\b(\d{{1,3}}(?:\.\d)?)[ -]?{YEARS}(?!\w* (?:ago|later|of|smok|before|after))",
    r"\b(?:aged?|Alter|âge|edad|età|idade)[: ]+(?:is |of |now )?(\d{1,3})\b(?! ?(?:cm|kg|%|weeks|w\b))",
    r"\b(?:wom[ae]n|man|lady|male|female|girl|boy|chap|gentleman|Frau|Mann|femme|homme|mujer|hombre|vrouw)"
    r"(?:,| of| is| at| von| de| van)? (\d{1,3})\b(?! ?(?:cm|kg))",
    r"\b(?:s?he|patient|who|I)(?:'s|'m| is| am) (\d{1,3})\b(?! ?(?:cm|kg))",
    r"(?<![\d.,])(\d{1,3}) ?[MF]\b",
    r"(?<![\d'’])(?<!\d )\b[MF] ?(\d{2})\b(?! ?(?:cm|kg))",
)
CENTIMETRES = r"\b(1\d\d|2[0-2]\d|[89]\d)(?:\.\d)? ?-?cm\b"
METRES = r"\b([12]) ?(?:m ?(\d\d)\b|[.,] ?(\d\d) ?(?:m\b|metres|meters|tall|mètres?|groß))"  # a bare 1.85 may be litres
ALONE = r"[,;] ?(1\.[3-9]\d|2\.0\d) ?(?=$|[,;?!)]|\.\s|\.$)"  # but not after the name of a volume
FEET = (
    r"\b([3-7])(?: ?['’] ?(1[01]|\d)\b"
    r"|[ -]?(?:ft|feet|foot)\b\.?(?:,? ?(?:and )?-?(1[01]|\d)(?!\d| ?(?:y|cm|kg|%)))?)"
)
TALL = r"\b(?:height|tall|size|Größe|taille)[: ]+(?:is |of )?(\d{3})\b|\b(\d{3}) tall\b"
MADE = re.compile(
    r"\b(?:you|that was|just)(?: have)?(?: just)? (?:drew|drawn|made|generated|created|rebuilt|simulated)\b"
    r"|\b(?:the|that|this|your) (?:drawing|drawn|synthetic|simulated|rebuilt|generated|reconstructed)\b",
    re.IGNORECASE,
)
LETTER = r"(?<!\d)(?<!\d )(?<!['’])\b{}\b(?!/(?!\d))"  # no metre, no "I'm", no "w/"
FEMALE = (
    LETTER.format("[fw]")
    + r"|\b(?:female|wom[ae]n|lady|ladies|girl|she|her|hers|mrs|ms|miss|mother|mum|mom|wife|sister|daughter|aunt|"
    r"grandma|grandmother|granny|frau|weiblich|patientin|mutter|oma|tochter|femme|mère|fille|elle|patiente|"
    r"hija|dochter|mevrouw|kvinna|mujer|señora|madre|mamá|abuela|donna|signora|nonna|mulher|senhora|mãe|vrouw|moeder)\b"
)
MALE = (
    LETTER.format("m") + r"|\b(?:male|man|men|gentleman|boy|chap|guy|bloke|he|his|him|mr|father|dad|"
    r"husband|brother|son|uncle|grandpa|grandfather|herr|mann|männlich|vater|opa|sohn|homme|père|fils|varón|"
    r"hijo|zoon|meneer|hombre|señor|padre|papá|abuelo|uomo|signore|nonno|homem|senhor|pai|vader)\b"
)
PLUS = r"\b([2-4]\d)(?: ?\+ ?| ?(?:w|wks?|weeks?|SSW),? ?(?:and|plus|\+|et|und|y)? ?)([0-6])(?: ?d(?:ays?)?| ?/ ?7)?\b"
WEEKS = r"\b([2-4]\d)(?:[.,](\d))? ?-?(?:w\b|wks?\b|weeks?|SSW|SA\b|semaines|semanas|settimane|weken|Wochen)"
DAYS = r"\b([12]\d\d|3[0-2]\d) ?(?:d\b|days|Tagen?|jours|días|giorni|dias|dagen)"
A_NEW_ONE = re.compile(
    r"\b(?:an?|another|some|\d+|eine?n?|une?|un[ao]?|uma?|een)\s+(?:[\w-]+\s+){0,3}"
    r"(?:ecg|ekg|electrocardiogram|tracing|trace|strip)s?\b",
    re.IGNORECASE,
)
THEIRS = re.compile(
    r"\b(?:this|these|same|his|hers?|him|s?he|my|our|their|patient|person|ecg-\d+|dies\w*|sein\w*|ihr\w*|mein\w*"
    r"|même|mism[oa]|stess[oa])\b",
    re.IGNORECASE,
)
NUMBERS = "two three four five six seven eight nine ten".split()
HOW_MANY = (
    rf"\b({'|'.join(NUMBERS)}|[2-9]|1\d|2\d|3[0-2]) (?:more|other|others|different|new|synthetic)?\b ?"
    r"(?:(?:more|like)\b|(?:\w+ )?(?:ecgs|ekgs|tracings|traces|strips|versions|drawings)\b)"
)
BARE = re.compile(
    r"\W*(?:and )?(?:where|why|how so|how come|which (?:leads?|wall))(?: (?:exactly|so|that))?\W*$", re.IGNORECASE
)
IT = re.compile(r"\b(?:it|its|that|this)\b", re.IGNORECASE)
ADDED = re.compile(r"\b(?:add|also|plus|too|as well|in addition|on top)\b", re.IGNORECASE)
FASTER = re.compile(r"\b(?:faster|quicker|slower)\b", re.IGNORECASE)
USUAL_BPM = 75.0
LIKE_IT = re.compile(r"\b(?:more|another|again|same|like (?:that|it|this)|others?|noch|encore)\b", re.IGNORECASE)
GOES_ON = re.compile(  # what these stand for was said before
    r"^\W*(?:and|what about|how about|but|or|why|und|et|y)\b|^\W*\S+(?:\s+\S+)?\W*$"
    r"|\b(?:it|its|that|this|those|these|they|them|there|s?he|his|her|one|same|more|else)\b",
    re.IGNORECASE,
)
SPELT = r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|\w+teen|\w+ty(?:-\w+)?|hundred|a dozen|pair)\b"


PULSE = re.compile(
    r"\b(?:(?:pulse|heart|beat)[ -]?rate|hr|bpm|rate|how (?:fast|quick|slow)|(?:ir)?regular\w*|steady|racing"
    r"|tachycard\w*|bradycard\w*|beats? (?:a|per) (?:minute|min)|Puls|Pulsfrequenz|pouls|pulso|polso|frequenza"
    r"|hartslag)\b",
    re.IGNORECASE,
)
NO_PULSE = re.compile(r"\b(?:respir\w*|breath\w*|atem\w*|pressure|saturation|spo2|oxygen)\b", re.IGNORECASE)


INTO_ECG = re.compile(
    r"\b(?:turn|convert|translate|transform|make|change)\b.{0,40}\binto\b.{0,12}\b(?:ecg|ekg)\b", re.IGNORECASE
)


def of_a_pulse(question: str, ids: list[str]) -> list[Call]:
    """The call that tells rate and regularity where a pulse wave is loaded and no ECG, if the words ask for them; or
    that turns it into an ECG, whatever else is loaded."""
    kinds = {kind_of(name) for name in ids}
    asked = PULSE.search(question) and "ecg" not in kinds
    if "ppg" not in kinds or NO_PULSE.search(question) or not (asked or INTO_ECG.search(question)):
        return []
    pulses = [name for name in ids if kind_of(name) == "ppg"]
    return [{"name": "ppg_to_ecg", "arguments": {"recording": next((n for n in pulses if n in question), pulses[0])}}]


def of_before(question: str, history: list[dict[str, Any]]) -> list[Call]:
    """The reading that a bare "where?" or "why?" asks on about; [] where it is no such question."""
    last = history[-1]["calls"] if history else []
    read = [{"name": one["name"], "arguments": one["arguments"]} for one in last if one["name"] == "interpret_ecg"]
    return read if BARE.match(question) else []


def checked(call: Call, question: str, history: list[dict[str, Any]]) -> Call:
    """The call with what was said, now or of this recording before, in place of what the model gave."""
    if call["name"] == "generate_ecg":
        call = _of_a_drawing(call, question, history)
    name, arguments = call["arguments"].get("recording"), dict(call["arguments"])
    same = [turn for turn in history if name in {one["arguments"].get("recording") for one in turn["calls"]}]
    texts = [question, *(turn["user"] for turn in reversed(same))]
    hearers = HEARD.get(call["name"], ())
    doubtful = {"seed", "count", "age", "height_cm"}
    arguments = {
        key: value for key, value in arguments.items()
        if key not in ("sex", "weeks", "gestational_age_days") and (key not in doubtful or _said(value, texts))
    }  # fmt: skip
    if call["name"] == "generate_ecg":
        arguments |= _how_many(arguments, question, history)
    return {**call, "arguments": arguments | _first(texts, *hearers)}


def _how_many(arguments: dict[str, Any], question: str, history: list[dict[str, Any]]) -> dict[str, Any]:
    """ "Three more" are three, and others than those drawn of the same words before."""
    more: dict[str, Any] = {}
    if found := re.search(HOW_MANY, question, re.IGNORECASE):
        more["count"] = NUMBERS.index(found[1].lower()) + 2 if found[1].lower() in NUMBERS else int(found[1])
    before = [one["arguments"] for turn in history for one in turn["calls"] if one["name"] == "generate_ecg"]
    alike = [one for one in before if one.get("prompt") == arguments.get("prompt")]
    if alike and "seed" not in arguments and LIKE_IT.search(question):
        more["seed"] = max(one.get("seed", 0) + one.get("count", 1) for one in alike)
    return more


def of_what_was_made(call: Call, question: str, history: list[dict[str, Any]], ids: list[str]) -> Call:
    """The call on the newest ECG, where the person speaks of one that a tool made: "measure what you drew"; and on the
    recorded one where nobody speaks of what was drawn from a pulse wave."""
    ecgs = [name for name in ids if kind_of(name) == "ecg"]
    made = any(one["name"] in MAKERS for turn in history for one in turn["calls"])
    if not (made and call["arguments"].get("recording") in ecgs):
        return call
    if MADE.search(question):
        return {**call, "arguments": {**call["arguments"], "recording": ecgs[-1]}}
    calls = [one for turn in history for one in turn["calls"] if one["name"] == "ppg_to_ecg"]
    drawn = [name for one in calls for name in one.get("made", [])]
    recorded, asked_of = [name for name in ecgs if name not in drawn], call["arguments"]["recording"]
    if drawn and INTO_ECG.search(history[-1]["user"]) and IT.search(question):  # "turn it into an ECG", "measure it"
        return {**call, "arguments": {**call["arguments"], "recording": drawn[-1]}}
    if asked_of not in drawn or asked_of in question or not recorded:
        return call
    return {**call, "arguments": {**call["arguments"], "recording": recorded[0]}}


def age(text: str) -> float | None:
    """Years."""
    text = re.sub(FEET, "", text, flags=re.IGNORECASE)  # "a man, 5 ft, 11 in"
    heard = [float(m[1]) for pattern in AGES for m in re.finditer(pattern, text, re.IGNORECASE)]
    if heard := [years for years in heard if 3 <= years <= 110]:  # "male, 177" and "1 m 64" are no ages
        return heard[0]
    bare = [float(one) for one in _bare(text) if 3 <= float(one) <= 99 and "." not in one]
    return bare[0] if len(bare) == 1 else None


def sex(text: str) -> str | None:
    """ "F", "M", or None where neither or both are heard."""
    heard = [letter for letter, words in (("F", FEMALE), ("M", MALE)) if re.search(words, text, re.IGNORECASE)]
    if not heard:
        heard = [letter.upper() for letter in re.findall(r"\b\d{1,3} ?([MFmf])\b", text)]
    return heard[0] if len(set(heard)) == 1 else None


def height_cm(text: str) -> float | None:
    if found := re.search(CENTIMETRES, text, re.IGNORECASE):
        return float(found[1])
    if found := re.search(METRES, text, re.IGNORECASE):
        return float(found[1] + (found[2] or found[3]))
    if found := re.search(FEET, text, re.IGNORECASE):
        return round(30.48 * int(found[1]) + 2.54 * int(found[2] or found[3] or 0), 1)
    if found := re.search(TALL, text, re.IGNORECASE):
        return float(found[1] or found[2])
    if found := re.search(ALONE, text):
        return round(100 * float(found[1]), 1)
    bare = [float(one) for one in _bare(text) if 100 <= float(one) <= 220]
    return bare[0] if len(bare) == 1 else None


def gestational_age_days(text: str) -> float | None:
    """ "39+2", "40 weeks", "38.5 wk" or "279 days", in days."""
    if found := re.search(PLUS, text, re.IGNORECASE):
        return 7.0 * int(found[1]) + int(found[2])
    if found := re.search(WEEKS, text, re.IGNORECASE):
        return round(7 * float(f"{found[1]}.{found[2] or 0}"), 1)
    found = re.search(DAYS, text, re.IGNORECASE)
    return float(found[1]) if found else None


def _of_a_drawing(call: Call, question: str, history: list[dict[str, Any]]) -> Call:
    """A call to draw as it is meant: "an ECG of a woman with LBBB" is nobody's who is loaded; where the model copied an
    earlier wish, or left out what is said now, the question itself is drawn; "more like that" is the last wish."""
    arguments = dict(call["arguments"])
    if A_NEW_ONE.search(question) and not THEIRS.search(question):
        arguments.pop("recording", None)
    prompt = arguments.get("prompt", "")
    wishes = [one["arguments"].get("prompt", "") for turn in history for one in turn["calls"]]
    last = next((heard for wish in reversed(wishes) if (heard := _to_draw(wish))), {})
    if last and not A_NEW_ONE.search(question) and (changed := _changed(last, question)) != last:
        return {**call, "arguments": {**arguments, "prompt": _worded(changed)}}
    asked, given = _to_draw(question), _to_draw(prompt)
    if {"statements"} <= asked.keys() and (
        not asked["statements"] & given.get("statements", set()) or asked.keys() - given.keys()
    ):
        arguments["prompt"] = question
    elif given and (left_out := asked.keys() - given.keys()) and left_out != {"statements"}:
        arguments["prompt"] = f"{prompt}, {question}"
    elif not given and not asked and LIKE_IT.search(question):
        arguments["prompt"] = next((wish for wish in reversed(wishes) if _to_draw(wish)), prompt)
    return {**call, "arguments": arguments}


def _changed(last: dict[str, Any], question: str) -> dict[str, Any]:
    """The last wish as a question changes it: "make it 120 bpm", "faster", "add AF", "a man instead"."""
    asked = _to_draw(question)
    changed = {**last, **{name: value for name, value in asked.items() if name != "statements"}}
    if "statements" in asked and ADDED.search(question):
        changed["statements"] = last.get("statements", set()) | asked["statements"]
    elif "statements" in asked:
        return last  # another wish
    if "heart_rate_bpm" not in asked and (found := FASTER.search(question)):
        factor = 1.25 if found[0].lower() in ("faster", "quicker") else 0.8
        changed["heart_rate_bpm"] = 5.0 * round(last.get("heart_rate_bpm", USUAL_BPM) * factor / 5)
    return changed


def _worded(heard: dict[str, Any]) -> str:
    """Words that are heard as that."""
    from tools.drawing_words import phrases

    said = [phrases(code)[0] for code in sorted(heard.get("statements", ()))]
    said += [f"{heard['heart_rate_bpm']:g} bpm"] if "heart_rate_bpm" in heard else []
    said += [f"{heard['age_years']:g} years old"] if "age_years" in heard else []
    said += [{"F": "woman", "M": "man"}[heard["sex"]]] if "sex" in heard else []
    return ", ".join(said)


def _to_draw(text: str) -> dict[str, Any]:
    """What a text asks to be drawn: SCP codes, rate, age, sex; nothing where it cannot be read as such."""
    from tools.drawing_words import understood

    try:
        condition = understood(text, tuple(STATEMENTS))
    except EinthovenError:
        return {}
    heard = {
        "statements": set(condition.statements),
        **{name: getattr(condition, name) for name in ("heart_rate_bpm", "age_years", "sex")},
    }
    return {name: value for name, value in heard.items() if value}


HEARD = {"read_spirogram": (age, sex, height_cm), "estimate_fetal_age": (gestational_age_days,)}


def _first(texts: list[str], *hearers: Any) -> dict[str, Any]:
    """What each of `hearers` hears, in the newest text where it hears something."""
    heard = {hear.__name__: next((v for v in map(hear, texts) if v is not None), None) for hear in hearers}
    return {name: value for name, value in heard.items() if value is not None}


def _bare(text: str) -> list[str]:
    """Numbers that stand alone between commas, as in "f, 33, 171"."""
    return re.findall(r"(?:^|[,;/?!(]|\. ) ?(?:[mf] )?(\d+(?:\.\d+)?) ?(?:[mf] ?)?(?=$|[,;/.?!)])", text, re.IGNORECASE)


def _said(value: Any, texts: list[str]) -> bool:
    """Whether a number of the model's stands in the words, in digits or, as far as can be told, spelt."""
    if not isinstance(value, int | float):
        return True
    return any(re.search(rf"(?<![\d.]){value:g}(?![\d.]*\d)", text) or re.search(SPELT, text, re.I) for text in texts)
