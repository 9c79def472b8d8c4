"""ECG paper: true millimetres, every lead in its place, nothing clipped, bridged, overlapped or invented."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.errors import UsageError
from tools.paper import compose, draw, plot_recording, sentences, svg
from tools.recording import LEADS, Recording
from tools.registry import PlotRecording, find
from tools.sheet import polylines

SVG = "{http://www.w3.org/2000/svg}"
SUBSETS = [
    ("II",), ("I", "II"), ("I", "II", "III"), LEADS[:6], LEADS[6:], ("I", "II", *LEADS[6:]), LEADS,
    ("V1", "II", "V5"), ("ECG",), ("ECG1", "ECG2"), (*LEADS, "V7", "V8", "V9"), tuple("abcdefg"), ("ECG", "ECG"),
]  # fmt: skip


def beats(leads=LEADS, seconds=10.0, fs_hz=500.0, mv=1.0, **kept) -> Recording:
    """A spike a second, with a slow wave; lead k is scaled by 1 + k/10 so that no two are alike."""
    t = np.arange(round(seconds * fs_hz)) / fs_hz
    wave = np.exp(-(((t % 1 - 0.5) / 0.012) ** 2)) + 0.2 * np.exp(-(((t % 1 - 0.8) / 0.04) ** 2))
    scale = mv * (1 + np.arange(len(leads)) / 10)
    return Recording((scale[:, None] * wave).astype(np.float32), fs_hz, tuple(leads), **kept)


def traces(document: str, name: str) -> list[list[np.ndarray]]:
    """For every path of that name its segments, each (points, 2) in mm, read back from the SVG."""
    found = []
    for path in ElementTree.fromstring(document).iter(f"{SVG}path"):
        if path.get("data-name") == name:
            segments = [part for part in path.get("d", "").split("M") if part]
            numbers = [[float(number) for number in re.findall(r"-?[\d.]+(?:e-?\d+)?", part)] for part in segments]
            found.append([np.reshape(part, (-1, 2)) for part in numbers])
    return found


def texts(document: str) -> str:
    return "\n".join(element.text or "" for element in ElementTree.fromstring(document).iter(f"{SVG}text"))


@pytest.fixture(scope="module")
def real() -> Recording:
    """The 12-lead ECG at 1000 Hz that pydicom's wheel carries."""
    from pydicom import dcmread
    from pydicom.data import get_testdata_file

    wave = dcmread(str(get_testdata_file("waveform_ecg.dcm", download=False)))
    signal = wave.waveform_array(0).T
    return Recording(signal.astype(np.float32) / (1 if np.abs(signal).max() < 20 else 1000), 1000.0, LEADS)


@pytest.mark.parametrize("fs_hz", [100, 250, 360, 500, 1000])
def test_a_millivolt_is_10_mm_high_and_a_second_25_mm_wide(fs_hz):
    step = np.zeros((1, 10 * fs_hz), np.float32)
    step[0, 3 * fs_hz : 4 * fs_hz] = 1  # 1 mV for 1 s
    ((line,),) = traces(svg(Recording(step, fs_hz, ("II",))), "II")
    assert np.ptp(line[:, 1]) == pytest.approx(10, abs=0.011)
    high = line[line[:, 1] < line[:, 1].mean() - 3]
    assert np.ptp(high[:, 0]) == pytest.approx(25 - 25 / fs_hz, abs=0.11)  # thinned: a third of the trace's width
    assert np.ptp(line[:, 0]) == pytest.approx(250 - 25 / fs_hz, abs=0.02)


def test_the_calibration_pulse_is_1_mv_for_200_ms():
    for (pulse,) in traces(svg(beats()), "1 mV, 200 ms"):
        top = pulse[pulse[:, 1] == pulse[:, 1].min()]
        assert np.ptp(pulse[:, 1]) == 10
        assert np.ptp(top[:, 0]) == 5


def test_the_grid_has_lines_every_1_and_5_mm():
    for step in (1, 5):
        ((*lines,),) = traces(svg(beats()), f"{step} mm grid")
        for axis in (0, 1):
            places = np.unique([line[0, axis] for line in lines if line[0, axis] == line[1, axis]])
            assert np.allclose(np.diff(places), step)
            assert len(places) > 100 / step


