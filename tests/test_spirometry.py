"""ATS/ERS 2019: analytic blows with known numbers, sampling rates, curves into each other, faults, grades."""

from __future__ import annotations

import numpy as np
import pytest
from blows import blow
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.spirometry import flow_of, from_flow_volume, measure, session, volume_of_flow

GOOD = measure(blow().volume_l, 100)


def close(told: dict, truth, within: float = 0.01) -> None:
    for key in ("fev1_l", "fvc_l", "pef_lps", "fef2575_lps"):
        assert told[key] == pytest.approx(getattr(truth, key), rel=within), key
    assert told["time_zero_s"] == pytest.approx(truth.zero_s, abs=0.01)


@pytest.mark.parametrize("fs_hz", [50, 100, 200, 1000])
@pytest.mark.parametrize(("fvc_l", "tau_s"), [(4.0, 0.5), (1.1, 0.3), (6.5, 0.9), (2.5, 2.0)])
def test_an_exponential_blow_has_its_numbers_at_any_rate(fs_hz, fvc_l, tau_s):
    truth = blow(fvc_l, tau_s, rise_s=0.15, fs_hz=fs_hz, lasts_s=10)
    told = measure(truth.volume_l, fs_hz)
    close(told, truth, 0.03 if fs_hz == 50 else 0.01)
    assert told["bev_l"] == pytest.approx(truth.bev_l, rel=0.08)
    assert told["fev1_fvc"] == pytest.approx(truth.fev1_l / truth.fvc_l, rel=0.005)
    assert told["faults"] == []


def test_fev6_and_time_of_a_long_blow():
    truth = blow(4, 2.5, lasts_s=9)
    told = measure(truth.volume_l, 100)
    assert told["fet_s"] == pytest.approx(truth.fet_s, abs=0.02)
    assert truth.fev1_l < told["fev6_l"] < truth.fvc_l


@given(st.floats(0.6, 7), st.floats(0.2, 1.5), st.floats(0.06, 0.2), st.floats(-3, 3), st.floats(0, 2))
@settings(max_examples=30, deadline=None)
def test_neither_the_level_nor_the_wait_before_matters(fvc_l, tau_s, rise_s, level_l, rest_s):
    one = measure(blow(fvc_l, tau_s, rise_s).volume_l, 100)
    other = measure(blow(fvc_l, tau_s, rise_s, rest_s=round(rest_s, 2)).volume_l + level_l, 100)
    for key in ("fev1_l", "fvc_l", "pef_lps", "fef2575_lps", "bev_l"):
        assert other[key] == pytest.approx(one[key], rel=1e-3, abs=1e-4), key


def test_back_extrapolation_finds_time_zero_of_a_slow_start():
    truth = blow(4, 0.5, rise_s=0.6)
    told = measure(truth.volume_l, 100)
    assert told["bev_l"] == pytest.approx(truth.bev_l, rel=0.05)
    assert truth.bev_l > max(0.1, 0.05 * truth.fvc_l)
    assert "late start" in told["faults"]
    assert measure(blow(4, 0.5, rise_s=0.1).volume_l, 100)["faults"] == []


def test_flow_and_volume_into_each_other():
    truth = blow(fs_hz=200)
    flow = flow_of(truth.volume_l, 200)
    again = volume_of_flow(flow, 200)
    assert np.abs(again - truth.volume_l).max() < 0.01
    close(measure(again, 200), truth)
    part = slice(100, None)  # a flow-volume loop has no rest
    loop = from_flow_volume(truth.volume_l[part], flow[part], 200)
    close(measure(loop, 200) | {"time_zero_s": truth.zero_s}, truth)


