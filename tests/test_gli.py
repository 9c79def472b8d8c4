"""GLI: identities of the LMS method, the published coefficients, order in age, height and percentile, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.gli import AGES, EQUATIONS, GROUPS, LLN_Z, Person, lms, peak_flow_lps, references

PEOPLE = st.builds(
    Person, st.floats(3, 95), st.sampled_from("FM"), st.floats(80, 210), st.sampled_from([None, *GROUPS])
)


@given(PEOPLE, st.sampled_from(EQUATIONS), st.floats(-4, 3))
@settings(deadline=None)
def test_z_and_value_are_each_others_inverse(person, equations, z):
    for measure, of in references(person, equations).items():
        assert of.z(of.predicted) == pytest.approx(0, abs=1e-9), measure
        assert of.z(of.lln) == pytest.approx(LLN_Z, abs=1e-6), measure
        if 1 + z * of.skewness * of.variation > 0.01:
            assert of.z(of.at(z)) == pytest.approx(z, abs=1e-6), measure
        assert 0 < of.lln < of.predicted
        assert of.percentile(of.lln) == pytest.approx(5, abs=0.01)
        assert of.percentile(of.predicted) == pytest.approx(50)


def test_the_lower_limit_is_the_published_formula():
    """exp(ln(1 - 1.645 L S) / L + ln M), as GLI prints it."""
    for sex in "FM":
        for of in references(Person(33.3, sex, 171), "GLI-2012").values():
            factor = 1 - 1.645 * of.skewness * of.variation
            assert of.lln == pytest.approx(math.exp(math.log(factor) / of.skewness + math.log(of.predicted)))


@pytest.mark.parametrize(
    ("sex", "measure", "equation"),  # Bowerman et al. 2023, table 2, with the splines of 40.00 years
    [
        ("M", "fev1_l", lambda h, a: -11.399108 + 2.462664 * h - 0.011394 * a),
        ("M", "fvc_l", lambda h, a: -12.629131 + 2.727421 * h + 0.009174 * a),
        ("M", "fev1_fvc", lambda h, a: 1.022608 - 0.218592 * h - 0.027586 * a),
        ("F", "fev1_l", lambda h, a: -10.901689 + 2.385928 * h - 0.076386 * a),
        ("F", "fvc_l", lambda h, a: -12.055901 + 2.621579 * h - 0.035975 * a),
        ("F", "fev1_fvc", lambda h, a: 0.9189568 - 0.1840671 * h - 0.0461306 * a),
    ],
)
def test_predicted_of_2022_follows_the_printed_equation(sex, measure, equation):
    """The spline depends on age alone, so two heights of one age differ by the printed terms alone."""
    one, other = (lms(measure, 40.0, sex, height)[1] for height in (160.0, 190.0))
    terms = equation(math.log(190), math.log(40)) - equation(math.log(160), math.log(40))
    assert float(np.log(other / one)) == pytest.approx(terms, abs=1e-9)
    spline = math.log(float(one)) - equation(math.log(160), math.log(40))
    assert abs(spline) < 0.3


def test_a_printed_report_of_2012():
    """A spirometer's report on a white man of 178 cm in his 48th year by GLI-2012: predicted values and limits."""
    of = references(Person(47.8, "M", 178, "Caucasian"), "GLI-2012")
    printed = {"fvc_l": (5.07, 3.98), "fev1_l": (4.01, 3.14)}
    for measure, pair in printed.items():
        assert (round(of[measure].predicted, 2), round(of[measure].lln, 2)) == pair
    assert round(100 * of["fev1_fvc"].predicted, 1) == 79.4
    assert round(of["fef2575_lps"].predicted, 2) == 3.71


def test_skewness_of_2012_is_the_printed_one():
    """FEV1 of men: L = 0.8866 + 0.0850 ln(age)."""
    of = references(Person(50, "M", 175, "Caucasian"), "GLI-2012")["fev1_l"]
    assert of.skewness == pytest.approx(0.8866 + 0.0850 * math.log(50))


@pytest.mark.parametrize("equations", EQUATIONS)
@pytest.mark.parametrize("sex", "FM")
def test_taller_people_have_larger_lungs_and_older_adults_smaller(equations, sex):
    for measure in ("fev1_l", "fvc_l"):
        by_height = [references(Person(40, sex, h), equations)[measure].predicted for h in range(140, 200, 5)]
        by_age = [references(Person(a, sex, 170), equations)[measure].predicted for a in range(30, 96)]
        assert np.all(np.diff(by_height) > 0)
        assert np.all(np.diff(by_age) < 0)
    ratio = [references(Person(a, sex, 170), equations)["fev1_fvc"].predicted for a in range(20, 96)]
    assert np.all(np.diff(ratio) < 0)


def test_ages_between_the_quarters_lie_between_them():
    one, between, other = (references(Person(a, "F", 140))["fev1_l"].predicted for a in (10.25, 10.4, 10.5))
    assert one < between < other


def test_groups_matter_for_2012_only():
    for measure in ("fev1_l", "fvc_l"):
        by_group = {references(Person(40, "F", 165, g), "GLI-2012")[measure].predicted for g in GROUPS}
        assert len(by_group) == len(GROUPS)
        assert len({references(Person(40, "F", 165, g))[measure].predicted for g in GROUPS}) == 1
    assert "fef2575_lps" not in references(Person(40, "F", 165))
    assert "fef2575_lps" not in references(Person(93, "F", 165), "GLI-2012")


def test_many_people_at_once_are_the_same_as_one_by_one():
    ages, heights = np.linspace(*AGES, 40), np.linspace(95, 200, 40)
    _, m, s = lms("fvc_l", ages, "F", heights)
    for n in (0, 17, 39):
        of = references(Person(ages[n], "F", heights[n]))["fvc_l"]
        assert (m[n], s[n]) == pytest.approx((of.predicted, of.variation))


def test_peak_flow_is_that_of_nhanes_3():
    """Hankinson 1999, white men of 20 and more: 1.0523 + 0.08272 A - 0.001301 A² + 0.00024962 H²."""
    predicted, lln = peak_flow_lps(Person(50, "M", 175, "Caucasian"))
    assert predicted == pytest.approx(1.0523 + 0.08272 * 50 - 0.001301 * 2500 + 0.00024962 * 175**2)
    assert lln < predicted
    assert peak_flow_lps(Person(7, "M", 120)) is None
    assert peak_flow_lps(Person(81, "F", 160)) is None


@pytest.mark.parametrize(
    ("person", "equations", "words"),
    [
        (Person(2.9, "F", 95), "GLI-2022", "3 to 95 years"),
        (Person(96, "M", 170), "GLI-2012", "3 to 95 years"),
        (Person(float("nan"), "M", 170), "GLI-2022", "3 to 95 years"),
        (Person(40, "X", 170), "GLI-2022", "F and M"),
        (Person(40, "F", 1.7), "GLI-2022", "centimetres"),
        (Person(40, "F", 300), "GLI-2022", "50 to 230 cm"),
        (Person(40, "F", 170, "Martian"), "GLI-2012", "Caucasian"),
        (Person(40, "F", 170), "GLI-2023", "GLI-2022 or GLI-2012"),
    ],
)
def test_outside_gli_is_one_line(person, equations, words):
    with pytest.raises(UsageError, match=words) as raised:
        references(person, equations)
    assert "\n" not in str(raised.value)
