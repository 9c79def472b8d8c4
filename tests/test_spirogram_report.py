"""Spirograms as soft tokens: what is not recorded leaves no trace, what is said is read back, the recipe runs."""

from __future__ import annotations

import json
from argparse import Namespace
from random import Random

import numpy as np
import pandas as pd
import pytest
import torch
from blows import blow, recording

from agent import looking
from agent.llm import LocalModel
from agent.session import Session
from encoders import spiro
from encoders.spiro_projector import TOKENS, WHOLE, Features, Shape, SpiroProjector, features, opened
from encoders.weights import MissingModel
from tools.errors import UsageError
from tools.recording import write
from tools.spirometry import measure
from training import evaluate_spirogram_report, spirogram_data, spirogram_report
from training.spirogram_text import CANNOT, facts, measured_line, pattern, question, report, said

LOW = {"fev1_l": -3.0, "fvc_l": -0.5, "fev1_fvc": -3.2}
LOOK = [{"name": "look", "arguments": {"recording": "spirogram-1"}}]
READ = [{"name": "read_spirogram", "arguments": {"recording": "spirogram-1"}}]


@pytest.fixture
def ill():
    """A slow blow that ends early."""
    return facts(measure(blow(4.0, 1.6, lasts_s=3.0, after_s=0.0).volume_l, 100), True, LOW)


def test_a_short_blow_has_fewer_tokens_and_what_follows_it_does_not_matter():
    net = spiro.SpiroNet().eval()
    x, there = (torch.from_numpy(one)[None] for one in spiro.prepared(blow(4.0, 0.6, lasts_s=4.0).volume_l, 100))
    seen = features(net(x, there), there)
    vectors, has = SpiroProjector(Shape(hidden=32, inner=8))(seen)
    assert vectors.shape == (1, TOKENS, 32)
    assert has[0, :WHOLE].all()
    assert 0 < seen.has_time.sum() < TOKENS - WHOLE
    x[:, ~there[0]] = 50.0
    again = features(net(x, there), there)
    assert all(torch.equal(one, other) for one, other in zip(seen, again, strict=True))


def test_what_is_said_is_read_back(ill):
    assert said(report(ill)) == {
        "Breath": "medium",
        "End": "early",
        "Curve": "hollow",
        "pattern": "airflow obstruction",
    }
    assert not any(sign.isdigit() for sign in report(ill))
    given = report(ill, True)
    assert said(given)["pattern"] == pattern(ill, True)
    assert evaluate_spirogram_report.numbers(given)[2] == f"FEV1/FVC {ill.numbers['fev1_fvc']:.3f}: low"
    assert given.startswith(measured_line(ill).removeprefix("Measured of spirogram-1: "))
    low = facts(measure(blow(5.0, 0.5).volume_l, 100), False, {"fev1_l": -2.0, "fvc_l": 0.1, "fev1_fvc": 0.3})
    assert report(low, True).endswith("Pattern: low FEV1 alone.")
    assert evaluate_spirogram_report.numbers(report(low, True))[-1].startswith("PEF")


def test_the_pattern_follows_the_numbers_where_they_are_given_and_else_the_curve(ill):
    well = facts(measure(blow(5.0, 0.5).volume_l, 100), False, {"fev1_l": 0.1, "fvc_l": -2.0, "fev1_fvc": 0.3})
    assert (pattern(well, False), pattern(well, True)) == ("no obstruction", "possible restriction")
    ill.obstructed = False  # the curve alone does not show it
    assert (pattern(ill, False), pattern(ill, True)) == ("no obstruction", "airflow obstruction")


def test_answers_follow_from_the_facts(ill):
    answers = {question(Random(i), ill)[1] for i in range(60)}
    assert answers == {"Yes.", "End early.", "Curve hollow.", CANNOT}


def test_a_report_with_a_word_too_many_or_a_number_is_not_valid(ill):
    known = spirogram_report.Seen(
        Features(torch.zeros(1, 2), torch.zeros(1, 9, 1), torch.ones(1, 9) > 0), [ill], *[0, 0]
    )
    good = report(ill)
    assert evaluate_spirogram_report.valid(good, known, 0)
    for bad in (
        f"{good} FVC 4.0 L.",
        good.replace("End early. ", ""),
        good.replace("airflow", "some"),
        f"Well: {good}",
    ):
        assert not evaluate_spirogram_report.valid(bad, known, 0)


