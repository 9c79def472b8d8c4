"""Sketch the ECGs that the flow learns from, so that none of them is drawn again (encoders/novelty.py).

    python -m training.novelty --data DIR --out DIR [--vae FILE]

After the autoencoder, and again whenever it or what the flow learns from changes. The limit is the first percentile of
the distances from each training recording of true amplitudes to its nearest neighbour.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from encoders import novelty, vae
from training import ptbxl, recipe
from training.cards import write_card

PERCENTILE = 1


def apart(latent: torch.Tensor) -> torch.Tensor:
    """(n,) distance of each of (n, d) to its nearest neighbour."""
    return torch.cdist(latent, latent).fill_diagonal_(float("inf")).min(dim=1).values


def write(sketches: torch.Tensor, limit: float, file: Path) -> None:
    """In eight bits a projection."""
    step = float(sketches.abs().max()) / 127
    config = json.dumps({"step": step, "limit": limit})
    save_file({"sketches": (sketches / step).round().to(torch.int8)}, file, metadata={"config": config})


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    autoencoder, _ = vae.opened(args.vae)
    train = ptbxl.load(args.data).folds(*ptbxl.TRAIN)
    latent = novelty.latents(autoencoder, train.signal)
    limit = round(float(apart(latent[torch.from_numpy(train.raw)]).quantile(PERCENTILE / 100)), 3)
    file = args.out / "novelty.safetensors"
    write(novelty.sketch(latent), limit, file)
    write_card(file, {
        "name": "novelty",
        "what": "sketches of the ECGs that the flow has learnt from: a drawing too near to one is drawn again",
        "data": f"PTB-XL (CC BY 4.0), {len(train)} recordings of folds 1-7",
        "split": "the training folds 1-7 of the flow alone",
        "command": "python -m training.novelty --data DIR --out DIR",
        "input": "latent of the autoencoder (vae.safetensors)",
        "figures": {"limit": limit, "of": f"nearest neighbours in training, percentile {PERCENTILE}"},
        "limits": "it knows the recordings of this flow's training alone, and nearness in this autoencoder's latent",
    })  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--vae", type=Path, default=vae.FILE)
    return parser


if __name__ == "__main__":
    recipe.run(main)