def test_gaps_and_ends_without_samples_do_not_matter():
    truth = blow()
    volume = np.r_[[np.nan] * 30, truth.volume_l, [np.nan] * 200]
    volume[400] = np.nan
    told = measure(volume, 100)
    assert told["fev1_l"] == pytest.approx(GOOD["fev1_l"], rel=1e-3)
    assert told["fvc_l"] == pytest.approx(GOOD["fvc_l"], rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_a_millilitre_changes_nothing_that_matters(seed):
    noise = np.random.default_rng(seed).normal(0, 0.001, len(blow().volume_l))
    told = measure(blow().volume_l + noise, 100)
    close(told, blow(), 0.03)
    assert told["faults"] == []


def coughed(at_s: float, lasts_s: float = 0.15) -> np.ndarray:
    """Flow stops `at_s` after time zero and comes back."""
    truth = blow(4, 0.6)
    time = np.arange(len(truth.volume_l)) / 100
    stop = truth.zero_s + at_s
    return np.interp(np.where(time < stop, time, np.maximum(stop, time - lasts_s)), time, truth.volume_l)


def faults(volume: np.ndarray) -> list[str]:
    return measure(volume, 100)["faults"]


def test_a_cough_counts_in_the_first_second_only():
    assert faults(coughed(0.4)) == ["cough in the first second"]
    assert "cough in the first second" not in faults(coughed(2.0))


def test_an_early_end_and_a_closed_glottis_are_told_apart():
    whole = blow(4, 1.5, lasts_s=12)
    stop = int((whole.zero_s + 2.5) * 100)
    assert faults(whole.volume_l[:stop]) == ["early end"]
    shut = np.where(np.arange(len(whole.volume_l)) < stop, whole.volume_l, whole.volume_l[stop])
    assert faults(shut) == ["closed glottis"]
    stop = int((whole.zero_s + 0.7) * 100)
    shut = np.where(np.arange(len(whole.volume_l)) < stop, whole.volume_l, whole.volume_l[stop])
    assert "closed glottis in the first second" in faults(shut)


def test_a_plateau_or_fifteen_seconds_end_a_blow():
    assert GOOD["ended"] == "plateau"
    slow = blow(4, 9.0, lasts_s=16, after_s=0)
    assert measure(slow.volume_l, 100)["ended"] == "15 seconds"
    assert measure(slow.volume_l[:800], 100)["ended"] is None


def test_a_hesitation_and_a_blow_not_from_full_lungs():
    slow = np.linspace(0, 0.06, 300)
    assert "hesitation" in faults(np.r_[np.zeros(20), slow, 0.06 + blow(rest_s=0).volume_l])
    breath = np.linspace(4.0, -0.5, 150)
    assert "not from full lungs" in faults(np.r_[blow().volume_l, breath])
    assert faults(np.r_[blow().volume_l, np.linspace(4.0, 0.0, 150)]) == []


def test_a_wrong_zero_of_the_flow_is_seen():
    drift = -0.05 * np.clip(np.arange(1500) / 100 - 8, 0, None)
    assert "faulty zero flow" in faults(blow(lasts_s=8, after_s=6.5).volume_l + drift)


def test_too_short_for_a_second_has_no_fev1():
    told = measure(blow(4, 0.8).volume_l[:120], 100)
    assert told["fev1_l"] is None
    assert told["fev1_fvc"] is None
    assert told["pef_lps"] > 0
    assert "shorter than one second" in told["faults"]


@pytest.mark.parametrize("volume", [np.zeros(500), np.full(500, np.nan), np.linspace(0, 1, 1000), np.zeros(3)])
def test_what_is_no_blow_is_refused(volume):
    with pytest.raises(UsageError, match="no forced expiration"):
        measure(volume, 100)


def scaled(*factors: float) -> list[dict]:
    return [measure(f * blow().volume_l, 100) for f in factors]


@pytest.mark.parametrize(
    ("factors", "grade"),
    [
        ((1, 1, 1), "A"),
        ((1, 0.99), "B"),
        ((1, 0.99, 0.5), "A"),
        ((1, 0.955), "C"),
        ((1, 0.945, 0.6), "D"),
        ((1, 0.8), "E"),
        ((1,), "E"),
    ],
)
def test_grades_of_a_four_litre_blow(factors, grade):
    assert session(scaled(*factors))["grades"]["fvc"] == grade


def test_grades_of_blows_that_are_not_acceptable():
    cut = [measure(blow(4, 1.5).volume_l[:250], 100)] * 1
    told = session(cut)
    assert told["grades"] == {"fev1": "E", "fvc": "U"}
    late = [measure(blow(4, 0.5, rise_s=0.7).volume_l, 100)] * 3
    assert session(late)["grade"] == "F"


def test_young_children_have_limits_of_their_own():
    small = [measure(0.25 * f * blow().volume_l, 100, young=True) for f in (1, 0.91, 0.92)]
    assert session(small, young=True)["grades"]["fvc"] == "A"  # 0.09 L of 1 L
    far = [measure(0.25 * f * blow().volume_l, 100, young=True) for f in (1, 0.88, 0.8)]
    assert session(far, young=True)["grades"]["fvc"] == "C"


def test_the_best_of_several():
    blows = [measure(blow(4.0, 0.5).volume_l, 100), measure(blow(3.9, 0.4).volume_l, 100)]
    told = session(blows)
    assert told["fvc_l"] == max(b["fvc_l"] for b in blows)
    assert told["fev1_l"] == max(b["fev1_l"] for b in blows)
    assert told["fev1_fvc"] == pytest.approx(told["fev1_l"] / told["fvc_l"])
    bad = measure(1.2 * blow(4, 0.5, rise_s=0.7).volume_l, 100)  # larger, but its start is late
    assert session([*blows, bad])["fvc_l"] == told["fvc_l"]


def test_an_end_counts_if_as_much_came_out_as_before():
    whole, short = measure(blow(4, 0.5).volume_l, 100), measure(blow(4, 0.5).volume_l[: int(3.2 * 100)], 100)
    assert short["faults"] == ["early end"]
    assert session([whole, short])["acceptable"]["fvc"] == [0, 1]
    assert session([short, whole])["acceptable"]["fvc"] == [1]
