"""The model's own eye: what it sees is said as its own, without numbers, beside what the tool finds."""

from dataclasses import replace

import numpy as np
import pytest

from agent import looking
from agent.graph import DISCLAIMER
from agent.llm import LocalModel, calls_schema
from agent.session import Session
from tools.errors import UsageError
from tools.recording import read

LOOK = [{"name": "look", "arguments": {"recording": "ecg-1"}}]
INTERPRET = [{"name": "interpret_ecg", "arguments": {"recording": "ecg-1"}}]


@pytest.fixture
def eyes(script):
    """A language model that follows a script, and says so of an ECG whatever it sees."""

    class Eyes(script):
        def __init__(self, calls, seen):
            super().__init__(calls)
            self.projectors = {"ecg": object(), "spirogram": object()}
            self.seen, self.asked = seen, []

        def read(self, seen, turns, stop):
            self.asked.append((sorted(seen), turns))
            yield self.seen[min(len(self.asked), len(self.seen)) - 1]

    return Eyes


def finding(code, certainty="likely"):
    return {"code": code, "certainty": certainty}


def test_agreement_is_not_worth_a_word():
    assert looking.differences("left ventricular hypertrophy, hypertrophy.", [finding("LVH")]) == []
    assert looking.differences("normal ECG.", [finding("NORM"), finding("SR")]) == []


def test_what_only_one_of_the_two_sees_is_said():
    (said,) = looking.differences("myocardial infarction.", [finding("LVH")])
    assert "sees myocardial infarction, which interpret_ecg does not find" in said
    assert "does not see hypertrophy, which interpret_ecg finds likely" in said
    (said,) = looking.differences(
        "conduction disturbance. Rhythm: atrial fibrillation.", [finding("CRBBB"), finding("SR")]
    )
    assert "atrial fibrillation, where interpret_ecg finds sinus rhythm" in said
    assert looking.differences("normal ECG.", [finding("LVH", "uncertain")]) == []
    assert looking.differences("sinus rhythm.", [finding("LVH"), finding("SR")], whole=False) == []


def test_words_that_answer_nothing_are_asked_for_again(eyes, dicom):
    assert not looking.says_something("I look like a recording.")
    for answer in ("Yes.", "narrow.", "V1, V2.", "left ventricular hypertrophy.", "That cannot be told from this ECG."):
        assert looking.says_something(answer)
    llm = eyes(LOOK, ["I look like a recording.", "Rate normal. Rhythm: sinus rhythm. Groups: normal ECG."])
    session = Session(llm)
    session.add(dicom)
    *_, end = session.ask("What do you see yourself?")
    assert end["answer"].startswith(f"{looking.OWN}Rate normal.")
    assert llm.asked[1][1] == [("What does ecg-1 show?", "")]


def test_no_number_is_given_by_eye():
    said = looking.without_numbers("Rate fast. About 110 bpm. T waves are inverted in V1 and V2 of ecg-1.")
    assert said == f"{looking.OWN}Rate fast. T waves are inverted in V1 and V2 of ecg-1."
    assert looking.without_numbers("About 110 bpm.") == looking.NO_NUMBERS


def test_leads_that_are_not_usable_are_not_looked_at(dicom):
    recording = read(dicom)[0]
    assert looking.look(recording).has_lead.sum() == 12
    flat = recording.signal.copy()
    flat[3:] = 0
    assert looking.look(replace(recording, signal=flat)).has_lead[0].nonzero()[:, 0].tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="no lead is usable"):
        looking.look(replace(recording, signal=np.zeros_like(recording.signal)))
    with pytest.raises(UsageError, match="not in mV"):
        looking.look(replace(recording, unit="adu"))
    short = replace(recording, signal=recording.signal[:, : round(1.5 * recording.fs_hz)])
    with pytest.raises(UsageError, match="too short"):
        looking.look(short)


def test_a_look_is_answered_by_the_models_own_eye(eyes, dicom):
    session = Session(eyes(LOOK, ["Rhythm: sinus rhythm.", "normal ECG."]))
    session.add(dicom)
    *_, end = session.ask("What do you see yourself?")
    assert end["answer"].startswith(f"{looking.OWN}Rhythm: sinus rhythm.")
    assert end["answer"].endswith(DISCLAIMER)
    assert end["tools"][0]["name"] == "look"
    assert {"code", "name", "probability", "certainty"} == set(end["tools"][0]["result"]["findings"][0])


def test_a_follow_up_sees_what_was_said_before(eyes, dicom):
    llm = eyes(LOOK, ["Rhythm: sinus rhythm."])
    session = Session(llm)
    session.add(dicom)
    list(session.ask("What do you see yourself?"))
    list(session.ask("and the axis, by eye?"))
    names, turns = llm.asked[1]
    assert names == ["ecg-1"]
    assert turns == [("What do you see yourself?", "Rhythm: sinus rhythm."), ("and the axis, by eye?", "")]


def test_an_interpretation_says_where_the_eye_differs(eyes, dicom):
    session = Session(eyes(INTERPRET, ["hypertrophy, myocardial infarction, conduction disturbance, ST-T changes."]))
    session.add(dicom)
    *_, end = session.ask("Interpret the ECG")
    assert "own eye differs" in end["answer"]
    assert "The tool's reading counts." in end["answer"]


def test_more_ecgs_than_can_be_looked_at_are_named(eyes, dicom):
    looks = [{"name": "look", "arguments": {"recording": f"ecg-{i}"}} for i in (1, 2, 3)]
    session = Session(eyes(looks, ["both."]))
    for _ in looks:
        session.add(dicom)
    *_, end = session.ask("Eyeball all three")
    assert "I look at 2 recordings at a time; left out: ecg-3." in end["answer"]


def test_an_ecg_that_cannot_be_looked_at_is_one_line(eyes, dicom):
    recording = read(dicom)[0]
    session = Session(eyes(LOOK, ["normal ECG."]))
    session.keep(replace(recording, signal=np.zeros_like(recording.signal)))
    *_, end = session.ask("What do you see yourself?")
    assert "no lead is usable" in end["answer"]
    assert looking.OWN not in end["answer"]


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("What do you see, without any tool?", True),
        ("by eye, does it look normal?", True),
        ("your own impression please", True),
        ("Interpret the ECG", False),
        ("Is there an infarct?", False),
        ("How good was the signal?", False),
        ("what does it show?", False),
    ],
)
def test_the_model_looks_only_where_it_is_asked_to(question, asked):
    assert looking.asked_for(question, []) is asked
    assert looking.asked_for(question, [{"user": "eyeball it", "calls": LOOK}])


def test_after_a_look_the_tool_can_be_asked_for():
    before = [{"user": "eyeball it", "calls": LOOK}]
    assert not looking.asked_for("And what does the tool find?", before)
    assert not looking.asked_for("is that measured?", before)
    assert looking.asked_for("and the QRS, still without any tool?", before)
    assert looking.asked_beside("what does the tool say about the rhythm?") == looking.RHYTHM_OF
    assert looking.asked_beside("interpret it") == looking.GROUPS_OF


def test_only_a_model_with_eyes_may_choose_to_look(tiny_model):
    def names(schema):
        return {option["properties"]["name"]["const"] for option in schema["items"]["anyOf"]}

    assert looking.ACTION in names(calls_schema(["ecg-1"], looks=("ecg",)))
    assert looking.ACTION not in names(calls_schema(["ecg-1"]))
    assert looking.ACTION not in names(calls_schema(["ppg-1"], looks=("ecg", "spirogram")))
    assert LocalModel(str(tiny_model)).projectors == {}
