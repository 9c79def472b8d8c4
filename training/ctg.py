"""Train the network that estimates gestational age from a fetal heart trace (encoders/ctg.py).

    python -m training.ctg --data DIR --out DIR [--epochs 45] [--final]

`DIR/ctu-uhb` (or DIR itself) is the CTU-UHB database (Chudáček et al. 2014, doi 10.1186/1471-2393-14-16): traces in
labour with the completed weeks of gestation, taken as the middle of that week, and the cord blood's pH. A hash of the
record's name splits: three fifths learn, one chooses the epoch and sets the interval, one is the test (`--final` opens
it at the end, for the card). The loss is CTGage's (arXiv 2509.14242; its "distribution-aligned regression"): absolute
error, the distance of the batch's soft-sorted estimates (Blondel et al. 2020, arXiv 2002.08871) from pseudo-labels of
the ages' distribution, and the slope of true on estimated ages; beside it cross-entropy for pH <= 7.05. Unlike the
published scripts, validation is normalised by the training set's figures, its whole set stops training, and the rate's
restarts follow the epoch. State is saved after every epoch; the same command goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from encoders.ctg import LEAST_KNOWN, SAMPLES, CtgNet, Scale, Shape, channels, seen_by, windows_of
from tools.ctg_signal import Trace, heart_trace
from tools.errors import UnreadableFile
from tools.recording import read
from training import recipe
from training.cards import write_card
from training.ctg_loss import loss_of, pseudo_labels

ACID_PH = 7.05
BATCH, LR, DECAY = 64, 1e-3, 1e-3
RESTART, TIMES, PATIENCE = 15, 2, 25  # epochs to the first restart of the rate, how it grows; epochs without gain
COVERAGE = 0.9
NO_UC = 0.25  # of the windows learn without a uterus


@dataclass(frozen=True)
class Records:
    """Cleaned traces and what is known of them: names, ages in days, pH (NaN if unknown)."""

    names: list[str]
    traces: list[Trace]
    age_days: np.ndarray
    ph: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def part(self, which: str) -> Records:
        """ "train", "validation" or "test"."""
        rows = [row for row, name in enumerate(self.names) if part_of(name) == which]
        pick = [self.names[row] for row in rows], [self.traces[row] for row in rows]
        return Records(*pick, self.age_days[rows], self.ph[rows])


def part_of(name: str) -> str:
    """Where a record belongs, by a hash of its name; every record is another patient."""
    number = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5
    return ("test", "validation", "train", "train", "train")[number]


def load(root: Path) -> Records:
    """Every record under `root`/ctu-uhb or `root` whose header names the week.

    Raises
    ------
    UnreadableFile : where there is none.
    """
    folder = root / "ctu-uhb" if (root / "ctu-uhb").is_dir() else root
    names, traces, ages, acids = [], [], [], []
    for file in tqdm(sorted(folder.glob("*.hea")), desc="reading CTU-UHB", mininterval=5, disable=None):
        text = file.read_text(errors="replace")
        weeks, ph = _field(text, "Gest. weeks"), _field(text, "pH")
        if np.isfinite(weeks):
            [recording] = read(file)
            names.append(file.stem)
            traces.append(heart_trace(recording))
            ages.append(7 * weeks + 3)
            acids.append(ph)
    if not names:
        raise UnreadableFile(f"no record with gestational weeks in {folder}: name the folder of CTU-UHB by --data")
    return Records(names, traces, np.array(ages), np.array(acids))


def _field(header: str, name: str) -> float:
    found = re.search(rf"^#{re.escape(name)}\s+(-?[\d.]+)", header, re.M)
    return float(found[1]) if found else float("nan")


def scale_of(records: Records) -> Scale:
    """Mean and spread of heart rate, uterine activity and age."""

    def of(values: list[np.ndarray]) -> tuple[float, float]:
        known = np.concatenate([one[np.isfinite(one)] for one in values])
        return round(float(known.mean()), 3), round(max(float(known.std()), 1e-3), 3)

    uteri = [trace.uc for trace in records.traces if trace.uc is not None]
    return Scale(
        of([trace.fhr_bpm for trace in records.traces]), of(uteri) if uteri else Scale().uc, of([records.age_days])
    )


def batch_of(
    rng: np.random.Generator, whole: list[np.ndarray], records: Records, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One window of each record, somewhere in it, varied; ages; whether acid (NaN if unknown).

    `whole` has what `encoders.ctg.channels` gives for every record.
    """
    out = np.zeros((len(rows), 4, SAMPLES), np.float32)
    for i, row in enumerate(rows):
        last = max(whole[row].shape[1] - SAMPLES, 0)
        for _ in range(5):  # a place with enough heart rate
            out[i] = windows_of(whole[row], [int(rng.integers(0, last + 1))])[0]
            if out[i, 1].mean() >= LEAST_KNOWN:
                break
        if rng.random() < NO_UC:
            out[i, 2:] = 0
        for _ in range(rng.poisson(2)):  # more signal is lost
            start = rng.integers(0, SAMPLES)
            out[i, :2, start : start + rng.integers(5, 90)] = 0
        out[i, 0] += (rng.normal(0, 0.02) + rng.normal(0, 0.03, SAMPLES)) * out[i, 1]
        out[i, 2] *= rng.uniform(0.7, 1.3)  # a belt's units are its own
    ph = records.ph[rows]
    return out, records.age_days[rows], np.where(np.isfinite(ph), ph <= ACID_PH, np.nan)


