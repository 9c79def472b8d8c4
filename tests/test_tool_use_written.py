"""The hand-written requests: calls the program would take, in as many words as lines."""

import re
from random import Random

import pytest

from agent import looking
from agent.llm import ABSENT
from agent.prompts import kind_of
from tools.registry import MAKERS, TOOLS
from training.tool_use_phrases import LEADS
from training.tool_use_written import lines, varied, written

RECORDING = re.compile(rf"(ecg-\d \(({'|'.join(LEADS)})\)|ppg-\d \(PPG\)|spirogram-\d \(spirogram\)|ctg-\d \(CTG\))")


@pytest.fixture(scope="module")
def talks():
    return lines()


def check(talk):
    loaded = [entry.split(" ")[0] for entry in talk["recordings"]]
    assert all(RECORDING.fullmatch(entry) for entry in talk["recordings"]), talk
    assert len(set(loaded)) == len(loaded)
    for turn in [*talk["history"], talk]:
        made = False
        for call in turn["calls"]:
            arguments = dict(call["arguments"])
            target = arguments.pop("recording", None)
            if call["name"] == looking.ACTION:
                assert not arguments
            else:
                TOOLS[call["name"]].arguments(**arguments)
            if target == ABSENT:
                assert made, talk  # it is what a call before makes
            elif target is None:
                assert call["name"] in ("generate_ecg", "search_guidelines"), talk
            else:
                assert target in loaded, talk
                kinds = ("ecg",) if call["name"] == looking.ACTION else TOOLS[call["name"]].kinds
                assert kind_of(target) in kinds, talk
            made |= call["name"] in MAKERS
    assert talk["calls"] or talk["reply"]


def test_every_line_is_a_request_with_calls_that_run(talks):
    assert len(talks) > 8000
    for talk in talks:
        check(talk)
    users = [(talk["user"].lower(), str(talk["recordings"]), str(talk["history"])) for talk in talks]
    assert len(set(users)) == len(users)


def test_a_varied_line_still_runs(talks):
    rng = Random(0)
    for talk in talks:
        check(varied(rng, talk))


def test_first_copy_is_as_written_and_seeds_repeat(talks):
    twice = written(0, 2)
    assert twice[::2] == talks
    assert twice == written(0, 2)
    assert sum(a != b for a, b in zip(twice[::2], twice[1::2], strict=True)) > len(talks) / 3
