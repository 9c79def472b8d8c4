"""Tool choice on the held-back prompts: the tuned model with its second opinion (agent/intent.py) and alone, beside a
keyword router and the untuned model.

    python -m training.evaluate tool_use [--weights FOLDER] [--prompts FILE] [--without-untuned]

The prompts (`training/data/tool_use_heldout.jsonl`) were written by hand, apart from the training phrases, and
are never trained on. A prompt counts as right when the set of tools chosen is the set asked for. Intervals are
bootstrap 95 % over prompts. What it does not show: the arguments of the calls, and what real users ask.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agent.llm import ADAPTER, LocalModel
from training.figures import interval as bounds

PROMPTS = Path(__file__).parent / "data" / "tool_use_heldout.jsonl"
KINDS = ("single", "multi", "followup", "none")

# the baseline: the first thing anybody would write
KEYWORDS = {
    "measure_ecg": r"\b(rate|hr|pr|qrs|qtc?|axis|interval|st|regular|quality|beats?|measure|ectopic|amplitude)\b",
    "interpret_ecg": r"\b(interpret|diagnos|show|read|finding|normal|infarct|afib|fibrillation|lbbb|rbbb|lvh)\w*",
    "predict_vtvf_risk": r"\b(risk|vt|vf|sudden|malignant)\b",
    "reconstruct_leads": r"\b(reconstruct|rebuild|missing leads?|12 leads?|twelve)\b",
    "generate_ecg": r"\b(generate|draw an|synthes|simulate|create)\w*",
    "ppg_to_ecg": r"\b(ppg|pulse wave)\b",
    "read_spirogram": r"\b(spiro\w*|fev1|fvc|lung|obstruct\w*)\b",
    "estimate_fetal_age": r"\b(fetal|foetal|gestational|ctg|weeks)\b",
    "search_guidelines": r"\b(guidelines?|criteria|limits?|recommend\w*|what is an?|define|cutoff)\b",
    "plot_recording": r"\b(plot|print|pdf|png|paper|display|layout)\b",
}

Chooser = Callable[[dict[str, Any]], set[str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, default=ADAPTER, help="folder of the adapter")
    parser.add_argument("--prompts", type=Path, default=PROMPTS)
    parser.add_argument("--without-untuned", action="store_true", help="leave out the slow baseline")


def run(args: argparse.Namespace) -> dict[str, Any]:
    prompts = [json.loads(line) for line in args.prompts.read_text().splitlines() if line.strip()]
    tuned = LocalModel(adapter=args.weights)
    alone = copy.copy(tuned)
    alone.opinion = None
    choosers: dict[str, Chooser] = {"tuned": by_model(tuned), "alone": by_model(alone), "keywords": by_keywords}
    if not args.without_untuned:
        choosers["untuned"] = by_model(LocalModel(adapter=None))
    figures: dict[str, Any] = {"prompts": len(prompts), "file": args.prompts.stem}
    for name, choose in choosers.items():
        chosen = [choose(prompt) for prompt in tqdm(prompts, desc=name)]
        right = np.array([is_right(prompt, tools) for prompt, tools in zip(prompts, chosen, strict=True)])
        figures[name] = {"all": interval(right)}
        for kind in KINDS:
            figures[name][kind] = interval(right[[prompt["kind"] == kind for prompt in prompts]])
        if name == "tuned":
            figures["wrong"] = [
                {
                    "recordings": prompt["recordings"],
                    "user": prompt["user"],
                    "tools": prompt["tools"],
                    "chosen": sorted(tools),
                }
                for prompt, tools, good in zip(prompts, chosen, right, strict=True)
                if not good
            ]
    return figures


def by_model(model: LocalModel) -> Chooser:
    return lambda prompt: {
        call["name"] for call in model.choose(prompt["recordings"], prompt["history"], prompt["user"])
    }


def by_keywords(prompt: dict[str, Any]) -> set[str]:
    return {name for name, pattern in KEYWORDS.items() if re.search(pattern, prompt["user"], re.IGNORECASE)}


def is_right(prompt: dict[str, Any], chosen: set[str]) -> bool:
    return any(chosen == set(tools) for tools in [prompt["tools"], *prompt.get("also", [])])


def interval(right: np.ndarray) -> dict[str, Any]:
    """Share and bootstrap 95 % interval."""
    if not len(right):
        return {"share": None, "low": None, "high": None, "n": 0}
    low, high = bounds(right, 2000)
    return {"share": round(float(right.mean()), 4), "low": round(low, 4), "high": round(high, 4), "n": len(right)}


def table(figures: dict[str, Any]) -> str:
    lines = [f"tool choice on {figures['prompts']} prompts of {figures['file']}, share right [95 % interval]"]
    for name in ("tuned", "alone", "keywords", "untuned"):
        if name in figures:
            cells = [f"{kind} {cell(figures[name][kind])}" for kind in ("all", *KINDS)]
            lines.append(f"{name:9s} " + "  ".join(cells))
    lines += [f"wrong: {one['user']!r} wants {one['tools']}, got {one['chosen']}" for one in figures["wrong"]]
    return "\n".join(lines)


def cell(figure: dict[str, Any]) -> str:
    return f"{figure['share']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]" if figure["n"] else "-"
