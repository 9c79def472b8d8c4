"""`reconstruct_leads`: measured leads untouched, limb leads exact, what cannot be told said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import synthetic

from encoders.layouts import printed
from encoders.vae import FILE
from tools.errors import MissingWeights, UsageError
from tools.interpret import interpret_ecg
from tools.reconstruct import reconstruct_leads, reconstructed, sentences
from tools.recording import LEADS, Recording, read

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the autoencoder's weights are not shipped yet")


@pytest.fixture(scope="module")
def real(dicom) -> Recording:
    return replace(read(dicom)[0], gain=None)


def only(recording: Recording, *leads: str) -> Recording:
    return replace(recording, signal=np.stack([recording.lead(lead) for lead in leads]), leads=leads)


@pytest.mark.parametrize("leads", [("II", "V1", "V5"), ("I",), ("I", "II", "V2"), ("V3",)])
def test_measured_leads_come_back_untouched(real, leads):
    made = reconstructed(only(real, *leads))
    assert made.recording.leads == LEADS
    assert made.recording.fs_hz == real.fs_hz
    assert np.isfinite(made.recording.signal).all()
    for lead in leads:
        assert np.array_equal(made.recording.lead(lead), real.lead(lead))
        assert lead not in made.band_mv


def test_limb_leads_follow_exactly_from_two(real):
    made = reconstructed(only(real, "I", "II", "V2"))
    assert made.by_algebra == ("III", "aVR", "aVL", "aVF")
    for lead in made.by_algebra:
        assert not made.band_mv[lead].any()
    assert np.allclose(made.recording.lead("III"), real.lead("II") - real.lead("I"), atol=1e-4)


def test_rebuilt_leads_hold_the_algebra(real):
    signal = reconstructed(only(real, "V2", "V5")).recording.signal
    assert np.allclose(signal[2], signal[1] - signal[0], atol=1e-4)
    assert np.allclose(signal[3:6].sum(axis=0), 0, atol=1e-4)


def test_a_real_ecg_is_rebuilt_like_itself(real):
    made = reconstructed(only(real, "II", "V1", "V5"))
    for lead in ("I", "aVF", "V4", "V6"):
        assert np.corrcoef(made.recording.lead(lead), real.lead(lead))[0, 1] > 0.8, lead


def test_a_printed_page_is_filled_where_it_is_empty(real):
    page = replace(real, signal=printed(real.signal, "3x4", real.leads, real.fs_hz))
    made = reconstructed(page)
    there = np.isfinite(page.signal)
    assert np.array_equal(made.recording.signal[there], page.signal[there])
    assert set(made.band_mv) == set(LEADS)
    for lead, row in zip(LEADS, there, strict=True):
        assert np.array_equal(np.isnan(made.band_mv[lead]), row)


def test_a_long_recording_has_no_seam():
    truth = synthetic.ecg(fs_hz=250, rate_bpm=70, seconds=34).recording
    made = reconstructed(only(truth, "II", "V1", "V5"))
    assert made.recording.signal.shape[1] == truth.signal.shape[1]
    usual = np.abs(np.diff(truth.signal, axis=1)).max()
    assert np.abs(np.diff(made.recording.signal, axis=1)).max() < 2 * usual


def test_the_result_names_what_was_measured_and_what_was_not(real, tmp_path):
    result = reconstruct_leads(only(real, "I"), None, tmp_path)
    assert result["measured_leads"] == ["I"]
    assert result["reconstructed_leads"] == [lead for lead in LEADS if lead != "I"]
    assert all(len(band) == real.signal.shape[1] for band in result["uncertainty_mv"].values())
    assert any("posterior" in warning for warning in result["warnings"])
    [written] = read(Path(result["record"]))
    assert written.meta["rebuilt"].split() == result["reconstructed_leads"]
    figure = Path(result["figure"]).read_text()
    assert "REBUILT" in figure
    assert "fill-opacity" in figure
    said = " ".join(sentences(result))
    assert "V5 ±" in said
    assert "I." in sentences(result)[0]
    assert any("rebuilt by a model" in warning for warning in interpret_ecg(written)["warnings"])


def test_a_flat_lead_is_not_used_but_rebuilt(real):
    three = only(real, "II", "V1", "V5")
    signal = three.signal.copy()
    signal[1] = 0
    made = reconstructed(replace(three, signal=signal))
    assert made.measured == ("II", "V5")
    assert "V1" in made.band_mv
    assert any("V1 (flat)" in warning for warning in made.warnings)


def test_of_a_long_recording_the_beginning_is_rebuilt(real):
    long = replace(only(real, "II", "V1"), signal=np.tile(real.signal[[1, 6]], 40))
    made = reconstructed(long)
    assert made.recording.duration_s == pytest.approx(300)
    assert "Only the first 5 min of 7 were rebuilt." in made.warnings


def test_where_no_lead_recorded_nothing_is_made(real):
    signal = real.signal.copy()
    signal[:, 1500:2500] = np.nan
    made = reconstructed(only(replace(real, signal=signal), "II", "V1", "V5"))
    assert np.isnan(made.recording.signal[:, 1500:2500]).all()
    assert np.isfinite(made.recording.signal[:, :1500]).all()
    assert any(f"Nothing was recorded for {1000 / real.fs_hz:.1f} s" in warning for warning in made.warnings)
    with pytest.raises(UsageError, match="nothing to rebuild"):
        reconstructed(replace(real, signal=signal))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r, "nothing to rebuild"),
        (lambda r: replace(only(r, "II"), signal=r.signal[1:2, :1000]), "too short"),
        (lambda r: replace(only(r, "II", "V1"), signal=np.zeros((2, 5000), np.float32)), "no lead is usable"),
        (lambda r: replace(only(r, "II"), signal=r.signal[1:2] * 1000), "microvolt"),
        (lambda r: replace(only(r, "II"), unit="V"), "unit"),
        (lambda r: replace(only(r, "II"), leads=("ECG1",)), "twelve"),
    ],
)
def test_bad_input_gets_one_line(real, change, words):
    with pytest.raises(UsageError, match=words) as raised:
        reconstructed(change(real))
    assert "\n" not in str(raised.value)


def test_without_weights_it_says_what_is_missing(real, monkeypatch, tmp_path):
    from encoders import vae

    of_file = vae.opened
    monkeypatch.setattr(vae, "opened", lambda: of_file(tmp_path / "vae.safetensors"))
    with pytest.raises(MissingWeights, match=r"training\.vae"):
        reconstructed(only(real, "II"))
