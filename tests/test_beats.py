"""R peaks, beat types and rhythm: synthetic ECGs with known beats, a real one, and signals that hold no beat."""

import os
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.beat_kinds import label_beats
from tools.beats import r_peaks, rhythm
from tools.recording import read

PATTERN = np.array([0.6, 1.2, 0.8, -1.1, -0.5, 0.9, -0.4, 0.5, 1.0, 1.3, 1.1, 0.8])  # of the QRS over twelve leads


def beat(t: np.ndarray, at_s: float, width_s: float, t_wave: float = 0.3, rr_s: float = 1.0) -> np.ndarray:
    """P, QRS and T of one beat, R peak of 1 mV at `at_s`."""
    s = width_s / 7

    def bell(centre_s: float, sd_s: float) -> np.ndarray:
        return np.exp(-0.5 * ((t - at_s - centre_s) / sd_s) ** 2)

    qrs = bell(0, s) - 0.12 * bell(-2.2 * s, s) - 0.25 * bell(2.2 * s, s)
    short = min(1, rr_s / 0.7)
    return qrs + 0.12 * bell(-0.25 * min(0.64, rr_s), 0.02) + t_wave * bell(min(0.28, 0.45 * rr_s), 0.05 * short)


def ecg(beats_s, fs_hz=500.0, duration_s=10.0, leads=1, width_s=0.09, t_wave=0.3) -> np.ndarray:
    t = np.arange(int(duration_s * fs_hz)) / fs_hz
    rr_s = float(np.median(np.diff(beats_s)))
    x = sum(beat(t, at, width_s, t_wave, rr_s) for at in beats_s)
    return (np.ones(1) if leads == 1 else PATTERN[:leads])[:, None] * x


def evenly(bpm: float, duration_s: float = 10.0) -> np.ndarray:
    return np.arange(0.4, duration_s - 0.1, 60 / bpm)


def assert_found(signal, fs_hz, beats_s, within_s=0.02):
    found = r_peaks(signal, fs_hz) / fs_hz
    assert len(found) == len(beats_s), (np.round(found, 2), np.round(beats_s, 2))
    np.testing.assert_allclose(found, beats_s, atol=within_s)


@pytest.mark.parametrize("fs_hz", [100, 250, 360, 500, 1000])
@pytest.mark.parametrize("bpm", [25, 40, 75, 150, 220])
def test_every_beat_at_any_rate(fs_hz, bpm):
    assert_found(ecg(evenly(bpm), fs_hz, width_s=0.07 if bpm > 200 else 0.09), fs_hz, evenly(bpm))


@pytest.mark.parametrize("shape", [{"t_wave": 1.5}, {"width_s": 0.18}, {"t_wave": -0.5, "width_s": 0.14}])
def test_tall_t_waves_and_wide_beats_count_once(shape):
    assert_found(ecg(evenly(70), **shape), 500.0, evenly(70))


def test_low_amplitude():
    assert_found(0.08 * ecg(evenly(70)), 500.0, evenly(70))


@pytest.mark.parametrize("fs_hz", [500.0, 1000.0])
def test_pacing_spikes_are_no_beats(fs_hz):
    x = ecg(evenly(60), fs_hz, width_s=0.16)
    for at in evenly(60) - 0.08:
        x[:, round(at * fs_hz) : round(at * fs_hz) + max(1, round(0.001 * fs_hz))] += 3
    assert_found(x, fs_hz, evenly(60), within_s=0.1)


def test_bad_leads_do_not_spoil_the_good():
    x, rng, t = ecg(evenly(70), leads=12), np.random.default_rng(1), np.arange(5000) / 500
    x[3], x[4], x[6] = np.nan, 0, 10
    x[5] = 5 * rng.standard_normal(5000)
    x[7, 1000:3000] = np.nan
    x[8] += 3 * np.sin(2 * np.pi * 50 * t)
    x[9] += 3 * np.sin(2 * np.pi * 0.3 * t)
    x[10, 2000:2600] += 4 * np.sign(rng.standard_normal(600))  # a loose electrode
    assert_found(x, 500.0, evenly(70))


def test_nothing_is_found_where_nothing_was_recorded():
    beats_s = np.array([at for at in evenly(70) if not 3.9 < at < 6.1])
    x = ecg(evenly(70))
    x[:, 1950:3050] = np.nan
    assert_found(x, 500.0, beats_s)


@pytest.mark.parametrize("leads", [1, 12])
def test_no_beats_on_flat_missing_or_noisy_leads(leads):
    assert len(r_peaks(np.zeros((leads, 5000)), 500.0)) == 0
    assert len(r_peaks(np.full((leads, 5000), np.nan), 500.0)) == 0
    assert len(r_peaks(np.zeros((leads, 0)), 500.0)) == 0
    noisy = [len(r_peaks(np.random.default_rng(k).standard_normal((leads, 5000)), 500.0)) > 0 for k in range(20)]
    assert sum(noisy) <= 2
    assert len(r_peaks(np.sin(2 * np.pi * 0.4 * np.arange(5000) / 500)[None], 500.0)) == 0


