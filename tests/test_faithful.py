"""The answer may only say what the evidence says: each way of breaking that is caught."""

import pytest

from agent import faithful
from agent.compose import UNFIT
from agent.evidence import complete, going_on, narrowed, relevant
from agent.faithful import NOT_RETURNED, number_pairs, problems
from agent.session import Session
from training.answer_data import answers

EVIDENCE = [
    "Heart rate 61 bpm, within the usual 60–100 bpm.",
    "The rhythm is regular (RR 982 ms, SD 18 ms).",
    "PR interval 161 ms, within the usual 120–200 ms.",
    "QT interval 368 ms.",
    "QTc 371 ms by Bazett, 370 ms by Fridericia, 372 ms by Framingham, 369 ms by Hodges.",
    "ST level 60 ms after J: II 0.05 mV, V1 -0.02 mV.",
    "P waves are absent.",
]


@pytest.mark.parametrize(
    "answer",
    [
        "The heart rate is 61 bpm.",
        "The QTc is 371 ms by Bazett (370 ms by Fridericia), and the rhythm is regular.",
        "By Bazett the QTc is 371 ms.",
        "In V1 the ST level 60 ms after J is -0.02 mV.",
        "P waves are absent.",
        NOT_RETURNED,
    ],
)
def test_what_the_evidence_says_may_be_said(answer):
    assert problems(answer, EVIDENCE) == []


@pytest.mark.parametrize(
    "answer",
    [
        "The heart rate is 62 bpm.",  # another number
        "The heart rate is 100 bpm.",  # the limit, not the measurement
        "The heart rate is 61 ms.",  # another unit
        "The heart rate is 61.0 bpm.",  # another rounding
        "The PR interval is 368 ms.",  # a number of another quantity
        "The QTc is 371 ms by Fridericia.",  # of another formula
        "The ST level is 0.05 mV in V1.",  # of another lead
        "The ST level is 0.02 mV in V1.",  # without its sign
        "V3 is 0.05 mV.",  # a lead that no tool named
        "The rhythm is irregular.",  # another finding
        "The rhythm is not regular.",  # a negation
        "The heart rate is 61 bpm, above the usual 60–100 bpm.",  # no tool said above
        "The heart rate is 61 bpm, without regular rhythm.",
        "P waves are present.",
        "P waves are regular.",  # a state of another quantity
        "The rhythm is regular, which rules out atrial fibrillation.",  # a conclusion of its own
        "This is a healthy heart.",
    ],
)
def test_what_it_does_not_say_is_caught(answer):
    assert problems(answer, EVIDENCE)


def test_a_state_belongs_to_its_quantity():
    evidence = ["Heart rate 112 bpm, above the usual 60–100 bpm.", "PR interval 161 ms, within the usual 120–200 ms."]
    assert not problems(" ".join(evidence), evidence)
    assert problems("The heart rate is 112 bpm, within the usual 60–100 bpm.", evidence)
    assert problems("The PR interval is 161 ms, above the usual 120–200 ms.", evidence)


def test_recordings_are_not_mixed_up():
    evidence = ["ecg-1: QT interval 368 ms.", "ecg-2: QT interval 420 ms."]
    assert not problems("In ecg-1, the QT interval is 368 ms; in ecg-2, the QT interval is 420 ms.", evidence)
    assert problems("In ecg-1, the QT interval is 420 ms; in ecg-2, the QT interval is 368 ms.", evidence)


@pytest.mark.parametrize("answer", ["Your QTc is 400 ms.", "That looks normal.", "You have an infarction."])
def test_without_evidence_nothing_clinical_is_said(answer):
    assert problems(answer, [])


def test_without_evidence_a_polite_line_passes():
    assert not problems("Hello! Load a recording and ask me about it.", [])


def test_every_number_of_a_sentence_is_seen_with_its_quantity():
    pairs = number_pairs("The rhythm is regular (RR 982 ms, SD 18 ms).")
    assert [(pair.number, pair.unit, pair.quantity) for pair in pairs] == [("982", "ms", "rr"), ("18", "ms", "sd")]


def test_evidence_is_chosen_by_the_question():
    assert relevant("what is the QTc, and is the rhythm regular?", EVIDENCE) == [EVIDENCE[1], EVIDENCE[4]]
    assert relevant("HR?", EVIDENCE) == EVIDENCE[:1]
    assert len(relevant("measure it", EVIDENCE)) == len(EVIDENCE) - 1  # all but the table of ST levels


