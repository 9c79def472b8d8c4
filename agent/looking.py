"""What the language model itself sees in a recording, by soft tokens and without a tool, and where a tool differs.

    look(recording)                     features for `LocalModel.read`, or a line why there are none
    differs("… hypertrophy.", result)   ["The language model's own eye differs: it sees hypertrophy, which …"]

The tools stay the authority: what the model sees is said as its own impression, beside what the tool of `BESIDE` finds.
"""

from __future__ import annotations

import re
from typing import Any

from agent.prompts import HISTORY_TURNS
from tools.errors import UsageError
from tools.recording import LEADS, Recording
from tools.scp import GROUPED, STATEMENTS, statement

ACTION = "look"  # among the calls of a turn: the model reads the signal itself
BESIDE = {"ecg": "interpret_ecg", "spirogram": "read_spirogram"}  # what reads a kind that can be looked at
OF_BLOWS = {"read_spirogram", ACTION}  # what a wish to see a spirogram by eye may be taken for
MOST = 2  # recordings that are looked at together: each costs up to 21 tokens and its own attention
GROUPS_OF = "Which groups of diagnosis does {name} fall into?"  # what the model is asked to be compared with the tool
RHYTHM_OF = "What is the rhythm of {name}?"
NO_NUMBERS = "I give no numbers by eye; ask me to measure it."
DIFFERS = "The language model's own eye differs: "
OWN = "By the language model's own eye, not measured: "
WHOLE = "What does {name} show?"  # asked where the person's own words are answered by nothing
USUAL = (  # words of a reading, the usual last: what they go on with is guessed, then checked (agent/decode.py)
    f"{', '.join(one.name for one in [*STATEMENTS.values(), *GROUPED.values()])}. "
    "Rate fast. PR long. QRS wide. QTc long. Axis left. Rhythm: atrial fibrillation. Findings: inferior myocardial "
    "infarction. Groups: myocardial infarction, ST-T changes, conduction disturbance, hypertrophy. "
    "Rate slow. PR normal. QRS narrow. QTc normal. Axis normal. Rhythm: sinus rhythm. Findings: normal ECG. "
    "Groups: normal ECG."
)
DISEASES = frozenset({"MI", "STTC", "CD", "HYP"})
ANSWERS = frozenset(
    "yes no none both neither slow normal fast short long narrow borderline wide left right extreme rate about that "
    "ecg-1 ecg-2 end curve".split()
)


OWN_EYE = (  # how people ask for it, after training/data/tool_use/look.jsonl
    r"eye(?:s|ball\w*)?|your ?self|your (?:own|guess|impression|judge?ment|bet|hunch)|by sight|guess|soft tokens",
    r"personal(?:ly)?|unaided|spontaneous|naked|gut feeling|hunch|off the cuff|visual(?:ly)?|quick look",
    r"snap judge?ment|(?:first|a) (?:glance|sight|impression)|just (?:glance|look|have a look)",
    r"(?:from|by|only) looking",
    r"(?:no|without|skip|leave|before|forget|don.?t|do not|not)\b.{0,24}\b(?:tools?|interpreter|measur\w+|anything)",
    r"(?:no|without|don.?t|do not|not)\b.{0,24}\b(?:comput\w+|calculat\w+|software|analys\w+)",
    r"tools? (?:off|aside|later)",
    r"(?:ohne|sans|sin) (?:werkzeuge?|messung|outil|herramientas)",
)
ASKED = re.compile(rf"\b(?:{'|'.join(OWN_EYE)})\b", re.IGNORECASE)
OF_TOOLS = re.compile(r"\b(?:tools?|interpret_ecg|measure(?:_ecg|ments?|d)?|algorithm|criteria)\b", re.IGNORECASE)
OF_RHYTHM = re.compile(r"\b(?:rhythm|a-?fib|fibrillation|flutter|sinus)\b", re.IGNORECASE)


def asked_for(question: str, history: list[dict[str, Any]]) -> bool:
    """Whether a person asks for the model's own eye in so many words, or leans on a turn that was a look.

    What is not measured is never said to somebody who did not ask for that.
    """
    if ASKED.search(question):
        return True
    if OF_TOOLS.search(question):
        return False
    return bool(history) and any(call["name"] == ACTION for call in history[-1]["calls"])


def asked_beside(question: str, kind: str = "ecg") -> str:
    """What the model is asked, to be compared with a tool's reading: the rhythm where a question is of it."""
    if kind != "ecg":
        return WHOLE
    return RHYTHM_OF if OF_RHYTHM.search(question) else GROUPS_OF


def look(recording: Recording) -> Any:
    """`Features` (B = 1) of encoders/projector.py, of the first ten seconds of the usable leads; or of
    encoders/spiro_projector.py, of the best blow.

    Raises
    ------
    UsageError : where nothing can be told from it; the line says why.
    """
    return _look_at_spirogram(recording) if recording.kind == "spirogram" else _look_at_ecg(recording)


def _look_at_spirogram(recording: Recording) -> Any:
    import torch

    from encoders.spiro import opened, prepared
    from encoders.spiro_projector import features
    from tools.spirogram import best_blow

    x, there = prepared(best_blow(recording).volume_l, recording.fs_hz)
    given = torch.from_numpy(x)[None], torch.from_numpy(there)[None]
    with torch.inference_mode():
        return features(opened()(*given), given[1])


