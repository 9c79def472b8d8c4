"""Fine-tune ECGFounder (arXiv 2410.04133) on PTB-XL: the five superclasses, beside the 150 published labels.

    python -m training.finetune_founder --data DIR --out DIR [--mode full|frozen|lora] [--checkpoint F | --random]

The last layer grows by five outputs. A published label that PTB-XL does not name has no target (NaN) and no part in the
loss: labelled "absent" instead, it would be unlearnt. `frozen` trains the last layer alone, on features computed once;
`lora` adds low-rank updates (Hu et al. 2021) to the pointwise convolutions and merges them into what it saves.
Folds 1-7 train, 8 chooses the epoch, 9 and 10 are left alone. The same command goes on from the last epoch.
"""

from __future__ import annotations

import argparse
import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset
from tqdm import tqdm

from encoders import founder
from encoders.net1d import CLASSES, Net1D
from tools.errors import EinthovenError, MissingWeights, UnreadableFile, UsageError
from tools.recording import read
from training import ptbxl, recipe
from training.cards import write_card

SUPERCLASSES = ("NORM", "MI", "STTC", "CD", "HYP")
SAME = {  # SCP statement -> published label of the same meaning
    "NORM": "NORMAL ECG", "AFIB": "ATRIAL FIBRILLATION", "AFLT": "ATRIAL FLUTTER", "SBRAD": "SINUS BRADYCARDIA",
    "STACH": "SINUS TACHYCARDIA", "1AVB": "WITH 1ST DEGREE AV BLOCK", "CRBBB": "RIGHT BUNDLE BRANCH BLOCK",
    "CLBBB": "LEFT BUNDLE BRANCH BLOCK", "LVH": "LEFT VENTRICULAR HYPERTROPHY",
}  # fmt: skip
POINTWISE = r".*(conv[13]\.conv|se_fc[12])"
RATES = {"full": 1e-4, "frozen": 1e-3, "lora": 1e-3}


class Recordings(Dataset):
    """Prepared signal (leads, 5000) and targets (155,); the 500 Hz file of a record where there is one."""

    def __init__(self, table: ptbxl.Table, model: str, recipe: str):
        self.table, self.targets, self.recipe = table, targets(table), founder.RECIPES[recipe]
        self.leads = founder.MODELS[model].leads

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        signal, fs_hz = self.table.signal[i][: len(self.leads)], float(ptbxl.FS_HZ)
        file = str(self.table.record[i]).replace("records100", "records500").removesuffix("_lr") + "_hr.hea"
        if Path(file).exists():
            [fine] = read(Path(file))
            signal, fs_hz = fine.signal[[fine.leads.index(lead) for lead in self.leads]], fine.fs_hz
        return torch.from_numpy(self.recipe(signal, fs_hz)), torch.from_numpy(self.targets[i])


def targets(table: ptbxl.Table) -> np.ndarray:
    """(records, 155) of 1, 0 and, where nothing is known, NaN."""
    out = np.full((len(table), CLASSES + len(SUPERCLASSES)), np.nan, np.float32)
    for column, code in enumerate(table.codes["statement"]):
        if code in SAME:
            out[:, founder.labels().index(SAME[code])] = table.labels["statement"][:, column]
    order = [table.codes["superclass"].index(code) for code in SUPERCLASSES]
    diagnosed = table.labels["superclass"].any(1)  # the others carry rhythm or form statements alone
    out[diagnosed, CLASSES:] = table.labels["superclass"][diagnosed][:, order]
    return out


