"""FIGO's features on traces with known answers, artefacts, the drawing, and the recipe's loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_ctg import FS_HZ, ctg

from encoders.ctg import CHANNELS, SAMPLES, CtgNet, Scale, Shape, channels, seen_by, windows_of
from tools.ctg import NUMBERS, features, vector
from tools.ctg_paper import compose
from tools.ctg_signal import at_4_hz, heart_trace
from tools.errors import UsageError
from tools.recording import Recording
from training import ctg as recipe
from training.ctg_loss import loss_of, pseudo_labels, soft_sort

EVENTS = ((300.0, 40.0, 25.0), (700.0, 30.0, 20.0), (1100.0, 60.0, -40.0), (1500.0, 30.0, -25.0))


def read(recording: Recording):
    return features(heart_trace(recording))


def changed(recording: Recording, change) -> Recording:
    signal = recording.signal.copy()
    change(signal)
    return replace(recording, signal=signal)


@pytest.mark.parametrize("baseline", [95, 125, 140, 172])
def test_baseline_and_bandwidth_are_those_of_the_trace(baseline):
    values = read(ctg(baseline_bpm=baseline, bandwidth_bpm=12)).values
    assert values["baseline_bpm"] == pytest.approx(baseline, abs=1)
    assert values["baseline_per_10_min_bpm"] == pytest.approx([baseline] * 4, abs=1)
    assert values["variability_bpm"] == pytest.approx(12, abs=0.5)
    assert values["tachycardia_min"] == (40 if baseline > 160 else 0)
    assert values["bradycardia_min"] == (40 if baseline < 110 else 0)
    assert values["accelerations"] == 0
    assert not any(values["decelerations"].values())


def test_a_baseline_that_moves_is_followed():
    one, two = ctg(minutes=30, baseline_bpm=130), ctg(minutes=30, baseline_bpm=150)
    found = read(replace(one, signal=np.concatenate([one.signal, two.signal], axis=1)))
    assert found.values["baseline_per_10_min_bpm"][0] == pytest.approx(130, abs=1)
    assert found.values["baseline_per_10_min_bpm"][-1] == pytest.approx(150, abs=1)


def test_events_have_their_count_size_and_duration():
    found = read(ctg(bandwidth_bpm=4, events=EVENTS))
    assert len(found.accelerations) == len(found.decelerations) == 2
    for event, (start, duration, height) in zip([*found.accelerations, *found.decelerations], EVENTS, strict=True):
        away = 5 * 5 / abs(height)  # seconds until the band of 5 bpm is left
        assert event["start_s"] == pytest.approx(start + away, abs=2)
        assert event["duration_s"] == pytest.approx(duration - 2 * away, abs=3)
        assert event.get("height_bpm", event.get("depth_bpm")) == pytest.approx(abs(height), abs=2)
        assert event["whole"]
    assert found.values["baseline_bpm"] == pytest.approx(140, abs=1)


@pytest.mark.parametrize(
    "event", [(600.0, 40.0, 12.0), (600.0, 12.0, 30.0), (600.0, 12.0, -30.0), (600.0, 40.0, -12.0)]
)
def test_what_is_too_small_or_too_short_is_no_event(event):
    found = read(ctg(bandwidth_bpm=2, events=(event,), edge_s=3))
    assert not found.accelerations
    assert not found.decelerations


def test_a_slow_rise_is_no_acceleration():
    assert not read(ctg(bandwidth_bpm=2, events=((600.0, 200.0, 20.0),), edge_s=80)).accelerations


def test_decelerations_are_of_figos_kinds():
    acmes = tuple(np.arange(300.0, 2300, 400))  # contractions run from acme - 40 s to acme + 40 s
    downs = (
        (acmes[0] - 35, 70.0, -20.0),  # with the contraction
        (acmes[1] + 5, 90.0, -30.0),  # after it, slowly
        (acmes[2] - 20, 40.0, -50.0),  # abrupt
        (acmes[3] - 60, 240.0, -40.0),  # long
    )
    found = {}
    for kind, down, edge in zip(("early", "late", "variable", "prolonged"), downs, (34, 40, 5, 5), strict=True):
        found[kind] = [
            one["kind"] for one in read(ctg(bandwidth_bpm=2, events=(down,), acmes_s=acmes, edge_s=edge)).decelerations
        ]
    assert found == {kind: [kind] for kind in found}
    alone = read(ctg(bandwidth_bpm=2, events=(downs[1],), edge_s=40, uterus=False))
    assert [one["kind"] for one in alone.decelerations] == ["gradual"]
    assert any("uterine channel" in warning for warning in alone.warnings)


def test_contractions_are_counted():
    acmes = (200.0, 420.0, 650.0, 900.0, 1150.0, 1400.0, 1700.0, 2000.0)
    found = read(ctg(acmes_s=acmes))
    assert [one["acme_s"] for one in found.contractions] == pytest.approx(acmes, abs=3)
    assert all(45 <= one["stop_s"] - one["start_s"] <= 120 for one in found.contractions)
    assert found.values["contractions_per_10_min"] == 2
    assert found.values["tachysystole"] is False
    often = read(ctg(acmes_s=tuple(np.arange(60.0, 2400, 100))))
    assert often.values["tachysystole"] is True


@pytest.mark.parametrize("missing", [0.0, np.nan])
def test_gaps_elsewhere_change_nothing_but_the_loss(missing):
    gaps = ((100.0, 180.0), (900.0, 950.0), (1900.0, 2000.0))
    whole, holed = (
        read(ctg(bandwidth_bpm=4, events=EVENTS)),
        read(ctg(bandwidth_bpm=4, events=EVENTS, gaps=gaps, missing=missing)),
    )
    assert holed.values["signal_loss"] == pytest.approx(230 / 2400, abs=1e-3)
    assert holed.values["longest_gap_s"] == 100
    for key in ("baseline_bpm", "variability_bpm", "stv_ms", "accelerations", "decelerations"):
        assert holed.values[key] == pytest.approx(whole.values[key], abs=0.5), key
    for one, other in zip(whole.decelerations, holed.decelerations, strict=True):
        assert one["start_s"] == pytest.approx(other["start_s"], abs=1)


def test_a_short_gap_does_not_part_an_event_and_a_long_one_ends_it():
    def downs(gap):
        return read(ctg(bandwidth_bpm=2, events=((600.0, 120.0, -40.0),), gaps=(gap,))).decelerations

    [one] = downs((640.0, 650.0))
    assert one["duration_s"] == pytest.approx(120, abs=5)
    assert one["whole"]
    assert [part["whole"] for part in downs((640.0, 670.0))] == [False, False]


def test_halved_doubled_and_spiked_stretches_are_taken_out():
    plain = ctg(bandwidth_bpm=4)

    def spoil(signal: np.ndarray) -> None:
        signal[0, 2000:2060] *= 0.5
        signal[0, 4000:4040] = np.minimum(signal[0, 4000:4040] * 2, 219)
        signal[0, 6000:6004] = 160
        signal[0, 7000:7002] = 70

    trace = heart_trace(changed(ctg(baseline_bpm=105, bandwidth_bpm=4), spoil))
    assert trace.removed_s["halved"] == 15
    assert trace.removed_s["doubled"] == 10
    assert trace.removed_s["spikes"] == 1.5
    assert np.isnan(trace.fhr_bpm[2000:2060]).all()
    assert not any(heart_trace(plain).removed_s.values())


def test_a_deep_deceleration_is_kept():
    trace = heart_trace(ctg(events=((600.0, 60.0, -70.0),)))  # to half the rate, beat by beat
    assert not any(trace.removed_s.values())
    assert len(features(trace).decelerations) == 1


def test_two_hearts_in_one_trace_are_named():
    one, two = ctg(baseline_bpm=128, bandwidth_bpm=6), ctg(baseline_bpm=153, bandwidth_bpm=6)
    turns = np.random.default_rng(0).integers(10, 60, 200) * FS_HZ
    other = np.repeat(np.arange(200) % 2, turns)[: one.signal.shape[1]].astype(bool)
    trace = heart_trace(changed(one, lambda signal: signal[0].__setitem__(other, two.signal[0, other])))
    assert trace.two_rates == pytest.approx((128, 153), abs=3)
    found = features(trace)
    assert found.values["baseline_bpm"] is None
    assert found.values["signal_loss"] < 0.01
    assert any("twin" in warning for warning in found.warnings)
    assert heart_trace(ctg(bandwidth_bpm=25, events=EVENTS)).two_rates is None


def test_a_second_fetus_and_a_twice_recorded_heart_are_said():
    one, two = ctg(uterus=False), ctg(baseline_bpm=155, uterus=False)
    twins = Recording(np.concatenate([one.signal, two.signal]), FS_HZ, ("FHR1", "FHR2"), "ctg", "bpm")
    assert any("2 fetal heart rates" in warning for warning in heart_trace(twins).warnings)
    same = Recording(np.concatenate([one.signal, one.signal]), FS_HZ, ("FHR", "MHR"), "ctg", "bpm")
    assert any("recorded twice" in warning for warning in heart_trace(same).warnings)


def test_a_constant_and_a_short_trace_say_what_they_lack():
    flat = read(ctg(bandwidth_bpm=0))
    assert flat.values["baseline_bpm"] is None
    assert any("without any change" in warning for warning in flat.warnings)
    short = read(ctg(minutes=5))
    assert short.values["baseline_bpm"] == pytest.approx(140, abs=1)
    assert any("asks for ten" in warning for warning in short.warnings)
    nothing = read(ctg(minutes=1.5))
    assert nothing.values["baseline_bpm"] is None
    assert np.isnan(vector(nothing.values)).sum() >= 11
    assert any("two minutes" in warning for warning in nothing.warnings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: replace(r, leads=("UC", "TOCO")), "no channel of fetal heart rate"),
        (lambda r: replace(r, unit="mV"), "in bpm"),
        (lambda r: replace(r, signal=np.zeros_like(r.signal)), "no heart rate of 50 to 220"),
    ],
)
def test_what_is_no_cardiotocogram_gets_one_line(change, words):
    with pytest.raises(UsageError, match=words) as raised:
        heart_trace(change(ctg()))
    assert "\n" not in str(raised.value)


def test_other_rates_come_to_4_hz():
    assert at_4_hz(np.repeat([120.0, 130.0], 8), 8) == pytest.approx(np.repeat([120.0, 130.0], 4))
    assert at_4_hz(np.array([120.0, 130.0]), 1) == pytest.approx(np.repeat([120.0, 130.0], 4))
    assert at_4_hz(np.array([0.0, 130.0]), 8)[0] == 130  # 0 is missing


def test_a_vector_holds_every_number():
    found = read(ctg(events=EVENTS, acmes_s=(400.0, 900.0)))
    assert np.isfinite(vector(found.values)).all()
    assert len(vector(found.values)) == len(NUMBERS)


@pytest.mark.parametrize(("minutes", "speed", "rows"), [(20, 1, 1), (90, 1, 3), (20, 3, 2)])
def test_the_paper_holds_the_trace_in_rows_with_gaps_open(minutes, speed, rows):
    trace = heart_trace(ctg(minutes, events=EVENTS[:1], gaps=((120.0, 180.0),), acmes_s=(300.0,)))
    sheet, said = compose(trace, features(trace), speed)
    assert not said
    svg = sheet.svg()
    assert svg.count('data-name="FHR"') == rows
    assert ">A<" in svg
    first = next(item for item in sheet.items if getattr(item, "name", "") == "FHR")
    between = sorted(path[[0, -1], 0].tolist() for path in first.paths)
    mm_s = 10 * speed / 60
    assert between[1][0] - between[0][1] == pytest.approx(60 * mm_s, abs=0.2)  # a minute is missing
    assert sheet.width <= 320
    with pytest.raises(UsageError, match="1 or 3"):
        compose(trace, features(trace), 2)


# the network and its recipe


def test_soft_sort_becomes_sort_and_passes_gradients():
    torch.manual_seed(0)
    values = (10 * torch.randn(40)).requires_grad_()
    assert torch.allclose(soft_sort(values, 1e-3), values.sort().values, atol=1e-3)
    soft = soft_sort(values, 10.0)
    assert not torch.allclose(soft, values.sort().values, atol=0.1)
    assert soft.diff().min() > 0
    assert soft.sum().item() == pytest.approx(values.sum().item(), abs=1e-3)  # a permutahedron keeps the sum
    [gradient] = torch.autograd.grad((soft * torch.arange(40)).sum(), values)
    probe = torch.zeros(40)
    probe[7] = 1e-2
    with torch.no_grad():
        moved = [((soft_sort(values + sign * probe, 10.0)) * torch.arange(40)).sum() for sign in (1, -1)]
    assert gradient[7].item() == pytest.approx(((moved[0] - moved[1]) / 2e-2).item(), rel=0.05)


def test_pseudo_labels_follow_their_distribution():
    labels = pseudo_labels(4000, 280.0, 8.0, 258.0, 305.0)
    assert (np.diff(labels) >= 0).all()
    assert labels.min() >= 258
    assert labels.max() <= 305 + 1.5
    assert labels.mean() == pytest.approx(280, abs=0.3)
    assert labels.std() == pytest.approx(0.8 * 8, abs=0.2)
    assert len(pseudo_labels(7, 280.0, 8.0, 258.0, 305.0)) == 7


def test_the_loss_prefers_the_truth():
    true = torch.tensor([260.0, 270, 280, 290, 300])
    acid, labels = torch.tensor([0.0, 1, 0, 0, float("nan")]), torch.sort(true).values

    def loss(age, logit):
        return loss_of(age, logit, true, acid, labels).item()

    told = torch.tensor([-3.0, 3, -3, -3, 0])
    assert loss(true, told) < loss(true + 5, told)
    assert loss(true, told) < loss(true.flip(0), told)
    assert loss(true, told) < loss(true, -told)


def test_windows_cover_the_trace_and_know_what_is_missing():
    shape, scale = Shape(fs_hz=4), Scale()
    fhr = np.full(5000, 160.0)
    fhr[:200] = np.nan
    windows = windows_of(channels(fhr, None, shape, scale))
    assert windows.shape == (5, CHANNELS, SAMPLES)
    assert not windows[0, :2, :200].any()
    assert windows[0, 0, 200:] == pytest.approx(1.0)
    assert not windows[:, 2:].any()
    assert np.isfinite(windows).all()
    assert not len(windows_of(channels(np.full(5000, np.nan), None, shape, scale)))


def test_a_window_without_heart_rate_gives_no_age():
    net = CtgNet().eval()
    assert seen_by(net, np.zeros((0, CHANNELS, SAMPLES), np.float32)).age_days is None
    seen = seen_by(net, windows_of(channels(np.full(8000, 140.0), None, net.shape, net.scale)))
    assert seen.windows == 2
    assert 0 < seen.acidaemia < 1


def test_every_record_has_one_part_and_the_parts_have_their_sizes():
    parts = [recipe.part_of(str(name)) for name in range(3000)]
    assert parts == [recipe.part_of(str(name)) for name in range(3000)]
    assert parts.count("train") / 3000 == pytest.approx(0.6, abs=0.03)
    assert parts.count("test") / 3000 == pytest.approx(0.2, abs=0.03)


def test_the_interval_holds_what_it_promises():
    rng = np.random.default_rng(0)
    held = [(np.abs(rng.normal(0, 5, 200)) <= recipe.conformal(rng.normal(0, 5, 80))).mean() for _ in range(300)]
    assert np.mean(held) == pytest.approx(0.9, abs=0.015)


def cohort(count: int) -> recipe.Records:
    """Traces whose baseline falls with age, and is high where the blood is acid."""
    rng = np.random.default_rng(1)
    days = rng.integers(260, 301, count).astype(float)
    acid = rng.random(count) < 0.3
    traces = [
        heart_trace(ctg(minutes=12, baseline_bpm=140 - 0.5 * (age - 280), bandwidth_bpm=20 if bad else 6, uterus=False))
        for age, bad in zip(days, acid, strict=True)
    ]
    return recipe.Records([str(n) for n in range(count)], traces, days, np.where(acid, 7.0, 7.25))


def arguments(folder, *more: str):
    folder.mkdir(exist_ok=True)
    words = ["--data", ".", "--out", str(folder), "--epochs", "2", "--batch", "4", "--passes", "1", *more]
    return recipe.arguments().parse_args(words)


def test_a_run_goes_on_where_it_stopped(tmp_path):
    records = cohort(8)
    whole, figures = recipe.fit(records, records, arguments(tmp_path / "whole"))
    recipe.fit(records, records, arguments(tmp_path / "parts", "--minutes", "1e-9"))
    parts, figures_of_parts = recipe.fit(records, records, arguments(tmp_path / "parts"))
    assert figures == figures_of_parts
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, parts.state_dict()[name], atol=1e-6), name