def _look_at_ecg(recording: Recording) -> Any:
    import torch

    from encoders.projector import features
    from encoders.reading import prepared, reader
    from tools import quality
    from tools.interpret import why_withheld

    judged = quality.assess(recording)["leads"]
    usable = tuple(name for name in recording.leads if name in LEADS and judged[name]["usable"])
    if why := why_withheld(recording, list(usable)):
        raise UsageError(why)
    rows = [recording.leads.index(name) for name in usable]
    windows, known, index = prepared(recording.signal[rows], recording.fs_hz, usable)
    lead = torch.tensor(index)[None]
    given = (torch.from_numpy(windows[:1]), torch.from_numpy(known[:1]), lead, torch.ones(lead.shape, dtype=torch.bool))
    with torch.inference_mode():
        return features(reader().net(*given), lead)


def is_look(result: dict[str, Any]) -> bool:
    """Whether a result of a turn is a look that could be done."""
    return result["name"] == ACTION and "error" not in result["result"]


def look_result(recording: Recording) -> dict[str, Any]:
    """What stands in the trace of a look: that it can be done, and what the tool finds in the same recording."""
    from tools.registry import find
    from tools.spirogram import told_of

    look(recording)
    tool = BESIDE[recording.kind]
    said = {"seen_by": "the language model", "beside": tool}
    if recording.kind == "spirogram":
        return said | {"pattern": told_of(recording)[0]["pattern"]}  # the tool itself would draw a figure, too
    found = find(tool).run(recording, {}, None)
    keys = ("code", "name", "probability", "certainty")
    return said | {"findings": [{key: finding[key] for key in keys} for finding in found["findings"]]}


def comparable(found: dict[str, Any]) -> bool:
    """Whether a tool's result says something that the model's own eye can be compared with."""
    if found.get("probabilities"):
        return any(lead in LEADS for lead in found["leads_used"])
    return bool(found.get("pattern"))


def differs(text: str, found: dict[str, Any], whole: bool = True) -> list[str]:
    """Where the model's own reading and the tool's result of the same recording are not of one mind."""
    if "findings" in found:
        return differences(text, found["findings"], whole)
    mine, theirs = re.search(r"Pattern: ([^.]+)\.", text), found.get("pattern")
    if not mine or not theirs or ("airflow obstruction" in mine[1]) == ("airflow obstruction" in theirs):
        return []
    return [f"{DIFFERS}it sees {mine[1]}, where read_spirogram finds {theirs}. The tool's reading counts."]


def concerns(sentence: str, text: str) -> bool:
    """Whether a sentence on findings is about groups that a text names; of a conclusion, or of none, always."""
    from agent.findings import named

    if "conclusion" in text.lower():
        return True
    groups = [{statement(code).superclass or code for code, _, _ in named(one)} for one in (sentence, text)]
    return not groups[1] or bool(groups[0] & groups[1])


def without_numbers(text: str) -> str:
    """What the model says by eye, less the sentences with a number in them: numbers are the tools' alone."""
    kept = [
        sentence
        for sentence in re.split(r"(?<=[.!?])\s+", text.strip())
        if sentence and not re.search(r"\d", re.sub(r"\b(?:ecg-\d+|spirogram-\d+|V[1-6])\b", "", sentence))
    ]
    return f"{OWN}{' '.join(kept)}" if kept else NO_NUMBERS


def says_something(text: str) -> bool:
    """Whether a reading names a finding, a lead, a yes or no, or one of the words that it is taught to answer in."""
    from agent.findings import named

    if "Pattern:" in text:
        return True
    first = re.split(r"[^\w-]", text.strip().lower(), maxsplit=1)[0]
    return bool(named(text)) or first in ANSWERS or all(one in LEADS for one in text.strip(" .").split(", "))


def differences(text: str, findings: list[dict[str, Any]], whole: bool = True) -> list[str]:
    """Where the model's own reading and `interpret_ecg` name other groups of diagnosis or another rhythm.

    Only of a `whole` reading is it said what it does not see.
    """
    from agent.findings import named

    found = {finding["code"] for finding in findings}
    likely = {finding["code"] for finding in findings if finding["certainty"] == "likely"}
    seen = {code for code, _, _ in named(text)}
    mine, theirs, sure = ({statement(code).superclass or code for code in codes} for codes in (seen, found, likely))
    only_mine = sorted((mine & DISEASES) - theirs)
    missed = sorted((sure & DISEASES) - mine) if whole else []
    said = [f"it sees {_listed(only_mine)}, which interpret_ecg does not find"] if only_mine else []
    said += [f"it does not see {_listed(missed)}, which interpret_ecg finds likely"] if missed else []
    for code, other in (("AFIB", "SR"), ("SR", "AFIB")):
        if code in seen and other in likely and code not in found:
            said.append(f"it sees {statement(code).name}, where interpret_ecg finds {statement(other).name}")
    return [f"{DIFFERS}{'; '.join(said)}. The tool's reading counts."] if said else []


def _listed(codes: list[str]) -> str:
    return " and ".join(GROUPED[code].name if code in GROUPED else statement(code).name for code in codes)


def before(turns: list[dict[str, Any]], names: list[str]) -> list[tuple[str, str]]:
    """Questions and answers of the looks at these ECGs just before, oldest first: what a follow-up leans on."""
    kept: list[tuple[str, str]] = []
    for turn in reversed(turns[-HISTORY_TURNS:]):
        looked = [call["arguments"].get("recording") for call in turn["calls"] if call["name"] == ACTION]
        if looked != names:
            break
        own = turn["answer"].partition(OWN)[2].partition("\n")[0].partition(DIFFERS)[0].strip()
        kept.insert(0, (turn["user"], own))
    return [pair for pair in kept if pair[1]]
