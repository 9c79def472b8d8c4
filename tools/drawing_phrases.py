"""The phrases for what an ECG shows: how a statement is said, and what a phrase says.

    phrases("AFIB")                       ("atrial fibrillation", "AF", "AFib", …): the first is what a drawing is told
    sentence(("AFIB", "CLBBB"))           "atrial fibrillation. complete left bundle branch block."
    sentence(("AFIB", "CLBBB"), rng)      "LBBB pattern with AF"
    lexicon()["af",]                      Meaning(("AFIB",), "statements", …)

The phrases are in drawing_phrases.txt; what follows from a pattern (degrees of AV block, places of infarction,
ischaemia and injury) is built here. Keys of the lexicon are `key(phrase)`: neither case, accents, plurals, hyphens nor
small words make a difference.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

from tools.scp import STATEMENTS

if TYPE_CHECKING:
    from numpy.random import Generator

FILE = Path(__file__).with_name("drawing_phrases.txt")
SKIPPED = frozenset("the an of in der die das des dem de del du".split())  # inside a phrase
JOINED = frozenset("non pre antero infero postero bi supra intra micro brady tachy".split())  # "pre-excitation"
SAME = {
    "&": "and", "+": "and", "/": "and", "und": "and", "y": "and", "et": "and", "°": "degree", "º": "degree",
    "inf": "inferior", "ant": "anterior", "lat": "lateral",
    "rythm": "rhythm", "rhytm": "rhythm", "rhythym": "rhythm",
}  # fmt: skip
NO_WORDS = frozenset({"EL", "DIG", "PACE"})  # codes that are words of their own in English or Spanish
JOINS = (". ", ", ", " and ", " with ", "; ")

DEGREES = {"1AVB": "first 1st 1 i primer erste ersten", "2AVB": "second 2nd 2 ii segundo zweite zweiten",
           "3AVB": "third 3rd 3 iii tercer dritte dritten"}  # fmt: skip
BLOCKS = (
    "{} degree AV block", "{} degree atrioventricular block", "{} degree heart block", "{} degree block",
    "{} degree AVB", "AV block {}", "AV block {} degree", "AV block grade {}", "AV block {} grade", "AV block {} grad",
    "grade {} AV block", "{} grade AV block", "AVB {}", "bloqueo AV {} grado", "bloqueo auriculoventricular {} grado",
    "BAV {} grado", "AV block degree {}", "heart block {} degree",
)  # fmt: skip
PLACES = {
    "anterior": ("AMI", "", "ISCAN"),
    "anteroseptal": ("ASMI", "INJAS", "ISCAS"),
    "septal": ("ASMI", "INJAS", "ISCAS"),
    "anterolateral": ("ALMI", "INJAL", "ISCAL"),
    "lateral": ("LMI", "INJLA", "ISCLA"),
    "high lateral": ("LMI", "INJLA", "ISCLA"),
    "inferior": ("IMI", "INJIN", "ISCIN"),
    "inferolateral": ("ILMI", "INJIL", "ISCIL"),
    "posterior": ("PMI", "", ""),
    "inferoposterior": ("IPMI", "", ""),
    "posterolateral": ("PMI", "", ""),
    "inferoposterolateral": ("IPLMI", "", ""),
}  # place: infarction, injury, ischaemia
TOGETHER = {"anterior lateral": "anterolateral", "anterior septal": "anteroseptal", "inferior lateral": "inferolateral",
            "inferior posterior": "inferoposterior"}  # fmt: skip
NOUNS = (
    "MI | myocardial infarction | infarction | infarct | myocardial infarct | heart attack | infarkt | myokardinfarkt |"
    " infarto | infarto de miocardio | infarctus",
    "injury | subendocardial injury | injury current",
    "ischemia | ischemic changes | myocardial ischemia | ischämie | isquemia | ischemic ECG",
)
ACUTE = (
    "STEMI | ST elevation MI | ST elevation myocardial infarction | ST elevation infarct | acute STEMI |"
    " STEMI equivalent | ST elevation | elevated ST segments | ST-Hebungsinfarkt | IAMCEST | SCACEST"
)
AROUND = ("{0} {1}", "{1} {0}", "{0} wall {1}", "{1} {0} wall", "{1} {0} leads", "{0} leads {1}", "{1} {0} wall leads")
COMMONEST = "IMI"  # of infarctions in PTB-XL


@dataclass(frozen=True)
class Meaning:
    """What a phrase says.

    Attributes
    ----------
    codes : statements. kind : the section of the file: "statements", "nearest", "assumed", "unlabelled", "without", ….
    rate_bpm : a rate that its words suggest. bound : ">" the rate must be fast, "<" slow. name : of what has no label.
    """

    codes: tuple[str, ...]
    kind: str
    rate_bpm: float | None = None
    bound: str = ""
    name: str = ""


@dataclass(frozen=True)
class Token:
    """A word, a number or a mark: `norm` for comparing, `text[start:end]` as written."""

    norm: str
    start: int
    end: int

    @property
    def is_word(self) -> bool:
        return any(character.isalnum() for character in self.norm)


def phrases(code: str) -> tuple[str, ...]:
    """All wordings of a statement that drawings are learnt from, the canonical one first; () of an unknown code."""
    return _sections()[0].get(code, ())


def sentence(codes: Sequence[str], rng: Generator | None = None) -> str:
    """The codes in words: each in its first wording and in this order, or with `rng` any wording, order and joining."""
    if rng is None:
        return " ".join(f"{phrases(code)[0]}." for code in codes)
    said = ""
    for i in rng.permutation(len(codes)):
        said += JOINS[rng.integers(len(JOINS))] if said else ""
        said += phrases(codes[i])[rng.integers(len(phrases(codes[i])))]
    return said


def folded(text: str) -> str:
    """Lower case without accents, character by character, so that places in it are places in `text`."""
    out = []
    for character in text:
        plain = character if character in "°º" else (unicodedata.normalize("NFKD", character) or " ")[0]
        out.append((plain.lower() or " ")[0])
    return "".join(out).translate(str.maketrans("\u2010\u2011\u2012\u2013\u2014\u2212\u2019", "------'"))


_TOKEN = re.compile(r"\bw/(?:o(?:ut)?\b)?|\d+:\d+|\d+(?:[.,]\d+)?|[^\W\d_]+(?:'[^\W\d_]+)?|\S|\n")


def tokens(text: str) -> list[Token]:
    """Words, numbers and marks of folded text; hyphens and underscores part words, nothing more."""
    out: list[Token] = []
    for match in _TOKEN.finditer(text):
        raw, start, end = match[0], match.start(), match.end()
        if raw in "-_'\"":
            continue
        if (
            raw == "."
            and out
            and out[-1].norm in {"1", "2", "3", "i", "ii", "iii"}
            and text[end:].lstrip()[:4] == "grad"
        ):
            continue  # "AV-Block 1. Grades"
        if out and out[-1].norm in JOINED and raw.isalpha() and (text[start - 1] == "-" or out[-1].norm == "non"):
            first = out.pop()
            raw, start = first.norm + raw, first.start
        out.append(Token(_norm(raw), start, end))
    return out


def _norm(word: str) -> str:
    """British and American spelling, plural and singular made one."""
    if word in SAME:
        return SAME[word]
    if word.startswith("w/"):
        return "without" if word.startswith("w/o") else "with"
    word = word.removesuffix("'s").replace("'", "").replace("ae", "e").replace("isation", "ization")
    plural = len(word) > 2 and word.endswith("s") and not word.endswith(("ss", "us")) and word not in ("qrs", "his")
    singular = len(word) > 4 and word.endswith("is") and not word.endswith("emis")  # "axis", but "STEMIs"
    return word[:-1] if plural and not singular else word or "'"


def key(phrase: str) -> tuple[str, ...]:
    """What the lexicon knows a phrase by."""
    return tuple(token.norm for token in tokens(folded(phrase)) if token.is_word and token.norm not in SKIPPED)


@lru_cache(maxsize=1)
def lexicon() -> dict[tuple[str, ...], Meaning]:
    """{key: meaning} of every phrase; where a pattern and the file say a phrase, the file is believed."""
    return {key(phrase): meaning for phrase, meaning in (*_patterns(), *_sections()[1])}


@lru_cache(maxsize=1)
def fillers() -> frozenset[str]:
    return frozenset(_norm(folded(word)) for word in _sections()[2])


@lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """Words of six letters or more, for mending typing errors."""
    known = {word for words in lexicon() for word in words} | fillers()
    return frozenset(word for word in known if len(word) >= 6)


@lru_cache(maxsize=1)
def learnt_words() -> frozenset[str]:
    """Words of the wordings that drawings are learnt from."""
    return frozenset(word for code in STATEMENTS for phrase in phrases(code) for word in key(phrase))


@lru_cache(maxsize=1)
def _sections() -> tuple[dict[str, tuple[str, ...]], list[tuple[str, Meaning]], list[str]]:
    """Of the file: phrases of each code, (phrase, meaning) of all sections, fillers."""
    learnt: dict[str, tuple[str, ...]] = {}
    found: list[tuple[str, Meaning]] = []
    filler: list[str] = []
    kind = ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            kind = line[1 : line.index("]")]
        if " = " not in line or line.startswith("#"):
            continue
        left, right = line.split(" = ", 1)
        said = tuple(phrase.strip() for phrase in right.split("|"))
        if kind == "filler":
            filler += right.split()
            continue
        if kind == "statements":
            learnt[left] = said
        meaning = _meaning(left.split(), kind, left)
        found += [(phrase, meaning) for phrase in said]
    return learnt, found, filler


def _meaning(words: list[str], kind: str, name: str) -> Meaning:
    codes = tuple(word for word in words if word in STATEMENTS)
    if kind == "rate":
        bound = next((word for word in words if word in "<>"), "")
        return Meaning(codes, kind, float(words[0]), bound)
    return Meaning(codes, kind, name=name)


def _patterns() -> Iterator[tuple[str, Meaning]]:
    """Phrases that follow from a pattern, and the codes themselves."""
    for code in STATEMENTS:
        if code not in NO_WORDS and phrases(code):
            for part in code.split("/"):
                yield part, Meaning((code,), "statements")
    for code, said in DEGREES.items():
        for degree in said.split():
            yield from ((block.format(degree), Meaning((code,), "statements")) for block in BLOCKS)
    for nouns in (*NOUNS, ACUTE):
        for noun in (noun.strip() for noun in nouns.split("|")):
            yield from _placed(noun, NOUNS.index(nouns) if nouns in NOUNS else 0, nouns == ACUTE)
    for noun in NOUNS[0].split("|"):
        yield noun, Meaning((COMMONEST,), "assumed")
    for noun in ACUTE.split("|"):
        yield noun, Meaning((COMMONEST, "STE_"), "assumed")
    for phrase in ("AMI", "IAM", "acute coronary occlusion"):
        yield phrase, Meaning(("AMI",), "assumed")


def _placed(noun: str, column: int, acute: bool) -> Iterator[tuple[str, Meaning]]:
    """`noun` at every place, and at two places at once."""

    def of(place: str) -> tuple[str, ...]:
        code = PLACES[place][column]
        return (code,) if code else ()

    for place in PLACES:
        if codes := of(place):
            meaning = Meaning((*codes, "STE_") if acute else codes, "statements")
            yield from ((form.format(place, noun), meaning) for form in AROUND)
    for one, other in permutations(PLACES, 2):
        joint = TOGETHER.get(f"{one} {other}") or TOGETHER.get(f"{other} {one}")
        codes = of(joint) if joint else of(one) + of(other)
        if of(one) and of(other):
            meaning = Meaning((*dict.fromkeys(codes), "STE_") if acute else tuple(dict.fromkeys(codes)), "statements")
            yield from ((f"{one} and {other} {noun}", meaning), (f"{noun} {one} and {other}", meaning))
            yield from ((f"{one} {other} {noun}", meaning),) if joint else ()
