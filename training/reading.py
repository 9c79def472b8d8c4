"""Train the default reader of ECGs (encoders/reading.py) on PTB-XL.

    python -m training.reading --data DIR --out DIR [--epochs 40] [--seed 0]
    accelerate launch -m training.reading --data DIR --out DIR      # one GPU or several

1. measure    every recording once (tools/measure.py); kept in OUT/measures.npz, goes on where it stopped
2. trees      folds 1-7, over the measurements; and their opinion of ECGs that they were not fitted on
              (training/reading_teacher.py), which the network learns beside the labels
3. network    folds 1-7 and unlabelled ECGs; each step sees a recording in a random layout, and one of its leads alone,
              whose embedding is drawn to that of the first view (SelfMIS's self-cut pairs, a contrast as in SigLIP)
4. fusion     fold 8: weights, calibration, thresholds. Fold 9 is for `python -m training.evaluate reading` alone

The weights kept are the running mean of the steps (EMA). State is saved after every epoch; the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm import tqdm

from encoders import measures
from encoders.reading import GROUPS, Reader, combined
from encoders.reading_net import ReadingNet, Shape
from tools.recording import LEADS, Recording
from training import ptbxl, reading_data, reading_fusion, reading_teacher, reading_trees, recipe
from training.cards import write_card
from training.figures import LEAST, macro

LEAST_POSITIVES = 10  # in the training folds; a rarer code is not learnt
ALONE, ALIGN = 0.5, 0.2  # worth of the single-lead view's labels, and of its alignment
EMA = 0.99  # what a step leaves of the running mean of the weights
TAUGHT = 0.5  # share of the trees' opinion in what the network learns; the rest are labels


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=args.cpu)
    table = ptbxl.load(args.data)
    chosen = learnt(table)
    with accelerator.main_process_first():  # the others find what it has measured
        vectors = measured(table, args.out / "measures.npz")
        booster = trees(table, vectors, chosen, args.seed)
        learns_from = lessons(table, vectors, chosen, booster, args)
    net = fit(*learns_from, chosen, args, accelerator)
    if not accelerator.is_main_process:
        return
    figures = finish(table, vectors, chosen, net, booster, args)
    write_card(args.out / "reading.safetensors", card(args, table, chosen, figures))
    print(json.dumps(figures))


def learnt(table: ptbxl.Table) -> dict[str, np.ndarray]:
    """Columns of each group with enough positives in the training folds."""
    train = table.folds(*ptbxl.TRAIN)
    return {group: np.flatnonzero(train.labels[group].sum(axis=0) >= LEAST_POSITIVES) for group in GROUPS}


def measured(table: ptbxl.Table, file: Path) -> np.ndarray:
    """(records, len(NAMES)) measurement vectors, from `file` where they are known."""
    known: dict[str, np.ndarray] = {}
    if file.exists():
        kept = np.load(file)
        known = dict(zip(kept["record"], kept["vector"], strict=True))
    todo = np.array([i for i, record in enumerate(table.record) if _key(record) not in known], int)
    for some in np.array_split(todo, -(-len(todo) // 400) or 1) if len(todo) else ():
        known |= zip((_key(table.record[i]) for i in some), measure_all(table.rows(some)), strict=True)
        beside = file.with_name(f"partial-{file.name}")  # whoever stops amid it finds what was there
        np.savez(beside, record=list(known), vector=np.stack(list(known.values())))
        beside.replace(file)
    return np.stack([known[_key(record)] for record in table.record])


def _key(record: str) -> str:
    return "/".join(Path(record).parts[-4:])  # the same wherever the data lie


def measure_all(table: ptbxl.Table, known: np.ndarray | None = None) -> np.ndarray:
    """(records, len(NAMES)) measurement vectors; `known` (records, 12, samples) where not all was recorded."""
    signals = table.signal if known is None else np.where(known, table.signal, np.nan)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return np.stack(list(tqdm(pool.imap(_measure, signals, chunksize=8), total=len(signals), desc="measuring")))


def _measure(signal: np.ndarray) -> np.ndarray:
    from tools.measure import measure_ecg

    return measures.vector(measure_ecg(Recording(signal, ptbxl.FS_HZ, LEADS)))


def trees(table: ptbxl.Table, vectors: np.ndarray, chosen: dict[str, np.ndarray], seed: int) -> Any:
    """The booster over the measurements of the training folds."""
    at = np.isin(table.fold, ptbxl.TRAIN)
    train = table.rows(at)
    return reading_trees.fit(vectors[at], joined(train, chosen), train.raw, seed)


def lessons(
    table: ptbxl.Table, vectors: np.ndarray, chosen: dict[str, np.ndarray], booster: Any, args: argparse.Namespace
) -> tuple[ptbxl.Table, np.ndarray]:
    """What the network learns from: recordings, and (records, codes) of how likely each code is of each."""
    at = np.isin(table.fold, ptbxl.TRAIN)
    train, labels = table.rows(at), joined(table.rows(at), chosen)
    soft = TAUGHT * reading_teacher.opinions(train, vectors[at], labels, args.seed) + (1 - TAUGHT) * labels
    more = reading_teacher.strips(args.data, table.codes)
    if more is None:
        return train, soft
    of_more = measured(more, args.out / "measures_unlabelled.npz")
    return ptbxl.together(train, more), np.concatenate([soft, reading_teacher.judged(booster, of_more, more.raw)])


def joined(table: ptbxl.Table, chosen: dict[str, np.ndarray]) -> np.ndarray:
    """(records, codes) labels of all groups side by side."""
    return np.concatenate([table.labels[group][:, columns] for group, columns in chosen.items()], axis=1)


def fit(
    train: ptbxl.Table, soft: np.ndarray, chosen: dict[str, np.ndarray], args: argparse.Namespace, accelerator: Any
) -> ReadingNet:
    """The network after `args.epochs` epochs; its running mean."""
    torch.manual_seed(args.seed)
    shape = Shape(**{group: len(columns) for group, columns in chosen.items()})
    net = ReadingNet(shape)
    mean = torch.optim.swa_utils.AveragedModel(net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA))
    # of the contrast: log of its temperature's inverse, bias
    scale = torch.nn.Parameter(torch.tensor([2.3, -2.0], device=accelerator.device))
    optimiser = torch.optim.AdamW([*net.parameters(), scale], lr=args.lr, weight_decay=0.05)
    steps = len(train) // args.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.lr, total_steps=max(args.epochs * steps, 1))
    state_file, first = args.out / "state.pt", 0
    if state_file.exists():
        state = recipe.load(state_file)
        net.load_state_dict(state["net"])
        mean.load_state_dict(state["mean"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first, scale.data = state["epoch"], state["scale"].to(scale.device)
    ready, optimiser = accelerator.prepare(net, optimiser)
    mean = mean.to(accelerator.device)
    ends = np.cumsum([len(columns) for columns in chosen.values()])[:-1]
    targets = dict(zip(chosen, torch.from_numpy(soft).tensor_split(ends.tolist(), dim=1), strict=True))
    for epoch in range(first, args.epochs):
        rng = np.random.default_rng([args.seed, epoch, accelerator.process_index])
        torch.manual_seed(args.seed + 1000 * (epoch + 1))  # dropout is the same whether this run began here or before
        order = np.random.default_rng([args.seed, epoch]).permutation(len(train))[: steps * args.batch]
        bar = tqdm(order.reshape(steps, args.batch), desc=f"epoch {epoch + 1}/{args.epochs}", mininterval=10)
        for rows in bar:
            rows = rows[accelerator.process_index :: accelerator.num_processes]
            target = {group: values[rows].to(accelerator.device) for group, values in targets.items()}
            loss = step_loss(ready.train(), train, rows, target, scale, rng, accelerator.device)
            accelerator.backward(loss)
            scale.grad = accelerator.reduce(scale.grad, "mean")  # it is no part of what several GPUs keep alike
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
            mean.update_parameters(accelerator.unwrap_model(ready))
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if accelerator.is_main_process:
            state = {"net": net.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict()}
            state |= {"schedule": schedule.state_dict(), "epoch": epoch + 1, "scale": scale.data}
            recipe.save(state, state_file)
    if accelerator.is_main_process:
        state_file.unlink(missing_ok=True)
    averaged: ReadingNet = mean.module.cpu()  # type: ignore[assignment]
    settle(averaged, train, args.seed)
    return averaged.eval()


def step_loss(net: Any, train: ptbxl.Table, rows: np.ndarray, target: dict, scale: Any, rng: Any, device: Any) -> Any:
    """Labels from a random layout, labels from one lead, and the contrast of the two views' embeddings."""
    signal = reading_data.changed(rng, train.signal[rows])
    many = net(*tensors(signal, reading_data.masks(rng, len(rows)), train.raw[rows], device))
    lead = int(rng.choice([0, 0, 1, 1, 1, *range(2, 12)]))  # one lead alone; wrists and patches have I or II
    one = net(
        *tensors(signal[:, [lead]], np.ones((len(rows), 1, signal.shape[2]), bool), train.raw[rows], device, lead)
    )
    loss = torch.stack([bce(many[group], target[group]) + ALONE * bce(one[group], target[group]) for group in GROUPS])
    alike = one["embedding"] @ many["embedding"].T * scale[0].exp() + scale[1]
    sign = 2 * torch.eye(len(rows), device=device) - 1
    return loss.sum() + ALIGN * F.softplus(-sign * alike).sum(1).mean()


