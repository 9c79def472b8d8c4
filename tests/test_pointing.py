"""Claims written from frames, and a model taught to point to the sentence that answers: what is learnt and read."""

import re

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from training import pointing
from training.claims import claims, frames


def test_each_frame_asks_and_answers_both_ways_and_no_line_answers_both():
    for frame in frames():
        assert all(frame.values()), frame["asks"]
        assert not set(frame["yes"]) & set(frame["no"]), frame["asks"]
    denied = [bool(re.search(r"\b(?:no|not|none|without|never)\b", one)) for f in frames() for one in f["no"]]
    assert 0.2 < sum(denied) / len(denied) < 0.8  # a word of denial does not give the answer away


def test_claims_are_even_whole_and_the_same_again():
    made = claims(3, 200)
    assert made == claims(3, 200) != claims(4, 200)
    assert [one["answer"] for one in made].count("yes") == 100
    for one in made:
        assert one["key"] in one["context"]
        assert not re.search(r"[{}]", one["question"] + one["context"])


def test_the_controls_learn_the_sentence_and_the_option_apart(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    item = claims(0, 1)[0]
    written = {}
    for arm in ("copypaste", "copying", "stamping"):
        ids, labels = pointing.encoded(tokenizer, item, arm)
        written[arm] = {i for i, label in enumerate(labels) if label != -100}
        assert all(ids[i] == labels[i] for i in written[arm])
    assert written["copying"] | written["stamping"] == written["copypaste"]
    assert not written["copying"] & written["stamping"]
    ids, labels = pointing.encoded(tokenizer, item, "copying")
    assert tokenizer.decode([label for label in labels if label != -100]).strip() == item["key"]
    ids, labels = pointing.encoded(tokenizer, item, "stamping")
    assert (
        tokenizer.decode([label for label in labels if label != -100]).strip().startswith(f"Answer: {item['answer']}")
    )


def test_each_question_is_learnt_with_both_contexts_and_validation_is_apart(pubmedqa):
    learnt, judging = (pointing.items(pubmedqa, part, 10, 0) for part in ("train", "validation"))
    of = {}
    for one in learnt:
        of.setdefault(one["question"], set()).add(one["answer"])
    own = [answers for question, answers in of.items() if "useful against fever" in question]
    assert own
    assert all(answers == {"yes", "no"} for answers in own)
    assert not {one["question"] for one in judging} & set(of)
    assert sum(one["id"].startswith("claim-") for one in learnt) == 10


@pytest.mark.parametrize("begun", [False, True])
def test_one_command_trains_from_nothing_or_goes_on(tiny_model, tmp_path, pubmedqa, monkeypatch, capsys, begun):
    words = ["pointing", "--data", str(pubmedqa), "--base", str(tiny_model), "--out", str(tmp_path / "first")]
    monkeypatch.setattr("sys.argv", [*words, "--written", "8", "--epochs", "1"])
    pointing.main()
    first = load_file(tmp_path / "first" / "adapter_model.safetensors")
    if begun:
        words[-1] = str(tmp_path / "second")
        adapter = ["--adapter", str(tmp_path / "first"), "--lr", "0.0000001"]
        monkeypatch.setattr("sys.argv", [*words, *adapter, "--written", "8", "--epochs", "1"])
        pointing.main()
        second = load_file(tmp_path / "second" / "adapter_model.safetensors")
        for name, value in first.items():  # so small a rate leaves it where it was
            torch.testing.assert_close(second[name], value, atol=1e-3, rtol=0)
        card = (tmp_path / "second" / "adapter_model.json").read_text()
        assert card.count("python -m training.pointing") == 2
    assert "validation_loss" in capsys.readouterr().out
