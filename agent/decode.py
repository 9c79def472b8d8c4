"""Greedy decoding of one sequence, made for a laptop's CPU.

Two copies of the weights: float32 reads the prompt (matrix products, where bfloat16 is emulated and slow),
bfloat16 writes the words (one token at a time is bound by memory, so half the bytes is nearly half the time).
A prompt is read from where it departs from the last one (the fixed system line and the conversation so far),
and what a grammar leaves no choice about is fed as one block instead of token by token. So is what a text goes on
with that was seen before, since answers quote their evidence: a guess that the model's own next word does not bear
out is taken back, and what is written is what would have been written word by word (but for near ties, since long
guesses are read in float32).
`python -m training.bench` times it against `transformers.generate`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

ALIKE = (4, 3, 2)  # so many last tokens, at best, must have stood there before for their continuation to be a guess
FIRST, MOST = 1, 7  # tokens guessed at first, and after a guess that came true whole
WIDE = 5  # tokens at once from which float32 is the faster, since it need not be emulated


class Decoder:
    """Greedy decoder over a causal language model (any Hugging Face one with a dynamic cache)."""

    def __init__(self, model: Any, eos: set[int]):
        self.reader = model.eval()
        on_cpu = next(model.parameters()).device.type == "cpu"
        half = on_cpu and next(model.parameters()).dtype == torch.float32
        self.writer: Any = _halved(model) if half else model
        self.eos = eos
        self._read: list[int] = []  # the tokens whose keys and values `_cache` holds
        self._cache = DynamicCache()

    @torch.inference_mode()
    def tokens(
        self,
        prompt: list[int],
        limit: int,
        matcher=None,
        stop: Callable[[], bool] = lambda: False,
        soft: tuple[int, torch.Tensor] | None = None,
        likely: Sequence[int] = (),
    ) -> Iterator[int]:
        """Yield tokens after `prompt` until the end token, `limit`, or `stop()`.

        `matcher` is an `llguidance.LLMatcher`: only tokens that its grammar allows are written. `soft` is a token and
        (n, hidden) vectors that stand, in order, in the n places where the prompt has it. `likely` is a text that the
        answer may share words with, beside the prompt.
        """
        if soft is None:
            logits = self._prefill(prompt)
            cache = _cast(self._cache, self.writer.dtype)
        else:
            fresh = DynamicCache()
            logits = self._see(prompt, soft, fresh)
            cache = _cast(fresh, self.writer.dtype)
        if matcher is None:
            yield from self._free(logits, cache, [*likely, *prompt], limit, stop)
            return
        written = 0
        while written < limit and not stop():
            block = matcher.compute_ff_tokens()
            if not block:
                token = int(_allowed(logits, matcher).argmax())
                if token in self.eos:
                    return
                block = [token]
            matcher.consume_tokens(block)
            yield from block
            written += len(block)
            if matcher.is_stopped():
                return
            logits = self._forward(self.writer, block, cache)[-1]

    def _free(
        self, logits: torch.Tensor, cache: DynamicCache, seen: list[int], limit: int, stop: Callable[[], bool]
    ) -> Iterator[int]:
        """Words without a grammar; `seen` is what they may go on from."""
        written, length = 0, FIRST
        while written < limit and not stop():
            token = int(logits.argmax())
            if token in self.eos:
                return
            seen.append(token)
            plain = all(map(_plain, cache.layers))  # others cannot take tokens back
            guess = _continued(seen, min(length, limit - written - 1) if plain else 0, self.eos)
            wide = len(guess) + 1 >= WIDE
            after = self._forward(self.reader if wide else self.writer, [token, *guess], cache, keep=len(guess) + 1)
            chosen = after.argmax(-1).tolist()
            true = next((i for i, one in enumerate(guess) if one != chosen[i]), len(guess))
            if true < len(guess):
                cache.crop(true - len(guess))  # negative: so many tokens off the end
            length = MOST if guess and true == len(guess) else FIRST
            seen += guess[:true]
            for one in (token, *guess[:true]):
                yield one
                if stop():
                    return
            written += 1 + true
            logits = after[true]

    def _prefill(self, prompt: list[int]) -> torch.Tensor:
        """Logits after `prompt`, reading only what the last prompt did not have."""
        same = next((i for i, (a, b) in enumerate(zip(prompt, self._read, strict=False)) if a != b), None)
        keep = min(len(self._read), len(prompt) - 1) if same is None else min(same, len(prompt) - 1)
        if keep < len(self._read):
            self._cache.crop(keep - len(self._read))  # negative: so many tokens off the end
            self._read = self._read[:keep]  # true even if the next line fails
        logits = self._forward(self.reader, prompt[keep:], self._cache)[-1]
        self._read = list(prompt)
        return logits

    def _see(self, prompt: list[int], soft: tuple[int, torch.Tensor], cache: DynamicCache) -> torch.Tensor:
        """Logits after a prompt with soft tokens; nothing of it is kept for the next one."""
        ids = torch.tensor([prompt], device=self.reader.device)
        words = self.reader.get_input_embeddings()(ids)
        words = words.masked_scatter((ids == soft[0])[..., None], soft[1].to(words))
        seen = self.reader(inputs_embeds=words, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return seen.logits[0, -1].float()

    def _forward(self, model: Any, tokens: list[int], cache: DynamicCache, keep: int = 1) -> torch.Tensor:
        """(keep, vocabulary) logits of the last of `tokens`; the cache takes the model's precision."""
        layers: Any = cache.layers
        for layer in layers:
            if _plain(layer) and layer.keys is not None and layer.keys.dtype != model.dtype:
                layer.keys, layer.values = layer.keys.to(model.dtype), layer.values.to(model.dtype)
        ids = torch.tensor([tokens], device=model.device)
        return model(ids, past_key_values=cache, use_cache=True, logits_to_keep=keep).logits[0].float()


def _plain(layer: Any) -> bool:
    """Whether keys and values of every token are kept: no sliding window, no recurrence."""
    return type(layer) is DynamicLayer


def _continued(seen: list[int], length: int, eos: set[int]) -> list[int]:
    """What followed the last tokens of `seen` where they stood before: the longest likeness, the latest place."""
    for alike in ALIKE if length > 0 else ():
        last = seen[-alike:]
        for start in range(len(seen) - alike - 1, -1, -1):
            if seen[start : start + alike] == last:
                guess = seen[start + alike : start + alike + length]
                return guess[: next((i for i, token in enumerate(guess) if token in eos), len(guess))]
    return []


def _allowed(logits: torch.Tensor, matcher) -> torch.Tensor:
    """Logits with what the grammar forbids at -inf."""
    if matcher is None:
        return logits
    bits = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)  # (vocabulary / 8,)
    mask = (bits[:, None] >> torch.arange(8)).bitwise_and(1).flatten()[: len(logits)].bool()
    mask = torch.nn.functional.pad(mask, (0, len(logits) - len(mask)))
    return logits.masked_fill(~mask.to(logits.device), -torch.inf)


def _halved(model: Any) -> Any:
    """A copy in bfloat16: each weight is halved as it is copied, since two whole copies would cost a second."""
    weights = {id(p): torch.nn.Parameter(p.detach().bfloat16(), requires_grad=False) for p in model.parameters()}
    return copy.deepcopy(model, weights)


def _cast(cache: Any, dtype: torch.dtype) -> DynamicCache:
    """A copy of the keys and values in `dtype`, so that writing leaves the prompt's own alone."""
    return DynamicCache(
        [(layer.keys.to(dtype, copy=True), layer.values.to(dtype, copy=True)) for layer in cache.layers]
    )
