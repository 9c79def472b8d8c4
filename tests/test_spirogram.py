"""Spirograms: the tool and its words, the drawing, the encoder, the modelled curves."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from blows import blow, recording
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.spiro import FILE, SEGMENTS, SpiroNet, opened, prepared
from tools.errors import UnreadableFile, UsageError
from tools.recording import Recording
from tools.spirogram import read_spirogram, sentences
from tools.spirometry import flow_of, measure

shipped = pytest.mark.skipif(not FILE.exists(), reason="the encoder's weights are not shipped yet")
TRUTH = blow(4.0, 0.6)
VOLUME = TRUTH.volume_l
FLOW = flow_of(VOLUME, 100)


def asked(**given) -> SimpleNamespace:
    return SimpleNamespace(**{"age": None, "sex": None, "height_cm": None, "equations": None, "group": None, **given})


WOMAN = asked(age=45.0, sex="F", height_cm=165.0)


def session(*factors: float) -> Recording:
    return recording(*(f * TRUTH.volume_l for f in factors or (1, 0.99, 0.985)))


def test_a_good_session_is_read_against_gli(tmp_path):
    result = read_spirogram(session(), WOMAN, tmp_path)
    assert result["fev1_l"] == pytest.approx(TRUTH.fev1_l, abs=0.011)
    assert result["fvc_l"] == pytest.approx(TRUTH.fvc_l, abs=0.011)
    assert result["fev1_fvc"] == pytest.approx(TRUTH.fev1_l / TRUTH.fvc_l, abs=0.002)
    assert result["pef_lps"] == pytest.approx(TRUTH.pef_lps, rel=0.01)
    assert (result["grade"], result["best_manoeuvre"], result["pattern"]) == ("A", 1, "normal spirometry")
    assert result["z_scores"]["fvc_l"] > 0
    assert result["predicted"]["fef2575_lps"] is None
    by_2012 = read_spirogram(
        session(), asked(**{**vars(WOMAN), "equations": "GLI-2012", "group": "Caucasian"}), tmp_path
    )
    assert by_2012["z_scores"]["fef2575_lps"] is not None
    assert by_2012["group"] == "Caucasian"


def numbers(text: str) -> set[float]:
    return {float(n) for n in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])", text)}


def every_number(value) -> set[float]:
    if isinstance(value, dict):
        return set().union(*map(every_number, value.values()), set())
    if isinstance(value, list):
        return set().union(*map(every_number, value), {float(len(value))})
    return {float(value)} if isinstance(value, int | float) else set()


@pytest.mark.parametrize("blows", [session(), session(1.0), session(1, 0.8), recording(VOLUME[:250], VOLUME[:260])])
@pytest.mark.parametrize("who", [WOMAN, asked(), asked(age=70, sex="M", height_cm=180, equations="GLI-2012")])
def test_each_number_of_the_report_is_in_the_result(tmp_path, blows, who):
    result = read_spirogram(blows, who, tmp_path)
    good = sum(len(m["acceptable"]) == 2 for m in result["manoeuvres"])
    known = every_number({k: v for k, v in result.items() if k != "report"}) | {float(good)}
    report = result["report"].replace("GLI-2012", "").replace("GLI-2022", "").replace("FEF25-75", "")
    assert numbers(report)
    assert numbers(report) <= known
    assert f"FVC {result['fvc_l']:.2f} L" in report
    assert all("\n" not in sentence for sentence in sentences(result))
    assert any(f"FVC {result['fvc_l']:.2f} L" in sentence for sentence in sentences(result))


@pytest.mark.parametrize(
    ("tau_s", "factor", "pattern"),
    [
        (0.6, 1.0, "normal spirometry"),
        (2.2, 1.0, "airflow obstruction"),
        (0.5, 0.5, "possible restriction"),
        (2.0, 0.6, "airflow obstruction with a low FVC"),
    ],
)
def test_patterns(tmp_path, tau_s, factor, pattern):
    volume = blow(4.0, tau_s, lasts_s=14).volume_l * factor
    result = read_spirogram(recording(volume, volume, volume), WOMAN, tmp_path)
    assert result["pattern"] == pattern
    assert (result["severity"] is None) == (pattern == "normal spirometry")
    assert any(pattern in sentence for sentence in sentences(result))


def test_without_a_person_there_are_numbers_but_no_predicted_ones(tmp_path):
    result = read_spirogram(session(), asked(age=45.0, sex="F"), tmp_path)
    assert result["fev1_l"] is not None
    assert [result[key] for key in ("predicted", "lln", "z_scores", "pattern")] == [None] * 4
    assert any("height" in warning for warning in result["warnings"])
    result = read_spirogram(session(), None, tmp_path)
    assert any("age" in w and "sex" in w and "height" in w for w in result["warnings"])


def test_age_and_sex_of_the_recording_are_used(tmp_path):
    known = recording(VOLUME, VOLUME, age=45.0, sex="F")
    assert (
        read_spirogram(known, asked(height_cm=165.0), tmp_path)["z_scores"]
        == (read_spirogram(recording(VOLUME, VOLUME), WOMAN, tmp_path)["z_scores"])
    )
    assert read_spirogram(known, asked(age=50.0, height_cm=165.0), tmp_path)["age"] == 50


@pytest.mark.parametrize(
    ("blows", "who", "words"),
    [
        (session(1.0), WOMAN, "Only one manoeuvre"),
        (recording(-VOLUME, -VOLUME), WOMAN, "turned over"),
        (recording(VOLUME - 1.0), WOMAN, "negative volumes"),
        (recording(1000 * VOLUME), WOMAN, "millilitres given as litres"),
        (recording(VOLUME, unit="mL"), WOMAN, "litres given as millilitres"),
        (session(), asked(age=101, sex="F", height_cm=160), "3 to 95 years"),
        (session(), asked(age=40, sex="F", height_cm=1.6), "centimetres"),
        (recording(VOLUME[:130], VOLUME[:130]), WOMAN, "shorter than one second"),
        (recording(VOLUME[:300]), WOMAN, "FVC may be larger"),
        (recording(VOLUME, 0 * VOLUME), WOMAN, "Manoeuvre 2 holds no forced expiration"),
        (recording(blow(4, 0.5, rise_s=0.7).volume_l), WOMAN, "late start"),
        (session(1, 0.8), WOMAN, "caution"),
        (session(), asked(age=82, sex="F", height_cm=160), "No predicted PEF"),
    ],
)
def test_what_is_wrong_is_named_and_what_is_right_is_told(tmp_path, blows, who, words):
    result = read_spirogram(blows, who, tmp_path)
    assert any(words in warning for warning in result["warnings"])
    assert 0.1 < result["fvc_l"] < 10
    assert result["pef_lps"] > 1
    assert Path(result["figure"]).is_file()
    assert sentences(result)


def test_blows_that_all_end_early_do_not_make_a_pattern(tmp_path):
    slow = blow(4, 1.2, lasts_s=12).volume_l
    result = read_spirogram(recording(slow[:180], slow[:185]), WOMAN, tmp_path)
    assert result["z_scores"]["fev1_fvc"] > -1.645  # cut so early, the ratio looks normal
    assert result["pattern"] is None
    assert any("does not exclude obstruction" in warning for warning in result["warnings"])


@pytest.mark.parametrize(
    ("blows", "who", "words"),
    [
        (recording(np.zeros(500)), WOMAN, "no manoeuvre holds"),
        (recording(30 * VOLUME), WOMAN, "impossible in one breath"),
        (recording(VOLUME, unit="bpm"), WOMAN, "give its unit"),
        (session(), asked(equations="GLI-2030"), "GLI-2012"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, blows, who, words):
    with pytest.raises(UsageError, match=words) as raised:
        read_spirogram(blows, who, tmp_path)
    assert "\n" not in str(raised.value)


@given(
    st.lists(st.floats(-12, 12, width=32) | st.just(float("nan")), min_size=1, max_size=400),
    st.sampled_from([10.0, 25.0, 100.0]),
    st.sampled_from(["L", "mL", "L/s"]),
    st.integers(1, 60),
)
@settings(max_examples=60, deadline=None)
def test_any_signal_is_read_or_refused_in_one_line(tmp_path_factory, values, fs_hz, unit, repeat):
    """Steps of any size, held for `repeat` samples."""
    said, folder = "", tmp_path_factory.mktemp("any")
    try:
        result = read_spirogram(recording(np.repeat(values, repeat), fs_hz=fs_hz, unit=unit), WOMAN, folder)
        assert result["fvc_l"] > 0
        assert result["grade"] in "ABCDEUF"
        assert numbers(result["report"])
    except UsageError as error:
        said = str(error)
    assert "\n" not in said


def test_flow_over_time_is_read_as_well(tmp_path):
    flow = Recording(FLOW[None].astype(np.float32), 100, ("FLOW",), "spirogram", "L/s")
    both = Recording(np.stack([VOLUME, FLOW]).astype(np.float32), 100, ("VOLUME", "FLOW"), "spirogram", "L")
    for one_ in (flow, both):
        result = read_spirogram(one_, WOMAN, tmp_path)
        assert result["fev1_l"] == pytest.approx(TRUTH.fev1_l, abs=0.02)
        assert len(result["manoeuvres"]) == 1


def test_the_drawing_shows_what_is_measured_and_what_is_predicted(tmp_path):
    result = read_spirogram(session(), WOMAN, tmp_path)
    svg = Path(result["figure"]).read_text()
    for name in ("manoeuvre 1", "manoeuvre 3", "predicted PEF", "predicted FVC", "predicted FEV1"):
        assert f'data-name="{name}"' in svg
    assert f"{result['fev1_l']:.2f}" in svg
    assert "predicted" not in Path(read_spirogram(session(), asked(), tmp_path / "2")["figure"]).read_text()


def test_segments_hold_what_was_recorded_and_do_not_see_the_rest():
    x, there = prepared(VOLUME[:500], 100)
    assert there.sum() < SEGMENTS
    again, there_again = prepared(np.r_[np.full(50, np.nan), VOLUME[:500] + 3, np.full(400, np.nan)], 100)
    assert np.array_equal(there, there_again)
    np.testing.assert_allclose(again, x, atol=1e-5)
    breath, there_breath = prepared(np.r_[VOLUME, np.linspace(4, 0, 100)], 100)
    np.testing.assert_allclose(breath[there_breath][:10], prepared(VOLUME, 100)[0][:10], atol=0.05)


def test_a_vector_for_each_segment_whatever_lies_beside_it_in_the_batch():
    import torch

    torch.manual_seed(0)
    net = SpiroNet().eval()
    long, short = prepared(VOLUME, 100), prepared(VOLUME[:300], 100)
    both = net(*(torch.from_numpy(np.stack(pair)) for pair in zip(long, short, strict=True)))
    alone = net(*(torch.from_numpy(one_)[None] for one_ in short))
    assert torch.allclose(both["logit"][1], alone["logit"][0], atol=1e-5)
    seen = net.read(VOLUME[:300], 100)
    assert seen.vectors.shape == (short[1].sum(), 128)
    assert seen.attention.sum() == pytest.approx(1, abs=1e-5)


@shipped
def test_the_curve_alone_tells_obstruction_whatever_the_rate():
    healthy, ill = (blow(4, tau, lasts_s=12) for tau in (0.5, 2.5))
    net = opened()
    assert net.read(healthy.volume_l, 100).probability < 0.2
    assert net.read(ill.volume_l, 100).probability > 0.8
    fast = blow(4, 2.5, lasts_s=12, fs_hz=250)
    assert net.read(fast.volume_l, 250).probability == pytest.approx(net.read(ill.volume_l, 100).probability, abs=0.05)


PEOPLE = pd.DataFrame(
    {"fvc": 4.0, "fev1": 3.2, "pef": 8.5, "fef": 3.1, "bev": 0.08, "fet": 8.0}, index=range(3)
).assign(fvc=[4.0, 3.1, 1.6], fev1=[3.2, 1.7, 1.4], pef=[8.5, 5.0, 3.4], fef=[3.1, 0.7, 1.9], fet=[8.0, 12.0, 4.0])


def test_modelled_curves_have_the_numbers_they_were_made_from():
    from training import spirogram_data

    curves = spirogram_data.modelled(PEOPLE)
    assert curves.solved.all()
    for n, person in enumerate(PEOPLE.itertuples(index=False)):
        told = measure(curves.volume[n], 100)
        for key, true in (("fvc_l", person.fvc), ("fev1_l", person.fev1), ("pef_lps", person.pef)):
            assert told[key] == pytest.approx(true, rel=0.01), key
        assert told["fef2575_lps"] == pytest.approx(person.fef, rel=0.01)
        assert told["fet_s"] == pytest.approx(person.fet, rel=0.02)
        assert told["bev_l"] == pytest.approx(person.bev, abs=0.03)  # a flat peak moves time zero by 10 ms
        assert told["time_zero_s"] == pytest.approx(curves.zero_s[n], abs=0.01)


def test_artefacts_are_what_they_are_called():
    from training import spirogram_data as data

    curves = data.modelled(PEOPLE)
    volume, zero_s = curves.volume[0], float(curves.zero_s[0])
    assert "cough in the first second" in measure(data.coughed(volume, zero_s + 0.3, 0.2), 100)["faults"]
    cut = data.stopped(curves.volume, curves.zero_s, 1.5)
    assert measure(cut[0], 100)["fet_s"] == pytest.approx(1.5, abs=0.02)
    lame = measure(data.weak(volume, zero_s, 2.0), 100)
    assert lame["pef_lps"] < 0.8 * measure(volume, 100)["pef_lps"]
    assert lame["fvc_l"] == pytest.approx(4.0, rel=0.01)


def test_blows_of_uk_biobank(tmp_path):
    from training.spirogram_data import ukb

    samples = np.round(1000 * VOLUME).astype(int)
    cell = f"blow1,{len(samples)}," + ",".join(map(str, samples))
    pd.DataFrame({"eid": [1, 2], "3066-0.0": [cell, None]}).to_csv(tmp_path / "ukb.csv", index=False)
    (volume,) = ukb(tmp_path / "ukb.csv")
    np.testing.assert_allclose(volume, VOLUME, atol=1e-3)
    pd.DataFrame({"eid": [1]}).to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(UnreadableFile, match="3066"):
        ukb(tmp_path / "none.csv")
