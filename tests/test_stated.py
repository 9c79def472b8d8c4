"""What the person says of the patient reaches the tool, and nothing that nobody said does."""

import pytest

from agent import stated


@pytest.mark.parametrize(
    ("text", "age", "sex", "height_cm"),
    [
        ("a woman of 54, 1.62 m, is that obstruction?", 54, "F", 162),
        ("54F 162cm obstruction?", 54, "F", 162),
        ("fev1 % predicted, f, 33, 171", 33, "F", 171),
        ("spirometry (M/58/177)", 58, "M", 177),
        ("He wheezes. What do the airways say, he's 46 and 5'11\"", 46, "M", 180.3),
        ("Volume expiré max par seconde ? Homme, 49 ans, 1m78", 49, "M", 178),
        ("Lufu auswerten: w, 54 J, 164 cm", 54, "F", 164),
        ("Is this spirogram normal for an 11-year-old boy of 145 cm?", 11, "M", 145),
        ("I'm a spray painter, 41, 1.80 m, male", 41, "M", 180),
        ("forgot to say: height 164", None, None, 164),
        ("a man, 5 ft, 11 in", None, "M", 180.3),
        ("a woman of 5 feet and 2 inches, 60 years old", 60, "F", 157.5),
        ("5 ft. 11, 62 y, male", 62, "M", 180.3),
        ("a 5-foot-7 woman", None, "F", 170.2),
        ("he is 6 ft, 62 years old", 62, "M", 182.9),
        ("I'm 73", 73, None, None),
        ("Pre-op lung resection, 64, male, 171.", 64, "M", 171),
        ("38, woman, 1 m 64", 38, "F", 164),
        ("ratio under 0.7?", None, None, None),
        ("spirogram only, woman, 71 years, 1.55", 71, "F", 155),
        ("FEV1 1.85, FVC 2.45, is that low?", None, None, None),  # litres
        ("FEV1: 75, obstructed?", None, None, None),
        ("smoked for 40 years, now 66 years old, read the blow", 66, None, None),
        ("spiro w/ bronchodilator, the 3's of it", None, None, None),
        ("he has had asthma for 12 years", None, "M", None),
        ("flow at 50, 5 ft 7", None, None, 170.2),
        ("is FEF25-75 low? FEV1 2.4 L in 6 s, GLI 2012", None, None, None),
        ("my wife says that I, her husband, wheeze", None, None, None),
    ],
)
def test_age_sex_and_height_are_heard(text, age, sex, height_cm):
    assert (stated.age(text), stated.sex(text), stated.height_cm(text)) == (age, sex, height_cm)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("how old is the fetus? dates say 39+2", 275),
        ("term is 40 weeks", 280),
        ("38.5 wk by scan", 269.5),
        ("39 weeks and 3 days", 276),
        ("34 SSW", 238),
        ("day count: 279 days", 279),
        ("mum has a fever of 39", None),
        ("variability between 25 and 5", None),
        ("38 weeks 4 days", 270),
        ("baseline about 140, paper 3 cm/min", None),
    ],
)
def test_weeks_are_heard_as_days(text, days):
    assert stated.gestational_age_days(text) == days


def test_the_model_s_own_number_stands_only_where_it_was_said():
    def given(text, history=(), **arguments):
        call = {"name": "read_spirogram", "arguments": {"recording": "spirogram-1", **arguments}}
        return stated.checked(call, text, list(history))["arguments"]

    assert given("is it obstructed?", age=45, sex="M", height_cm=170) == {"recording": "spirogram-1"}
    assert given("asthma? male forty-seven", age=47)["age"] == 47  # spelt: the model's reading is all there is
    assert given("spirometry, age 61", age=16)["age"] == 61
    before = {"user": "FEV1 please, male of 39", "calls": [{"name": "read_spirogram", "arguments": given("")}]}
    assert given("and at 182 cm?", [before]) == {"recording": "spirogram-1", "age": 39, "sex": "M", "height_cm": 182}
    other = {"user": "woman of 80", "calls": [{"name": "read_spirogram", "arguments": {"recording": "spirogram-2"}}]}
    assert "age" not in given("FEV1?", [other]), "another person's age"


