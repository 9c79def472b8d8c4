"""A person's ECG under another condition: is it still this person's, and does it show the condition?

    python -m training.evaluate twin --data DIR [--fold 9] [--flow FILE] [--vae FILE] [--identity FILE]

Each raw recording of the fold, one a patient, lends its person to the condition of another one, drawn at random. From
the ECG drawn the person is looked for among all persons of the fold, by the extractor (encoders/identity.py) on the
whole recordings; beside it the same with the condition alone, without a person, and real second halves, which bound
what the extractor can find. Macro AUROC of the default reader's network says whether the condition asked for is shown.
The extractor judges what was drawn with its own vector: that favours the first figure, and is why the real halves stand
beside. Intervals are bootstrap 95 % over persons.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import flow, identity, vae
from encoders.reading import FILE as READING
from encoders.reading import Reader
from training import figures, flow_data, ptbxl, reading, vae_data
from training.evaluate_generate import asked, drawn


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--flow", type=Path, default=flow.FILE)
    parser.add_argument("--vae", type=Path, default=vae.FILE)
    parser.add_argument("--identity", type=Path, default=identity.FILE)
    parser.add_argument("--fold", type=int, default=ptbxl.TEST[0])


def run(args: argparse.Namespace) -> dict[str, Any]:
    table = ptbxl.load(args.data).folds(args.fold)
    table = table.rows(table.raw)
    table = table.rows(np.unique(table.patient, return_index=True)[1])
    (net, codes), (autoencoder, _) = flow.opened(args.flow), vae.opened(args.vae)
    extractor = identity.opened(args.identity)
    base = vectors(extractor, autoencoder, table.signal)
    rates = np.array([flow_data.heart_rate(one) for one in table.signal])
    other = np.random.default_rng(0).permutation(len(table))
    prompts = [asked(table, args.data, rates, codes)[row] for row in other]
    truth = table.labels["superclass"][other]
    reader = Reader(READING)
    columns = [reader.codes["superclass"].index(code) for code in table.codes["superclass"]]
    out: dict[str, Any] = {"fold": args.fold, "persons": len(table), "kinds": {}}
    for kind, person in (("person and condition", torch.from_numpy(base)), ("condition alone", None)):
        signal = drawn(net, autoencoder, prompts, person)
        logits = reading.net_logits(reader.net, replace(table, signal=signal))
        out["kinds"][kind] = {
            "found": found(vectors(extractor, autoencoder, signal), base),
            "read_as": figures.with_interval(logits["superclass"][:, columns], truth),
        }
    halves = [vectors(extractor, autoencoder, table.signal, part) for part in flow_data.HALVES]
    out["real halves"] = found(halves[0], halves[1])
    return out


@torch.inference_mode()
def vectors(
    extractor: identity.Identity, autoencoder: vae.Vae, signal: np.ndarray, part: slice = slice(None)
) -> np.ndarray:
    """(records, person) of (records, 12, samples) mV, or of a part of each, nothing being told of their condition."""
    seen = np.zeros((1, 12, vae.SAMPLES), bool)
    seen[:, :, part] = True
    latent = torch.from_numpy(flow_data.encoded(autoencoder, vae_data.levelled(signal), seen).astype(np.float32))
    count, shape = len(latent), extractor.shape
    person, has_person = flow_data.nobody(count, shape.person)
    nothing = flow.Given(
        torch.zeros(count, 1, shape.text),
        torch.zeros(count, 1, dtype=torch.bool),
        torch.zeros(count, len(flow.NUMBERS)),
        torch.zeros(count, len(flow.NUMBERS), dtype=torch.bool),
        person,
        has_person,
    )
    return extractor(latent, nothing).numpy()


def found(one: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """Share of rows of `one` whose nearest of `other` is their own (top 1), and among the five nearest."""
    order = np.argsort(-(one @ other.T), axis=1)
    rank = (order == np.arange(len(one))[:, None]).argmax(axis=1)
    low, high = figures.interval(rank == 0)
    return {
        "top1": round(float((rank == 0).mean()), 3),
        "interval": [round(float(low), 3), round(float(high), 3)],
        "top5": round(float((rank < 5).mean()), 3),
    }


def table(out: dict[str, Any]) -> str:
    lines = [f"PTB-XL fold {out['fold']}, {out['persons']} persons; by chance {1 / out['persons']:.3f}"]
    for kind, one in out["kinds"].items():
        who, what = one["found"], one["read_as"]
        lines.append(
            f"{kind:20s} person found {who['top1']:.3f} {who['interval']}, among five {who['top5']:.3f}; "
            f"condition read {what['auroc']:.3f} {what['interval']}"
        )
    half = out["real halves"]
    lines.append(f"{'real second halves':20s} person found {half['top1']:.3f} {half['interval']}")
    return "\n".join(lines)
