"""Train the autoencoder of ECGs (encoders/vae.py): any leads in, twelve out, a latent for the flow.

    python -m training.vae --data DIR --out DIR [--epochs 60] [--minutes 90] [--start vae.safetensors] [--shape 0.05]

`DIR` holds `ptb-xl` and, if they are there, `ptb-xl-filtered`, `cinc2011` and `ludb`. Folds 1-7 and the unlabelled
sets are learnt from; fold 8 chooses the epoch that is kept (correlation of nine leads from II, V1, V5) and sets the
width of the band; folds 9 and 10 are not read. The loss: squared error and slope of what was hidden (and, a quarter of
it, of what was seen), its correlation lead by lead, so that small leads count as large ones do, the likelihood of the
error that is stated, and the divergence of the latent from a normal one, let in slowly and not below a floor, so that
the latent stays in use. Recordings whose chest amplitudes are lost teach by their correlation alone. The weights kept
are the running mean of the steps. State is saved after every epoch; the same command goes on. What goes on from other
weights (`--start`) keeps the latents of whole ECGs where they were, so that a flow learnt over them still fits.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from encoders.vae import DRAWS, Shape, Vae, opened
from tools.recording import LEADS
from training import ptbxl, recipe, vae_data
from training.cards import write_card

EMA = 0.995
BATCH, LR = 32, 2e-3
SLOPE, SHAPE = 1.0, 0.05  # what slope and correlation count beside the squared error
ANCHOR = 0.1  # and, after `--start`, how far whole ECGs have moved in the latent, in units of its spread
SPREAD, PRIOR = 2e-3, 1e-4  # and likelihood and divergence
FLOOR = 0.05  # nats of a latent value that cost nothing
SEEN = 0.25  # what the error of a measured sample counts
SHOWN = 0.6  # of the records let the decoder see the measured leads again
INTO = ("II", "V1", "V5")  # what chooses the epoch
BAND = 1.2816  # standard errors on each side that hold 80 % of normal errors, for the figure


def loss_of(
    net: Any, clean: Tensor, noisy: Tensor, known: Tensor, shown: Tensor, raw: Tensor, prior: float,
    shape_counts: float = SHAPE, before: Vae | None = None,
) -> Tensor:  # fmt: skip
    """See the module. All (B, 12, SAMPLES); `shown` and `raw`, whether amplitudes are true, (B,)."""
    made, log_error, mean, log_var = net(noisy, known, shown)
    weight = torch.where(known, SEEN, 1.0)
    true = weight * raw[:, None, None]
    error, total = made - clean, true.sum().clamp_min(1.0)
    squared = (true * error.square()).sum() / total
    slope = (true[..., 1:] * error.diff(dim=2).square()).sum() / total
    shape = (1 - alike(made, clean, weight)).mean()
    likely = log_error + error.detach().square() / 2 * (-2 * log_error).exp()
    divergence = 0.5 * (mean.square() + log_var.exp() - log_var - 1)
    spread = (likely * raw[:, None, None]).mean()
    loss = squared + SLOPE * slope + shape_counts * shape + SPREAD * spread
    loss = loss + prior * divergence.clamp_min(FLOOR).sum(1).mean()
    if before is not None and (whole := known.all(dim=(1, 2))).any():
        with torch.no_grad():
            stood, _ = before.encode(noisy[whole], known[whole])
        loss = loss + ANCHOR * ((mean[whole] - stood) / before.scale[:, None]).square().mean()
    return loss


def alike(one: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """(B, 12) Pearson correlation of each lead, samples weighted; 0 where one is flat."""
    weight = weight / weight.sum(-1, keepdim=True)
    one, other = (x - (weight * x).sum(-1, keepdim=True) for x in (one, other))
    size = (weight * one.square()).sum(-1) * (weight * other.square()).sum(-1)
    return (weight * one * other).sum(-1) / (size + 1e-8).sqrt()


def only(leads: tuple[str, ...], records: int, samples: int) -> np.ndarray:
    """(records, 12, samples) bool: these leads throughout."""
    known = np.zeros((records, 12, samples), bool)
    known[:, [LEADS.index(lead) for lead in leads]] = True
    return known


def rebuilt(net: Vae, signal: np.ndarray, known: np.ndarray, draws: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Twelve leads from what is known, and their standard errors; (records, 12, SAMPLES). See `Vae.rebuild`."""
    device = next(net.parameters()).device
    parts = zip(torch.from_numpy(signal).split(64), torch.from_numpy(known).split(64), strict=True)
    made = [net.rebuild(x.to(device), k.to(device), draws) for x, k in parts]
    leads, errors = (torch.cat(one).cpu().numpy() for one in zip(*made, strict=True))
    return leads, errors


