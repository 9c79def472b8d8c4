"""What the language model itself reads in PTB-XL's test fold, without any tool, beside three controls.

    python -m training.evaluate multimodal --data DIR [--fold 9] [--weights FOLDER] [--records N] [--rounds 2]

Greedy decoding. (1) Free interpretation, measurements withheld: micro F1 of the superclasses and of the subclasses it
names, against the labels; beside the encoder's own heads (the network alone, which is all that the model sees, and the
reader with trees), the same model with the tokens of another patient, and without tokens. (2) Question families:
accuracy, the same controls, and the best constant answer of each family, chosen on the test questions themselves.
(3) The share of interpretations that are valid with measurements withheld (all parts there, no number invented), and
the F1 with measurements given. (4) Which action is chosen on training/data/deciding_heldout.jsonl. Bootstrap 95 %
intervals over recordings. Not shown: what a cardiologist thinks of the wording.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from agent import prompts
from agent.llm import ADAPTER, LocalModel
from encoders.projector import FILE, Projector, opened
from encoders.reading import FILE as READER
from encoders.reading import Reader
from encoders.weights import cache_folder
from training import evaluate_tool_use, multimodal_data, ptbxl
from training.evaluate_reading import read
from training.figures import DRAWS, interval
from training.multimodal import embedded
from training.multimodal_data import Known, decisions, facts
from training.multimodal_text import FAMILIES, Facts, measured_line, question, said

GROUPS = ("superclass", "subclass")
DECIDING = Path(__file__).parent / "data" / "deciding_heldout.jsonl"
BATCH = 16
LONGEST = 130  # tokens of an interpretation
CONTROLS = ("own", "another patient's", "no")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--fold", type=int, default=ptbxl.TEST[0])
    parser.add_argument("--weights", type=Path, default=ADAPTER, help="folder of the adapter")
    parser.add_argument("--projector", type=Path, default=FILE)
    parser.add_argument(
        "--out", type=Path, default=cache_folder() / "multimodal-views", help="measurements are kept here"
    )
    parser.add_argument("--records", type=int, help="only so many recordings")
    parser.add_argument("--without-deciding", action="store_true", help="leave the held-back prompts closed")
    parser.add_argument("--rounds", type=int, default=2, help="questions a recording")


def run(args: argparse.Namespace) -> dict[str, Any]:
    known = multimodal_data.prepared(args.data, args.out, (args.fold,), views=1)
    rows = np.random.default_rng(0).permutation(len(known.table))[: args.records]
    model, projector = LocalModel(adapter=args.weights), opened(args.projector)
    out: dict[str, Any] = {"fold": args.fold, "records": len(rows)}
    out["interpretation"], texts = interpretations(model, projector, known, rows)
    out["withheld"] = valid(texts)
    out["families"] = families(model, projector, known, rows, args.rounds)
    if not args.without_deciding:
        out["deciding"] = deciding(model)
    return out


def truth(known: Known, row: int, name: str = "ecg-1") -> Facts:
    """What the labels and the measurements say, whatever the encoder sees."""
    table = known.table
    codes = {
        group: [code for code, there in zip(table.codes[group], table.labels[group][row], strict=True) if there]
        for group in ("superclass", "subclass", "statement")
    }
    one = facts(known, row, 0, name)
    one.codes = codes
    return one


def interpretations(
    model: Any, projector: Projector, known: Known, rows: np.ndarray
) -> tuple[dict[str, Any], list[str]]:
    """Micro F1 of each way to read, and what the model wrote without measurements."""
    reader = Reader(READER)
    test = known.table.rows(rows)
    whole = read(reader, test, known.vectors[rows])["fused"]
    heads = [known.decided[row][0] for row in rows]
    trees = [
        decisions(reader, {g: _columns(reader, known, g, whole[g][i]) for g in ("superclass", "subclass", "statement")})
        for i in range(len(rows))
    ]
    found: dict[str, list[dict[str, set[str]]]] = {
        "encoder's heads": [{g: set(one[g]) for g in GROUPS} for one in heads],
        "reader with trees": [{g: set(one[g]) for g in GROUPS} for one in trees],
    }
    texts: dict[str, list[str]] = {}
    for control in CONTROLS:
        asked = [_asked(known, row, [("What does ecg-1 show?", "")], control) for row in rows]
        texts[control] = written(model, projector, known.features, asked, LONGEST, f"{control} tokens")
        found[f"{control} tokens"] = [said(text) for text in texts[control]]
    measured = [_asked(known, row, [("What does ecg-1 show?", "")], "own", measured=True) for row in rows]
    given = written(model, projector, known.features, measured, LONGEST, "measurements given")
    found["own tokens, measurements given"] = [said(text) for text in given]
    out: dict[str, Any] = {}
    for name, sets in found.items():
        out[name] = {}
        for group in GROUPS:
            codes = reader.codes[group]
            ours = np.array([[code in one[group] for code in codes] for one in sets])
            labels = test.labels[group][:, [known.table.codes[group].index(code) for code in codes]] > 0
            out[name][group] = with_interval(ours, labels)
    return out, texts["own"]


def _columns(reader: Reader, known: Known, group: str, p: np.ndarray) -> np.ndarray:
    return p[[known.table.codes[group].index(code) for code in reader.codes[group]]]


def micro_f1(ours: np.ndarray, labels: np.ndarray) -> float:
    hits = (ours & labels).sum()
    return float(2 * hits / max(ours.sum() + labels.sum(), 1))


def with_interval(ours: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(ours), len(ours))
        drawn.append(micro_f1(ours[rows], labels[rows]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"f1": round(micro_f1(ours, labels), 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def valid(texts: list[str]) -> dict[str, Any]:
    """Without measurements: all parts of an interpretation are there, and no number."""
    good = np.array([all(f"{part}:" in text for part in ("Rhythm", "Findings", "Groups")) for text in texts])
    free = np.array([not re.search(r"\d", re.sub(r"\b[A-Za-z]+-\d|\bV\d", "", text)) for text in texts])
    return {"valid": round(float((good & free).mean()), 4), "interval": interval(good & free)}


def families(model: Any, projector: Projector, known: Known, rows: np.ndarray, rounds: int) -> dict[str, Any]:
    """{family: {control: [share right, low, high], "constant": share, "questions": n}}."""
    rng = Random(0)
    asked: list[tuple[str, str, int, int | None, str]] = []  # family, question, row, other row, answer
    for i in range(rounds * len(rows)):
        row, family = int(rows[i % len(rows)]), FAMILIES[(i + i // len(rows)) % len(FAMILIES)]
        for _ in range(20):
            other = int(rng.choice(list(rows)))  # compared with, or the one whose codes are the wrong answers
            if made := question(rng, family, truth(known, row), truth(known, other, "ecg-2")):
                asked.append((family, made[0], row, other if family == "compare" else None, made[1]))
                break
    out: dict[str, Any] = {}
    for control in CONTROLS:
        talks = [_asked(known, row, [(text, "")], control, other=other) for _, text, row, other, _ in asked]
        answers = written(model, projector, known.features, talks, 40, f"questions, {control} tokens")
        for family in FAMILIES:
            right = [
                _same(family, answer, one[4]) for answer, one in zip(answers, asked, strict=True) if one[0] == family
            ]
            if right:
                share = [round(v, 4) for v in (sum(right) / len(right), *interval(np.array(right)))]
                out.setdefault(family, {})[control] = share
    for family, figures in out.items():
        expected = [one[4] for one in asked if one[0] == family]
        figures["constant"] = round(Counter(expected).most_common(1)[0][1] / len(expected), 4)
        figures["questions"] = len(expected)
    return out


def _same(family: str, answer: str, expected: str) -> bool:
    """The same answer; of a list the order does not matter."""
    mine, theirs = ({part.strip() for part in text.lower().rstrip(". ").split(",")} for text in (answer, expected))
    return mine == theirs


def _asked(
    known: Known, row: int, turns: list[tuple[str, str]], control: str, measured: bool = False, other: int | None = None
) -> tuple[list[prompts.Message], list[int]]:
    """Messages and rows of the features, with the tokens that a control gives."""
    wanted = [row] if other is None else [row, other]
    shown = [(one + len(known.table) // 2) % len(known.table) if control == CONTROLS[1] else one for one in wanted]
    there = known.features.there()
    counts = {
        f"ecg-{i + 1}": 0 if control == CONTROLS[2] else int(there[known.seen(one, 0)].sum())
        for i, one in enumerate(shown)
    }
    lines = [measured_line(facts(known, one, 0, f"ecg-{i + 1}")) for i, one in enumerate(wanted)] if measured else []
    seen = [] if control == CONTROLS[2] else [known.seen(one, 0) for one in shown]
    return prompts.read(counts, lines, turns), seen


@torch.inference_mode()
def written(
    model: Any, projector: Any, features: Any, talks: list[tuple[list[prompts.Message], list[int]]],
    limit: int, desc: str,
) -> list[str]:  # fmt: skip
    """What the model writes after each, in batches of like length, padded on the left."""
    reader, tokenizer = model.decoder.reader, model.tokenizer
    (_, soft), end = prompts.soft_word(tokenizer), tokenizer.eos_token_id
    prompt = [
        tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)["input_ids"]
        for messages, _ in talks
    ]
    order = sorted(range(len(talks)), key=lambda i: len(prompt[i]))
    out = [""] * len(talks)
    for start in tqdm(range(0, len(order), BATCH), desc=desc, mininterval=5):
        rows = order[start : start + BATCH]
        longest = max(len(prompt[i]) for i in rows)
        ids = torch.tensor([[end] * (longest - len(prompt[i])) + prompt[i] for i in rows])
        mask = torch.tensor([[0] * (longest - len(prompt[i])) + [1] * len(prompt[i]) for i in rows])
        seen = features.rows(torch.tensor([row for i in rows for row in talks[i][1]], dtype=torch.long))
        words = embedded(reader, projector, ids, seen, soft)
        new = reader.generate(
            inputs_embeds=words, attention_mask=mask, max_new_tokens=limit, do_sample=False,
            pad_token_id=end, eos_token_id=list(model.decoder.eos),
        )  # fmt: skip
        for i, text in zip(rows, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            out[i] = text.strip()
    return out


def deciding(model: Any) -> dict[str, Any]:
    """Share of prompts with the right set of actions: tools, `look`, or none."""
    lines = [json.loads(line) for line in DECIDING.read_text().splitlines() if line.strip()]
    choose = evaluate_tool_use.by_model(model)
    chosen = [choose(one) for one in tqdm(lines, desc="deciding")]
    right = np.array([evaluate_tool_use.is_right(one, got) for one, got in zip(lines, chosen, strict=True)])
    out: dict[str, Any] = {"all": evaluate_tool_use.interval(right)}
    for kind in sorted({one["kind"] for one in lines}):
        out[kind] = evaluate_tool_use.interval(right[[one["kind"] == kind for one in lines]])
    out["wrong"] = [
        f"{one['user']!r} wants {one['tools']}, got {sorted(got)}"
        for one, got, good in zip(lines, chosen, right, strict=True)
        if not good
    ]
    return out


def table(out: dict[str, Any]) -> str:
    lines = [
        f"PTB-XL fold {out['fold']}, {out['records']} recordings; micro F1 of a free interpretation [95 % interval]"
    ]
    for name, of in out["interpretation"].items():
        cells = [f"{group} {of[group]['f1']:.3f} {_range(of[group]['interval'])}" for group in GROUPS]
        lines.append(f"{name:32s} " + "  ".join(cells))
    share = out["withheld"]
    lines.append(f"valid with measurements withheld: {share['valid']:.3f} {_range(share['interval'])}")
    lines.append("questions: right with the own tokens / another patient's / no tokens / best constant answer")
    for family, of in out["families"].items():
        low, high = of["own"][1:]
        controls = " / ".join(f"{of[control][0]:.3f}" for control in CONTROLS[1:])
        lines.append(
            f"{family:10s} {of['own'][0]:.3f} [{low:.3f}, {high:.3f}] / {controls} / {of['constant']:.3f} "
            f"({of['questions']} questions)"
        )
    if "deciding" in out:
        of = out["deciding"]
        cells = [f"{kind} {evaluate_tool_use.cell(of[kind])}" for kind in of if kind != "wrong"]
        lines += ["actions: " + "  ".join(cells), *(f"wrong: {line}" for line in of["wrong"])]
    return "\n".join(lines)


def _range(bounds: list[float]) -> str:
    return f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"
