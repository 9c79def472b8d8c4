"""What the chat page shows, as pure functions: events to chat messages, results to readable text, recordings to paper.

    chat = follow(chat, event)                 one event of `Session.ask` into the list that the chat shows
    text, drawn = paper_html(recording, ...)   the drawing for a light and a dark page, and what part of it is shown
    batch = gather(uploads, folder)            files that were dropped together, side by side under harmless names

What is said in the chat is plain text (no Markdown, no HTML), and all that goes into HTML here is escaped, so neither
a file nor a model can put a picture, a link or a script on the page.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.graph import about
from agent.session import Event
from tools.paper import compose
from tools.paper_rows import Bands, Marks
from tools.recording import LEADS, Recording
from tools.traces import traced

Message = dict[str, Any]  # a Gradio chat message; with "metadata" it is a step that opens and closes

LONGEST_LIST, LONGEST_TEXT, LINE = 12, 400, 64  # of a result, as the trace shows it
VALUES = (
    ("Heart rate", ("heart_rate_bpm",), "bpm"),
    ("PR", ("pr_ms",), "ms"),
    ("QRS", ("qrs_ms",), "ms"),
    ("QT / QTc Bazett", ("qt_ms", "qtc_ms"), "ms"),
    ("Axes P / QRS / T", ("p_axis_deg", "qrs_axis_deg", "t_axis_deg"), "°"),
)
SUGGESTIONS = {  # by what is shown; and the tool that each is for, which a test holds the language model to
    "many leads": {
        "What are the heart rate and the QTc?": "measure_ecg",
        "What does this ECG show, and why?": "interpret_ecg",
        "What QTc limits do guidelines give?": "search_guidelines",
        "Draw AF at 110 bpm": "generate_ecg",
        "Plot it as PDF": "plot_recording",
    },
    "few leads": {
        "What are the heart rate and the QTc?": "measure_ecg",
        "What does this ECG show, and why?": "interpret_ecg",
        "Rebuild the missing leads": "reconstruct_leads",
        "What is the risk of VT or VF, and why?": "predict_vtvf_risk",
        "Plot it as PDF": "plot_recording",
    },
    "ppg": {
        "Turn the PPG into an ECG": "ppg_to_ecg",
        "Plot the pulse wave": "plot_recording",
        "What are the limits of a pulse oximeter's waveform?": "search_guidelines",
    },
    "spirogram": {
        "How large are FEV1 and FVC?": "read_spirogram",
        "Is there airflow obstruction?": "read_spirogram",
        "Fixed 0.70 or the lower limit of normal?": "search_guidelines",
    },
    "ctg": {
        "What are the baseline and the variability?": "estimate_fetal_age",
        "Are there decelerations?": "estimate_fetal_age",
        "What does FIGO call a pathological trace?": "search_guidelines",
    },
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def follow(chat: Sequence[Message], event: Event) -> list[Message]:
    """The chat after one more event; see `agent.session.Event`."""
    said = [message for message in chat if message.get("metadata", {}).get("id") != "wait"]
    kind = event["kind"]
    if kind == "tool":
        return [*said, step(event["name"], event["arguments"])]
    if kind == "result":
        said.pop()  # the step that was pending
        return [*said, step(event["name"], event["arguments"], event["result"], event["seconds"])]
    speaking = bool(said) and said[-1]["role"] == "assistant" and "metadata" not in said[-1]
    speaking = speaking and isinstance(said[-1]["content"], str)
    if kind == "word":
        before = said.pop()["content"] if speaking else ""
        return [*said, {"role": "assistant", "content": before + event["text"]}]
    if speaking:  # "drop", or "answer", which repeats the words
        said.pop()
    if kind == "drop":
        return said
    stopped = (
        "\n\nStopped here, before the answer was whole or checked." if event.get("written_by") == "stopped" else ""
    )
    return [*said, {"role": "assistant", "content": event["answer"] + stopped}]


def waiting(title: str) -> Message:
    """A step that turns until the first event comes."""
    return {"role": "assistant", "content": "", "metadata": {"title": title, "id": "wait", "status": "pending"}}


def raw(html: str) -> Message:
    """HTML of our own making in the chat, all that came from elsewhere escaped in it."""
    shown = {"component": "html", "value": html, "constructor_args": {}, "props": {}, "type": "component"}
    return {"role": "assistant", "content": [shown]}


def waterfalls(tools: Iterable[dict[str, Any]]) -> list[str]:
    """The drawings of what a risk rests on, as HTML."""
    drawn = [one["result"].get("figure") for one in tools if one["name"] == "predict_vtvf_risk"]
    return [f'<div class="waterfall turned">{Path(file).read_text(encoding="utf-8")}</div>' for file in drawn if file]


def step(name: str, arguments: dict[str, Any], result: dict[str, Any] | None = None, seconds: float = 0.0) -> Message:
    """A tool call as a step: its name, what it was given, what it gave and how long that took."""
    recording = arguments.get("recording")
    title = f"{name} · {recording}" if recording else name
    text = f"Arguments\n{pretty(arguments)}"
    if result is None:
        return {"role": "assistant", "content": text, "metadata": {"title": title, "status": "pending"}}
    if "error" in result:
        title += " · not done"
    metadata = {"title": title, "status": "done", "duration": max(round(seconds, 2), 0.01)}
    return {"role": "assistant", "content": f"{text}\n\nResult\n{pretty(result)}", "metadata": metadata}


def pretty(value: Any, indent: int = 0) -> str:
    """JSON for reading: what fits on a line stays on it, long lists and texts are cut, files lose their folder."""
    value = _cut(value)
    line = json.dumps(value, ensure_ascii=False)
    if len(line) + indent <= LINE or not isinstance(value, dict | list):
        return line
    inner = indent + 2
    if isinstance(value, list):
        items = [pretty(item, inner) for item in value]
    else:
        items = [f"{json.dumps(key, ensure_ascii=False)}: {pretty(item, inner)}" for key, item in value.items()]
    rows: list[str] = []
    for item in items:  # short neighbours share a line
        short = rows and "\n" not in rows[-1] + item and len(rows[-1]) + len(item) + inner + 2 <= LINE
        rows[-1:] = [f"{rows[-1]}, {item}"] if short else [*rows[-1:], item]
    opening, closing = "[]" if isinstance(value, list) else "{}"
    space = "\n" + " " * inner
    return opening + space + f",{space}".join(rows) + "\n" + " " * indent + closing


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        value = Path(value).name if re.match(r"/|[A-Za-z]:\\", value) else value
        return value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + " …"
    if isinstance(value, list) and len(value) > LONGEST_LIST:
        return [*value[:LONGEST_LIST], f"… {len(value) - LONGEST_LIST} more"]
    return value


def paper_html(
    recording: Recording, layout: str | None, marks: Marks | None, start_s: float, bands: Bands | None = None
) -> tuple[str, tuple[float, float], list[str]]:
    """The drawing for a light and for a dark page (CSS shows one), the seconds in it, and what it leaves out.

    A layout is for recordings that have most of the twelve leads; fewer are drawn line by line.
    """
    layout = layout if many_leads(recording) else None
    sheets = []
    for dark in (False, True):
        if recording.kind == "ecg":
            sheet, page, said = compose(recording, layout, marks, dark=dark, start_s=start_s, bands=bands)
            seconds = (page.start_s, page.stop_s)
        else:
            sheet, seconds, said = traced(recording, dark, start_s)
        sheets.append(sheet.svg())
    return f'<div class="sheet on-light">{sheets[0]}</div><div class="sheet on-dark">{sheets[1]}</div>', seconds, said


def kept_html(drawing: str) -> str:
    """A tool's own drawing, an SVG of ours; on a dark page the style sheet turns its light and leaves its hues."""
    return f'<div class="sheet turned">{drawing}</div>'