def test_of_other_recordings_too_the_answer_is_to_the_question():
    trace = [
        "Gestational age is estimated at 284 days (40+4 weeks), 90 % interval 270 to 297 days.",
        "Baseline heart rate is 140 bpm (FIGO's normal: 110 to 160 bpm).",
        "Variability is 24 bpm (FIGO's normal: 5 to 25 bpm).", "Short-term variability is 11.8 ms.",
        "Accelerations: 9.", "Decelerations: 1 early, 15 variable.", "Contractions: 4.2 in 10 min.",
        "Signal loss is 22 %, the longest gap 63 s.",
    ]  # fmt: skip
    assert relevant("Are there decelerations?", trace) == [trace[5]]
    assert relevant("What are the baseline and the variability?", trace) == trace[1:4]
    assert relevant("how old is the fetus", trace) == trace[:1]
    assert relevant("how fast is its heart?", trace) == [trace[1]]
    blow = ["Spirometry pattern by GLI 2012: obstruction, mild.", "FEV1 2.10 L (z -1.90).", "FVC 3.90 L (z 0.10).",
            "FEV1/FVC 0.538 (LLN 0.680).", "Grade of the session: A, 3 of 3 manoeuvres acceptable."]  # fmt: skip
    assert relevant("How large are FEV1 and FVC?", blow) == blow[:3]
    assert relevant("is there airflow obstruction", blow) == [blow[0], blow[3]]
    assert relevant("FEV1/FVC?", blow) == [blow[0], blow[3]]
    caution = "spirogram-1: One manoeuvre was cut short."
    assert narrowed("is there airflow obstruction", [*blow, caution], [caution[13:]]) == [blow[0], blow[3], caution]
    assert narrowed("what do you make of it", [*blow, caution], []) == [*blow, caution]  # it names nothing


def test_a_table_is_cut_to_the_leads_that_are_asked_for():
    assert relevant("ST elevation in V1?", EVIDENCE) == ["ST level 60 ms after J: V1 -0.02 mV."]
    assert relevant("ST elevation anywhere?", EVIDENCE) == [EVIDENCE[5]]
    assert relevant("ST in V6?", EVIDENCE) == [EVIDENCE[5]]  # not there: what is there is shown


def test_an_answer_that_leaves_out_what_was_asked_is_incomplete():
    question = "what are the heart rate and the QTc?"
    assert complete("The heart rate is 61 bpm. The QTc is 371 ms by Bazett.", question, EVIDENCE)
    assert not complete("The heart rate is 61 bpm.", question, EVIDENCE)
    limited = [*EVIDENCE, "QTc by Bazett is within the usual limits of 450 ms for men and 460 ms for women."]
    assert not complete("The QTc by Bazett is within the usual limit of 450 ms for men.", "QTc?", limited)


def test_who_names_nothing_is_told_the_main_thing():
    assert not complete("The signal is good in all leads.", "measure what you drew", EVIDENCE)
    assert complete("The heart rate is 61 bpm.", "measure what you drew", EVIDENCE)


def test_the_answers_taught_in_training_all_hold():
    for evidence, question, answer in answers(seed=5, n=400):
        assert not problems(answer, evidence), (evidence, question, answer)


READ = [
    "Urgent: Atrial fibrillation is likely (probability 0.91, threshold 0.36).",
    "Conclusion: likely atrial fibrillation.",
    "Heart rate 131 bpm, above the usual 60–100 bpm.",
    "No sign of left ventricular hypertrophy (probability 0.02).",
]


def test_a_clause_is_not_told_by_the_one_before():
    held = ["P waves are absent.", "Atrial fibrillation is likely (probability 0.90, threshold 0.40)."]
    joined = "P waves are absent, and atrial fibrillation is likely (probability 0.90, threshold 0.40)."
    assert not problems(joined, held)
    assert problems(joined.replace("is likely", "is uncertain"), held)
    assert problems("P waves are absent, and there is no atrial fibrillation.", held)
    assert problems("No P waves, and atrial fibrillation is unlikely.", held)


def test_what_is_urgent_and_each_finding_asked_for_must_be_told():
    assert not complete(READ[2], "What is the rate?", READ)
    assert complete(f"{READ[0]} {READ[2]}", "What is the rate?", READ)
    calm = ["Conclusion: likely normal ECG.", "Sinus rhythm is likely (probability 0.96, threshold 0.52).", READ[3],
            "No sign of atrial fibrillation (probability 0.01)."]  # fmt: skip
    assert not complete(calm[1], "is there atrial fibrillation?", calm)
    assert complete(f"{calm[1]} {calm[3]}", "is there atrial fibrillation?", calm)
    assert not complete("Sinus rhythm is likely (probability 0.96, threshold 0.52).", "so?", calm)
    assert complete("Conclusion: likely normal ECG.", "so?", calm)


