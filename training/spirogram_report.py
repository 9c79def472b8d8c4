"""Teach the language model to read spirograms from the vectors of their encoder (encoders/spiro_projector.py).

    python -m training.spirogram_report --data DIR --out DIR [--talks 2000] [--projector FILE]

`DIR` is the folder of NHANES' `SpirometryUS.csv` or the one above. The projector alone learns: the language model with
its adapter, and the encoder, stay as they are, so that nothing else it can do is touched. It begins where a ridge
regression from what the encoder sees to words of the answer puts it. What is learnt is what the encoder decides on
blows that are varied as in training/spirogram.py, as many obstructed as not; in half of the conversations the numbers
stand before the question, in the other half they are withheld. From which probability on a blow is called obstructed is
chosen on validation people, who also say which state is kept; the test people are not read. Resumable.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from tqdm import tqdm

from agent import prompts, smollm2
from agent.llm import ADAPTER
from encoders import spiro
from encoders.lora import adapted
from encoders.spiro_projector import TOKENS, WHOLE, Features, Shape, SpiroProjector, features, opened
from tools import gli
from tools.errors import UsageError
from tools.spirometry import measure
from training import recipe
from training import spirogram_data as data
from training.cards import write_card
from training.multimodal import Example, batches, loss_of
from training.spirogram import built, inputs
from training.spirogram_text import REPORT, Facts, facts, measured_line, pattern, question, report
from training.tool_use_texts import encode

HELD = 64  # conversations about validation people that say which state is kept
JUDGED = 2000  # validation people by whom the threshold is chosen
TOLD = ("Breath", "End", "Curve")


class Seen(NamedTuple):
    """Of blows that could be measured: what the encoder sees, what there is to say, and whose they are (rows)."""

    features: Features
    facts: list[Facts]
    row: np.ndarray
    probability: np.ndarray


@torch.inference_mode()
def seen(net: spiro.SpiroNet, people: pd.DataFrame, rows: np.ndarray, volume: np.ndarray, threshold: float) -> Seen:
    """Of the blows `volume` of the people `rows`, less those that hold no forced expiration."""
    kept, told = [], []
    for n, one in enumerate(volume):
        try:
            told.append(measure(one, data.FS_HZ))
            kept.append(n)
        except UsageError:
            continue
    x, there = inputs(volume[kept])
    parts = [net(*some) for some in zip(x.split(256), there.split(256), strict=True)]
    out = {key: torch.cat([part[key] for part in parts]) for key in ("vectors", "whole", "logit")}
    p = torch.sigmoid(net.scale[0] * out["logit"] + net.scale[1]).numpy()
    said = [facts(blow, p[i] >= threshold, z_scores(people.iloc[rows[kept[i]]], blow)) for i, blow in enumerate(told)]
    return Seen(features(out, there), said, rows[kept], p)


def z_scores(person: Any, blow: dict[str, Any]) -> dict[str, float]:
    """By GLI Global 2022."""
    of = gli.references(gli.Person(float(person["age"]), person["sex"], float(person["height"])), "GLI-2022")
    return {key: of[key].z(blow[key]) for key in ("fev1_l", "fvc_l", "fev1_fvc") if blow[key] is not None}


def threshold_of(p: np.ndarray, truth: np.ndarray) -> float:
    """The probability at which sensitivity and specificity together are largest (Youden 1950)."""
    from sklearn.metrics import roc_curve

    false, true, at = roc_curve(truth, p)
    return round(float(at[np.argmax(true - false)]), 3)


def chosen(people: pd.DataFrame, rows: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` of these people, as many with obstruction as without."""
    ill = people["obstruction"].to_numpy()[rows]
    half = [rng.choice(rows[ill == one], count // 2, replace=count // 2 > (ill == one).sum()) for one in (True, False)]
    return rng.permutation(np.concatenate(half))


def conversation(rng: Random, known: Seen, n: int, word: str) -> tuple[list[prompts.Message], list[int]]:
    """About one blow: the report, a question, or both."""
    one = known.facts[n]
    one.name = f"spirogram-{rng.randint(1, 4)}" if rng.random() < 0.3 else "spirogram-1"
    measured = rng.random() < 0.5
    turns = [(rng.choice(REPORT).format(n=one.name), report(one, measured))] if rng.random() < 0.75 else []
    if not turns or rng.random() < 0.5:
        turns.append(question(rng, one))
    count = int(known.features.there()[n].sum())
    return prompts.read({one.name: count}, [measured_line(one)] if measured else [], turns, word), [n]


def examples(tokenizer: Any, known: Seen, count: int, seed: int, word: str) -> list[Example]:
    rng, made = Random(seed), []
    for n in range(count):
        messages, rows = conversation(rng, known, n % len(known.facts), word)
        made.append(Example(*encode(tokenizer, messages), rows))
    return made


def begun(known: Seen, embeddings: torch.Tensor, tokenizer: Any) -> SpiroProjector:
    """A projector whose tokens of the whole are the ridge regression to the words of the answer."""

    def mean(text: str) -> torch.Tensor:
        return embeddings[tokenizer(f" {text}", add_special_tokens=False)["input_ids"]].mean(0)

    hidden = embeddings.shape[1]
    projector = SpiroProjector(Shape(known.features.time.shape[-1], hidden))
    x = known.features.whole.double()
    words = [[pattern(one, False), *(one.told.get(key, "none") for key in TOLD)] for one in known.facts]
    y = torch.stack([torch.stack([mean(word) for word in some]) for some in words]).double().flatten(1)
    middle, level = x.mean(0), y.mean(0)
    gram = (x - middle).T @ (x - middle)
    gram += 0.01 * gram.diagonal().mean() * torch.eye(len(gram))
    slope = torch.linalg.solve(gram, (x - middle).T @ (y - level))
    with torch.no_grad():
        projector.whole.weight.copy_(slope.T.float())
        projector.whole.bias.copy_((level - middle @ slope).float())
        torch.nn.init.normal_(projector.time.weight, std=float(embeddings.std()) / known.features.time.shape[-1] ** 0.5)
        torch.nn.init.zeros_(projector.time.bias)
        projector.place[WHOLE:] = torch.stack([mean(f"{1.2 * i:.0f} s") for i in range(TOKENS - WHOLE)])
    return projector


def train(args: argparse.Namespace) -> tuple[SpiroProjector, float, dict[str, Any]]:
    """The projector of the best state, the threshold of obstruction, and figures on validation people."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    people = data.nhanes(args.data)
    curves = built(people, args.out)
    rows = {name: part[curves.solved[part]] for name, part in data.split(people).items()}
    net = spiro.opened(args.encoder)

    def blows(some: np.ndarray, threshold: float) -> Seen:
        return seen(net, people, some, data.varied(rng, curves.volume[some], curves.zero_s[some]), threshold)

    judged = blows(rows["validation"][:JUDGED], 0.5)
    threshold = threshold_of(judged.probability, people["obstruction"].to_numpy()[judged.row])
    known = blows(chosen(people, rows["train"], args.talks, rng), threshold)
    held = blows(chosen(people, rows["validation"], HELD, rng), threshold)

    source = args.base or smollm2.convert()
    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    if not args.base:
        adapted(model, ADAPTER)
    model.eval().requires_grad_(False)
    word, soft = prompts.soft_word(tokenizer)
    if args.projector:
        projector = opened(args.projector)[0]
    else:
        projector = begun(known, model.get_input_embeddings().weight.detach(), tokenizer)
    device = Accelerator(cpu=args.cpu).device
    model, projector = model.to(device), projector.to(device)
    plan = batches(examples(tokenizer, known, args.talks, args.seed, word), args.tokens, Random(args.seed))
    validation = batches(examples(tokenizer, held, HELD, 1, word), args.tokens, Random(1))
    optimiser = torch.optim.AdamW(projector.parameters(), args.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.lr, total_steps=len(plan) + 1, pct_start=0.1)
    state_file, first, best, kept = args.out / "state.pt", 0, float("inf"), projector.state_dict()
    if state_file.exists():
        state = recipe.load(state_file)
        projector.load_state_dict(state["projector"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first, best, kept = state["step"], state["best"], state["kept"]
    for step in (bar := tqdm(range(first, len(plan)), initial=first, total=len(plan), desc="steps", mininterval=10)):
        loss = loss_of(model, projector.train(), plan[step], known.features, soft)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(projector.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.3f}", best=f"{best:.4f}", refresh=False)
        if (step + 1) % args.save_every and step + 1 < len(plan):
            continue
        with torch.no_grad():
            projector.eval()
            losses = [loss_of(model, projector, batch, held.features, soft).item() for batch in validation]
        mean = sum(losses) / len(losses)
        tqdm.write(f"step {step + 1}: loss {loss.item():.3f}, validation {mean:.4f}")
        if mean < best:
            best, kept = mean, {name: value.clone() for name, value in projector.state_dict().items()}
        state = {"projector": projector.state_dict(), "kept": kept, "best": best, "step": step + 1}
        recipe.save(state | {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}, state_file)
    projector.load_state_dict(kept)
    figures = {"validation_loss": round(best, 4), "conversations": args.talks, "people": len(set(known.row.tolist()))}
    return projector.cpu().eval(), threshold, figures


def main() -> None:
    args = arguments().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    projector, threshold, figures = train(args)
    file = args.out / "spiro_projector.safetensors"
    tensors = {name: value.half().contiguous() for name, value in projector.state_dict().items()}
    save_file(tensors, file, metadata={"config": json.dumps({"shape": projector.config(), "threshold": threshold})})
    write_card(file, {
        "name": "spiro_projector",
        "what": "vectors of the encoder of spirograms -> soft tokens of SmolLM2-135M-Instruct with its adapter",
        "data": f"NHANES 2007-12 spirometry (Zavorsky 2024, doi 10.17632/dwjykg3xww.1), {figures['people']} people; "
        "curves modelled from their numbers, worded by training/spirogram_text.py",
        "split": "by person: 70 % train, 15 % choose threshold and state, 15 % for evaluation",
        "command": f"python -m training.spirogram_report --data DIR --out DIR --talks {args.talks} --lr {args.lr} "
        f"--tokens {args.tokens} --seed {args.seed}" + (" --projector FORMER" if args.projector else ""),
        "input": "one blow as encoders/spiro.py sees it; 5-13 soft tokens",
        "figures": {**figures, "called obstructed from a probability of": threshold},
        "limits": "English. It says what the encoder sees in curves that were modelled; no real curve was seen in "
        "training. It fits this adapter of this language model alone. read_spirogram is the authority.",
    })  # fmt: skip


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--encoder", type=Path, default=spiro.FILE)
    parser.add_argument("--base", help="another causal language model of the Llama family (folder), without adapter")
    parser.add_argument("--projector", type=Path, help="to go on from; default: begun by a ridge regression")
    parser.add_argument("--talks", type=int, default=2000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--tokens", type=int, default=1600, help="tokens a batch")
    parser.add_argument("--save-every", type=int, default=25, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    return parser


if __name__ == "__main__":
    recipe.run(main)
