"""A pulse wave becomes an ECG: rate and beats of analytic pulse trains, seams, turned and spoilt waves, training."""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import pytest
import synthetic
import torch
import wfdb
from scipy import signal as dsp

from encoders.ppg import FILE, STEP, STEPS, PpgToEcg, Shape, blended, contrast, levelled, opened, translate
from tools import ppg, pulse
from tools.errors import UsageError
from tools.recording import Recording, read
from training import evaluate_ppg, ppg_data
from training import ppg as recipe
from training.evaluate_ppg import f1, matched

SMALL = Shape(latent=2, width=8, reach=(1, 2), flow_width=8, flow_reach=(1,))


def train_of(beats_s: np.ndarray, seconds: float, fs_hz: float) -> np.ndarray:
    """(samples,) pulses whose foot is at each of `beats_s`: a quick rise, a slow fall and a second, smaller wave."""
    t = np.arange(round(seconds * fs_hz)) / fs_hz
    out = np.zeros(len(t))
    for beat in beats_s:
        for late, height in ((0.0, 1.0), (0.28, 0.25)):
            u = np.clip(t - beat - late, 0, None) / 0.14
            out += height * (u * np.exp(1 - u)) ** 2
    return out


def recorded(rate_bpm: float = 75.0, seconds: float = 20.0, fs_hz: float = 125.0) -> Recording:
    beats_s = np.arange(-2, seconds, 60 / rate_bpm) + 0.1
    signal = 0.5 + 0.3 * train_of(beats_s, seconds, fs_hz)
    return Recording(signal[None].astype(np.float32), fs_hz, ("PLETH",), "ppg", "NU")


def with_signal(one: Recording, signal: np.ndarray) -> Recording:
    return dataclasses.replace(one, signal=signal.astype(np.float32))


@pytest.mark.parametrize("rate_bpm", [50.0, 75.0, 110.0])
def test_the_rate_of_a_pulse_train_is_found_and_its_beats_are_even(rate_bpm):
    made = ppg.estimated(recorded(rate_bpm))
    assert made.heart_rate_bpm == pytest.approx(rate_bpm, abs=1.0)
    assert np.diff(made.r_s) == pytest.approx(60 / rate_bpm, abs=0.03)
    assert len(made.r_s) == pytest.approx((20 - made.arrival_s) * rate_bpm / 60, abs=1.5)


def test_r_peaks_come_an_arrival_time_before_the_steepest_rises():
    one = recorded()
    made = ppg.estimated(one)
    rises = pulse.arrivals_s(made.wave)
    off = np.array([np.abs(rises - made.arrival_s - r).min() for r in made.r_s])
    assert np.median(off) < 0.03


def test_the_drawn_ecg_beats_where_the_beats_are():
    made = ppg.estimated(recorded())
    moved = made.r_s[(made.r_s > 0.3) & (made.r_s < len(made.ecg_mv) / 100 - 0.3)]
    at = np.round(moved * 100).astype(int)[:, None] + np.arange(-25, 26)
    slope = np.abs(np.gradient(made.ecg_mv))[at]
    assert np.median(np.abs(slope.argmax(1) - 25)) <= 5  # the steepest place of a beat is its QRS


def test_the_same_pulse_gives_the_same_ecg_and_another_seed_another():
    one = recorded(seconds=8)
    first, again, other = ppg.estimated(one), ppg.estimated(one), ppg.estimated(one, seed=1)
    assert np.array_equal(first.ecg_mv, again.ecg_mv)
    assert not np.allclose(first.ecg_mv, other.ecg_mv)
    assert np.array_equal(first.r_s, other.r_s)  # beats are found, not drawn


def test_a_turned_pulse_gives_the_same_ecg_and_is_said():
    one = recorded()
    upright, turned = ppg.estimated(one), ppg.estimated(with_signal(one, 1 - one.signal))
    assert turned.inverted
    assert not upright.inverted
    assert turned.ecg_mv == pytest.approx(upright.ecg_mv, abs=1e-3)
    assert any("upside down" in text for text in turned.warnings)


@pytest.mark.parametrize("fs_hz", [25.0, 64.0, 500.0])
def test_the_sampling_rate_does_not_matter(fs_hz):
    usual, other = ppg.estimated(recorded()), ppg.estimated(recorded(fs_hz=fs_hz))
    both = min(len(usual.r_s), len(other.r_s))
    assert other.heart_rate_bpm == pytest.approx(usual.heart_rate_bpm, abs=0.5)
    assert other.r_s[:both] == pytest.approx(usual.r_s[:both], abs=0.03)


def test_a_long_wave_has_no_seam():
    """Without noise equal beats are drawn alike wherever they lie, at the joints of windows too; noise adds no jump."""
    net, _ = opened()
    wave = pulse.pulse_wave(recorded(75, 40)).wave
    still, drawn = translate(net, wave, warmth=0.0).ecg_mv, translate(net, wave).ecg_mv
    beats = still[400:3600].reshape(-1, 80)
    assert np.abs(beats - np.median(beats, axis=0)).max() < 0.15 * np.ptp(beats)
    joints = np.concatenate([np.arange(-2, 3) + start * STEP for start in range(62, 376, 62)])
    step = np.abs(np.diff(drawn))
    quiet = np.median(np.delete(step, joints))
    assert np.median(step[joints]) < 2 * quiet
    assert step[joints].max() <= np.delete(step, joints).max()