def test_a_comparison_tells_of_each_and_a_limit_is_no_measurement():
    both = ["ecg-1: Heart rate 64 bpm.", "ecg-2: Heart rate 70 bpm."]
    assert not complete("In ecg-1, the heart rate is 64 bpm.", "which one is faster?", both)
    assert complete("In ecg-1, the heart rate is 64 bpm; in ecg-2, it is 70 bpm.", "which one is faster?", both)
    long = ["QTc 475 ms by Bazett, 460 ms by Hodges.", "QTc by Bazett is above the usual limit of 460 ms for women."]
    assert not complete(long[1], "is the QTc long?", long)  # 460 ms is also what Hodges gives


def test_why_is_asked_of_what_was_asked_before():
    assert going_on("why?", "is this AF?") == going_on("why do you think so?", "is this AF?") == "is this AF?"
    assert "R wave" in going_on("and in V2?", "how high is the R wave in V5?")
    assert "V5" not in going_on("and in V2?", "how high is the R wave in V5?")
    assert going_on("what is the QTc?", "is this AF?") == "what is the QTc?"
    assert going_on("why?", "") == "why?"


def test_leads_may_be_named_by_their_range_or_wall():
    table = ["R amplitude: II 0.9 mV, III 0.5 mV, aVF 0.7 mV, V1 0.1 mV, V2 0.2 mV, V3 0.3 mV, V4 0.4 mV."]
    assert relevant("R waves in V1 to V3?", table) == ["R amplitude: V1 0.1 mV, V2 0.2 mV, V3 0.3 mV."]
    assert relevant("R waves of the inferior leads", table) == ["R amplitude: II 0.9 mV, III 0.5 mV, aVF 0.7 mV."]


def test_of_several_recordings_each_has_its_share():
    many = [
        f"ecg-{n}: {name} is likely." for n in (1, 2) for name in ("Conclusion: A", *("B" * k for k in range(1, 9)))
    ]
    assert {sentence[:5] for sentence in relevant("what do they show?", many)} == {"ecg-1", "ecg-2"}
    table = ["ST level 60 ms after J: V1 0.04 mV, V3 0.27 mV."]
    assert not complete("The ST level 60 ms after J is V1 0.04 mV.", "any ST elevation?", table)
    assert complete("The ST level 60 ms after J is V1 0.04 mV, V3 0.27 mV.", "any ST elevation?", table)
    assert not complete("The rate is 61 bpm. The rate is 61 bpm.", "rate?", ["Heart rate 61 bpm."])


def test_counts_of_two_kinds_of_beats_are_not_told_of_each_other():
    held = ["Ectopic beats: 7 ventricular and 0 supraventricular of 26 beats."]
    assert not problems("The ectopic beats are 7 ventricular and 0 supraventricular of 26 beats.", held)
    assert problems("The ectopic beats are 7, and the supraventricular of 26 beats is 0.", held)


def test_what_nobody_asked_for_is_not_refused():
    assert faithful.wrong_subject("I cannot help with programming.", "what would you do next?")
    assert not faithful.wrong_subject("I cannot help with programming.", "write a programme in C")
    assert not faithful.wrong_subject("I can help with a recording.", "hello")


def test_what_is_loaded_is_said_as_it_is():
    wrong = faithful.wrong_about_loaded
    assert wrong("That needs an ECG, and only a spirogram is loaded.", {"ecg"})
    assert wrong("No recording is loaded.", {"ppg"})
    assert not wrong("No ECG is loaded; please upload one first.", {"ppg"})
    assert not wrong("That needs an ECG, and only a PPG is loaded.", {"ppg"})
    assert not wrong("You are welcome.", set())


def test_a_false_word_on_what_is_loaded_never_reaches_the_reader(script, dicom):
    session = Session(script(answers=["That needs an ECG, and only a spirogram is loaded."] * 2))
    session.add(dicom)
    *_, end = session.ask("What does the tool say?")
    assert end["answer"].startswith(UNFIT)
    assert "What an ECG shows" in end["answer"]
    assert "spirogram" not in end["answer"]  # of what is loaded alone
