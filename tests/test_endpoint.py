"""A language model behind an OpenAI-style endpoint, played by a small server on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from agent.endpoint import Endpoint
from agent.session import Session
from tools.errors import MissingWeights


class Served(BaseHTTPRequestHandler):
    seen: ClassVar[list] = []
    tool = "measure_ecg"
    amid = ""  # of a stream, instead of its second half
    instead = ""  # of a reply

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(request)
        if request.get("stream"):
            facts = request["messages"][-1]["content"]
            text = facts.split("- ", 1)[1].split("\n")[0]
            chunks = [{"choices": [{"index": 0, "delta": {"content": piece}}]} for piece in (text[:5], text[5:])]
            body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
            body = f"data: {json.dumps(chunks[0])}\n\n{self.amid}" if self.amid else body
            self._send(body, "text/event-stream")
            return
        answered = any(message["role"] == "tool" for message in request["messages"])
        call = {
            "id": "1",
            "type": "function",
            "function": {"name": self.tool, "arguments": '{"recording":"ecg-1"}'},
        }
        message = {"role": "assistant", "content": "", "tool_calls": [] if answered else [call]}
        self._send(self.instead or json.dumps({"choices": [{"index": 0, "message": message}]}), "application/json")

    def _send(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Served.seen = []
    one = ThreadingHTTPServer(("127.0.0.1", 0), Served)
    threading.Thread(target=one.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{one.server_port}/v1#small"
    one.shutdown()


def test_it_calls_by_its_own_tool_calls_and_sees_the_results(server, dicom):
    session = Session(Endpoint(server))
    session.add(dicom)
    *_, end = session.ask("heart rate?")
    assert [tool["name"] for tool in end["tools"]] == ["measure_ecg"]
    assert "Heart rate 61 bpm" in end["answer"]
    offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in Served.seen[0]["tools"]}
    assert "measure_ecg" in offered
    assert "risk_model" not in offered["predict_vtvf_risk"]["properties"]  # a file is named by people only
    assert any(message["role"] == "tool" for message in Served.seen[1]["messages"])


@pytest.mark.parametrize("tool", ["measure_ecg", "plot_recording"])
def test_no_path_or_name_of_a_file_is_sent(server, dicom, tool, monkeypatch):
    monkeypatch.setattr(Served, "tool", tool)
    session = Session(Endpoint(server))
    session.add(dicom)
    list(session.ask("heart rate?"))
    sent = json.dumps(Served.seen)
    assert tool in json.dumps(Served.seen[1]["messages"])
    assert dicom.name not in sent
    assert str(session.folder) not in sent


def test_an_endpoint_that_is_not_there_is_one_line(dicom):
    session = Session(Endpoint("http://127.0.0.1:9/v1#small"))
    with pytest.raises(MissingWeights, match="no answer from"):
        list(session.ask("heart rate?"))


@pytest.mark.parametrize(
    ("which", "sent"),
    [("amid", 'data: {"error": {"message": "out of memory"}}\n\n'), ("instead", '{"error": {"message": "busy"}}')],
)
def test_what_breaks_off_amid_an_answer_is_one_line(server, dicom, monkeypatch, which, sent):
    monkeypatch.setattr(Served, which, sent)
    session = Session(Endpoint(server))
    session.add(dicom)
    with pytest.raises(MissingWeights, match="no answer from"):
        list(session.ask("heart rate?"))
