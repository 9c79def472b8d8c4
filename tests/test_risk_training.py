"""training.risk: what it learns on cohorts with known answers, what never leaks, and which cohorts it refuses."""

from __future__ import annotations

import json
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.risk import matrix
from tools.errors import UsageError
from training import risk, risk_cohort, risk_data, risk_figures, risk_models
from training.risk_models import Data


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few settings and members: these tests are about what is right, not about the best."""
    for name, value in (("DEPTHS", (2,)), ("ROUNDS", (25,)), ("KEPT", (8,)), ("MEMBERS", 3), ("RANKING_ROUNDS", 15)):
        monkeypatch.setattr(risk_models, name, value)
    monkeypatch.setattr(risk_figures, "DRAWS", 200)


def made(rows=500, features=10, effects=(), seed=0, each=2):
    """A cohort whose log-odds are the sum of `effects` over the first columns; `each` rows a patient."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, features))
    log_odds = x[:, : len(effects)] @ np.array(effects) - 1.2
    patient = np.arange(rows) // each
    log_odds = log_odds.reshape(-1, each).mean(1).repeat(each) if each > 1 else log_odds
    event = (rng.random(rows // each).repeat(each) < 1 / (1 + np.exp(-log_odds))).astype(int)
    return Data(x, [f"x{i}" for i in range(features)], event, patient)


def test_known_effects_are_recovered():
    data = made(900, 10, (2.0, -1.2, 0.7), each=1)
    fitted = risk_models.fit(data, 0, members=0)
    x = data.x[:, fitted.columns]
    parts = fitted.trees.predict(matrix(x), pred_contribs=True)[:, :-1]
    size = dict(zip(fitted.columns, np.abs(parts).mean(0), strict=True))
    assert sorted(size, key=lambda column: -size[column])[:3] == [0, 1, 2]
    for column, sign in ((0, 1), (1, -1), (2, 1)):
        at = fitted.columns.index(column)
        assert sign * np.corrcoef(x[:, at], parts[:, at])[0, 1] > 0.7


def test_noise_is_not_learnt():
    data = made(300, 40, (), seed=3)
    found = risk_models.crossed(data, risk_models.outer(data, 0), 0)
    figures = risk_figures.all_of(found, data.event, data.patient, data.weight)
    for name, row in figures.items():
        assert row["auc"]["interval"][0] <= 0.5, name
    low, high = figures["XGBoost"]["auc"]["interval"]
    assert low <= 0.5 <= high


def test_selection_before_splitting_would_have_leaked():
    """The same noise, its columns chosen with all labels in sight: what the nested protocol must not do."""
    data = made(300, 150, (), seed=3)
    nested = risk_models.crossed(data, risk_models.outer(data, 0), 0)["XGBoost"]["p"]
    peeked = data.columns(risk_models.ranked(data, 0)[:8])
    leaked = risk_models.crossed(peeked, risk_models.outer(data, 0), 0)["XGBoost"]["p"]
    assert risk_figures.auc(leaked, data.event, data.weight) > risk_figures.auc(nested, data.event, data.weight) + 0.05


def test_folds_never_share_a_patient():
    data = made(300, 3, each=3)
    seen = np.zeros(300)
    for train, test in risk_models.outer(data, 0):
        assert not set(data.patient[train]) & set(data.patient[test])
        assert len(set(data.event[test])) == 2
        seen[test] += 1
    assert (seen == 1).all()


def test_one_seed_settles_all():
    data = made(200, 6, (1.5,))
    one, other = (risk_models.fit(data, 4, members=1) for _ in range(2))
    np.testing.assert_array_equal(one.log_odds(data.x), other.log_odds(data.x))
    assert one.members[0].save_raw() == other.members[0].save_raw()


def test_figures_are_those_of_the_library():
    from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score

    rng = np.random.default_rng(0)
    event = (rng.random(300) < 0.2).astype(int)
    p = np.round(np.clip(0.3 * event + rng.random(300) * 0.7, 0, 1), 2)  # with ties
    weight = rng.random(300)
    of = risk_figures.figures(p, event, p >= 0.5, weight[None])
    told = {"sample_weight": weight}
    assert of["auc"][0] == pytest.approx(roc_auc_score(event, p, **told))
    assert of["auprc"][0] == pytest.approx(average_precision_score(event, p, **told))
    assert of["f1"][0] == pytest.approx(f1_score(event, p >= 0.5, **told))
    assert of["brier"][0] == pytest.approx(brier_score_loss(event, p, **told))


def test_bootstrap_draws_whole_patients():
    patient = np.array(["a", "a", "b", "c", "c", "c"])
    draws = risk_figures.drawn(patient, np.ones(6), draws=50)
    assert (draws[:, 0] == draws[:, 1]).all()
    assert (draws[:, 3] == draws[:, 5]).all()
    assert (draws[0] == 1).all()


def test_a_better_model_is_told_from_a_worse():
    data = made(600, 4, (2.0,), each=1)
    p, q = risk_models.sigmoid(2 * data.x[:, 0]), risk_models.sigmoid(data.x[:, 1])
    draws = risk_figures.drawn(data.patient, data.weight)
    ours, other = (risk_figures.figures(one, data.event, one > 0.5, draws)["auc"] for one in (p, q))
    assert risk_figures.compared(ours, other)["p"] < 0.02
    assert risk_figures.compared(ours, ours)["p"] == 1


# --- cohorts ---


def table(tmp_path, **columns):
    file = tmp_path / "cohort.csv"
    pd.DataFrame(columns).to_csv(file, index=False)
    return file


def people(n):
    return [f"p{i}" for i in range(n)]


def test_bad_cohorts_are_refused_with_reasons(tmp_path):
    n = 40
    half = [1] * 20 + [0] * 20
    both = people(20) * 2
    for columns, reason in (
        ({"patient_id": people(n), "event": [0] * n, "x": range(n)}, "every row has no event"),
        ({"patient_id": people(n), "x": range(n)}, "lacks the column event"),
        ({"patient_id": people(n), "event": [2] * n}, "something else than 0 and 1"),
        ({"patient_id": people(n), "event": [1] * 5 + [0] * 35}, "fewer than 10 no risk can be calibrated"),
        ({"patient_id": both, "event": half}, "20 patients have rows with and without an event .*date"),
        ({"patient_id": both, "event": half, "date": ["2020-01-01"] * 20 + ["2021-01-01"] * 20}, "after one with it"),
        ({"patient_id": people(n), "event": half, "path": ["gone.hea"] * n}, "1 files are missing: .*gone.hea"),
    ):
        with pytest.raises(UsageError, match=reason):
            risk_cohort.load(table(tmp_path, **columns))
    with pytest.raises(UsageError, match="cannot be read as a table"):
        risk_cohort.load(tmp_path / "absent.csv")
    with pytest.raises(UsageError, match="no rows below its header"):
        risk_cohort.load(table(tmp_path, patient_id=[], event=[], path=[]))
    fine = {"patient_id": both, "event": half, "date": ["2021-01-01"] * 20 + ["2020-01-01"] * 20, "ward": ["a"] * n}
    loaded = risk_cohort.load(table(tmp_path, **fine))
    with pytest.raises(UsageError, match="no numbers: ward"):
        risk_cohort.covariates(loaded)


def test_a_cohort_opens_as_spreadsheets_write_it(tmp_path):
    columns = pd.DataFrame({"patient_id": people(40), "event": [0, 1] * 20, "age": range(40)})
    columns.to_csv(file := tmp_path / "semicolons.csv", index=False, sep=";", encoding="utf-8-sig")
    assert list(risk_cohort.load(file).columns) == ["patient_id", "event", "age"]


def test_the_first_recording_that_opens_says_what_the_cohort_is_of(tmp_path):
    (tmp_path / "broken.csv").write_text("no ECG")
    n = 500 * 10
    np.savez(tmp_path / "fine.npz", signal=np.random.default_rng(0).normal(size=(2, n)), fs_hz=500, unit="mV",
             leads=["I", "II"])  # fmt: skip
    rows = pd.DataFrame({"path": [str(tmp_path / "broken.csv"), str(tmp_path / "fine.npz")]})
    assert risk_cohort.kind_of(rows) == "ecg"
    with pytest.raises(UsageError, match="none of the 1 recordings can be read"):
        risk_cohort.kind_of(rows[:1])


def test_many_missing_files_are_listed_and_counted(tmp_path):
    columns = {"patient_id": people(30), "event": [0, 1] * 15, "path": [f"r{i}.hea" for i in range(30)]}
    with pytest.raises(UsageError, match=r"30 files are missing: .*r0\.hea.* and 20 more"):
        risk_cohort.load(table(tmp_path, **columns))


def test_a_cohort_of_features_goes_all_the_way(tmp_path, capsys):
    pytest.importorskip("shap")
    data = made(240, 5, (2.5, -1.5), each=1)
    columns = {f"x{i}": data.x[:, i] for i in range(5)} | {"sex": np.where(data.x[:, 4] > 0, "F", "M")}
    file = table(tmp_path, patient_id=[f"p{i}" for i in range(240)], event=data.event, **columns)
    assert risk.main(["--cohort", str(file), "--out", str(tmp_path / "out")]) == 0
    out = tmp_path / "out"
    figures = json.loads((out / "figures.json").read_text())
    assert figures["models"]["XGBoost"]["auc"]["value"] > 0.75
    assert {"logistic regression", "k nearest neighbours"} <= set(figures["models"])
    report = (out / "report.md").read_text()
    assert "features only" in report
    assert "better than chance" in report
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    assert {path.stem for path in (out / "figures").glob("*.png")} >= {"shap_summary", "shap_dependence", "waterfall"}
    card = json.loads((out / "risk.json").read_text())
    assert card["figures"]["XGBoost"]["auc"]["interval"][0] > 0.5
    predictions = pd.read_csv(out / "predictions.csv")
    assert len(predictions) == 240
    capsys.readouterr()
    assert risk.main(["--cohort", str(tmp_path / "none.csv"), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("risk: none.csv")


# --- the default cohort ---


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1700), st.floats(0.5, 90)), max_size=8),
    st.sampled_from(["mitdb", "vfdb", "cudb"]),
)
def test_blocks_never_overlap_an_episode(drawn, database):
    episodes = sorted((start, min(start + length, 1800.0)) for start, length in drawn)
    for event, start, stop in risk_data.blocks(episodes, 1800.0, database):
        assert 0 <= start < stop <= 1800
        assert stop - start >= risk_data.MINUTE_S - 1e-6
        assert risk_data.overlap(start, stop, episodes) == 0
        if event:
            assert any(0 < onset - stop <= risk_data.GAP_S + 1e-6 for onset, _ in episodes)
        else:
            clear = risk_data.CLEAR_S
            assert risk_data.overlap(start - clear, stop + clear, episodes) == 0


