"""A request to draw through generation tokens: slots, masks, a head that learns, and what the tool makes of it."""

import json

import numpy as np
import ptbxl_files
import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from agent import drawing as tokens
from encoders import drawing, flow
from encoders.drawing import PARTS, SLOTS, Drawer, Shape, slots_of
from encoders.weights import MissingModel
from tools.drawing_words import understood
from tools.registry import find
from tools.scp import STATEMENTS
from training import drawing as recipe

SMALL = Shape(hidden=32, width=16, heads=2, text=384)


def test_each_statement_has_the_slot_of_its_part():
    part_of = {code: one.part for code, one in STATEMENTS.items()}
    placed = slots_of(["LVH", "CLBBB", "AFIB", "IMI", "ISCAL", "1AVB"], part_of)
    assert placed == ["AFIB", None, "1AVB", "CLBBB", "LVH", "IMI", "ISCAL", None]
    assert slots_of([], part_of) == [None] * SLOTS
    assert all(code is None or part_of[code] == part for code, part in zip(placed, PARTS, strict=True))


def test_what_is_padded_does_not_count():
    torch.manual_seed(0)
    net = Drawer(SMALL).eval()
    short = torch.randn(1, SLOTS + 5, 32)
    padded = torch.cat([torch.randn(1, 7, 32), short], dim=1)
    there = torch.tensor([[False] * 7 + [True] * (SLOTS + 5)])
    one, other = net(short, torch.ones(1, SLOTS + 5, dtype=torch.bool)), net(padded, there)
    for a, b in zip(one, other, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert torch.allclose(one[0].norm(dim=-1), torch.ones(1, SLOTS), atol=1e-5)


def test_half_a_model_is_the_whole_models_half(tiny_model):
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    rows = [[5, 6, 7, 8, 9], [5, 6]]
    states, there = tokens.hidden(tokens.lower_half(model), rows)
    whole = model.model(torch.tensor([rows[0]]), output_hidden_states=True).hidden_states[2]
    assert torch.allclose(states[0], whole[0], atol=1e-5)
    alone = model.model(torch.tensor([rows[1]]), output_hidden_states=True).hidden_states[2]
    assert torch.allclose(states[1][there[1]], alone[0], atol=1e-4)
    assert len(model.model.layers) == 4  # and the model is as it was


def test_a_head_learns_what_it_is_taught():
    torch.manual_seed(0)
    net, table = Drawer(SMALL), torch.nn.functional.normalize(torch.randn(6, 384), dim=-1)
    of = torch.randn(6, 32)
    slots = torch.full((24, SLOTS), -1)
    hidden = []
    for i in range(24):
        slots[i, i % 6] = i % 6
        hidden.append(
            torch.cat([of[i % 6][None] + 0.01 * torch.randn(3, 32), torch.eye(32)[:SLOTS] + of[i % 6]]).half()
        )
    data = recipe.Requests(hidden, slots)
    before = recipe.right(net, data, table)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(150):
        loss = recipe.loss_of(net.train(), hidden, slots, table)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert before < 0.2
    assert recipe.right(net, data, table) > 0.9


def test_requests_name_what_they_ask_for():
    rng = np.random.default_rng(0)
    for _ in range(30):
        assert understood(recipe.request(rng, ["CLBBB"], numbers=False), flow.opened()[1]).statements == ("CLBBB",)
        only = understood(recipe.request(rng, []), flow.opened()[1])
        assert only.statements == ()
        assert only.heart_rate_bpm is not None


def test_saved_is_opened_and_missing_is_said(tmp_path):
    made, file = Drawer(SMALL), tmp_path / "drawing.safetensors"
    save_file(made.state_dict(), file, metadata={"config": json.dumps({"shape": made.config()})})
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), drawing.opened(file).parameters(), strict=True))
    with pytest.raises(MissingModel, match=r"training\.drawing"):
        drawing.opened(tmp_path / "other.safetensors")


def test_the_recipe_runs_and_goes_on_from_its_states(tiny_model, tmp_path):
    data = ptbxl_files.small(tmp_path / "ptb-xl")
    words = ["--data", str(data), "--out", str(tmp_path), "--base", str(tiny_model), "--prompts", "16", "--epochs", "2"]
    recipe.train(recipe.arguments().parse_args(words))
    assert (tmp_path / "requests_train_16.pt").exists()
    figures = recipe.train(recipe.arguments().parse_args(words))
    assert 0 <= figures["validation"]["right"] <= 1
    assert drawing.opened(tmp_path / "drawing.safetensors").shape.hidden == 32


class Hearing(tokens.Drawing):
    """Hears these statements, whatever is said."""

    def __init__(self, codes, statements):
        from encoders.sentence import embed
        from tools.drawing_words import phrases

        self.codes, self.statements = codes, statements
        self.made = embed([phrases(code)[0] for code in statements]) if statements else np.zeros((0, 384), np.float32)

    def heard(self, prompt):
        return self.made, self.statements


def test_vectors_come_in_the_order_of_the_words():
    hearing = Hearing(("AFIB", "CLBBB"), ["CLBBB", "AFIB"])
    assert np.array_equal(hearing.vectors("", ("AFIB", "CLBBB")), hearing.made[[1, 0]])
    assert hearing.vectors("", ("AFIB",)) is None
    assert Hearing((), []).vectors("", ()) is None


def test_the_tool_draws_from_what_the_model_hears_and_else_from_the_words(tmp_path):
    run, prompt = find("generate_ecg").run, {"prompt": "complete left bundle branch block", "seed": 3}
    plain = run(None, prompt, tmp_path / "a")
    same = run(None, prompt, tmp_path / "b", hear=Hearing((), ["CLBBB"]).vectors)
    other = run(None, prompt, tmp_path / "c", hear=Hearing((), ["AFIB"]).vectors)
    assert plain["heard_by"] == other["heard_by"] == "sentence encoder"
    assert same["heard_by"] == "language model"
    signals = [(tmp_path / name).glob("*.dat") for name in "abc"]
    first, second, third = (next(files).read_bytes() for files in signals)
    assert first == second == third  # the very vectors of the words, so the very ECG