def test_peaks_follow_the_real_recording(dicom):
    [recording] = read(dicom)
    peaks = r_peaks(recording.signal, recording.fs_hz)
    rr_ms = np.diff(peaks) / recording.fs_hz * 1000
    assert abs(np.mean(rr_ms) - 982) < 15  # the machine's own figure
    assert set(label_beats(recording.signal, recording.fs_hz, peaks)) == {"N"}
    assert rhythm(peaks / recording.fs_hz)["regularity"] == "regular"
    single = r_peaks(recording.lead("II"), recording.fs_hz)
    np.testing.assert_allclose(single, peaks, atol=0.03 * recording.fs_hz)


@settings(max_examples=25, deadline=None)
@given(
    bpm=st.floats(35, 170),
    gain=st.floats(0.2, 4),
    sign=st.sampled_from([-1, 1]),
    offset_mv=st.floats(-5, 5),
    seed=st.integers(0, 99),
)
def test_gain_offset_polarity_and_noise_do_not_matter(bpm, gain, sign, offset_mv, seed):
    noise = 0.03 * np.random.default_rng(seed).standard_normal((3, 5000))
    x = sign * gain * (ecg(evenly(bpm), leads=3) + noise) + offset_mv
    assert_found(x, 500.0, evenly(bpm), within_s=0.03)


def test_ventricular_and_supraventricular_beats():
    t, regular = np.arange(15000) / 500, np.arange(0.5, 29.5, 0.8)
    kinds = {8: "V", 16: "S", 24: "V"}
    at = regular.copy()
    at[list(kinds)] -= 0.25
    x = sum(
        -1.2 * beat(t, s, 0.2, -0.4) if kinds.get(i) == "V" else beat(t, s, 0.09, rr_s=0.8) for i, s in enumerate(at)
    )
    x = PATTERN[:3, None] * x
    peaks = r_peaks(x, 500.0)
    assert len(peaks) == len(at)
    labels = label_beats(x, 500.0, peaks)
    assert {i: kind for i, kind in enumerate(labels) if kind != "N"} == kinds
    assert rhythm(peaks / 500, labels)["regularity"] == "regular with ectopic beats"


@pytest.mark.parametrize("leads", [1, 3])
@pytest.mark.parametrize("count", [12, 13])
def test_in_bigeminy_every_other_beat_is_usual(count, leads):
    t, early = np.arange(5000) / 500, np.arange(count) % 2 == 1
    at = 0.4 + 0.75 * np.arange(count) - 0.2 * early
    usual = sum(beat(t, s, 0.09, 0.3) for s in at[~early])
    ventricular = sum(-1.5 * beat(t, s, 0.2, -0.5) for s in at[early])
    x = PATTERN[:leads, None] * (usual + ventricular)
    peaks = r_peaks(x, 500.0)
    assert len(peaks) == count
    assert label_beats(x, 500.0, peaks) == ["V" if odd else "N" for odd in early]


def test_rhythm_numbers_are_the_definitions():
    result = rhythm(np.cumsum([0, 0.8, 0.9, 0.8, 0.9]))
    assert result["rr_mean_ms"] == pytest.approx(850)
    assert result["rr_sd_ms"] == pytest.approx(np.std([800, 900, 800, 900], ddof=1))
    assert result["rmssd_ms"] == pytest.approx(100)


def test_regularity():
    rng = np.random.default_rng(3)
    assert rhythm(np.arange(12) * 0.8 + 0.005 * rng.standard_normal(12))["regularity"] == "regular"
    fibrillation = np.cumsum(rng.uniform(0.45, 1.1, 20))
    assert rhythm(fibrillation)["regularity"] == "irregularly irregular"
    breathing = np.cumsum(0.85 + 0.15 * np.sin(np.arange(20) * 0.6))
    assert rhythm(breathing)["regularity"] in ("irregular", "regular")
    early = np.arange(12) * 0.8
    early[6] -= 0.3
    assert rhythm(early)["regularity"] == "regular with ectopic beats"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_too_few_beats_have_no_rhythm(count):
    result = rhythm(np.arange(count) * 0.8)
    assert result["regularity"] is None
    assert (result["rr_mean_ms"] is None) == (count < 2)


@pytest.mark.data
@pytest.mark.skipif("EINTHOVEN_DATA" not in os.environ, reason="set EINTHOVEN_DATA to the folder that holds mitdb")
def test_mit_bih():
    from training.evaluate_beats import run

    figures = run(Namespace(data=Path(os.environ["EINTHOVEN_DATA"]) / "mitdb"))
    assert figures["fused"]["sensitivity"]["value"] >= 0.995
    assert figures["fused"]["positive_predictivity"]["value"] >= 0.995
