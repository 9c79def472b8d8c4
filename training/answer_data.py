"""Evidence, question and answer: dialogues that teach the model to answer in the words of the evidence.

A fact is a sentence in the very form that `tools.measure.sentences` and its neighbours write, with random
values. An answer takes the sentences that the question is about, nearly word for word, and leaves the rest;
where the evidence does not hold what was asked, it says so. `answers(seed, n)` is the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tools.interpret_words import ASKED_FOR, verb
from tools.scp import statement

LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
Fact = tuple[str, str, str]  # topic, evidence sentence, the same as a clause of an answer


def _against(rng: Random, value: float, low: float, high: float, unit: str, usual: str) -> str:
    side = "below" if value < low else "above" if value > high else "within"
    return f"{side} the usual {usual} {unit}"


def rate(r: Random) -> Fact:
    bpm = r.choice([r.randint(60, 100), r.randint(30, 200)])
    where = _against(r, bpm, 60, 100, "bpm", "60–100")
    return "rate", f"Heart rate {bpm} bpm, {where}.", f"the heart rate is {bpm} bpm, {where}"


def rhythm(r: Random) -> Fact:
    rr, sd = r.randint(320, 1900), r.randint(2, 240)
    kind = r.choice(["regular", "regular with ectopic beats", "irregular", "irregularly irregular"])
    return "rhythm", f"The rhythm is {kind} (RR {rr} ms, SD {sd} ms).", f"the rhythm is {kind} (RR {rr} ms, SD {sd} ms)"


def pr(r: Random) -> Fact:
    if r.random() < 0.15:
        why = r.choice(["no P waves are seen", "the P wave onset is not clear"])
        return "pr", f"PR interval is not measured: {why}.", f"the PR interval is not measured, because {why}"
    ms = r.randint(90, 320)
    where = _against(r, ms, 120, 200, "ms", "120–200")
    return "pr", f"PR interval {ms} ms, {where}.", f"the PR interval is {ms} ms, {where}"


def qrs(r: Random) -> Fact:
    ms = r.randint(60, 200)
    where = f"{'above' if ms > 110 else 'within'} the usual limit of 110 ms"
    return "qrs", f"QRS duration {ms} ms, {where}.", f"the QRS duration is {ms} ms, {where}"


def qt(r: Random) -> Fact:
    if r.random() < 0.1:
        return (
            "qt",
            "QT interval is not measured: no T wave is seen.",
            "the QT interval is not measured: no T wave is seen",
        )
    ms = r.randint(270, 620)
    return "qt", f"QT interval {ms} ms.", f"the QT interval is {ms} ms"


def qtc(r: Random) -> Fact:
    b = r.randint(340, 600)
    f, m, h = (b + r.randint(-35, 12) for _ in range(3))
    said = f"{b} ms by Bazett, {f} ms by Fridericia, {m} ms by Framingham, {h} ms by Hodges"
    short = r.choice([said, f"{b} ms by Bazett ({f} ms by Fridericia)", f"{b} ms by Bazett"])
    return "qtc", f"QTc {said}.", f"the QTc is {short}"


def qtc_limit(r: Random) -> Fact:
    where = r.choice(
        [
            "within the usual limits of 450 ms for men and 460 ms for women",
            "above the usual limits of 450 ms for men and 460 ms for women",
            "above the usual limit of 450 ms for men but within that of 460 ms for women",
        ]
    )
    return "qtc_limit", f"QTc by Bazett is {where}.", f"the QTc by Bazett is {where}"


def axis(r: Random) -> Fact:
    q, p, t = r.randint(-90, 180), r.randint(-30, 100), r.randint(-90, 180)
    where = "within" if -30 <= q <= 90 else "outside"
    sentence = f"QRS axis {q}°, {where} the usual -30° to 90°; P axis {p}°, T axis {t}°."
    clause = r.choice(
        [
            f"the QRS axis is {q}°, {where} the usual -30° to 90°",
            f"the QRS axis is {q}°, the P axis {p}° and the T axis {t}°",
        ]
    )
    return "axis", sentence, clause


def ectopic(r: Random) -> Fact:
    n = r.randint(5, 30)
    v, s = r.choice([0, 0, 1, 2, 3]), r.choice([0, 0, 0, 1, 2])
    said = f"{v} ventricular and {s} supraventricular of {n} beats"
    return "ectopic", f"Ectopic beats: {said}.", f"the ectopic beats are {said}"


def p_waves(r: Random) -> Fact:
    state = r.choice(["present", "absent"])
    return "p_waves", f"P waves are {state}.", f"P waves are {state}"


FINDINGS = (
    "AFIB", "AFLT", "SR", "SBRAD", "STACH", "PVC", "PAC", "1AVB", "3AVB", "CLBBB", "CRBBB", "IRBBB", "LAFB", "IVCD",
    "WPW", "LVH", "RVH", "LAO/LAE", "IMI", "AMI", "ASMI", "ISC_", "NST_", "LNGQT", "PACE", "NORM",
)  # fmt: skip


def finding(r: Random) -> Fact:
    """As tools.interpret_words says what an ECG shows, or does not."""
    if r.random() < 0.4:
        name = statement(r.choice(ASKED_FOR)).name
        said = f"no sign of {name} (probability 0.{r.randint(0, 20):02d})"
        return f"finding:{name}", f"N{said[1:]}.", said
    name = statement(r.choice(FINDINGS)).name
    said = f"{name} {verb(name)} {r.choice(['likely', 'likely', 'uncertain'])}"
    threshold = r.randint(10, 60)
    numbers = f"(probability 0.{r.randint(threshold, 99)}, threshold 0.{threshold})"
    return f"finding:{name}", f"{said[0].upper()}{said[1:]} {numbers}.", f"{said} {numbers}"


def conclusion(r: Random) -> Fact:
    """The interpretation in one sentence."""
    names = [statement(code).name for code in r.sample(FINDINGS, r.randint(1, 3))]
    likely = ", ".join(f"likely {name}" for name in names[:2])
    rest = f"; uncertain {names[2]}" if len(names) > 2 else ""
    sentence = f"Conclusion: {likely}{rest}."
    return "conclusion", sentence, f"the conclusion is {likely}{rest}"


def quality(r: Random) -> Fact:
    if r.random() < 0.5:
        sentence = "Signal quality is acceptable in all 12 leads"
    else:
        lead, why = r.choice(LEADS), r.choice(["flat", "baseline wander", "muscle noise", "mains hum", "saturated"])
        sentence = f"Signal quality: {lead} is not usable ({why})"
    return "quality", sentence + ".", sentence[0].lower() + sentence[1:]


def _per_lead(opening: str, topic: str, low: int, high: int) -> Callable[[Random], Fact]:
    def fact(r: Random) -> Fact:
        leads = [x for x in LEADS if r.random() < 0.5] or ["II"]
        said = ", ".join(f"{lead} {r.randint(low, high) / 100:.2f} mV" for lead in leads)
        one = r.choice(said.split(", "))
        clause = r.choice(
            [f"the {opening} is {said}", f"the {opening} in {one.split(' ')[0]} is {one.split(' ', 1)[1]}"]
        )
        return (
            f"{topic}:{one.split(' ')[0] if one.split(' ', 1)[1] in clause and said not in clause else ''}",
            (f"{opening[0].upper() + opening[1:]}: {said}."),
            clause,
        )

    return fact


FACTS: list[Callable[[Random], Fact]] = [
    rate, rhythm, pr, qrs, qt, qtc, qtc_limit, axis, ectopic, p_waves, quality,
    finding, finding, conclusion,
    _per_lead("ST level 60 ms after J", "st", -30, 40), _per_lead("R amplitude", "r", 5, 250),
    _per_lead("S amplitude", "s", -250, 0), _per_lead("T amplitude", "t", -60, 110),
]  # fmt: skip

QUESTIONS: dict[str, list[str]] = {
    "rate": ["what is the heart rate?", "HR?", "how fast is the heart", "is it tachycardic?", "pulse rate please",
             "is there bradycardia", "how many beats a minute", "rate"],
    "rhythm": ["is the rhythm regular?", "regular or irregular?", "how regular are the beats", "RR variability?"],
    "pr": ["PR interval?", "what's the PR", "is there a first degree block on the numbers, PR?", "how long is the PR"],
    "qrs": ["QRS duration?", "how wide is the QRS", "is the QRS wide?", "qrs width"],
    "qt": ["QT?", "what is the QT interval", "uncorrected QT"],
    "qtc": ["QTc?", "what is the QTc", "corrected QT please", "QTc by Bazett and Fridericia", "how long is the QTc"],
    "qtc_limit": ["is the QTc prolonged?", "is the QT long?", "is that QTc normal", "QT prolongation?"],
    "axis": ["what is the axis?", "axis", "is there axis deviation?", "electrical axis of the heart"],
    "ectopic": ["any ectopic beats?", "how many extrasystoles", "PVCs?", "premature beats count"],
    "p_waves": ["are there P waves?", "P waves present?", "can you see p waves"],
    "finding": ["is there{name}?", "any sign of{name}?", "does it show{name}?", "{name}?", "{name}, yes or no?",
                "could this be{name}?", "do you see{name} here"],
    "conclusion": ["what does it show?", "interpret this", "what is wrong with this ECG?", "read it for me",
                   "is it normal?", "your conclusion?", "anything abnormal", "what do you see"],
    "quality": ["is the signal good?", "signal quality?", "which leads are usable", "is the recording clean"],
    "st": ["ST level?", "any ST elevation?", "ST depression{lead}?", "what is the ST{lead}"],
    "r": ["R amplitude{lead}?", "how tall is the R wave{lead}", "R wave height{lead}"],
    "s": ["S amplitude{lead}?", "how deep is the S{lead}"],
    "t": ["T wave amplitude{lead}?", "how tall is the T{lead}", "T waves{lead}"],
}  # fmt: skip
TOGETHER = [("qtc", "qtc_limit"), ("rhythm", "p_waves"), ("rate", "rhythm")]  # asked as one, answered as both

DONE = [
    ("The recording is drawn on ECG paper, {layout}, 25 mm/s and 10 mm/mV.",
     ["plot it", "show me the ECG", "print the tracing as {layout}", "draw the recording on paper please"],
     "The recording is drawn on ECG paper, {layout}, 25 mm/s and 10 mm/mV."),
    ("Could not be done: {error}.", ["measure it", "and the second one?", "QTc please", "plot it"],
     "That could not be done: {error}."),
]  # fmt: skip
ERRORS = ["the recording has no usable lead", "the recording is shorter than 2 seconds",
          "measure_ecg takes ecg, this recording is ppg", "no beats were found",
          "there is no recording ecg-3"]  # fmt: skip


def answers(seed: int, n: int) -> list[tuple[list[str], str, str]]:
    """`n` of (evidence sentences, question, answer)."""
    rng = Random(seed)
    made = []
    for _ in range(n):
        roll = rng.random()
        made.append(_done(rng) if roll < 0.15 else _absent(rng) if roll < 0.2 else _measured(rng))
    return made


def _measured(rng: Random) -> tuple[list[str], str, str]:
    """A question about one to three of up to seven facts, of one recording or two."""
    facts = [fact(rng) for fact in rng.sample(FACTS, rng.randint(1, 7))]
    ids = ["ecg-1", "ecg-2"] if rng.random() < 0.15 else [""]
    asked = rng.sample(facts, min(len(facts), rng.choice([1, 1, 1, 2, 2, 3])))
    topics = {fact[0].split(":")[0] for fact in asked}
    for pair in TOGETHER:
        if topics & {pair[0]} and rng.random() < 0.5:
            asked += [fact for fact in facts if fact[0] == pair[1] and fact not in asked]
    question = _question(rng, asked)
    rng.shuffle(facts)
    if len(ids) == 1:
        return [fact[1] for fact in facts], question, _sentence(rng, [fact[2] for fact in asked])
    other = {fact[0]: fact for fact in (make(rng) for make in FACTS)}
    pairs = [(fact, other.get(fact[0], fact)) for fact in asked]
    evidence = [f"{ids[0]}: {one[1]}" for one, _ in pairs] + [f"{ids[1]}: {two[1]}" for _, two in pairs]
    written = [f"In {ids[0]}, {one[2]}; in {ids[1]}, {two[2]}." for one, two in pairs]
    return evidence, question, " ".join(written)


def _question(rng: Random, asked: list[Fact]) -> str:
    said = []
    for topic, _, _ in asked:
        name, _, lead = topic.partition(":")
        question = rng.choice(QUESTIONS[name]).replace("{lead}", f" in {lead}" if lead else "")
        question = question.replace("{name}", f" {lead}").strip()
        said.append(question.rstrip("?"))
    joined = rng.choice([", ", " and ", ", and ", "? "]).join(said)
    return joined + rng.choice(["?", "", "?", " please"])


def _sentence(rng: Random, clauses: list[str]) -> str:
    if len(clauses) > 2 or rng.random() < 0.5:
        return " ".join(clause[0].upper() + clause[1:] + "." for clause in clauses)
    joined = ", and ".join(clauses)
    return joined[0].upper() + joined[1:] + "."


def _absent(rng: Random) -> tuple[list[str], str, str]:
    """The evidence holds something else than what was asked."""
    facts = [fact(rng) for fact in rng.sample(FACTS, rng.randint(2, 5))]
    asked, *rest = facts
    question = _question(rng, [asked])
    return [fact[1] for fact in rest], question, "The tools did not return that for this recording."


def _done(rng: Random) -> tuple[list[str], str, str]:
    """A figure was drawn or something went wrong; sometimes with a measurement beside."""
    sentence, questions, written = rng.choice(DONE)
    fill = {
        "layout": rng.choice(["3x4 with a rhythm strip", "6x2", "12x1"]),
        "error": rng.choice(ERRORS),
    }
    question, evidence, answer = (text.format(**fill) for text in (rng.choice(questions), sentence, written))
    if rng.random() < 0.4:
        fact = rng.choice(FACTS)(rng)
        joined = _question(rng, [fact])
        return [fact[1], evidence], f"{joined} and {question}", f"{_sentence(rng, [fact[2]])} {answer}"
    return [evidence], question, answer
