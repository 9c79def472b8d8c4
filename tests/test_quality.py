"""Signal quality: a real ECG is fit, damage to a lead is named in plain words, exchanged arms are seen."""

import json
import os
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from test_beats import ecg, evenly

from encoders.weights import sha256
from tools.quality import FEATURES, LEARNT, WEIGHTS, assess, lead_features, pooled, reversal
from tools.recording import LEADS, Recording, read


@pytest.fixture(scope="module")
def real(dicom) -> Recording:
    [recording] = read(dicom)
    order = [recording.leads.index(lead) for lead in LEADS]
    return replace(recording, signal=recording.signal[order], leads=LEADS, gain=None)


def with_lead(recording: Recording, name: str, damage) -> Recording:
    signal = np.array(recording.signal, float)
    row = recording.leads.index(name)
    signal[row] = damage(signal[row], np.arange(signal.shape[1]) / recording.fs_hz)
    return replace(recording, signal=signal.astype(np.float32))


def test_a_real_recording_is_acceptable(real):
    result = assess(real)
    assert result["acceptable"]
    assert result["probability"] > 0.5
    assert result["method"] == "model"
    assert list(result["leads"]) == list(LEADS)
    assert all(lead == {"usable": True, "reasons": []} for lead in result["leads"].values())
    json.dumps(result)


def test_so_is_the_same_at_100_hz(real):
    slow = replace(real, signal=real.signal[:, ::10], fs_hz=real.fs_hz / 10)
    assert assess(slow)["acceptable"]
    assert assess(slow)["probability"] == pytest.approx(assess(real)["probability"], abs=0.2)


@pytest.mark.parametrize(
    ("damage", "usable", "reason"),
    [
        (lambda x, t: 0 * x, False, "flat"),
        (lambda x, t: np.nan * x, False, "no signal"),
        (lambda x, t: np.where(t < 3.2, np.nan, x), True, "missing 32 % of samples"),
        (lambda x, t: x + 3 * np.sin(2 * np.pi * 0.25 * t), False, "baseline wander"),
        (lambda x, t: x + 0.6 * np.sin(2 * np.pi * 0.25 * t), True, "baseline wander"),
        (lambda x, t: x + 0.1 * np.sin(2 * np.pi * 50 * t), True, "mains hum"),
        (lambda x, t: x + 0.1 * np.sin(2 * np.pi * 60 * t), True, "mains hum"),
        (lambda x, t: x + 1.0 * np.random.default_rng(0).standard_normal(len(x)), False, "muscle noise"),
        (lambda x, t: np.clip(40 * np.sin(2 * np.pi * 0.5 * t) + x, -5, 5), False, "saturated"),
        (lambda x, t: x + 6 * ((t > 2) & (t < 2.4)) - 5 * ((t > 7) & (t < 7.5)), False, "steps/spikes"),
        (lambda x, t: np.where((t > 4) & (t < 8), x[0], x), True, "flat for 38 % of the time"),
    ],
)
def test_damage_is_named_and_other_leads_are_left_alone(real, damage, usable, reason):
    leads = assess(with_lead(real, "V3", damage))["leads"]
    assert reason in leads["V3"]["reasons"]
    assert leads["V3"]["usable"] == usable
    assert all(lead["usable"] for name, lead in leads.items() if name != "V3")


def test_unplugged_recordings_are_not_acceptable(real):
    for signal in (np.zeros_like(real.signal), np.full_like(real.signal, np.nan)):
        result = assess(replace(real, signal=signal))
        assert not result["acceptable"]
        assert not any(lead["usable"] for lead in result["leads"].values())
        assert len(result["warnings"]) == 2
    noise = np.random.default_rng(0).standard_normal(real.signal.shape).astype(np.float32)
    assert not assess(replace(real, signal=noise))["acceptable"]


@pytest.mark.parametrize("names", [("II",), ("I", "II", "V2")])
def test_few_leads_are_judged_by_rules(real, names):
    few = replace(real, signal=np.stack([real.lead(name) for name in names]), leads=names)
    result = assess(few)
    assert (result["acceptable"], result["probability"], result["method"]) == (True, None, "rules")
    assert not assess(replace(few, signal=0 * few.signal))["acceptable"]


def test_without_weights_the_rules_decide(real, tmp_path):
    assert assess(real, tmp_path / "none.safetensors")["method"] == "rules"


def test_long_and_very_short_recordings(real):
    long = replace(real, signal=np.tile(real.signal, (1, 30)))
    assert assess(long)["acceptable"]
    for samples in (0, 1, 50, 500, 1500):
        short = assess(replace(real, signal=real.signal[:, :samples]))
        assert short["method"] == "rules"
        assert samples > 1000 or not short["acceptable"]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_the_order_of_leads_does_not_matter(real, seed):
    features = lead_features(real.signal[:, :10000:2], real.fs_hz / 2)[None]
    mixed = features[:, np.random.default_rng(seed).permutation(12)]
    np.testing.assert_allclose(pooled(mixed), pooled(features))


def test_weights_are_what_their_card_says():
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert card["sha256"] == sha256(WEIGHTS)
    assert card["figures"]["model"]["accuracy"]["value"] >= 0.92
    model = load_file(WEIGHTS)
    assert model["weight"].shape == (5 * len(LEARNT),)
    assert len(FEATURES) - len(LEARNT) == 2


def limbs(i: np.ndarray, ii: np.ndarray) -> np.ndarray:
    return np.stack([i, ii, ii - i, -(i + ii) / 2, i - ii / 2, ii - i / 2])


def test_exchanged_limb_electrodes(real):
    assert reversal(real.signal, real.fs_hz) is None
    x = ecg(evenly(70))[0]
    chest = np.outer([-0.7, -0.5, 0.6, 1.2, 1.2, 0.9], x)
    assert reversal(np.concatenate([limbs(0.8 * x, x), chest]), 500.0) is None
    arms = reversal(np.concatenate([limbs(-0.8 * x, 0.2 * x), chest]), 500.0)
    assert arms is not None
    assert "arm electrodes" in arms
    leg = reversal(np.concatenate([limbs(-0.8 * x, 0.02 * x), -chest]), 500.0)
    assert leg is not None
    assert "right arm and right leg" in leg
    mirrored = np.concatenate([limbs(-0.8 * x, 0.2 * x), -np.abs(chest)])  # dextrocardia: V6 points down too
    assert reversal(mirrored, 500.0) is None
    assert reversal(np.zeros((12, 5000)), 500.0) is None


@pytest.mark.data
@pytest.mark.skipif("EINTHOVEN_DATA" not in os.environ, reason="set EINTHOVEN_DATA to the folder that holds cinc2011")
def test_cinc_2011():
    from training.evaluate_quality import run

    figures = run(Namespace(data=Path(os.environ["EINTHOVEN_DATA"]) / "cinc2011", weights=WEIGHTS, all=False))
    assert figures["model"]["accuracy"]["value"] >= 0.92


def test_a_slow_clean_ecg_is_not_flat_and_the_judgement_is_plain_json():
    import json

    import synthetic

    judged = assess(synthetic.ecg(rate_bpm=40, qt_ms=440).recording)
    assert all(lead["usable"] for lead in judged["leads"].values())
    json.dumps(judged)
