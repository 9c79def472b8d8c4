"""predict_vtvf_risk: features of signals with known answers, contributions against SHAP, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import synthetic
import torch
import xgboost
from safetensors.torch import save_file

from encoders import measures
from encoders.risk import FILE, RiskModel, booster, matrix, packed, scaled
from tools.errors import UsageError
from tools.recording import LEADS, Recording
from tools.risk import predict_vtvf_risk, sentences
from tools.risk_features import STRIP, at_125_hz, by_minute, strip_features
from tools.risk_running import running
from tools.risk_words import PHRASES, said, title

FEATURES = ["heart_rate_bpm", "pvc_percent", "rmssd_ms", "qrs_width_ms", "age"]


def strip(seconds=60.0, fs_hz=250.0, rate_bpm=75.0, pvc_every=0, gain=1.0, level=0.0, noise=0.005):
    """One lead in mV: narrow beats with P and T, and every `pvc_every`-th beat early, wide and inverted."""
    t = np.arange(round(seconds * fs_hz)) / fs_hz
    x = np.random.default_rng(0).normal(0, noise, len(t))
    rr = 60 / rate_bpm
    for beat in range(int(seconds / rr) + 1):
        odd = pvc_every and beat % pvc_every == pvc_every - 1
        at = 0.3 + beat * rr - (0.35 * rr if odd else 0)
        waves = [(-0.16, 0.022, 0.12), (0, 0.016, 1.0), (0.04, 0.014, -0.25), (0.28, 0.045, 0.3)]
        if odd:
            waves = [(0, 0.035, -1.1), (0.1, 0.035, 0.5), (0.33, 0.07, 0.4)]
        for shift, width, height in waves:
            x += height * np.exp(-0.5 * ((t - at - shift) / width) ** 2)
    return Recording((gain * x + level)[None].astype(np.float32), fs_hz, ("ECG",))


def fibrillation(seconds=64.0, fs_hz=250.0):
    t = np.arange(round(seconds * fs_hz)) / fs_hz
    x = np.sin(2 * np.pi * 4.6 * t + 0.8 * np.sin(2 * np.pi * 0.3 * t)) * (1 + 0.3 * np.sin(2 * np.pi * 0.2 * t))
    return Recording(x[None].astype(np.float32), fs_hz, ("ECG",))


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(1)
    x = np.c_[rng.normal(80, 15, 400), rng.exponential(6, 400), rng.exponential(30, 400), rng.normal(90, 15, 400)]
    x = np.c_[x, rng.normal(60, 12, 400)].astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    event = np.nan_to_num(x[:, 1]) / 6 + rng.normal(0, 0.5, 400) > 1.4
    settings = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.1, "base_score": 0.5, "nthread": 1}
    rows = [slice(None), slice(0, 300), slice(100, 400)]
    return x, [xgboost.train(settings, matrix(x[at], label=event[at]), 30) for at in rows]


@pytest.fixture(scope="module")
def own(trained, tmp_path_factory):
    """A function that keeps the model as a file with the given header."""
    x, (trees, *members) = trained

    def keep(**more):
        raw = [packed(one) for one in members]
        config = {
            "input": "strip", "features": FEATURES, "covariates": ["age"], "horizon": "VT or VF", "cohort": "Nobody.",
            "usual": {name: np.nanquantile(x[:, i], (0.25, 0.5, 0.75)).tolist() for i, name in enumerate(FEATURES)},
            "share": 0.2, "member_bytes": [len(one) for one in raw],
        } | more  # fmt: skip
        file = tmp_path_factory.mktemp("risk") / "own.safetensors"
        tensors = {"trees": torch.from_numpy(packed(trees)), "members": torch.from_numpy(np.concatenate(raw))}
        save_file(tensors, file, {"config": json.dumps(config)})
        return str(file)

    return keep


def ask(recording, file, out=None, covariates=None):
    return predict_vtvf_risk(recording, SimpleNamespace(risk_model=file, covariates=covariates), out)


# --- features ---


def test_ectopy_and_rate_are_counted():
    calm, ectopic = (strip_features(one.signal, one.fs_hz) for one in (strip(), strip(pvc_every=10)))
    assert calm["heart_rate_bpm"] == pytest.approx(75, abs=1)
    assert calm["pvc_percent"] == 0
    assert calm["sdnn_ms"] < 15
    assert ectopic["pvc_percent"] == pytest.approx(10, abs=1.5)
    assert ectopic["pvc_coupling_percent"] == pytest.approx(65, abs=4)
    assert calm["t_height_percent"] == pytest.approx(24, abs=6)  # 0.3 of 1.25


def test_neither_gain_nor_offset_nor_unit_is_seen():
    one, other = strip(pvc_every=8), strip(pvc_every=8, gain=7.3, level=-40)
    a, b = (strip_features(x.signal, x.fs_hz) for x in (one, other))
    assert list(a) == list(STRIP)
    np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=2e-3, atol=0.05)


@pytest.mark.parametrize("fs_hz", [128.0, 360.0, 500.0])
def test_sampling_rate_is_hardly_seen(fs_hz):
    one, other = strip(pvc_every=8, noise=0), strip(pvc_every=8, noise=0, fs_hz=fs_hz)
    a, b = (strip_features(x.signal, x.fs_hz) for x in (one, other))
    for name in ("heart_rate_bpm", "pvc_percent", "pvc_coupling_percent", "beat_alike", "early_beat_percent"):
        assert a[name] == pytest.approx(b[name], rel=0.02, abs=0.02), name
    for name in ("qrs_width_ms", "rt_ms", "t_width_ms"):
        assert a[name] == pytest.approx(b[name], abs=9), name  # a sample at 125 Hz
    for name in ("t_height_percent", "st_percent", "p_height_percent"):
        assert a[name] == pytest.approx(b[name], abs=2), name


def test_a_strip_is_the_mean_of_its_minutes_and_gaps_are_left_out():
    recording = strip(180, pvc_every=10, fs_hz=125.0)
    recording.signal[:, : 60 * 125] = np.nan
    minutes = by_minute(recording.signal, 125.0)
    assert minutes[0] is None
    whole = strip_features(recording.signal, 125.0)
    assert whole["pvc_percent"] == pytest.approx(np.mean([one["pvc_percent"] for one in minutes[1:]]))
    assert strip_features(np.zeros((1, 250 * 60)), 250.0) is None


def test_every_feature_has_words():
    assert set(STRIP) <= set(PHRASES)
    assert said("pvc_percent", 18.2, {"pvc_percent": [0, 1, 5]}) == (
        "frequent ventricular premature complexes (18.2 % of beats)"
    )
    assert "little sign of sinus rhythm" in said("p_SR", 0.02, {"p_SR": [0.3, 0.6, 0.9]})
    assert said("p_CRBBB", 0.06, {"p_CRBBB": [0.0, 0.0, 0.03]}).startswith("more sign of complete right bundle")
    assert said("V2_st60_mv", None, {}) == "ST at J+60 ms in V2 not measured"
    assert title("III_r2_ms") == "R' duration in III (ms)"
    assert title("p_axis_deg_sin") == "P axis, sine"  # not a probability, though it begins like one
    assert title("troponin") == "troponin"
    plain = [name for name in measures.NAMES if title(name).replace(" ", "_") == name.rsplit("_", 1)[0]]
    assert not plain  # none is shown by its key
    assert said("pvc_coupling_percent", None, {}).startswith("no ventricular beats")


def test_fibrillation_runs_and_beats_do_not():
    assert running(at_125_hz(fibrillation().signal, 250.0)[0])
    for calm in (strip(), strip(pvc_every=2), strip(rate_bpm=130)):
        assert not running(at_125_hz(calm.signal, 250.0)[0])
    both = np.concatenate([strip(60).signal, fibrillation(30).signal], axis=1)
    [(start, stop)] = running(at_125_hz(both, 250.0)[0])
    assert start == pytest.approx(60, abs=8)
    assert stop == pytest.approx(90, abs=4)


# --- the model ---


def test_contributions_are_shap_and_add_up(trained, own):
    shap = pytest.importorskip("shap")
    x, _ = trained
    model = RiskModel(Path(own()))
    explainer = shap.TreeExplainer(model.trees, feature_perturbation="tree_path_dependent")
    theirs = explainer.shap_values(x[:40])
    for row, values in zip(x[:40], theirs, strict=True):
        seen = model.read({name: None if np.isnan(v) else float(v) for name, v in zip(FEATURES, row, strict=True)})
        assert seen.log_odds == pytest.approx(seen.base_log_odds + sum(seen.contributions.values()), abs=1e-4)
        np.testing.assert_allclose(list(seen.contributions.values()), values, atol=1e-4)
        assert seen.interval[0] <= seen.risk <= seen.interval[1]


def test_contributions_are_shapley_values_by_their_definition():
    """Two features, one tree: the expectation over the tree's own cover, averaged over both orders."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 25, np.float32)
    settings = {"objective": "reg:squarederror", "max_depth": 2, "eta": 1, "lambda": 0, "base_score": 0, "nthread": 1}
    trees = xgboost.train(settings, matrix(x, label=x[:, 0] * x[:, 1]), 1)
    parts = trees.predict(matrix(x[3:4]), pred_contribs=True)[0]
    np.testing.assert_allclose(parts, [0.375, 0.375, 0.25], atol=1e-6)


