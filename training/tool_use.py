"""Teach the default language model to choose tools and to answer in the words of the evidence.

    python -m training.tool_use --out encoders/weights/tool_use [--dialogues 4500] [--answers 1000] [--epochs 2]

LoRA (Hu et al. 2021) by peft on the upper half of SmolLM2-135M-Instruct. The lower half stays as it is, so its
activations are computed once and kept: an epoch on two cores costs a third of what it would. The loss is on
what the model writes, never on what it reads. The state is saved every few minutes; the same command goes on
from there. A twentieth of the dialogues says which state is kept. `training/data/tool_use_validation.jsonl` judges the
phrases, `tool_use_heldout.jsonl` the result (`python -m training.evaluate tool_use`); both are never trained on.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from agent import drawing, smollm2
from training import recipe
from training.cards import write_card
from training.tool_use_texts import conversations, encode
from training.tool_use_written import FILES

Encoded = tuple[list[int], list[int]]  # token ids, labels with -100 for read
Example = tuple[torch.Tensor, torch.Tensor]  # activations (tokens, width) bfloat16, labels (tokens,) with -100 for read

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def halves(model: Any, lower: int) -> tuple[Any, Any]:
    """The first `lower` layers as an encoder of tokens, the rest as a language model over its activations."""
    base = drawing.lower(model, lower)
    model.model.layers = model.model.layers[lower:]
    for index, layer in enumerate(model.model.layers):
        layer.self_attn.layer_idx = index
    return base, model


@torch.inference_mode()
def activations(lower: Any, encoded: list[Encoded]) -> list[Example]:
    """Run the frozen lower half once over every example (64 of like length at a time)."""
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i][0]))
    made: list[Example | None] = [None] * len(encoded)
    for start in tqdm(range(0, len(order), 64), desc="lower half"):
        rows = order[start : start + 64]
        longest = max(len(encoded[i][0]) for i in rows)
        ids = torch.tensor([encoded[i][0] + [0] * (longest - len(encoded[i][0])) for i in rows])
        hidden = lower(ids, use_cache=False).last_hidden_state.bfloat16()  # causal: padding on the right is harmless
        for row, i in enumerate(rows):
            made[i] = (hidden[row, : len(encoded[i][0])].clone(), torch.tensor(encoded[i][1]))
    return made  # type: ignore[return-value]


def loss_of(model: Any, batch: list[Example]) -> torch.Tensor:
    """Mean cross-entropy over the written tokens of a batch."""
    hidden = torch.nn.utils.rnn.pad_sequence([h for h, _ in batch], batch_first=True).float()
    labels = torch.nn.utils.rnn.pad_sequence([y for _, y in batch], batch_first=True, padding_value=-100)
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    out = core.model(inputs_embeds=hidden, use_cache=False).last_hidden_state[:, :-1]
    written = labels[:, 1:] != -100
    return torch.nn.functional.cross_entropy(core.lm_head(out[written]), labels[:, 1:][written])


def batches(examples: list[Example], tokens: int, rng: random.Random | None) -> list[list[Example]]:
    """Batches of like length, at most `tokens` each; in random order if `rng` is given."""
    order = sorted(examples, key=lambda example: len(example[0]) + (rng.random() if rng else 0))
    made: list[list[Example]] = [[]]
    for example in order:
        if (len(made[-1]) + 1) * len(example[0]) > tokens and made[-1]:
            made.append([])
        made[-1].append(example)
    if rng:
        rng.shuffle(made)
    return made


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Train, save the best adapter; returns the figures of the twentieth that validates."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = args.base or smollm2.convert()
    tokenizer = AutoTokenizer.from_pretrained(source)
    model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    talks = [
        encode(tokenizer, talk)
        for talk in conversations(args.seed, args.dialogues, args.answers, args.copies, args.files)
    ]
    held = len(talks) // 20
    return fitted(model, talks[held:], talks[:held], args)


def fitted(model: Any, learnt: list[Encoded], judging: list[Encoded], args: argparse.Namespace) -> dict[str, Any]:
    """Tune the upper half of a model on `learnt` texts; the adapter with the least loss on `judging` is in --out."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(args.seed)
    depth = model.config.num_hidden_layers
    lower, model = halves(model, depth // 2)
    validation, training = (activations(lower.eval(), some) for some in (judging, learnt))
    config = LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules=TARGETS, task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    if args.adapter:
        set_peft_model_state_dict(model, opened(args.adapter, depth // 2))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=args.lr, weight_decay=0.01)
    rng = random.Random(args.seed)
    plan = [batch for _ in range(args.epochs) for batch in batches(training, args.tokens, rng)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, args.lr, total_steps=len(plan) + 1, pct_start=0.05)

    args.out.mkdir(parents=True, exist_ok=True)
    state_file = args.out / "state.pt"  # of this run alone; removed at its end
    first, best, seen = 0, float("inf"), 0.0
    if state_file.exists():
        state = recipe.load(state_file)
        set_peft_model_state_dict(model, state["adapter"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first, best = state["step"], state["best"]
    bar = tqdm(range(first, len(plan)), initial=first, total=len(plan), desc="steps", mininterval=10)
    for step in bar:
        loss = loss_of(model.train(), plan[step])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        seen = 0.98 * seen + 0.02 * loss.item() if step > first else loss.item()
        bar.set_postfix(loss=f"{seen:.3f}", best=f"{best:.4f}", refresh=False)
        if (step + 1) % args.save_every and step + 1 < len(plan):
            continue
        with torch.no_grad():
            losses = [loss_of(model.eval(), batch).item() for batch in batches(validation, args.tokens, rng=None)]
        mean = sum(losses) / len(losses)
        if mean < best:
            best = mean
            save(model, args.out, depth // 2)
        state = {"adapter": get_peft_model_state_dict(model), "optimiser": optimiser.state_dict(), "best": best}
        recipe.save(state | {"schedule": schedule.state_dict(), "step": step + 1}, state_file)
    state_file.unlink(missing_ok=True)
    return {"validation_loss": best, "examples": len(learnt) + len(judging)}


def save(model: Any, out: Path, lower: int) -> None:
    """Write the adapter in float16, its layers numbered as in the whole model."""
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = {_moved(name, lower): value.half().contiguous() for name, value in get_peft_model_state_dict(model).items()}
    save_file(state, out / "adapter_model.safetensors", metadata={"format": "pt"})
    config = model.peft_config["default"].to_dict()
    config |= {
        "base_model_name_or_path": "SmolLM2-135M-Instruct",
        "inference_mode": True,
        "layers_to_transform": sorted({int(name.split("layers.")[1].split(".")[0]) for name in state}),
        "target_modules": TARGETS,
    }
    keep = {key: value for key, value in config.items() if isinstance(value, str | int | float | bool | list | None)}
    (out / "adapter_config.json").write_text(json.dumps(keep, indent=1, default=str) + "\n")


def opened(adapter: Path, lower: int) -> dict[str, torch.Tensor]:
    """A saved adapter, its layers numbered as in the upper half."""
    from safetensors.torch import load_file

    saved = load_file(adapter / "adapter_model.safetensors")
    return {_moved(name, -lower): value.float() for name, value in saved.items()}


def _moved(name: str, by: int) -> str:
    return re.sub(r"layers\.(\d+)\.", lambda found: f"layers.{int(found[1]) + by}.", name)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", help="another causal language model of the Llama family (folder)")
    parser.add_argument("--adapter", type=Path, help="go on from this adapter, on other dialogues (--seed)")
    parser.add_argument("--dialogues", type=int, default=4500)
    parser.add_argument("--copies", type=int, default=2, help="of each hand-written dialogue")
    parser.add_argument("--files", nargs="+", choices=FILES, help="written files to learn; default: all")
    parser.add_argument("--answers", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--tokens", type=int, default=1024, help="tokens a batch")
    parser.add_argument("--save-every", type=int, default=100, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = arguments().parse_args()
    figures = train(args)
    write_card(args.out / "adapter_model.safetensors", card(args, figures))


def card(args: argparse.Namespace, figures: dict[str, Any]) -> dict[str, Any]:
    begun = json.loads((args.adapter / "adapter_model.json").read_text())["command"] + "; then " if args.adapter else ""
    return {
        "name": "tool_use",
        "what": "LoRA adapter of SmolLM2-135M-Instruct: chooses tools, answers in the words of the evidence",
        "data": "dialogues written for this project (training/data/tool_use, training/answer_data.py), Apache-2.0",
        "split": "a twentieth of the dialogues says which state is kept; training/data/tool_use_validation.jsonl "
        "judges the phrases, tool_use_heldout.jsonl the result, both written apart and never trained on",
        "command": f"{begun}python -m training.tool_use --out DIR --dialogues {args.dialogues} "
        f"--answers {args.answers} --copies {args.copies} --epochs {args.epochs} --rank {args.rank} --lr {args.lr} "
        f"--tokens {args.tokens} --seed {args.seed}"
        + (f" --files {' '.join(args.files)}" if args.files else "")
        + (" --adapter FORMER" if args.adapter else ""),
        "input": "chat text as agent/prompts.py renders it",
        "figures": figures,
        "limits": "English, with a little German, French and Spanish; knows the tools of the contract and no others",
    }


if __name__ == "__main__":
    recipe.run(main)
