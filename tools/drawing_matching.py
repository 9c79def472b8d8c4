"""Words to phrases: which of them say what, what is negated, what nothing knows.

    words = without(tokens(text), spans)      what numbers have taken is out
    hits = negated(words, matched(words))     phrases of the lexicon, the longest first
    left_over(prompt, words, taken, hits)     what no phrase and no filler is

Negation reaches from its word to the end of the clause: "no ST elevation, AF" denies one, "without LBBB, RBBB or ST
elevation" all three, and so does what follows a finding ("ST elevation: none").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tools.drawing_phrases import SKIPPED, Meaning, Token, fillers, learnt_words, lexicon, vocabulary

BREAKS = frozenset(".;:()[]!?\n")
UNTIL = frozenset({"but", "however", "with", "mit", "con", "avec", "aber", "pero", "mai", "although", "instead"})
OR = frozenset({"or", "nor", "oder", "ni", "ou", "o"})
NOT = frozenset("no not never neither nor kein keine keinen keiner nicht pas isnt doesnt dont none".split())
WITHOUT = frozenset("without absence absent lacking lack ohne sin sans minus excluding denie except".split())
AFTER = frozenset({"absent", "excluded", "none", "ruled", "missing", "negative", "lacking"})
SEEN = frozenset({"present", "seen", "visible", "there"})
SHORTEST = 6  # letters of a word whose typing errors are mended
NO_ERRORS = frozenset("frequent interior systole systolic mitral".split())  # words of their own beside a known one
OF_ANOTHER = frozenset("qrs qt qtc pr pq axis potassium ef troponin".split())  # numbers after these are no rates
PLAUSIBLE = (25, 250)  # a number without a unit is a rate where it lies between


@dataclass(frozen=True)
class Hit:
    """Tokens first … last say `meaning`."""

    first: int
    last: int
    meaning: Meaning
    negated: bool = False


def without(found: list[Token], spans: list[tuple[int, int]]) -> list[Token]:
    """Tokens that no span has, a comma in place of each span."""
    commas = [Token(",", *span) for span in spans]
    kept = [token for token in found if all(token.end <= start or end <= token.start for start, end in spans)]
    return sorted([*kept, *commas], key=lambda token: token.start)


_LEAD = r"(?:a?v[rlf]|iii|ii|i|v[1-9])"
_LEADS = re.compile(
    rf"(?<!\w)(?:leads?\s+)?{_LEAD}(?:\s*(?:,\s*and|,|and|&|-|to|/|\+|und|bis|y|a)\s*{_LEAD}(?!\w))+|\bleads?\s+{_LEAD}(?!\w)"
)
_TERRITORIES = {
    "inferior": {"ii iii avf", "ii avf", "iii avf", "ii iii"},
    "anteroseptal": {"v1 v4", "v1 v3", "v1 v2", "v1 v2 v3", "v1 v2 v3 v4", "v2 v4", "v2 v3"},
    "anterior": {"v3 v4", "v2 v5", "v1 v6", "v1 v5", "v2 v6", "v2 v3 v4"},
    "lateral": {"i avl", "v5 v6", "i avl v5 v6", "v5 v6 i avl", "i avl v6"},
    "anterolateral": {"v3 v6", "v4 v6", "i avl v3 v6", "i avl v4 v6", "v3 v4 v5 v6", "v4 v5 v6"},
    "inferolateral": {"ii iii avf v5 v6", "ii iii avf v6", "ii iii avf v4 v6"},
}


def leads(text: str, words: list[Token]) -> list[Token]:
    """A list of leads becomes one token, named by the wall that they look at."""
    for match in _LEADS.finditer(text):
        listed = " ".join(re.findall(rf"(?<!\w){_LEAD}(?!\w)", match[0]))
        inside = [i for i, word in enumerate(words) if match.start() <= word.start and word.end <= match.end()]
        if len(inside) < 2:
            continue
        wall = next((name for name, lists in _TERRITORIES.items() if listed in lists), "leadlist")
        words = [*words[: inside[0]], Token(wall, *match.span()), *words[inside[-1] + 1 :]]
    return words


def mended(prompt: str, words: list[Token]) -> tuple[list[Token], list[str]]:
    """Long words one typing error from a known one, put right; where several are as near, an English one."""
    out, said = [], []
    for word in words:
        near: list[str] = []
        if len(word.norm) >= SHORTEST and word.norm.isalpha() and word.norm not in vocabulary() | NO_ERRORS:
            near = [known for known in vocabulary() if _one_apart(word.norm, known)]
            near = near if len(near) < 2 else [known for known in near if known in learnt_words()]
        if len(near) == 1 and (near[0][0] == word.norm[0] or len(near[0]) != len(word.norm)):
            if near[0] not in fillers():
                said.append(f'"{prompt[word.start : word.end]}" was read as "{near[0]}".')
            word = replace(word, norm=near[0])
        out.append(word)
    return out, said


def _one_apart(one: str, other: str) -> bool:
    """One letter more, less or other, or two neighbours exchanged."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(one), len(other)) and one[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(one), len(other)) - start and one[-1 - end] == other[-1 - end]:
        end += 1
    a, b = one[start : len(one) - end], other[start : len(other) - end]
    return max(len(a), len(b)) == 1 or (len(a) == 2 and a == b[::-1])