def test_annotations_become_episodes_and_noise(tmp_path):
    path = tmp_path / "418"
    wfdb.wrsamp(
        "418", fs=250, units=["mV"], sig_name=["ECG"], p_signal=np.zeros((250 * 600, 1)), fmt=["16"],
        adc_gain=[200.0], baseline=[0], write_dir=str(tmp_path),
    )  # fmt: skip
    at = np.array([0, 250 * 400, 250 * 410, 250 * 500, 250 * 520])
    notes = ["(N", "(VFL", "(N", "(NOISE", "(N"]
    wfdb.wrann("418", "atr", at, symbol=["+"] * 5, aux_note=notes, fs=250, write_dir=str(tmp_path))
    episodes, noise = risk_data.annotated(path, 600.0)
    assert episodes == [(400.0, 410.0)]
    assert noise == [(500.0, 520.0)]
    rows = risk_data._of_record(path, "vfdb")
    assert [(row["start_s"], row["stop_s"], row["event"]) for row in rows] == [(95.0, 395.0, 1), (335.0, 395.0, 1)]


def test_one_person_is_one_group():
    assert risk_data.person("mitdb", "201") == risk_data.person("mitdb", "202")
    assert risk_data.person("vfdb", "428") == risk_data.person("vfdb", "430") != risk_data.person("vfdb", "418")
    assert risk_data.person("cudb", "cu01") != risk_data.person("cudb", "cu03")


