"""interpret_ecg with a small fake encoder: contradictions, urgency, evidence, bad input, and what answers may say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import faithful
from agent.evidence import relevant
from agent.findings import mentions
from tools import interpret, interpret_words
from tools.errors import MissingWeights
from tools.interpret import interpret_ecg, sentences
from tools.interpret_resolve import EXCLUDE, HARMLESS, RHYTHMS, resolve
from tools.measure import measure_ecg
from tools.recording import LEADS, Recording, read
from tools.registry import find
from tools.scp import GROUPED, STATEMENTS


class Fake:
    """The encoder's interface with given probabilities; 0.02 for every other statement."""

    name = "fake"

    def __init__(self, **groups):
        self.groups, self.looked, self.seen = groups, [], None

    def read(self, signal, fs_hz, leads, measured):
        self.seen = (signal, leads)
        rest = dict.fromkeys(STATEMENTS, 0.02) if self.groups else {}
        return SimpleNamespace(
            probabilities={
                "superclass": self.groups.get("superclass", {}),
                "subclass": self.groups.get("subclass", {}),
                "statement": rest | self.groups.get("statement", {}),
            },
            thresholds={"statement": {"AFIB": 0.4}},
            uncertain={"statement": {"LVH": (0.3, 0.7)}},
            places=[],
        )

    def look(self, signal, fs_hz, leads, wanted):
        self.looked += wanted
        place = {"leads": [("V1", 0.5), ("II", 0.1), ("I", -0.1)], "times": [(1.0, 1.4, 0.3), (2.0, 2.4, 0.0)]}
        return [place for _ in wanted]


@pytest.fixture
def encoder(monkeypatch):
    def use(**groups):
        fake = Fake(**groups)
        monkeypatch.setattr(interpret, "reader", lambda: fake)
        return fake

    return use


@pytest.fixture(scope="module")
def plain():
    return synthetic.ecg().recording


def codes(result):
    return [finding["code"] for finding in result["findings"]]


@pytest.mark.parametrize(
    ("truth", "absent"),
    [({}, {"1AVB", "CLBBB", "CRBBB"}), ({"pr_ms": 240}, {"CLBBB", "CRBBB"}), ({"qrs_ms": 150, "qt_ms": 430}, {"1AVB"})],
)
def test_no_sign_is_said_of_nothing_that_an_interval_speaks_for(encoder, truth, absent):
    encoder(statement={"SR": 0.9})
    result = interpret_ecg(synthetic.ecg(**truth).recording)
    assert result["no_sign_of"].keys() & {"1AVB", "CLBBB", "CRBBB"} == absent


def test_a_real_recording(encoder, dicom, tmp_path):
    fake = encoder(statement={"SR": 0.98, "NORM": 0.9})
    result = interpret_ecg(read(dicom)[0], None, tmp_path)
    json.dumps(result, allow_nan=False)
    assert codes(result) == ["NORM", "SR"]
    assert all(finding["certainty"] == "likely" for finding in result["findings"])
    assert result["summary"].startswith("Heart rate 61 bpm")
    assert result["summary"].endswith("Conclusion: likely normal ECG, likely sinus rhythm.")
    assert "No sign of atrial fibrillation or atrial flutter." in result["summary"]
    assert fake.looked == []  # nothing to look for in what is normal
    assert result["figure"] is None
    assert any(warning.startswith("No figure is drawn") for warning in result["warnings"])


def test_findings_say_where_the_encoder_looked(encoder, plain, tmp_path):
    fake = encoder(statement={"CRBBB": 0.97, "LVH": 0.5, "SR": 0.9, "IMI": 0.6})
    result = interpret_ecg(plain, None, tmp_path)
    assert len(fake.looked) == interpret.LOOKED_AT
    looked = [finding["looked_at"] for finding in result["findings"] if finding["looked_at"]]
    assert looked[0] == {
        "leads": [{"lead": "V1", "drop": 0.5}, {"lead": "II", "drop": 0.1}],
        "times": [{"start_s": 1.0, "stop_s": 1.4, "drop": 0.3}],
    }
    assert "<svg" in Path(result["figure"]).read_text()
    certainty = {finding["code"]: finding["certainty"] for finding in result["findings"]}
    assert certainty["LVH"] == "uncertain"  # inside its band


