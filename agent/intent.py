"""Which tools a request is about, by the words of the request: a second opinion beside the language model's choice.

The model's own look at an ECG (agent/looking.py) is one of them here. Two networks are asked, and the middle of their
opinions counts: each was taught alone, and alone each is right less often.

    opinion = Intent()
    opinion.probabilities(recordings, history, "how fast is it?")   ->  {"measure_ecg": 0.98, …}
    opinion.settled({"search_guidelines"}, …)                       ->  {"measure_ecg"}

The sentence encoder (encoders/sentence.py) with a LoRA adapter and a linear layer, made by `python -m training.intent`.
It reads what a request means better than a language model of 135M; that one reads better how two wishes hang together.
So the choice of the language model stands, less what is ruled out here, and with what is certain here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agent.looking import ACTION
from agent.prompts import HISTORY_TURNS
from encoders import sentence
from encoders.lora import merge
from encoders.weights import WEIGHTS, stored

FILES = (WEIGHTS / "intent.safetensors", WEIGHTS / "intent_looks.safetensors")
RULED_OUT, CERTAIN = 0.3, 0.75  # probabilities; set by hand, on training/data/tool_use_validation.jsonl
OF_LOOKS = 0.2, 0.5  # the same of a look, on deciding_validation.jsonl
LONGEST = 128  # tokens
SCALE = 2.0  # of the adapter


class Network(nn.Module):
    """The sentence encoder and a logit a tool; `forward(texts)` -> (texts, tools)."""

    def __init__(self, tools: list[str]):
        super().__init__()
        from transformers import AutoModel, AutoTokenizer, logging

        logging.disable_progress_bar()
        self.tools = tools
        self.tokenizer: Any = AutoTokenizer.from_pretrained(sentence.folder())
        self.encoder: Any = AutoModel.from_pretrained(sentence.folder())
        self.out = nn.Linear(2 * sentence.WIDTH, len(tools))

    def forward(self, texts: list[str]) -> Tensor:
        read = self.tokenizer(texts, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        hidden = self.encoder(**read).last_hidden_state  # (B, T, WIDTH)
        seen = read["attention_mask"][..., None]
        return self.out(torch.cat([(hidden * seen).sum(1) / seen.sum(1), hidden[:, 0]], dim=1))


class Intent:
    """Trained networks from their files; see the module."""

    def __init__(self, *files: Path):
        self.nets = [opened(file) for file in files or FILES]

    @torch.inference_mode()
    def probabilities(self, recordings: list[str], history: list[dict[str, Any]], question: str) -> dict[str, float]:
        """Of each tool, that the request is about it, by the networks that know it; arguments as
        `agent.prompts.choose` has them."""
        text = told(recordings, history, question)
        logits: dict[str, list[Tensor]] = {}
        for net in self.nets:
            for tool, logit in zip(net.tools, net([text])[0], strict=True):
                logits.setdefault(tool, []).append(logit)
        return {tool: float(torch.stack(some).mean().sigmoid()) for tool, some in logits.items()}

    def settled(
        self, chosen: set[str], recordings: list[str], history: list[dict[str, Any]], question: str
    ) -> set[str]:
        """The language model's choice, less what is ruled out and with what is certain."""
        opinion = self.probabilities(recordings, history, question)
        kept = chosen - opinion.keys()
        for tool, p in opinion.items():
            ruled_out, certain = OF_LOOKS if tool == ACTION else (RULED_OUT, CERTAIN)
            if p >= (ruled_out if tool in chosen else certain):
                kept.add(tool)
        return kept


def opened(file: Path) -> Network:
    """A trained network from its file."""
    config, learnt = stored(file, "intent")
    net = Network(config["tools"]).eval()
    net.out.load_state_dict({name: learnt.pop(f"out.{name}").float() for name in ("weight", "bias")})
    merge(net.encoder, learnt, SCALE)
    return net


def told(recordings: list[str], history: list[dict[str, Any]], question: str) -> str:
    """What the network reads: the request, the last turns with their tools, the kinds of what is loaded."""
    kinds = ", ".join(one.split("(")[-1].rstrip(")") for one in recordings) or "nothing"
    turns = " ".join(
        f"{turn['user']} = {', '.join(sorted({call['name'] for call in turn['calls']})) or 'none'};"
        for turn in history[-HISTORY_TURNS:]
    )
    return f"{question} [SEP] {turns} loaded: {kinds}"
