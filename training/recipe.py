"""What the recipes share: a state that survives being stopped at any moment, and errors in one line.

recipe.save(state, file); recipe.load(file)       of tensors and plain values
if __name__ == "__main__":
    recipe.run(main)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tools.errors import EinthovenError


def save(state: Any, file: Path) -> None:
    """Written beside and renamed: whoever stops amid it finds the state before."""
    beside = file.with_name(f"{file.name}.partial")
    torch.save(state, beside)
    beside.replace(file)


def load(file: Path) -> Any:
    """On the CPU, wherever it was made; nothing but tensors and plain values is opened."""
    return torch.load(file, map_location="cpu", weights_only=True)


def run(main: Callable[[], int | None]) -> None:
    """`main` as a program: what a person can mend is one line and an exit status."""
    try:
        sys.exit(main())
    except EinthovenError as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
