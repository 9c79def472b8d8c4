"""Teach the language model's generation tokens to ask the flow for an ECG (stage 2; stage 1 is training/multimodal.py).

    python -m training.drawing --data DIR --out DIR [--prompts 3000] [--epochs 60]

Requests are worded by code from the label sets of PTB-XL's folds 1-7, in the phrases of tools/drawing_phrases.py. The
language model is frozen: hidden states of every request are computed once and kept. Learnt (encoders/drawing.py) is
which slots are asked for, and the sentence vector of each: cosine and squared error. Label sets of fold 8, worded
anew, say which epoch is kept.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from agent import drawing as tokens
from agent import smollm2
from encoders.drawing import SLOTS, Drawer, Shape, slots_of
from encoders.flow import opened as flow
from encoders.sentence import embed
from tools.drawing_words import phrases, sentence
from tools.scp import statement
from training import ptbxl, recipe
from training.cards import write_card

BATCH = 32
OPENINGS = ("", "", "draw ", "Draw an ECG with ", "generate ", "make an ECG: ", "show me ", "I need ", "please draw ", 
            "ECG of ", "simulate ", "create a tracing with ", "a patient with ")  # fmt: skip
RATES = (" at {} bpm", ", rate {}", ", heart rate {} bpm", ", {}/min", ", HR {}", "")
WHO = (", {s} aged {a}", ", {a}-year-old {s}", ", {s}, {a} years", " in a {s} of {a}", "", "")


class Requests(NamedTuple):
    """hidden : of each (T, hidden) float16; slots : (requests, SLOTS) index into `codes`, -1 for none."""

    hidden: list[Tensor]
    slots: Tensor


def request(rng: np.random.Generator, codes: list[str], numbers: bool = True) -> str:
    """Words for these statements, mostly with a rate and a person beside."""
    said = sentence(tuple(codes), rng).rstrip(". ") if codes else "an ECG"
    rate, who = (rng.choice(RATES), rng.choice(WHO)) if numbers or not codes else ("", "")
    if not codes and not rate:
        rate = RATES[0]
    sex = rng.choice(["woman", "man", "female", "male"])
    text = f"{rng.choice(OPENINGS)}{said}{rate.format(int(rng.integers(40, 160)))}"
    text += who.format(s=sex, a=int(rng.integers(18, 90)))
    return text.lower() if rng.random() < 0.2 else text


def label_sets(table: ptbxl.Table, codes: tuple[str, ...]) -> list[list[str]]:
    names = table.codes["statement"]
    return [
        [c for c, there in zip(names, row, strict=True) if there and c in codes] for row in table.labels["statement"]
    ]


def requests(
    model: Any, tokenizer: Any, sets: list[list[str]], codes: tuple[str, ...], count: int, seed: int
) -> Requests:
    """`count` requests of these label sets, of single statements and of none, with their hidden states."""
    rng = np.random.default_rng(seed)
    part_of = {code: statement(code).part for code in codes}
    texts, slots = [], []
    for _ in range(count):
        kind = rng.random()
        chosen = (
            sets[rng.integers(len(sets))] if kind < 0.65 else [codes[rng.integers(len(codes))]] if kind < 0.92 else []
        )
        placed = slots_of(chosen, part_of)
        kept = [code for code in placed if code is not None]
        rng.shuffle(kept)
        texts.append(request(rng, kept))
        slots.append([-1 if code is None else codes.index(code) for code in placed])
    rows = [tokens.ids(tokenizer, text) for text in texts]
    hidden: list[Any] = [None] * count
    order = sorted(range(count), key=lambda i: len(rows[i]))
    half = tokens.lower_half(model)
    for start in tqdm(range(0, count, 16), desc="hidden states", mininterval=5):
        some = order[start : start + 16]
        states, there = tokens.hidden(half, [rows[i] for i in some])
        for i, state, seen in zip(some, states, there, strict=True):
            hidden[i] = state[seen].half()
    return Requests(hidden, torch.tensor(slots))


def loss_of(net: Drawer, hidden: list[Tensor], slots: Tensor, table: Tensor) -> Tensor:
    """Of presence, and of the vectors that are present: one less their cosine, and their squared error."""
    longest = max(map(len, hidden))
    padded = torch.stack([F.pad(one.float(), (0, 0, longest - len(one), 0)) for one in hidden])
    there = torch.stack([F.pad(torch.ones(len(one), dtype=torch.bool), (longest - len(one), 0)) for one in hidden])
    vectors, present = net(padded, there)
    wanted = slots >= 0
    asked = F.binary_cross_entropy_with_logits(present, wanted.float())
    if not wanted.any():
        return asked
    alike = (vectors[wanted] * table[slots[wanted]]).sum(-1)
    return asked + (1 - alike).mean() + F.mse_loss(vectors[wanted], table[slots[wanted]]) * table.shape[1]


@torch.no_grad()
def right(net: Drawer, data: Requests, table: Tensor) -> float:
    """Share of requests whose slots, by presence and by the nearest statement, are all those asked for."""
    hits = 0
    for hidden, slots in zip(data.hidden, data.slots, strict=True):
        vectors, present = net.eval()(hidden.float()[None], torch.ones(1, len(hidden), dtype=torch.bool))
        heard = torch.where(present[0] > 0, (vectors[0] @ table.T).argmax(-1), -1)
        hits += bool((heard == slots).all())
    return hits / len(data.slots)


def train(args: argparse.Namespace) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(args.seed)
    source = args.base or smollm2.convert()
    tokenizer = AutoTokenizer.from_pretrained(source)
    model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    codes = flow()[1]
    table = torch.from_numpy(embed([phrases(code)[0] for code in codes]))
    labelled = ptbxl.load(args.data)
    args.out.mkdir(parents=True, exist_ok=True)
    sides = []
    for name, folds, count in (("train", ptbxl.TRAIN, args.prompts), ("held", ptbxl.VALIDATION, args.prompts // 8)):
        file = args.out / f"requests_{name}_{count}.pt"
        if file.exists():
            sides.append(Requests(*recipe.load(file)))
            continue
        sets = label_sets(labelled.folds(*folds), codes)
        sides.append(requests(model, tokenizer, sets, codes, count, args.seed + (name == "held")))
        recipe.save(tuple(sides[-1]), file)
    known, held = sides
    net = Drawer(Shape(hidden=model.config.hidden_size))
    optimiser = torch.optim.AdamW(net.parameters(), args.lr, weight_decay=0.02)
    steps = -(-len(known.slots) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.lr, total_steps=args.epochs * steps + 1)
    best, rng = {"right": -1.0}, np.random.default_rng(args.seed)
    for epoch in tqdm(range(args.epochs), desc="epochs"):
        for rows in np.array_split(rng.permutation(len(known.slots)), steps):
            loss = loss_of(net.train(), [known.hidden[i] for i in rows], known.slots[rows], table)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
        if (epoch + 1) % 5 == 0 or epoch + 1 == args.epochs:
            share = right(net, held, table)
            if share > best["right"]:
                best = {"right": round(share, 4), "epoch": epoch + 1}
                state = {name: value.half().contiguous() for name, value in net.state_dict().items()}
                config = json.dumps({"shape": net.config()})
                save_file(state, args.out / "drawing.safetensors", metadata={"config": config})
    return {"validation": best, "requests": len(known.slots), "slots": SLOTS}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of PTB-XL, or one that holds ptb-xl")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", help="another causal language model (folder)")
    parser.add_argument("--prompts", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = arguments().parse_args()
    figures = train(args)
    write_card(args.out / "drawing.safetensors", card(args, figures))


def card(args: argparse.Namespace, figures: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "drawing",
        "what": "generation tokens of SmolLM2-135M-Instruct (its lower half, frozen) -> sentence vectors for the flow",
        "data": "requests worded by code from label sets of PTB-XL (CC BY 4.0, doi 10.13026/kfzx-aw45)",
        "split": "recordings by patient (folds 1-7 teach, 8 says which epoch is kept, 9 is opened by training.evaluate "
        "drawing), not by combination of labels: most label sets of fold 8 also stand in folds 1-7",
        "command": f"python -m training.drawing --data DIR --out DIR --prompts {args.prompts} --epochs {args.epochs} "
        f"--lr {args.lr} --seed {args.seed}",
        "input": "a request as agent/drawing.py renders it; hidden states after layer 15 of 30",
        "figures": figures,
        "limits": "English; the phrases of tools/drawing_phrases.txt. Where it hears other statements than the words "
        "hold, the sentence encoder is used.",
    }


if __name__ == "__main__":
    recipe.run(main)
