"""Train the encoder of spirograms (encoders/spiro.py) on blows modelled from what NHANES measured.

    python -m training.spirogram --data DIR --out DIR [--epochs 6]

`DIR` is the folder of `SpirometryUS.csv` or the one above (`DIR/nhanes`). Curves are built once
(training/spirogram_data.py; kept in `--out`), people split 70 : 15 : 15. Every epoch blows differently: early ends,
weak starts, coughs, noise; the label stays that of the person's measured FEV1/FVC. The loss: obstruction below the
GLI LLN, and beside it the z-score of the ratio, FVC and FEV1 of the whole blow, which an early end hides. Validation
chooses the epoch (mean AUROC of whole and cut blows) and calibrates; the test people are left to
`training.evaluate spirogram`. State is saved after every epoch; the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from encoders.spiro import Shape, SpiroNet, prepared
from training import recipe
from training import spirogram_data as data
from training.cards import write_card
from training.figures import auroc

BATCH, LR = 64, 2e-3
BESIDE = 1.0  # what z and sizes count beside obstruction
CUT_S = (1.0, 3.0)  # after time zero, when a cut blow ends


def inputs(volume: np.ndarray) -> tuple[Tensor, Tensor]:
    """Tensors of the network for (people, samples) volumes at 100 Hz."""
    x, there = zip(*(prepared(one, data.FS_HZ) for one in volume), strict=True)
    return torch.from_numpy(np.stack(x)), torch.from_numpy(np.stack(there))


def targets(people: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """(people,) obstruction and (people, 3) z, log FVC, log FEV1."""
    beside = np.stack([people["z"].clip(-5, 4), np.log(people["fvc"]), np.log(people["fev1"])], axis=1)
    return torch.tensor(people["obstruction"].to_numpy(np.float32)), torch.tensor(beside, dtype=torch.float32)


def logits(net: SpiroNet, volume: np.ndarray) -> np.ndarray:
    """(people,) calibrated logits."""
    with torch.inference_mode():
        parts = [net(*inputs(part))["logit"] for part in np.array_split(volume, max(1, len(volume) // 256))]
        return (net.scale[0] * torch.cat(parts) + net.scale[1]).numpy()


def cut(curves: data.Curves, rows: np.ndarray, seed: int = 0) -> np.ndarray:
    """The blows of `rows`, each ended somewhere in `CUT_S` after time zero."""
    after_s = np.random.default_rng((seed, 1)).uniform(*CUT_S, len(curves.zero_s))
    return data.stopped(curves.volume[rows], curves.zero_s[rows], after_s[rows])


def area(p: np.ndarray, truth: np.ndarray) -> float:
    return float(auroc(p[:, None], truth[:, None])[0])


def fit(people: pd.DataFrame, curves: data.Curves, args: argparse.Namespace) -> tuple[SpiroNet, dict[str, Any]]:
    """The network of the best epoch, calibrated, and its figures on validation."""
    torch.manual_seed(args.seed)
    rows = {name: part[curves.solved[part]] for name, part in data.split(people).items()}
    train, chosen = rows["train"], rows["validation"]
    truth = people["obstruction"].to_numpy()[chosen]
    label, beside = targets(people)
    net = SpiroNet(Shape())
    optimiser = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.01)
    steps, state_file, first, best = len(train) // args.batch, args.out / "state.pt", 0, {"auroc": 0.0}
    if state_file.exists():
        state = recipe.load(state_file)
        net.load_state_dict(state["net"])
        optimiser.load_state_dict(state["optimiser"])
        first, best = state["epoch"], state["best"]
    for epoch in range(first, args.epochs):
        rng = np.random.default_rng((args.seed, epoch))
        order = rng.permutation(train)[: steps * args.batch].reshape(steps, args.batch)
        net.train()
        for step, batch in enumerate(bar := tqdm(order, desc=f"epoch {epoch + 1}/{args.epochs}", mininterval=5)):
            done = (epoch + step / steps) / args.epochs
            for group in optimiser.param_groups:
                group["lr"] = LR * min(1.0, 10 * done + 0.05) * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-6
            out = net(*inputs(data.varied(rng, curves.volume[batch], curves.zero_s[batch])))
            loss = nn.functional.binary_cross_entropy_with_logits(out["logit"], label[batch])
            loss = loss + BESIDE * nn.functional.smooth_l1_loss(out["beside"], beside[batch], beta=0.5)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            bar.set_postfix(loss=f"{loss.item():.4f}", best=f"{best['auroc']:.4f}", refresh=False)
        net.eval()
        whole, early = (area(logits(net, v), truth) for v in (curves.volume[chosen], cut(curves, chosen)))
        figures = {"auroc": round((whole + early) / 2, 4), "whole": round(whole, 4), "cut": round(early, 4)}
        if figures["auroc"] > best["auroc"]:
            best = {**figures, "epoch": epoch + 1}
            recipe.save(net.state_dict(), args.out / "best.pt")
        print(f"epoch {epoch + 1}: {figures} best {best}", flush=True)
        state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch + 1, "best": best}
        recipe.save(state, state_file)
    net.load_state_dict(recipe.load(args.out / "best.pt"))
    net.eval()
    calibrate(net, data.varied(np.random.default_rng(args.seed), curves.volume[chosen], curves.zero_s[chosen]), truth)
    return net, best


def calibrate(net: SpiroNet, volume: np.ndarray, truth: np.ndarray) -> None:
    """Set factor and offset of the logit so that validation's probabilities are right (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    line = LogisticRegression(C=1e6).fit(logits(net, volume)[:, None], truth)
    net.scale.copy_(torch.tensor([line.coef_[0, 0], line.intercept_[0]]))


