"""The second opinion on what a request is about: what it reads, what it changes of a choice, that it learns."""

from __future__ import annotations

import pytest
import torch

from agent.intent import Intent, told
from agent.llm import ABSENT, LocalModel
from tools.registry import TOOLS
from training import intent
from training.tool_use_texts import plain, told_apart

TOOLS_OF_TESTS = ["measure_ecg", "plot_recording", "search_guidelines"]
SAYINGS = {
    "measure_ecg": ["what is the QTc", "heart rate please", "how long is the PR interval"],
    "plot_recording": ["draw it on paper", "show me the trace", "print the recording"],
    "search_guidelines": ["what do guidelines say", "which limits are published", "define a bundle branch block"],
}


class Fixed(Intent):
    """An opinion with these probabilities, whatever is asked."""

    def __init__(self, **p: float):
        self.p = p

    def probabilities(self, recordings, history, question):
        return {tool: self.p.get(tool, 0.5) for tool in TOOLS} | {"look": self.p.get("look", 0.0)}


def test_it_reads_the_request_the_last_two_turns_and_the_kinds_of_what_is_loaded():
    history = [{"user": f"turn {n}", "calls": [{"name": "measure_ecg", "arguments": {}}]} for n in range(3)]
    text = told(["ecg-1 (12-lead ECG)", "ppg-1 (PPG)"], history, "and now?")
    assert text.startswith("and now?")
    assert "turn 0" not in text
    assert "turn 2 = measure_ecg;" in text
    assert text.endswith("loaded: 12-lead ECG, PPG")
    assert told([], [], "hello").endswith("loaded: nothing")


@pytest.mark.parametrize(
    ("p", "chosen", "settled"),
    [
        ({}, {"measure_ecg"}, {"measure_ecg"}),
        ({"measure_ecg": 0.01}, {"measure_ecg"}, set()),
        ({"measure_ecg": 0.01, "plot_recording": 0.65}, {"measure_ecg"}, {"plot_recording"}),
        ({"measure_ecg": 0.31, "plot_recording": 0.65}, {"measure_ecg"}, {"measure_ecg"}),
        ({"plot_recording": 0.65}, set(), set()),
        ({"plot_recording": 0.99}, {"measure_ecg"}, {"measure_ecg", "plot_recording"}),
        ({"measure_ecg": 0.01, "interpret_ecg": 0.99}, {"measure_ecg"}, {"interpret_ecg"}),
    ],
)
def test_what_is_certain_is_added_and_what_is_ruled_out_is_dropped(p, chosen, settled):
    assert Fixed(**p).settled(chosen, [], [], "?") == settled


def test_the_language_model_writes_calls_of_exactly_the_settled_tools(tiny_model):
    model = LocalModel(str(tiny_model))
    every = dict.fromkeys(TOOLS, 0.0)
    model.opinion = Fixed(**{**every, "measure_ecg": 1.0, "plot_recording": 1.0})
    calls = model.choose(["ecg-1 (12-lead ECG)"], [], "whatever")
    assert {call["name"] for call in calls} == {"measure_ecg", "plot_recording"}
    assert {call["arguments"]["recording"] for call in calls} == {"ecg-1"}
    model.opinion = Fixed(**every)
    assert model.choose(["ecg-1 (12-lead ECG)"], [], "whatever") == []
    model.opinion = Fixed(**{**every, "read_spirogram": 1.0})
    assert model.choose(["ecg-1 (12-lead ECG)"], [], "whatever") == [], f"a call on {ABSENT} is none"


def test_a_look_that_the_second_opinion_hears_is_one_call_and_none_without_an_ecg(tiny_model):
    model = LocalModel(str(tiny_model))
    every = dict.fromkeys(TOOLS, 0.0)
    model.opinion = Fixed(**every, look=1.0)
    assert model.choose(["ecg-1 (12-lead ECG)"], [], "gestalt?") == []  # no projector: it has no eye
    model.projectors = {"ecg": object()}
    looks = model.choose(["ppg-1 (PPG)", "ecg-1 (12-lead ECG)"], [], "gestalt?")
    assert looks == [{"name": "look", "arguments": {"recording": "ecg-1"}}]
    assert model.choose(["ppg-1 (PPG)"], [], "gestalt?") == []


def test_it_learns_and_its_file_gives_the_same_opinion(tmp_path):
    torch.manual_seed(0)
    net = intent.adapting(TOOLS_OF_TESTS, rank=4)
    turns = [
        {"recordings": [], "history": [], "user": text, "calls": [{"name": tool, "arguments": {}}]}
        for tool, texts in SAYINGS.items()
        for text in texts
    ]
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(learning, 3e-3)
    first = intent.loss_of(net.eval(), turns).item()
    for _ in range(12):
        optimiser.zero_grad()
        intent.loss_of(net.train(), turns).backward()
        optimiser.step()
    assert intent.loss_of(net.eval(), turns).item() < first / 3
    file = tmp_path / "intent.safetensors"
    other = intent.adapting(TOOLS_OF_TESTS, rank=4)
    intent.write([net, other], 4, file)
    opened = Intent(file)
    question = "what is the heart rate"
    with torch.inference_mode():
        before = torch.stack([one.eval()([told([], [], question)])[0] for one in (net, other)]).mean(dim=0).sigmoid()
    after = opened.probabilities([], [], question)
    assert list(after.values()) == pytest.approx(before.tolist(), abs=2e-3)  # kept in float16
    assert max(after, key=lambda tool: after[tool]) == "measure_ecg"


def test_requests_that_judge_are_never_learnt_from():
    apart = told_apart()
    assert len(apart) > 400
    for turn in intent.turns(1):
        assert not apart & {plain(one["user"]) for one in (*turn["history"], turn)}


def test_a_tool_whose_recording_is_not_there_does_not_count():
    assert intent.possible({"measure_ecg", "search_guidelines"}, []) == {"search_guidelines"}
    assert intent.possible({"ppg_to_ecg", "measure_ecg"}, ["ppg-1 (PPG)"]) == {"ppg_to_ecg", "measure_ecg"}
    assert intent.possible({"ppg_to_ecg", "measure_ecg"}, ["spirogram-1 (spirogram)"]) == set()