def test_summary_is_in_the_order_of_reading(encoder, plain):
    encoder(statement={"SR": 0.9, "IMI": 0.9, "LVH": 0.9, "1AVB": 0.8})
    summary = interpret_ecg(plain)["summary"]
    order = ["Heart rate", "The rhythm", "Sinus rhythm", "QRS axis", "PR interval", "QTc"]
    order += ["First-degree", "Left ventricular", "Inferior", "Conclusion"]
    places = [summary.index(word) for word in order]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("statement", "there", "gone"),
    [
        ({"SR": 0.7, "AFIB": 0.9}, "AFIB", "SR"),
        ({"SR": 0.95, "AFIB": 0.5}, "SR", "AFIB"),
        ({"STACH": 0.9, "SR": 0.6}, "SR", "STACH"),  # at 72 bpm
        ({"NORM": 0.9, "CLBBB": 0.8}, "CLBBB", "NORM"),
        ({"CLBBB": 0.9, "CRBBB": 0.8}, "CLBBB", "CRBBB"),
        ({"IRBBB": 0.9, "CRBBB": 0.8}, "IRBBB", "CRBBB"),
        ({"AFIB": 0.9, "1AVB": 0.9}, "AFIB", "1AVB"),
        ({"ILMI": 0.9, "IMI": 0.95}, "ILMI", "IMI"),
        ({"LAFB": 0.9, "ABQRS": 0.95}, "LAFB", "ABQRS"),
    ],
)
def test_contradictions_are_resolved(encoder, plain, statement, there, gone):
    encoder(statement=statement)
    found = codes(interpret_ecg(plain))
    assert there in found
    assert gone not in found


def test_a_statement_stands_for_its_classes(encoder, plain):
    encoder(superclass={"MI": 0.9, "CD": 0.9}, subclass={"IMI": 0.9, "LAFB/LPFB": 0.9}, statement={"ILMI": 0.8})
    assert set(codes(interpret_ecg(plain))) == {"ILMI", "LAFB/LPFB"}


ALL = sorted(set(STATEMENTS) | set(GROUPED))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(ALL), st.floats(0, 1), max_size=25),
    st.one_of(st.none(), st.integers(25, 220)),
)
def test_no_set_of_probabilities_contradicts_itself(probabilities, rate):
    found = [f.code for f in resolve({"statement": probabilities}, {}, {}, {"heart_rate_bpm": rate})]
    assert len(set(found) & set(RHYTHMS)) <= 1
    assert all(len(set(found) & alternatives) <= 1 for alternatives in EXCLUDE)
    assert not ("NORM" in found and set(found) - HARMLESS)
    assert not ("AFIB" in found and "1AVB" in found)
    assert not ("STACH" in found and rate is not None and rate < 100)
    assert not ("SBRAD" in found and rate is not None and rate > 60)
    assert all(probabilities[code] >= 0.5 for code in found)


def certainty(measured, **statement):
    found = resolve({"statement": statement}, {}, {}, measured)
    return {finding.code: finding.certainty for finding in found}


def test_the_measurement_may_forbid_to_be_sure(measured):
    sure = certainty(measured, NORM=0.9, SR=0.9)
    assert sure == {"NORM": "likely", "SR": "likely"}
    suspected = {**measured, "p_waves": "absent", "pr_ms": None, "atrial_fibrillation_suspected": True}
    assert certainty(suspected, NORM=0.9, SR=0.9) == {"AFIB": "uncertain"}
    assert certainty({**measured, "p_axis_deg": 161}, SR=0.9) == {"SR": "uncertain"}
    assert "1AVB" in certainty(measured, **{"1AVB": 0.9})
    assert "1AVB" not in certainty(suspected, **{"1AVB": 0.9})


def test_a_narrow_tachycardia_that_is_no_sinus_rhythm_cannot_wait(measured):
    fast = {**measured, "heart_rate_bpm": 172}
    (found,) = [one for one in resolve({}, {}, {}, fast) if one.code == "SVTAC"]
    assert (found.urgent, found.certainty) == (True, "uncertain")
    flutter = resolve({"statement": {"AFLT": 0.9}}, {}, {}, fast)
    assert [one.code for one in flutter if one.urgent] == ["AFLT"]


def test_what_a_question_names_is_told_of(encoder, plain):
    encoder(statement={"SR": 0.9, "AFIB": 0.3}, superclass={"NORM": 0.9})
    result = interpret_ecg(plain)
    assert interpret_words.unfound(result, ["SR"]) == []  # found
    assert interpret_words.unfound(result, ["LVH"]) == []  # said to be without a sign
    assert interpret_words.unfound(result, ["AFIB"]) == ["Atrial fibrillation is not found (probability 0.30)."]
    del result["probabilities"]["statement"]["WPW"]
    [sentence] = interpret_words.unfound({**result, "no_sign_of": {}}, ["WPW"])
    assert sentence == "Ventricular preexcitation is beyond what the reader has learnt."


