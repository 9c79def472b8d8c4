"""Greedy answers of a causal language model to many prompts at once, and which of a few options it then picks.

    writer = Writer(model, tokenizer)
    writer.texts([messages, ...], limit=60)                      -> ["...", ...]
    writer.answered([messages, ...], 60, [["yes", "no"], ...])   -> [("...", "no"), ...]
    together(writer, [begun("order", question, context), ...])  -> [Composed, ...]
    writer.perplexity(["...", ...])                              -> (texts,) array

One sequence at a time is bound by memory; a batch of like lengths, padded on the left, is several times as fast on
a CPU. What was asked once is kept, so that two ways of answering that begin alike share the work.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import DynamicCache

from agent import smollm2
from agent.copypaste import Ask, Composed, Steps
from agent.prompts import Message
from encoders.lora import adapted

BATCH = 16
ASKED = "\nAnswer:"
PICKED = re.compile(r"\banswer(?: is)?:?\s*\**\"?([^\n\"*]+?)[\s.\"*]*$", re.IGNORECASE)


class Writer:
    """A Hugging Face model with its tokenizer, read from `base` (default: the project's) with an adapter, if any."""

    def __init__(self, model: Any, tokenizer: Any, batch: int = BATCH, quiet: bool = False):
        self.model, self.tokenizer, self.batch, self.quiet = model.eval(), tokenizer, batch, quiet
        self.end = {tokenizer.eos_token_id, *tokenizer.encode("<|endoftext|>", add_special_tokens=False)[:1]}
        self.kept: dict[str, str] = {}

    def texts(self, prompts: list[list[Message]], limit: int) -> list[str]:
        """What the model writes after each prompt, at most `limit` tokens."""
        keys = [json.dumps([prompt, limit]) for prompt in prompts]
        new = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self.kept}
        for key, (text, _) in zip(new, self.answered(list(new.values()), limit, None), strict=True):
            self.kept[key] = text
        return [self.kept[key] for key in keys]

    def answered(
        self, prompts: list[list[Message]], limit: int, options: list[list[str]] | None
    ) -> list[tuple[str, str]]:
        """What the model writes, and the option it names at the end.

        Where it names none of a prompt's options, the likeliest word after "Answer:" counts: a model is not marked
        down for its form. Options must differ in their first token.
        """
        ids = [self._encode(prompt) for prompt in prompts]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out: list[tuple[str, str]] = [("", "")] * len(ids)
        with tqdm(total=len(ids), desc="answers", mininterval=10, disable=self.quiet or len(ids) < 2) as bar:
            for start in range(0, len(order), self.batch):
                rows = order[start : start + self.batch]
                wanted = [options[i] for i in rows] if options else None
                for row, answer in zip(rows, self._batch([ids[i] for i in rows], limit, wanted), strict=True):
                    out[row] = answer
                bar.update(len(rows))
        return out

    @torch.inference_mode()
    def _batch(self, ids: list[list[int]], limit: int, options: list[list[str]] | None) -> list[tuple[str, str]]:
        longest = max(map(len, ids))
        tokens = torch.tensor([[0] * (longest - len(one)) + one for one in ids])
        mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in ids])
        cache = DynamicCache()
        written: list[list[int]] = [[] for _ in ids]
        going = [True] * len(ids)
        while True:
            logits = self._step(tokens, mask, cache)
            if not any(going) or max(map(len, written)) >= limit:
                break
            best = logits.argmax(-1).tolist()
            going = [on and token not in self.end for on, token in zip(going, best, strict=True)]
            for row, token in enumerate(best):
                if going[row]:
                    written[row].append(token)
            tokens = torch.tensor(best)[:, None]
            mask = torch.cat([mask, torch.tensor(going, dtype=mask.dtype)[:, None]], dim=1)
        texts = [self.tokenizer.decode(one, skip_special_tokens=True).strip() for one in written]
        if options is None:
            return [(text, "") for text in texts]
        named = [option_of(text, some) for text, some in zip(texts, options, strict=True)]
        if not all(named):
            asked = self.tokenizer.encode(ASKED, add_special_tokens=False)
            block = torch.tensor([asked] * len(ids))
            mask = torch.cat([mask, torch.ones_like(block)], dim=1)
            likely = self._step(block, mask, cache)
            for row, some in enumerate(options):
                first = [self.tokenizer.encode(f" {one}", add_special_tokens=False)[0] for one in some]
                named[row] = named[row] or some[int(likely[row, first].argmax())]
        return list(zip(texts, map(str, named), strict=True))

    def _step(self, tokens: torch.Tensor, mask: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        """(B, vocabulary) logits of the last token."""
        places = (mask.cumsum(1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        out = self.model(
            tokens, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        return out.logits[:, -1].float()

    @torch.inference_mode()
    def perplexity(self, texts: list[str]) -> np.ndarray:
        """(texts,) perplexity under the model, infinite for a text of less than two tokens."""
        out = np.full(len(texts), np.inf)
        for i, text in enumerate(texts):
            ids = torch.tensor([self.tokenizer.encode(text, add_special_tokens=False)])
            if ids.shape[1] > 1:
                logits = self.model(ids).logits[0, :-1].float()
                out[i] = float(torch.nn.functional.cross_entropy(logits, ids[0, 1:]).exp())
        return out

    def _encode(self, messages: list[Message]) -> list[int]:
        return self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]


def together(writer: Writer, begun: list[Steps]) -> list[Composed]:
    """Go through the steps of many composers (agent/copypaste.py) side by side, each round in one batch."""
    done: list[Composed | None] = [None] * len(begun)
    asked: dict[int, Ask] = {}

    def go(i: int, reply: str | None) -> None:
        try:
            asked[i] = begun[i].send(reply)  # type: ignore[arg-type]  # None starts a generator
        except StopIteration as end:
            done[i] = end.value

    for i in range(len(begun)):
        go(i, None)
    while asked:
        round_ = dict(asked)
        asked.clear()
        for limit in sorted({limit for _, limit in round_.values()}):
            rows = [i for i, (_, most) in round_.items() if most == limit]
            for i, reply in zip(rows, writer.texts([round_[i][0] for i in rows], limit), strict=True):
                go(i, reply)
    return done  # type: ignore[return-value]


def option_of(text: str, options: list[str]) -> str | None:
    """The option that a text names: after "Answer:" at its end, or as its first word ("Yes, …")."""
    found = PICKED.search(text.strip())
    said = found[1].strip().lower() if found else ""
    first = re.split(r"[,.\n;:]", text.strip().lower(), maxsplit=1)[0]
    return next((one for one in options if one.lower() in (said, first)), None)


def opened(base: str | Path | None = None, adapter: Path | None = None, quiet: bool = False) -> Writer:
    """The model of a folder or Hugging Face id (default: SmolLM2-135M-Instruct), with an adapter merged in."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()
    source = base or smollm2.convert()
    model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    if adapter:
        adapted(model, adapter)
    return Writer(model, AutoTokenizer.from_pretrained(source), quiet=quiet)
