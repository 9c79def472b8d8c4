"""The command line: `einthoven` (same as `python -m agent`).

Each command imports what it needs when it runs, so that `--help` answers at once. What a person did wrong, or
a file that cannot be read, is one line on standard error and an exit status: 2 wrong usage, 3 unreadable file,
4 missing weights.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tools.errors import EinthovenError, MissingWeights, UnreadableFile, UsageError

if TYPE_CHECKING:
    from tools.recording import Recording


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see: {self.prog} --help")


def parser() -> Parser:
    top = Parser(prog="einthoven", description="An agent for electrocardiograms that runs offline. Research use only.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)

    chat = commands.add_parser("chat", help="open the chat page")
    chat.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1: this computer alone")
    chat.add_argument("--port", type=int, default=7860)
    chat.add_argument("--llm", help=LLM_HELP)

    ask_arguments(commands.add_parser("ask", help="one question about recordings, without a page"))

    tools = commands.add_parser("tools", help="list the tools")
    tools.add_argument("--json", action="store_true", help="with JSON schemas of their arguments")

    call = commands.add_parser("call", help="run one tool, without a language model", add_help=False)
    call.add_argument("rest", nargs=argparse.REMAINDER)

    index = commands.add_parser("index", help="let the search find your own documents: Markdown, text, HTML, PDF, DOCX")
    index.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="a folder with all below it, or a file")
    index.add_argument("--list", action="store_true", help="what is kept")
    index.add_argument("--forget", metavar="NAME", help="drop what is kept of a file")

    commands.add_parser("mcp", help="serve the tools over stdio (Model Context Protocol)")

    weights = commands.add_parser("weights", help="models on this machine: list, verify, pull NAME")
    weights.add_argument("action", choices=["list", "verify", "pull"])
    weights.add_argument("name", nargs="?", help="of pull: smollm2, ecgfounder-12, ecgfounder-1")
    weights.add_argument("--file", type=Path, metavar="CHECKPOINT", help="of pull: a published file you already have")
    return top


LLM_HELP = "a Hugging Face id or folder, or http://HOST:PORT/v1#MODEL; default: SmolLM2-135M with the project's adapter"


def ask_arguments(of: Parser) -> Parser:
    of.add_argument("question")
    of.add_argument("files", nargs="*", type=Path, metavar="FILE")
    of.add_argument("--json", action="store_true", help="answer, tools, citations, files and session as JSON")
    of.add_argument("--session", help="go on with a conversation of that name")
    of.add_argument("--llm", help=LLM_HELP)
    file_arguments(of)
    return of


def file_arguments(of: argparse.ArgumentParser) -> None:
    of.add_argument("--fs-hz", type=float, help="samples a second, for files that do not say")
    of.add_argument("--unit", help="mV, uV, …, for files that do not say")


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without a dash shows "?"
    try:
        if words[:1] == ["call"]:  # the arguments depend on the tool
            from agent import call

            return call.main(words[1:])
        if words[:1] == ["ask"]:  # options may stand between the question and the files
            return ask(ask_arguments(Parser(prog="einthoven ask")).parse_intermixed_args(words[1:]))
        args = parser().parse_args(words)
        return COMMANDS[args.command](args)
    except EinthovenError as error:
        print(f"einthoven: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of a pipe left
        return 0


def opened(file: Path, args: argparse.Namespace, kind: str | None) -> list[Recording]:
    """The recordings of a file that a person named; what is wrong with it is said with the name they typed."""
    from tools.recording import read
    from tools.safety import NAMELESS, shown

    try:
        return read(file, fs_hz=args.fs_hz, unit=args.unit, kind=kind)
    except UnreadableFile as error:
        if shown(file) == NAMELESS:
            error.args = (str(error).replace(NAMELESS, f'"{file}"', 1),)
        raise


def chat(args: argparse.Namespace) -> int:
    from agent import page

    page.run(args.llm, args.host, args.port)
    return 0


def ask(args: argparse.Namespace) -> int:
    from agent.session import Session

    found = [one for file in args.files for one in opened(file, args, "all")]
    from agent import llm

    session = Session(llm.load(args.llm), args.session)
    for recording in found:
        session.keep(recording)
    end: dict[str, Any] = {}
    for event in session.ask(args.question):
        if event["kind"] == "tool" and not args.json:
            of = event["arguments"].get("recording", "")
            print(f"[{event['name']} {of}]".replace(" ]", "]"), file=sys.stderr)
        end = event
    session.close()
    end.pop("kind")
    print(json.dumps(end, ensure_ascii=False) if args.json else end["answer"])
    if not args.json:
        for number, one in enumerate(end["citations"], 1):
            print(f"[{number}] {one['source']}")
        for file in end["files"]:
            print(file)
        print(f"[written by: {end['written_by']}; go on with --session {end['session']}]", file=sys.stderr)
    return 0


def tools(args: argparse.Namespace) -> int:
    from tools.registry import TOOLS

    if args.json:
        listed = [{"name": one.name, "purpose": one.purpose, "arguments": one.schema()} for one in TOOLS.values()]
        print(json.dumps(listed, indent=1))
        return 0
    for one in TOOLS.values():
        options = " ".join(f"[--{name.replace('_', '-')}]" for name in one.schema()["properties"])
        print(f"{one.name}  {options}".rstrip(), f"    {one.purpose}", sep="\n")
    return 0


def index(args: argparse.Namespace) -> int:
    from agent import index

    return index.main(args.folder, args.list, args.forget)


def mcp(_: argparse.Namespace) -> int:
    from agent import mcp_server

    mcp_server.run()
    return 0


def weights(args: argparse.Namespace) -> int:
    from encoders import weights as shipped

    if args.file and (args.action != "pull" or args.name == "smollm2"):
        raise UsageError("--file goes with: einthoven weights pull ecgfounder-12 or ecgfounder-1")
    if args.action == "pull" and args.name == "smollm2":
        from agent import smollm2

        print(smollm2.convert())
        return 0
    from encoders import founder

    if args.action == "pull":
        if args.name not in founder.MODELS:
            there_is = ", ".join(["smollm2", *founder.MODELS])
            raise UsageError(f"nothing to pull under the name {args.name!r}; there is: {there_is}")
        pull_founder(args.name, args.file)
        return 0
    wrong = 0
    for name, card in shipped.cards().items():
        state = ""
        if args.action == "verify":
            whole = shipped.verify(card)
            wrong += not whole
            state = "  whole" if whole else "  DAMAGED: its sha256 is not the card's"
        print(f"{name}  {card['bytes'] / 1e6:.1f} MB  {card['what']}{state}")
    from agent import smollm2

    there = "converted" if smollm2.is_there() else "not there; run: einthoven weights pull smollm2"
    print(f"smollm2  default language model, {there}")
    for name in founder.MODELS:
        there = "converted" if founder.where(name).exists() else f"not there; run: einthoven weights pull {name}"
        print(f"{name}  published foundation model of {len(founder.labels())} labels, {there}")
    return 4 if wrong else 0


def pull_founder(name: str, file: Path | None) -> None:
    """Take a published ECGFounder from `file` or from the hub, unless it is here already."""
    from encoders import founder
    from encoders.weights import MissingModel

    if file is None and founder.where(name).exists():
        print(founder.where(name))
        return
    try:
        made = founder.convert(file, name) if file else founder.fetch(name)
    except MissingModel as error:
        raise MissingWeights(str(error)) from None
    except founder.BadCheckpoint as error:
        raise UnreadableFile(str(error)) from None
    print(f"{made.file}  from {made.origin} (sha256 {made.sha256})")


COMMANDS = {"chat": chat, "ask": ask, "tools": tools, "index": index, "mcp": mcp, "weights": weights}

if __name__ == "__main__":
    sys.exit(main())
