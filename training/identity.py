"""Train the extractor of persons (encoders/identity.py) by contrast.

    python -m training.identity --data DIR --out DIR [--epochs 60]

`DIR` holds `ptb-xl` and, if it is there, `ptb-xl-filtered`. Two views of one patient belong together: two of his
recordings where he has several, else two halves of one; all others of the batch do not (InfoNCE; Radford et al. 2021).
Each view comes with its own condition, of which a part is withheld at random. Folds 1-7 train; fold 8 chooses the epoch
by how often a half finds its other half among all; folds 9 and 10 are not read.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm import tqdm

from encoders import vae
from encoders.identity import Identity, Shape
from training import flow_data, ptbxl, recipe
from training.cards import write_card

BATCH, LR, TEMPERATURE = 128, 1e-3, 0.07
WITHHELD = 0.3  # of the conditions of a view


def fit(known: flow_data.Latents, wording: flow_data.Words, args: argparse.Namespace) -> tuple[Identity, dict]:
    """The network of the best epoch, and its figures on validation."""
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    train = known.rows(np.isin(known.fold, ptbxl.TRAIN))
    judge = known.rows(np.isin(known.fold, ptbxl.VALIDATION))
    net = Identity(Shape(latent=known.latent.shape[2]))
    optimiser = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.01)
    several = {patient: np.flatnonzero(train.patient == patient) for patient in train.patient}
    patients = np.unique(train.patient)
    steps = max(len(patients) // args.batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=args.epochs * steps)
    best: dict[str, Any] = {"found": -1.0}
    for epoch in tqdm(range(args.epochs), desc="epochs"):
        order = rng.permutation(patients)[: steps * args.batch]
        for group in order.reshape(steps, -1):
            views = [pair(train, several[patient], rng) for patient in group]
            one, other = (
                net.train()(latent, given)
                for latent, given in (view(train, [pair_[side] for pair_ in views], wording, rng) for side in (0, 1))
            )
            alike = one @ other.T / TEMPERATURE
            target = torch.arange(len(alike))
            loss = (F.cross_entropy(alike, target) + F.cross_entropy(alike.T, target)) / 2
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        figures = {"found": found(net.eval(), judge, wording), "of": len(judge.fold), "epoch": epoch + 1}
        if figures["found"] > best["found"]:
            best = figures
            recipe.save(net.state_dict(), args.out / "best.pt")
    net.load_state_dict(recipe.load(args.out / "best.pt"))
    return net.eval(), best


def pair(known: flow_data.Latents, rows: np.ndarray, rng: np.random.Generator) -> list[tuple[int, str, int]]:
    """Two views of one patient: (row, "latent" or "half", which of them)."""
    if len(rows) > 1:
        return [(int(row), "latent", int(rng.integers(flow_data.VERSIONS))) for row in rng.choice(rows, 2, False)]
    return [(int(rows[0]), "half", side) for side in rng.permutation(2)]


def view(known: flow_data.Latents, chosen: list, wording: flow_data.Words, rng: np.random.Generator) -> tuple:
    """Latents and conditions of a list of views."""
    latent = np.stack([getattr(known, kind)[row, which] for row, kind, which in chosen]).astype(np.float32)
    rows = np.array([row for row, _, _ in chosen])
    version = np.array([which if kind == "latent" else 0 for _, kind, which in chosen])
    given = flow_data.asked(known, rows, version, wording, rng)
    kept = [torch.from_numpy(rng.random(mask.shape) >= WITHHELD) for mask in (given.has_text, given.has_numbers)]
    return torch.from_numpy(latent), given.without(kept[0], kept[1], given.has_person)


@torch.inference_mode()
def found(net: Identity, known: flow_data.Latents, wording: flow_data.Words) -> float:
    """How often the first half of a recording is nearest to its own second half, among all."""
    rng = np.random.default_rng(0)
    given = flow_data.asked(known, np.arange(len(known.fold)), np.zeros(len(known.fold), int), wording, rng)
    halves = [net(torch.from_numpy(known.half[:, side].astype(np.float32)), given) for side in (0, 1)]
    nearest = (halves[0] @ halves[1].T).argmax(dim=1)
    return round(float((nearest == torch.arange(len(nearest))).float().mean()), 4)


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    table = ptbxl.load(args.data)
    net, _ = vae.opened(args.vae)
    known = flow_data.prepared(args.data, table, net, args.out)
    extractor, figures = fit(known, flow_data.words(table.codes["statement"]), args)
    file = args.out / "identity.safetensors"
    tensors = {name: value.half().contiguous() for name, value in extractor.state_dict().items()}
    save_file(tensors, file, metadata={"config": json.dumps({"shape": extractor.config()})})
    write_card(file, {
        "name": "identity",
        "what": "whose ECG it is, whatever it shows: a vector of the person from the latent",
        "data": f"PTB-XL (CC BY 4.0), {int(np.isin(known.fold, ptbxl.TRAIN).sum())} recordings of folds 1-7",
        "split": "by patient: folds 1-7 train, 8 chooses the epoch, 9 is for evaluation, 10 untouched",
        "command": f"python -m training.identity --data DIR --out DIR --epochs {args.epochs} --seed {args.seed}",
        "input": "latent of the autoencoder (vae.safetensors), and what is known of the recording",
        "figures": {"validation, a half finds its other half": figures},
        "limits": "nearly all patients have one recording: what lasts for years is hardly learnt; not for "
        "identification",
    })  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="its latents.npz is used if it is there")
    parser.add_argument("--vae", type=Path, default=vae.FILE)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    recipe.run(main)