def fit(
    train: np.ndarray, raw: np.ndarray, validation: np.ndarray, args: argparse.Namespace
) -> tuple[Vae, dict[str, Any]]:
    """The network of the best epoch and its figures on validation. `raw` (records,): whose amplitudes are true."""
    accelerator = Accelerator()
    torch.manual_seed(args.seed)
    net = Vae(Shape())
    before = None
    if args.start:  # the sizes are those of `Shape`: a file of other sizes does not load
        before = opened(args.start)[0].to(accelerator.device)
        net.load_state_dict(before.state_dict())
    mean = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA))
    optimiser = torch.optim.AdamW(net.parameters(), args.lr, weight_decay=0.02)
    net, optimiser = accelerator.prepare(net, optimiser)
    mean.to(accelerator.device)
    steps = len(train) // args.batch
    known = only(INTO, len(validation), validation.shape[2])
    state_file, first, best = args.out / "state.pt", 0, {"pcc": -1.0}
    if state_file.exists():
        state = recipe.load(state_file)
        accelerator.unwrap_model(net).load_state_dict(state["net"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        first, best = state["epoch"], state["best"]
    began = time.monotonic()
    for epoch in range(first, args.epochs):
        rng = np.random.default_rng((args.seed, epoch))
        torch.manual_seed(args.seed * 1000 + epoch)
        order = rng.permutation(len(train))[: steps * args.batch].reshape(steps, args.batch)
        for step, rows in enumerate(bar := tqdm(order, desc=f"epoch {epoch + 1}/{args.epochs}", mininterval=5)):
            done = (epoch + step / steps) / args.epochs
            for group in optimiser.param_groups:
                group["lr"] = args.lr * min(1.0, done * 20) * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-6
            clean = vae_data.varied(rng, train[rows], turned=raw[rows])
            noisy = clean + rng.normal(0, 1, clean.shape) * rng.exponential(0.01, (*clean.shape[:2], 1))
            batch = (clean, noisy.astype(np.float32), vae_data.hidden(rng, len(rows)), rng.random(len(rows)) < SHOWN)
            clean_, noisy_, known_, shown, true = (
                torch.from_numpy(one).to(accelerator.device) for one in (*batch, raw[rows])
            )
            prior = PRIOR * (1.0 if args.start else min(1.0, 5 * done))
            loss = loss_of(net.train(), clean_, noisy_, known_, shown, true, prior, args.shape, before)
            accelerator.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            mean.update_parameters(accelerator.unwrap_model(net))
            bar.set_postfix(loss=f"{loss.item():.4f}", best=f"{best['pcc']:.4f}", refresh=False)
        averaged: Vae = mean.module.eval()  # type: ignore[assignment]
        figures = judged(averaged, validation, known)
        if figures["pcc"] > best["pcc"]:
            best = {**figures, "epoch": epoch + 1}
            recipe.save(averaged.state_dict(), args.out / "best.pt")
            drawn(averaged, validation, known, args.out / "validation.png")
        print(f"epoch {epoch + 1}: {figures} best {best}", flush=True)
        state = {"net": accelerator.unwrap_model(net).state_dict(), "mean": mean.state_dict()}
        recipe.save(state | {"optimiser": optimiser.state_dict(), "epoch": epoch + 1, "best": best}, state_file)
        if args.minutes and time.monotonic() - began > 60 * args.minutes:
            break
    kept = Vae(Shape())
    kept.load_state_dict(recipe.load(args.out / "best.pt"))
    return kept.eval(), best


def judged(net: Vae, signal: np.ndarray, known: np.ndarray) -> dict[str, float]:
    """Mean squared error (mV²) and Pearson correlation of the leads that were hidden."""
    made, _ = rebuilt(net, signal, known)
    missing = ~known.any(axis=(0, 2))
    return {
        "mse": round(float(np.square(made - signal)[:, missing].mean()), 5),
        "pcc": round(float(correlation(made[:, missing], signal[:, missing]).mean()), 4),
    }


def correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Pearson correlation along the last axis; 0 where a signal is flat."""
    one, other = one - one.mean(-1, keepdims=True), other - other.mean(-1, keepdims=True)
    size = np.sqrt(np.square(one).sum(-1) * np.square(other).sum(-1))
    return (one * other).sum(-1) / np.maximum(size, 1e-9)


def drawn(net: Vae, signal: np.ndarray, known: np.ndarray, file: Path) -> None:
    """Four recordings of validation, as recorded and as rebuilt, to look at during training."""
    from matplotlib.figure import Figure

    made, error = rebuilt(net, signal[:4], known[:4])
    figure = Figure(figsize=(18, 11))
    axes = figure.subplots(4, 5)
    for row in range(4):
        for axis, lead in zip(axes[row], ("I", "aVF", "V2", "V4", "V6"), strict=True):
            n, part, time_s = LEADS.index(lead), slice(0, 400), np.arange(400) / 100
            low, high = (made[row, n, part] + sign * BAND * error[row, n, part] for sign in (-1, 1))
            axis.fill_between(time_s, low, high, color="tab:red", alpha=0.2)
            axis.plot(time_s, signal[row, n, part], "k", linewidth=0.8)
            axis.plot(time_s, made[row, n, part], "tab:red", linewidth=0.8)
            axis.set_title(lead)
    figure.tight_layout()
    figure.savefig(file, dpi=60)


def calibrated(net: Vae, validation: np.ndarray) -> list[float]:
    """(12,) by how much each lead's standard error is multiplied to give half of a band that holds 80 %."""
    out = np.ones((len(BANDS), 12))
    for row, leads in enumerate(BANDS):
        known = only(leads, len(validation), validation.shape[2])
        made, error = rebuilt(net, validation, known, DRAWS)
        ratio = np.abs(made - validation) / error
        out[row] = [np.quantile(ratio[:, lead], 0.8) for lead in range(12)]
        out[row, [LEADS.index(lead) for lead in leads]] = np.nan
    return [round(float(value), 3) for value in np.nanmean(out, axis=0)]


BANDS = (INTO, ("I", "II", "V2"), ("I",), ("II",))


@torch.inference_mode()
def spread(net: Vae, signal: np.ndarray) -> Tensor:
    """(latent,) standard deviation of the posterior means of complete recordings."""
    parts = torch.from_numpy(signal).split(64)
    means = torch.cat([net.encode(part, torch.ones_like(part, dtype=torch.bool))[0] for part in parts])
    return means.transpose(1, 2).flatten(0, 1).std(0)


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    table = ptbxl.load(args.data)
    chosen = table.folds(*ptbxl.VALIDATION)
    train, raw = vae_data.signals(args.data, table)
    validation = vae_data.levelled(chosen.signal[chosen.raw])
    net, figures = fit(train, raw, validation, args)
    if not args.start:  # else it is that of the weights it began from, as the latent is
        net.scale.copy_(spread(net, train[raw]))
    finish(net, figures, calibrated(net, validation), len(train), args)


def finish(net: Vae, figures: dict[str, Any], band: list[float], records: int, args: argparse.Namespace) -> None:
    """Write the network in float16 and its card."""
    file = args.out / "vae.safetensors"
    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, file, metadata={"config": json.dumps({"shape": net.config(), "band": band})})
    write_card(file, {
        "name": "vae",
        "what": "autoencoder of the ECG: any leads in, twelve out; the latent in which ECGs are drawn",
        "data": f"{records} ECGs: PTB-XL folds 1-7, as recorded or band-passed (CC BY 4.0), acceptable records of "
        "CinC 2011 and LUDB (ODC-By 1.0) where they lie beside",
        "split": "by patient: folds 1-7 train, 8 chooses the epoch and the band, 9 is for evaluation, 10 untouched",
        "command": f"python -m training.vae --data DIR --out DIR --epochs {args.epochs} --lr {args.lr} "
        f"--seed {args.seed} --shape {args.shape}" + (f" --start {args.start.name}" if args.start else ""),
        "input": "12 leads, 10 s at 100 Hz, mV; anything may be missing",
        "figures": {"validation, II V1 V5 to the other nine": figures},
        "limits": "what the measured leads do not show is the average of similar hearts: amplitudes lean to the mean, "
        "and an infarct outside their view is not rebuilt; nothing above 50 Hz",
    })  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--shape", type=float, default=SHAPE, help="what correlation counts beside the squared error")
    parser.add_argument("--start", type=Path, help="begin from these weights instead of from nothing")
    parser.add_argument("--minutes", type=float, help="stop after the epoch that passes this; resumable")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    recipe.run(main)
