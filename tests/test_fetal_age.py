"""`estimate_fetal_age`: keys, gaps and their groups, what is withheld and why, the figure, the words."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic_ctg import FS_HZ, ctg

from encoders.ctg import FILE, opened
from tools.errors import MissingWeights, UsageError
from tools.fetal_age import GROUPS, estimate_fetal_age, gap_group, sentences, weeks_and_days
from tools.recording import Recording, read, write
from training.ctg import load

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the network's weights are not shipped yet")

KEYS = {"age_days", "gap_days", "gap_group", "interval_days", "baseline_age_days", "informative", "figure", "warnings"}
ACMES = (100.0, 300.0)
LABOUR = ctg(
    events=((300.0, 40.0, 25.0), (1100.0, 60.0, -40.0)), acmes_s=tuple(np.arange(200.0, 2300, 240)), bandwidth_bpm=12
)


def estimated(recording: Recording, out: Path, **given) -> dict:
    return estimate_fetal_age(recording, SimpleNamespace(**given), out)


def said(result: dict) -> str:
    return " ".join(sentences(result))


def test_the_result_has_its_keys_and_is_plain_json(tmp_path):
    result = estimated(LABOUR, tmp_path, gestational_age_days=280)
    assert set(result) >= KEYS
    low, high = result["interval_days"]
    assert low < result["age_days"] < high
    assert high - low == pytest.approx(2 * opened().half_width_days, abs=0.2)
    assert result["gap_days"] == pytest.approx(result["age_days"] - 280, abs=0.1)
    assert result["gap_group"] in GROUPS
    assert result["baseline_age_days"] == opened().cohort["mean_days"]
    assert result["features"]["accelerations"] == 1
    assert json.loads(json.dumps(result)) == result
    assert "<svg" in Path(result["figure"]).read_text()


def test_a_png_is_written_and_the_speed_is_kept(tmp_path):
    result = estimated(LABOUR, tmp_path, speed_cm_min=3, format="png")
    assert Path(result["figure"]).read_bytes().startswith(b"\x89PNG")
    assert "3-cm-per-min" in result["figure"]
    with pytest.raises(UsageError, match="1 or 3 cm/min"):
        estimated(LABOUR, tmp_path, speed_cm_min=2)


def test_without_a_stated_age_there_is_no_gap(tmp_path):
    result = estimated(LABOUR, tmp_path)
    assert result["age_days"] is not None
    assert result["gap_days"] is result["gap_group"] is None
    assert any("no gap" in warning for warning in result["warnings"])


def test_weeks_are_days(tmp_path):
    assert estimated(LABOUR, tmp_path, weeks=40)["stated_age_days"] == 280
    assert estimated(LABOUR, tmp_path, weeks=40.5)["stated_age_days"] == round(40.5 * 7)
    assert weeks_and_days(283) == "40+3"
    for given in ({"weeks": 40, "gestational_age_days": 260}, {"weeks": 60}, {"gestational_age_days": 20}):
        with pytest.raises(UsageError):
            estimated(LABOUR, tmp_path, **given)


@pytest.mark.parametrize(
    ("gap", "group"),
    [(-22, "< -21"), (-21, "-21 to -7"), (-7.1, "-21 to -7"), (-7, "-7 to 7"), (7, "-7 to 7"), (7.1, "7 to 21"),
     (21, "7 to 21"), (21.1, "> 21")],
)  # fmt: skip
def test_gaps_fall_into_five_groups(gap, group):
    assert gap_group(gap) == group


@pytest.mark.parametrize("weeks", [28, 34, 36])
def test_outside_the_trained_range_no_age_is_given(weeks, tmp_path):
    result = estimated(LABOUR, tmp_path, weeks=weeks)
    assert result["age_days"] is result["gap_days"] is result["interval_days"] is None
    assert any("outside the trained range" in warning for warning in result["warnings"])
    assert result["features"]["baseline_bpm"] is not None


def test_what_is_not_informative_is_said_before_the_age_and_after_the_features(tmp_path):
    result = estimated(LABOUR, tmp_path)
    vain, useful = (sentences({**result, "informative": one}) for one in (False, True))
    age = next(i for i, one in enumerate(vain) if one.startswith("Gestational age is estimated"))
    assert "not informative at term" in vain[age - 1]
    assert vain[0].startswith("Baseline")
    assert useful[0].startswith("Gestational age is estimated")
    assert "not informative" not in said({**result, "informative": True})
    assert "interval" in said(result)
    assert any("in labour" in warning for warning in result["warnings"])
    assert "Baseline heart rate is 14" in said(result)


def twin_talk() -> Recording:
    one, two = ctg(baseline_bpm=125, bandwidth_bpm=6, acmes_s=ACMES), ctg(baseline_bpm=150, bandwidth_bpm=6)
    turn = (np.arange(one.signal.shape[1]) // (25 * FS_HZ)) % 2 == 1
    signal = one.signal.copy()
    signal[0, turn] = two.signal[0, turn]
    return replace(one, signal=signal)


@pytest.mark.parametrize(
    ("recording", "words"),
    [
        (
            ctg(acmes_s=ACMES, gaps=tuple((at, at + 60.0) for at in range(0, 2400, 100))),
            "60 % of the heart rate is missing",
        ),
        (twin_talk(), "two hearts are mixed"),
        (ctg(bandwidth_bpm=0, acmes_s=ACMES), "the trace is constant"),
        (ctg(minutes=7, acmes_s=ACMES), "no half hour of the trace holds enough"),
    ],
)
def test_a_bad_trace_is_named_and_the_rest_is_still_told(recording, words, tmp_path):
    result = estimated(recording, tmp_path, weeks=40)
    assert result["age_days"] is None
    assert [warning for warning in result["warnings"] if words in warning and "not estimated" in warning]
    assert result["features"]["signal_loss"] is not None
    assert result["features"]["contractions"] == 2
    assert Path(result["figure"]).exists()
    assert "Signal loss" in said(result)


def test_without_a_uterus_the_age_is_still_told(tmp_path):
    result = estimated(ctg(uterus=False), tmp_path)
    assert result["age_days"] is not None
    assert result["features"]["contractions"] is None
    assert "no uterine channel" in Path(result["figure"]).read_text()
    assert any("There is no uterine channel" in warning for warning in result["warnings"])


def test_a_trace_of_seconds_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="too short") as raised:
        estimated(ctg(minutes=0.5), tmp_path)
    assert "\n" not in str(raised.value)


def test_a_written_record_reads_back_as_the_same_trace(tmp_path):
    [again] = read(write(replace(LABOUR, gain=(100.0, 100.0)), tmp_path / "labour"))
    assert (again.kind, again.leads) == ("ctg", ("FHR", "UC"))
    one, other = estimated(LABOUR, tmp_path), estimated(again, tmp_path)
    assert one["features"]["decelerations"] == other["features"]["decelerations"]
    assert one["age_days"] == pytest.approx(other["age_days"], abs=0.2)


def test_ctu_uhbs_headers_give_week_and_ph(tmp_path):
    header = write(replace(ctg(minutes=12), gain=(100.0, 100.0)), tmp_path / "ctu-uhb" / "1001")
    header.write_text(header.read_text() + "#pH           7.01\n#Gest. weeks  39\n")
    records = load(tmp_path)
    assert (records.names, records.age_days.tolist(), records.ph.tolist()) == (["1001"], [7 * 39 + 3], [7.01])


def test_without_weights_it_says_what_is_missing(monkeypatch, tmp_path):
    from encoders import ctg as encoder

    of_file = encoder.opened
    monkeypatch.setattr(encoder, "opened", lambda: of_file(tmp_path / "ctg.safetensors"))
    with pytest.raises(MissingWeights, match=r"training\.ctg"):
        estimated(LABOUR, tmp_path)
