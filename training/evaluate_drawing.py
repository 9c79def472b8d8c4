"""ECGs asked for through the language model's generation tokens, beside the sentence encoder: the same requests, seeds.

    python -m training.evaluate drawing --data DIR [--fold 9] [--head FILE]

For every raw recording of the fold its statements, heart rate, age and sex are put into words (training/drawing.py) and
an ECG is drawn twice: from the vectors that the sentence encoder gives for the statements, and from those that the
language model's generation tokens ask for, nothing mended (in the product, where these name other statements than the
words hold, the sentence encoder is used). How far the heart rate is off, macro AUROC of the superclasses asked for, as
training/evaluate_generate.py has them; differences are paired, with bootstrap 95 % intervals over recordings.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from agent import smollm2
from agent.drawing import Drawing
from encoders import drawing, flow, vae
from encoders.reading import FILE as READING
from encoders.reading import Reader
from tools.drawing_words import Condition, sentence
from tools.generate import draw, rate_of
from training import figures, flow_data, ptbxl, reading
from training.drawing import request
from training.evaluate_generate import asked, rate_error


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--head", type=Path, default=drawing.FILE)
    parser.add_argument("--fold", type=int, default=ptbxl.TEST[0])
    parser.add_argument("--records", type=int, help="only so many recordings")


def run(args: argparse.Namespace) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    table = ptbxl.load(args.data).folds(args.fold)
    table = table.rows(table.raw)
    table = table.rows(np.arange(len(table))[: args.records])
    (net, codes), (autoencoder, _) = flow.opened(), vae.opened()
    source = smollm2.convert()
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    hearing = Drawing(model, AutoTokenizer.from_pretrained(source), codes, drawing.opened(args.head))
    rates = np.array([flow_data.heart_rate(one) for one in table.signal])
    rng = np.random.default_rng(9)
    made: dict[str, list[np.ndarray]] = {"sentence encoder": [], "generation tokens": []}
    same = []
    for seed, one in enumerate(tqdm(asked(table, args.data, rates, codes), desc="drawing")):
        words = request(rng, one["codes"], numbers=False)
        vectors, heard = hearing.heard(words)
        same.append(sorted(heard) == sorted(one["codes"]))
        for way, statements, given in (
            ("sentence encoder", one["codes"], None),
            ("generation tokens", heard, vectors if len(heard) else None),
        ):
            said = tuple(statements)
            condition = Condition(said, one["rate"], one["age"], one["sex"], sentence(said), (), ())
            made[way].append(draw(net, autoencoder, condition, [seed], vectors=given)[0])
    reader, truth = Reader(READING), table.labels["superclass"]
    columns = [reader.codes["superclass"].index(code) for code in table.codes["superclass"]]
    out: dict[str, Any] = {
        "fold": args.fold,
        "records": len(table),
        "heard": [float(np.mean(same)), figures.interval(np.array(same))],
    }
    p, off = {}, {}
    for way, signals in made.items():
        signal = np.stack(signals)
        p[way] = reading.net_logits(reader.net, replace(table, signal=signal))["superclass"][:, columns]
        measured = [rate_of(x) for x in signals]
        off[way] = np.array([np.inf if m is None else abs(m - r) for m, r in zip(measured, rates, strict=True)])
        out[way] = {"rate_error_bpm": rate_error(signal, rates), "read_as": figures.with_interval(p[way], truth)}
    out["difference"] = {
        "auroc": figures.with_interval(p["generation tokens"], truth, p["sentence encoder"]),
        "bpm": median_difference(off["generation tokens"], off["sentence encoder"], np.isfinite(rates)),
    }
    return out


def median_difference(ours: np.ndarray, theirs: np.ndarray, known: np.ndarray) -> list[float]:
    """How much further the median rate is off, and its bootstrap 95 % interval over recordings."""
    ours, theirs = ours[known], theirs[known]
    rows = np.random.default_rng(0).integers(0, len(ours), (figures.DRAWS, len(ours)))
    drawn = np.median(ours[rows], axis=1) - np.median(theirs[rows], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [round(float(v), 2) for v in (np.median(ours) - np.median(theirs), low, high)]


def table(out: dict[str, Any]) -> str:
    share, (low, high) = out["heard"]
    lines = [
        f"PTB-XL fold {out['fold']}, {out['records']} raw recordings; all statements heard as they were said "
        f"{share:.3f} [{low:.3f}, {high:.3f}]"
    ]
    for way in ("sentence encoder", "generation tokens"):
        rate, read = out[way]["rate_error_bpm"], out[way]["read_as"]
        lines.append(
            f"{way:18s} heart rate off by {rate['median']:.1f} bpm {rate['interval']} (median)  superclasses read "
            f"{read['auroc']:.3f} {read['interval']}"
        )
    auroc, bpm = out["difference"]["auroc"], out["difference"]["bpm"]
    lines.append(
        f"difference: AUROC {auroc['ahead']:+.3f} {auroc['ahead_interval']}, {bpm[0]:+.1f} bpm [{bpm[1]}, {bpm[2]}]"
    )
    return "\n".join(lines)
