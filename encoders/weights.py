"""The models that lie on this machine: where they are, whether they are whole, what their cards say.

`encoders/weights/NAME.safetensors` with its card `NAME.json` beside it (an adapter is a folder of that form).
A card says data and licence, split, command and commit, input, figures with intervals, sha256 and limits.
The default language model is not shipped: it is made once from a package that carries it (agent/smollm2.py)
and kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

WEIGHTS = Path(__file__).parent / "weights"


class MissingModel(FileNotFoundError):
    """A model that is not on this machine; `str(error)` says in one line what to do."""


def cache_folder() -> Path:
    """Where models that are made or fetched once are kept; EINTHOVEN_CACHE moves it."""
    return Path(os.environ.get("EINTHOVEN_CACHE") or user_cache_dir("einthoven"))


def cards() -> dict[str, dict[str, Any]]:
    """Card of every shipped model, by name."""
    found = {}
    for file in sorted(WEIGHTS.rglob("*.safetensors")):
        name = file.parent.name if file.parent != WEIGHTS else file.stem
        card = json.loads(file.with_suffix(".json").read_text())
        found[name] = {**card, "file": str(file), "bytes": file.stat().st_size}
    return found


def verify(card: dict[str, Any]) -> bool:
    """Whether a shipped file still is what its card was written for."""
    return sha256(Path(card["file"])) == card["sha256"]


def stored(file: Path, recipe: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config in a file's header, and its tensors.

    Raises
    ------
    MissingModel : where the file is not there; `recipe` makes it.
    """
    from safetensors import safe_open

    if not file.exists():
        raise MissingModel(f"{file.name} is not there; make it: python -m training.{recipe} --data DIR --out DIR")
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  it is no dict
        return json.loads(opened.metadata()["config"]), tensors


def network(file: Path, recipe: str, build: Callable[[dict[str, Any]], Any]) -> tuple[Any, dict[str, Any]]:
    """The network that `build` makes of the sizes in a file's header, with its weights in float32, and the header.

    Raises
    ------
    MissingModel : where the file is not there; `recipe` makes it.
    """
    config, tensors = stored(file, recipe)
    net = build({key: tuple(size) if isinstance(size, list) else size for key, size in config["shape"].items()})
    net.load_state_dict({name: value.float() for name, value in tensors.items()})
    return net.eval(), config


def sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
