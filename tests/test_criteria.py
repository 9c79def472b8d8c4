"""Published criteria: each finding is argued by measurements and limits; what was not measured argues nothing."""

from __future__ import annotations

import copy
import re

import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.criteria import CRITERIA, evidence
from tools.criteria_ischaemia import st_limit
from tools.measure import measure_ecg
from tools.scp import GROUPED, STATEMENTS, belongs, statement


@pytest.fixture(scope="module")
def plain() -> dict:
    return measure_ecg(synthetic.ecg().recording)


def changed(measured: dict, leads: dict[str, dict] | None = None, **values) -> dict:
    """The measurement with other values; `leads` as {"V1": {"s_mv": -2.0}}."""
    other = {**copy.deepcopy(measured), **values}
    for lead, row in (leads or {}).items():
        other["per_lead"][lead] |= row
    return other


def test_every_code_has_criteria_and_a_name():
    assert set(CRITERIA) == set(STATEMENTS) | set(GROUPED)
    assert all(
        entry.name[0].islower() or entry.name[:2].isupper() or entry.name[0] in "QST" for entry in STATEMENTS.values()
    )


@pytest.mark.parametrize("code", sorted(CRITERIA))
@pytest.mark.parametrize(
    "measured", [{}, {"per_lead": {}, "rr": {}, "warnings": []}, {"per_lead": {"V1": {"r_mv": None}}, "rr": None}]
)
def test_nothing_measured_gives_no_evidence(code, measured):
    found = evidence(code, measured)
    assert (found.speaks_for, found.speaks_against) == ([], [])


@pytest.mark.parametrize("code", sorted(CRITERIA))
def test_sentences_stand_alone_and_name_numbers_that_were_measured(code, plain):
    found = evidence(code, plain)
    for sentence in found.speaks_for + found.speaks_against:
        assert sentence.endswith(".")
        assert sentence[0].isupper()
        assert re.search(r"\d|absent|present", sentence), sentence
    assert not set(found.speaks_for) & set(found.speaks_against)


def test_what_speaks_for_hypertrophy_is_not_talked_down_by_its_other_kinds(plain):
    per_lead = {lead: {**row, "r_mv": 2.8, "s_mv": -2.7} for lead, row in plain["per_lead"].items()}
    big = evidence("HYP", changed(plain, per_lead=per_lead))
    assert big.speaks_for
    assert not big.speaks_against
    assert evidence("HYP", plain).speaks_against


def test_sokolow_and_cornell(plain):
    big = changed(
        plain,
        {"V1": {"s_mv": -2.1}, "V5": {"r_mv": 2.0}, "V6": {"r_mv": 1.5}, "aVL": {"r_mv": 0.9}, "V3": {"s_mv": -1.5}},
        sex="F",
    )
    found = evidence("LVH", big)
    assert "Sokolow-Lyon voltage 4.1 mV, at or above the limit of 3.5 mV (Sokolow 1949)." in found.speaks_for
    assert "Cornell voltage 2.4 mV, at or above the limit of 2 mV for women (Casale 1985)." in found.speaks_for
    assert any(
        s.startswith("Cornell voltage 2.4 mV, below") for s in evidence("LVH", big | {"sex": "M"}).speaks_against
    )
    assert not any("Cornell" in s for s in str(evidence("LVH", big | {"sex": None})).split("'"))  # either sex: not said


def test_bundle_branch_blocks(plain):
    left = changed(
        plain,
        {"V6": {"q_mv": 0.0, "r_mv": 1.2, "r_ms": 120}, "V1": {"r_mv": 0.1, "r2_mv": 0.0, "s_mv": -1.8}},
        qrs_ms=152,
    )
    assert (
        evidence("CLBBB", left).speaks_for[0]
        == "QRS duration 152 ms, at or above the limit of 120 ms (AHA/ACCF/HRS 2009)."
    )
    assert any("without a Q in V6, and rS in V1" in s for s in evidence("CLBBB", left).speaks_for)
    right = changed(
        plain, {"V1": {"r_mv": 0.1, "s_mv": -0.4, "r2_mv": 0.8}, "V6": {"r_ms": 40, "s_ms": 60}}, qrs_ms=140
    )
    assert len(evidence("CRBBB", right).speaks_for) >= 3
    assert any("at or below" in s or "below" in s for s in evidence("CLBBB", plain).speaks_against)


