"""When a drawn heart beats: the rate is that asked for, the rhythm that of recordings which show the same."""

from __future__ import annotations

import numpy as np
import pytest

from encoders.rhythm import STEP, TRACK, Rhythms, of, opened, track
from encoders.vae import SAMPLES, STEPS

STEADY, WILD = np.arange(40.0, 1000, 80), np.cumsum([50.0, 60, 140, 45, 110, 70, 160, 55, 90, 120])


@pytest.fixture
def two() -> Rhythms:
    return of([STEADY, WILD], np.array([[True, False], [False, True]]), ("SR", "AFIB"))


def rate_bpm(peaks: np.ndarray) -> float:
    return 6000 * (len(peaks) - 1) / (peaks[-1] - peaks[0])


def test_every_beat_is_told_where_it_is():
    told = track([STEADY, np.array([500.0])]).numpy()
    assert told.shape == (2, TRACK, STEPS)
    samples = told[0, :STEP].T.reshape(SAMPLES)
    assert np.flatnonzero(samples > 0.99).tolist() == STEADY.astype(int).tolist()
    assert not told[1].any()  # one beat tells no phase
    turn = np.arctan2(told[0, STEP + 1], told[0, STEP])
    middle = STEP * (np.arange(STEPS) + 0.5)
    assert np.allclose(
        np.exp(1j * turn), np.exp(2j * np.pi * (middle - 40) / 80), atol=1e-5
    )  # beyond the last one, too


@pytest.mark.parametrize("bpm", [35.0, 60.0, 97.0, 180.0])
@pytest.mark.parametrize("code", ["SR", "AFIB"])
def test_the_rate_is_that_asked_for(two, code, bpm):
    for seed in range(20):
        peaks = two.beats([code], bpm, np.random.default_rng(seed))
        assert peaks[0] >= 0
        assert peaks[-1] < SAMPLES
        assert rate_bpm(peaks) == pytest.approx(bpm, rel=0.35 if code == "AFIB" else 0.01)


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
        return float(np.median([np.diff(one).std() / np.diff(one).mean() for one in drawn]))

    assert spread("AFIB") > 0.12
    assert spread("AFIB", "CLBBB") > 0.12
    assert spread("SR") < 0.06
    assert spread("CLBBB") < 0.06
    assert spread() < 0.06
