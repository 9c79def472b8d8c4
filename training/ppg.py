"""Train the networks that draw lead II from a pulse wave (encoders/ppg.py).

    python -m training.ppg --data DIR --out DIR [--epochs 8] [--flow-epochs 14] [--minutes 20] [--settled 0.5]

`DIR` holds `bidmc`, or is it: WFDB records with PLETH and lead II. Patients are split by the hash of their record's
name (training/ppg_data.py); training patients teach, validation patients set the threshold of a beat, test patients
are not read. First the shared latent: reconstruction of both signals, each from its own latent and from the other's,
closeness of the two latents, contrast, and the R peaks from the pulse's latent alone. Then the flow over the ECG's
latent. The arrival time is a line in heart rate and rise of the pulse, fitted to one value of each training and
validation patient; its error is that of each patient left out in turn. Once all is chosen, validation patients teach,
too (`--settled` with the threshold they had chosen). The weights kept are the running mean of the
steps; state is saved after every epoch and the same command goes on.
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
from torch.nn import functional as F
from tqdm import tqdm

from encoders.ppg import FAST, SLOW, PpgToEcg, Shape, contrast, levelled
from tools import pulse
from training import ppg_data, recipe
from training.cards import write_card
from training.ppg_data import Record

EMA = 0.98
BATCH, LR = 32, 3e-3
HOP = 1000  # samples between training windows; each begins up to half of it earlier or later
PRIOR, ALIGN, CONTRAST, CROSS, SLOPE, BEAT = 1e-4, 0.02, 0.01, 0.3, 1.0, 2.0  # what the parts of the loss count
SAME_S = 0.05  # a beat this near to the true one is found


def align_loss(net: PpgToEcg, ppg: Tensor, ecg: Tensor, bump: Tensor) -> Tensor:
    """See the module. (B, SAMPLES) each: levelled pulse waves, ECGs in units of their height, bumps at R peaks."""
    pulse_mean, pulse_var = net.ppg_in(ppg[:, None])
    heart_mean, heart_var = net.ecg_in(ecg[:, None])
    z = [mean + torch.randn_like(mean) * (var / 2).exp()
         for mean, var in ((pulse_mean, pulse_var), (heart_mean, heart_var))]  # fmt: skip
    made_ppg = net.ppg_out(torch.cat(z))[:, 0].chunk(2)
    made_ecg = net.ecg_out(torch.cat(z))[:, 0].chunk(2)
    own = away(made_ppg[0], ppg) + away(made_ecg[1], ecg)
    other = away(made_ppg[1], ppg) + away(made_ecg[0], ecg)
    divergence = sum(
        (0.5 * (mean.square() + var.exp() - var - 1)).sum(1).mean()
        for mean, var in ((pulse_mean, pulse_var), (heart_mean, heart_var))
    )
    together = (pulse_mean - heart_mean).square().mean()
    logits = net.beat_out(pulse_mean)[:, 0]
    beats = F.binary_cross_entropy_with_logits(logits, bump, pos_weight=torch.tensor(4.0, device=bump.device))
    return (
        own + CROSS * other + PRIOR * divergence + ALIGN * together
        + CONTRAST * contrast(pulse_mean, heart_mean) + BEAT * beats
    )  # fmt: skip


def away(made: Tensor, true: Tensor) -> Tensor:
    """Mean squared error of the signal and of its slope."""
    return (made - true).square().mean() + SLOPE * (made.diff(dim=1) - true.diff(dim=1)).square().mean()


def flow_loss(net: PpgToEcg, ppg: Tensor, ecg: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Squared error of the velocity on the straight path from `noise` to the ECG's latent; only the flow learns."""
    with torch.no_grad():
        told, _ = net.told(ppg[:, None])
        latent = net.ecg_in(ecg[:, None])[0] / net.scale[:, None]
    at = t[:, None, None]
    return (net.flow((1 - at) * noise + at * latent, t, told) - (latent - noise)).square().mean()


