"""κ and δ on examples counted by hand, what a context holds, and the three composers on scripted replies."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import copypaste
from agent.copying import claims, copied, coverage, density, fragments, said, unsupported, verbatim

CONTEXT = (
    "Sotalol prolongs the QT interval. A QTc above 500 ms raises the risk of torsades. "
    "The trial took place in two hospitals. Potassium was not measured in most patients."
)
QUESTION = "Which QTc is dangerous on sotalol?"
RISK = "A QTc above 500 ms raises the risk of torsades."
SOTALOL = "Sotalol prolongs the QT interval."


def test_coverage_and_density_by_hand():
    context = "the cat sat on the mat"
    answer = "the cat sat quietly on the rug"  # runs: "the cat sat", "on the"
    assert [len(run) for run in fragments(answer, context)] == [3, 2]
    assert coverage(answer, context) == pytest.approx(5 / 7)
    assert density(answer, context) == pytest.approx((9 + 4) / 7)


def test_a_whole_copy_has_coverage_one_and_its_length_as_density():
    assert coverage(RISK, CONTEXT) == 1
    assert density(RISK, CONTEXT) == len(RISK.split())


def test_the_longest_run_is_taken_wherever_it_stands():
    assert fragments("a b c", "a b x a b c y") == [["a", "b", "c"]]


def test_repeats_count_by_the_definition_and_not_by_the_papers_code():
    answer, context = "no pain no pain", "there was no pain"
    assert coverage(answer, context) == 1
    assert coverage(answer, context, once=True) == pytest.approx(0.5)
    assert density(answer, context) == 2
    assert density(answer, context, once=True) == 1


def test_nothing_is_copied_from_nothing():
    assert coverage("", CONTEXT) == density("", CONTEXT) == coverage("words", "") == 0


def test_the_score_of_refine_needs_long_runs():
    assert copied(RISK, CONTEXT) == pytest.approx(1.0)  # κ 1, δ 9: above the cap
    assert copied("Sotalol prolongs it", CONTEXT) == pytest.approx(0.6 * 2 / 3 + (4 / 3) ** 0.25 / 4)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from("a b c d".split()), max_size=12), st.lists(st.sampled_from("a b c".split()), max_size=12)
)
def test_runs_are_copied_and_no_longer_than_the_answer(answer, context):
    text, source = " ".join(answer), " ".join(context)
    for run in fragments(text, source):
        assert f" {' '.join(run)} " in f" {source} "
    assert 0 <= coverage(text, source) <= 1
    assert density(text, source, once=True) <= density(text, source) <= max(len(answer), 0)
    assert coverage(text, source) == sum(word in set(context) for word in answer) / max(len(answer), 1)


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        (RISK, RISK),
        ("- a QTc  above 500 ms raises the RISK of torsades", RISK),
        ("A QTc over 500 ms raises the risk of torsade.", RISK),  # alike
        ("prolongs the QT interval", SOTALOL),  # a part of it
        ("Amiodarone is safe in everybody.", None),
        ("QTc", None),  # too short
    ],
)
def test_a_line_is_found_as_the_sentence_that_it_means(line, meant):
    place = verbatim(line, CONTEXT)
    assert (CONTEXT[slice(*place)] if place else None) == meant


def test_the_final_answer_is_not_a_claim():
    assert said(f"{RISK} [2]\nAnswer: yes") == RISK
    assert claims(f"Yes. {RISK}\nAnswer: yes") == [RISK]


@pytest.mark.parametrize(
    ("answer", "held"),
    [
        (RISK, True),
        ("The QT interval is prolonged by sotalol.", True),
        ("A QTc above 450 ms raises the risk of torsades.", False),  # another number
        ("A QTc above 500 ms does not raise the risk of torsades.", False),  # the contrary
        ("Potassium was measured in most patients.", False),
        ("Aspirin is given for colds in winter.", False),
    ],
)
def test_what_the_context_does_not_hold_is_found(answer, held):
    assert unsupported(f"{answer}\nAnswer: yes", CONTEXT) == ([] if held else [answer])


class Scripted:
    """A model that says the next line of a script, and keeps what it was asked."""

    def __init__(self, *replies):
        self.replies, self.asked = list(replies), []

    def __call__(self, messages, limit):
        self.asked.append(messages[-1]["content"])
        return self.replies.pop(0)


@pytest.mark.parametrize("way", copypaste.WAYS)
@pytest.mark.parametrize(
    "reply", ["", "I cannot say.", "lorem ipsum " * 30, "[1]\n[2]", "The trial took place in two hospitals."]
)
def test_whatever_the_model_says_the_quotes_are_slices_of_the_context(way, reply):
    made = copypaste.compose(way, lambda messages, limit: reply, QUESTION, CONTEXT)
    assert made.quotes
    assert all(quote in CONTEXT and quote in made.text for quote in made.quotes) or way == "refine"
    assert all(quote in CONTEXT for quote in made.quotes)


def test_order_follows_a_whole_permutation_only():
    listed = f"{RISK}\n{SOTALOL}"
    assert copypaste.compose("order", Scripted(listed, "[2][1]"), QUESTION, CONTEXT).by == "model"
    first = copypaste.compose("order", Scripted(listed, "[1][2]"), QUESTION, CONTEXT)
    second = copypaste.compose("order", Scripted(listed, "[2][1]"), QUESTION, CONTEXT)
    assert sorted(first.quotes) == sorted([RISK, SOTALOL])
    assert first.quotes == second.quotes[::-1]
    for bad in ("[2]", "[1][1]", "[1][2][3]", "none"):
        assert copypaste.compose("order", Scripted(listed, bad), QUESTION, CONTEXT).quotes == first.quotes


def test_link_takes_short_words_without_numbers_between_quotes():
    listed = f"{RISK}\n{SOTALOL}"
    linked = copypaste.compose("link", Scripted(listed, "[2] The reason is this:"), QUESTION, CONTEXT)
    assert "The reason is this:" in linked.text
    for bad in ("[2] In 480 patients,", "[2] " + "word " * 16, "[3] Also,", ""):
        assert copypaste.compose("link", Scripted(listed, bad), QUESTION, CONTEXT).text == " ".join(linked.quotes)


def test_refine_shows_what_was_not_copied_and_keeps_the_best():
    model = Scripted("It is dangerous, as everybody knows.", RISK)
    made = copypaste.compose("refine", model, QUESTION, CONTEXT)
    assert made.text == RISK
    assert "as everybody knows" in model.asked[1]
    stubborn = Scripted(*["A QTc above 500 ms is bad for all of us."] * 9)
    copypaste.compose("refine", stubborn, QUESTION, CONTEXT)
    assert len(stubborn.asked) == 2  # it said the same again


def test_a_context_on_something_else_is_refused():
    for way in copypaste.WAYS:
        made = copypaste.compose(
            way, lambda *_: "I do not know.", "How long is a marathon?", "Bread is baked from flour."
        )
        assert (made.text, made.quotes, made.by) == (copypaste.NOTHING, [], "nothing")


def test_any_local_model_can_compose(tiny_model):
    from agent.llm import LocalModel

    say = copypaste.speaker(LocalModel(str(tiny_model)))
    made = copypaste.compose("order", say, QUESTION, CONTEXT)
    assert made.quotes
    assert all(quote in CONTEXT for quote in made.quotes)
