"""Teach the default language model to prefer copying: DPO on pairs of answers, after CopyPasteLLM (arXiv 2510.00508).

    python -m training.copypaste --data DIR/pubmedqa --out encoders/weights/copypaste [--arm copypaste] [--items 150]

Three steps, each kept in --out, so the same command goes on where it stopped:

candidates.jsonl   six answers of the base model to each question (training/copypaste_data.py)
pairs-ARM.jsonl    what is preferred to what; --judge URL#MODEL lets a larger model rank
adapter            LoRA by TRL's DPOTrainer; reference log-probabilities are computed once

The paper's settings are the defaults (β 0.3, α = 2r, seven targets, lr 5e-5, weight decay 0.01, clip 1, cosine, 5 %
warmup, batches of 16, 2 epochs), but for the rank (16 in place of 64: the adapter stays below 10 MB) and the layers:
the upper half only, so that the lower half reads each answer once. --arm stamping and --arm copying make the controls.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from agent import smollm2
from training import recipe
from training.cards import write_card
from training.copypaste_data import candidates, endpoint_judge, items, judged, pairs, twin
from training.generation import opened
from training.tool_use import TARGETS, halves, save

ARMS = ("copypaste", "stamping", "copying")
CHUNK = 16  # questions between two saves


def prepared(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Items with their judged candidates, read from candidates.jsonl as far as they are there."""
    file = args.out / "candidates.jsonl"
    done = rows_of(file) if file.exists() else []
    seen = {one["item"]["id"] for one in done}
    wanted = items(args.data, "train", args.items)
    todo = [item for item in wanted if item["id"] not in seen]
    if not todo:
        return done[: args.items]
    writer, judge = opened(args.base, quiet=True), endpoint_judge(args.judge) if args.judge else None
    for start in tqdm(range(0, len(todo), CHUNK), desc="candidates"):
        some = todo[start : start + CHUNK]
        made = [
            {"item": item, "answers": judged(writer, item, six, judge)}
            for item, six in zip(some, candidates(writer, some), strict=True)
        ]
        with file.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in made)
        done += made
    return done


