"""What several tests share: a real recording, a tiny language model, folders of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest_plugins = ["founder_files"]


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch):
    """No test sees or leaves sessions in the user's data folder."""
    monkeypatch.setenv("EINTHOVEN_DATA_FOLDER", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session")
def dicom() -> Path:
    """A real 12-lead ECG, 10 s at 1000 Hz; its vendor measured RR 982, PR 161, QRS 75, QT 368 ms."""
    from pydicom import examples

    return Path(examples.get_path("waveform"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """Folder of a random Llama of 30 thousand weights with a byte-level tokenizer and the default's chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    reserved = ["repo_name", "reponame", "file_sep", "filename", "gh_stars", "issue_start", "issue_comment"]
    reserved += ["issue_closed", "empty_output"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<{word}>" for word in reserved)]
    vocabulary = {token: index for index, token in enumerate([*special, *alphabet])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


class Script:
    """A language model that follows a script: tests of the graph are about the graph."""

    many_steps = False

    def __init__(self, calls=(), answers=()):
        self.calls, self.answers, self.shown = list(calls), list(answers), []

    def choose(self, recordings, history, question, done=()):
        self.shown.append(json.dumps([recordings, history, question]))
        return [] if done else self.calls

    def write(self, evidence, question, stop=lambda: False):
        self.shown.append(json.dumps(evidence))
        first, space, rest = (self.answers.pop(0) if self.answers else " ".join(evidence)).partition(" ")
        yield from (first + space, rest)


@pytest.fixture
def script():
    return Script


@pytest.fixture
def pubmedqa(tmp_path, monkeypatch):
    """A folder like PubMedQA's with 60 questions, a third of them of the test."""
    from training import copypaste_data

    words = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()
    abstracts, test = {}, {}
    for i in range(60):
        name, yes = f"{words[i % 10]}{i}", i % 2 == 0
        abstracts[str(i)] = {
            "QUESTION": f"Is {name} useful against fever?",
            "CONTEXTS": [f"Fever is common. We gave {name} to ten people in one hospital."],
            "LONG_ANSWER": f"The drug {name} is {'' if yes else 'not '}useful against fever.",
            "final_decision": "yes" if yes else "no",
        }
        if i % 3 == 0:
            test[str(i)] = abstracts[str(i)]["final_decision"]
    (tmp_path / "ori_pqal.json").write_text(json.dumps(abstracts))
    (tmp_path / "test_ground_truth.json").write_text(json.dumps(test))
    few = copypaste_data.ASKED_WELL.read_text().splitlines()[:12]
    (tmp_path / "asked.jsonl").write_text("\n".join(few))
    monkeypatch.setattr(copypaste_data, "ASKED_WELL", tmp_path / "asked.jsonl")
    return tmp_path
