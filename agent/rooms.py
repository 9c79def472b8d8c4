"""What one browser window of the chat page has: its session, chat, paper and downloads. No window sees another's.

A `Room` is empty until it is used. Uploads are moved out of the web server's reach as they arrive; downloads lie
under `CACHE`, the only folder that is served, at names that nobody can guess. `close` leaves nothing behind.

    room = Room(Model(llm))
    room.take(uploads)                    # -> what was wrong with them, a line each
    for _ in room.answer("what is the QTc?"): show(room.chat)
    room.keep("PDF")                      # -> a file to download
"""

from __future__ import annotations

import atexit
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agent import citations
from agent.page_parts import (
    Message,
    follow,
    gather,
    kept_html,
    label,
    many_leads,
    paper_html,
    raw,
    waiting,
    waterfalls,
)
from agent.session import Session
from tools import recording as recordings
from tools.errors import EinthovenError, NeedsFields, UsageError
from tools.paper_rows import Marks
from tools.recording import Recording
from tools.registry import find

CACHE = Path(tempfile.mkdtemp(prefix="einthoven-"))
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
ROOMS: weakref.WeakSet[Room] = weakref.WeakSet()  # those in use, to be emptied when the page stops


class Model:
    """The language model, shared by all rooms; it loads while the page is already open, and the first use waits."""

    def __init__(self, llm: Any):
        self.loading: Future[Any] = Future()
        threading.Thread(target=self._load, args=(llm,), daemon=True).start()

    def _load(self, llm: Any) -> None:
        try:
            warm_up()
            if llm is None or isinstance(llm, str):
                from agent.llm import load

                self.loading.set_result(load(llm))
            else:
                self.loading.set_result(llm() if callable(llm) else llm)
        except BaseException as error:  # it is raised where the model is first needed
            self.loading.set_exception(error)
            return
        find("measure_ecg").run(recordings.read(sample())[0], {})  # its imports too, while nobody waits

    @property
    def many_steps(self) -> bool:
        return self.loading.result().many_steps

    # Methods rather than __getattr__: LangGraph looks them up when a session opens, which must not wait.
    def choose(self, *arguments: Any) -> Any:
        return self.loading.result().choose(*arguments)

    def write(self, *arguments: Any) -> Any:
        return self.loading.result().write(*arguments)

    def __deepcopy__(self, memo: Any) -> Model:
        return self


def sample() -> Path:
    """A real 12-lead ECG, which pydicom's wheel carries."""
    from pydicom.examples import get_path

    return Path(get_path("waveform"))


def warm_up() -> None:
    """Import what the first recording and the first question need, so that neither waits for it."""
    import langgraph.checkpoint.sqlite  # noqa: F401

    paper_html(recordings.read(sample())[0], None, None, 0.0)


