"""What is asked of an ECG that the language model sees, and how it answers: wordings, and reading answers back.

    interpretation(facts, measured=True)   "Rate 72 bpm: normal. … Rhythm: sinus rhythm. Findings: … Groups: …"
    said(text)                             {"superclass": {"MI"}, "subclass": {"IMI"}, "rhythm": {"SR"}}
    question(rng, family, facts, other)    (question, answer), or None where the facts hold none

Families after ECG-QA (Oh et al. 2023, arXiv 2306.15681): verify, choose, query, attribute, leads, number, compare; and
`cannot`, what no ECG tells. Facts are what the encoder's heads decide and what was measured, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from agent.findings import named
from tools.scp import GROUPED, STATEMENTS, statement

RHYTHMS = ("SR", "AFIB", "STACH", "SBRAD", "SARRH", "SVARR")
SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
FAMILIES = ("verify", "choose", "query", "attribute", "leads", "number", "compare")
CANNOT = "That cannot be told from this ECG."
NONE = "none"


@dataclass
class Facts:
    """Of one ECG; a measurement that there is not is absent.

    codes : {"superclass" | "subclass" | "statement": codes}.
    numbers : {"heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "qrs_axis_deg"} as measured.
    leads : {"inverted T waves" | "ST elevation" | "Q waves": leads}, as far as leads are recorded.
    """

    codes: dict[str, list[str]]
    numbers: dict[str, float] = field(default_factory=dict)
    leads: dict[str, list[str]] = field(default_factory=dict)
    name: str = "ecg-1"

    def rhythm(self) -> list[str]:
        return [code for code in self.codes["statement"] if code in RHYTHMS]

    def findings(self) -> list[str]:
        """Subclasses, each by its statements where these are known."""
        out = []
        for subclass in self.codes["subclass"]:
            closer = [code for code in self.codes["statement"] if statement(code).subclass == subclass]
            out += closer or [subclass]
        return out


def name_of(code: str, group: str = "") -> str:
    if group in ("superclass", "subclass") and code in GROUPED:
        return GROUPED[code].name
    return statement(code).name


def category(key: str, value: float) -> str:
    """A measurement in one word, by the limits of tools/limits.py."""
    if key == "heart_rate_bpm":
        return "slow" if value < 60 else "fast" if value > 100 else "normal"
    if key == "pr_ms":
        return "short" if value < 120 else "long" if value > 200 else "normal"
    if key == "qrs_ms":
        return "wide" if value >= 120 else "borderline" if value > 110 else "narrow"
    if key == "qtc_ms":
        return "long" if value >= 460 else "normal"
    return "left" if -90 <= value < -30 else "right" if 90 < value <= 180 else "normal" if value >= -30 else "extreme"


USUAL = ("normal", "narrow")

TITLES = {
    "heart_rate_bpm": ("Rate", "bpm"), "pr_ms": ("PR", "ms"), "qrs_ms": ("QRS", "ms"), "qtc_ms": ("QTc", "ms"),
    "qrs_axis_deg": ("Axis", "°"),
}  # fmt: skip


def measured_line(facts: Facts) -> str:
    """What is put before the question where measurements are given."""
    cells = [
        f"{title} {facts.numbers[key]:.0f}{'' if unit == '°' else ' '}{unit}"
        for key, (title, unit) in TITLES.items()
        if key in facts.numbers
    ]
    return f"Measured of {facts.name}: {', '.join(cells) or 'nothing'}."


def interpretation(facts: Facts, measured: bool) -> str:
    """Evidence first: what was measured or is seen, what it means, and what it comes to."""
    said_of = []
    for key, (title, unit) in TITLES.items():
        if key in facts.numbers:
            value = f" {facts.numbers[key]:.0f}{'' if unit == '°' else ' '}{unit}:" if measured else ""
            said_of.append(f"{title}{value} {category(key, facts.numbers[key])}.")
    listed = {
        "Rhythm": [name_of(code) for code in facts.rhythm()],
        "Findings": [name_of(code, "subclass") for code in facts.findings()],
        "Groups": [name_of(code, "superclass") for code in facts.codes["superclass"]],
    }
    return " ".join([*said_of, *(f"{title}: {', '.join(names) or NONE}." for title, names in listed.items())])


def said(text: str) -> dict[str, set[str]]:
    """Codes that an interpretation names, by the part of it in which they stand."""
    parts = {"Rhythm": "rhythm", "Findings": "subclass", "Groups": "superclass"}
    out: dict[str, set[str]] = {group: set() for group in parts.values()}
    for title, group in parts.items():
        for line in text.replace(". ", ".\n").splitlines():
            if line.startswith(f"{title}:"):
                codes = [code for code, _, _ in named(line.partition(":")[2])]
                out[group] |= {_as(group, code) for code in codes} - {""}
    return out


def _as(group: str, code: str) -> str:
    """The code of that group that a named one stands for."""
    if group == "superclass":
        return code if code in SUPERCLASSES else statement(code).superclass
    if group == "rhythm":
        return code if code in RHYTHMS else ""
    return statement(code).subclass or (code if code in STATEMENTS else "")


INTERPRET = (
    "What does {n} show?", "Interpret {n}.", "Read {n} for me.", "Please give an interpretation of {n}.",
    "What is your reading of {n}?", "Describe {n} and conclude.", "What do you see in {n}?", "Report on {n}, please.",
    "Look at {n}: what are the findings?", "Give me the report of {n}.", "Is there anything in {n}? Go through it.",
    "What do you see yourself, without any tool?", "Your own impression of {n}, please.", "What is your impression?",
    "Just look at {n} and tell me.", "How does {n} look to you?", "Your spontaneous reading of {n}?",
    "Describe what you see with your own eye.", "First glance at {n}?", "What strikes you in this ECG?",
)  # fmt: skip
BY_EYE = (  # how people ask for the model's own eye; agent/looking.py knows these by their words
    "By eye: {q}", "Just by eye: {q}", "At a glance: {q}", "In your own view: {q}", "Your own impression: {q}",
    "Without any tool: {q}", "{q} Your own guess.", "{q} No tools, please.", "{q} Do not measure, just look.",
    "Have a quick look: {q}", "Gut feeling: {q}", "Eyeball it: {q}", "To your eye: {q}", "Off the cuff: {q}",
)  # fmt: skip
VERIFY = (
    "Does {n} show {x}?", "Is there {x} in {n}?", "Can you see {x} in {n}?", "Any {x} in {n}?",
    "Is {x} present in {n}?", "Would you say {n} has {x}?", "{x}, yes or no, in {n}?",
)  # fmt: skip
CHOOSE = (
    "Which does {n} show: {x} or {y}?", "Is it {x} or {y} in {n}?", "{x} or {y}: which is it in {n}?",
    "Does {n} have {x}, or rather {y}?",
)  # fmt: skip
QUERY = {
    "rhythm": ("What is the rhythm of {n}?", "Which rhythm does {n} have?", "Name the rhythm in {n}."),
    "superclass": (
        "Which groups of diagnosis does {n} fall into?", "Which diagnostic groups fit {n}?",
        "Sort {n} into its diagnostic groups.",
    ),
    "findings": ("Which findings does {n} have?", "List the findings of {n}.", "What are the diagnoses in {n}?"),
}  # fmt: skip
ATTRIBUTE = {
    "heart_rate_bpm": ("Is the rate of {n} slow, normal or fast?", "How is the rate in {n}: slow, normal, fast?"),
    "pr_ms": ("Is the PR interval of {n} short, normal or long?", "PR in {n}: short, normal or long?"),
    "qrs_ms": ("Is the QRS of {n} narrow, borderline or wide?", "How wide is the QRS in {n}: narrow or wide?"),
    "qtc_ms": ("Is the QTc of {n} normal or long?", "QTc of {n}: long or normal?"),
    "qrs_axis_deg": ("Is the axis of {n} normal, left or right?", "Where does the axis of {n} point?"),
}  # fmt: skip
IN_LEADS = ("In which leads of {n} are there {x}?", "Which leads of {n} show {x}?", "Where in {n} do you see {x}?")
NUMBER = {
    "heart_rate_bpm": ("About how fast is {n}, to the nearest ten?", "Roughly which rate has {n}?", 10, "bpm"),
    "qrs_ms": ("About how long is the QRS of {n}?", "Roughly which QRS duration has {n}?", 20, "ms"),
    "pr_ms": ("About how long is the PR interval of {n}?", "Roughly which PR interval has {n}?", 20, "ms"),
}
COMPARE = (
    "Which shows {x}: {a} or {b}?", "Is there {x} in {a} or in {b}?", "{x}: in {a}, in {b}, in both or in neither?",
    "Compare {a} and {b}: which of them has {x}?",
)  # fmt: skip
UNKNOWABLE = (
    "What is the patient's potassium?", "What is the blood pressure?", "Which drugs does the patient take?",
    "What is the ejection fraction in percent?", "How old is the patient, to the year?", "Is the patient in pain?",
    "What is the troponin?", "Which coronary artery is narrowed by how much?", "What is the patient's name?",
    "Does the patient have diabetes?", "What is the haemoglobin?", "What is the oxygen saturation?",
    "Is there a family history of sudden death?", "How tall is the patient?", "Has the patient been operated on?",
)  # fmt: skip
COMMON = ("NORM", "MI", "STTC", "CD", "HYP", "IMI", "AMI", "LVH", "ISC_", "NST_", "CLBBB", "CRBBB", "IRBBB", "LAFB",
          "1AVB", "AFIB", "STACH", "SBRAD", "PVC", "ASMI", "ISCAL", "LAO/LAE", "IVCD", "SR", "NDT")  # fmt: skip
LIKE = {  # what a choice is between: of one kind, so that the choice says something
    "rhythm": ("SR", "AFIB", "STACH", "SBRAD"), "conduction": ("CLBBB", "CRBBB", "LAFB", "1AVB", "IRBBB", "IVCD"),
    "site": ("IMI", "ASMI", "LMI", "AMI"), "group": ("NORM", "MI", "STTC", "CD", "HYP"),
}  # fmt: skip


def holds(facts: Facts, code: str) -> bool:
    """Whether one of the facts is this code or makes it true."""
    if code == "AMI" and "AMI" in facts.codes["subclass"]:
        return True
    return any(code in codes for codes in facts.codes.values())


def question(rng: Random, family: str, facts: Facts, other: Facts | None = None) -> tuple[str, str] | None:
    """A question of a family and its answer; None where the facts hold none.

    `other` is a second ECG: the one that is compared with, or the one whose codes the wrong answers of `verify` and
    `choose` are. Asked so, a code is right as often as it is wrong, and how frequent it is tells nothing.
    """
    n = facts.name
    if family in ("verify", "choose"):
        if other is None:
            return None
        ours = [code for code in COMMON if holds(facts, code) and not holds(other, code)]
        theirs = [code for code in COMMON if holds(other, code) and not holds(facts, code)]
        if family == "verify":
            yes = rng.random() < 0.5
            among = ours if yes else theirs
            if not among:
                return None
            return rng.choice(VERIFY).format(n=n, x=_x(rng.choice(among))), "Yes." if yes else "No."
        pairs = [(a, b) for group in LIKE.values() for a in group for b in group if a in ours and b in theirs]
        if not pairs:
            return None
        right, wrong = rng.choice(pairs)
        first, second = rng.sample([right, wrong], 2)
        return rng.choice(CHOOSE).format(n=n, x=_x(first), y=_x(second)), f"{_x(right)}."
    if family == "query":
        kind = rng.choice(list(QUERY))
        names = {
            "rhythm": [name_of(code) for code in facts.rhythm()],
            "superclass": [name_of(code, "superclass") for code in facts.codes["superclass"]],
            "findings": [name_of(code, "subclass") for code in facts.findings()],
        }[kind]
        return rng.choice(QUERY[kind]).format(n=n), f"{', '.join(names) or NONE}."
    if family == "attribute":
        keys = [key for key in ATTRIBUTE if key in facts.numbers]
        unusual = [key for key in keys if category(key, facts.numbers[key]) not in USUAL]
        if not keys:
            return None
        key = rng.choice(unusual if unusual and rng.random() < 0.7 else keys)
        return rng.choice(ATTRIBUTE[key]).format(n=n), f"{category(key, facts.numbers[key])}."
    if family == "leads":
        kinds = list(facts.leads)
        some = [kind for kind in kinds if facts.leads[kind]]
        if not kinds:
            return None
        kind = rng.choice(some if some and rng.random() < 0.7 else kinds)
        return rng.choice(IN_LEADS).format(n=n, x=kind), f"{', '.join(facts.leads[kind]) or NONE}."
    if family == "number":
        keys = [key for key in NUMBER if key in facts.numbers]
        if not keys:
            return None
        key = rng.choice(keys)
        first, second, step, unit = NUMBER[key]
        return rng.choice((first, second)).format(n=n), f"About {round(facts.numbers[key] / step) * step} {unit}."
    if family == "compare":
        if other is None:
            return None
        wanted = rng.choice(("one", "one", "both", "neither"))
        among = [
            code
            for code in COMMON
            if {0: "neither", 1: "one", 2: "both"}[holds(facts, code) + holds(other, code)] == wanted
        ]
        if not among:
            return None
        code = rng.choice(among)
        answer = wanted if wanted != "one" else facts.name if holds(facts, code) else other.name
        return rng.choice(COMPARE).format(x=_x(code), a=facts.name, b=other.name), f"{answer}."
    if family == "cannot":
        return rng.choice(UNKNOWABLE), CANNOT
    raise ValueError(f"no family {family}")


def _x(code: str) -> str:
    return GROUPED[code].name if code in GROUPED else name_of(code)