def test_features_are_computed_once(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(risk_cohort, "_of_row", lambda row, kind, encoder: calls.append(row.path) or {"a": len(calls)})
    rows = pd.DataFrame({"path": ["a", "b", "c"], "patient_id": ["1", "2", "3"], "event": [0, 1, 0]})
    file = tmp_path / "features.jsonl"
    first = risk_cohort.computed(rows, file, "strip")
    with file.open("a") as cut:
        cut.write('["d||", {"a": 1')  # a run that was stopped
    again = risk_cohort.computed(rows, file, "strip")
    assert calls == ["a", "b", "c"]
    np.testing.assert_array_equal(first.values, again.values)
    risk_cohort.computed(rows, file, "ecg")
    assert len(calls) == 6


def test_rows_that_cannot_be_used_are_counted(tmp_path, monkeypatch):
    reasons = iter([{"why": "shorter than a minute"}, *({"a": i, "b": i} for i in range(40))])
    monkeypatch.setattr(risk_cohort, "_of_row", lambda row, kind, encoder: next(reasons))
    rows = pd.DataFrame({"path": map(str, range(41)), "patient_id": people(41), "event": [0, *[0, 1] * 20]})
    args = Namespace(input="strip", encoder="reading", out=tmp_path, leave_out="b", no_networks=True)
    gathered = risk.cohort(rows, args)
    assert len(gathered.data.event) == 40
    assert gathered.data.names == ["a"]
    assert "1 rows left out: shorter than a minute" in gathered.said


def test_networks_learn_what_is_in_the_signal(monkeypatch):
    from training import risk_nets

    monkeypatch.setattr(risk_nets, "STEPS", 60)

    rng = np.random.default_rng(0)
    event = np.arange(120) % 2
    wave = np.sin(np.arange(300) / 3)
    signal = (rng.normal(0, 1, (120, 1, 300)) + event[:, None, None] * wave).astype(np.float32)
    data = Data(np.zeros((120, 1)), ["x"], event, np.arange(120), signal)
    train, test = risk_models.outer(data, 0)[0]
    for name, build in risk_nets.NETWORKS.items():
        p, _ = risk_nets.judged(build, data.rows(train), data.rows(test), 0)
        assert risk_figures.auc(p, event[test], np.ones(len(test))) > 0.8, name


def test_what_the_shipped_model_says_of_itself():
    from training import risk_default

    one, other = ({"auc": {"value": value, "interval": [0.4, 0.9]}} for value in (0.8, 0.7))
    figures = {
        "models": {"XGBoost": one},
        "across": {"a": {"XGBoost": one}, "b": {"XGBoost": other}, "mean AUC": {}},
        "same_people": {"auc": {"value": 0.55, "interval": [0.4, 0.7]}},
        "which_database": {"mitdb or nsrdb": {"value": 0.86, "interval": [0.7, 0.9]}, "others": one["auc"]},
        "patients": 80,
        "patients_with_event": 30,
    }
    said = SimpleNamespace(**risk_default.said(figures))
    assert "0.70 to 0.80 on pairs of databases that it had not seen" in said.cohort_said
    assert any("does not tell when" in line for line in said.warnings_said)
    assert [line for line in said.limits_said if "different recorders" in line] == [
        line for line in said.limits_said if "mitdb or nsrdb" in line
    ]
