"""The reading encoder: what was not recorded does not count, training goes on, probabilities are calibrated."""

import json

import numpy as np
import ptbxl_files
import pytest
import synthetic
import torch
from accelerate import Accelerator

from encoders import measures, reading
from encoders.reading_net import SAMPLES, ReadingNet, Shape, standardised
from tools.measure import measure_ecg
from tools.recording import LEADS
from training import figures, ptbxl, reading_fusion, reading_teacher, reading_trees
from training import reading as recipe


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return ReadingNet(Shape(width=24, blocks=2, heads=2, embedding=8, superclass=2, subclass=2, statement=3)).eval()


def inputs(signal, known, lead=None, voltage=True):
    index = torch.arange(12) if lead is None else torch.tensor(lead)
    return signal, known, index.expand(len(signal), -1), torch.full((len(signal), len(index)), voltage)


def ecgs(n=2):
    return torch.from_numpy(
        np.stack([synthetic.ecg(fs_hz=100, rate_bpm=60 + 7 * i).recording.signal for i in range(n)])
    )


@torch.inference_mode()
def test_what_was_not_recorded_does_not_count(net):
    signal, known = ecgs(), torch.ones(2, 12, SAMPLES, dtype=torch.bool)
    known[:, 3:6, :250] = False
    known[:, 9] = False
    other = torch.where(known, signal, 1e3 * torch.randn(signal.shape))
    a, b = net(*inputs(signal, known)), net(*inputs(other, known))
    for key in ("superclass", "subclass", "statement", "embedding"):
        torch.testing.assert_close(a[key], b[key], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_lead_that_is_masked_is_a_lead_that_is_absent(net):
    signal = ecgs()
    known = torch.zeros(2, 12, SAMPLES, dtype=torch.bool)
    known[:, [1, 6]] = True
    masked = net(*inputs(signal, known))
    absent = net(*inputs(signal[:, [1, 6]], known[:, [1, 6]], lead=[1, 6]))
    turned = net(*inputs(signal[:, [6, 1]], known[:, [6, 1]], lead=[6, 1]))
    for key in ("superclass", "statement", "embedding"):
        torch.testing.assert_close(masked[key], absent[key], rtol=0, atol=1e-5)
        torch.testing.assert_close(absent[key], turned[key], rtol=0, atol=1e-5)
    assert masked["tokens"].shape == (2, 12, 25, 24)
    assert masked["there"].sum() == 2 * 2 * 25


@torch.inference_mode()
def test_voltage_counts_only_where_it_is_known(net):
    signal, known = ecgs(), torch.ones(2, 12, SAMPLES, dtype=torch.bool)
    form, spread = standardised(signal, known)
    assert torch.allclose(standardised(3 * signal + 1, known)[1], 3 * spread, rtol=1e-4)
    assert form.abs().max() <= 12
    told = net(*inputs(signal, known))["superclass"] - net(*inputs(3 * signal, known))["superclass"]
    lost = (
        net(*inputs(signal, known, voltage=False))["superclass"]
        - net(*inputs(3 * signal, known, voltage=False))["superclass"]
    )
    assert told.abs().max() > 5 * lost.abs().max()


@torch.inference_mode()
def test_nothing_recorded_gives_finite_numbers(net):
    out = net(*inputs(torch.zeros(1, 12, SAMPLES), torch.zeros(1, 12, SAMPLES, dtype=torch.bool)))
    assert all(torch.isfinite(out[key]).all() for key in ("superclass", "embedding"))


@pytest.mark.parametrize("fs_hz", [100, 128, 250, 500, 1000])
@pytest.mark.parametrize("seconds", [4.0, 10.0, 61.0])
def test_any_rate_and_length_becomes_windows(fs_hz, seconds):
    signal = synthetic.ecg(fs_hz=fs_hz, seconds=seconds, leads=("II", "V2")).recording.signal.copy()
    signal[0, : fs_hz // 2] = np.nan
    windows, known, index = reading.prepared(signal, fs_hz, ("II", "V2"))
    assert index == [1, 7]
    assert windows.shape == known.shape == (max(1, min(6, int(seconds) // 10)), 2, SAMPLES)
    assert np.isfinite(windows).all()
    assert not known[0, 0, :50].any()
    assert known[0, 1, :390].all()
    assert known[0].sum() == pytest.approx(min(seconds, 10) * 200 - 50, abs=4)
    if fs_hz == 500 and seconds == 10:
        slow = synthetic.ecg(fs_hz=100, leads=("V2",)).recording.signal[0]
        assert np.abs(windows[0, 1] - slow)[20:-20].max() < 0.05


def test_a_lead_of_another_name_is_read_as_lead_ii():
    assert reading.prepared(np.zeros((2, 1000)), 100, ("MLII", "ECG 2"))[2] == [1]
    assert reading.prepared(np.zeros((2, 1000)), 100, ("X", "V5"))[2] == [10]


def test_measurements_become_a_vector_and_absence_stays_absent():
    truth = synthetic.ecg(qrs_ms=96, rate_bpm=72)
    vector = dict(zip(measures.NAMES, measures.vector(measure_ecg(truth.recording)), strict=True))
    assert vector["heart_rate_bpm"] == 72
    assert vector["qrs_ms"] == pytest.approx(96, abs=6)
    assert vector["no_p"] == 0
    row = measure_ecg(truth.recording)["per_lead"]
    highest = max(row["V5"]["r_mv"], row["V6"]["r_mv"])
    assert vector["sokolow_mv"] == pytest.approx(highest - row["V1"]["s_mv"], abs=1e-5)
    height = {lead: row[lead]["r_mv"] - row[lead]["s_mv"] for lead in ("I", "III")}
    assert vector["height_i_less_iii_mv"] == pytest.approx(height["I"] - height["III"], abs=1e-5)
    nothing = measures.vector({})
    assert nothing.shape == (len(measures.NAMES),)
    assert np.isnan(nothing).all()


def test_fewer_leads_take_their_columns_with_them():
    whole = np.ones(len(measures.NAMES), np.float32)
    alone = dict(zip(measures.NAMES, reading_trees.without(whole, ("II",)), strict=True))
    assert alone["II_r_mv"] == 1
    assert alone["heart_rate_bpm"] == 1
    gone = [name for name, value in alone.items() if np.isnan(value)]
    assert {"V1_s_mv", "sokolow_mv", "qrs_axis_deg_sin", "qrs_t_angle_deg", "height_i_less_iii_mv"} <= set(gone)
    both = dict(zip(measures.NAMES, reading_trees.without(whole, ("I", "II")), strict=True))
    assert both["qrs_axis_deg_cos"] == 1


def test_fusion_is_calibrated_and_prefers_what_knows():
    rng = np.random.default_rng(0)
    z = rng.normal(-1, 1.5, (4000, 3))
    labels = (rng.random(z.shape) < 1 / (1 + np.exp(-z))).astype(np.float32)
    fusion = reading_fusion.fuse(rng.normal(size=z.shape), z, 3 * z, labels)
    assert fusion["both"][0] == pytest.approx(0, abs=0.1)
    assert fusion["both"][1] == pytest.approx(1 / 3, rel=0.1)  # an overconfident view is calmed
    p = reading.combined(fusion, np.zeros(z.shape), 3 * z)
    assert reading_fusion.calibration_error(p, labels) < 0.02
    assert reading_fusion.calibration_error(np.sqrt(p), labels) > 0.1
    thresholds, bands = reading_fusion.decide(p, labels, ["a", "b", "c"])
    assert all(bands[code][0] <= thresholds[code] <= bands[code][1] for code in "abc")


def test_auroc_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    p, truth = rng.random((60, 2)).round(1), (rng.random((60, 2)) < 0.4).astype(float)
    for column in range(2):
        a, b = p[truth[:, column] == 1, column], p[truth[:, column] == 0, column]
        pairs = (a[:, None] > b).mean() + 0.5 * (a[:, None] == b).mean()
        assert figures.auroc(p, truth)[column] == pytest.approx(pairs)
    same = figures.with_interval(p, truth, p)
    assert same["ahead"] == 0
    assert same["ahead_interval"] == [0, 0]
    assert same["interval"][0] < same["auroc"] < same["interval"][1]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return ptbxl_files.small(tmp_path_factory.mktemp("ptb-xl"))


def arguments(records, out, *more):
    return recipe.arguments().parse_args(
        ["--data", str(records), "--out", str(out), "--epochs", "2", "--batch", "10", "--cpu", *more]
    )


def test_the_table_reads_the_public_layout(records):
    table = ptbxl.load(records)
    assert table.signal.shape == (36, 12, 1000)
    assert table.raw.all()
    assert table.labels["superclass"].sum(axis=0).tolist() == [18, 0, 0, 18, 0]
    assert set(table.folds(8).fold) == {8}
    people = ptbxl.people(records)
    assert [people[str(record)] for record in table.record[:3]] == [(90, "M"), (1, "F"), (2, "M")]
    with pytest.raises(Exception, match=r"no ptbxl_database\.csv"):
        ptbxl.load(records / "nothing")


def test_train_stop_resume_read(records, tmp_path, monkeypatch):
    monkeypatch.setattr(reading_trees, "ROUNDS", 10)
    args = arguments(records, tmp_path)
    table = ptbxl.load(records)
    vectors = recipe.measured(table, tmp_path / "measures.npz")
    chosen = recipe.learnt(table)
    booster = recipe.trees(table, vectors, chosen, args.seed)
    lesson, accelerator = recipe.lessons(table, vectors, chosen, booster, args), Accelerator(cpu=True)
    real, count = recipe.step_loss, 0

    def interrupted(*given):
        nonlocal count
        count += 1
        if count == 5:  # in the second epoch
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(recipe, "step_loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        recipe.fit(*lesson, chosen, args, accelerator)
    assert torch.load(tmp_path / "state.pt", weights_only=True)["epoch"] == 1
    monkeypatch.setattr(recipe, "step_loss", real)
    resumed = recipe.fit(*lesson, chosen, args, accelerator)
    straight = recipe.fit(*lesson, chosen, arguments(records, tmp_path), accelerator)
    assert not (tmp_path / "state.pt").exists()
    for (name, a), b in zip(resumed.state_dict().items(), straight.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)

    made = recipe.finish(table, vectors, chosen, resumed, booster, args)
    json.dumps(made)
    reader = reading.Reader(tmp_path / "reading.safetensors")
    truth = synthetic.ecg(qrs_ms=150)
    seen = reader.read(truth.recording.signal, 500, LEADS, measure_ecg(truth.recording))
    assert set(seen.probabilities) == {"superclass", "subclass", "statement"}
    assert all(0 <= p <= 1 for group in seen.probabilities.values() for p in group.values())
    assert np.linalg.norm(seen.embedding) == pytest.approx(1, abs=1e-5)
    assert len(seen.tokens) == len(seen.places) == 12 * 25
    assert seen.places[0] == ("I", 0.0, 0.4)
    alone = reader.read(truth.recording.signal[1:2], 500, ("II",), None)
    assert len(alone.tokens) == 25
    looked = reader.look(truth.recording.signal, 500, LEADS, [("statement", "CLBBB")])[0]
    assert len(looked["leads"]) == 12
    assert len(looked["times"]) == 5
    assert looked["times"][0][2] >= looked["times"][-1][2]


def test_missing_weights_are_said(tmp_path):
    from encoders.weights import MissingModel

    with pytest.raises(MissingModel, match=r"training\.reading"):
        reading.Reader(tmp_path / "reading.safetensors")


def test_nobodys_own_label_teaches_the_trees_that_judge_him(tmp_path):
    rng = np.random.default_rng(0)
    n = 240
    vectors = rng.normal(size=(n, len(measures.NAMES))).astype(np.float32)
    chance = (rng.random((n, 1)) < 0.5).astype(np.float32)
    blank = np.zeros(n)
    table = ptbxl.Table(
        np.zeros((n, 12, 1), np.float32), {}, {}, blank, np.arange(n) % 4, blank.astype(str), np.ones(n, bool)
    )
    soft = reading_teacher.opinions(table, vectors, chance, seed=0)
    fitted = reading_trees.fit(vectors, chance, table.raw, 0)
    own = reading_teacher.judged(fitted, vectors, table.raw)
    assert figures.macro(own, chance) > 0.95  # trees remember what they were fitted on
    assert abs(figures.macro(soft, chance) - 0.5) < 0.12
    assert reading_teacher.strips(tmp_path, {}) is None