@dataclass(eq=False)
class Room:
    model: Model
    session: Session | None = None
    chat: list[Message] = field(default_factory=list)
    question: str = ""  # being answered
    pending: list[Path] = field(default_factory=list)  # files that wait for their rate and unit
    shown: str = ""  # id of the recording on the paper
    layout: str = "3x4"
    start_s: float = 0.0
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)  # id -> result of measure_ecg
    bands: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)  # id -> lead -> half of the band, mV
    figures: dict[str, str] = field(default_factory=dict)  # id of what is no ECG -> the drawing of its last result
    labels: dict[str, str] = field(default_factory=dict)
    served: Path | None = None  # its part of CACHE

    def open(self) -> Session:
        if self.session is None:
            self.session = Session(self.model)
            ROOMS.add(self)
        return self.session

    def close(self) -> None:
        if self.session is not None:
            self.session.stop()
            self.session.close()
            shutil.rmtree(self.session.folder, ignore_errors=True)
            self.session = None
        if self.served is not None:
            shutil.rmtree(self.served, ignore_errors=True)

    def take(self, uploads: Sequence[str | Path]) -> list[str]:
        """Read files that came together; what was wrong with them, a line each."""
        return self._read(gather(uploads, self.open().folder / f"inbox-{secrets.token_hex(4)}"))

    def take_sample(self) -> list[str]:
        inbox = self.open().folder / f"inbox-{secrets.token_hex(4)}"
        inbox.mkdir()
        return self._read([Path(shutil.copy(sample(), inbox))])

    def take_pending(self, fs_hz: float | None, unit: str | None) -> list[str]:
        """Read again what did not say its rate or unit."""
        waiting, self.pending = self.pending, []
        return self._read(waiting, fs_hz, unit)

    def _read(self, files: list[Path], fs_hz: float | None = None, unit: str | None = None) -> list[str]:
        session, problems = self.open(), []
        for file in files:
            try:
                self.show(session.add(file, fs_hz, unit)[0])
            except NeedsFields:
                problems.append("This file does not say its sampling rate or its unit: give them here.")
                self.pending.append(file)
            except EinthovenError as error:
                problems.append(str(error))
                if isinstance(error, UsageError):  # a field that cannot be: ask again
                    self.pending.append(file)
            except Exception as error:  # a defect of a reader must not end the conversation
                problems.append(f"a file could not be read ({type(error).__name__}); please report it")
        for folder in {file.parent for file in files} - {file.parent for file in self.pending}:
            shutil.rmtree(folder, ignore_errors=True)
        return problems

    def show(self, name: str, start_s: float = 0.0) -> None:
        self.shown, self.start_s = name, start_s

    def label(self, name: str) -> str:
        """How the selector calls a recording; it is opened for that once."""
        if name not in self.labels:
            self.labels[name] = label(name, self.open().get(name))
        return self.labels[name]

    def begin(self, question: str) -> None:
        """Put a question into the chat, with a step that turns until the first word."""
        self.open()
        self.question = question
        title = "Thinking" if self.model.loading.done() else "Loading the language model (once)"
        self.chat = [*self.chat, {"role": "user", "content": question}, waiting(title)]

    def answer(self) -> Iterator[bool]:
        """Answer the question in the chat, step by step; True where the paper has changed too."""
        session = self.open()
        try:
            for event in session.ask(self.question):
                self.chat = follow(self.chat, event)
                yield self._heed(event)
                if event["kind"] == "answer":
                    sources = citations.html(event["citations"], event["tools"])
                    told = [raw(html) for html in (*waterfalls(event["tools"]), sources) if html]
                    self.chat = [*self.chat, *told, *self._attachments(event["files"])]
        except EinthovenError as error:
            self.chat = follow(self.chat, {"kind": "answer", "answer": str(error)})
        except Exception as error:  # a defect, in one line
            line = f"That went wrong ({type(error).__name__}); please report it."
            self.chat = follow(self.chat, {"kind": "answer", "answer": line})
        finally:
            self.question = ""
        yield False

    def _heed(self, event: dict[str, Any]) -> bool:
        """Whether an event changes the paper: a measurement shows where it was made, a recording made is shown, a plot
        is laid out as it was asked for, and what is no ECG shows the drawing of its last result."""
        if event["kind"] != "result":
            return False
        if (wanted := event["arguments"].get("layout")) and "error" not in event["result"]:
            self.layout = wanted
            if (name := event["arguments"]["recording"]) != self.shown:
                self.show(name)
            return True
        if made := event["result"].get("recordings"):
            rebuilt = event["result"].get("uncertainty_mv") or {}
            self.bands[made[0]] = {lead: np.array(band, float) for lead, band in rebuilt.items()}
            self.show(made[0])
            return True
        if self._keeps_figure(event):
            return True
        if not event["result"].get("marks_s"):
            return False
        name = event["arguments"]["recording"]
        self.measured[name] = event["result"]
        self.show(name, float(int(event["result"].get("window_s", [0.0])[0])))
        return True

    def _keeps_figure(self, event: dict[str, Any]) -> bool:
        name, figure = event["arguments"].get("recording"), Path(event["result"].get("figure") or "")
        if not name or name.startswith("ecg-") or figure.suffix != ".svg":
            return False
        self.figures[name] = figure.read_text(encoding="utf-8")
        self.show(name)
        return True

    def paper(self, recording: Recording) -> tuple[str, tuple[float, float], list[str]]:
        """What the paper shows; see `agent.page_parts.paper_html`."""
        if kept := self.figures.get(self.shown):
            return kept_html(kept), (0.0, recording.duration_s), []
        return paper_html(recording, self.layout, self.marks(), self.start_s, self.bands.get(self.shown))

    def marks(self) -> Marks:
        """Onsets and offsets measured in the recording on the paper, by name."""
        found = self.measured.get(self.shown, {}).get("marks_s", {})
        return {name: times or [] for name, times in found.items()}

    def _attachments(self, files: list[str]) -> list[Message]:
        """Figures that a tool wrote, to fetch from the chat; what an SVG would show is on the paper."""
        found = [Path(file) for file in files if Path(file).suffix in (".pdf", ".png") and Path(file).is_file()]
        copies = [shutil.copy(file, self._place(file.name)) for file in found]
        return [{"role": "assistant", "content": {"path": str(copy)}} for copy in copies]

    def keep(self, what: str) -> Path:
        """The recording on the paper as a file to download: "PDF", "PNG", "WFDB" (zipped) or "CSV"."""
        recording, place = self.open().get(self.shown), self._place(self.shown)
        if what == "CSV":
            return recordings.write(recording, place, "csv")
        if what == "WFDB":
            recordings.write(recording, place.parent / "wfdb" / self.shown, "wfdb")
            return Path(shutil.make_archive(str(place), "zip", place.parent / "wfdb"))
        arguments = {"format": what.lower(), "layout": self.layout if many_leads(recording) else None}
        figure = Path(find("plot_recording").run(recording, arguments, place.parent)["figure"])
        return figure.rename(place.with_suffix(figure.suffix))

    def _place(self, name: str) -> Path:
        """A path that this window alone may fetch."""
        self.served = self.served or CACHE / secrets.token_hex(16)
        folder = self.served / secrets.token_hex(4)
        folder.mkdir(parents=True, mode=0o700)
        return folder / name