def test_seed_and_count_are_those_asked_for():
    def given(text, **arguments):
        call = {"name": "generate_ecg", "arguments": {"prompt": "atrial fibrillation", **arguments}}
        return stated.checked(call, text, [])["arguments"]

    assert given("draw atrial fibrillation", count=4, seed=7) == {"prompt": "atrial fibrillation"}
    assert given("draw 4 of atrial fibrillation, seed 77", count=4, seed=77)["seed"] == 77
    assert given("three drawings of atrial fibrillation", count=3)["count"] == 3


@pytest.mark.parametrize(
    ("question", "kept"),
    [
        ("Draw me an ECG of a 60-year-old woman with LBBB", False),
        ("another 12-lead tracing with AF, please", False),
        ("draw this patient's ECG with LBBB", True),
        ("an ECG of the same heart in flutter", True),
        ("now with AF", True),  # of what, the model understood
    ],
)
def test_an_ecg_of_nobody_is_not_drawn_after_the_one_that_is_loaded(question, kept):
    call = {"name": "generate_ecg", "arguments": {"recording": "ecg-1", "prompt": "AF"}}
    assert ("recording" in stated.checked(call, question, [])["arguments"]) is kept


@pytest.mark.parametrize(
    ("question", "prompt", "drawn"),
    [
        ("now AF with rapid ventricular response", "a man with LBBB", "now AF with rapid ventricular response"),
        ("the same at 120 bpm", "LBBB at 120 bpm", "LBBB at 120 bpm"),
        (
            "an ECG of a woman of 60 with RBBB at 90 bpm",
            "RBBB at 90 bpm",
            "an ECG of a woman of 60 with RBBB at 90 bpm",
        ),
        ("make it 120 bpm", "LBBB", "LBBB, make it 120 bpm"),
        ("Read it, and draw one with atrial fibrillation", "atrial fibrillation", "atrial fibrillation"),
    ],
)
def test_what_is_drawn_is_what_is_asked_for_now(question, prompt, drawn):
    call = {"name": "generate_ecg", "arguments": {"prompt": prompt}}
    assert stated.checked(call, question, [])["arguments"] == {"prompt": drawn}


@pytest.mark.parametrize(
    ("question", "drawn"),
    [
        ("make it 120 bpm", "complete right bundle branch block, 120 bpm, 60 years old, woman"),
        ("make it a man", "complete right bundle branch block, 90 bpm, 60 years old, man"),
        ("a bit slower", "complete right bundle branch block, 70 bpm, 60 years old, woman"),
        (
            "add atrial fibrillation",
            "atrial fibrillation, complete right bundle branch block, 90 bpm, 60 years old, woman",
        ),
    ],
)
def test_a_wish_is_changed_as_it_is_said(question, drawn):
    drew = [{"name": "generate_ecg", "arguments": {"prompt": "a 60 year old woman with RBBB at 90 bpm"}}]
    call = {"name": "generate_ecg", "arguments": {"prompt": "RBBB"}}
    assert stated.checked(call, question, [{"user": "draw it", "calls": drew}])["arguments"]["prompt"] == drawn


def test_more_like_that_are_others_of_the_last_wish():
    drew = [{"user": "draw", "calls": [{"name": "generate_ecg", "arguments": {"prompt": "AF, 90 bpm", "count": 2}}]}]

    def given(question, prompt):
        return stated.checked({"name": "generate_ecg", "arguments": {"prompt": prompt}}, question, drew)["arguments"]

    assert given("draw three more like that", "like that") == {"prompt": "AF, 90 bpm", "count": 3, "seed": 2}
    assert given("another one", "AF, 90 bpm") == {"prompt": "AF, 90 bpm", "seed": 2}
    assert given("five ECGs with LBBB", "LBBB") == {"prompt": "LBBB", "count": 5}
    assert given("an ECG of a man of 60 with LBBB", "a man of 60 with LBBB") == {"prompt": "a man of 60 with LBBB"}


