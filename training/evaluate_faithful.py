"""Does an answer follow its context, also where that says the opposite of what was published?

    python -m training.evaluate faithful --data DIR/pubmedqa [--limit N] [--skip N] [--weights DIR] [--controls DIR]

Test questions of PubMedQA whose answer can be turned reliably (training/counterfactual.py), as many with yes as with
no, each with its abstract as it is and with the altered one; contexts of about ninety words that hold the conclusion.
Rows: the base model, the base model told to answer from the context, the three composers on it (they copy, then the
base model names the option), and adapters: CopyPaste, and under --controls the folders `stamping` and `copying`.

accuracy      the option named after "Answer:"; where none is named, the likeliest one, so form alone costs nothing
κ, δ          agent/copying.py
unsupported   share of claiming sentences that the context does not hold, by `unsupported` there; a check of form

Intervals are bootstrap 95 % over questions; differences are of the same questions. The default of 24 questions takes
about half an hour on one core. What it does not show: questions that cannot be turned, "maybe", long contexts, and
whether a reader is helped.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from agent.copying import claims, coverage, density, said, unsupported
from agent.copypaste import LIMIT, WAYS, asked, begun, settled
from encoders.weights import WEIGHTS
from training.copypaste_data import OPTIONS, Item, items
from training.figures import interval
from training.generation import Writer, opened, together

QUESTIONS = 24
STEPS = 3  # of CP-Refine
CONTROLS = ("stamping", "copying")
NAMES = {
    "base": "base", "attributed": 'base, "from the context"', "order": "base, CP-Order", "link": "base, CP-Link",
    "refine": "base, CP-Refine", "copypaste": "CopyPaste-tuned", "stamping": "tuned with stamping only",
    "copying": "tuned with copying only",
}  # fmt: skip
Answer = tuple[str, str]  # text, option


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="PubMedQA's folder")
    parser.add_argument("--limit", type=int, default=QUESTIONS, help="questions; each is asked with two contexts")
    parser.add_argument("--skip", type=int, default=0, help="questions left out first: those already looked at")
    parser.add_argument("--weights", type=Path, default=WEIGHTS / "copypaste", help="folder of the adapter")
    parser.add_argument("--controls", type=Path, help="folder with the adapters `stamping` and `copying`")
    parser.add_argument("--base", help="another base model (folder or Hugging Face id)")
    parser.add_argument("--part", choices=("test", "validation"), default="test")
    parser.add_argument("--without-composers", action="store_true")


def run(args: argparse.Namespace) -> dict[str, Any]:
    some = items(args.data, args.part, args.limit, args.skip)
    writer = opened(args.base)
    answers = {way: one_go(writer, some, way) for way in ("base", "attributed")}
    if not args.without_composers:
        answers |= {way: composed(writer, some, way) for way in WAYS}
    tuned = {"copypaste": args.weights}
    tuned |= {name: args.controls / name for name in CONTROLS if args.controls}
    for name, folder in tuned.items():
        if (folder / "adapter_model.safetensors").exists():
            answers[name] = one_go(opened(args.base, folder), some, "base")
    return figures(some, answers)


def one_go(writer: Writer, some: list[Item], way: str) -> list[Answer]:
    """What a model answers to each item, and the option it names."""
    prompts = [asked(one["question"], one["context"], one["options"], way) for one in some]
    return writer.answered(prompts, LIMIT, [one["options"] for one in some])


def composed(writer: Writer, some: list[Item], way: str) -> list[Answer]:
    """What a composer makes of each item, and the option that the model then names."""
    made = together(writer, [begun(way, one["question"], one["context"], STEPS) for one in some])
    prompts = [settled(item["question"], one, OPTIONS) for item, one in zip(some, made, strict=True)]
    named = writer.answered(prompts, 0, [OPTIONS] * len(some))
    return [(one.text, option) for one, (_, option) in zip(made, named, strict=True)]


def figures(some: list[Item], answers: dict[str, list[Answer]]) -> dict[str, Any]:
    """All rows, and how far the tuned model is from the base."""
    turned = np.array([one["altered"] for one in some])
    rows = {name: _measured(some, found) for name, found in answers.items()}
    out: dict[str, Any] = {"questions": int(turned.sum()), "arms": {}}
    for name, row in rows.items():
        one: dict[str, Any] = {
            "accuracy": _with(row["right"][~turned]),
            "accuracy_altered": _with(row["right"][turned]),
            "kappa": _with(row["kappa"]),
            "delta": _with(row["delta"]),
            "unsupported": _ratio(row["lacking"], row["claims"]),
            "claims": round(float(row["claims"].mean()), 2),
            "names_an_option": round(float(row["named"].mean()), 3),
        }
        out["arms"][name] = one
    if "copypaste" in rows:
        ours, base = rows["copypaste"], rows["base"]
        out["tuned_minus_base"] = {
            "accuracy": _with((ours["right"] - base["right"])[~turned]),
            "accuracy_altered": _with((ours["right"] - base["right"])[turned]),
            "kappa": _with(ours["kappa"] - base["kappa"]),
        }
    return out


def _measured(some: list[Item], answers: list[Answer]) -> dict[str, np.ndarray]:
    found: dict[str, list[float]] = {key: [] for key in ("right", "kappa", "delta", "lacking", "claims", "named")}
    for item, (text, option) in zip(some, answers, strict=True):
        context = item["context"]
        found["right"].append(option == item["answer"])
        found["kappa"].append(coverage(said(text), context))
        found["delta"].append(density(said(text), context))
        found["lacking"].append(len(unsupported(text, context)))
        found["claims"].append(len(claims(text)))
        found["named"].append(text.rstrip(" .").lower().endswith(f"answer: {option}"))
    return {key: np.array(values, float) for key, values in found.items()}


def _with(values: np.ndarray) -> list[float]:
    return [round(float(one), 3) for one in (values.mean(), *interval(values))]


def _ratio(lacking: np.ndarray, count: np.ndarray, draws: int = 1000) -> list[float | None]:
    """Lacking sentences of all, with a bootstrap interval over answers; None where nothing is claimed."""
    if not count.sum():
        return [None, None, None]
    rows = np.random.default_rng(0).integers(0, len(count), (draws, len(count)))
    drawn = lacking[rows].sum(1) / np.maximum(count[rows].sum(1), 1)
    return [round(float(one), 3) for one in (lacking.sum() / count.sum(), *np.percentile(drawn, [2.5, 97.5]))]


def table(out: dict[str, Any]) -> str:
    lines = [
        f"{out['questions']} questions, each with two contexts; one constant answer is right half of the time",
        f"{'':28}{'accuracy':>19}{'altered':>19}{'κ':>6}{'δ':>7}{'unsupported':>20}{'claims':>8}",
    ]
    for name, one in out["arms"].items():
        lines.append(
            f"{NAMES.get(name, name):28}{_cell(one['accuracy'])}{_cell(one['accuracy_altered'])}"
            f"{one['kappa'][0]:6.2f}{one['delta'][0]:7.1f}{_cell(one['unsupported'], 20)}{one['claims']:8.2f}"
        )
    if gap := out.get("tuned_minus_base"):
        lines.append(
            f"{'tuned − base':28}{_cell(gap['accuracy'])}{_cell(gap['accuracy_altered'])}{gap['kappa'][0]:6.2f}"
        )
    return "\n".join(lines)


def _cell(values: list[float | None], width: int = 19) -> str:
    shown = "–" if values[0] is None else "{:.2f} ({:.2f}, {:.2f})".format(*map(float, values))  # type: ignore[arg-type]
    return f"{shown:>{width}}"