def test_every_format_has_the_true_size(tmp_path):
    from PIL import Image

    recording = beats()
    sheet = compose(recording)[0]
    root = ElementTree.fromstring(svg(recording))
    assert (root.get("width"), root.get("height")) == (f"{sheet.width:g}mm", f"{sheet.height:g}mm")
    assert root.get("viewBox") == f"0 0 {sheet.width:g} {sheet.height:g}"  # so one unit is one millimetre
    assert draw(recording).get_size_inches() * 25.4 == pytest.approx([sheet.width, sheet.height])
    pdf = Path(plot_recording(recording, PlotRecording(layout=None, format="pdf"), tmp_path)["figure"]).read_bytes()
    ((width, height),) = [map(float, box) for box in re.findall(rb"MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", pdf)]
    assert (width / 72 * 25.4, height / 72 * 25.4) == pytest.approx((sheet.width, sheet.height), abs=0.01)
    with Image.open(plot_recording(recording, PlotRecording(layout=None, format="png"), tmp_path)["figure"]) as png:
        assert png.width / png.info["dpi"][0] * 25.4 == pytest.approx(sheet.width, abs=0.2)


@pytest.mark.parametrize("layout", [None, "3x4", "6x2", "12x1"])
@pytest.mark.parametrize("leads", SUBSETS, ids="-".join)
def test_every_layout_draws_every_subset_of_leads(leads, layout):
    document = svg(beats(leads), layout)
    for name in set(leads):
        assert traces(document, name), name
        assert name in texts(document).split()
    assert "25 mm/s" in texts(document)
    assert "research use only" in texts(document)


