"""Printed layouts: what each shows, and that `measure_ecg` finds in a part of each lead what it finds in all of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.layouts import LAYOUTS, MOST_LOST, mask, printed, random_mask
from tools.beats import r_peaks
from tools.gaps import bridged, columns, gaps, middle
from tools.measure import measure_ecg
from tools.quality import assess
from tools.recording import LEADS, Recording, read

PAGES = [name for name in LAYOUTS if name != "12x1"]
FLAT_T_MV = 0.05
ANALYTIC = [
    {"rate_bpm": 72},
    {"rate_bpm": 60, "qrs_ms": 130, "qt_ms": 420, "shape": "linear"},
    {"rate_bpm": 110, "qrs_ms": 80, "qt_ms": 300},
]


def on_page(recording: Recording, layout: str, seed: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    return replace(recording, signal=printed(recording.signal, layout, recording.leads, recording.fs_hz, rng))


@pytest.fixture(scope="module")
def real(dicom) -> Recording:
    return replace(read(dicom)[0], gain=None)


@pytest.fixture(scope="module")
def whole(real: Recording) -> dict:
    return measure_ecg(real)


@pytest.mark.parametrize(
    ("layout", "seconds"),
    [
        ("3x4", [2.5] * 12),
        ("3x4+II", [2.5, 10, *[2.5] * 10]),
        ("3x4+II+V1", [2.5, 10, 2.5, 2.5, 2.5, 2.5, 10, *[2.5] * 5]),
        ("2x6", [5] * 12),
        ("2x6+II", [5, 10, *[5] * 10]),
        ("12x1", [10] * 12),
    ],
)
def test_masks_add_up(layout: str, seconds: list[float]) -> None:
    for fs_hz in (100, 250, 500):
        recorded = mask(layout, LEADS, 10 * fs_hz, fs_hz)
        assert list(recorded.sum(1) / fs_hz) == seconds
        assert recorded.any(0).all()
        assert (np.abs(np.diff(recorded, axis=1)).sum(1) <= 2).all()  # one stretch each
    if layout == "3x4":
        assert (recorded.sum(0) == 3).all()
        assert recorded[LEADS.index("V1"), 2500:3750].all()


def test_a_page_holds_ten_seconds_and_stretches_for_less() -> None:
    assert mask("3x4", LEADS, 6000, 100).sum() == 12 * 250
    assert list(mask("3x4", LEADS, 400, 100).sum(1)) == [100] * 12
    assert mask("3x4", ("II", "MLII"), 1000, 100)[1].all()  # a lead that pages do not know
    with pytest.raises(ValueError, match="none of"):
        mask("4x3", LEADS, 1000, 100)


@given(seed=st.integers(0, 2**32 - 1), samples=st.integers(0, 3000), count=st.integers(1, 12))
def test_random_masks(seed: int, samples: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    runs = mask("random", LEADS[:count], samples, 100, rng)
    assert runs.shape == (count, samples)
    assert (runs.sum(1) >= (1 - MOST_LOST) * samples).all()
    assert all(len(np.flatnonzero(np.diff(np.r_[True, row, True].astype(int)) < 0)) <= 1 for row in runs)
    assert random_mask(rng, LEADS[:count], samples, 100).shape == (count, samples)


def test_training_sees_all_kinds_of_masks() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_mask(rng, LEADS, 1000, 100) for _ in range(2000)]
    assert np.mean([recorded.all() for recorded in drawn]) == pytest.approx(0.3, abs=0.04)
    subsets = [int(recorded.all(1).sum()) for recorded in drawn if (recorded.all(1) | ~recorded.any(1)).all()]
    assert {1, 2, 3, 6, 8} <= set(subsets)
    assert all(recorded.any() for recorded in drawn)


def test_short_dropouts_are_bridged_and_long_ones_are_gaps() -> None:
    x = np.arange(2000.0)[None].repeat(3, 0)
    x[0, 100:140] = x[1, 100:400] = x[2] = np.nan
    gap = gaps(x, 500)
    assert gap.sum(1).tolist() == [0, 300, 2000]
    assert bridged(x)[0].tolist() == list(range(2000))
    assert [(rows.tolist(), int(known.sum())) for rows, known in columns(gap)] == [
        ([True, False, False], 2000),
        ([False, True, False], 1700),
        ([False, False, True], 0),
    ]
    values = np.array([[1.0, np.nan, 4, 2], [np.nan] * 4])
    np.testing.assert_equal(middle(values, 1), [2, np.nan])


def agree(part: dict, all_of_it: dict, qrs_ms: float, qt_ms: float, amplitude_mv: float) -> None:
    assert part["heart_rate_bpm"] == pytest.approx(all_of_it["heart_rate_bpm"], abs=2)
    assert part["qrs_ms"] == pytest.approx(all_of_it["qrs_ms"], abs=qrs_ms)
    assert part["qt_ms"] == pytest.approx(all_of_it["qt_ms"], abs=qt_ms)
    for lead, row in all_of_it["per_lead"].items():
        if part["quality"]["leads"][lead]["usable"]:
            for key in ("r_mv", "t_mv"):
                flat = key == "t_mv" and abs(row[key]) < FLAT_T_MV  # its sign is that of a beat or two
                near = pytest.approx(row[key], abs=0.15 if flat else amplitude_mv)
                assert part["per_lead"][lead][key] == near, (lead, key)


@pytest.mark.parametrize("layout", PAGES)
def test_a_real_ecg_measures_the_same_on_paper(real: Recording, whole: dict, layout: str) -> None:
    result = measure_ecg(on_page(real, layout))
    json.dumps(result, allow_nan=False)
    agree(result, whole, qrs_ms=8, qt_ms=20, amplitude_mv=0.1)
    assert result["quality"]["acceptable"]
    assert len(result["r_peaks_s"]) == len(whole["r_peaks_s"])
    assert sum("recorded for" in warning for warning in result["warnings"]) == 1


@pytest.mark.parametrize("layout", PAGES)
@pytest.mark.parametrize("truth", ANALYTIC)
def test_so_do_analytic_ones(layout: str, truth: dict) -> None:
    recording = synthetic.ecg(**truth).recording
    result = measure_ecg(on_page(recording, layout))
    agree(result, measure_ecg(recording), qrs_ms=8, qt_ms=20, amplitude_mv=0.1)


def test_the_warning_and_the_reasons_say_how_much_there_is(real: Recording) -> None:
    result = measure_ecg(on_page(real, "3x4"))
    [said] = [warning for warning in result["warnings"] if "recorded" in warning]
    assert said.startswith("Each lead was recorded for 2.5 s only; amplitudes rest on ")
    assert all(
        lead == {"usable": True, "reasons": ["missing 75 % of samples"]} for lead in result["quality"]["leads"].values()
    )
    assert not any("recorded for" in warning for warning in measure_ecg(on_page(real, "12x1"))["warnings"])


@pytest.mark.parametrize("rate_bpm", [45, 60, 75, 100, 150])
@pytest.mark.parametrize("shift_s", [0.0, 0.1, 0.2, 0.3, 0.4])
def test_beats_are_found_once_where_columns_meet(rate_bpm: float, shift_s: float) -> None:
    truth = synthetic.ecg(rate_bpm=rate_bpm, qt_ms=300, seconds=11)
    first = round(shift_s * 500)
    signal = truth.recording.signal[:, first : first + 5000]
    expected = np.array([at - shift_s for at in truth.r_s if 0.3 < at - shift_s < 9.7])
    found = r_peaks(printed(signal, "3x4", LEADS, 500), 500) / 500
    found = found[(found > 0.3) & (found < 9.7)]  # a T whose QRS lies before the recording is another matter
    np.testing.assert_allclose(found, expected, atol=0.04)


def test_a_lead_with_nothing_or_too_little_recorded_gives_nulls(real: Recording, whole: dict) -> None:
    signal = real.signal.copy()
    signal[LEADS.index("V2")] = np.nan
    signal[LEADS.index("V3"), 1500:] = np.nan  # 1.5 s are left
    result = measure_ecg(replace(real, signal=signal))
    assert all(value is None for lead in ("V2", "V3") for value in result["per_lead"][lead].values())
    assert result["quality"]["leads"]["V2"]["reasons"] == ["no signal"]
    assert result["quality"]["leads"]["V3"] == {"usable": False, "reasons": ["missing 85 % of samples"]}
    assert result["qrs_ms"] == pytest.approx(whole["qrs_ms"], abs=8)


def test_noise_in_a_part_of_the_time_is_still_noise(real: Recording) -> None:
    noise = np.random.default_rng(0).standard_normal((12, 5000)).astype(np.float32)
    result = measure_ecg(on_page(Recording(noise, 500.0, LEADS), "3x4"))
    assert result["heart_rate_bpm"] is None
    signal = on_page(real, "3x4").signal
    signal[0] += np.random.default_rng(1).standard_normal(signal.shape[1])
    assert not assess(replace(real, signal=signal))["leads"]["I"]["usable"]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), seconds=st.sampled_from([0.4, 1, 3, 10]), rate_bpm=st.integers(30, 180))
def test_nothing_crashes(seed: int, seconds: float, rate_bpm: int) -> None:
    rng = np.random.default_rng(seed)
    recording = synthetic.ecg(fs_hz=250, seconds=seconds, rate_bpm=rate_bpm, qt_ms=280, pr_ms=None).recording
    recorded = random_mask(rng, LEADS, recording.signal.shape[1], 250)
    if seed % 3 == 0:  # and crumbs of any size
        recorded &= rng.random((12, 1 + len(recorded[0]) // 20)).repeat(20, 1)[:, : len(recorded[0])] < rng.uniform(
            0.2, 1
        )
    result = measure_ecg(replace(recording, signal=np.where(recorded, recording.signal, np.float32(np.nan))))
    json.dumps(result, allow_nan=False)
