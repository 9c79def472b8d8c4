"""One conversation: its recordings, its memory, its events. The page and the command line both hold a `Session`.

    session = Session(llm)                      # or Session(llm, "monday") to go on where it stopped
    session.add("/path/of/file.dcm")            # -> ["ecg-1"]
    for event in session.ask("what is the QTc?"): ...

A session is a folder of its own under the user's data folder; no session ever reads another's.
"""

from __future__ import annotations

import re
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent import prompts
from agent.graph import build, keep
from tools import recording as recordings
from tools.documents import data_folder
from tools.errors import UsageError
from tools.recording import Recording

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

# what `ask` yields, in order of time:
#   {"kind": "tool", "name", "arguments"}                        a tool starts
#   {"kind": "result", "name", "arguments", "result", "seconds"} it is done
#   {"kind": "word", "text"}                                     a piece of the answer
#   {"kind": "drop"}                                             forget the pieces so far: they did not hold
#   {"kind": "answer", "answer", "written_by", "tools", "citations", "files", "session"}   the end of the turn
Event = dict[str, Any]


class Session:
    def __init__(self, llm: Any, name: str | None = None):
        self.name = name or secrets.token_hex(8)
        if not NAME.fullmatch(self.name):
            raise UsageError(f"session {self.name!r}: use letters, digits, - and _ (64 at most)")
        self.folder = data_folder() / "sessions" / self.name
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot be made ({error.strerror}); EINTHOVEN_DATA_FOLDER moves it"
            ) from None
        self._stop = False
        self._control: tuple[str, ...] = getattr(llm, "control", ())
        self._database = sqlite3.connect(self.folder / "memory.sqlite", check_same_thread=False)
        from langgraph.checkpoint.sqlite import SqliteSaver

        self._graph = build(llm, SqliteSaver(self._database), lambda: self._stop)
        self._config = {"configurable": {"thread_id": self.name}}
        try:
            kept = self._graph.get_state(self._config).values
        except sqlite3.DatabaseError as error:
            raise UsageError(f"{self.folder} is damaged ({error}): begin another session, or delete it") from None
        self.recordings: dict[str, dict[str, str]] = kept.get("recordings", {})
        self.turns: list[dict[str, Any]] = kept.get("turns", [])

    def add(self, path: str | Path, fs_hz: float | None = None, unit: str | None = None) -> list[str]:
        """Read a file into the session; the ids of the recordings it held."""
        return [self.keep(one) for one in recordings.read(path, fs_hz=fs_hz, unit=unit, kind="all")]

    def keep(self, recording: Recording) -> str:
        """Keep a recording under the next free id of its kind."""
        name, self.recordings = keep(recording, self.folder, self.recordings)
        return name

    def get(self, name: str) -> Recording:
        return recordings.read(self.folder / self.recordings[name]["file"])[0]

    def ask(self, question: str) -> Iterator[Event]:
        """One turn, as events; the last is the answer."""
        self._stop = False
        heard, notes = prompts.plain(question, self._control)
        state = {
            "folder": str(self.folder), "recordings": self.recordings, "turns": self.turns,
            "question": heard, "notes": notes, "steps": 0, "calls": [], "results": [],
        }  # fmt: skip
        stream = self._graph.stream(state, self._config, stream_mode="custom", durability="exit")
        try:
            for event in stream:
                if event["kind"] == "kept":  # a tool made a recording: whoever hears of its result can open it
                    self.recordings = {**self.recordings, **event["recordings"]}  # beside what was uploaded meanwhile
                else:
                    yield event
        except GeneratorExit:  # nobody listens any more: the graph, when it is closed, waits for the step it is in
            self.stop()
            raise
        kept = self._graph.get_state(self._config).values
        self.turns = kept["turns"]
        yield {"kind": "answer", **kept["answer"], "session": self.name}

    def stop(self) -> None:
        """End the turn in progress at the next word or tool."""
        self._stop = True

    def close(self) -> None:
        self._database.close()