def test_standard_layouts_show_each_lead_in_its_place_on_one_clock():
    recording = replace(beats(), signal=np.tile(np.arange(5000, dtype=np.float32) / 5000, (12, 1)))
    document = svg(recording)
    for k, name in enumerate(LEADS):
        (line,) = traces(document, name)[0]  # the rhythm strip comes last
        assert line[:, 0].min() == pytest.approx(16 + 62.5 * (k // 3), abs=0.06)
        assert line[:, 0].max() == pytest.approx(16 + 62.5 * (k // 3 + 1), abs=0.06)
    assert len(traces(document, "II")) == 2
    assert compose(recording)[1].layout == "3x4"
    assert compose(recording, "6x2")[1].layout == "6x2"
    assert compose(recording, "12x1")[1].layout == "12x1"


def test_the_rhythm_strip_takes_another_lead_where_ii_is_flat():
    recording = beats()
    recording.signal[1] = 0
    page = compose(recording)[1]
    assert page.rhythm == LEADS.index("V1")


@given(st.lists(st.floats(0.05, 7.5), min_size=12, max_size=12), st.sampled_from(["3x4", "6x2", "12x1"]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_rows_never_overlap_and_nothing_is_clipped(amplitudes, layout, inverted):
    recording = beats(fs_hz=250)
    scale = np.array(amplitudes, np.float32)[:, None] * (1 if not inverted else -1)
    recording = replace(recording, signal=recording.signal * scale / recording.signal.max(axis=1, keepdims=True))
    sheet, page, said = compose(recording, layout)
    assert said == []
    document, ceiling = sheet.svg(), np.full(300, -np.inf)
    drawn: dict[str, int] = {}
    for strip in page.strips:
        name = recording.leads[strip.lead]
        (line,) = traces(document, name)[drawn.setdefault(name, 0)]
        drawn[name] += 1
        assert np.ptp(line[:, 1]) == pytest.approx(10 * amplitudes[strip.lead], rel=0.01, abs=0.05)
        assert line.min() > 0
        assert line[:, 1].max() < sheet.height
    for row in range(page.rows):  # row by row downwards: no ink of a row above the lowest ink of the rows before
        floor = ceiling.copy()
        for strip in (strip for strip in page.strips if strip.row == row):
            name = recording.leads[strip.lead]
            (line,) = traces(document, name)[-1 if row == page.rows - 1 else 0]
            columns = line[:, 0].astype(int)
            assert np.all(line[:, 1] > ceiling[columns])
            np.maximum.at(floor, columns, line[:, 1])
        ceiling = floor


def test_beyond_8_mv_the_trace_is_cut_and_that_is_said():
    recording = beats(("I", "II", "III"), mv=9)
    document, (_, _, said) = svg(recording), compose(recording)
    assert said == ["Cut in the drawing beyond 8 mV from the median: I, II, III."]
    assert "II · cut at 8 mV" in texts(document)
    assert np.ptp(traces(document, "II")[0][0][:, 1]) == pytest.approx(80, abs=1)


def test_gaps_are_not_bridged():
    recording = beats(("II",))
    recording.signal[0, 1000:2000] = np.nan
    recording.signal[0, 3000] = np.inf
    ((first, second, third),) = traces(svg(recording), "II")
    assert first[-1, 0] == pytest.approx(16 + 25 * 999 / 500, abs=0.011)
    assert second[0, 0] == pytest.approx(16 + 25 * 4, abs=0.011)
    assert third[0, 0] - second[-1, 0] == pytest.approx(2 * 0.05, abs=0.011)
    assert compose(recording)[2] == ["Gaps in the signal are left open: II."]


def test_flat_and_empty_leads_are_named_so():
    recording = beats()
    recording.signal[5], recording.signal[10] = 0.25, np.nan
    document, (_, _, said) = svg(recording), compose(recording)
    assert "aVF · flat" in texts(document)
    assert "V5 · no signal" in texts(document)
    assert np.ptp(traces(document, "aVF")[0][0][:, 1]) == 0
    assert traces(document, "V5") == []
    assert said == ["Drawn as a flat line, as recorded: aVF.", "No signal in the part drawn: V5."]


def test_long_recordings_fill_a_page_and_say_which_part_it_shows():
    minutes = beats(("II",), seconds=1800, fs_hz=100)
    document, (_, page, said) = svg(minutes), compose(minutes)
    assert said == ["The drawing shows 0 to 100 s of 1800 s."]
    assert "0 to 100 s of 1800 s" in texts(document)
    assert len(traces(document, "II")) == page.rows == 10
    assert "II · 90 s" in texts(document)
    assert compose(minutes, start_s=600)[2] == ["The drawing shows 600 to 700 s of 1800 s."]
    twelve = beats(seconds=30, fs_hz=100)
    assert compose(twelve)[2] == ["The drawing shows 0 to 10 s of 30 s."]
    assert compose(beats(seconds=10.24))[2] == []


@pytest.mark.parametrize("layout", ["3x4", "12x1"])
def test_a_noisy_1000_hz_recording_stays_small(layout, real):
    noise = np.random.default_rng(1).normal(0, 0.03, real.signal.shape)
    assert len(svg(replace(real, signal=(real.signal + noise).astype(np.float32)), layout)) < 600_000


@given(st.integers(0, 2**32 - 1), st.sampled_from([100, 500, 1000, 5000]), st.floats(0.001, 20))
@settings(max_examples=40, deadline=None)
def test_thinning_stays_within_the_width_of_the_trace(seed, fs_hz, rough_mm):
    y = np.cumsum(np.random.default_rng(seed).normal(0, rough_mm, fs_hz)) * np.sqrt(100 / fs_hz)
    x = np.arange(fs_hz) * 25 / fs_hz
    (line,) = polylines(y, 0.0, 25 / fs_hz)
    assert (line[0, 0], line[-1, 0]) == pytest.approx((x[0], x[-1]))
    start, way = line[:-1], np.diff(line, axis=0)
    for k in range(0, len(x), max(1, len(x) // 200)):
        along = np.clip(((np.array([x[k], y[k]]) - start) * way).sum(1) / (way**2).sum(1), 0, 1)
        assert np.hypot(*(start + along[:, None] * way - [x[k], y[k]]).T).min() < 0.2


def test_a_real_recording_keeps_its_amplitudes(real):
    document = svg(real, "12x1")
    for name in LEADS:
        ((line,),) = traces(document, name)
        assert np.ptp(line[:, 1]) == pytest.approx(10 * np.ptp(real.lead(name)), abs=0.08)


def test_marks_lie_on_the_rhythm_strip_at_their_time():
    marks: dict[str, list[float | None]] = {
        "qrs_on": [0.45, None, float("nan"), 3.45, 99.0],
        "qrs_off": [0.55],
        "r": [0.5, 3.5],
    }
    document = svg(beats(), marks=marks)
    onsets, legend = traces(document, "qrs_on")[0], texts(document)
    assert [segment[1, 0] for segment in onsets] == pytest.approx([16 + 25 * 0.45, 16 + 25 * 3.45], abs=0.011)
    ((*arrows,),) = traces(document, "r")
    peak = traces(document, "II")[-1][0][:, 1].min()
    assert all(peak - 2 < arrow[1, 1] < peak for arrow in arrows)  # the tip just above the R wave
    assert all(label in legend for label in ("QRS onset", "QRS offset", "R peak"))
    assert len(traces(svg(beats(), "12x1", marks=marks), "r")) == 12  # no rhythm strip: on every lead


def test_notes_highlight_what_is_drawn_and_the_others_are_counted():
    notes = [("V1", 5.2, 6.0, "premature <beat>"), (None, 1, 2, "pause"), ("V1", 0.5, 1.0, "not drawn")]
    sheet, _, said = compose(beats(), notes=notes)
    boxes = [rect for rect in ElementTree.fromstring(sheet.svg()).iter(f"{SVG}rect") if rect.get("fill-opacity")]
    assert [float(box.attrib["width"]) for box in boxes] == pytest.approx([20, 25])
    assert float(boxes[0].attrib["x"]) == pytest.approx(16 + 25 * 5.2)
    assert "premature <beat>" in texts(sheet.svg())
    assert said == ["1 of the notes lie outside what is drawn."]


def test_synthetic_recordings_say_so():
    assert "SYNTHETIC" in texts(svg(beats(meta={"synthetic": True})))
    assert "SYNTHETIC" not in texts(svg(beats(meta={"age": 60, "sex": "F"})))
    assert "60 years · female" in texts(svg(beats(meta={"age": 60, "sex": "F"})))


@given(st.text(max_size=12))
@settings(max_examples=30, deadline=None)
def test_words_of_a_file_stay_text(words):
    name = f"<&\"'{words}"
    recording = beats((name,), seconds=2, fs_hz=100, meta={"device": "</svg><script>alert(1)</script>" + words})
    recording.signal[:] = 0
    document, (_, _, said) = svg(recording, notes=[(name, 0, 1, name)], marks={name: [0.5]}), compose(recording)
    elements = {element.tag.removeprefix(SVG) for element in ElementTree.fromstring(document).iter()}
    assert elements == {"svg", "rect", "path", "text"}
    assert said == ["Drawn as a flat line, as recorded: channel 1."]  # the file's own words never leave the drawing


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_the_tool_writes_the_same_file_every_time(tmp_path, form, real):
    first = plot_recording(real, PlotRecording(layout=None, format=form), tmp_path / "a" / "b")
    again = plot_recording(real, PlotRecording(layout=None, format=form), tmp_path / "c")
    assert Path(first["figure"]).read_bytes() == Path(again["figure"]).read_bytes()
    assert [path.name for path in (tmp_path / "c").iterdir()] == [Path(first["figure"]).name]
    other = plot_recording(
        replace(real, signal=real.signal * 2), PlotRecording(layout=None, format=form), tmp_path / "c"
    )
    assert Path(other["figure"]).name != Path(first["figure"]).name


def test_the_tool_answers_through_the_registry(tmp_path):
    tool = find("plot_recording")
    result = tool.run(beats(), {"layout": "6x2"}, tmp_path)
    assert Path(result["figure"]).suffix == ".svg"
    assert {key: result[key] for key in ("layout", "seconds", "warnings")} == {
        "layout": "6x2", "seconds": 10.0, "warnings": [],
    }  # fmt: skip
    assert tool.sentences(result) == ["The recording is drawn on ECG paper, 6x2, 25 mm/s and 10 mm/mV."]
    assert sentences(tool.run(beats(), {}, tmp_path)) == [
        "The recording is drawn on ECG paper, 3x4 with a rhythm strip, 25 mm/s and 10 mm/mV."
    ]


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def half(path, text, **_):
        with open(path, "w") as file:
            file.write(text[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(UsageError, match="No space left") as caught:
        plot_recording(beats(), PlotRecording(layout=None), tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_one_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="--out"):
        plot_recording(beats(), PlotRecording(layout=None), tmp_path / "file")


def test_what_is_no_ecg_in_millivolts_is_refused():
    with pytest.raises(UsageError, match="millivolts"):
        svg(replace(beats(), unit="NU"))
    with pytest.raises(UsageError, match="no samples"):
        svg(Recording(np.zeros((12, 0), np.float32), 500, LEADS))


def test_few_samples_and_odd_rates_still_draw():
    for samples, fs_hz in ((1, 500), (3, 500), (7, 0.5), (50, 1e6), (4, 4)):
        recording = Recording(np.ones((12, samples), np.float32), fs_hz, LEADS)
        ElementTree.fromstring(svg(recording, marks={"r": [0.0]}))


def test_the_svg_needs_no_plotting_library():
    code = (
        "import sys, numpy as np; from tools.paper import svg; from tools.recording import Recording;"
        "svg(Recording(np.zeros((1, 500), 'f4'), 500, ('II',))); sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent).returncode == 0