@pytest.fixture(scope="module")
def nhanes(tmp_path_factory):
    """A folder like NHANES' of eighty made-up people."""
    rng, rows = np.random.default_rng(0), []
    for n in range(80):
        fvc, ratio = rng.uniform(2.5, 5.5), rng.choice([0.55, 0.82]) + rng.uniform(-0.05, 0.05)
        sex = ("Female", "Male")[n % 2]
        one = {"gender": sex, "age": rng.uniform(20, 70), "height": rng.uniform(155, 185), "fvc": fvc}
        pef, fef = 1.9 * ratio * fvc, fvc * (2.2 * ratio - 0.8)
        rows.append(one | {"fev1": ratio * fvc, "pef": pef, "fef": fef, "volume": 60.0, "fet": 8.0})
    folder = tmp_path_factory.mktemp("nhanes")
    pd.DataFrame(rows).to_csv(folder / "SpirometryUS.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def trained(nhanes, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    argv = [
        "--data",
        nhanes,
        "--out",
        out,
        "--base",
        tiny_model,
        "--talks",
        "12",
        "--tokens",
        "1200",
        "--save-every",
        "1",
    ]
    spirogram_report.HELD = 4
    args = spirogram_report.arguments().parse_args([str(one) for one in argv])
    projector, threshold, figures = spirogram_report.train(args)
    return args, projector, threshold, figures


def test_the_recipe_learns_and_goes_on_from_where_it_was(trained):
    args, projector, threshold, figures = trained
    assert 0 < threshold < 1
    assert figures["validation_loss"] > 0
    again, _, same = spirogram_report.train(Namespace(**vars(args)))  # its state is at the end: nothing is left to do
    assert same == figures
    assert all(torch.equal(a, b) for a, b in zip(projector.parameters(), again.parameters(), strict=True))


def test_as_many_are_obstructed_as_not(nhanes):
    people = spirogram_data.nhanes(nhanes)
    rows = spirogram_report.chosen(people, np.arange(len(people)), 20, np.random.default_rng(0))
    assert people["obstruction"].to_numpy()[rows].sum() == 10


def test_the_threshold_parts_what_can_be_parted():
    p, truth = np.array([0.1, 0.2, 0.6, 0.9]), np.array([False, False, True, True])
    assert spirogram_report.threshold_of(p, truth) == 0.6


def test_saved_is_opened_and_without_weights_one_line_says_what_to_do(tmp_path):
    from safetensors.torch import save_file

    made, file = SpiroProjector(Shape(8, 16, 4)), tmp_path / "spiro_projector.safetensors"
    with pytest.raises(MissingModel, match=r"training\.spirogram_report"):
        opened(file)
    save_file(made.state_dict(), file, metadata={"config": json.dumps({"shape": made.config(), "threshold": 0.3})})
    again, threshold = opened(file)
    assert threshold == 0.3
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), again.parameters(), strict=True))


@pytest.fixture
def spirogram(tmp_path):
    one = blow(4.0, 0.5).volume_l
    return write(recording(one, 0.99 * one, 0.985 * one, age=45.0, sex="F"), tmp_path / "blows.npz", format="npz")


def test_a_spirogram_is_looked_at(script, spirogram, tmp_path, monkeypatch):
    """And nothing is left where the person works."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    class Eyes(script):
        def __init__(self, calls):
            super().__init__(calls)
            self.projectors = {"spirogram": object()}

        def read(self, seen, turns, stop):
            assert seen["spirogram-1"].whole.shape == (1, 256)
            yield "Breath medium. End reached. Curve hollow. Pattern: airflow obstruction."

    session = Session(Eyes(LOOK))
    session.add(spirogram)
    *_, end = session.ask("What do you see yourself?")
    assert end["answer"].startswith(f"{looking.OWN}Breath medium.")
    assert end["tools"][0]["result"]["beside"] == "read_spirogram"
    assert not list(here.iterdir())
    with pytest.raises(UsageError, match="no manoeuvre"):
        looking.look(recording(np.zeros(500)))


def test_where_eye_and_tool_differ_over_a_spirogram_is_said():
    mine = "End reached. Pattern: airflow obstruction."
    (line,) = looking.differs(mine, {"pattern": "normal spirometry"})
    assert "sees airflow obstruction, where read_spirogram finds normal spirometry" in line
    for same in ("airflow obstruction", "airflow obstruction with a low FVC", None):
        assert looking.differs(mine, {"pattern": same}) == []
    assert looking.differs("Pattern: no obstruction.", {"pattern": "possible restriction"}) == []


def test_who_asks_for_its_own_eye_of_a_spirogram_gets_a_look(tiny_model):
    model = LocalModel(str(tiny_model))
    model.projectors = {"spirogram": object()}
    model._calls = lambda messages, schema: []
    looks = model.choose(["spirogram-1 (spirogram)"], [], "What do you see yourself, without any tool?")
    assert looks == [{"name": "look", "arguments": {"recording": "spirogram-1"}}]
    assert model.choose(["spirogram-1 (spirogram)"], [], "How large is FEV1?") == []
