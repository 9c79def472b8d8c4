"""What an answer leans on, word by word: the context, or what the model knew before (CPCC of CopyPasteLLM).

    python -m training.cpcc --data DIR/pubmedqa --out DIR [--adapter FOLDER] [--limit 20] [--top 10]

Context-Parameter Copying Capturing (arXiv 2510.00508, algorithm 3). A model answers twice, step by step: with the
context, and without it ("closed book"). At each word of the answer with the context the `--top` likeliest tokens are
visited in descending probability. Function words and scraps are skipped. A token that both the context and the closed
book answer hold ends the step: it could come from either. Else one that the context holds is captured as contextual,
one that the closed book answer holds as parametric; each once in an answer, at most one a step. So "parametric" is what
the run with the context gives to words of the closed book answer. The paper does not give K; here it is 10.

Of all questions: power = Σ p² · √n at each position, n answers with a capture there. Answers of the tuned model that
are longer than the base's are left out. --out gets cpcc.json and cpcc.png.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.prompts import Message
from encoders.weights import WEIGHTS
from tools.retrieval import STOP
from training import recipe
from training.copypaste_data import abstracts, cut
from training.generation import Writer, opened

TOP = 10
TOKENS = 64  # of an answer
SCRAP = 3  # letters that a token needs at least to mean something
KINDS = ("contextual", "parametric")
MODELS = ("base", "tuned")


@dataclass
class Captured:
    """What one answer leans on: of each kind (position, probability, hidden state)."""

    contextual: list[tuple[int, float, np.ndarray]] = field(default_factory=list)
    parametric: list[tuple[int, float, np.ndarray]] = field(default_factory=list)
    length: int = 0  # tokens of the answer


def captured(
    probabilities: torch.Tensor, states: torch.Tensor, words: list[str], context: str, closed: str, top: int = TOP
) -> Captured:
    """Walk one answer: (steps, vocabulary) probabilities, (steps, width) states, the text of every token."""
    out = Captured(length=len(probabilities))
    context, closed = context.lower(), closed.lower()
    seen: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for step, row in enumerate(probabilities):
        value, order = row.topk(min(top, len(row)))
        for probability, token in zip(value.tolist(), order.tolist(), strict=True):
            word = words[token].strip().lower()
            if len(word) < SCRAP or word in STOP or not re.fullmatch(r"[^\W_]+", word):
                continue
            if word in context and word in closed:
                break
            kind = "contextual" if word in context else "parametric" if word in closed else ""
            if kind and word not in seen[kind]:
                seen[kind].add(word)
                getattr(out, kind).append((step, probability, states[step].numpy()))
                break
    return out


@torch.inference_mode()
def answered(writer: Writer, question: str, context: str, closed: str, words: list[str], top: int = TOP) -> Captured:
    """Answer with the context and walk what was written."""
    prompt = step_by_step(question, context)
    ids = writer._encode(prompt)
    wrote = writer.tokenizer.encode(writer.texts([prompt], TOKENS)[0], add_special_tokens=False)
    if not wrote:
        return Captured()
    out = writer.model(torch.tensor([ids + wrote]), output_hidden_states=True)
    rows = slice(len(ids) - 1, len(ids) + len(wrote) - 1)  # what each word was chosen from
    return captured(
        out.logits[0, rows].float().softmax(-1), out.hidden_states[-1][0, rows], words, context, closed, top
    )


def step_by_step(question: str, context: str = "") -> list[Message]:
    given = f"Context:\n{context}\n\n" if context else ""
    return [
        {"role": "system", "content": "Answer the question."},
        {"role": "user", "content": f"{given}Question: {question}\nThink step by step, in two or three sentences."},
    ]


def power(answers: list[Captured], kind: str) -> np.ndarray:
    """(TOKENS,) Σ p² · √n at each position."""
    total, count = np.zeros(TOKENS), np.zeros(TOKENS)
    for one in answers:
        for position, probability, _ in getattr(one, kind):
            if position < TOKENS:
                total[position] += probability**2
                count[position] += 1
    return total * np.sqrt(count)


def compared(base: list[Captured], tuned: list[Captured]) -> dict[str, Any]:
    """The table: powers and captures of both models, and how far their states moved."""
    kept = [i for i, (a, b) in enumerate(zip(base, tuned, strict=True)) if b.length <= a.length]
    of = {"base": [base[i] for i in kept], "tuned": [tuned[i] for i in kept]}
    out: dict[str, Any] = {"answers": len(base), "kept": len(kept), "top": TOP}
    for name in MODELS:
        out[name] = {
            kind: {
                "power": round(float(power(of[name], kind).sum()), 3),
                "captures": sum(len(getattr(one, kind)) for one in of[name]),
                "by_position": [round(float(one), 4) for one in power(of[name], kind)],
            }
            for kind in KINDS
        }
    out["moved"] = {kind: _moved(_states(of["base"], kind), _states(of["tuned"], kind)) for kind in KINDS}
    out["states"] = {(name, kind): _states(of[name], kind) for name in MODELS for kind in KINDS}
    return out


def _states(answers: list[Captured], kind: str) -> np.ndarray:
    found = [state for one in answers for _, _, state in getattr(one, kind)]
    return np.array(found) if found else np.zeros((0, 1))


def _moved(one: np.ndarray, other: np.ndarray) -> float | None:
    """Distance of the two means as a share of the spread of the first; None where there are too few."""
    if min(len(one), len(other)) < 3:
        return None
    spread = np.sqrt(one.var(axis=0).sum())
    return round(float(np.linalg.norm(one.mean(0) - other.mean(0)) / spread), 3)


def flat(states: dict[tuple[str, str], np.ndarray]) -> tuple[dict[tuple[str, str], np.ndarray], str]:
    """The states in two dimensions, by UMAP where it is installed, else by PCA; and which it was."""
    some = {key: value for key, value in states.items() if len(value)}
    if not some or sum(map(len, some.values())) < 3:
        return {}, "PCA"
    every = np.concatenate(list(some.values()))
    try:
        from umap import UMAP

        places, by = UMAP(random_state=0).fit_transform(every), "UMAP"
    except ImportError:
        from sklearn.decomposition import PCA

        places, by = PCA(2, random_state=0).fit_transform(every), "PCA"
    cuts = np.cumsum([len(value) for value in some.values()])[:-1]
    return dict(zip(some, np.split(places, cuts), strict=True)), by


def drawn(out: dict[str, Any], file: Path) -> None:
    """Power by position, and the states of both models."""
    from matplotlib.figure import Figure

    colours = {"contextual": "#1f6f8b", "parametric": "#d1495b"}
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    for name, line in zip(MODELS, ("--", "-"), strict=True):
        for kind in KINDS:
            values = out[name][kind]["by_position"]
            left.plot(np.arange(1, len(values) + 1), values, line, color=colours[kind], label=f"{name}, {kind}", lw=1.6)
    left.set(xlabel="position in the answer (tokens)", ylabel="power, Σ p² · √n", title="What the words lean on")
    left.legend(frameon=False)
    places, by = flat(out["states"])
    for (name, kind), dots in places.items():
        filled = colours[kind] if name == "tuned" else "none"
        right.scatter(*dots.T, s=16, facecolors=filled, edgecolors=colours[kind], linewidths=0.8, alpha=0.8,
                      label=f"{name}, {kind}")  # fmt: skip
    right.set(xlabel=f"{by} 1", ylabel=f"{by} 2", title=f"Hidden states, by {by}", xticks=[], yticks=[])
    if places:
        right.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def table(out: dict[str, Any]) -> str:
    lines = [f"{out['kept']} of {out['answers']} answers (the tuned one is not longer), K = {out['top']}"]
    lines.append(f"{'':12}{'power':>10}{'captures':>10}{'moved':>8}")
    for kind in KINDS:
        for name in MODELS:
            one, moved = out[name][kind], out["moved"][kind] if name == "tuned" else None
            shown = "" if moved is None else f"{moved:.2f}"
            lines.append(f"{kind[:11]:12}{one['power']:10.2f}{one['captures']:10}{shown:>8}  {name}")
    return "\n".join(lines)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Both models over the questions; cpcc.json and cpcc.png are written to --out."""
    some = [
        (one["QUESTION"], cut(f"{' '.join(one['CONTEXTS'])} {one['LONG_ANSWER']}", one["QUESTION"], one["LONG_ANSWER"]))
        for _, one in abstracts(args.data, "validation")[: args.limit]
    ]
    writers = {"base": opened(args.base, quiet=True), "tuned": opened(args.base, args.adapter, quiet=True)}
    found: dict[str, list[Captured]] = {}
    for name, writer in writers.items():
        closed = writer.texts([step_by_step(question) for question, _ in some], TOKENS)
        writer.texts([step_by_step(*one) for one in some], TOKENS)  # in batches, and kept
        words = writer.tokenizer.batch_decode([[i] for i in range(writer.model.config.vocab_size)])
        found[name] = [
            answered(writer, question, context, text, words, args.top)
            for (question, context), text in zip(some, closed, strict=True)
        ]
    out = compared(found["base"], found["tuned"]) | {"top": args.top}
    args.out.mkdir(parents=True, exist_ok=True)
    drawn(out, args.out / "cpcc.png")
    states = out.pop("states")
    out["hidden"] = {f"{name} {kind}": len(value) for (name, kind), value in states.items()}
    (args.out / "cpcc.json").write_text(json.dumps(out, indent=1) + "\n")
    return out


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="PubMedQA's folder; its validation questions are asked"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--adapter", type=Path, default=WEIGHTS / "copypaste", help="folder of the tuned model's adapter"
    )
    parser.add_argument("--base", help="another base model (folder or Hugging Face id)")
    parser.add_argument("--limit", type=int, default=20, help="questions")
    parser.add_argument("--top", type=int, default=TOP, help="K")
    return parser


def main() -> None:
    print(table(run(arguments().parse_args())))


if __name__ == "__main__":
    recipe.run(main)