def test_blending_equal_windows_changes_nothing():
    whole = torch.randn(3, 400)
    starts = [0, 62, 124, 400 - STEPS]
    parts = torch.stack([whole[:, start : start + STEPS] for start in starts])
    covered = torch.zeros(400, dtype=torch.bool)
    for start in starts:
        covered[start : start + STEPS] = True
    out = blended(parts, starts, 400, 1)
    assert torch.allclose(out[:, covered], whole[:, covered], atol=1e-5)


def test_height_is_the_window_s_own():
    wave = torch.randn(2, 1000)
    assert torch.allclose(levelled(7 * wave), levelled(wave), atol=1e-5)
    assert torch.isfinite(levelled(torch.zeros(1, 1000))).all()


def test_a_stretch_without_a_pulse_stays_empty():
    one = recorded(seconds=30)
    signal = one.signal.copy()
    signal[0, 1250:1875] = np.nan  # 10 to 15 s
    made = ppg.estimated(with_signal(one, signal))
    gap = slice(round((10 - made.arrival_s) * 100) + 2, round((15 - made.arrival_s) * 100) - 2)
    assert np.isnan(made.ecg_mv[gap]).all()
    assert np.isfinite(made.ecg_mv[:800]).all()
    assert any("10-15 s" in text for text in made.warnings)
    assert made.heart_rate_bpm == pytest.approx(75, abs=2)


def spoilt(kind: str) -> Recording:
    one, rng = recorded(), np.random.default_rng(0)
    noise = rng.normal(0, 1, one.signal.shape)
    if kind == "short":
        return with_signal(one, one.signal[:, :500])
    if kind == "slow":
        return dataclasses.replace(one, fs_hz=15.0)
    if kind == "missing":
        return with_signal(one, np.where(np.arange(one.signal.shape[1]) > 300, np.nan, one.signal))
    if kind == "flat":
        return with_signal(one, np.full(one.signal.shape, 0.5))
    if kind == "saturated":
        return with_signal(one, np.where(np.arange(one.signal.shape[1]) > 375, 1.0, one.signal))
    return with_signal(one, noise)


@pytest.mark.parametrize(
    ("kind", "word"),
    [("short", "too short"), ("slow", "too low"), ("missing", "missing"), ("flat", "flat"), ("saturated", "saturated"),
     ("noise", "no pulse")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_one_line(kind, word):
    with pytest.raises(UsageError, match=word) as caught:
        ppg.estimated(spoilt(kind))
    assert "\n" not in str(caught.value)


def test_motion_is_named():
    one = recorded(seconds=40)
    signal = one.signal.copy()
    signal[0, 2500:3000] += 3 * np.random.default_rng(0).normal(0, 1, 500).cumsum() / 10
    assert any("Motion" in text for text in pulse.pulse_wave(with_signal(one, signal)).warnings)
    assert not any("Motion" in text for text in pulse.pulse_wave(one).warnings)


def test_the_tool_writes_a_marked_record_and_a_figure(tmp_path):
    result = ppg.ppg_to_ecg(recorded(), out=tmp_path)
    (back,) = read(result["record"])
    assert (back.kind, back.leads, back.fs_hz, back.meta["synthetic"]) == ("ecg", ("II",), 100.0, True)
    assert back.duration_s == pytest.approx(result["seconds"], abs=0.02)
    drawing = (tmp_path / result["figure"]).read_text()
    assert "PPG" in drawing
    assert "II estimated" in drawing
    said = " ".join(ppg.sentences(result))
    assert f"Heart rate {result['heart_rate_bpm']:.0f} bpm" in said
    for word in ("ST segment", "infarction", "P wave", "fibrillation", "Amplitudes"):
        assert word in said


def test_beats_match_once_and_within_reach():
    true, found = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.04, 1.06, 2.2, 3.0])
    assert sorted(matched(found, true, 0.05)) == [(0, 0), (3, 2)]
    assert f1(found, true, np.array([0]), 0.05) == pytest.approx(0.5)


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> list[ppg_data.Record]:
    """Two synthetic patients whose pulse rises most steeply 0.30 and 0.36 s after the R peak, read from WFDB files."""
    folder = tmp_path_factory.mktemp("bidmc")
    names = [f"p{n:02d}" for n in range(60)]
    train = [name for name in names if ppg_data.part_of(name) == "train"][:1]
    judge = [name for name in names if ppg_data.part_of(name) == "validation"][:1]
    rise_s = np.argmax(np.diff(train_of(np.array([0.0]), 1.0, 1000.0))) / 1000
    for name, late_s, rate in ((train[0], 0.30, 70.0), (judge[0], 0.36, 80.0)):
        truth = synthetic.ecg(fs_hz=125.0, rate_bpm=rate, seconds=60, irregular=0.05, leads=("II",))
        wave = train_of(truth.r_s + late_s - rise_s, 60, 125.0)
        wfdb.wrsamp(
            name, fs=125, units=["NU", "mV"], sig_name=["PLETH,", "II,"], write_dir=str(folder), fmt=["16", "16"],
            p_signal=np.column_stack([0.4 + 0.2 * wave, truth.recording.signal[0]]),
        )  # fmt: skip
    return ppg_data.load(folder.parent if folder.name == "bidmc" else folder)