def fit(records: list[Record], args: argparse.Namespace) -> tuple[PpgToEcg, dict[str, Any]]:
    """The running mean of the steps and its figures on validation patients."""
    train = taught(records, args)
    judge = [] if args.settled else [one for one in records if one.part == "validation"]
    rows, counts = ppg_data.windows(train, HOP)
    checks, _ = ppg_data.windows(judge, HOP)
    print(f"{len(train)} patients train, windows {counts}; {len(judge)} choose", flush=True)
    accelerator = Accelerator()
    torch.manual_seed(args.seed)
    net = PpgToEcg(args.shape)
    mean = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA))
    optimiser = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.01)
    net, optimiser = accelerator.prepare(net, optimiser)
    mean.to(accelerator.device)
    steps, epochs = max(len(rows) // args.batch, 1), args.epochs + args.flow_epochs
    state_file, first = args.out / "state.pt", 0
    figures: dict[str, Any] = {"windows": counts} | ({"threshold": args.settled} if args.settled else {})
    if state_file.exists():
        state = recipe.load(state_file)
        accelerator.unwrap_model(net).load_state_dict(state["net"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        first, figures = state["epoch"], state["figures"]
    began = time.monotonic()
    for epoch in range(first, epochs):
        rng = np.random.default_rng((args.seed, epoch))
        torch.manual_seed(args.seed * 1000 + epoch)
        flows = epoch >= args.epochs
        if epoch == args.epochs:  # the latent is settled: the flow learns over the mean of its steps
            accelerator.unwrap_model(net).load_state_dict(mean.module.state_dict())
            accelerator.unwrap_model(net).scale.copy_(spread(mean.module, train, rows))  # type: ignore[arg-type]
        order = np.resize(rng.permutation(len(rows)), (steps, args.batch))
        losses = []
        for step, some in enumerate(tqdm(order, desc=f"epoch {epoch + 1}/{epochs}", mininterval=5)):
            done = (epoch - args.epochs * flows + step / steps) / (args.flow_epochs if flows else args.epochs)
            for group in optimiser.param_groups:
                group["lr"] = LR * min(1.0, done * 20) * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-6
            given = [torch.from_numpy(one).to(accelerator.device) for one in ppg_data.batch(train, rows[some], rng)]
            ppg, ecg, bump = levelled(given[0]), given[1], given[2]
            if flows:
                noise = torch.randn(len(ppg), net.shape.latent, ppg.shape[1] // 8, device=ppg.device)
                loss = flow_loss(net, ppg, ecg, noise, torch.rand(len(ppg), device=ppg.device))
            else:
                loss = align_loss(net.train(), ppg, ecg, bump)
            accelerator.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            mean.update_parameters(accelerator.unwrap_model(net))
            losses.append(loss.item())
        averaged: PpgToEcg = mean.module.eval()  # type: ignore[assignment]
        averaged.scale.copy_(accelerator.unwrap_model(net).scale)
        figures |= {"epochs": epoch + 1, "loss": round(float(np.mean(losses)), 4)}
        figures |= judged(averaged, judge, checks, flows)
        print(f"epoch {epoch + 1}: {figures}", flush=True)
        state = {"net": accelerator.unwrap_model(net).state_dict(), "mean": mean.state_dict(), "figures": figures}
        recipe.save(state | {"optimiser": optimiser.state_dict(), "epoch": epoch + 1}, state_file)
        if args.minutes and time.monotonic() - began > 60 * args.minutes:
            break
    return mean.module.cpu().eval(), figures  # type: ignore[return-value]


def taught(records: list[Record], args: argparse.Namespace) -> list[Record]:
    """Whose records are learnt from."""
    return [one for one in records if args.settled or one.part == "train"]


@torch.inference_mode()
def judged(net: PpgToEcg, records: list[Record], rows: np.ndarray, flows: bool) -> dict[str, float]:
    """On validation windows, in the time of the pulse: F1 of the beats within 50 ms, or the error of the velocity."""
    if not len(rows):
        return {}
    device, rng = net.scale.device, np.random.default_rng(0)
    ppg, ecg, _ = (torch.from_numpy(one).to(device) for one in ppg_data.batch(records, rows[:128]))
    ppg = levelled(ppg)
    if flows:
        noise = torch.from_numpy(rng.normal(0, 1, (len(ppg), net.shape.latent, ppg.shape[1] // 8)).astype(np.float32))
        t = torch.linspace(0.01, 0.99, len(ppg), device=device)
        return {"velocity_error": round(float(flow_loss(net, ppg, ecg, noise.to(device), t)), 4)}
    beat = torch.sigmoid(net.told(ppg[:, None])[1]).cpu().numpy()
    found = {at: _f1(beat, records, rows[:128], at) for at in THRESHOLDS}
    best = max(found, key=lambda at: found[at])
    return {"beats_f1": round(found[best], 4), "threshold": best}


THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)


def _f1(beat: np.ndarray, records: list[Record], rows: np.ndarray, threshold: float) -> float:
    hits = found = true = 0  # beats
    for one, (number, start) in zip(beat, rows, strict=True):
        record = records[number]
        at_s = pulse.beats_s(one, threshold) + start / pulse.FS_HZ
        wanted = record.r_s + record.arrival_s
        wanted = wanted[(wanted >= start / pulse.FS_HZ) & (wanted < start / pulse.FS_HZ + len(one) / pulse.FS_HZ)]
        hits += int(sum(len(at_s) > 0 and np.abs(at_s - time_s).min() < SAME_S for time_s in wanted))
        found, true = found + len(at_s), true + len(wanted)
    return float(2 * hits / max(found + true, 1))


@torch.inference_mode()
def spread(net: PpgToEcg, records: list[Record], rows: np.ndarray) -> Tensor:
    """(latent,) standard deviation of the latents of these ECGs."""
    _, ecg, _ = ppg_data.batch(records, rows[:: max(len(rows) // 256, 1)])
    means = [net.ecg_in(part[:, None])[0] for part in torch.from_numpy(ecg).to(net.scale.device).split(64)]
    return torch.cat(means).transpose(1, 2).flatten(0, 1).std(0)


def arrival_line(records: list[Record]) -> tuple[Tensor, float]:
    """Arrival time as a line in RR and rise of the pulse, one value a patient, outliers counting less; and the standard
    deviation in s of what it misses when each patient is left out in turn."""
    from scipy.optimize import least_squares

    told = [(pulse.usual_pulse(one.wave), float(np.median(one.arrival_s))) for one in records]
    x = np.array([(1.0, *of) for of, _ in told if of is not None])
    y = np.array([late for of, late in told if of is not None])

    def line(rows: np.ndarray) -> np.ndarray:
        if len(rows) < 8:  # too few patients for more than their mean
            return np.array([y[rows].mean(), 0.0, 0.0])
        start = np.array([np.median(y[rows]), 0.0, 0.0])

        def missed(w: np.ndarray) -> np.ndarray:
            return x[rows] @ w - y[rows]

        return least_squares(missed, start, loss="soft_l1", f_scale=0.03).x

    every = np.arange(len(y))
    left_out = [float(y[i] - x[i] @ line(np.delete(every, i))) for i in every] if len(y) > 1 else [0.0]
    return torch.tensor(line(every), dtype=torch.float32), float(np.std(left_out))


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    made(ppg_data.load(args.data), args)


def made(records: list[Record], args: argparse.Namespace) -> Path:
    """The file of networks that learnt from these records, in float16, with their card beside it."""
    net, figures = fit(records, args)
    line, error_s = arrival_line(records)
    train = taught(records, args)
    net.arrival.copy_(line)
    net.height_mv.fill_(float(np.median([one.height_mv for one in train])))
    told = {
        "threshold": figures.get("threshold", 0.3), "arrival_error_s": round(error_s, 4), "patients": len(records),
        "usual_arrival_s": round(float(np.mean([np.median(one.arrival_s) for one in records])), 4),
    }  # fmt: skip
    file = args.out / "ppg.safetensors"
    tensors = {
        name: (value if name == "arrival" else value.half()).contiguous() for name, value in net.state_dict().items()
    }
    save_file(tensors, file, metadata={"config": json.dumps({"shape": net.config(), "told": told})})
    write_card(file, {
        "name": "ppg",
        "what": "draws lead II from a pulse wave: shared latent, R peaks, rectified flow, arrival time",
        "data": f"BIDMC (ODC-By 1.0), {len(train)} intensive-care patients with lead II and PLETH, 8 min each; "
        f"the arrival time is fitted to {len(records)}, those of validation included",
        "split": "by patient, by the hash of the record's name: of 100 parts 0-19 test, 20-34 validation, others train",
        "command": f"python -m training.ppg --data DIR --out DIR --epochs {args.epochs} "
        f"--flow-epochs {args.flow_epochs} --seed {args.seed}" + (f" --settled {args.settled}" if args.settled else ""),
        "input": "pulse wave, 10 s at 100 Hz, 0.5-8 Hz, upright; longer in overlapping windows",
        "figures": {"validation patients, beats within 50 ms in the time of the pulse": figures, "told": told},
        "limits": "ST segments, infarcts, P waves and amplitudes are not in a pulse wave: those drawn are usual ones, "
        f"slow ones at {SLOW:g} and fast ones at {FAST:g} of the usual height; the arrival time of a patient is known "
        f"to about {1000 * error_s:.0f} ms only and holds the delay of these monitors, another oximeter shifts all R "
        "peaks alike; adults in intensive care only",
    })  # fmt: skip
    return file


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=8, help="of the shared latent")
    parser.add_argument("--flow-epochs", type=int, default=14)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--settled", type=float, help="learn from validation patients, too, with this threshold")
    parser.add_argument("--minutes", type=float, help="stop after the epoch that passes this; resumable")
    parser.add_argument("--seed", type=int, default=0)
    parser.set_defaults(shape=Shape())
    return parser


if __name__ == "__main__":
    recipe.run(main)
