"""The card that lies beside every model: what it was made from, how good it is, where it ends."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from encoders.weights import sha256

REQUIRED = ("name", "what", "data", "split", "command", "input", "figures", "limits")


def write_card(weights: Path, card: dict[str, Any]) -> Path:
    """Write `card` beside `weights` with the file's hash and the commit it was made on."""
    missing = [key for key in REQUIRED if key not in card]
    if missing:
        raise ValueError(f"the card of {weights.name} lacks {', '.join(missing)}")
    file = weights.with_suffix(".json")
    card = {**card, "commit": commit(), "sha256": sha256(weights)}
    file.write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    return file


def commit() -> str | None:
    """The commit of the working tree, if it is one."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    return done.stdout.strip() or None
