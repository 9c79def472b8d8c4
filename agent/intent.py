"""Which tools a request is about, by the words of the request: a second opinion beside the language model's choice.

    opinion = Intent()
    opinion.probabilities(recordings, history, "how fast is it?")   ->  {"measure_ecg": 0.98, …}
    opinion.settled({"search_guidelines"}, …)                       ->  {"measure_ecg"}

The sentence encoder (encoders/sentence.py) with a LoRA adapter and a linear layer, made by `python -m training.intent`
a few times over; the mean of their logits counts, which is right oftener than any of them (deep ensembles).
It reads what a request means better than a language model of 135M; that one reads better how two wishes hang together.
So the choice of the language model stands, less what is ruled out here, and with what is certain here; where all of it
is ruled out, what is likely here takes its place.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from agent.prompts import HISTORY_TURNS
from encoders import sentence
from encoders.lora import merge
from encoders.weights import WEIGHTS, stored

FILE = WEIGHTS / "intent.safetensors"
RULED_OUT, LIKELY, CERTAIN = 0.3, 0.6, 0.75  # probabilities; set by hand, on training/data/tool_use_validation.jsonl
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
        read = read.to(self.out.weight.device)
        hidden = self.encoder(**read).last_hidden_state  # (B, T, WIDTH)
        seen = read["attention_mask"][..., None]
        return self.out(torch.cat([(hidden * seen).sum(1) / seen.sum(1), hidden[:, 0]], dim=1))


class Intent:
    """Trained networks from their file; see the module."""

    def __init__(self, file: Path = FILE):
        config, learnt = stored(file, "intent")
        self.tools: list[str] = config["tools"]
        first = Network(self.tools).eval()
        shared = {id(part): part for part in (first.tokenizer, first.encoder.embeddings)}  # which no adapter changes
        self.nets = [first, *(copy.deepcopy(first, dict(shared)) for _ in range(1, config["members"]))]
        for n, net in enumerate(self.nets):
            own = {name.removeprefix(f"{n}."): value for name, value in learnt.items() if name.startswith(f"{n}.")}
            net.out.load_state_dict({name: own.pop(f"out.{name}").float() for name in ("weight", "bias")})
            merge(net.encoder, own, SCALE)

    @torch.inference_mode()
    def probabilities(self, recordings: list[str], history: list[dict[str, Any]], question: str) -> dict[str, float]:
        """Of each tool, that the request is about it; arguments as `agent.prompts.choose` has them."""
        text = told(recordings, history, question)
        p = torch.stack([net([text])[0] for net in self.nets]).mean(dim=0).sigmoid().tolist()
        return dict(zip(self.tools, p, strict=True))

    def settled(
        self, chosen: set[str], recordings: list[str], history: list[dict[str, Any]], question: str
    ) -> set[str]:
        """The language model's choice, less what is ruled out and with what is certain; see the module."""
        p = self.probabilities(recordings, history, question)
        kept = {tool for tool in chosen if p.get(tool, 1) >= RULED_OUT} | {t for t, v in p.items() if v >= CERTAIN}
        likeliest = max(p, key=lambda tool: p[tool])
        return {likeliest} if chosen and not kept and p[likeliest] >= LIKELY else kept


def told(recordings: list[str], history: list[dict[str, Any]], question: str) -> str:
    """What the network reads: the request, the last turns with their tools, the kinds of what is loaded."""
    kinds = ", ".join(one.split("(")[-1].rstrip(")") for one in recordings) or "nothing"
    turns = " ".join(
        f"{turn['user']} = {', '.join(sorted({call['name'] for call in turn['calls']})) or 'none'};"
        for turn in history[-HISTORY_TURNS:]
    )
    return f"{question} [SEP] {turns} loaded: {kinds}"