def test_the_arrival_time_of_a_patient_is_found(records):
    for one, late_s in zip(records, (0.30, 0.36) if records[0].part == "train" else (0.36, 0.30), strict=True):
        assert np.median(one.arrival_s) == pytest.approx(late_s, abs=0.02)
        assert one.lost.mean() < 0.05


def test_in_training_beat_and_pulse_meet(records):
    rows, counts = ppg_data.windows(records, 1000)
    wave, ecg, bump = ppg_data.batch(records, rows)
    assert counts["kept"] == len(rows) >= 8
    for one, beats in zip(wave, bump, strict=True):
        at, _ = dsp.find_peaks(beats, height=0.5)
        rises = pulse.arrivals_s(one) * 100
        inner = at[(at > 50) & (at < 950)]
        assert np.median([np.abs(rises - place).min() for place in inner]) < 3
    assert ecg.std() == pytest.approx(1, abs=0.2)


def test_splits_hold_for_ever():
    assert [ppg_data.part_of(f"bidmc{n:02d}") for n in (1, 6, 5)] == ["train", "validation", "test"]


def options(tmp_path, **other) -> argparse.Namespace:
    given = {"out": tmp_path, "epochs": 2, "flow_epochs": 2, "batch": 3, "minutes": None, "seed": 0, "shape": SMALL}
    given["settled"] = None
    tmp_path.mkdir(exist_ok=True)
    return argparse.Namespace(**given | other)


def test_once_all_is_settled_validation_patients_teach_too(records, tmp_path):
    parts = {one.part for one in recipe.taught(records, options(tmp_path))}
    settled = {one.part for one in recipe.taught(records, options(tmp_path, settled=0.5))}
    assert (parts, settled) == ({"train"}, {"train", "validation"})


def test_across_patients_everybody_is_judged_once_by_networks_that_did_not_see_them(records, tmp_path, monkeypatch):
    everybody = [dataclasses.replace(records[0], name=f"bidmc{n:02d}") for n in range(10)]
    for one in everybody:
        (tmp_path / f"{one.name}.hea").touch()
    monkeypatch.setattr(ppg_data, "load", lambda *_: everybody)
    monkeypatch.setattr(recipe, "made", lambda learnt, args: args.settled)
    args = argparse.Namespace(data=tmp_path, part="across", weights=FILE)
    judged = []
    for settled, learnt, files in evaluate_ppg.rounds(args):
        assert settled == opened()[1]["threshold"]
        assert not {one.name for one in learnt} & {file.stem for file in files}
        assert len(learnt) + len(files) == 10
        judged += [file.stem for file in files]
    assert sorted(judged) == [one.name for one in everybody]


def test_a_training_that_was_stopped_ends_where_a_whole_one_does(records, tmp_path):
    whole, _ = recipe.fit(records, options(tmp_path / "whole"))
    for _ in range(4):
        parts, figures = recipe.fit(records, options(tmp_path / "parts", minutes=1e-9))
    assert figures["epochs"] == 4
    for one, other in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_latents_of_one_moment_come_together(records):
    torch.manual_seed(0)
    rows, _ = ppg_data.windows(records, 1000)
    ppg_, ecg, bump = (torch.from_numpy(one) for one in ppg_data.batch(records, rows[:6]))
    ppg_, net = levelled(ppg_), PpgToEcg(SMALL)
    optimiser = torch.optim.AdamW(net.parameters(), 5e-3)

    def apart() -> float:
        with torch.inference_mode():
            return float(contrast(net.ppg_in(ppg_[:, None])[0], net.ecg_in(ecg[:, None])[0]))

    first, losses = apart(), []
    for _ in range(40):
        loss = recipe.align_loss(net, ppg_, ecg, bump)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert apart() < first


def test_a_pulse_channel_is_found_beside_an_ecg(tmp_path):
    wave = train_of(np.arange(0, 10, 0.8), 10, 125.0)
    table = "time_s,II (mV),PPG\n" + "\n".join(f"{i / 125:.4f},{0.1 * w:.4f},{w:.4f}" for i, w in enumerate(wave))
    (tmp_path / "both.csv").write_text(table)
    (found,) = read(tmp_path / "both.csv", kind="ppg")
    assert (found.kind, found.leads, found.fs_hz) == ("ppg", ("PPG",), 125.0)
    (ecg,) = read(tmp_path / "both.csv")
    assert (ecg.kind, ecg.leads) == ("ecg", ("II",))