def test_of_a_lead_without_a_name_the_rhythm_alone_is_read(encoder, plain):
    encoder(statement={"SR": 0.9, "LVH": 0.9}, superclass={"MI": 0.9})
    alone = replace(plain, signal=plain.signal[1:2], leads=("ECG",), gain=None)
    result = interpret_ecg(alone)
    assert codes(result) == ["SR"]
    assert "The lead has no name: its rhythm alone is read." in result["warnings"]
    two = replace(plain, signal=plain.signal[:2], leads=("ECG1", "ECG2"), gain=None)
    assert "none of its leads is named" in interpret_ecg(two)["warnings"][0]


def test_many_ventricular_beats_are_a_finding(measured):
    many = {**measured, "ectopic": {"ventricular": 444, "supraventricular": 0, "of": 1987}}
    assert certainty(many, NORM=0.9, SR=0.9) == {"PVC": "uncertain", "SR": "likely"}
    few = {**measured, "ectopic": {"ventricular": 4, "supraventricular": 0, "of": 1987}}
    assert "PVC" not in certainty(few, NORM=0.9, SR=0.9)


def test_fibrillation_that_runs_stands_first(encoder):
    rng = np.random.default_rng(0)
    time_s = np.arange(60 * 250) / 250
    wave = np.sin(2 * np.pi * (5 * time_s + 0.4 * np.cumsum(rng.normal(0, 0.05, len(time_s)))))
    encoder(statement={"AFIB": 0.9, "SR": 0.2})
    result = interpret_ecg(Recording(0.5 * wave[None].astype(np.float32), 250.0, ("II",)))
    assert result["findings"][0]["code"] == "VFIB"
    assert result["findings"][0]["urgent"]
    assert "AFIB" not in codes(result)


@pytest.fixture(scope="module")
def measured(plain):
    return measure_ecg(plain)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"qtc_ms": 512}, "LNGQT"),
        ({"heart_rate_bpm": 140, "atrial_fibrillation_suspected": True, "p_waves": "absent"}, "AFIB"),
        ({"heart_rate_bpm": 170, "qrs_ms": 160, "p_waves": "absent"}, "VTACH"),
        (
            {"warnings": ["Intervals are not measured: no QRS stands out, as in ventricular flutter or fibrillation."]},
            "VFIB",
        ),
    ],
)
def test_what_cannot_wait_stands_first(measured, changes, code):
    found = resolve({"statement": {"SR": 0.9, "NORM": 0.9}}, {}, {}, measured | changes)
    assert (found[0].code, found[0].urgent) == (code, True)
    assert "NORM" not in [finding.code for finding in found]


def test_st_elevation_with_reciprocal_depression_is_urgent(measured):
    raised = {**measured, "per_lead": {lead: dict(row) for lead, row in measured["per_lead"].items()}}
    for lead, level in {"II": 0.2, "III": 0.3, "aVF": 0.25, "aVL": -0.1}.items():
        raised["per_lead"][lead]["j_mv"] = level
    assert resolve({}, {}, {}, raised)[0].code == "STE_"
    [first, *_] = resolve({"statement": {"IMI": 0.9}}, {}, {}, raised)
    assert (first.code, first.urgent) == ("IMI", True)
    assert any("ST elevation in III 0.3 mV" in sentence for sentence in first.evidence)


def withheld(result, reason):
    assert result["probabilities"] is None
    assert result["encoder"] is None
    assert any(reason in warning for warning in result["warnings"])
    assert reason in result["summary"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: replace(r, signal=r.signal[:, :800]), "too short"),
        (lambda r: replace(r, signal=r.signal * 0), "no lead is usable"),
        (lambda r: replace(r, signal=r.signal * np.nan), "too short"),
        (lambda r: replace(r, signal=r.signal * 1000), "microvolt"),
        (lambda r: replace(r, leads=tuple(f"ECG {i}" for i in range(12))), "none of its leads is named"),
        (lambda r: replace(r, signal=np.clip(r.signal * 50, -2, 2) * 0 + 5), "no lead is usable"),
    ],
)
def test_where_nothing_can_be_told_nothing_is_guessed(encoder, plain, change, reason):
    encoder(statement={"MI": 0.99})
    result = interpret_ecg(change(plain))
    withheld(result, reason)
    assert result["findings"] == []
    assert result["summary"].endswith("Conclusion: no interpretation is given.")
    json.dumps(result, allow_nan=False)


