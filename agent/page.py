"""The chat page: a conversation beside the ECG paper, in a browser on this computer.

    einthoven chat                               # serves http://127.0.0.1:7860 until it is stopped
    run(None)                                    # the same from Python; a model's name, a loader, or a model
    blocks, url = serve(llm, port=7861)          # for tests: returns at once; `blocks.close()` ends it

What a window has is in agent/rooms.py, what it shows in agent/page_parts.py and page.css; here is how it is laid
out, wired and served. Nothing is fetched from elsewhere: no fonts, no scripts, no telemetry.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from agent.page_parts import LOOPBACK, SUGGESTIONS, footer, many_leads, note, suggestions, values_html
from agent.rooms import CACHE, ROOMS, Model, Room
from tools.errors import EinthovenError, UsageError

os.environ["GRADIO_TEMP_DIR"] = str(CACHE)  # Gradio reads both when it is imported
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr

LAYOUTS = [("3 × 4", "3x4"), ("6 × 2", "6x2"), ("12 × 1", "12x1")]
DOWNLOADS = ("PDF", "PNG", "WFDB", "CSV")
FONTS = ("Inter", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Liberation Sans", "system-ui", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "Liberation Mono", "monospace")
WELCOME = """<div class="welcome"><svg viewBox="0 0 120 40" aria-hidden="true"><path
d="M2 26h22c4 0 5-7 9-7s5 7 9 7h6l3 4
5-28 5 34 4-10h8c5 0 6-10 11-10s6 10 11 10h23"/></svg><h2>Drop an ECG anywhere on this page</h2><p>DICOM, WFDB (header
and signals together), SCP-ECG, HL7 aECG, GE, Philips, EDF, CSV, NPY, or a zip of them.</p></div>"""
HINT = (
    "Ask about heart rate, intervals, axes, rhythm or signal quality, or what guidelines say.\n"
    "Every number is a measurement that you can open, every quote opens to its source."
)
DROP = """() => {
  const mark = (on) => document.body.classList.toggle("dropping", on);
  addEventListener("dragover", (event) => { event.preventDefault(); mark(true); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(false); });
  addEventListener("drop", (event) => {
    event.preventDefault(); mark(false);
    const input = document.querySelector("input[type=file]");
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
PRIVATE: Any = {"api_visibility": "private"}
CHIPS = max(len(questions) for questions in SUGGESTIONS.values())
VIEW = 12 + CHIPS  # parts that `draw` updates


def build(llm: Any) -> gr.Blocks:
    """The page for a language model: its name, a function that loads it, or the model itself."""
    with gr.Blocks(title="Einthoven", analytics_enabled=False, fill_width=True, delete_cache=(3600, 7200)) as blocks:
        room = gr.State(Room(Model(llm)), delete_callback=Room.close)
        with gr.Row(elem_id="top"):
            gr.HTML("<h1>Einthoven</h1>", elem_id="brand")
            gr.Button("Light / dark", elem_id="theme", size="sm").click(None, js=THEME, **PRIVATE)
        with gr.Row(elem_id="room"):
            talk = _conversation()
            desk = _desk()
        gr.HTML(footer(llm), elem_id="end")
        _wire(room, talk, desk)
    return blocks


def _conversation() -> SimpleNamespace:
    with gr.Column(scale=2, elem_id="left"):
        chat = gr.Chatbot(
            elem_id="chat", show_label=False, placeholder=HINT, render_markdown=False, buttons=[], height=None,
            feedback_options=None, latex_delimiters=[], allow_tags=False, layout="bubble",
        )  # fmt: skip
        with gr.Row(elem_id="chips", visible=False) as chips:
            suggested = [gr.Button(size="sm") for _ in range(CHIPS)]
        question = gr.Textbox(
            elem_id="question", label="Question", show_label=False, placeholder="Ask about the recording",
            submit_btn=True, max_lines=6, max_length=4000, autofocus=True,
        )  # fmt: skip
    return SimpleNamespace(chat=chat, chips=chips, suggested=suggested, question=question)


def _desk() -> SimpleNamespace:
    """The right side: a welcome, or the paper with its tools."""
    with gr.Column(scale=3, elem_id="right"):
        with gr.Column(elem_id="empty") as empty:
            welcome = gr.HTML(WELCOME)
            with gr.Row(elem_id="doors"):
                first = gr.UploadButton("Open files", file_count="multiple", variant="primary", size="sm")
                sample = gr.Button("Sample recording", size="sm")
        with gr.Row(elem_id="tools", visible=False) as tools:
            which = gr.Dropdown(elem_id="which", label="Recording", show_label=False, container=False, filterable=False)
            layout = gr.Radio(LAYOUTS, elem_id="layout", label="Layout", show_label=False, container=False)
            more = gr.UploadButton("Add files", file_count="multiple", elem_id="more", size="sm")
        remark = gr.HTML(elem_id="note")
        with gr.Row(elem_id="fields", visible=False) as fields:
            rate = gr.Textbox(label="Samples a second (Hz)", placeholder="such as 500", max_lines=1)
            unit = gr.Dropdown(["mV", "uV", "V"], value="mV", label="Unit of the values")
            again = gr.Button("Read again", variant="primary", size="sm")
        paper = gr.HTML(elem_id="paper", visible=False)
        values = gr.HTML(elem_id="values", visible=False)
        start = gr.Slider(0, 1, 0, step=1, label="From second", elem_id="start", visible=False)
        with gr.Row(elem_id="save", visible=False) as save:
            gr.HTML("Download")
            saves = [gr.Button(what, size="sm") for what in DOWNLOADS]
        saved = gr.DownloadButton(visible="hidden", elem_id="saved")
    return SimpleNamespace(**locals())


def _wire(room: gr.State, talk: SimpleNamespace, desk: SimpleNamespace) -> None:
    """Which gesture does what. One question at a time reaches the language model; everything else runs beside it."""
    view = [room, desk.empty, desk.tools, desk.save, talk.chips, desk.which, desk.layout, desk.start, desk.paper,
            desk.values, desk.remark, desk.fields, *talk.suggested]  # fmt: skip
    drawn: Any = {"outputs": view, "show_progress_on": [desk.paper, desk.welcome], **PRIVATE}
    for opener in (desk.first, desk.more):
        opener.upload(lambda room, files: draw(room, room.take(files or [])), [room, opener], **drawn)
    desk.sample.click(lambda room: draw(room, room.take_sample()), room, **drawn)
    desk.again.click(read_again, [room, desk.rate, desk.unit], **drawn)
    desk.which.input(choose, [room, desk.which], **drawn)
    desk.layout.input(arrange, [room, desk.layout], **drawn)
    desk.start.release(turn, [room, desk.start], **drawn)
    for button, what in zip(desk.saves, DOWNLOADS, strict=True):
        saved = button.click(save_as(what), room, [desk.saved, desk.remark], show_progress_on=button, **PRIVATE)
        saved.then(None, desk.saved, js=SAVE, **PRIVATE)
    quiet: Any = {"show_progress": "hidden", **PRIVATE}
    questions = [(talk.question.submit, talk.question), *((button.click, button) for button in talk.suggested)]
    for asked, text in questions:
        asked(begin, [room, text], [room, talk.chat, talk.question], **quiet).then(
            answer, room, [talk.chat, *view], concurrency_limit=1, concurrency_id="model", **quiet
        ).then(lambda: gr.update(submit_btn=True, stop_btn=False), None, talk.question, **quiet)
    talk.question.stop(lambda room: room.open().stop(), room, queue=False, **quiet)


def draw(room: Room, problems: list[str] | None = None) -> tuple[Any, ...]:
    """Updates for `view`: the recording on the paper and what belongs to it, or the welcome."""
    here, gone = gr.update(visible=True), gr.update(visible=False)
    fields, wrong = (here if room.pending else gone), note(problems or [], "error")
    if not room.open().recordings:
        return room, here, *[gone] * 8, wrong, fields, *[gone] * CHIPS
    recording = room.open().get(room.shown)
    try:
        drawing, (start_s, stop_s), said = room.paper(recording)
        partly = stop_s - start_s < recording.duration_s - 1e-6
    except EinthovenError as error:
        drawing, partly, said = note([str(error)], "error"), False, []
    asks = suggestions(recording)
    chips = [gr.update(visible=True, value=text) for text in asks] + [gone] * (CHIPS - len(asks))
    names = [(room.label(name), name) for name in room.open().recordings]
    return (
        room, gone, here, here, here,
        gr.update(visible=True, choices=names, value=room.shown),
        gr.update(visible=many_leads(recording), value=room.layout),
        gr.update(visible=partly, maximum=max(int(recording.duration_s) - 1, 1), value=room.start_s),
        gr.update(visible=True, value=drawing),
        gr.update(visible=room.shown in room.measured, value=values_html(room.measured.get(room.shown))),
        wrong + note([*recording.warnings, *said]), fields, *chips,
    )  # fmt: skip


def read_again(room: Room, rate: str, unit: str) -> tuple[Any, ...]:
    try:
        fs_hz = float(rate) if rate.strip() else None
    except ValueError:
        return draw(room, ["Samples a second: a number, such as 500."])
    return draw(room, room.take_pending(fs_hz, unit))


def choose(room: Room, name: str) -> tuple[Any, ...]:
    room.show(name)
    return draw(room)


def arrange(room: Room, layout: str) -> tuple[Any, ...]:
    room.layout = layout
    return draw(room)


def turn(room: Room, start_s: float) -> tuple[Any, ...]:
    room.start_s = float(start_s)
    return draw(room)


def begin(room: Room, text: str) -> tuple[Any, ...]:
    """Show the question at once; while one is being answered, the next waits in its box."""
    if room.question or not text.strip():
        return room, gr.skip(), gr.skip()
    room.begin(text.strip()[:4000])
    return room, room.chat, gr.update(value="", submit_btn=False, stop_btn=True)


def answer(room: Room) -> Iterator[tuple[Any, ...]]:
    if not room.question:
        return
    unseen = (gr.skip(),) * VIEW
    for redraw in room.answer():
        yield room.chat, *(draw(room) if redraw else unseen)


def save_as(what: str) -> Callable[[Room], tuple[Any, Any]]:
    def made(room: Room) -> tuple[Any, Any]:
        try:
            return str(room.keep(what)), gr.skip()
        except EinthovenError as error:
            return None, note([str(error)], "error")

    return made


def serve(llm: Any, host: str = "127.0.0.1", port: int = 7860) -> tuple[gr.Blocks, str]:
    """Open the page and return at once: the page and its address."""
    auth = _auth(host)
    blocks = build(llm)
    blocks.queue(default_concurrency_limit=4, api_open=False)
    blocks.launch(
        server_name=host, server_port=port, auth=auth, share=False, quiet=True, prevent_thread_lock=True,
        inbrowser=False, footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, pwa=False,
        mcp_server=False, strict_cors=True, max_file_size="100mb", allowed_paths=[], show_error=False, js=DROP,
        css_paths=Path(__file__).with_name("page.css"), theme=_theme(),
    )  # fmt: skip
    return blocks, f"http://{host}:{port}"


def run(llm: Any, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the page until it is interrupted."""
    if isinstance(llm, str) and Path(llm).exists():
        llm = str(Path(llm).resolve())
    if os.environ.get("EINTHOVEN_DATA_FOLDER"):
        os.environ["EINTHOVEN_DATA_FOLDER"] = os.path.abspath(os.environ["EINTHOVEN_DATA_FOLDER"])
    if _auth(host):
        print(f"Others can reach the page at {host}, and the connection is not encrypted.", file=sys.stderr)
    empty = CACHE / "cwd"
    empty.mkdir(exist_ok=True)
    os.chdir(empty)  # what lies where the command was typed stays out of the server's sight
    try:
        blocks, url = serve(llm, host, port)
    except OSError:
        raise UsageError(f"port {port} is taken, or {host} is not of this computer: choose another --port") from None
    print(f"Einthoven is open at {url}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that rooms are emptied then too
    try:
        blocks.block_thread()
    finally:
        for room in list(ROOMS):
            room.close()


def _auth(host: str) -> tuple[str, str] | None:
    """None on this computer; beyond it the user and password that EINTHOVEN_AUTH must name."""
    if host in LOOPBACK:
        return None
    user, _, password = os.environ.get("EINTHOVEN_AUTH", "").partition(":")
    if not user or not password:
        raise UsageError(f"--host {host} lets others in: set EINTHOVEN_AUTH=user:password first")
    return user, password


def _theme() -> gr.themes.Base:
    """Quiet greys, one accent, the system's own letters."""
    sans, mono = ([gr.themes.Font(name) for name in names] for names in (FONTS, MONO))
    return gr.themes.Base(primary_hue="teal", neutral_hue="slate", radius_size="lg", font=sans, font_mono=mono)
