"""The published figures, regenerated: `python -m training.evaluate WHAT [--data DIR] [--weights F] [--json]`.

WHAT names a module `training/evaluate_WHAT.py` with `add_arguments(parser)`, `run(args) -> dict` of plain
figures (each with its bootstrap 95 % interval and a baseline of the same run) and `table(figures) -> str`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from tools.errors import EinthovenError


def subjects() -> list[str]:
    return sorted(file.stem.removeprefix("evaluate_") for file in Path(__file__).parent.glob("evaluate_*.py"))


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__.split("\n")[0])
    if not words or words[0] not in subjects():
        parser.add_argument("what", choices=subjects())
        parser.parse_args(words)
    module = importlib.import_module(f"training.evaluate_{words[0]}")
    parser = argparse.ArgumentParser(
        prog=f"python -m training.evaluate {words[0]}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words[1:])
    try:
        figures = module.run(args)
    except EinthovenError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(figures) if args.json else module.table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