def matched(words: list[Token]) -> list[Hit]:
    """Phrases of the lexicon, the longest first; across commas, and vague ones, only of what is then left."""
    known, longest = lexicon(), max(len(phrase) for phrase in lexicon())
    hits: list[Hit] = []
    taken: set[int] = set()
    for breaks in (BREAKS | {","}, BREAKS):
        vague = breaks == BREAKS  # "AV block, third degree" is no AV block of any degree
        for run in _runs(words, breaks):
            for length in range(min(longest, len(run)), 0, -1):
                for at in range(len(run) - length + 1):
                    span = run[at : at + length]
                    meaning = known.get(tuple(words[i].norm for i in span))
                    if meaning is None or (meaning.kind in ("assumed", "ecg") and not vague):
                        continue
                    if taken & set(range(span[0], span[-1] + 1)):
                        continue
                    if length == 1 and words[span[0]].norm == "normal" and not _normal_alone(words, span[0], taken):
                        continue
                    hits.append(Hit(span[0], span[-1], meaning))
                    taken |= set(range(span[0], span[-1] + 1))
    return sorted(hits, key=lambda hit: hit.first)


def _runs(words: list[Token], breaks: frozenset[str]) -> list[list[int]]:
    """Indices of words between breaks, without small words."""
    runs: list[list[int]] = [[]]
    for i, word in enumerate(words):
        if word.norm in breaks:
            runs.append([])
        elif word.is_word and word.norm not in SKIPPED:
            runs[-1].append(i)
    return runs


def _normal_alone(words: list[Token], at: int, taken: set[int]) -> bool:
    """Whether "normal" is said of the ECG rather than of the word that follows."""
    follows = at + 1
    if follows >= len(words) or follows in taken or not words[follows].is_word:
        return True
    return words[follows].norm in fillers() or lexicon().get((words[follows].norm,), Meaning((), "")).kind == "ecg"


def negated(words: list[Token], hits: list[Hit]) -> list[Hit]:
    """Mark what the words say is not there."""
    covered = {i for hit in hits for i in range(hit.first, hit.last + 1)}
    scope = _scope(words, covered)
    out = []
    for hit in hits:
        after = [
            word.norm for word in words[hit.last + 1 : hit.last + 5] if word.norm not in ("i", "is", "are", "wa", ":")
        ]
        denied = bool(after) and (after[0] in AFTER or (after[0] == "not" and bool(SEEN & set(after[1:2]))))
        out.append(replace(hit, negated=hit.first in scope or denied))
    return out


def _scope(words: list[Token], covered: set[int]) -> set[int]:
    """Indices of words under a negation."""
    scope: set[int] = set()
    for i, word in enumerate(words):
        if i in covered or word.norm not in NOT | WITHOUT:
            continue
        for j in range(i + 1, len(words)):
            norm = words[j].norm
            if j in covered:
                scope.add(j)
                continue
            if norm in BREAKS or norm in UNTIL or (norm == "and" and word.norm in NOT):
                break
            if norm == "," and not _list_goes_on(words, j):
                break
            scope.add(j)
    return scope


def _list_goes_on(words: list[Token], comma: int) -> bool:
    """Whether an "or" follows in the sentence: "without LBBB, RBBB or ST elevation"."""
    for word in words[comma + 1 :]:
        if word.norm in BREAKS or word.norm in UNTIL:
            return False
        if word.norm in OR:
            return True
    return False


def bare_rate(words: list[Token], taken: set[int]) -> int | None:
    """The one number without a unit, where it can only be a rate: "SVT 180"."""
    bare = [i for i, word in enumerate(words) if i not in taken and re.fullmatch(r"\d{2,3}(?:[.,]\d)?", word.norm)]
    low, high = PLAUSIBLE
    if len(bare) == 1 and {word.norm for word in words[max(0, bare[0] - 5) : bare[0]]} & OF_ANOTHER:
        return None
    if len(bare) == 1 and low <= float(words[bare[0]].norm.replace(",", ".")) <= high:
        return bare[0]
    return None


def left_over(prompt: str, words: list[Token], taken: set[int], hits: list[Hit]) -> tuple[list[str], list[str]]:
    """(words that nothing knows, what is said not to be there), as written."""
    covered = {i for hit in hits for i in range(hit.first, hit.last + 1)}
    scope = _scope(words, covered)
    absent = [written(prompt, words, hit) for hit in hits if hit.negated]
    left: list[list[int]] = [[]]
    for i, word in enumerate(words):
        if i in taken or word.norm == "and" or not word.is_word or word.norm in NOT | WITHOUT | OR | AFTER | UNTIL:
            left.append([])
        elif i in scope:
            left.append([])
            if word.norm not in fillers():
                whole = absent and i and prompt.endswith(absent[-1], 0, words[i - 1].end) and words[i - 1].norm != ","
                begin = words[i - 1].end - len(absent[-1]) if whole else word.start
                absent = absent[:-1] if whole else absent
                absent.append(prompt[begin : word.end])
        elif left[-1] or word.norm not in fillers():
            left[-1].append(i)
    out = []
    for run in left:
        while run and words[run[-1]].norm in fillers():
            run.pop()
        if run:
            out.append(prompt[words[run[0]].start : words[run[-1]].end])
    return list(dict.fromkeys(out)), list(dict.fromkeys(absent))


def written(prompt: str, words: list[Token], hit: Hit) -> str:
    return prompt[words[hit.first].start : words[hit.last].end] if hit.last < len(words) else ""
