"""The command line as a person or a script meets it: output, one line of error, exit status."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from agent.__main__ import main
from tools.registry import TOOLS


def run(capsys, *words):
    status = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return status, out, err


def test_call_prints_json(capsys, dicom):
    status, out, _ = run(capsys, "call", "measure_ecg", dicom, "--json")
    assert status == 0
    assert {"heart_rate_bpm", "pr_ms", "qrs_ms", "qt_ms", "qtc_ms", "per_lead", "quality", "warnings"} <= set(
        json.loads(out)
    )


def test_call_over_several_goes_on_after_a_bad_one(capsys, dicom, tmp_path):
    bad = tmp_path / "bad.dcm"
    bad.write_bytes(b"not an ECG")
    status, out, err = run(capsys, "call", "measure_ecg", dicom, bad, dicom)
    first, second, third = map(json.loads, out.splitlines())
    assert first == third
    assert list(second) == ["error"]
    assert status == 0
    assert "1 of 3" in err


def test_options_may_stand_anywhere(capsys, dicom, tmp_path):
    status, out, _ = run(capsys, "call", "plot_recording", "--format", "png", dicom, "--out", tmp_path, "--json")
    assert status == 0
    assert Path(json.loads(out)["figure"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["call", "predict_vtvf_risk"], 2, "name a file"),
        (["call", "no_such_tool"], 2, "no tool"),
        (["call", "measure_ecg"], 2, "name a file"),
        (["call", "measure_ecg", "nothing.hea"], 3, "nothing.hea"),
        (["call", "plot_recording", "x.dcm", "--layout", "5x5"], 2, "5x5"),
        (["call", "measure_ecg", "x.dcm", "--speed", "3"], 2, "--speed"),
        (["call", "generate_ecg", "--prompt", "LBBB", "--seed", "-1"], 2, "--seed"),
        (["call", "generate_ecg", "--prompt", "LBBB", "--out", "/dev/null"], 2, "/dev/null"),
        (["frobnicate"], 2, "frobnicate"),
        (["ask"], 2, "question"),
        (["ask", "QTc?", "nothing.hea", "--json"], 3, "nothing.hea"),
        (["ask", "QTc?", "--llm", "http://127.0.0.1:1/v1"], 2, "#"),
        (["weights", "pull", "nothing"], 2, "nothing"),
    ],
)
def test_an_error_is_one_line_and_a_status(capsys, words, status, said):
    code, out, err = run(capsys, *words)
    assert (code, out) == (status, "")
    assert len(err.splitlines()) == 1
    assert said in err


def test_a_file_is_called_as_it_was_typed(capsys, tmp_path):
    missing = tmp_path / "my other ECG.csv"
    assert f'"{missing}" is not there' in run(capsys, "call", "measure_ecg", missing)[2]
    assert f'"{missing}" is not there' in run(capsys, "ask", "heart rate?", "--json", missing)[2]  # options between


def test_tools_are_listed_with_their_schemas(capsys):
    listed = json.loads(run(capsys, "tools", "--json")[1])
    assert [one["name"] for one in listed] == list(TOOLS)
    assert all(one["purpose"] and one["arguments"]["type"] == "object" for one in listed)


def test_weights_verify(capsys):
    status, out, _ = run(capsys, "weights", "verify")
    assert status == 0
    assert "DAMAGED" not in out


def test_mcp_serves_the_same_tools_to_its_own_client(dicom):
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    async def talk():
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "agent", "mcp"], cwd=str(Path(__file__).parent.parent)
        )
        async with stdio_client(server) as streams, ClientSession(*streams) as client:
            await client.initialize()
            names = [tool.name for tool in (await client.list_tools()).tools]
            good = await client.call_tool("measure_ecg", {"file": str(dicom)})
            bad = await client.call_tool("measure_ecg", {"file": "nothing.hea"})
            return names, good, bad

    names, good, bad = anyio.run(talk)
    assert names == list(TOOLS)
    assert json.loads(good.content[0].text)["heart_rate_bpm"] == 61
    assert bad.is_error
    assert "nothing.hea" in bad.content[0].text


def test_the_module_runs_as_the_console_script():
    done = subprocess.run([sys.executable, "-m", "agent", "call", "frob"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