def fit(train: Records, validation: Records, args: argparse.Namespace) -> tuple[CtgNet, dict[str, Any]]:
    """The network of the best epoch and its figures on the whole validation set."""
    shape, scale = Shape(fs_hz=args.fs_hz), scale_of(train)
    torch.manual_seed(args.seed)
    net = CtgNet(shape, scale)
    whole = [channels(trace.fhr_bpm, trace.uc, shape, scale) for trace in train.traces]
    seen = prepared(net, validation)
    optimiser = torch.optim.Adam(net.parameters(), LR, weight_decay=DECAY)
    rate = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, RESTART, TIMES)
    low, high = float(train.age_days.min()) - 3.5, float(train.age_days.max()) + 3.5
    state_file, first, best = args.out / "state.pt", 0, {"score": float("inf"), "epoch": 0}
    if state_file.exists():
        state = recipe.load(state_file)
        net.load_state_dict(state["net"]), optimiser.load_state_dict(state["optimiser"])
        rate.load_state_dict(state["rate"])
        first, best = state["epoch"], state["best"]
    began = time.monotonic()
    for epoch in (bar := tqdm(range(first, args.epochs), desc="epochs", mininterval=5, disable=None)):
        if epoch - best["epoch"] >= PATIENCE:
            break
        rng = np.random.default_rng((args.seed, epoch))
        torch.manual_seed(args.seed * 1000 + epoch)
        order = np.concatenate([rng.permutation(len(train)) for _ in range(args.passes)])
        net.train()
        for rows in np.array_split(order, max(1, len(order) // args.batch)):
            made = [torch.from_numpy(one).float() for one in batch_of(rng, whole, train, rows)]
            labels = torch.from_numpy(pseudo_labels(len(rows), *scale.age, low, high)).float()
            age, acid = net(made[0])
            loss = loss_of(age, acid, made[1], made[2], labels)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
        rate.step()
        figures = judged(net.eval(), validation, seen)
        if figures["score"] < best["score"]:
            best = {**figures, "epoch": epoch + 1}
            recipe.save(net.state_dict(), args.out / "best.pt")
        bar.set_postfix(loss=f"{loss.item():.2f}", **figures)
        state = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "rate": rate.state_dict()}
        recipe.save(state | {"epoch": epoch + 1, "best": best}, state_file)
        if args.minutes and time.monotonic() - began > 60 * args.minutes:
            break
    net.load_state_dict(recipe.load(args.out / "best.pt"))
    return net.eval(), best


def prepared(net: CtgNet, records: Records) -> list[np.ndarray]:
    """The windows of every record."""
    return [windows_of(channels(trace.fhr_bpm, trace.uc, net.shape, net.scale)) for trace in records.traces]


def judged(net: CtgNet, records: Records, windows: list[np.ndarray]) -> dict[str, float]:
    """Mean absolute error, AUROC of acidaemia, and `score`: error as a share of the cohort mean's, less the AUROC."""
    from training.figures import auroc

    age, acid = estimated(net, windows)
    error = float(np.abs(age - records.age_days).mean())
    of_mean = float(np.abs(net.scale.age[0] - records.age_days).mean())
    known = np.isfinite(records.ph)
    area = float(auroc(acid[known, None], (records.ph[known] <= ACID_PH)[:, None].astype(float))[0])
    score = error / of_mean - (area if np.isfinite(area) else 0.5)
    figures = {"score": score, "mae_days": error, "of_mean": of_mean, "auroc": area}
    return {name: round(value, 4) for name, value in figures.items()}


def estimated(net: CtgNet, windows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ages in days and probabilities of acidaemia; where a trace holds too little, the training mean and 0."""
    seen = [seen_by(net, one) for one in windows]
    ages = [one.age_days if one.age_days is not None else net.scale.age[0] for one in seen]
    return np.array(ages), np.array([one.acidaemia or 0.0 for one in seen])


def conformal(errors: np.ndarray, coverage: float = COVERAGE) -> float:
    """Half width of an interval that holds `coverage` of exchangeable new ages (split conformal; Vovk et al. 2005)."""
    rank = int(np.ceil((len(errors) + 1) * coverage))
    return float(np.sort(np.abs(errors))[min(rank, len(errors)) - 1])


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    records = load(args.data)
    train, validation = records.part("train"), records.part("validation")
    net, figures = fit(train, validation, args)
    ages, _ = estimated(net, prepared(net, validation))
    config = {
        **net.config(),
        "cohort": {
            "mean_days": round(float(train.age_days.mean()), 1),
            "median_days": float(np.median(train.age_days)),
            "range_days": [int(train.age_days.min()) - 3, int(train.age_days.max()) + 3],
            "records": len(train),
        },
        "half_width_days": round(conformal(ages - validation.age_days), 1),
        "coverage": COVERAGE,
        "informative": False,
    }
    file = save(net, config, args.out)
    shown: dict[str, Any] = {"validation": figures}
    if args.final:
        from training import evaluate_ctg

        shown["test"] = evaluate_ctg.figures_of(records, file)
        config["informative"] = bool(shown["test"]["age"]["ahead_of_mean_interval"][0] > 0)
        file = save(net, config, args.out)
        print(evaluate_ctg.table(shown["test"]))
    card(file, shown, len(train), len(validation), args)


def save(net: CtgNet, config: dict[str, Any], out: Path) -> Path:
    file = out / "ctg.safetensors"
    tensors = {name: value.half().contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, file, metadata={"config": json.dumps(config)})
    return file


def card(file: Path, figures: dict[str, Any], learnt: int, chose: int, args: argparse.Namespace) -> None:
    write_card(file, {
        "name": "ctg",
        "what": "gestational age in days from a fetal heart trace, with an interval; probability of cord pH <= 7.05",
        "data": "CTU-UHB intrapartum cardiotocograms (ODC-By 1.0), 37 to 43 weeks in whole weeks",
        "split": f"by patient, a hash of the record's name: {learnt} train, {chose} choose the epoch and the interval, "
        "the rest is the test, opened once",
        "command": f"python -m training.ctg --data DIR --out DIR --epochs {args.epochs} --fs-hz {args.fs_hz} "
        f"--passes {args.passes} --seed {args.seed}" + " --final" * args.final,
        "input": "heart rate in bpm and uterine activity (may be missing) at 4 Hz, cleaned by tools/ctg_signal.py; "
        f"windows of {SAMPLES / args.fs_hz / 60:g} min at {args.fs_hz} Hz",
        "figures": figures,
        "limits": "term labours of one hospital only: the range of ages is narrow and known to the week, so little or "
        "nothing beats the cohort's mean; no trace before labour, no preterm one. The head for acidaemia has seen few "
        "cases and is no basis for any decision.",
    })  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--passes", type=int, default=2, help="windows of each record in an epoch")
    parser.add_argument("--fs-hz", type=int, choices=(1, 2, 4), default=1)
    parser.add_argument("--minutes", type=float, help="stop after the epoch that passes this; resumable")
    parser.add_argument("--final", action="store_true", help="open the test at the end and put it on the card")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    recipe.run(main)
