"""Age, sex and heart rate out of words about an ECG to be drawn.

    said = read(folded("62-year-old man, HR 110"))      said.age_years 62.0, said.sex "M", said.heart_rate_bpm 110.0

`said.spans` are the places in the text that were understood; `said.aside` those with numbers of something else
("QRS 140 ms", "BP 120/80"), which nothing can be drawn from. Text is as `tools.drawing_phrases.folded` gives it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tools.errors import UsageError

Span = tuple[int, int]
OLDEST, SLOWEST, FASTEST = 120.0, 20.0, 300.0

_UNITS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
_SMALL = {word: i + 1 for i, word in enumerate(f"{_UNITS} eighteen nineteen".split())}
_TENS = {word: 10 * (i + 2) for i, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split())}
_SPELLED = (
    rf"(?:(?:(?:one|a)\s+hundred)(?:\s+(?:and\s+)?(?:(?:{'|'.join(_TENS)})(?:[\s-](?:{'|'.join(_SMALL)})\b)?"
    rf"|(?:{'|'.join(_SMALL)})\b))?|(?:{'|'.join(_TENS)})(?:[\s-](?:{'|'.join(_SMALL)})\b)?|(?:{'|'.join(_SMALL)})\b)"
)
N = rf"(?:(?<![\w.,])[-]?\d+(?:[.,]\d{{1,3}})?(?![\d])|\b{_SPELLED}(?![^\W_]))"
_PER_MINUTE = (
    r"(?:\s?-?b\.?\s?p\.?\s?m\b\.?|\s?/\s?min(?:ute)?\b|\s+(?:per|a|pro|por|par)\s+min(?:ut[eo])?\b"
    r"|\s?(?:heart\s?)?(?:beats?|schlagen?|latidos|pulsaciones|battements)\s*(?:/|per|a|an|each|in\s+(?:a|der)|pro|por|par|la)\s*"
    r"min(?:ut[eo])?\b|\s?(?:lpm|ppm)\b|\s?min-1\b)"
)
_LINK = (
    r"(?:[\s:=~@≈]|-(?=\s)|\b(?:is|was|of|at|to|about|around|approximately|approx|circa|ca|near|nearly|roughly|only|just"
    r"|between|from|von|bei|um|etwa|de|a|en|alrededor|with|em)\b\.?){0,12}"
)
_RATE_NAME = (
    r"\b(?:(?:normal|regular|controlled|good)\s+)?(?:(?:(?:heart|ventricular|pulse|sinus|cardiac|resting|paced)[\s-]*(?:heart\s+)?(?:rate|frequency)|heartrate"
    r"|rates?|hr|pulse|frequency|herzfrequenz|kammerfrequenz|hf|frequenz|puls|fc|frecuencia(?:\s+(?:cardiaca|ventricular))?"
    r"|frequence(?:\s+cardiaque)?)(?![^\W\d_]))"
)
_TO = r"\s?(?:-|to|and|bis|a|y)\s?"
_OTHER_UNIT = (
    r"(?:ms|msec|milliseconds?|mm(?:\s?/\s?m?[sv])?|mmhg|mmol(?:\s?/\s?l)?|meq|mv|cm|%|percent|hz|khz|s|secs?|seconds?|kg"
    r"|mg|hours?|hrs?|h|weeks?|days?|months?|minutes?|(?:degrees?|°)(?!\s*(?:av|block|heart|atrio|grad))|o'?clock|am|pm|sekunden?|stunden|grad)(?![^\W\d_])"
)
_NOT_A_RATE = rf"(?!\s*-?(?:{_OTHER_UNIT}|years?|yrs?|yo|y/o|jahre|anos|ans|leads?|[:/]\s?\d|th\b|nd\b|st\b))"
_YEARS = (
    r"(?:years?|yrs?|yr|(?<=\d)y|y(?=\s*(?:[,.;)/]|[mf]\b|wom|man\b|male|fem|old|$))"
    r"|jahren?|jahrigen?|jahriger|jahriges?|j|anos|ano|ans|anni)"
)
_AGE_UNIT = rf"(?:{_YEARS}|months?|mos?|weeks?|wks?|days?|monate?n?|wochen?|tagen?|meses|mois)"
_OLD = r"(?:[\s-]*(?:olds?\b|of\s+age\b|o\b|/\s?o\b|\.\s?o\b\.?|alt\w{0,2}\b|de\s+edad\b))"
_AGO = r"(?!\s*-?\s*(?:ago|post|after|before|earlier|later|prior|follow|history|survival|duration|hace|of\b(?!\s+age)))"
_FEMALE = (
    r"(?:wom[ae]n|females?|lady|ladies|girls?|mother|mum|mom|wife|daughter|grandmother|grandma|she|hers?|frau|weiblich\w{0,2}"
    r"|madchen|patientin|mujer|femenin[oa]|nina|femme|pregnant|maternal|schwangere?|embarazada|senora|sportlerin"
    r"|anciana|chica)"
)
_MALE = (
    r"(?:m[ae]n|males?|gentlem[ae]n|boys?|father|dad|husband|grandfather|grandpa|he|his|him|mann|mannlich\w{0,2}|junge"
    r"|hombre|varon|masculin[oa]|homme|guy|bloke|senor|anciano|chico)"
)
_SEX = rf"(?:{_FEMALE}|{_MALE})"

_AGES = [
    rf"(?P<n>{N})[\s-]*(?P<unit>{_AGE_UNIT}){_OLD}",
    rf"(?P<n>{N})[\s-]*(?:yo|y\s?/\s?o|y\.?\s?o\.?)(?:\b|(?=[mf]\b))",
    rf"\b(?:aged?|edad|alter|ages)\b{_LINK}(?P<n>{N})(?:[\s-]*(?P<unit>{_AGE_UNIT})\b)?(?:{_OLD})?",
    rf"(?P<n>{N})[\s-]*(?P<unit>{_YEARS})\b\.?{_AGO}",
    r"(?P<n>(?<![\w.,-])\d{1,3})(?=\s?[-/]?[mfw]\b(?!/))",
    rf"(?<=\b[mfw])\s?[/,]?\s?(?P<n>\d{{1,3}})\b(?!{_PER_MINUTE}){_NOT_A_RATE}",
    rf"\b(?<=\b)(?:{_SEX})\s*(?:,|\(|of|de|von)\s*(?P<n>{N})(?!{_PER_MINUTE}){_NOT_A_RATE}",
    rf"(?P<n>{N})\s+(?={_SEX}\b)",
]
_DECADE = (
    r"\b(?:in|en)\s+(?:his|her|their|the|los)\s+(?:(early|mid|late)[\s-]*)?"
    rf"(?:(\d0)\s?'?s|({'|'.join(word[:-1] + 'ies' for word in _TENS)}))\b"
)
_AGE_WORDS = {
    r"new-?borns?|neonat\w{1,3}|neugeborenes?|recien nacido": 0.0,
    r"infants?|baby|babies|saugling": 0.5,
    r"toddlers?": 2.0,
    r"child(?:ren)?|boys?|girls?|kids?|kind|nin[oa]|madchen|junge|enfant": 9.0,
    r"teen(?:ager)?s?|adolescents?|jugendlicher?|adolescente": 16.0,
    r"young|junger?|jungen|joven|jeune": 25.0,
    r"middle[\s-]aged": 50.0,
    r"elderly|old (?=(?:lady|man|woman|gentleman))|ancian[oa]|geriatric|alterer|altere|pensioner": 78.0,
    r"octogenarian": 85.0,
    r"nonagenarian": 93.0,
}
_ASIDE = [
    rf"\b(?:atrial|auricular|respiratory|respiration|breathing|vorhof)[\s-]*(?:rate|frequency|frequenz){_LINK}{N}(?:{_PER_MINUTE})?",
    r"\b(?:bp|blood\s+pressure|rr)\s*:?\s*\d{2,3}\s*/\s*\d{2,3}",
    rf"\b(?:qtc?f?|pr|pq|qrs|axis|k\+?|potassium|ef|lvef|troponin|ca|spo2|temp\w{{0,9}}|seed|nyha|height|weight|bmi)"
    rf"(?:\s+(?:interval|duration|axis|width))?\b{_LINK}(?P<n>{N}\s*(?:{_OTHER_UNIT})?)",
    rf"{N}\s*-?{_OTHER_UNIT}",
]
_ADJECTIVE = r"\b(?:prolonged|long|lengthened|wide|widened|broad|abnormal)\s*$"
_PLAIN = (
    r"\b(?:12|twelve|six|6|three|3|two|2|single|one|1)[\s-]*leads?\b|"
    r"\b\d{1,2}\s+(?:ecgs?|ekgs?|examples?|versions?|tracings?|strips?|variants?|different)\b"
)


@dataclass
class Said:
    """Numbers of a prompt; see the module. `assumed` are sentences on what stands for words without a number."""

    heart_rate_bpm: float | None = None
    age_years: float | None = None
    sex: str | None = None
    spans: list[Span] = field(default_factory=list)
    aside: list[Span] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)


def read(text: str) -> Said:
    """Everything that is a number or tells age or sex.

    Raises
    ------
    UsageError : impossible values, or two different ones of a kind.
    """
    said = Said()
    said.spans += [match.span() for match in re.finditer(_PLAIN, text)]
    said.age_years = _age(text, said)
    for pattern in _ASIDE:
        for match in re.finditer(pattern, text):
            adjective = "n" in match.groupdict() and re.search(_ADJECTIVE, text[: match.start()])
            span = match.span("n" if adjective else 0)  # of "long PR of 240 ms" only the number is set aside
            if _free(span, said.spans + said.aside):
                said.aside.append(span)
    said.heart_rate_bpm = _rate(text, said)
    said.sex = _sex(text, said)
    return said


def value(words: str) -> float:
    """ "62", "37,5" or "forty-two" as a number."""
    words = words.strip()
    if any(character.isdigit() for character in words):
        return float(words.replace(",", "."))
    parts = re.split(r"[\s-]+", words)
    total = 100 * ("hundred" in parts)
    parts = parts[parts.index("hundred") + 1 :] if total else parts
    return float(total + sum(_TENS.get(part, 0) + _SMALL.get(part, 0) for part in parts))


def checked_rate(bpm: float) -> float:
    """The rate, or a UsageError where no heart beats so."""
    if not SLOWEST <= bpm <= FASTEST:
        raise UsageError(
            f"a heart rate of {bpm:g} bpm is impossible; ask for one between {SLOWEST:g} and {FASTEST:g} bpm"
        )
    return bpm


def _age(text: str, said: Said) -> float | None:
    found: list[float] = []
    for pattern in _AGES:
        for match in re.finditer(pattern, text):
            if not _free(match.span("n"), said.spans):
                continue
            unit = (match.groupdict().get("unit") or "y")[:2]
            years = value(match["n"])
            years /= {"mo": 12, "me": 12, "we": 52.18, "wk": 52.18, "wo": 52.18, "da": 365.25, "ta": 365.25}.get(
                unit, 1
            )
            found.append(years)
            start = match.start("n") if match.re.pattern.endswith(rf"(?={_SEX}\b)") else match.start()
            said.spans.append((start, match.end()))
    for match in re.finditer(_DECADE, text):
        spelled = next((_TENS[word] for word in _TENS if (match[3] or "").startswith(word[:-1])), 0)
        years = float(match[2] or spelled) + {"early": 2, "mid": 5, "late": 8}.get(match[1] or "", 5)
        said.spans.append(match.span())
        if not found:
            said.assumed.append(f"Age assumed: {years:g} years for {match[0]!r}.")
            found.append(years)
    said_words = [
        (years, match) for words, years in _AGE_WORDS.items() for match in re.finditer(rf"\b(?:{words})(?!\w)", text)
    ]
    for years, match in said_words:
        said.spans.append(match.span())
        if not found:
            said.assumed.append(f"Age assumed: {years:g} years for {match[0].strip()!r}.")
            found.append(years)
    for years in found:
        if not 0 <= years <= OLDEST:
            raise UsageError(f"an age of {years:g} years is impossible; ask for one between 0 and {OLDEST:g}")
    return _one(found, "ages", "years")


def _rate(text: str, said: Said) -> float | None:
    found = []
    taken = [*said.spans, *said.aside]
    for pattern in (
        rf"{_RATE_NAME}{_LINK}(?P<n>(?:(?<=[\s:=])-)?\d+(?:[.,]\d{{1,3}})?|{N})(?:{_TO}(?P<to>{N}))?(?:{_PER_MINUTE})?",
        rf"(?P<n>{N})(?:{_TO}(?P<to>{N}))?{_PER_MINUTE}",
        rf"(?:\b(?:at|bei)\b|@)\s*(?:about|around|a\s+rate\s+of|only)?\s*(?P<n>{N})(?:{_TO}(?P<to>{N}))?{_NOT_A_RATE}",
    ):
        for match in re.finditer(pattern, text):
            if _free(match.span(), taken):
                low = value(match["n"])
                high = abs(value(match["to"])) if match["to"] else low
                found.append((checked_rate(low) + checked_rate(high)) / 2)
                said.spans.append(match.span())
                taken.append(match.span())
    return _one(found, "heart rates", "bpm")


def _sex(text: str, said: Said) -> str | None:
    found = set()
    letters = (
        r"(?<=\d)\s?[-/]?{0}\b(?!/)|\b{0}(?=\s?[/,]?\s?\d{{1,3}}\b)|(?<=yo){0}\b"
        r"|\b(?:sex|geschlecht|sexo|gender)\s*[:=]?\s*{0}\b"
    )
    after_age = r"|(?:yo|y/o|old|years?|yrs?|(?<=\d)y)[\s,]+{0}\b"
    for sex, words, letter in (("F", _FEMALE, "[fw]"), ("M", _MALE, "m")):
        for match in re.finditer(rf"\b{words}(?!\w)|{(letters + after_age).format(letter)}", text):
            found.add(sex)
            said.spans.append(match.span())
    if len(found) > 1:
        raise UsageError("the words name two sexes; an ECG is drawn of one person, a woman or a man")
    return found.pop() if found else None


def _one(found: list[float], what: str, unit: str) -> float | None:
    different = sorted(set(found))
    if len(different) > 1:
        raise UsageError(f"two different {what}: {different[0]:g} and {different[-1]:g} {unit}; ask for one")
    return different[0] if different else None


def _free(span: Span, taken: list[Span]) -> bool:
    return all(span[1] <= start or end <= span[0] for start, end in taken)