def test_exchanged_arms_are_said_and_limb_findings_doubted(encoder, plain):
    swapped = np.array(plain.signal)
    row = {lead: LEADS.index(lead) for lead in LEADS}
    for new, old, sign in (("I", "I", -1), ("II", "III", 1), ("III", "II", 1), ("aVR", "aVL", 1), ("aVL", "aVR", 1)):
        swapped[row[new]] = sign * plain.signal[row[old]]
    encoder(statement={"IMI": 0.9})
    result = interpret_ecg(replace(plain, signal=swapped))
    assert any("Limb leads look exchanged" in warning for warning in result["warnings"])
    assert "Limb leads look exchanged" in result["summary"]
    assert result["findings"][0]["certainty"] == "uncertain"


def test_a_drawn_recording_is_called_synthetic(encoder, plain):
    encoder(statement={"SR": 0.9})
    result = interpret_ecg(replace(plain, meta={"synthetic": True}))
    assert "This recording is synthetic" in result["summary"]


def test_unusable_leads_do_not_reach_the_encoder(encoder, plain):
    signal = np.array(plain.signal)
    signal[3] = 0
    fake = encoder(statement={"SR": 0.9})
    result = interpret_ecg(replace(plain, signal=signal))
    assert "aVR" not in result["leads_used"]
    assert fake.seen[1] == tuple(result["leads_used"])
    assert fake.seen[0].shape[0] == 11


def test_missing_weights_are_one_line(monkeypatch, plain):
    def gone():
        raise MissingWeights("no weights: do this")

    monkeypatch.setattr(interpret, "reader", gone)
    with pytest.raises(MissingWeights, match="do this"):
        find("interpret_ecg").run(plain, {}, None)


@pytest.fixture
def said(encoder, plain):
    encoder(statement={"AFIB": 0.93, "LVH": 0.6, "CRBBB": 0.97})
    return sentences(interpret_ecg(plain))


@pytest.mark.parametrize(
    "answer",
    [
        "Left ventricular hypertrophy is uncertain (probability 0.60).",
        "Complete right bundle-branch block is uncertain (probability 0.97, threshold 0.50).",
        "No sign of ventricular preexcitation (probability 0.02).",
        "LVH is uncertain.",
    ],
)
def test_an_answer_may_say_a_finding_as_the_evidence_does(said, answer):
    assert not [problem for problem in faithful.problems(answer, said) if "'lvh'" not in problem]


@pytest.mark.parametrize(
    "answer",
    [
        "Left ventricular hypertrophy is likely (probability 0.60).",
        "Left ventricular hypertrophy is uncertain (probability 0.97).",  # another finding's probability
        "No sign of left ventricular hypertrophy.",
        "Left ventricular hypertrophy is seen.",
        "Ventricular preexcitation is likely.",
        "Likely inferior myocardial infarction.",
        "The ECG shows left ventricular hypertrophy.",
    ],
)
def test_and_in_no_other_way(said, answer):
    assert faithful.problems(answer, said)


def test_every_sentence_holds_by_itself(said):
    for sentence in said:
        assert faithful.problems(sentence, said) == [], sentence


@pytest.mark.parametrize(
    ("question", "opening"),
    [
        ("is there LVH?", "Left ventricular hypertrophy is"),
        ("any bundle branch block?", "Complete right bundle-branch block is"),
        ("is it afib?", "Atrial fibrillation is"),
        ("any infarct?", "No sign of"),
        ("what does this show, is it normal?", "Conclusion"),
    ],
)
def test_questions_pick_their_findings(encoder, plain, question, opening):
    encoder(statement={"AFIB": 0.93, "LVH": 0.6, "CRBBB": 0.97}, superclass={"MI": 0.01})
    said = sentences(interpret_ecg(plain))
    assert any(sentence.startswith(opening) for sentence in relevant(question, said))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Atrial fibrillation and left bundle branch block are likely.", [("AFIB", "likely"), ("CLBBB", "likely")]),
        ("No sign of atrial fibrillation or LVH.", [("AFIB", "no"), ("LVH", "no")]),
        ("Atrial fibrillation is uncertain and LVH is likely.", [("AFIB", "uncertain"), ("LVH", "likely")]),
        ("Atrial fibrillation is not likely.", [("AFIB", "no")]),
        ("Atrial fibrillation is suspected: no P waves are seen.", [("AFIB", "suspected")]),
    ],
)
def test_how_a_text_says_a_finding(text, found):
    assert [(mention.code, mention.said) for mention in mentions(text)] == found
