"""CPCC on answers made by hand, and both models of a figure on a tiny random Llama."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from training import cpcc
from training.cpcc import Captured, captured, compared, power

WORDS = [" sotalol", " amiodarone", " the", " qt", ",", " torsades", " digoxin"]  # the vocabulary
CONTEXT = "Sotalol may cause torsades."
CLOSED = "Amiodarone or sotalol."


def walk(*steps, top=10):
    """Captures of an answer whose steps give these probabilities to the vocabulary."""
    rows = torch.tensor([[step.get(word.strip(), 0.0) for word in WORDS] for step in steps])
    states = torch.arange(len(steps)).float()[:, None].repeat(1, 2)
    made = captured(rows, states, WORDS, CONTEXT, CLOSED, top)
    return [(p, round(v, 2)) for p, v, _ in made.contextual], [(p, round(v, 2)) for p, v, _ in made.parametric]


def test_a_token_of_both_sources_ends_the_step():
    assert walk({"sotalol": 0.6, "torsades": 0.3, "amiodarone": 0.1}) == ([], [])


def test_a_token_is_captured_for_its_source_and_ends_the_step():
    assert walk({"torsades": 0.6, "amiodarone": 0.4}) == ([(0, 0.6)], [])
    assert walk({"amiodarone": 0.6, "torsades": 0.4}) == ([], [(0, 0.6)])


def test_function_words_scraps_and_words_of_neither_are_passed_over():
    assert walk({"the": 0.4, ",": 0.3, "digoxin": 0.15, "qt": 0.1, "torsades": 0.05}) == ([(0, 0.05)], [])


def test_a_token_is_captured_once_and_the_next_is_looked_at():
    assert walk({"torsades": 0.9}, {"torsades": 0.7, "amiodarone": 0.2}) == ([(0, 0.9)], [(1, 0.2)])


def test_only_the_likeliest_are_looked_at():
    assert walk({"the": 0.5, "digoxin": 0.3, "torsades": 0.2}, top=2) == ([], [])


def test_the_state_is_that_of_the_step():
    made = captured(torch.eye(len(WORDS))[[2, 5]], torch.tensor([[1.0], [7.0]]), WORDS, CONTEXT, CLOSED, 1)
    assert made.contextual[0][2] == [7.0]


def answer(length, *values):
    return Captured([(position, value, np.array([value, 0.0])) for position, value in values], [], length)


def test_power_by_hand():
    both = [answer(5, (0, 0.6), (2, 0.5)), answer(5, (0, 0.8))]
    found = power(both, "contextual")
    assert found[0] == pytest.approx((0.36 + 0.64) * np.sqrt(2))
    assert found[2] == pytest.approx(0.25)
    assert found.sum() == pytest.approx(found[0] + found[2])


def test_answers_that_grew_longer_are_left_out():
    base = [answer(5, (0, 0.5)), answer(5, (0, 0.5))]
    tuned = [answer(5, (0, 1.0)), answer(6, (0, 1.0))]
    out = compared(base, tuned)
    assert (out["answers"], out["kept"]) == (2, 1)
    assert out["tuned"]["contextual"]["power"] == 1
    assert out["moved"]["contextual"] is None  # one state tells nothing


def test_states_that_move_are_seen():
    base = [answer(5, (0, 0.1), (1, 0.2), (2, 0.3))]
    tuned = [answer(5, (0, 0.1), (1, 0.2), (2, 0.3))]
    assert compared(base, tuned)["moved"]["contextual"] == 0
    tuned[0].contextual = [(p, v, state + 1) for p, v, state in tuned[0].contextual]
    assert compared(base, tuned)["moved"]["contextual"] > 1


def test_the_command_draws_and_tells(tiny_model, tmp_path, capsys, monkeypatch):
    from peft import LoraConfig, get_peft_model

    entry = {
        "QUESTION": "Is sotalol safe?", "CONTEXTS": ["Sotalol may cause torsades."], "final_decision": "no",
        "LONG_ANSWER": "Sotalol is not safe.",
    }  # fmt: skip
    (tmp_path / "ori_pqal.json").write_text(json.dumps({str(5 * i): entry for i in range(3)}))
    (tmp_path / "test_ground_truth.json").write_text("{}")
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(r=2, target_modules=["q_proj"]))
    tuned.save_pretrained(tmp_path / "adapter")
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--adapter", str(tmp_path / "adapter"),
             "--base", str(tiny_model), "--limit", "2"]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["cpcc", *words])
    cpcc.main()
    assert "of 2 answers" in capsys.readouterr().out
    assert (tmp_path / "out" / "cpcc.png").stat().st_size > 10_000
    out = json.loads((tmp_path / "out" / "cpcc.json").read_text())
    assert len(out["base"]["contextual"]["by_position"]) == cpcc.TOKENS


def test_an_answer_is_walked_from_what_each_word_was_chosen_from(tiny_model, monkeypatch):
    """The probabilities of a step are those of a run that has read all before it, and nothing after."""
    from training.generation import Writer

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    writer = Writer(model, AutoTokenizer.from_pretrained(tiny_model), quiet=True)
    monkeypatch.setattr(writer, "texts", lambda prompts, limit: ["QT?"] * len(prompts))
    seen = {}
    monkeypatch.setattr(cpcc, "captured", lambda p, h, *_: seen.update(p=p, h=h))
    cpcc.answered(writer, "Is it safe?", CONTEXT, CLOSED, WORDS)
    ids = writer._encode(cpcc.step_by_step("Is it safe?", CONTEXT))
    assert len(seen["p"]) == len(seen["h"]) == 3
    for step, token in enumerate(writer.tokenizer.encode("QT?", add_special_tokens=False)):
        alone = model(torch.tensor([ids])).logits[0, -1].softmax(-1)
        assert torch.allclose(seen["p"][step], alone, atol=1e-5)
        ids.append(token)