def many_leads(recording: Recording) -> bool:
    return sum(lead in LEADS for lead in recording.leads) >= 6


def suggestions(recording: Recording) -> list[str]:
    """Questions that this recording can answer."""
    leads = "many leads" if many_leads(recording) else "few leads"
    return list(SUGGESTIONS[leads if recording.kind == "ecg" else recording.kind])


def label(name: str, recording: Recording) -> str:
    """How the selector calls a recording; nothing of it comes from the file."""
    seconds = recording.duration_s
    lasts = f"{seconds:.3g} s" if seconds < 90 else f"{math.floor(seconds / 60)} min {seconds % 60:.0f} s"
    return f"{name}  ·  {about(recording)}  ·  {lasts}"


def values_html(result: dict[str, Any] | None) -> str:
    """What a machine prints beside its paper, from a result of measure_ecg: rate, intervals, axes; "–" for none."""
    if result is None:
        return ""
    known = {key: "–" if value is None else f"{value:g}" for key, value in result.items() if _is_number(value)}
    rows = []
    for name, keys, unit in VALUES:
        numbers = " / ".join(known.get(key, "–") for key in keys)
        rows.append(f"<div><dt>{name}</dt><dd>{numbers} <small>{unit}</small></dd></div>")
    return f"<dl>{''.join(rows)}</dl>"


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def note(lines: Iterable[str], kind: str = "note") -> str:
    """Short sentences below the toolbar: `kind` "note" or "error"."""
    said = "".join(f"<p>{escape(line)}</p>" for line in dict.fromkeys(lines))
    return f'<div class="{kind}" role="{"alert" if kind == "error" else "status"}">{said}</div>' if said else ""


def footer(llm: Any) -> str:
    """The disclaimer; with a model elsewhere it says where questions go."""
    text = "Nothing leaves this computer."
    if isinstance(llm, str) and llm.startswith(("http://", "https://")):
        host = urlsplit(llm).hostname or ""
        text = text if host in LOOPBACK else f"Questions and results go to {host}; recordings stay here."
    return f"<footer>Research software, not a medical device. {escape(text)}</footer>"


def harmless(name: str) -> str:
    """A file's base name with letters that no reader, shell or header stumbles over."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", Path(name.replace("\\", "/")).name).lstrip(".")[-100:] or "file"


def gather(uploads: Sequence[str | Path], folder: Path) -> list[Path]:
    """Move files that came together into `folder`, so that a WFDB header finds its signals; which ones to read."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for upload in map(Path, uploads):
        file = folder / harmless(upload.name)
        if file.exists():  # two files of one name
            file = file.with_name(f"{len(files)}-{file.name}")
        files.append(Path(shutil.move(upload, file)))
    headers = [file for file in files if file.suffix == ".hea"]
    words = {word for header in headers for word in header.read_bytes()[: 1 << 16].decode("latin-1").split()}
    stems = {header.stem for header in headers}
    return [file for file in files if file in headers or (file.stem not in stems and file.name not in words)]
