"""The chat page: a conversation beside the ECG paper, in a browser on this computer.

    einthoven chat                  # serves http://127.0.0.1:7860 until it is stopped
    run("smollm2")                  # the same from Python; a name, a loader, or a model itself
    blocks, url = serve(llm, "127.0.0.1", 7861)    # for tests: returns at once

Each browser window has a `Room` of its own (a `gr.State`): its session, its files, its chat. A closed window's room
is emptied an hour later, the others when the page stops. Uploads are moved out of Gradio's reach as they arrive;
downloads lie under names that nobody can guess. The language model loads while the page is already open.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.page_parts import Message, follow, footer, gather, label, many_leads, note, paper_html, waiting
from agent.session import Session
from tools import recording as recordings
from tools.errors import EinthovenError, NeedsFields, UsageError
from tools.paper_rows import Marks
from tools.registry import find

CACHE = Path(tempfile.mkdtemp(prefix="einthoven-"))  # the only folder that is served; it goes with the process
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
os.environ["GRADIO_TEMP_DIR"] = str(CACHE)  # Gradio reads both when it is imported
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr  # noqa: E402

SUGGESTIONS = (
    "What are the heart rate and the QTc?",
    "Is the rhythm regular?",
    "Is the signal good in all leads?",
    "Plot it as PDF",
)
LAYOUTS = [("3 × 4", "3x4"), ("6 × 2", "6x2"), ("12 × 1", "12x1")]
DOWNLOADS = ("PDF", "PNG", "WFDB", "CSV")
UNITS = ["mV", "uV", "V"]
WELCOME = """<div class="welcome"><svg viewBox="0 0 120 40" aria-hidden="true"><path d="M2 26h22c4 0 5-7 9-7s5 7 9 7h6l3 4
5-28 5 34 4-10h8c5 0 6-10 11-10s6 10 11 10h23" fill="none" stroke="currentColor" stroke-width="1.6"
stroke-linejoin="round" stroke-linecap="round"/></svg><h2>Drop an ECG anywhere on this page</h2><p>DICOM, WFDB, SCP-ECG,
HL7 aECG, GE, Philips, EDF, CSV, NPY, or a zip of them. A WFDB header and its signal file belong together.</p></div>"""
HINT = "Ask about heart rate, intervals, axes, rhythm or signal quality.\nEvery number comes from a measurement you can open."
DROP = """() => {
  const mark = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragover", (event) => { event.preventDefault(); mark(true); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(false); });
  addEventListener("drop", (event) => {
    event.preventDefault(); mark(false);
    const input = document.querySelector(".opener input[type=file], input.opener[type=file]");
    if (!input || !event.dataTransfer.files.length) return;
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
}"""
SAVE = """(file) => {
  if (!file) return;
  const link = document.createElement("a");
  link.href = file.url; link.download = file.orig_name; link.click();
}"""
THEME = "() => { document.body.classList.toggle('dark'); }"
ROOMS: weakref.WeakSet[Room]


class Model:
    """The language model, loading since the page opened; whoever uses it first waits."""

    def __init__(self, llm: Any):
        self.loading: Future[Any] = Future()
        threading.Thread(target=self._load, args=(llm,), daemon=True).start()

    def _load(self, llm: Any) -> None:
        try:
            if llm is None or isinstance(llm, str):
                from agent.llm import load

                self.loading.set_result(load(llm))
            else:
                self.loading.set_result(llm() if callable(llm) else llm)
        except BaseException as error:
            self.loading.set_exception(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loading.result(), name)


@dataclass(eq=False)
class Room:
    """What one browser window has; empty until it is used."""

    session: Session | None = None
    chat: list[Message] = field(default_factory=list)
    question: str = ""  # being answered
    pending: list[Path] = field(default_factory=list)  # files that wait for their rate and unit
    shown: str = ""  # id of the recording on the paper
    layout: str = "3x4"
    start_s: float = 0.0
    marks: dict[str, Marks] = field(default_factory=dict)
    served: Path | None = None

    def open(self, model: Model) -> Session:
        if self.session is None:
            self.session = Session(model)
            ROOMS.add(self)
        return self.session

    def download(self, name: str) -> Path:
        """A place for a file that this window may fetch."""
        self.served = self.served or CACHE / secrets.token_hex(16)
        folder = self.served / secrets.token_hex(4)
        folder.mkdir(parents=True, mode=0o700)
        return folder / name

    def close(self) -> None:
        """Nothing of the window stays."""
        if self.session is not None:
            self.session.stop()
            self.session.close()
            shutil.rmtree(self.session.folder, ignore_errors=True)
        if self.served is not None:
            shutil.rmtree(self.served, ignore_errors=True)


ROOMS = weakref.WeakSet()


def take(room: Room, files: list[Path], fs_hz: float | None = None, unit: str | None = None) -> list[str]:
    """Read files into the room; what was wrong with them, a line each. Files that need fields wait in `pending`."""
    assert room.session is not None
    problems = []
    room.pending = []
    for file in files:
        try:
            names = room.session.add(file, fs_hz, unit)
            room.shown, room.start_s = names[0], 0.0
        except NeedsFields as error:
            problems.append(str(error))
            room.pending.append(file)
        except EinthovenError as error:
            problems.append(str(error))
        except Exception as error:  # a defect of a reader must not end the conversation
            problems.append(f"a file could not be read ({type(error).__name__}); please report it")
    if not room.pending:
        for folder in {file.parent for file in files}:
            shutil.rmtree(folder, ignore_errors=True)
    return problems


def keep(room: Room, what: str) -> Path:
    """The recording on the paper as a file to download."""
    assert room.session is not None
    recording, name = room.session.get(room.shown), room.shown
    place = room.download(name)
    if what in ("PDF", "PNG"):
        layout = room.layout if many_leads(recording) else None
        made = find("plot_recording").run(recording, {"format": what.lower(), "layout": layout}, place.parent)
        return Path(made["figure"]).rename(place.with_suffix(f".{what.lower()}"))
    if what == "CSV":
        return recordings.write(recording, place, "csv")
    folder = place.parent / "wfdb"
    recordings.write(recording, folder / name, "wfdb")
    return Path(shutil.make_archive(str(place), "zip", folder))


def build(llm: Any) -> gr.Blocks:
    """The page for a language model: its name, a function that loads it, or the model itself."""
    model = Model(llm)
    with gr.Blocks(title="Einthoven", analytics_enabled=False, fill_width=True, delete_cache=(3600, 7200)) as blocks:
        room = gr.State(Room(), delete_callback=Room.close)
        with gr.Row(elem_id="top"):
            gr.HTML("<h1>Einthoven</h1>", elem_id="brand")
            theme = gr.Button("Light / dark", elem_id="theme", size="sm")
        with gr.Row(elem_id="room"):
            with gr.Column(scale=2, elem_id="left"):
                talk = gr.Chatbot(
                    elem_id="talk", show_label=False, placeholder=HINT, render_markdown=False, buttons=[],
                    feedback_options=None, latex_delimiters=[], allow_tags=False, height=None, layout="bubble",
                )  # fmt: skip
                with gr.Row(elem_id="chips", visible=False) as chips:
                    chip = [gr.Button(text, size="sm") for text in SUGGESTIONS]
                question = gr.Textbox(
                    elem_id="question", show_label=False, placeholder="Ask about the recording", submit_btn=True,
                    max_lines=6, max_length=4000, autofocus=True,
                )  # fmt: skip
            with gr.Column(scale=3, elem_id="right"):
                with gr.Column(elem_id="empty") as empty:
                    gr.HTML(WELCOME)
                    with gr.Row(elem_id="doors"):
                        door = gr.UploadButton("Open files", elem_classes="opener", file_count="multiple")
                        sample = gr.Button("Sample recording")
                with gr.Row(elem_id="tools", visible=False) as tools:
                    which = gr.Dropdown(elem_id="which", show_label=False, container=False, filterable=False, scale=3)
                    layout = gr.Radio(LAYOUTS, value="3x4", elem_id="layout", show_label=False, container=False)
                    more = gr.UploadButton("Add", elem_classes="opener", file_count="multiple", elem_id="more")
                remark = gr.HTML(elem_id="note")
                with gr.Row(elem_id="fields", visible=False) as fields:
                    rate = gr.Number(label="Samples a second (Hz)", minimum=0, value=None)
                    unit = gr.Dropdown(UNITS, value="mV", label="Unit of the values")
                    again = gr.Button("Read the file", variant="primary")
                paper = gr.HTML(elem_id="paper", visible=False)
                start = gr.Slider(0, 1, 0, step=1, label="From (s)", elem_id="start", visible=False)
                with gr.Row(elem_id="save", visible=False) as save:
                    gr.HTML("Download")
                    saves = [gr.Button(what, size="sm") for what in DOWNLOADS]
        gr.HTML(footer(llm), elem_id="end")
        saved = gr.DownloadButton(visible="hidden", elem_id="saved")
        view = [room, empty, tools, chips, save, which, layout, start, paper, remark, fields]
        unseen = tuple(gr.skip() for _ in view)

        def draw(room: Room, problems: list[str] | None = None) -> tuple[Any, ...]:
            """Updates for everything in `view`."""
            ask_fields = gr.update(visible=bool(room.pending))
            problem = note(problems or [], "error")
            if room.session is None or not room.session.recordings:
                gone = gr.update(visible=False)
                return (room, gr.update(visible=True), *[gone] * 4, gone, gone, gone, problem, ask_fields)
            recording = room.session.get(room.shown)
            said, page = list(recording.warnings), None
            try:
                drawing, page, left_out = paper_html(recording, room.layout, room.marks.get(room.shown), room.start_s)
                said += left_out
            except EinthovenError as error:
                drawing = note([str(error)], "error")
            choices = [(label(name, room.session.get(name)), name) for name in room.session.recordings]
            part_s = page.stop_s - page.start_s if page else recording.duration_s
            runs_on = page is not None and part_s < recording.duration_s - 1e-6
            last_s = max(recording.duration_s - 1, 1)
            here = gr.update(visible=True)
            return (
                room, gr.update(visible=False), here, here, here,
                gr.update(choices=choices, value=room.shown),
                gr.update(value=room.layout, visible=many_leads(recording)),
                gr.update(visible=runs_on or room.start_s > 0, maximum=last_s, value=room.start_s),
                gr.update(value=drawing, visible=True), problem + note(said), ask_fields,
            )  # fmt: skip

        def upload(room: Room, uploads: list[str] | None) -> tuple[Any, ...]:
            session = room.open(model)
            return draw(room, take(room, gather(uploads or [], session.folder / f"inbox-{secrets.token_hex(4)}")))

        def show_sample(room: Room) -> tuple[Any, ...]:
            from pydicom.examples import get_path

            inbox = room.open(model).folder / f"inbox-{secrets.token_hex(4)}"
            inbox.mkdir()
            return draw(room, take(room, [Path(shutil.copy(get_path("waveform"), inbox / "sample.dcm"))]))

        def read_again(room: Room, fs_hz: float | None, unit: str) -> tuple[Any, ...]:
            return draw(room, take(room, room.pending, fs_hz or None, unit))

        def choose(room: Room, name: str) -> tuple[Any, ...]:
            room.shown, room.start_s = name, 0.0
            return draw(room)

        def arrange(room: Room, layout: str) -> tuple[Any, ...]:
            room.layout = layout
            return draw(room)

        def turn(room: Room, start_s: float) -> tuple[Any, ...]:
            room.start_s = float(start_s)
            return draw(room)

        def begin(room: Room, text: str) -> tuple[Any, ...]:
            if room.question or not text.strip():
                return room, gr.skip(), gr.skip()
            room.open(model)
            room.question = text.strip()
            wait = waiting("Thinking" if model.loading.done() else "Loading the language model, a few seconds once")
            room.chat = [*room.chat, {"role": "user", "content": room.question}, wait]
            return room, room.chat, gr.update(value="", submit_btn=False, stop_btn=True)

        def answer(room: Room) -> Iterator[tuple[Any, ...]]:
            if not room.question or room.session is None:
                return
            try:
                for event in room.session.ask(room.question):
                    room.chat = follow(room.chat, event)
                    yield room.chat, *(draw(room) if measured(room, event) else unseen)
                    if event["kind"] == "answer":
                        room.chat = [*room.chat, *attachments(room, event["files"])]
            except Exception as error:
                known = isinstance(error, EinthovenError)
                line = str(error) if known else f"That went wrong ({type(error).__name__}); please report it."
                room.chat = follow(room.chat, {"kind": "answer", "answer": line})
            finally:
                room.question = ""
            yield room.chat, *unseen

        def save_as(what: str) -> Callable[[Room], tuple[Any, ...]]:
            def made(room: Room) -> tuple[Any, ...]:
                try:
                    return str(keep(room, what)), gr.skip()
                except EinthovenError as error:
                    return None, note([str(error)], "error")

            return made

        private: Any = {"api_visibility": "private"}
        drawn: Any = {"outputs": view, "show_progress_on": [paper, empty], **private}
        for opener in (door, more):
            opener.upload(upload, [room, opener], **drawn)
        sample.click(show_sample, room, **drawn)
        again.click(read_again, [room, rate, unit], **drawn)
        which.input(choose, [room, which], **drawn)
        layout.input(arrange, [room, layout], **drawn)
        start.release(turn, [room, start], **drawn)
        for trigger, text in [(question.submit, question), *((button.click, button) for button in chip)]:
            trigger(begin, [room, text], [room, talk, question], show_progress="hidden", **private).then(
                answer, room, [talk, *view], show_progress="hidden", concurrency_limit=1, concurrency_id="model",
                **private,
            ).then(lambda: gr.update(submit_btn=True, stop_btn=False), None, question, show_progress="hidden", **private)  # fmt: skip
        question.stop(lambda room: room.session and room.session.stop(), room, queue=False, **private)
        for button, what in zip(saves, DOWNLOADS, strict=True):
            button.click(save_as(what), room, [saved, remark], show_progress_on=button, **private).then(
                None, saved, js=SAVE, **private
            )
        theme.click(None, js=THEME, **private)
    return blocks


def measured(room: Room, event: dict[str, Any]) -> bool:
    """Whether an event brings marks for the paper; it then shows that recording, where it was measured."""
    name = event.get("arguments", {}).get("recording")
    marks = event["result"].get("marks_s") if event["kind"] == "result" else None
    if not marks or room.session is None or name not in room.session.recordings:
        return False
    room.marks[name] = {wave: times or [] for wave, times in marks.items()}
    if room.shown != name:
        room.shown, room.start_s = name, 0.0
    room.start_s = float(int(event["result"].get("window_s", [0.0])[0]))
    return True


def attachments(room: Room, files: list[str]) -> list[Message]:
    """Figures that a tool wrote, to fetch from the chat; the paper itself shows what an SVG would."""
    messages: list[Message] = []
    for file in map(Path, files):
        if file.suffix in (".pdf", ".png") and file.is_file():
            copy = shutil.copy(file, room.download(file.name))
            messages.append({"role": "assistant", "content": {"path": str(copy)}})
    return messages


def serve(llm: Any, host: str = "127.0.0.1", port: int = 7860) -> tuple[gr.Blocks, str]:
    """Open the page and return at once; `Blocks.close()` ends it."""
    blocks = build(llm)
    blocks.queue(default_concurrency_limit=4, api_open=False)
    _, url, _ = blocks.launch(
        server_name=host, server_port=port, auth=_auth(host), share=False, quiet=True, prevent_thread_lock=True,
        inbrowser=False, footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, pwa=False,
        mcp_server=False, strict_cors=True, max_file_size="100mb", allowed_paths=[], show_error=False, js=DROP,
        css_paths=Path(__file__).with_name("page.css"), theme=_theme(),
    )  # fmt: skip
    return blocks, url


def run(llm: Any, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the page until it is interrupted."""
    if isinstance(llm, str) and Path(llm).exists():
        llm = str(Path(llm).resolve())
    if os.environ.get("EINTHOVEN_DATA_FOLDER"):
        os.environ["EINTHOVEN_DATA_FOLDER"] = os.path.abspath(os.environ["EINTHOVEN_DATA_FOLDER"])
    _auth(host)
    empty = CACHE / "cwd"
    empty.mkdir(exist_ok=True)
    os.chdir(empty)  # whatever lies where the command was typed is out of the server's sight
    try:
        blocks, url = serve(llm, host, port)
    except OSError:
        raise UsageError(f"port {port} is taken or {host} is not of this computer: choose another --port") from None
    print(f"Einthoven is open at {url}", flush=True)
    try:
        blocks.block_thread()
    finally:
        for room in list(ROOMS):
            room.close()


def _auth(host: str) -> tuple[str, str] | None:
    """None on this computer; beyond it, the user and password that EINTHOVEN_AUTH must name."""
    if host in ("127.0.0.1", "localhost", "::1"):
        return None
    user, _, password = os.environ.get("EINTHOVEN_AUTH", "").partition(":")
    if not user or not password:
        raise UsageError(f"--host {host} lets others in: set EINTHOVEN_AUTH=user:password first")
    print(f"Others can reach this page at {host}; the connection is not encrypted.", file=sys.stderr)
    return user, password


def _theme() -> gr.themes.Base:
    """Quiet greys, one accent, the system's own letters (nothing is fetched)."""
    sans = [gr.themes.Font(name) for name in ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Liberation Sans", "sans-serif")]
    mono = [gr.themes.Font(name) for name in ("ui-monospace", "Menlo", "Consolas", "Liberation Mono", "monospace")]
    return gr.themes.Base(primary_hue="teal", neutral_hue="slate", radius_size="lg", font=sans, font_mono=mono)
