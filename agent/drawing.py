"""A request to draw, as the language model hears it: generation tokens -> the condition of the flow.

    Drawing(model, tokenizer).vectors("LBBB with AF", ("CLBBB", "AFIB"))   ->  (2, 384), or None

The words are still read and checked by tools/drawing_words.py; where the language model hears other statements than
those, None says so, and the sentence encoder's vectors of what was read are taken.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from agent.prompts import Message
from encoders.drawing import SLOTS, Drawer, opened
from tools.errors import UsageError

# Reserved words of the default model's vocabulary that no chat uses, one a slot.
WORDS = ("<repo_name>", "<reponame>", "<file_sep>", "<filename>", "<gh_stars>", "<issue_start>", "<issue_comment>",
         "<issue_closed>")  # fmt: skip
assert len(WORDS) == SLOTS


def messages(prompt: str) -> list[Message]:
    return [{"role": "system", "content": "Draw an ECG."}, {"role": "user", "content": prompt}]


def ids(tokenizer: Any, prompt: str) -> list[int]:
    """Tokens of a request and of the model's turn, which is the generation tokens.

    Raises
    ------
    UsageError : where the vocabulary has no such words.
    """
    if lacking := set(WORDS) - set(tokenizer.get_vocab()):
        raise UsageError(f"this model's vocabulary lacks reserved words to draw with: {', '.join(sorted(lacking))}")
    asked = tokenizer.apply_chat_template(messages(prompt), add_generation_prompt=True, return_dict=True)["input_ids"]
    return [*asked, *tokenizer.convert_tokens_to_ids(list(WORDS))]


def lower_half(model: Any) -> Any:
    """The lower half of a causal language model (Llama's family): tokens -> states half way up; weights are shared."""
    return lower(model, len(model.model.layers) // 2)


def lower(model: Any, layers: int) -> Any:
    """Its first layers alone, without the norm at the end."""
    part = copy.copy(model.model)
    part._modules = dict(model.model._modules)
    part.layers = model.model.layers[:layers]
    part.norm = torch.nn.Identity()
    return part


@torch.no_grad()
def hidden(half: Any, rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T, hidden) states of rows padded on the left, and (B, T) which are there."""
    longest = max(map(len, rows))
    padded = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    there = torch.tensor([[False] * (longest - len(row)) + [True] * len(row) for row in rows])
    return half(input_ids=padded, attention_mask=there.long(), use_cache=False).last_hidden_state, there


class Drawing:
    def __init__(self, model: Any, tokenizer: Any, codes: Sequence[str], drawer: Drawer | None = None):
        from encoders.sentence import embed
        from tools.drawing_words import phrases

        self.half, self.tokenizer, self.codes = lower_half(model), tokenizer, tuple(codes)
        self.drawer = drawer or opened()
        self.table = embed([phrases(code)[0] for code in self.codes])  # (codes, 384)

    def heard(self, prompt: str) -> tuple[np.ndarray, list[str]]:
        """(n, 384) vectors that the model asks for, and the statement to which each is nearest."""
        with torch.no_grad():
            vectors, present = self.drawer(*hidden(self.half, [ids(self.tokenizer, prompt)]))
        chosen = vectors[0][present[0] > 0].numpy()
        return chosen, [self.codes[int(i)] for i in (chosen @ self.table.T).argmax(axis=1)] if len(chosen) else []

    def vectors(self, prompt: str, statements: Sequence[str]) -> np.ndarray | None:
        """(statements, 384) in their order, or None where the model hears others."""
        made, codes = self.heard(prompt)
        if sorted(codes) != sorted(statements):
            return None
        return made[[codes.index(code) for code in statements]] if len(codes) else None
