"""Teach the language model to read ECGs from the encoder's features (stage 1; stage 2 is training/drawing.py).

    python -m training.multimodal --data DIR --out DIR [--talks 6000] [--alone 150] [--replay 0.25]

The projector (encoders/projector.py) begins where a ridge regression from features to words of the answer puts it,
learns alone for some steps, then together with the LoRA adapter of tool use, which goes on from the shipped one: some
dialogues of `training.tool_use` are learnt beside, so that one adapter chooses tools, words answers and reads.
Cross-entropy on what the model writes. Resumable: the same command goes on from the last saved state. Folds 1-7 of
PTB-XL teach, fold 8 says which state is kept. `--base` takes any model of the Llama family.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from tqdm import tqdm

from agent import smollm2
from agent.llm import ADAPTER
from agent.prompts import soft_word
from encoders.projector import Projector, Shape
from encoders.projector import opened as opened_projector
from tools.recording import LEADS
from training import multimodal_data, ptbxl, recipe, tool_use_texts
from training.cards import write_card
from training.multimodal_data import Known
from training.tool_use import TARGETS, opened, save
from training.tool_use_texts import encode
from training.tool_use_written import FILES

HELD = 48  # conversations of fold 8, and as many dialogues of tool use, that say which state is kept


class Example(NamedTuple):
    ids: list[int]
    labels: list[int]
    seen: list[int]  # rows of the features


def batches(examples: list[Example], tokens: int, rng: Random) -> list[list[Example]]:
    """Batches of like length, at most `tokens` each, in random order."""
    made: list[list[Example]] = [[]]
    for one in sorted(examples, key=lambda e: len(e.ids) + rng.random()):
        if (len(made[-1]) + 1) * len(one.ids) > tokens and made[-1]:
            made.append([])
        made[-1].append(one)
    rng.shuffle(made)
    return made


def embedded(model: Any, projector: Any, ids: torch.Tensor, seen: Any, soft: int) -> torch.Tensor:
    """(B, T, hidden) word vectors, with those of the projector (encoders/projector.py or encoders/spiro_projector.py,
    with features of its kind) where `soft` stands, recording after recording."""
    words = model.get_input_embeddings()(ids)
    if not len(seen.whole):
        return words
    vectors, there = projector(seen)
    return words.masked_scatter((ids == soft)[..., None], vectors[there].to(words.dtype))


def loss_of(model: Any, projector: Any, batch: list[Example], features: Any, soft: int) -> torch.Tensor:
    """Mean cross-entropy over the written tokens of a batch."""
    pad, device = torch.nn.utils.rnn.pad_sequence, next(projector.parameters()).device
    ids = pad([torch.tensor(one.ids) for one in batch], batch_first=True).to(device)
    labels = pad([torch.tensor(one.labels) for one in batch], batch_first=True, padding_value=-100).to(device)
    seen = features.rows(torch.tensor([row for one in batch for row in one.seen], dtype=torch.long))
    seen = seen._make(one.to(device) for one in seen)
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    inside = embedded(core, projector, ids, seen, soft)
    out = core.model(inputs_embeds=inside, use_cache=False).last_hidden_state[:, :-1]  # causal: padding is harmless
    written = labels[:, 1:] != -100
    return torch.nn.functional.cross_entropy(core.lm_head(out[written]), labels[:, 1:][written])


def begun(known: Known, embeddings: torch.Tensor, tokenizer: Any) -> Projector:
    """A projector whose four tokens of the whole are the ridge regression to the words of the answer.

    The tokens of leads and times begin at their names.
    """

    def mean(text: str) -> torch.Tensor:
        return embeddings[tokenizer(text, add_special_tokens=False)["input_ids"]].mean(0)

    hidden = embeddings.shape[1]
    projector = Projector(Shape(known.features.lead.shape[-1], hidden))
    x = known.features.whole.double()
    y = multimodal_data.words_of(known, mean).double().flatten(1)
    middle, level = x.mean(0), y.mean(0)
    gram = (x - middle).T @ (x - middle)
    slope = torch.linalg.solve(
        gram + 0.01 * gram.diagonal().mean() * torch.eye(len(gram)), (x - middle).T @ (y - level)
    )
    with torch.no_grad():
        projector.whole.weight.copy_(slope.T.float())
        projector.whole.bias.copy_((level - middle @ slope).float())
        size = embeddings.std()
        for linear in (projector.lead, projector.time):
            torch.nn.init.normal_(linear.weight, std=float(size) / known.features.lead.shape[-1] ** 0.5)
            torch.nn.init.zeros_(linear.bias)
        names = [*LEADS, *(f"{2 * i} s" for i in range(5))]
        projector.place[4:] = torch.stack([mean(f" {name}") for name in names])
    return projector


def examples(tokenizer: Any, known: Known, count: int, seed: int, word: str) -> list[Example]:
    """Conversations over the recordings in turn, views at random."""
    rng = Random(seed)
    order: list[int] = []
    while len(order) < count:
        order += rng.sample(range(len(known.table)), len(known.table))
    made = []
    for row in tqdm(order[:count], desc="conversations", leave=False):
        talk = multimodal_data.conversation(rng, known, row, word)
        made.append(Example(*encode(tokenizer, talk.messages), talk.seen))
    return made


def replayed(tokenizer: Any, count: int, seed: int, files: list[str] | None = None, copies: int = 1) -> list[Example]:
    """Dialogues of tool use and of answers in the words of the evidence; those of `files` all, each `copies` times."""
    if not count:
        return []
    talks = tool_use_texts.conversations(seed, 2 * count, count // 2, 1)
    new = tool_use_texts.conversations(seed + 1, 0, 0, 4, ["look"])  # the action that tool use did not have
    new += tool_use_texts.conversations(seed, 0, 0, copies, files) if files else []
    chosen = Random(seed).sample(talks, min(count, len(talks))) + new
    return [Example(*encode(tokenizer, talk), []) for talk in chosen]


def train(args: argparse.Namespace) -> dict[str, Any]:
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from peft.utils import get_peft_model_state_dict
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(args.seed)
    source = args.base or smollm2.convert()
    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    depth = model.config.num_hidden_layers
    known = multimodal_data.prepared(args.data, args.out, ptbxl.TRAIN, seed=args.seed)
    held = multimodal_data.prepared(args.data, args.out, ptbxl.VALIDATION, views=2, seed=args.seed)
    upper = list(range(depth // 2, depth))
    config = LoraConfig(
        r=args.rank, lora_alpha=2 * args.rank, target_modules=TARGETS, task_type="CAUSAL_LM", layers_to_transform=upper
    )
    word, soft = soft_word(tokenizer)
    if args.projector:
        projector = opened_projector(args.projector)
    else:
        projector = begun(known, model.get_input_embeddings().weight.detach(), tokenizer)
    device = Accelerator(cpu=args.cpu).device
    model, projector = get_peft_model(model, config).to(device), projector.to(device)
    if args.adapter and (args.adapter / "adapter_model.safetensors").exists():
        set_peft_model_state_dict(model, opened(args.adapter, 0))
    rng = Random(args.seed)
    read = examples(tokenizer, known, args.talks, args.seed, word)
    old = replayed(tokenizer, int(args.replay * args.talks), args.seed, args.files, args.copies)
    judging, old = old[:HELD], old[HELD:]
    plan = batches(read, args.tokens, rng) + batches(old, args.tokens, rng)  # apart: these need no gradient below
    rng.shuffle(plan)
    validation = batches([*examples(tokenizer, held, HELD, 1, word), *judging], args.tokens, Random(1))
    adapter = [p for name, p in model.named_parameters() if "lora_" in name]
    groups = [{"params": projector.parameters(), "lr": args.lr}, {"params": adapter, "lr": args.lr_adapter}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [args.lr, args.lr_adapter], total_steps=len(plan) + 1, pct_start=0.1
    )
    state_file = args.out / "state.pt"  # of this run alone; removed at its end
    first, best, seen = 0, float("inf"), None
    if state_file.exists():
        state = recipe.load(state_file)
        set_peft_model_state_dict(model, state["adapter"])
        projector.load_state_dict(state["projector"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first, best = state["step"], state["best"]
    bar = tqdm(range(first, len(plan)), initial=first, total=len(plan), desc="steps", mininterval=10)
    for step in bar:
        for p in adapter:
            p.requires_grad_(step >= args.alone)
        loss = loss_of(model.train(), projector.train(), plan[step], known.features, soft)
        loss.backward() if loss.requires_grad else None  # a batch of old dialogues has nothing for the projector alone
        torch.nn.utils.clip_grad_norm_([*projector.parameters(), *adapter], 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        seen = loss.item() if seen is None else 0.98 * seen + 0.02 * loss.item()
        bar.set_postfix(loss=f"{seen:.3f}", best=f"{best:.4f}", refresh=False)
        if (step + 1) % args.save_every and step + 1 < len(plan):
            continue
        with torch.no_grad():
            model.eval(), projector.eval()
            losses = [loss_of(model, projector, batch, held.features, soft).item() for batch in validation]
        mean = sum(losses) / len(losses)
        tqdm.write(f"step {step + 1}: loss {seen:.3f}, held {mean:.4f}")
        if mean < best:
            best = mean
            save(model, args.out, 0)
            kept = {name: value.half().contiguous() for name, value in projector.state_dict().items()}
            save_file(
                kept,
                args.out / "projector.safetensors",
                metadata={"config": json.dumps({"shape": projector.config()})},
            )
        state = {"adapter": get_peft_model_state_dict(model), "projector": projector.state_dict(), "best": best}
        state |= {"optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "step": step + 1}
        recipe.save(state, state_file)
    state_file.unlink(missing_ok=True)
    return {"validation_loss": best, "conversations": len(read), "patients": len(set(known.table.patient))}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of PTB-XL, or one that holds ptb-xl")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", help="another causal language model of the Llama family (folder)")
    parser.add_argument("--adapter", type=Path, default=ADAPTER, help="tool use, to go on from")
    parser.add_argument("--projector", type=Path, help="to go on from; default: begun by a ridge regression")
    parser.add_argument("--files", nargs="+", choices=FILES, help="written dialogues of tool use to learn all of")
    parser.add_argument("--copies", type=int, default=1, help="of each of these, the first as written")
    parser.add_argument("--talks", type=int, default=6000, help="conversations about ECGs")
    parser.add_argument("--replay", type=float, default=0.25, help="dialogues of tool use beside, as a share")
    parser.add_argument("--alone", type=int, default=150, help="steps of the projector alone")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--lr-adapter", type=float, default=5e-4)
    parser.add_argument("--tokens", type=int, default=1600, help="tokens a batch")
    parser.add_argument("--save-every", type=int, default=100, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    return parser


def main() -> None:
    args = arguments().parse_args()
    figures = train(args)
    for name in ("adapter_model", "projector"):
        write_card(args.out / f"{name}.safetensors", card(args, figures, name))


def card(args: argparse.Namespace, figures: dict[str, Any], name: str) -> dict[str, Any]:
    what = {
        "adapter_model": "LoRA adapter of SmolLM2-135M-Instruct: chooses tools, words answers, reads soft tokens",
        "projector": "features of the reading encoder -> soft tokens of SmolLM2-135M-Instruct",
    }
    before = args.adapter / "adapter_model.json" if args.adapter else Path()
    begun_by = json.loads(before.read_text())["command"] + "; then " if before.is_file() else ""
    begun_by = begun_by if name == "adapter_model" else ""
    return {
        "name": {"adapter_model": "tool_use", "projector": "projector"}[name],
        "what": what[name],
        "data": f"PTB-XL (CC BY 4.0, doi 10.13026/kfzx-aw45), {figures['patients']} patients, seen through the reading "
        "encoder and worded by training/multimodal_text.py; dialogues of training.tool_use",
        "split": "strat_fold by patient: 1-7 train, 8 says which state is kept, 9 is opened by training.evaluate",
        "command": f"{begun_by}python -m training.multimodal --data DIR --out DIR --talks {args.talks} "
        f"--replay {args.replay} "
        f"--alone {args.alone} --rank {args.rank} --lr {args.lr} --lr-adapter {args.lr_adapter} "
        f"--tokens {args.tokens} --seed {args.seed}"
        + (f" --files {' '.join(args.files)} --copies {args.copies}" if args.files else "")
        + (" --projector FORMER" if args.projector else ""),
        "input": "chat text as agent/prompts.py renders it; 17-21 soft tokens an ECG",
        "figures": figures,
        "limits": "English. It reads what the encoder's heads decide; numbers are rough. The tools are the authority.",
    }


if __name__ == "__main__":
    recipe.run(main)
