"""The held-back prompts for tool choice: hand-written, apart from the training dialogues, never trained on.

Each line of `training/data/tool_use_heldout.jsonl` is one turn: what is loaded, what was said and called before,
the prompt, and the right set of tools (`also`: other sets that are as defensible). These tests keep the file honest.
"""

import json
import re
from collections import Counter
from importlib.resources import files
from typing import Any

import pytest

from tools.registry import TOOLS

NAMES = set(TOOLS)
NEEDS = {  # the kind of recording a tool reads; the others need none
    "measure_ecg": "ecg",
    "interpret_ecg": "ecg",
    "predict_vtvf_risk": "ecg",
    "reconstruct_leads": "ecg",
    "plot_recording": "ecg",
    "ppg_to_ecg": "ppg",
    "read_spirogram": "spirogram",
    "estimate_fetal_age": "ctg",
}
RECORDING = re.compile(r"(ecg-[12] \((12|3|1)-lead ECG\)|ppg-1 \(PPG\)|spirogram-1 \(spirogram\)|ctg-1 \(CTG\))")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    text = files("training").joinpath("data/tool_use_heldout.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def kinds(row: dict[str, Any]) -> set[str]:
    """Kinds of the loaded recordings, from their ids."""
    return {recording.split("-")[0] for recording in row["recordings"]}


def test_there_are_enough_prompts_of_every_sort(rows):
    assert len(rows) >= 200
    sorts = Counter(row["kind"] for row in rows)
    assert set(sorts) == {"single", "multi", "followup", "none"}
    assert min(sorts.values()) >= 30


def test_every_line_has_the_same_form(rows):
    for row in rows:
        assert set(row) - {"also"} == {"recordings", "history", "user", "tools", "kind"}
        assert row["user"].strip() == row["user"] != ""
        assert all(RECORDING.fullmatch(recording) for recording in row["recordings"]), row
        ids = [recording.split()[0] for recording in row["recordings"]]
        assert len(ids) == len(set(ids)), row


def test_only_tools_of_the_contract_are_named(rows):
    for row in rows:
        for chosen in (row["tools"], *row.get("also", [])):
            assert chosen == sorted(set(chosen)), row
            assert set(chosen) <= NAMES, row
        assert row["tools"] not in row.get("also", []), row


def test_every_tool_is_asked_for_at_least_ten_times(rows):
    asked = Counter(name for row in rows for name in row["tools"])
    assert {name: asked[name] for name in NAMES if asked[name] < 10} == {}


def test_no_prompt_stands_twice(rows):
    # A short follow-up may be said again in another conversation; the same turn may not.
    turns = Counter(json.dumps([row["recordings"], row["history"], row["user"].casefold()]) for row in rows)
    assert [turn for turn, count in turns.items() if count > 1] == []
    openings = Counter(row["user"].casefold() for row in rows if not row["history"])
    assert [prompt for prompt, count in openings.items() if count > 1] == []


def test_the_sort_of_a_prompt_agrees_with_its_tools(rows):
    for row in rows:
        if row["kind"] == "single":
            assert len(row["tools"]) == 1, row
        if row["kind"] == "none":
            assert row["tools"] == [], row
        if row["kind"] == "multi":
            assert len(row["tools"]) == 2 or len(row["recordings"]) == 2, row
        assert bool(row["history"]) == (row["kind"] == "followup"), row


def test_a_right_tool_has_the_recording_that_it_reads(rows):
    for row in rows:
        for name in row["tools"]:
            assert name not in NEEDS or NEEDS[name] in kinds(row), row


def test_earlier_calls_speak_of_recordings_that_are_loaded(rows):
    for row in rows:
        ids = {recording.split()[0] for recording in row["recordings"]}
        for call in (call for turn in row["history"] for call in turn["calls"]):
            assert call["name"] in NAMES, row
            recording = call["arguments"].get("recording")
            assert recording is None or recording in ids, row
            assert call["name"] not in NEEDS or recording is not None, row


def test_two_right_answers_are_the_exception(rows):
    assert sum("also" in row for row in rows) <= 0.05 * len(rows)
