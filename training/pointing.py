"""Teach the tuned model to copy the one sentence that answers, and to read from it which option that is.

    python -m training.pointing --data DIR/pubmedqa --adapter DIR/copypaste --out DIR [--arm copypaste]

Preference (training/copypaste.py) teaches to copy rather than to write; what is copied may still lie beside the
question. Here the answering sentence is known: of PubMedQA's training questions, each with its context as it is and
altered (training/counterfactual.py), of questions over the handbook, and of claims written for this
(training/claims.py). Supervised, on the same half of the layers; the adapter is gone on from. Of the arms

    copypaste   learns the sentence and the option after it
    copying     the sentence alone
    stamping    the option alone, after a sentence that it reads

so that the two controls see the same texts. PubMedQA's validation questions say which state is kept.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from agent import smollm2
from agent.copypaste import asked
from training import copypaste, recipe
from training.cards import write_card
from training.claims import claims
from training.copypaste_data import Item, from_handbook, turnable
from training.tool_use import Encoded, fitted


def items(folder: Path, part: str, written: int, seed: int) -> list[Item]:
    """Questions with their answering sentence under "key"; in training those of the handbook and of claims beside."""
    found = turnable(folder, part)
    made = [{**one, "key": one["swap"][0]} for answer in found for twins in found[answer] for one in twins]
    if part == "train":
        made += from_handbook() + claims(seed, written)
    made = [one for one in made if one["key"] in one["context"]]
    random.Random(seed).shuffle(made)
    return made


def encoded(tokenizer: Any, item: Item, arm: str) -> Encoded:
    """Token ids of question, context, sentence and option; labels of what the arm learns to write."""
    prompt = asked(item["question"], item["context"], item["options"])
    ids = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
    option = f"\nAnswer: {item['answer']}" if item["answer"] else ""
    parts = [(item["key"], arm != "stamping"), (f"{option}<|im_end|>" if option else "<|im_end|>", arm != "copying")]
    labels = [-100] * len(ids)
    for text, learns in parts:
        wrote = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids, labels = ids + wrote, labels + (wrote if learns else [-100] * len(wrote))
    return ids, labels


def train(args: argparse.Namespace) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = args.base or smollm2.convert()
    tokenizer = AutoTokenizer.from_pretrained(source)
    parts = {part: items(args.data, part, args.written, args.seed) for part in ("train", "validation")}
    learnt, judging = ([encoded(tokenizer, one, args.arm) for one in some] for some in parts.values())
    return fitted(AutoModelForCausalLM.from_pretrained(source, dtype="float32"), learnt, judging, args)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="PubMedQA's folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, help="to go on from: what training.copypaste made; of the same rank")
    parser.add_argument("--base", help="another causal language model of the Llama family (folder)")
    parser.add_argument("--arm", choices=copypaste.ARMS, default="copypaste")
    parser.add_argument("--written", type=int, default=800, help="claims beside")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--tokens", type=int, default=2048, help="tokens a batch")
    parser.add_argument("--save-every", type=int, default=40, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def main() -> None:
    args = arguments().parse_args()
    figures = train(args)
    write_card(args.out / "adapter_model.safetensors", card(args, figures))
    print(json.dumps(figures))


def card(args: argparse.Namespace, figures: dict[str, Any]) -> dict[str, Any]:
    made = copypaste.card(args, figures, "pointing")
    file = args.adapter / "adapter_model.json" if args.adapter else Path()
    if file.is_file():
        before = json.loads(file.read_text())
        made["command"] = f"{before['command']}; then {made['command']} --adapter FORMER"
        made["figures"] = {"preference": before["figures"].get("training", before["figures"]), "pointing": figures}
    return made


if __name__ == "__main__":
    recipe.run(main)
