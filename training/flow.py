"""Train the flow that draws ECGs (encoders/flow.py).

    python -m training.identity --data DIR --out DIR      # first: whose ECG it is
    python -m training.flow --data DIR --out DIR [--epochs 200] [--minutes 90]

`DIR` holds `ptb-xl` and, if it is there, `ptb-xl-filtered`, whose lost amplitudes are one of the conditions. Folds 1-7
train; fold 8 says how far the velocity is off (its recordings, fixed noise); folds 9 and 10 are not read. Conditions
are withheld at random, one by one and all together, so that each may be absent and guidance has something to push away
from; when the heart beats is always told (encoders/rhythm.py). A person is seen through another version of the
recording or another recording of the same patient. The weights kept are the running mean of the steps; state is saved
after every epoch, with a picture of four ECGs drawn from words.
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

from encoders import identity, rhythm, vae
from encoders.flow import Flow, Given, Shape
from training import flow_data, ptbxl, recipe
from training.cards import write_card

EMA = 0.995
BATCH, LR = 64, 1e-3
ONE, ALL, PERSON = 0.15, 0.1, 0.5  # how often one condition, all of them, the person are withheld
PICTURE_EVERY = 10  # epochs


def withheld(given: Given, rng: np.random.Generator) -> Given:
    """Less what is withheld at random."""
    everything = rng.random((len(given.person), 1)) >= ALL
    text, numbers = (
        torch.from_numpy((rng.random(mask.shape) >= ONE) & everything) for mask in (given.has_text, given.has_numbers)
    )
    return given.without(text, numbers, torch.from_numpy((rng.random(len(given.person)) >= PERSON) & everything[:, 0]))


def velocity_loss(
    net: Any, latent: Tensor, given: Given, noise: Tensor, t: Tensor, beats: Tensor | None = None
) -> Tensor:
    """Mean squared error of the velocity at time `t` (B,) of the straight path from `noise` to `latent`."""
    at = t[:, None, None]
    return (net((1 - at) * noise + at * latent, t, given, beats) - (latent - noise)).square().mean()


def batch(
    known: flow_data.Latents, person: np.ndarray, rows: np.ndarray, wording: flow_data.Words, rng: np.random.Generator
) -> tuple[Tensor, Given, Tensor]:
    """Latents of a random version of each recording, its conditions, its person as another version shows him, and its
    beats."""
    version, other = (rng.integers(flow_data.VERSIONS, size=len(rows)) for _ in range(2))
    given = flow_data.asked(known, rows, version, wording, rng)
    of_person = torch.from_numpy(person[rows, other]), torch.ones(len(rows), dtype=torch.bool)
    latent = torch.from_numpy(known.latent[rows, version].astype(np.float32))
    given = given._replace(person=of_person[0], has_person=of_person[1])
    return latent, given, flow_data.told(known.hearts[rows, version])


@torch.inference_mode()
def persons(extractor: identity.Identity, known: flow_data.Latents, wording: flow_data.Words) -> np.ndarray:
    """(records, VERSIONS, person) vectors, each version seen with its own conditions."""
    rng, out = np.random.default_rng(0), []
    for version in range(known.latent.shape[1]):
        parts = []
        for rows in np.array_split(np.arange(len(known.fold)), max(1, len(known.fold) // 256)):
            given = flow_data.asked(known, rows, np.full(len(rows), version), wording, rng)
            parts.append(extractor(torch.from_numpy(known.latent[rows, version].astype(np.float32)), given).numpy())
        out.append(np.concatenate(parts))
    return np.stack(out, axis=1)


def fit(
    known: flow_data.Latents, person: np.ndarray, wording: flow_data.Words, drawn: Any, args: argparse.Namespace
) -> tuple[Flow, dict[str, Any]]:
    """The running mean of the steps, and its figures; `drawn(net, file)` makes the picture."""
    accelerator = Accelerator()
    torch.manual_seed(args.seed)
    net = Flow(Shape(latent=known.latent.shape[2], person=person.shape[2]))
    mean = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA))
    optimiser = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.01)
    net, optimiser = accelerator.prepare(net, optimiser)
    mean.to(accelerator.device)
    train = np.flatnonzero(np.isin(known.fold, ptbxl.TRAIN))
    judge = np.flatnonzero(np.isin(known.fold, ptbxl.VALIDATION))
    steps = max(len(train) // args.batch, 1)
    state_file, first, figures = args.out / "state.pt", 0, {}
    if state_file.exists():
        state = recipe.load(state_file)
        accelerator.unwrap_model(net).load_state_dict(state["net"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        first, figures = state["epoch"], state["figures"]
    began = time.monotonic()
    for epoch in range(first, args.epochs):
        rng = np.random.default_rng((args.seed, epoch))
        order = rng.permutation(train)[: steps * args.batch].reshape(steps, -1)
        bar = tqdm(order, desc=f"epoch {epoch + 1}/{args.epochs}", mininterval=5)
        for step, rows in enumerate(bar):
            done = (epoch + step / steps) / args.epochs
            for group in optimiser.param_groups:
                group["lr"] = LR * min(1.0, done * 50) * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-6
            latent, given, beats = batch(known, person, rows, wording, rng)
            noise = torch.from_numpy(rng.normal(0, 1, latent.shape).astype(np.float32))
            t = torch.from_numpy(1 / (1 + np.exp(-rng.normal(0, 1, len(rows)))).astype(np.float32))
            on = [one.to(accelerator.device) for one in (latent, noise, t, beats)]
            told = Given(*(one.to(accelerator.device) for one in withheld(given, rng)))
            loss = velocity_loss(net.train(), on[0], told, *on[1:])
            accelerator.backward(loss)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
            mean.update_parameters(accelerator.unwrap_model(net))
            bar.set_postfix(loss=f"{loss.item():.4f}", validation=figures.get("validation_loss"), refresh=False)
        averaged: Flow = mean.module.eval()  # type: ignore[assignment]
        figures = {"validation_loss": judged(averaged, known, person, judge, wording), "epochs": epoch + 1}
        print(f"epoch {epoch + 1}: {figures}", flush=True)
        if (epoch + 1) % PICTURE_EVERY == 0:
            drawn(averaged, args.out / "drawn.png")
        state = {"net": accelerator.unwrap_model(net).state_dict(), "mean": mean.state_dict(), "figures": figures}
        recipe.save(state | {"optimiser": optimiser.state_dict(), "epoch": epoch + 1}, state_file)
        if args.minutes and time.monotonic() - began > 60 * args.minutes:
            break
    return mean.module.cpu().eval(), figures  # type: ignore[return-value]


@torch.inference_mode()
def judged(
    net: Flow, known: flow_data.Latents, person: np.ndarray, rows: np.ndarray, wording: flow_data.Words
) -> float:
    """Velocity loss on these recordings with all conditions but the person, the noise fixed."""
    rng, device, losses = np.random.default_rng(0), next(net.parameters()).device, []
    for part in np.array_split(rows, max(1, len(rows) // 64)):
        latent, given, beats = batch(known, person, part, wording, rng)
        noise = torch.from_numpy(rng.normal(0, 1, latent.shape).astype(np.float32)).to(device)
        t = torch.from_numpy(((np.arange(len(part)) + 0.5) / len(part)).astype(np.float32)).to(device)
        given = Given(*(one.to(device) for one in given._replace(has_person=torch.zeros(len(part), dtype=torch.bool))))
        losses.append(float(velocity_loss(net, latent.to(device), given, noise, t, beats.to(device))))
    return round(float(np.mean(losses)), 4)


def picture(autoencoder: vae.Vae, wording: flow_data.Words, codes: tuple[str, ...], rhythms: rhythm.Rhythms) -> Any:
    """A function that draws four ECGs from words, to look at during training."""
    wanted = [("NORM", 65.0), ("AFIB", 110.0), ("CLBBB", 75.0), ("PVC", 80.0)]

    def drawn(net: Flow, file: Path) -> None:
        from matplotlib.figure import Figure

        text = torch.zeros(4, flow_data.MOST_STATEMENTS, wording.vector.shape[1])
        has = torch.zeros(4, flow_data.MOST_STATEMENTS, dtype=torch.bool)
        numbers = torch.tensor([[rate, 60.0, 1.0, 1.0] for _, rate in wanted])
        for i, (code, _) in enumerate(wanted):
            text[i, 0], has[i, 0] = torch.from_numpy(wording.vector[wording.of[codes.index(code)].start]), True
        nobody = flow_data.nobody(4, net.shape.person)
        given = Given(text, has, numbers, torch.ones(4, 4, dtype=torch.bool), *nobody)
        device = next(net.parameters()).device
        beats = rhythm.track([rhythms.beats([code], rate, np.random.default_rng(0)) for code, rate in wanted])
        z = net.draw(Given(*(one.to(device) for one in given)), [0, 1, 2, 3], beats.to(device)).cpu()
        ecg = autoencoder.decode(z * autoencoder.scale[:, None])[0].detach().numpy()
        figure = Figure(figsize=(18, 12))
        axes = figure.subplots(4, 3)
        for row, (code, rate) in enumerate(wanted):
            for axis, lead in zip(axes[row], (1, 6, 10), strict=True):
                axis.plot(np.arange(1000) / 100, ecg[row, lead], linewidth=0.7)
                axis.set_title(f"{code} {rate:.0f} bpm")
        figure.tight_layout()
        figure.savefig(file, dpi=55)

    return drawn


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    table = ptbxl.load(args.data)
    codes = table.codes["statement"]
    autoencoder, _ = vae.opened(args.vae)
    wording = flow_data.words(codes)
    known = flow_data.prepared(args.data, table, autoencoder, args.out)
    person = persons(identity.opened(args.identity), known, wording)
    learnt = np.isin(known.fold, ptbxl.TRAIN)
    rhythms = rhythm.of(flow_data.listed(known.hearts[learnt, 0]), known.statement[learnt], codes)
    net, figures = fit(known, person, wording, picture(autoencoder, wording, codes, rhythms), args)
    enough = [code for i, code in enumerate(codes) if known.statement[learnt, i].sum() >= LEAST]
    file = args.out / "flow.safetensors"
    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, file, metadata={"config": json.dumps({"shape": net.config(), "codes": enough})})
    keep(rhythms, args.out / "rhythm.safetensors")
    write_card(file, {
        "name": "flow",
        "what": "draws ECGs: rectified flow over the autoencoder's latent, by statements, rate, age, sex and person",
        "data": f"PTB-XL (CC BY 4.0), {int(learnt.sum())} recordings of folds 1-7",
        "split": "by patient: folds 1-7 train, 8 for the velocity's error, 9 for evaluation, 10 untouched",
        "command": f"python -m training.flow --data DIR --out DIR --epochs {args.epochs} --seed {args.seed}",
        "input": "sentence vectors of statements, heart rate, age, sex, a vector of the person; any may be absent",
        "figures": figures,
        "limits": f"statements with at least {LEAST} training recordings only; an ECG drawn is nobody's",
    })  # fmt: skip


def keep(rhythms: rhythm.Rhythms, file: Path) -> None:
    """The rhythms that drawings take their beats from, and their card."""
    parts = {"share": rhythms.share, "rate_bpm": rhythms.rate_bpm}
    parts |= {"shows": rhythms.shows.astype(np.uint8), "ventricular": rhythms.ventricular.astype(np.uint8)}
    tensors = {name: torch.from_numpy(value) for name, value in parts.items()}
    save_file(tensors, file, metadata={"config": json.dumps({"codes": rhythms.codes})})
    write_card(file, {
        "name": "rhythm",
        "what": "when a drawn heart beats, which beats are ventricular, and what the recording shows that lends them",
        "data": f"PTB-XL (CC BY 4.0), {len(rhythms.shows)} recordings of folds 1-7",
        "split": "the training folds 1-7 of the flow alone",
        "command": "python -m training.flow --data DIR --out DIR",
        "input": "SCP codes, a heart rate",
        "figures": {"recordings": len(rhythms.shows)},
        "limits": "ten seconds each: what comes less often is not in it",
    })  # fmt: skip


LEAST = 10  # training recordings without which a statement cannot be asked for


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="its latents.npz is used if it is there")
    parser.add_argument("--vae", type=Path, default=vae.FILE)
    parser.add_argument("--identity", type=Path, default=identity.FILE)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--minutes", type=float, help="stop after the epoch that passes this; resumable")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    recipe.run(main)