def test_calibration_is_folded_into_the_trees(trained):
    x, (trees, *_) = trained
    other = scaled(trees, 0.7, -0.4)
    before, after = (one.predict(matrix(x), output_margin=True) for one in (trees, other))
    np.testing.assert_allclose(after, 0.7 * before - 0.4, atol=1e-5)
    parts = other.predict(matrix(x), pred_contribs=True)
    np.testing.assert_allclose(parts.sum(1), after, atol=1e-5)
    again = booster(packed(other).tobytes())
    np.testing.assert_array_equal(again.predict(matrix(x)), other.predict(matrix(x)))


# --- the tool ---


def test_a_strip_is_explained(own, tmp_path):
    result = ask(strip(pvc_every=6), own(), tmp_path, "age=71")
    assert {"risk", "risk_interval", "base_value", "explanation", "cohort", "figure", "warnings"} <= set(result)
    assert result["risk_interval"][0] <= result["risk"] <= result["risk_interval"][1]
    total = result["base_value"] + sum(one["shap"] for one in result["explanation"])
    assert total == pytest.approx(result["log_odds"], abs=1e-4)
    assert 1 / (1 + np.exp(-total)) == pytest.approx(result["risk"], abs=1e-3)
    first = result["explanation"][0]
    assert first["feature"] == "pvc_percent"
    assert first["shap"] > 0
    assert first["words"].startswith("frequent ventricular premature complexes")
    assert {one["feature"]: one["value"] for one in result["explanation"]}["age"] == 71
    ElementTree.fromstring((tmp_path / result["figure"]).read_text())
    text = sentences(result)
    assert text[0].startswith("Risk of VT or VF: ")
    assert any("raises the risk" in line for line in text)
    assert "Nobody." in text
    json.dumps(result)


