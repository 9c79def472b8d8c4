"""`einthoven call TOOL [FILE ...] [--ARG VALUE ...] [--out DIR] [--json]`: one tool, no language model.

One recording: its result as sentences, or as JSON with --json; what goes wrong is one line and an exit status.
Several: one JSON object a line, in order; one that fails gives {"error": …} on its line and the rest go on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from agent.__main__ import Parser, file_arguments, opened
from tools.errors import EinthovenError, UnreadableFile, UsageError
from tools.recording import Recording
from tools.registry import TOOLS, Tool, files, find

PYTHON = {"integer": int, "number": float}


def main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print("usage: einthoven call TOOL [FILE ...] [--ARG VALUE ...] [--out DIR] [--json]")
        print("tools:", ", ".join(TOOLS))
        return 0
    tool = find(words[0])
    args = parser(tool).parse_intermixed_args(words[1:])
    given = {name: getattr(args, name) for name in tool.schema()["properties"] if getattr(args, name) is not None}
    if len(args.files) <= 1:
        return alone(tool, args, given)
    failed = 0
    for number, file in enumerate(args.files, 1):
        print(f"{number}/{len(args.files)} {file}", file=sys.stderr)
        for result in each(tool, file, args, given):
            failed += "error" in result
            print(json.dumps(result, ensure_ascii=False), flush=True)
    if failed:
        print(f"einthoven: {failed} of {len(args.files)} files failed; their lines say why", file=sys.stderr)
    return UnreadableFile.exit_code if failed >= len(args.files) else 0


def parser(tool: Tool) -> Parser:
    made = Parser(prog=f"einthoven call {tool.name}", description=tool.purpose)
    made.add_argument("files", nargs="*", type=Path, metavar="FILE")
    for name, field in tool.schema()["properties"].items():
        made.add_argument(
            "--" + name.replace("_", "-"),
            dest=name,
            type=PYTHON.get(field.get("type"), str),
            choices=field.get("enum"),
            help=field.get("description"),
        )
    file_arguments(made)
    made.add_argument("--out", type=Path, help="folder for figures and recordings; plots go here by default")
    made.add_argument("--json", action="store_true")
    return made


def alone(tool: Tool, args: Any, given: dict[str, Any]) -> int:
    """One file or none: errors end the command."""
    recordings: list[Recording | None] = []
    if args.files:
        recordings += opened(args.files[0], args, tool.reads)
    _make(args.out)
    for recording in recordings or [None]:
        result = tool.run(recording, given, args.out)
        if args.json or len(recordings) > 1:
            print(json.dumps(result, ensure_ascii=False))
        else:
            print("\n".join([*tool.sentences(result), *files(result)]))
    return 0


def each(tool: Tool, file: Path, args: Any, given: dict[str, Any]) -> list[dict[str, Any]]:
    """The results for the recordings of one file, or its error."""
    try:
        _make(args.out)
        return [tool.run(recording, given, args.out) for recording in opened(file, args, tool.reads)]
    except EinthovenError as error:
        return [{"error": str(error)}]
    except Exception as error:  # a defect must not end the other files; its kind helps to report it
        return [{"error": f"{tool.name} failed on this file ({type(error).__name__}); please report it"}]


def _make(folder: Path | None) -> None:
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {folder}: cannot be made a folder ({error.strerror}); name another") from None