def preferred(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The pairs of the arm, at most --pairs, kept in pairs-ARM.jsonl."""
    file = args.out / f"pairs-{args.arm}.jsonl"
    if not file.exists():
        made: list[dict[str, Any]] = []
        for one in prepared(args):
            item, answers = one["item"], one["answers"]
            made += pairs(item, answers, args.arm, args.each, args.seed)
            if other := twin(item, answers):
                made += pairs(*other, args.arm, args.each, args.seed)
        random.Random(args.seed).shuffle(made)  # so that --pairs takes from all questions
        text = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in made[: args.pairs])
        file.write_text(text, encoding="utf-8")
    return rows_of(file)


def rows_of(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; abstracts hold characters that str.splitlines takes for ends of lines."""
    with file.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def train(args: argparse.Namespace) -> dict[str, Any]:
    """Make what is missing and train; the adapter and its card are in --out."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    args.out.mkdir(parents=True, exist_ok=True)
    rows = sorted(
        ({**pair, "length": len(json.dumps(pair))} for pair in preferred(args)), key=lambda pair: pair["length"]
    )
    source = args.base or smollm2.convert()
    model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source)
    depth = model.config.num_hidden_layers
    lower, model = halves(model, depth // 2)
    model.model.embed_tokens = Kept(lower.eval(), tokenizer.pad_token_id)
    checkpoints = args.out / f"checkpoints-{args.arm}"
    per_device = min(4, args.batch)
    config = DPOConfig(
        output_dir=str(checkpoints),
        beta=args.beta,
        loss_type=["sigmoid", "sft"] if args.sft else ["sigmoid"],
        loss_weights=[1.0, args.sft] if args.sft else None,
        learning_rate=args.lr,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        weight_decay=0.01,
        max_grad_norm=1.0,
        num_train_epochs=args.epochs,
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=max(1, args.batch // per_device),
        max_length=None,
        precompute_ref_log_probs=True,
        train_sampling_strategy="group_by_length",  # half of a mixed batch would be padding
        remove_unused_columns=False,  # it goes by the column "length"
        gradient_checkpointing=False,
        bf16=torch.cuda.is_available(),
        use_cpu=not torch.cuda.is_available(),
        save_steps=args.save_every,
        save_total_limit=1,
        logging_steps=2,
        report_to="none",
        seed=args.seed,
    )
    lora = LoraConfig(
        r=args.rank,
        lora_alpha=2 * args.rank,
        lora_dropout=0.0,
        target_modules=TARGETS,
        task_type="CAUSAL_LM",
    )
    trainer = DPOTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora,
    )
    begun = any(checkpoints.glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=True if begun else None)
    save(trainer.model, args.out, depth // 2)
    log = [one for one in trainer.state.log_history if "rewards/accuracies" in one]
    last = log[-3:]
    return {
        "pairs": len(rows),
        "steps": trainer.state.global_step,
        "loss": _mean(last, "loss"),
        "preferred_right": _mean(last, "rewards/accuracies"),
    }


def _mean(log: list[dict[str, Any]], key: str) -> float:
    return round(sum(one[key] for one in log) / max(len(log), 1), 4)


class Kept(torch.nn.Module):
    """The frozen lower half in the place of an embedding: what it makes of a row of tokens is computed once."""

    def __init__(self, lower: Any, pad: int):
        super().__init__()
        self.lower, self.pad = [lower], pad  # in a list: nothing to train, save or move
        self.rows: dict[tuple[int, ...], torch.Tensor] = {}

    @torch.no_grad()
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(B, T) tokens, padded on the right -> (B, T, width) activations."""
        keys = [tuple(_trimmed(row, self.pad)) for row in ids.tolist()]
        if new := [key for key in dict.fromkeys(keys) if key not in self.rows]:
            longest = max(map(len, new))
            padded = torch.tensor([[*key, *[self.pad] * (longest - len(key))] for key in new], device=ids.device)
            hidden = self.lower[0](padded, use_cache=False).last_hidden_state.bfloat16()  # causal: padding is harmless
            self.rows |= {key: hidden[i, : len(key)].clone() for i, key in enumerate(new)}
        out = torch.nn.utils.rnn.pad_sequence([self.rows[key] for key in keys], batch_first=True).float()
        return torch.nn.functional.pad(out, (0, 0, 0, ids.shape[1] - out.shape[1]))


def _trimmed(row: list[int], pad: int) -> list[int]:
    end = len(row)
    while end > 1 and row[end - 1] == pad:
        end -= 1
    return row[:end]


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="PubMedQA's folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", help="another causal language model (folder or Hugging Face id)")
    parser.add_argument("--arm", choices=ARMS, default="copypaste")
    parser.add_argument("--items", type=int, help="questions that are answered six ways; default: all")
    parser.add_argument("--pairs", type=int, help="at most so many; give all arms the same")
    parser.add_argument("--each", type=int, default=5, help="pairs of a question at most")
    parser.add_argument("--judge", metavar="URL#MODEL", help="a larger model that ranks candidates")
    parser.add_argument("--beta", type=float, default=0.3)
    parser.add_argument("--sft", type=float, default=0.0, help="weight of likelihood of the preferred beside DPO")
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--save-every", type=int, default=10, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = arguments().parse_args()
    figures = train(args)
    write_card(args.out / "adapter_model.safetensors", card(args, figures))
    print(json.dumps(figures))


def card(args: argparse.Namespace, figures: dict[str, Any], recipe: str = "copypaste") -> dict[str, Any]:
    """The card of what this recipe made, or training/pointing.py."""
    unsaid = ("data", "out", "adapter")
    said = {key: value for key, value in vars(args).items() if key not in unsaid and value not in (None, False)}
    options = " ".join(
        f"--{key.replace('_', '-')}{'' if value is True else f' {value}'}" for key, value in said.items()
    )
    return {
        "name": "copypaste" if args.arm == "copypaste" else f"copypaste-{args.arm}",
        "what": "LoRA adapter of SmolLM2-135M-Instruct: answers a question from its context by copying, then names the "
        "option",
        "data": "PubMedQA (Jin et al. 2019, MIT), its contexts altered by training/counterfactual.py; questions over "
        "agent/handbook and claims of training/data (Apache-2.0)",
        "split": "PubMedQA's 500 test questions are the test; of the others those with an id divisible by 5 validate; "
        "altered contexts of training and of evaluation belong to different questions",
        "command": f"python -m training.{recipe} --data DIR/pubmedqa --out DIR {options}",
        "input": "chat text as agent/copypaste.py `asked` renders it",
        "figures": figures,
        "limits": "English; contexts of about a hundred words; yes/no questions and numbers of a passage. The answer "
        "is as good as a model of 135M is.",
    }


if __name__ == "__main__":
    recipe.run(main)
