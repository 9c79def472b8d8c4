"""Which of the tools' sentences a question is about.

A small model writes best with little before it, and a person wants what was asked. Sentences open with what
they speak of ("Heart rate …", "QTc …"), so a topic is a pattern on the question and one on those openings.
A question that names no topic gets the headline of every tool: its first sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agent.faithful import LEAD, number_pairs
from agent.stated import GOES_ON

MOST = 8  # sentences shown to the model
SAID = r"(?:Urgent: )?(?:No sign of )?"  # how a sentence on a finding opens (tools/interpret_words.py)
WITHHELD = r"|No interpretation|Conclusion: no"

# question pattern -> opening of the sentences (after an optional "ecg-1: ")
TOPICS: list[tuple[str, str]] = [
    (
        r"\b(h\.?r|heart ?rates?|bpm|pulse|tachycardi\w*|bradycardi\w*|rate|how (fast|slow)|faster|slower"
        r"|beats (a|per|in (a|one))|herzfrequenz|puls|fréquence|frequenz|frecuencia)\b",
        r"Heart rate|Baseline (heart rate )?is",
    ),
    (
        r"\b(rhythm|regular\w*|irregular\w*|rr|r-r|sdnn|rmssd|hrv|variab\w*|pauses?|rhythmus|rythme|ritmo)\b",
        r"The rhythm",
    ),
    (r"\b(pr|pq|p-r|av (conduction|delay)|first.degree)\b", r"PR |Intervals"),
    (r"\b(qrs|q-r-s)\b(?!.{0,3}ax)", r"QRS duration|Intervals"),
    (r"\b(qt|q-t)\b", r"QTc? |Intervals"),
    (
        r"\bqtc\w*|\b(bazett|fridericia|framingham|hodges)\b|\bcorrected qt"
        r"|\bqt\b.{0,14}\b(long|prolong\w*|short|normal|lang|largo)\b|prolong\w* qt",
        r"QTc |QT interval is not|Intervals",
    ),
    (r"\b(axis|axes|axe|achse|eje|lagetyp|ax)\b", r"(QRS|P|T) axis|Axes"),
    (r"\b(ectop\w*|extrasyst\w*|pvcs?|pacs?|ves|premature|bigemin\w*|trigemin\w*|ventricular beats?)\b", r"Ectopic"),
    (r"\bp.?waves?\b(?!.{0,14}(ampl|tall|high|height))", r"P waves|PR interval is not"),
    (r"\b(st|j ?point|s-t)\b(?!.?ud)", r"ST level|J "),
    (
        r"\br.?(wave|amplitude)s?\b|\bhow (tall|high|big|large) (is|are) (the )?r\b|est r\b|\bvoltages?\b"
        r"|(?<!wave )\bamplitudes\b",
        r"R amplitude",
    ),
    (
        r"\bs.?(wave|amplitude)s?\b|\bhow (deep|big|large) (is|are) (the )?s\b|est s\b|\bvoltages?\b"
        r"|(?<!wave )\bamplitudes\b",
        r"S amplitude",
    ),
    (r"\bt.?(wave|amplitude)s?\b|\bhow (tall|high|big|large) (is|are) (the )?t\b", r"T amplitude|QT interval is not"),
    (r"\bq.?waves?\b|\b(the|deep|deepest) q\b", r"Q amplitude"),
    (r"\bp.?(wave )?(amplitude|height)|\bp.?waves?.{0,14}(ampl|tall|high|height)", r"P amplitude"),
    (
        r"\b(quality|noise|noisy|artefacts?|artifacts?|clean|usable|readable|good (signal|recording|tracing)"
        r"|qualität|qualité)\b|\bsignal (is )?good",
        r"Signal quality|Limb|The limb|Signal loss|Grade of the session|Repeatability",
    ),
    (r"\b(intervals?|intervalle)\b", r"PR |QRS duration|QT |Intervals"),
    # fetal heart traces
    (r"\bbaseline\b", r"Baseline (heart rate )?is"),
    (r"\b(variability|short.?term|stv)\b", r"Variability|Short-term variability"),
    (r"\baccelerat\w*", r"Accelerations"),
    (r"\b(decelerat\w*|decels?|dips)\b", r"Decelerations"),
    (r"\b(contract\w*|toco\w*|uter(us|ine))\b", r"Contractions"),
    (
        r"\bgestation\w*|\b(how old|f(o)?etal age|age of the f(o)?etus|age gap)\b",
        r"Gestational age|The age is not|There is no gap|The network has learnt",
    ),
    # spirograms
    (r"\bfev.?1\b(?!.?/)", r"FEV1 |Spirometry pattern"),
    (r"(?<!/)\bfvc\b", r"FVC |Spirometry pattern"),
    (r"\bfev.?1.{0,3}fvc\b|\b(ratio|tiffeneau)\b", r"FEV1/FVC|Spirometry pattern"),
    (r"\b(pef|peak (expiratory )?flow)\b", r"PEF"),
    (r"\bfef\b|25.{1,3}75|\bmid.?expirat\w*", r"FEF25-75|No predicted FEF25-75"),
    (r"\b(obstruct\w*|restrict\w*|copd|asthma\w*)\b", r"Spirometry pattern|FEV1/FVC|Probability of obstruction"),
    (r"\b(grade|acceptab\w*|repeatab\w*|effort|good (enough|test)|valid)\b", r"Grade of the session|Repeatability"),
    (r"\b(equations?|reference (values?|equations?)|predicted by|gli)\b", r"Spirometry pattern|No predicted FEF"),
    # findings
    (
        r"\b(interpret\w*|diagnos\w*|findings?|normal|abnormal\w*|wrong|healthy|reads?|reading|summar\w+|befund"
        r"|conclusion|overall|what do(es)? .{0,24}show|what do you see|urgent|emergency)\b",
        r"Urgent|Conclusion|No interpretation|Limb leads look|This recording is synthetic|Leads rebuilt",
    ),
    (
        r"\b(a-?fib|afib|af|fibrillation|flutter|arrhythmia|vorhofflimmern)\b",
        rf"{SAID}(?i:atrial (fibrillation|flutter)|sinus|ventricular fibrillation)\b|RR SD|No QRS stands{WITHHELD}",
    ),
    (
        r"\b(infarct\w*|heart attack|mi|n?stemi|infarkt)\b",
        rf"{SAID}[\w -]*(infarction|injury|ST elevation)|ST elevation in|(Longest )?Q waves?|QS complex{WITHHELD}",
    ),
    (
        r"\b(ischa?emi\w*|st.?t changes|st.?(depression|elevation)|t.?wave inversions?)\b",
        rf"{SAID}[\w -]*(ischa?emia|ST-T|ST changes|ST (elevation|depression)|T-wave)[\w -]*(is|are| \()"
        rf"|ST (level|elevation) in{WITHHELD}",
    ),
    (
        r"\b(hypertroph\w*|lvh|rvh|enlarge\w*|sokolow\w*|cornell)\b",
        rf"{SAID}[\w -]*(hypertrophy|enlargement)|Sokolow|Cornell|Peguero|R amplitude in{WITHHELD}",
    ),
    (
        r"\b(blocks?|[lr]bbb|bundle.branch|hemiblock|conduction|wpw|wolff\S*|pre-?excitation|lafb|lpfb|av.block)\b",
        rf"{SAID}[\w -]*(block|conduction|preexcitation|PR interval is (likely|uncertain)){WITHHELD}",
    ),
    (r"\b(pac(ed|ing|emaker)\w*|schrittmacher)\b", rf"{SAID}(?i:pacing|ventricular or atrial pacing){WITHHELD}"),
    (
        r"\b(why|evidence|because|criteri\w+|explain\w*|justif\w+|supports?|looked|warum)\b",
        r"(Against|Hiding|Sokolow|Cornell|Peguero|Q wave|QS complex|ST elevation in|RR SD|R wave|R\' amplitude"
        r"|S wave|[A-Z][\w -]* ((is|are) (likely|uncertain)))|.*\((AHA|Fourth|ESC|ACC|Sokolow|Casale|Peguero)",
    ),
    (r"\b(which|what) leads\b.*\b(read|used)\b|\bencoder\b", r"Read by"),
]
TABLE = re.compile(r"((?:[a-z]+-\d+: )?(?:ST level|J level|[PQRST] amplitude)[^:]*: )(.*)\.")
UNFOUND = r"[^.:]* (?:is|are) (?:not found \(|beyond what)"  # of what the question names
ALWAYS = rf"Nothing is measured|Could not be done|The recording is drawn|Urgent|An ECG without|{UNFOUND}"
MADE = r"This recording is synthetic|Leads rebuilt"  # always too, and first
# what a question must be told that names nothing, or nothing that there is: the first of these that there is
OPEN = (r"Conclusion|No interpretation", r"Heart rate")
FINDING = re.compile(r"Urgent|No sign of|[^.:]* (is|are) (likely|uncertain)\b")  # each of these that was asked for
WALLS = {  # what groups of leads are called
    "inferior": ("II", "III", "aVF"), "lateral": ("I", "aVL", "V5", "V6"), "anterior": ("V1", "V2", "V3", "V4"),
    "septal": ("V1", "V2"), "precordial": tuple(f"V{n}" for n in range(1, 7)),
    "chest lead": tuple(f"V{n}" for n in range(1, 7)), "limb lead": ("I", "II", "III", "aVR", "aVL", "aVF"),
}  # fmt: skip
WHY = re.compile(r"^\W*(?:and |but )?(?:why|how so|how come|what makes you)\b", re.IGNORECASE)
OPENING = re.compile(r"(?:[a-z]+-\d+: )?(.*)", re.DOTALL)


def going_on(question: str, before: str) -> str:
    """The question with the words of the one before, less its leads, where it goes on and names nothing ("in V2?")."""
    if not before or not GOES_ON.search(question):
        return question
    if WHY.search(question) and asked(before):  # the evidence of what was asked stands beside it
        return before
    return question if asked(question) else question + " " + re.sub(rf"\b(?:{LEAD})\b", "", before)


def spoken_of(evidence: list[str]) -> set[str]:
    """The recordings that sentences begin with."""
    return {match[1] for sentence in evidence if (match := re.match(r"([a-z]+-\d+): ", sentence))}


def asked(question: str) -> list[str]:
    """Patterns of the sentence openings that the question names."""
    return [opening for pattern, opening in TOPICS if re.search(pattern, question, re.IGNORECASE)]


def relevant(question: str, evidence: list[str], most: int = MOST) -> list[str]:
    """The sentences that answer the question, in the order of the question's topics; else the first of all. Of several
    recordings, as many of each."""
    if len(ids := sorted(spoken_of(evidence))) > 1:
        rest = [sentence for sentence in evidence if not any(sentence.startswith(f"{one}: ") for one in ids)]
        parts = [[s for s in evidence if s.startswith(f"{one}: ")] for one in ids]
        share = max(most // len(ids), 1)
        return [*(s for part in parts for s in relevant(question, part, share)), *relevant(question, rest, share)]
    wanted = [MADE, UNFOUND, *asked(question), ALWAYS]
    chosen = [sentence for opening in wanted for sentence in evidence if re.match(opening, _body(sentence))]
    if not any(re.match(opening, _body(sentence)) for opening in wanted[2:-1] for sentence in evidence):
        made = [sentence for sentence in evidence if re.match(MADE, _body(sentence))]
        chosen = made + [sentence for sentence in evidence if sentence in chosen or _is_headline(sentence)]
    return [_narrowed(sentence, question) for sentence in dict.fromkeys(chosen)][:most]


def narrowed(question: str, evidence: list[str], cautions: list[str]) -> list[str]:
    """What is asked of a report that is said as it is, and the cautions in it but those on something else; all of it
    where nothing is named."""
    wanted = [opening for opening in asked(question) if any(re.match(opening, _body(one)) for one in evidence)]
    if not wanted:
        return evidence
    general = [one for one in cautions if not any(re.match(opening, one) for _, opening in TOPICS)]
    keep = (*wanted, MADE, ALWAYS, *map(re.escape, general))
    return [one for one in evidence if any(re.match(opening, _body(one)) for opening in keep)]


def complete(answer: str, question: str, evidence: list[str]) -> bool:
    """Whether each topic that the question names, and each thing done or refused, is in the answer.

    One number of its first sentence tells of a topic: what was measured stands there, before the limits. Of findings,
    all that were asked for must be told, and what is urgent always.
    """
    said = {(pair.number, pair.unit) for pair in number_pairs(answer) if pair.quantity != "usual"}
    if not all(one in answer for one in spoken_of(evidence)):
        return False
    parts = [part for part in re.split(r"(?<=[.;])\s+", answer.strip()) if part]
    if len(set(parts)) < len(parts):  # the same said twice stands in place of something
        return False

    def there(openings: Iterable[str]) -> list[str]:
        return [opening for opening in openings if any(re.match(opening, _body(sentence)) for sentence in evidence)]

    for opening in [*(there(asked(question)) or there(OPEN)[:1]), MADE, ALWAYS]:
        sentences = [sentence for sentence in evidence if re.match(opening, _body(sentence))]
        numbers = [{(pair.number, pair.unit) for pair in number_pairs(sentence)} for sentence in sentences]
        told = [
            (own <= said if TABLE.fullmatch(sentence) else bool(own & said))
            if own
            else _words(sentence) <= _words(answer)
            for own, sentence in zip(numbers, sentences, strict=True)
        ]
        findings = [one for one, sentence in zip(told, sentences, strict=True) if FINDING.match(_body(sentence))]
        if not all(told[:1]) or not all(findings):
            return False
    return True


def _narrowed(sentence: str, question: str) -> str:
    """A table of values by lead, cut to the leads that the question names."""
    table = TABLE.fullmatch(sentence)
    named = {name.upper() for name in re.findall(rf"\b(?:{LEAD})\b|(?<=lead )I\b", question, re.IGNORECASE)}
    for first, last in re.findall(r"\bV([1-6]) ?(?:to|-|–|through) ?V?([1-6])\b", question, re.IGNORECASE):
        named |= {f"V{n}" for n in range(int(first), int(last) + 1)}
    named |= {lead.upper() for word, leads in WALLS.items() if word in question.lower() for lead in leads}
    kept = [cell for cell in table[2].split(", ") if cell.split(" ")[0].upper() in named] if table else []
    return f"{table[1]}{', '.join(kept)}." if table and kept else sentence


def _is_headline(sentence: str) -> bool:
    """Not the long tables of amplitudes, which only a question for them brings."""
    return TABLE.fullmatch(sentence) is None


def _body(sentence: str) -> str:
    found = OPENING.match(sentence)
    return found[1] if found else sentence


def _words(text: str) -> set[str]:
    """Words that carry the meaning."""
    return {word for word in re.findall(r"[\w-]+", text.lower()) if len(word) > 3}
