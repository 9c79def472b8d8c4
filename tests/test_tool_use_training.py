"""The recipe of the adapter on a tiny random Llama: the halves are the whole, training goes on, the file loads."""

import json
import random

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from encoders.lora import adapted, merge
from training import tool_use, tool_use_texts
from training.tool_use_texts import encode


@pytest.fixture
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def arguments(tiny_model, out, *more):
    parsed = [
        "--out",
        str(out),
        "--base",
        str(tiny_model),
        "--dialogues",
        "30",
        "--answers",
        "6",
        "--copies",
        "0",
        "--epochs",
        "1",
        *more,
    ]
    return tool_use.arguments().parse_args(parsed)


def test_the_two_halves_make_the_whole_model(model):
    ids = torch.randint(3, 200, (2, 9))
    whole = model(ids).logits
    lower, upper = tool_use.halves(model, 2)
    again = upper(inputs_embeds=lower(ids, use_cache=False).last_hidden_state, use_cache=False).logits
    assert torch.allclose(whole, again, atol=1e-5)


def test_only_what_is_written_is_learnt(tiny_model):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    asked, said = {"role": "user", "content": "QTc?"}, {"role": "assistant", "content": "[]"}
    ids, labels = encode(tokenizer, [asked, said, asked, said])
    learnt = [token for token, label in zip(ids, labels, strict=True) if label != -100]
    assert tokenizer.decode(learnt) == "[]<|im_end|>" * 2
    whole = tokenizer.apply_chat_template([asked, said, asked, said], return_dict=True)["input_ids"]
    assert whole[: len(ids)] == ids


def test_no_held_back_prompt_is_trained_on():
    lines = [line for file in tool_use_texts.APART for line in file.read_text().splitlines()]
    held_back = {json.loads(line)["user"].lower().strip(" ?.!") for line in lines}
    talks = tool_use_texts.conversations(0, 3000, 10, 2)
    trained = {one["content"].lower().strip(" ?.!") for talk in talks for one in talk if one["role"] == "user"}
    assert len(trained) > 5000
    assert not held_back & trained


def test_requests_of_one_scene_share_a_conversation():
    turns = [
        {"recordings": ["ecg-1 (12-lead ECG)"], "history": [], "user": user, "calls": calls, "reply": None}
        for user, calls in (
            ("what is the QTc, please?", [{"name": "measure_ecg", "arguments": {"recording": "ecg-1"}}]),
            ("HR?", [{"name": "measure_ecg", "arguments": {"recording": "ecg-1"}}]),
            ("draw one with AF", [{"name": "generate_ecg", "arguments": {"prompt": "AF"}}]),
        )
    ]
    made = tool_use_texts.joined(turns)
    assert sorted(len(turn["history"]) for turn in made) == [0, 1]  # what makes a recording stays alone
    assert next(turn for turn in made if turn["history"])["history"][0]["user"] == "HR?"


def test_training_stops_and_goes_on(tiny_model, tmp_path, monkeypatch):
    args = arguments(tiny_model, tmp_path, "--tokens", "2000", "--save-every", "2")
    real, count = tool_use.loss_of, 0

    def interrupted(*given):
        nonlocal count
        count += 1
        if count > 8:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(tool_use, "loss_of", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tool_use.train(args)
    assert (tmp_path / "state.pt").exists()
    started = torch.load(tmp_path / "state.pt", weights_only=True)["step"]
    assert started > 0
    monkeypatch.setattr(tool_use, "loss_of", real)
    tool_use.train(args)
    assert not (tmp_path / "state.pt").exists()


def test_the_adapter_loads_into_the_whole_model(tiny_model, tmp_path, model):
    from peft import PeftModel

    tool_use.train(arguments(tiny_model, tmp_path, "--tokens", "4000"))
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert all(value.dtype == torch.float16 for value in saved.values())
    assert {int(name.split("layers.")[1].split(".")[0]) for name in saved} == {2, 3}  # of four: the upper half
    ids = torch.tensor([[5, 6, 7]])
    plain = model(ids).logits
    tuned = PeftModel.from_pretrained(model, tmp_path)
    for name, value in tuned.named_parameters():
        if "lora_B" in name:
            assert value.abs().sum() > 0, name
    with_adapter = tuned(ids).logits
    assert not torch.allclose(plain, with_adapter, atol=1e-3)
    merged = adapted(tuned.unload(), tmp_path)  # without peft, as the program opens it
    torch.testing.assert_close(merged(ids).logits, with_adapter, atol=1e-4, rtol=0)
    again = tool_use.opened(tmp_path, 2)
    assert {int(name.split("layers.")[1].split(".")[0]) for name in again} == {0, 1}


def test_batches_hold_every_example_once():
    examples = [(torch.zeros(n, 2), torch.full((n,), n)) for n in range(3, 40)]
    made = tool_use.batches(examples, 60, random.Random(0))
    assert sorted(len(one[0]) for batch in made for one in batch) == list(range(3, 40))
    assert all(len(batch) == 1 or len(batch) * max(len(one[0]) for one in batch) <= 60 for batch in made)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("model.layers.9.mlp.up_proj.lora_A.weight", (4, 64), "has no layer model.layers.9"),
        ("model.layers.1.mlp.up_proj.lora_A.weight", (4, 64), "does not fit layer model.layers.1.mlp.up_proj"),
        ("model.layers.1.mlp.up_proj.lora_B.weight", (64, 4), "no part of a LoRA pair"),
    ],
)
def test_an_adapter_of_another_model_is_refused(model, name, shape, says):
    with pytest.raises(ValueError, match=says):
        merge(model, {f"base_model.model.{name}": torch.zeros(shape)}, 2.0)
