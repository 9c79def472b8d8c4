"""Tables of forced expirations: many dialects give the same curve, what is not said is asked for, nothing crashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from blows import blow, recording
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.errors import NeedsFields, UnreadableFile
from tools.recording import Recording, read, write
from tools.spirometry import flow_of, measure

TRUTH = blow(4.0, 0.6)


def table(head: str, *columns: np.ndarray, separator: str = ",", above: str = "") -> bytes:
    rows = [separator.join("" if np.isnan(v) else f"{v:.4f}" for v in row) for row in np.stack(columns, 1)]
    return (above + head + "\n" + "\n".join(rows) + "\n").encode()


def one(folder: Path, content: bytes, **given) -> Recording:
    file = folder / "blow.csv"
    file.write_bytes(content)
    (found,) = read(file, **given)
    return found


TIME, VOLUME = np.arange(len(TRUTH.volume_l)) / 100, TRUTH.volume_l
FLOW = flow_of(VOLUME, 100)


@pytest.mark.parametrize(
    "content",
    [
        table("time (s),volume (L)", TIME, VOLUME),
        table("Time_s,Volume_mL", TIME, 1000 * VOLUME),
        table("Zeit [s];Volumen [l]", TIME, VOLUME, separator=";").replace(b".", b","),
        table("time\tvol\ns\tmL", TIME, 1000 * VOLUME, separator="\t"),
        table("t (ms),manoeuvre 1 (L)", 1000 * TIME, VOLUME),
        table("time (s),volume (L),flow (L/s)", TIME, VOLUME, FLOW),
        table("Flow (L/s),Volume (L)", FLOW[40:], VOLUME[40:]),
        table("trial,time (s),flow (L/min)", 0 * TIME + 1, TIME, 60 * FLOW),
        table("sample,time (s),FVC curve (mL)", np.arange(len(TIME)), TIME, 1000 * VOLUME),
        b"\xef\xbb\xbf" + table("time (s),volume (L)", TIME, VOLUME, above="Sex,female\nAge,45\n"),
    ],
)
def test_one_blow_in_many_dialects(tmp_path, content):
    found = one(tmp_path, content)
    assert (found.kind, found.unit, found.leads, found.fs_hz) == ("spirogram", "L", ("manoeuvre 1",), 100)
    told = measure(found.signal[0], found.fs_hz)
    for key in ("fev1_l", "fvc_l", "pef_lps", "fef2575_lps"):
        assert told[key] == pytest.approx(getattr(TRUTH, key), rel=0.015), key


def test_what_a_lung_did_in_a_hole_is_not_told(tmp_path):
    holed = np.where((TIME > 0.5) & (TIME < 1.5), np.nan, VOLUME)
    for content in (
        table("time (s),volume (L)", TIME, holed),
        table("time (s),volume (L)", TIME[np.isfinite(holed)], VOLUME[np.isfinite(holed)]),
        table("sample,volume (L)", np.arange(len(TIME)), holed),
    ):
        with pytest.raises(UnreadableFile, match=r"a hole of 1\.0 s"):
            one(tmp_path, content, fs_hz=100)
    two = one(tmp_path, table("time (s),volume 1 (L),volume 2 (L)", TIME, holed, VOLUME))
    assert len(two.leads) == 1
    assert "Manoeuvre 1 of the file has a hole" in two.warnings[0]
    assert measure(two.signal[0], two.fs_hz)["fev1_l"] == pytest.approx(TRUTH.fev1_l, rel=0.015)


def test_several_blows_in_columns_below_each_other_and_with_a_time_that_starts_again(tmp_path):
    short = VOLUME[:700]
    padded = np.r_[short, np.full(len(VOLUME) - 700, np.nan)]
    below = [np.r_[a, b] for a, b in ((0 * TIME + 1, 0 * short + 2), (TIME, TIME[:700]), (VOLUME, short))]
    for content in (
        table("time (s),volume 1 (L),volume 2 (L)", TIME, VOLUME, padded),
        table("time (s),Trial 1 (mL),Trial 2 (mL)", TIME, 1000 * VOLUME, 1000 * padded),
        table("manoeuvre,time (s),volume (L)", *below),
        table("time (s),volume (L)", *below[1:]),
    ):
        found = one(tmp_path, content)
        assert found.leads == ("manoeuvre 1", "manoeuvre 2")
        assert np.isfinite(found.signal).sum(axis=1).tolist() == [len(VOLUME), 700]
        np.testing.assert_allclose(found.signal[1, :700], short, atol=1e-3)


def test_age_and_sex_above_the_table_are_kept_and_nothing_else(tmp_path):
    found = one(tmp_path, table("time (s),volume (L)", TIME, VOLUME, above="Name,Jane Doe\nSex,Female\nAge: 45\n"))
    assert found.meta == {"age": 45.0, "sex": "F", "format": "CSV"}


def test_uneven_times_are_brought_to_an_even_grid(tmp_path):
    keep = np.sort(np.random.default_rng(0).permutation(len(TIME))[:700])
    found = one(tmp_path, table("time (s),volume (L)", TIME[keep], VOLUME[keep]))
    assert found.fs_hz == 100
    assert "uneven" in found.warnings[0]
    assert measure(found.signal[0], 100)["fev1_l"] == pytest.approx(TRUTH.fev1_l, rel=0.02)


def test_what_is_written_reads_back_equal(tmp_path):
    made = recording(VOLUME, 0.9 * VOLUME[:600], age=45.0, sex="F")
    (again,) = read(write(made, tmp_path / "blows", "csv"))
    np.testing.assert_array_equal(again.signal, made.signal)
    assert (again.leads, again.fs_hz, again.kind, again.unit) == (made.leads, 100, "spirogram", "L")
    assert again.meta["age"] == 45


@pytest.mark.parametrize(
    ("content", "given", "fields"),
    [
        (table("time,volume", TIME, VOLUME), {}, ("unit",)),
        (table("volume (L)", VOLUME), {}, ("fs_hz",)),
        (table("trial,flow", 0 * TIME, FLOW), {"fs_hz": 100}, ("unit",)),
    ],
)
def test_what_a_table_does_not_say_is_asked_for(tmp_path, content, given, fields):
    with pytest.raises(NeedsFields) as raised:
        one(tmp_path, content, **given)
    assert raised.value.fields == fields
    assert "\n" not in str(raised.value)


def test_what_was_asked_for_is_used(tmp_path):
    found = one(tmp_path, table("time,volume", TIME, 1000 * VOLUME), unit="mL")
    assert float(np.nanmax(found.signal)) == pytest.approx(float(VOLUME.max()), abs=1e-3)
    assert one(tmp_path, table("volume (L)", VOLUME), fs_hz=100).fs_hz == 100


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (table("time (s),volume (L)", TIME[::-1] ** 2, VOLUME), "valid|backwards"),
        (table("time (s),volume (L)", TIME, 0 * TIME + np.nan), "missing|numbers"),
        (table("time (s),volume (L)", TIME * 20, VOLUME), "longer than 120 s|rate"),
        (b"time (s),volume (L)\n" + b"0,1,2\n" * 50, "titles"),
        (b"time (s),volume (L)\nno,numbers\n" * 5, "numbers|not a recording"),
        (table("time (s)," + ",".join(f"volume {n} (L)" for n in range(20)), TIME, *[VOLUME] * 20), "at most 16"),
    ],
)
def test_bad_tables_get_one_line(tmp_path, content, words):
    with pytest.raises(UnreadableFile, match=words) as raised:
        one(tmp_path, content)
    assert "\n" not in str(raised.value)


def test_tables_of_other_kinds_are_left_alone(tmp_path):
    ecg = one(tmp_path, table("time (s),I (mV),V1 (mV)", TIME, VOLUME, VOLUME))
    assert ecg.kind == "ecg"
    mixed = one(tmp_path, table("time (s),II (mV),FLOW (L/s)", TIME, VOLUME, VOLUME))
    assert mixed.leads == ("II",)


@given(
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([("s", 1.0), ("ms", 1000.0)]),
    st.sampled_from([("L", 1.0), ("mL", 1000.0)]),
    st.sampled_from([" ({})", " [{}]", "_{}"]),
    st.integers(1, 4),
    st.sampled_from([50, 100, 200]),
    st.integers(3, 400),
)
@settings(max_examples=40, deadline=None)
def test_any_dialect_gives_the_same_curve(tmp_path_factory, separator, time, volume, style, count, fs_hz, cut):
    truth = blow(3.0, 0.5, fs_hz=fs_hz, lasts_s=4)
    rows = [truth.volume_l * (1 - 0.1 * n) for n in range(count)]
    rows[-1] = np.where(np.arange(len(rows[-1])) < len(rows[-1]) - cut * fs_hz // 200, rows[-1], np.nan)
    head = ["time" + style.format(time[0])] + [f"volume {n + 1}" + style.format(volume[0]) for n in range(count)]
    columns = [np.arange(len(rows[0])) / fs_hz * time[1], *(row * volume[1] for row in rows)]
    found = one(tmp_path_factory.mktemp("dialect"), table(separator.join(head), *columns, separator=separator))
    assert found.fs_hz == fs_hz
    assert len(found.leads) == count
    expected = np.stack(rows)[:, : found.signal.shape[1]]  # where no blow goes on, nothing is kept
    assert np.isnan(np.stack(rows)[:, found.signal.shape[1] :]).all()
    assert np.nanmax(np.abs(found.signal - expected)) < 1e-3
    np.testing.assert_array_equal(np.isnan(found.signal), np.isnan(expected))


@given(
    st.binary(max_size=300), st.sampled_from([b"time (s),volume (L)\n", b"volume (L),flow (L/s)\n", b"trial,volume\n"])
)
@settings(max_examples=60, deadline=None)
def test_whatever_stands_below_the_titles_gives_a_recording_or_one_line(tmp_path_factory, content, head):
    folder, said = tmp_path_factory.mktemp("any"), ""
    try:
        assert np.isfinite(one(folder, head + content).signal).any()
    except UnreadableFile as error:
        said = str(error)
    assert "\n" not in said