def bce(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, summed over the codes as far as they occur, so that rare ones weigh as they come."""
    return F.binary_cross_entropy_with_logits(logits, target) * 3


def tensors(signal: np.ndarray, known: np.ndarray, raw: np.ndarray, device: Any, lead: int | None = None) -> tuple:
    """Arguments of the network; chest voltages of recordings that are not raw are lost."""
    number = np.arange(12) if lead is None else np.array([lead])
    voltage = raw[:, None] | (number < 6)
    lead_index = np.broadcast_to(number, (len(signal), len(number)))
    arrays = (signal.astype(np.float32), known, lead_index.copy(), voltage)
    return tuple(torch.from_numpy(array).to(device) for array in arrays)


@torch.no_grad()
def settle(net: ReadingNet, train: ptbxl.Table, seed: int) -> None:
    """Batch statistics of the averaged weights, over recordings as training shows them."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.reset_running_stats()
            module.momentum = None
    rng = np.random.default_rng(seed)
    device = next(net.parameters()).device
    net.train()
    for _ in range(20):
        rows = rng.integers(0, len(train), 32)
        net(*tensors(train.signal[rows], reading_data.masks(rng, 32), train.raw[rows], device))


@torch.inference_mode()
def net_logits(net: ReadingNet, table: ptbxl.Table, known: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """{group: (records, codes)} of the network, and its "embedding"; `known` where not all was recorded."""
    parts: list[dict[str, torch.Tensor]] = []
    for start in range(0, len(table), 64):
        rows = np.arange(start, min(start + 64, len(table)))
        seen = np.ones((len(rows), 12, ptbxl.SAMPLES), bool) if known is None else known[rows]
        parts.append(net.eval()(*tensors(table.signal[rows], seen, table.raw[rows], "cpu")))
    return {key: torch.cat([part[key] for part in parts]).numpy() for key in (*GROUPS, "embedding")}


def finish(
    table: ptbxl.Table,
    vectors: np.ndarray,
    chosen: dict[str, np.ndarray],
    net: ReadingNet,
    booster: Any,
    args: argparse.Namespace,
) -> dict[str, Any]:
    """Fusion and thresholds on the validation fold; writes the weights, gives the figures of that fold."""
    held = np.isin(table.fold, ptbxl.VALIDATION)
    codes = {group: [table.codes[group][i] for i in columns] for group, columns in chosen.items()}
    config: dict[str, Any] = {"shape": net.config(), "codes": codes, "fusion": {}, "thresholds": {}, "uncertain": {}}
    state = {name: value.half() if value.is_floating_point() else value for name, value in net.state_dict().items()}
    state["trees"] = torch.frombuffer(booster.save_raw("ubj"), dtype=torch.uint8).clone()
    file = args.out / "reading.safetensors"
    blank = {group: {"both": [1, 1], "offset": [0], "net_alone": [1], "offset_alone": [0]} for group in GROUPS}
    save_file(state, file, metadata={"config": json.dumps({**config, "fusion": blank})})
    reader = Reader(file)
    fold = table.rows(held)
    of_net = net_logits(reader.net, fold)
    alone = net_logits(reader.net, fold, reading_data.masks(np.random.default_rng(args.seed), len(fold)))
    of_trees, start, figures = reader.tree_logits(vectors[held], fold.raw), 0, {}
    for group in GROUPS:
        size = len(codes[group])
        truth = fold.labels[group][:, chosen[group]]
        fusion = reading_fusion.fuse(of_net[group], alone[group], of_trees[:, start : start + size], truth)
        p = combined(fusion, of_net[group], of_trees[:, start : start + size])
        thresholds, bands = reading_fusion.decide(p, truth, codes[group])
        config["fusion"][group], config["thresholds"][group], config["uncertain"][group] = fusion, thresholds, bands
        figures[group] = {"validation_ece": round(reading_fusion.calibration_error(p, truth), 4), **_aucs(p, truth)}
        figures[group]["weights_net_trees"] = [round(w, 3) for w in fusion["both"]]
        figures[group]["net_alone"] = _aucs(of_net[group], truth)
        figures[group]["trees_alone"] = _aucs(of_trees[:, start : start + size], truth)
        start += size
    save_file(state, file, metadata={"config": json.dumps(config)})
    return figures


def _aucs(p: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    enough = int((truth.sum(axis=0) >= LEAST).sum())
    return {"macro_auroc": round(macro(p, truth), 4) if enough else None, "codes": enough}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of PTB-XL, or one that holds ptb-xl (and cinc2011)"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    return parser


def card(args: argparse.Namespace, table: ptbxl.Table, chosen: dict[str, np.ndarray], figures: dict) -> dict[str, Any]:
    train = table.folds(*ptbxl.TRAIN)
    return {
        "name": "reading",
        "what": "reads an ECG of any leads and gaps: findings with probabilities, an embedding, tokens",
        "data": f"PTB-XL (CC BY 4.0, doi 10.13026/kfzx-aw45): {int(train.raw.sum())} raw recordings and "
        f"{int((~train.raw).sum())} band-passed ones for training, {len(set(train.patient))} patients",
        "unlabelled": "acceptable records of PhysioNet/CinC Challenge 2011 set-a (ODC-By), where they lie beside: "
        "what the trees say of them is learnt",
        "split": "strat_fold by patient: 1-7 train, 8 chooses weights and thresholds, 9 is opened by training.evaluate",
        "command": f"python -m training.reading --data DIR --out DIR --epochs {args.epochs} --batch {args.batch} "
        f"--lr {args.lr} --seed {args.seed}",
        "input": "leads I … V6 in mV, any of them, resampled to 100 Hz, 10 s windows; and measure_ecg's result",
        "figures": {"validation_fold": figures},
        "limits": "Research use. Learnt from one German centre; codes with under ten training patients are not known.",
    }


if __name__ == "__main__":
    recipe.run(main)