@pytest.mark.parametrize(
    ("question", "goes_on"),
    [
        ("what is LLN?", False),
        ("what does FIGO call reduced variability?", False),
        ("is that normal?", True),
        ("and in women?", True),
        ("why?", True),
        ("what does the guideline say about it?", True),
    ],
)
def test_a_question_that_stands_alone_is_searched_for_in_its_own_words(question, goes_on):
    assert bool(stated.GOES_ON.search(question)) is goes_on


def test_what_a_tool_made_is_the_newest_ecg():
    ids = ["ecg-1", "ppg-1", "ecg-2"]
    drew = [{"user": "draw AF", "calls": [{"name": "generate_ecg", "arguments": {"prompt": "AF"}}]}]
    call = {"name": "measure_ecg", "arguments": {"recording": "ecg-1"}}

    def on(question, history):
        return stated.of_what_was_made(call, question, history, ids)["arguments"]["recording"]

    for question in ("measure what you drew", "is the drawn one regular?", "QTc of the synthetic ECG?"):
        assert on(question, drew) == "ecg-2"
        assert on(question, []) == "ecg-1"  # nothing was made
    assert on("measure ecg-1", drew) == on("how fast is it?", drew) == "ecg-1"


def test_where_and_why_are_asked_of_the_reading_before():
    read = {"name": "interpret_ecg", "arguments": {"recording": "ecg-1"}}
    history = [{"user": "any old infarct?", "calls": [{**read, "made": []}]}]
    assert stated.of_before("where?", history) == stated.of_before("and why so?", history) == [read]
    assert stated.of_before("where is the PR interval?", history) == stated.of_before("where?", []) == []
    measured = [{"user": "rate?", "calls": [{"name": "measure_ecg", "arguments": {"recording": "ecg-1"}}]}]
    assert stated.of_before("why?", measured) == []


def test_an_ecg_drawn_from_a_pulse_does_not_stand_for_the_recorded_one():
    ids = ["ecg-1", "ppg-1", "ecg-2"]
    calls = [{"name": "ppg_to_ecg", "arguments": {"recording": "ppg-1"}, "made": ["ecg-2"]}]
    call = {"name": "measure_ecg", "arguments": {"recording": "ecg-2"}}

    def on(question, before, ids=ids):
        history = [{"user": before, "calls": calls}]
        return stated.of_what_was_made(call, question, history, ids)["arguments"]["recording"]

    assert on("what is the QTc?", "what is the pulse rate?") == on("is it regular?", "pulse rate?") == "ecg-1"
    assert on("measure it", "turn the PPG into an ECG") == on("QTc of ecg-2?", "pulse rate?") == "ecg-2"
    assert on("what is the QTc?", "pulse rate?", ["ppg-1", "ecg-2"]) == "ecg-2"  # there is no other


@pytest.mark.parametrize(
    ("question", "loaded", "asked_of"),
    [
        ("What is the pulse rate?", ["ppg-1"], "ppg-1"),
        ("is it regular", ["ppg-1", "spirogram-1"], "ppg-1"),
        ("how fast is ppg-2", ["ppg-1", "ppg-2"], "ppg-2"),
        ("What is the heart rate?", ["ecg-1", "ppg-1"], None),  # that is the ECG's
        ("what is the respiratory rate", ["ppg-1"], None),
        ("blood pressure?", ["ppg-1"], None),
        ("pulse rate?", ["ctg-1"], None),
        ("skip this one", ["ppg-1"], None),
    ],
)
def test_the_rate_of_a_pulse_wave_is_asked_of_its_own_tool(question, loaded, asked_of):
    calls = stated.of_a_pulse(question, loaded)
    assert [call["arguments"]["recording"] for call in calls] == ([asked_of] if asked_of else [])
    assert all(call["name"] == "ppg_to_ecg" for call in calls)


@pytest.mark.parametrize("question", ["Turn it into an ECG", "convert the pulse wave into a 1-lead ECG, please"])
def test_a_pulse_wave_is_turned_into_an_ecg_whatever_else_is_loaded(question):
    assert [call["name"] for call in stated.of_a_pulse(question, ["ecg-1", "ppg-1"])] == ["ppg_to_ecg"]
    assert stated.of_a_pulse(question, ["ecg-1"]) == []
    assert stated.of_a_pulse("Turn the respiration into an ECG", ["ppg-1"]) == []