def built(people: pd.DataFrame, folder: Path) -> data.Curves:
    """The curves, from `folder` if they were built before."""
    file = folder / "curves.npz"
    if not file.exists():
        made = data.modelled(people)
        np.savez(file, volume=made.volume.astype(np.float32), zero_s=made.zero_s, solved=made.solved)
    kept = np.load(file)
    return data.Curves(kept["volume"], kept["zero_s"], kept["solved"])


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    people = data.nhanes(args.data)
    curves = built(people, args.out)
    net, figures = fit(people, curves, args)
    finish(net, figures, people, curves, args)


def finish(net: SpiroNet, figures: dict[str, Any], people: pd.DataFrame, curves: data.Curves, args: Any) -> None:
    """Write the network in float16 and its card."""
    file = args.out / "spiro.safetensors"
    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, file, metadata={"config": json.dumps({"shape": net.config()})})
    write_card(file, {
        "name": "spiro",
        "what": "encoder of spirograms: a vector for each 0.3 s of a forced expiration, a probability of obstruction",
        "data": f"NHANES 2007-12 spirometry (Zavorsky 2024, doi 10.17632/dwjykg3xww.1), {len(people)} people: numbers "
        "and labels are measured, the CURVES ARE MODELLED from FVC, FEV1, PEF, FEF25-75, FET and BEV; "
        f"{int(curves.solved.sum())} could be modelled",
        "split": "by person: 70 % train, 15 % choose the epoch and calibrate, 15 % for evaluation",
        "command": f"python -m training.spirogram --data DIR --out DIR --epochs {args.epochs} --seed {args.seed}",
        "input": "volume of one forced expiration in L, resampled to 100 Hz, 10.8 s from shortly before its peak flow",
        "figures": {"validation AUROC, people whose curve meets all numbers": figures},
        "limits": "no real curve was seen in training: what NHANES did not measure of a curve is a smooth guess, and "
        "artefacts are drawn by rule; it knows neither age nor height and cannot replace the ratio and its LLN where "
        "these are known; people of 6 to 80 years in the USA; restriction is not judged",
    })  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    recipe.run(main)
