"""Recordings that are no ECG, drawn: what is there is drawn where it lies, gaps stay open, what is left out is said."""

from __future__ import annotations

import numpy as np
import pytest
import synthetic_ctg

from tools.recording import Recording
from tools.registry import find
from tools.sheet import Line
from tools.traces import LEFT_MM, TOP_MM, WIDTH_MM, traced


def wave(seconds: float = 10, fs_hz: float = 100, kind: str = "ppg", rows: int = 1) -> Recording:
    t = np.arange(round(seconds * fs_hz)) / fs_hz
    signal = np.tile(np.sin(2 * np.pi * t), (rows, 1)).astype(np.float32)
    return Recording(signal, fs_hz, tuple(f"row {n}" for n in range(rows)), kind, "NU")


def line(sheet, name: str) -> Line:
    [found] = [item for item in sheet.items if isinstance(item, Line) and item.name == name]
    return found


def test_the_highest_value_touches_the_top_and_time_runs_across():
    sheet, seconds, said = traced(wave())
    points = np.concatenate(line(sheet, "row 0").paths)
    assert seconds == (0, 10)
    assert not said
    assert points[:, 1].min() == pytest.approx(TOP_MM, abs=0.05)
    assert points[0, 0] == pytest.approx(LEFT_MM)
    assert points[-1, 0] == pytest.approx(LEFT_MM + WIDTH_MM, abs=0.1)


def test_a_gap_stays_open():
    recording = wave()
    recording.signal[0, 300:400] = np.nan
    paths = line(traced(recording)[0], "row 0").paths
    assert len(paths) == 2
    assert paths[1][0, 0] - paths[0][-1, 0] == pytest.approx(0.1 * WIDTH_MM, abs=0.6)


def test_what_does_not_fit_is_said():
    sheet, seconds, said = traced(wave(60, rows=14), start_s=30)
    assert seconds == (30, 50)
    assert said == ["2 more channels are not drawn.", "The drawing shows 30 to 50 s of 60 s."]
    assert "row 11" in sheet.svg()
    assert "row 12" not in sheet.svg()


def test_an_empty_channel_says_so():
    recording = wave()
    recording.signal[:] = np.nan
    assert "nothing was recorded here" in traced(recording)[0].svg()


def test_a_fetal_trace_lies_on_its_own_paper():
    assert "20 bpm/cm" in traced(synthetic_ctg.ctg())[0].svg()
    mute = Recording(np.zeros((1, 2400), np.float32), 4, ("FHR",), "ctg", "bpm")
    assert "20 bpm/cm" not in traced(mute)[0].svg()


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_plot_recording_draws_every_kind(tmp_path, form):
    result = find("plot_recording").run(wave(), {"format": form}, tmp_path)
    assert result["figure"].endswith(form)
    assert (tmp_path / result["figure"].rpartition("/")[2]).stat().st_size > 500
    assert find("plot_recording").sentences(result) == ["The recording is drawn, 10 s."]
