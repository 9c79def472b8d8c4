"""The report of `training.risk`: Markdown, PDF and PNG figures.

    write(out, data, figures, found)        # out/report.md, out/report.pdf, out/figures/*.png

SHAP values of the summary, the dependence plots and the waterfall are of models that never saw the row: those of the
outer folds' procedure would differ in their columns, so one more patient-grouped split is fitted for them (70 to 30).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from encoders.risk import matrix, scaled
from tools.risk_words import title
from training import risk_models
from training.risk_figures import DECISIONS
from training.risk_models import Data

OURS = "XGBoost"
MAIN = (
    ("auc", "AUC"), ("auprc", "AUPRC"), ("f1", "F1"), ("brier", "Brier"),
    ("sensitivity_at_90", "sensitivity at 90 % specificity"),
)  # fmt: skip
DEPENDENCE = 3
FEW_EVENTS = 50
COLOURS = ("#c0392b", "#2471a3", "#7d8c2a", "#8e44ad", "#d68910")


def write(out: Path, data: Data, figures: dict[str, Any], found: dict[str, dict[str, np.ndarray]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_pdf import PdfPages

    drawn = {"curves": curves(data, found), "calibration_and_decision": decisions(figures, found, data)}
    drawn |= explained(data, figures["seed"])
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    text = markdown(figures, list(drawn))
    (out / "report.md").write_text(text, encoding="utf-8")
    with PdfPages(out / "report.pdf", metadata={"CreationDate": None}) as pages:
        for page in _pages(text):
            pages.savefig(page)
        for name, figure in drawn.items():
            figure.savefig(folder / f"{name}.png", dpi=130, bbox_inches="tight", metadata={"Software": "einthoven"})
            pages.savefig(figure, bbox_inches="tight")
    plt.close("all")


def markdown(figures: dict[str, Any], drawn: list[str]) -> str:
    """The report as text."""
    models = figures["models"]
    lines = [
        "# Risk of VT/VF: report",
        "",
        "Research software, not a medical device.",
        "",
        f"{figures['rows']} recordings of {figures['patients']} patients, {figures['events']} with an event "
        f"({figures['patients_with_event']} patients). {figures['features']} features. {figures['folds']}-fold nested "
        f"cross-validation, grouped by patient and stratified; seed {figures['seed']}. In brackets 95 % intervals from "
        "drawing patients with replacement.",
        "",
        *(f"- {said[0].upper()}{said[1:]}." for said in figures["said"]),
        "",
        "| model | " + " | ".join(name for _, name in MAIN) + " | calibration slope |",
        "|" + " --- |" * (len(MAIN) + 2),
        *(
            f"| {name} | " + " | ".join(shown(row[key]) for key, _ in MAIN) + f" | {row['calibration']['slope']:.2f} |"
            for name, row in models.items()
        ),
        "",
        "How far XGBoost is ahead in AUC (bootstrap test on the same draws):",
        "",
        *(
            f"- {name}: {row['ours_ahead']['auc']['value']:+.3f} {row['ours_ahead']['auc']['interval']}, "
            f"p = {row['ours_ahead']['auc']['p']:.3f}"
            for name, row in models.items()
            if "ours_ahead" in row
        ),
        "",
        "## Net benefit",
        "",
        "| threshold | call everybody | " + " | ".join(models) + " |",
        "|" + " --- |" * (len(models) + 2),
        *(
            f"| {at:g} | {figures['treat_all'][f'{at:g}']:.3f} | "
            + " | ".join(shown(row[f"net_benefit_{at:g}"]) for row in models.values())
            + " |"
            for at in DECISIONS
        ),
        "",
        "## What can and cannot be concluded",
        "",
        *(f"- {line}" for line in conclusions(figures)),
        "",
        "## Figures",
        "",
        *(f"![{name.replace('_', ' ')}](figures/{name}.png)\n" for name in drawn),
    ]
    return "\n".join(lines)


def conclusions(figures: dict[str, Any]) -> list[str]:
    low, high = figures["models"][OURS]["auc"]["interval"]
    slope = figures["models"][OURS]["calibration"]["slope"]
    out = []
    if low <= 0.5 <= high:
        out.append("The AUC cannot be told from chance (0.5 lies in its interval): the model must not be used.")
    else:
        out.append(
            f"The model tells patients with an event from others better than chance (AUC {low:.2f} to {high:.2f})."
        )
    if figures["patients_with_event"] < FEW_EVENTS:
        out.append(
            f"With {figures['patients_with_event']} patients with an event, intervals are wide and no subgroup "
            "can be judged."
        )
    if not 0.7 <= slope <= 1.4:
        out.append(f"The calibration slope is {slope:.2f}: probabilities are too {'bold' if slope < 1 else 'timid'}.")
    ahead = [
        name for name, row in figures["models"].items() if "ours_ahead" in row and row["ours_ahead"]["auc"]["p"] > 0.05
    ]
    if ahead:
        out.append(f"Not better than {', '.join(ahead)} beyond chance (p > 0.05).")
    return [*out, "Nothing is known of other hospitals, devices or times until the model is tried there."]


def shown(one: dict[str, Any]) -> str:
    return f"{one['value']:.3f} [{one['interval'][0]:.3f}, {one['interval'][1]:.3f}]"


def curves(data: Data, found: dict[str, dict[str, np.ndarray]]) -> Any:
    """ROC and precision-recall curves of all models."""
    import matplotlib.pyplot as plt
    from sklearn.metrics import precision_recall_curve, roc_curve

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4))
    for (name, row), colour in zip(found.items(), COLOURS, strict=False):
        told = {"sample_weight": data.weight}
        false, true, _ = roc_curve(data.event, row["p"], **told)
        precision, recall, _ = precision_recall_curve(data.event, row["p"], **told)
        left.plot(false, true, color=colour, lw=2 if name == OURS else 1.2, label=name)
        right.plot(recall, precision, color=colour, lw=2 if name == OURS else 1.2)
    left.plot([0, 1], [0, 1], color="#999999", lw=0.8, ls=":")
    left.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC, out of fold")
    right.set(xlabel="recall", ylabel="precision", title="Precision and recall, out of fold", ylim=(0, 1.02))
    left.legend(frameon=False, fontsize=9, loc="lower right")
    return figure


def decisions(figures: dict[str, Any], found: dict[str, dict[str, np.ndarray]], data: Data) -> Any:
    """Calibration in bins of equal size, and net benefit."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4))
    for (name, row), colour in zip(figures["models"].items(), COLOURS, strict=False):
        bins = row["calibration"]["bins"]
        left.plot(
            [one["predicted"] for one in bins], [one["observed"] for one in bins], "o-", color=colour, ms=4, label=name
        )
        right.plot(DECISIONS, [row[f"net_benefit_{at:g}"]["value"] for at in DECISIONS], "o-", color=colour, ms=3)
    most = max(0.05, *(one["predicted"] for row in figures["models"].values() for one in row["calibration"]["bins"]))
    left.plot([0, most], [0, most], color="#999999", lw=0.8, ls=":")
    right.plot(
        DECISIONS,
        [figures["treat_all"][f"{at:g}"] for at in DECISIONS],
        color="#333333",
        lw=0.9,
        ls="--",
        label="everybody",
    )
    right.axhline(0, color="#999999", lw=0.8, label="nobody")
    right.set(xlabel="threshold", ylabel="net benefit", title="Decision curve", ylim=(-0.1, None))
    left.set(xlabel="predicted", ylabel="observed", title="Calibration, out of fold")
    left.legend(frameon=False, fontsize=9)
    right.legend(frameon=False, fontsize=9)
    return figure