def test_ectopy_raises_what_calm_does_not(own):
    file = own()
    assert ask(strip(pvc_every=5), file)["risk"] > ask(strip(), file)["risk"]


def test_absent_covariates_are_said(own):
    result = ask(strip(), own())
    assert result["risk"] is not None
    assert any("age" in line and "--covariates" in line for line in result["warnings"])


@pytest.mark.parametrize(
    ("recording", "reason"),
    [
        (synthetic.ecg(seconds=10).recording, "resting ECG"),
        (strip(30), "too short"),
        (fibrillation(), "seems to run already"),
        (Recording(np.zeros((1, 15000), np.float32), 250.0, ("ECG",)), "no minute"),
        (Recording(np.random.default_rng(0).normal(size=(1, 15000)).astype(np.float32), 250.0, ("ECG",)), "no minute"),
    ],
)
def test_no_risk_is_invented(own, recording, reason):
    result = ask(recording, own())
    assert result["risk"] is None
    assert result["explanation"] == []
    assert result["figure"] is None
    assert reason in result["warnings"][0]
    assert sentences(result)[0].startswith("Risk is withheld: ")


def test_more_leads_and_longer_recordings_are_said_to_be_cut(own):
    one = strip(303)
    many = Recording(np.repeat(one.signal, 12, axis=0), one.fs_hz, LEADS)
    said_ = " ".join(ask(many, own())["warnings"])
    assert "II and V5 are read" in said_
    assert "last 5 minutes" in said_


def test_what_was_not_recorded_is_said(own):
    one = strip(130)
    one.signal[:, 5000:10000] = np.nan
    assert any("Nothing was recorded for 20 s" in warning for warning in ask(one, own())["warnings"])


def test_wrong_arguments_are_refused_in_one_line(own, tmp_path):
    broken = tmp_path / "x.safetensors"
    broken.write_bytes(b"no model")
    other = tmp_path / "y.safetensors"
    save_file({"a": torch.zeros(1)}, other, {"config": "{}"})
    for file in (str(broken), str(other), str(tmp_path / "absent.safetensors")):
        with pytest.raises(UsageError, match=r"--risk-model: .*training\.risk"):
            ask(strip(60), file)
    with pytest.raises(UsageError, match="does not take 'lvef'"):
        ask(strip(60), own(), covariates="lvef=35")
    with pytest.raises(UsageError, match="no number"):
        ask(strip(60), own(), covariates="age=old")


def test_a_model_of_resting_ecgs_reads_one(own):
    features = ["heart_rate_bpm", "p_PVC", "rmssd_ms", "qrs_ms", "age"]
    file = own(input="ecg", features=features, usual={})
    result = ask(synthetic.ecg(seconds=10).recording, file, covariates="age=50")
    values = {one["feature"]: one["value"] for one in result["explanation"]}
    assert values["heart_rate_bpm"] == pytest.approx(72, abs=1)
    assert 0 <= values["p_PVC"] <= 1
    microvolt = synthetic.ecg(seconds=10, gain=1000).recording
    assert "microvolt" in ask(microvolt, own(input="ecg", features=features))["warnings"][0]


@pytest.mark.skipif(not FILE.exists(), reason="the weights are not there")
def test_the_shipped_model_says_what_it_is(tmp_path):
    result = predict_vtvf_risk(strip(pvc_every=8), None, tmp_path)
    assert 0 < result["risk"] < 1
    assert "CUDB" in result["cohort"]
    assert any("demonstration" in line for line in result["warnings"])