def masked_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the targets that are known."""
    known = ~wanted.isnan()
    losses = F.binary_cross_entropy_with_logits(logits, wanted.nan_to_num(), reduction="none")
    return (losses * known).sum() / known.sum().clamp(min=1)


def network(args: argparse.Namespace) -> Net1D:
    """The starting point: published weights with five new outputs, or random ones."""
    net = Net1D(len(founder.MODELS[args.model].leads), CLASSES + len(SUPERCLASSES))
    if args.random:
        return net
    source = args.checkpoint or founder.where(args.model)
    if not source.exists():
        raise MissingWeights(f"{source} is not there; run: einthoven weights pull {args.model}, or name --checkpoint")
    try:
        weights = founder.tensors(source, args.model)
    except founder.BadCheckpoint as error:
        raise UnreadableFile(str(error)) from None
    for part in ("dense.weight", "dense.bias"):
        weights[part] = torch.cat([weights[part], net.state_dict()[part][CLASSES:]])
    net.load_state_dict(weights)
    return net


@torch.no_grad()  # tensors of inference mode could not be trained on
def features(net: Net1D, loader: DataLoader, accelerator: Accelerator) -> TensorDataset:
    """(records, 1024) that the frozen network makes, with their targets."""
    net.to(accelerator.device).eval()
    bar = tqdm(loader, desc="features", disable=not accelerator.is_main_process)
    pairs = [(net(x.to(accelerator.device), features=True)[1].cpu(), y) for x, y in bar]
    return TensorDataset(torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs]))


@torch.inference_mode()
def validate(model: torch.nn.Module, loader: DataLoader, accelerator: Accelerator) -> dict[str, float]:
    """AUROC of each superclass that has both kinds of record, and their mean."""
    model.eval()
    pairs = [accelerator.gather_for_metrics((model(x)[:, CLASSES:], y[:, CLASSES:])) for x, y in loader]
    logits, truth = (torch.cat(part).float().cpu().numpy() for part in zip(*pairs, strict=True))
    known = ~np.isnan(truth).any(1)
    logits, truth = logits[known], truth[known]
    both = [i for i in range(len(SUPERCLASSES)) if 0 < truth[:, i].sum() < len(truth)]
    if not both:
        raise UsageError("no superclass is both present and absent in fold 8, so nothing can choose an epoch")
    found = {SUPERCLASSES[i]: float(roc_auc_score(truth[:, i], logits[:, i])) for i in both}
    return {"macro": float(np.mean(list(found.values()))), **found}


def train(args: argparse.Namespace) -> dict[str, float]:
    """Train, save the best epoch to `founder_tuned.safetensors` and its card; returns its figures on fold 8."""
    accelerator = Accelerator()
    torch.manual_seed(args.seed)
    table = ptbxl.load(args.data)
    table = table.rows(table.raw)  # one z-score spans all leads: lost chest amplitudes would mislead it
    sets = [Recordings(table.folds(*folds), args.model, args.recipe) for folds in (ptbxl.TRAIN, ptbxl.VALIDATION)]
    if not all(map(len, sets)):
        raise UsageError(f"{args.data} has {len(sets[0])} raw records in folds 1-7 and {len(sets[1])} in fold 8")
    net = network(args)
    data: list[Any] = list(sets)
    model: Any = net
    if args.mode == "frozen":
        data, model = [features(net, DataLoader(one, args.batch), accelerator) for one in sets], net.dense
    elif args.mode == "lora":
        config = LoraConfig(r=16, lora_alpha=32, target_modules=POINTWISE, modules_to_save=["dense"])
        model = get_peft_model(net, config)  # type: ignore[arg-type]
    order = torch.Generator()
    loader: Any = DataLoader(data[0], args.batch, shuffle=True, generator=order, num_workers=args.workers)
    held: Any = DataLoader(data[1], args.batch, num_workers=args.workers)
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    # No weight decay: it would shrink the outputs that have no target.
    optimiser: Any = torch.optim.Adam(learning.values(), args.lr or RATES[args.mode])
    model, optimiser, loader, held = accelerator.prepare(model, optimiser, loader, held)
    bare = accelerator.unwrap_model(model)

    tuned, state_file = args.out / "founder_tuned.safetensors", args.out / "state.pt"  # the state goes at the end
    args.out.mkdir(parents=True, exist_ok=True)
    asked = {k: str(v) for k, v in vars(args).items() if k not in ("data", "out", "workers")}
    done, best = 0, {"macro": -1.0}
    if state_file.exists():
        state = recipe.load(state_file)
        if state["asked"] != asked:
            raise UsageError(f"{state_file} is of a run with other arguments; finish that one or remove the file")
        bare.load_state_dict(state["model"], strict=False)
        optimiser.load_state_dict(state["optimiser"])
        done, best = state["done"], state["best"]
    for epoch in range(done, args.epochs):
        order.manual_seed(args.seed + epoch)  # so that a run that was stopped sees the same batches
        model.train()
        for x, y in tqdm(loader, desc=f"epoch {epoch + 1}", disable=not accelerator.is_main_process):
            accelerator.backward(masked_loss(model(x), y))
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()
        figures = validate(model, held, accelerator)
        if not accelerator.is_main_process:
            continue
        tqdm.write(f"epoch {epoch + 1}: AUROC {figures['macro']:.4f} on fold 8")
        if figures["macro"] > best["macro"]:
            best = {**figures, "epoch": epoch + 1}
            merged = copy.deepcopy(bare).merge_and_unload() if args.mode == "lora" else net
            weights = {name: value.cpu().contiguous() for name, value in merged.state_dict().items()}
            save_file(weights, args.out / "partial")
            (args.out / "partial").replace(tuned)
        moved = {name: value for name, value in bare.state_dict().items() if name in learning}
        state = {"model": moved, "optimiser": optimiser.state_dict(), "done": epoch + 1, "best": best, "asked": asked}
        recipe.save(state, state_file)
    if accelerator.is_main_process:
        state_file.unlink(missing_ok=True)
        write_card(tuned, card(args, best, [len(one) for one in sets]))
    return best


def card(args: argparse.Namespace, best: dict[str, float], records: list[int]) -> dict[str, Any]:
    given = [f"--{k} {v}" for k, v in vars(args).items() if k not in ("data", "out", "checkpoint", "random") and v]
    return {
        "name": "founder_tuned",
        "what": f"{args.model} fine-tuned ({args.mode}): the published labels, then five superclasses",
        "data": "PTB-XL, raw records (Wagner et al. 2020, CC BY 4.0)",
        "split": f"by patient: {records[0]} records of folds 1-7 train, {records[1]} of fold 8 choose the epoch",
        "command": " ".join(["python -m training.finetune_founder --data DIR --out DIR", *given])
        + (" --random" if args.random else ""),
        "input": {"leads": founder.MODELS[args.model].leads, "rate_hz": 500, "unit": f"mV, recipe {args.recipe}"},
        "outputs": [*founder.labels(), *SUPERCLASSES],
        "figures": {"auroc_of_fold_8_which_chose_the_epoch": best},
        "limits": "Fold 9 was not opened: these figures chose. Published labels without a target may drift.",
    }


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of PTB-XL")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mode", choices=RATES, default="full")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--checkpoint", type=Path, help="published file, .pth or .safetensors; default: the pulled one")
    start.add_argument("--random", action="store_true", help="start from random weights")
    parser.add_argument("--model", choices=founder.MODELS, default="ecgfounder-12")
    parser.add_argument("--recipe", choices=founder.RECIPES, default="published")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, help="default 1e-4 full, 1e-3 frozen and lora")
    parser.add_argument("--workers", type=int, default=0, help="processes that read recordings")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main(words: list[str] | None = None) -> int:
    try:
        train(arguments().parse_args(words))
    except EinthovenError as error:
        print(f"finetune_founder: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    recipe.run(main)
