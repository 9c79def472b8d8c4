"""Speeds, each beside a baseline of the same run: `make bench` or `python -m training.bench [--json]`.

Times are the median of several runs on this machine, now; a busy machine shows in both columns. The sample is
the real 12-lead ECG that pydicom's wheel carries (10 s, 1000 Hz).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

QUESTION = "What are the heart rate and the QTc, and is the rhythm regular?"
HEAVY = "Interpret the ECG and draw an ECG with atrial fibrillation at 90 bpm"  # opens nearly every model


def median_s(run: Callable[[], Any], times: int = 5) -> float:
    """Median wall time after one run that does not count."""
    run()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def command(*words: str) -> Callable[[], Any]:
    return lambda: subprocess.run([sys.executable, *words], capture_output=True, check=True)


def help_and_page() -> list[tuple[str, float, str, float]]:
    """Start of the command line and of the page, beside an empty Python and an import of gradio."""
    rows = [
        (
            "einthoven --help, s",
            median_s(command("-m", "agent", "--help")),
            "python -c pass",
            median_s(command("-c", "")),
        )
    ]
    began = time.perf_counter()
    page = subprocess.Popen([sys.executable, "-m", "agent", "chat", "--port", "7899"], stdout=subprocess.DEVNULL)
    try:
        while time.perf_counter() - began < 120:
            try:
                urllib.request.urlopen("http://127.0.0.1:7899/", timeout=1).read()
                break
            except OSError:
                time.sleep(0.1)
        ready = time.perf_counter() - began
    finally:
        page.terminate()
        page.wait()
    return [*rows, ("page ready, s", ready, "import gradio", median_s(command("-c", "import gradio"), 2))]


def recordings() -> list[tuple[str, float, str, float]]:
    """Reading, paper and measuring of one 10 s 12-lead recording."""
    import openecg
    import pydicom
    from pydicom import examples

    from tools.measure import measure_ecg
    from tools.paper import svg
    from tools.recording import read

    library = openecg.load_codec_onnx()
    file = Path(str(examples.get_path("waveform")))
    one = read(file)[0]
    return [
        (
            "file to paper, s", median_s(lambda: svg(read(file)[0])),
            "pydicom alone", median_s(lambda: pydicom.dcmread(file).waveform_array(0)),
        ),
        (
            "measure_ecg, s", median_s(lambda: measure_ecg(one)),
            "openecg on its 12 leads", median_s(lambda: [library.encode(lead[::2], 500) for lead in one.signal], 2),
        ),
    ]  # fmt: skip


def drawings() -> list[tuple[str, float, str, float]]:
    """ECGs from words beside 1000 steps of the same network (one run), and missing leads."""
    from pydicom import examples

    from encoders import flow, vae
    from tools.drawing_words import understood
    from tools.generate import draw
    from tools.reconstruct import reconstructed
    from tools.recording import read

    (net, codes), (autoencoder, _) = flow.opened(), vae.opened()
    free, at_70 = (understood(words, codes) for words in ("sinus rhythm", "sinus rhythm at 70 bpm"))
    whole = read(examples.get_path("waveform"))[0]
    three = replace(whole, signal=whole.signal[[1, 6, 10]], leads=("II", "V1", "V5"), gain=None)

    def drawn(count: int, condition: Any, steps: int = flow.DRAW_STEPS, times: int = 3) -> float:
        return median_s(lambda: draw(net, autoencoder, condition, list(range(count)), steps=steps), times)

    return [
        ("an ECG from words, s", drawn(1, free), "1000 steps (five times 200)", 5 * drawn(1, free, 200, 1)),
        ("an ECG at a rate, s", drawn(1, at_70), "", 0.0),
        ("sixteen ECGs at a rate, s", drawn(16, at_70), "", 0.0),
        ("twelve leads from three, s", median_s(lambda: reconstructed(three), 3), "", 0.0),
    ]


def words() -> list[tuple[str, float, str, float]]:
    """Greedy decoding of the default model beside plain `generate` in float32, and the time to the first word."""
    import torch
    from transformers import AutoModelForCausalLM

    from agent import prompts, smollm2
    from agent.llm import LocalModel

    began = time.perf_counter()
    model = LocalModel()
    loaded = time.perf_counter() - began
    evidence = ["Heart rate 61 bpm.", "The rhythm is regular (RR 983 ms, SD 15 ms).", "QTc 375 ms by Bazett."]
    prompt = model.tokenizer.apply_chat_template(
        prompts.answer(evidence, QUESTION), add_generation_prompt=True, return_dict=True
    )["input_ids"]
    model.decoder.eos = set()  # both write the same number of tokens
    ours = median_s(lambda: list(model.decoder.tokens(prompt, 48)), 3)
    plain: Any = AutoModelForCausalLM.from_pretrained(smollm2.folder(), dtype=torch.float32)
    ids = torch.tensor([prompt])
    mask = torch.ones_like(ids)
    theirs = median_s(
        lambda: plain.generate(ids, attention_mask=mask, max_new_tokens=48, min_new_tokens=48, do_sample=False), 3
    )
    fresh = LocalModel()
    choosing = median_s(lambda: fresh.choose(["ecg-1 (12-lead ECG)"], [], QUESTION), 3)
    return [
        *looking(fresh),
        ("language model loaded, s", loaded, "", 0.0),
        ("decoding, tokens/s", 48 / ours, "generate in float32", 48 / theirs),
        ("choosing tools, s", choosing, "", 0.0),
    ]


def looking(model: Any) -> list[tuple[str, float, str, float]]:
    """From a question to the first word of what the model itself sees in an ECG, and how fast it goes on."""
    from pydicom import examples

    from agent.looking import look
    from tools.recording import read

    if "ecg" not in model.projectors:
        return []
    recording, asked = read(examples.get_path("waveform"))[0], [("What does ecg-1 show?", "")]
    first = median_s(lambda: next(model.read({"ecg-1": look(recording)}, asked)), 3)
    began = time.perf_counter()
    said = "".join(model.read({"ecg-1": look(recording)}, asked))
    rest = time.perf_counter() - began - first
    return [("first word of a look, s", first, "", 0.0), ("words of it, words/s", len(said.split()) / rest, "", 0.0)]


def memory() -> list[tuple[str, float, str, float]]:
    """Peak of a whole process that answers one question by most of the models."""
    from pydicom import examples

    asked = [sys.executable, "-m", "agent", "ask", HEAVY, str(examples.get_path("waveform"))]
    process = subprocess.Popen(asked, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"einthoven ask ended with {status}")
    return [("peak memory of an answer, GB", used.ru_maxrss / 1e6, "", 0.0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [*help_and_page(), *recordings(), *drawings(), *words(), *memory()]
    if args.json:
        print(
            json.dumps([dict(zip(("what", "value", "baseline", "baseline_value"), row, strict=True)) for row in rows])
        )
        return
    for what, value, baseline, other in rows:
        print(
            f"{what:34s}{value:9.2f}" + (f"   {baseline}: {other:.2f}, ratio {value / other:.2f}" if baseline else "")
        )


if __name__ == "__main__":
    main()