def explained(data: Data, seed: int) -> dict[str, Any]:
    """SHAP summary, dependence of the strongest features, and the waterfall of the patient of highest risk."""
    import matplotlib.pyplot as plt
    import shap

    train, test = risk_models.outer(data, seed + 3, 3)[0]
    fitted = risk_models.fit(data.rows(train), seed, members=0)
    trees = scaled(fitted.trees, fitted.slope, fitted.offset)
    x = data.x[test][:, fitted.columns]
    parts = trees.predict(matrix(x), pred_contribs=True).astype(float)
    names = [title(data.names[i]) for i in fitted.columns]
    values = shap.Explanation(parts[:, :-1], parts[:, -1], x, feature_names=names)
    out = {}
    rng = np.random.default_rng(seed)
    out["shap_summary"] = plt.figure(figsize=(9, 6))
    shap.plots.beeswarm(values, max_display=15, show=False, plot_size=None, color_bar_label="value of the feature")
    out["shap_summary"].suptitle("SHAP summary: contributions to the log-odds, patients not learnt from", fontsize=11)
    order = np.argsort(-np.abs(parts[:, :-1]).mean(0))[:DEPENDENCE]
    out["shap_dependence"], axes = plt.subplots(1, len(order), figsize=(4 * len(order), 3.8), squeeze=False)
    for axis, column in zip(axes[0], order, strict=True):
        axis.scatter(x[:, column], parts[:, column] + rng.normal(0, 1e-3, len(x)), s=9, alpha=0.6, color=COLOURS[1])
        axis.axhline(0, color="#999999", lw=0.8)
        axis.set(xlabel=names[column], ylabel="contribution to the log-odds")
    out["shap_dependence"].tight_layout()
    out["waterfall"] = plt.figure(figsize=(9, 5.5))
    shap.plots.waterfall(values[int(parts.sum(1).argmax())], max_display=12, show=False)
    out["waterfall"] = plt.gcf()
    plt.gca().set_title("The patient of the highest risk", fontsize=11)
    return out


def _pages(text: str, lines: int = 58) -> list[Any]:
    """The Markdown's text on A4 pages, tables as they are written; pictures follow on pages of their own."""
    import textwrap

    import matplotlib.pyplot as plt

    kept = [
        line
        for line in text.split("## Figures")[0].splitlines()
        if not line.startswith("| ---") and "--- |" not in line
    ]
    wrapped = [part for line in kept for part in (textwrap.wrap(line, 118, subsequent_indent="    ") or [""])]
    pages = []
    for start in range(0, len(wrapped), lines):
        page = plt.figure(figsize=(8.27, 11.69))
        words = "\n".join(wrapped[start : start + lines])
        page.text(0.06, 0.95, words, va="top", family="monospace", fontsize=6.6, linespacing=1.5, parse_math=False)
        pages.append(page)
    return pages
