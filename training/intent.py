"""Teach the sentence encoder which tools a request is about (agent/intent.py).

    python -m training.intent --out DIR [--members 3] [--epochs 10] [--start intent.safetensors --lr 0.0005]

The same dialogues as `training.tool_use` learns from, each hand-written one in another variation every epoch; LoRA on
the sentence encoder, one logit a tool, binary cross-entropy. `training/data/*_validation.jsonl` say which epoch is kept
(by the share of prompts of which every tool is right); `*_heldout.jsonl` judge the result. None of them is trained on.
Members begin alike, see other variations in another order, and are asked together. State is saved after every epoch;
the same command goes on. After new dialogues were written, `--start` goes on from earlier weights.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch.nn import functional as F
from tqdm import tqdm

from agent.intent import SCALE, Network, told
from agent.looking import ACTION
from agent.prompts import kind_of
from encoders.weights import stored
from tools.registry import MAKERS, TOOLS
from training import recipe, tool_use_data
from training.cards import write_card
from training.tool_use_texts import plain, told_apart
from training.tool_use_written import FILES, written

BATCH, LR, RANK = 32, 1e-3, 32
DIALOGUES = 1500  # from templates, an epoch
VALIDATION = [Path(__file__).parent / "data" / f"{name}_validation.jsonl" for name in ("tool_use", "deciding")]
Turn = dict[str, Any]


def adapting(tools: list[str], rank: int) -> Network:
    """The network of agent/intent.py with an adapter that learns; the sentence encoder itself does not."""
    net = Network(tools)
    config = LoraConfig(r=rank, lora_alpha=int(SCALE * rank), target_modules=["query", "key", "value", "dense"])
    net.encoder = get_peft_model(net.encoder, config)
    return net


def learnt(net: Network) -> dict[str, torch.Tensor]:
    """What training changes: the adapter and the last layer."""
    return {name: value for name, value in net.state_dict().items() if "lora_" in name or name.startswith("out.")}


def go_on(net: Network, file: Path, member: int) -> None:
    """Take over a member's earlier weights; a tool that they do not know keeps its random row."""
    config, before = stored(file, "intent")
    state, own = net.state_dict(), f"{(member - 1) % config['members']}."
    rows = [net.tools.index(tool) for tool in config["tools"]]
    for name, value in before.items():
        if not name.startswith(own):
            continue
        name = name.removeprefix(own)
        if name.startswith("out."):
            state[name][rows] = value.float()
        else:
            state[name] = value.float()
    net.load_state_dict(state)


def turns(epoch: int, files: list[str] | None = None) -> list[Turn]:
    """What an epoch learns from: every hand-written dialogue (of `files`) once, in a variation of the epoch, and
    templates."""
    hand = written(epoch, 2, files)  # each as written, then varied
    chosen = hand[epoch % 2 :: 2] + tool_use_data.dialogues(epoch, DIALOGUES)
    apart = told_apart()
    return [turn for turn in chosen if not apart & {plain(one["user"]) for one in (*turn["history"], turn)}]


def batches(chosen: list[Turn], rng: random.Random) -> list[list[Turn]]:
    """Of like length, in random order."""
    order = sorted(chosen, key=lambda turn: len(turn["user"]) + 20 * rng.random())
    made = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    rng.shuffle(made)
    return made


def loss_of(net: Network, batch: list[Turn]) -> torch.Tensor:
    wanted = torch.tensor([[tool in {call["name"] for call in turn["calls"]} for tool in net.tools] for turn in batch])
    texts = [told(turn["recordings"], turn["history"], turn["user"]) for turn in batch]
    logits = net(texts)
    return F.binary_cross_entropy_with_logits(logits, wanted.to(logits)) * len(net.tools) / 2


@torch.inference_mode()
def right(net: Network, prompts: list[dict[str, Any]]) -> float:
    """Share of prompts of which the tools above one half, as far as their recordings are there, are those asked for."""
    hits = 0
    for prompt in prompts:
        p = net.eval()([told(prompt["recordings"], prompt["history"], prompt["user"])])[0].sigmoid()
        chosen = possible({t for t, value in zip(net.tools, p, strict=True) if value > 0.5}, prompt["recordings"])
        hits += any(chosen == set(tools) for tools in [prompt["tools"], *prompt.get("also", [])])
    return hits / len(prompts)


def possible(chosen: set[str], recordings: list[str]) -> set[str]:
    """Less the tools of which no recording is loaded, nor made by another one that is chosen."""
    kinds = {kind_of(name.split(" ")[0]) for name in recordings}

    def runs(name: str) -> bool:
        if name == ACTION:
            return "ecg" in kinds
        tool = TOOLS[name]
        return not tool.kinds or tool.recording_optional or bool(kinds & set(tool.kinds))

    if any(name in MAKERS and runs(name) for name in chosen):
        kinds = kinds | {"ecg"}
    return {name for name in chosen if runs(name)}