def test_q_waves_count_only_beside_a_neighbour(plain):
    alone = changed(
        plain,
        {lead: {"q_mv": 0.0, "q_ms": 0} for lead in ("I", "II", "aVF", "aVL", "V5", "V6")}
        | {"III": {"q_mv": -0.3, "q_ms": 44, "r_mv": 0.4}},
    )
    assert not any("Q wave in" in s for s in evidence("IMI", alone).speaks_for)
    both = changed(alone, {"aVF": {"q_mv": -0.2, "q_ms": 40, "r_mv": 0.5}})
    assert [s.split(",")[0] for s in evidence("IMI", both).speaks_for] == [
        "Q wave in III 44 ms and -0.3 mV",
        "Q wave in aVF 40 ms and -0.2 mV",
    ]


@pytest.mark.parametrize(
    ("lead", "sex", "age", "limit"),
    [
        ("II", "M", 50, 0.1),
        ("V2", "F", 30, 0.15),
        ("V3", "M", 40, 0.2),
        ("V3", "M", 39, 0.25),
        ("V2", None, None, 0.25),
    ],
)
def test_st_limits_by_lead_sex_and_age(lead, sex, age, limit):
    assert st_limit(lead, sex, age)[0] == limit


def test_atrial_fibrillation_wants_both_signs(plain):
    rr = plain["rr"] | {"rr_sd_ms": 180, "regularity": "irregularly irregular"}
    assert evidence("AFIB", changed(plain, rr=rr, p_waves="absent")).speaks_for == [
        "RR SD 180 ms, irregularly irregular, and P waves are absent (ESC 2020)."
    ]
    assert len(evidence("AFIB", plain).speaks_against) == 2


def test_limits_are_not_said_of_a_child(plain):
    child = plain | {"age": 7}
    assert evidence("LVH", child).speaks_for + evidence("LVH", child).speaks_against == []
    assert evidence("AFIB", child).speaks_against


def test_normal_is_argued_by_what_is_within_limits(plain):
    found = evidence("NORM", plain)
    assert f"PR interval {plain['pr_ms']} ms, within 120–200 ms (AHA/ACCF/HRS 2009)." in found.speaks_for
    assert any("QTc" in s for s in found.speaks_for)
    assert any("PR interval 260 ms, above" in s for s in evidence("NORM", plain | {"pr_ms": 260}).speaks_against)


def test_the_specific_makes_the_broad_superfluous():
    assert belongs("ILMI", "MI")
    assert belongs("ILMI", "IMI")
    assert belongs("CLBBB", "CD")
    assert belongs("LAFB", "LAFB/LPFB")
    assert not belongs("MI", "ILMI")
    assert not belongs("LVH", "MI")
    assert statement("XYZ").name == "XYZ"


numbers = st.one_of(st.none(), st.integers(-400, 900), st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 3)))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_measurement_is_argued_without_contradiction(plain, data):
    measured = copy.deepcopy(plain)
    for key in ("heart_rate_bpm", "pr_ms", "qrs_ms", "qtc_ms", "p_ms", "qrs_axis_deg", "p_axis_deg"):
        measured[key] = data.draw(st.one_of(st.none(), st.integers(0, 700)))
    for lead in data.draw(st.lists(st.sampled_from(list(measured["per_lead"])), max_size=6)):
        measured["per_lead"][lead] = {key: data.draw(numbers) for key in measured["per_lead"][lead]}
    for code in CRITERIA:
        found = evidence(code, measured)
        assert not set(found.speaks_for) & set(found.speaks_against)
