"""When a drawn heart beats: the rate is that asked for, the rhythm that of recordings which show the same."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.rhythm import STEP, TRACK, Rhythms, of, opened, track
from encoders.vae import SAMPLES, STEPS


def heart(peaks: np.ndarray, *ventricular: int) -> np.ndarray:
    """(beats, 2), of which these are ventricular."""
    return np.column_stack([peaks, np.isin(np.arange(len(peaks)), ventricular)])


STEADY = heart(np.arange(40.0, 1000, 80))
WILD = heart(np.cumsum([50.0, 60, 140, 45, 110, 70, 160, 55, 90, 120]))
EARLY = heart(np.array([40.0, 120, 170, 280, 360, 440, 520, 600, 680, 760, 840, 920]), 2)


@pytest.fixture
def two() -> Rhythms:
    return of([STEADY, WILD], np.array([[True, False], [False, True]]), ("SR", "AFIB"))


def rate_bpm(one: np.ndarray) -> float:
    return 6000 * (len(one) - 1) / (one[-1, 0] - one[0, 0])


def test_every_beat_is_told_where_it_is():
    told = track([STEADY, heart(np.array([500.0]))]).numpy()
    assert told.shape == (2, TRACK, STEPS)
    samples = told[0, :STEP].T.reshape(SAMPLES)
    assert np.flatnonzero(samples > 0.99).tolist() == STEADY[:, 0].astype(int).tolist()
    assert not told[1].any()  # one beat tells no phase
    turn = np.arctan2(told[0, STEP + 1], told[0, STEP])
    middle = STEP * (np.arange(STEPS) + 0.5)
    assert np.allclose(
        np.exp(1j * turn), np.exp(2j * np.pi * (middle - 40) / 80), atol=1e-5
    )  # beyond the last one, too


def test_while_a_ventricular_beat_lasts_that_is_told():
    plain, early = track([heart(EARLY[:, 0]), EARLY]).numpy()
    assert (plain[:-1] == early[:-1]).all()
    assert not plain[-1].any()
    at = STEP * (np.flatnonzero(early[-1]) + 0.5)
    assert at.min() > 150
    assert at.max() < 220
    assert len(at) > 5


def test_an_early_beat_that_is_lent_stays_ventricular():
    lender = of([EARLY], np.array([[True]]), ("PVC",))
    for seed in range(20):
        one = lender.beats(["PVC"], 70.0, np.random.default_rng(seed))
        at = np.flatnonzero(one[:, 1])
        rr = np.diff(one[:, 0])
        assert set(np.flatnonzero(rr < 0.8 * np.median(rr)) + 1) <= set(at)  # the early one
        assert len(at) <= 2


@pytest.mark.parametrize("bpm", [35.0, 60.0, 97.0, 180.0])
@pytest.mark.parametrize("code", ["SR", "AFIB"])
def test_the_rate_is_that_asked_for(two, code, bpm):
    for seed in range(20):
        one = two.beats([code], bpm, np.random.default_rng(seed))
        assert one[0, 0] >= 0
        assert one[-1, 0] < SAMPLES
        assert rate_bpm(one) == pytest.approx(bpm, rel=0.35 if code == "AFIB" else 0.01)


def test_without_a_rate_it_is_the_lenders_and_the_same_dice_fall_alike(two):
    one, again = (two.beats(["SR"], None, np.random.default_rng(4)) for _ in range(2))
    assert (one == again).all()
    alone = of([WILD], np.array([[True]]), ("SR",))
    assert alone.rate_bpm[0] == pytest.approx(rate_bpm(WILD), rel=1e-3)


def test_recordings_of_hardly_a_beat_lend_nothing():
    assert len(of([STEADY[:3], WILD], np.ones((2, 1), bool), ("SR",)).share) == 1


def test_fibrillation_is_irregular_and_what_tells_no_rhythm_is_sinus():
    def spread(*codes: str) -> float:
        drawn = [opened().beats(codes, 80.0, np.random.default_rng(seed)) for seed in range(30)]
        return float(np.median([np.diff(one[:, 0]).std() / np.diff(one[:, 0]).mean() for one in drawn]))

    assert spread("AFIB") > 0.12
    assert spread("AFIB", "CLBBB") > 0.12
    assert spread("SR") < 0.06
    assert spread("CLBBB") < 0.06
    assert spread() < 0.06