def train(args: argparse.Namespace, member: int) -> tuple[Network, dict[str, Any]]:
    """A member (1, 2, …) at its best epoch and its figures on validation."""
    torch.manual_seed(args.seed)
    net = adapting(sorted([*TOOLS, ACTION]), args.rank)
    if args.start:
        go_on(net, args.start, member)
    net.to(Accelerator(cpu=args.cpu).device)
    learning = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(learning, args.lr, weight_decay=0.01)
    prompts = [json.loads(line) for file in VALIDATION for line in file.read_text().splitlines() if line.strip()]
    args.out.mkdir(parents=True, exist_ok=True)
    state_file, best_file, first = args.out / f"intent-state-{member}.pt", args.out / f"intent-best-{member}.pt", 0
    best: dict[str, Any] = {"right": 0.0}
    if state_file.exists():
        state = recipe.load(state_file)
        net.load_state_dict(state["net"], strict=False)
        optimiser.load_state_dict(state["optimiser"])
        first, best = state["epoch"], state["best"]
    for epoch in range(first, args.epochs):
        rng = random.Random(epoch)
        torch.manual_seed(args.seed + member + epoch)
        plan = batches(turns((args.seed + member) * 1000 + epoch, args.files), rng)
        bar = tqdm(plan, desc=f"member {member}, epoch {epoch + 1}/{args.epochs}", mininterval=5)
        for step, batch in enumerate(bar):
            done = (epoch + step / len(plan)) / args.epochs
            for group in optimiser.param_groups:
                group["lr"] = args.lr * min(1.0, done * 20) * (1 - done)
            loss = loss_of(net.train(), batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learning, 1.0)
            optimiser.step()
            optimiser.zero_grad()
            bar.set_postfix(loss=f"{loss.item():.3f}", best=best["right"], refresh=False)
        figures = {"right": round(right(net, prompts), 4), "epoch": epoch + 1, "prompts": len(prompts)}
        print(figures, flush=True)
        if figures["right"] >= best["right"]:
            best = figures
            recipe.save(learnt(net), best_file)
        state = {"net": learnt(net), "optimiser": optimiser.state_dict(), "epoch": epoch + 1, "best": best}
        recipe.save(state, state_file)
    net.load_state_dict(recipe.load(best_file), strict=False)
    return net.cpu(), best


def main() -> None:
    args = arguments().parse_args()
    numbers = range(1, args.members + 1)
    nets, figures = zip(*(train(args, member) for member in numbers), strict=True)
    file = args.out / "intent.safetensors"
    write(list(nets), args.rank, file)
    write_card(file, {
        "name": "intent",
        "what": f"{args.members} LoRA adapters of all-MiniLM-L6-v2: which tools a request is about, beside the "
        "language model's choice",
        "data": "dialogues written for this project (training/data/tool_use), Apache-2.0",
        "split": "tool_use_validation.jsonl and deciding_validation.jsonl of training/data choose the epoch (the two "
        "probabilities of agent/intent.py were set on the first by hand), tool_use_heldout.jsonl and "
        "deciding_heldout.jsonl judge the result; all are written apart and never trained on",
        "command": f"python -m training.intent --out DIR --members {args.members} --epochs {args.epochs} "
        f"--rank {args.rank} --seed {args.seed}"
        + (f" --start {args.start.name} --lr {args.lr}" if args.start else "")
        + (f" --files {' '.join(args.files)}" if args.files else ""),
        "input": "the request, the last two turns with their tools, the kinds of the recordings loaded",
        "figures": {"validation, every tool right, each member alone": list(figures)},
        "limits": "English, with a little of eight other languages; knows the tools of the contract and no others",
    })  # fmt: skip
    for member, name in itertools.product(numbers, ("state", "best")):
        (args.out / f"intent-{name}-{member}.pt").unlink(missing_ok=True)


def write(nets: list[Network], rank: int, file: Path) -> None:
    """What agent/intent.py opens: the members' tensors under their numbers from 0."""
    config = json.dumps({"tools": nets[0].tools, "rank": rank, "members": len(nets)})
    members = [{name: value.half().contiguous() for name, value in learnt(net).items()} for net in nets]
    named = {f"{n}.{name}": value for n, member in enumerate(members) for name, value in member.items()}
    save_file(named, file, metadata={"config": config})


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--lr", type=float, default=LR)
    parser.add_argument("--files", nargs="+", choices=FILES, help="written dialogues to learn from; default: all")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    return parser


if __name__ == "__main__":
    recipe.run(main)
