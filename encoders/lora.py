"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685) merged into a model: W + B A alpha / r.

    adapted(model, Path("encoders/weights/tool_use"))

peft trains them; to open one it first wraps every layer, which alone took half of the program's start.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def adapted(model: Model, folder: Path) -> Model:
    """The model itself with the adapter of a folder, as peft saves it, merged in."""
    config = json.loads((folder / "adapter_config.json").read_text())
    return merge(model, load_file(folder / "adapter_model.safetensors"), config["lora_alpha"] / config["r"])


@torch.no_grad()
def merge(model: Model, learnt: dict[str, Tensor], scale: float) -> Model:
    """The model itself, each adapted layer's weight (out, in) changed in place.

    `learnt` holds A (r, in) and B (out, r) of each under peft's names; `scale` is alpha / r.

    Raises
    ------
    ValueError : for a tensor that is no half of a pair, or of a layer that the model lacks.
    """
    left = {name.split("base_model.model.")[-1].replace(".default.", "."): tensor for name, tensor in learnt.items()}
    for name in [name for name in left if name.endswith(DOWN)]:
        layer = name.removesuffix(DOWN)
        down, up = left.pop(name), left.pop(layer + UP, None)
        try:
            weight = model.get_parameter(f"{layer}.weight")
        except AttributeError:
            raise ValueError(f"the adapter is not of this model, which has no layer {layer}") from None
        if up is None or (up.shape[0], down.shape[1]) != weight.shape:
            raise ValueError(f"the adapter does not fit layer {layer} of shape {tuple(weight.shape)}")
        weight.addmm_(up.to(weight), down.to(weight), alpha=scale)
    if left:
        raise ValueError(f"the adapter holds {next(iter(left))}, which is no part of a LoRA pair")
    return model
