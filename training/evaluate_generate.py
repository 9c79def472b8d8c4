"""ECGs drawn from the words of the test fold, beside two baselines that anybody could have.

    python -m training.evaluate generate --data DIR [--fold 9] [--flow FILE] [--vae FILE]

For every raw recording of the fold one ECG is drawn from its statements, heart rate, age and sex. Compared: how far its
heart rate is off; macro AUROC of the default reader's network for the superclasses asked for, and, as that network also
chose among some drawings the one that shows what was asked for, of a plain CNN that is trained in this command and had
no hand in it; Fréchet distance, precision and recall (share of drawn ECGs near real ones, and of real ones near drawn
ones, by the fifth neighbour) in the network's embedding; how far the beats of one ECG are alike (correlation over
twelve leads of each with the mean of the others); in how many with and without ventricular extrasystoles in the words a
beat looks ventricular to tools/beat_kinds.py. Baselines: a training recording with the same superclasses, drawn at
random; an analytic simulator that knows rate and nothing else. Copying: how near the nearest training recording is in
the autoencoder's latent, beside how near training recordings are to each other. Intervals are bootstrap 95 % over
recordings. Not shown: whether a cardiologist would believe them; statements too rare to be learnt are left out of the
prompt.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from encoders import flow, novelty, vae
from encoders.reading import FILE as READING
from encoders.reading import Reader
from tools.beats import r_peaks
from tools.drawing_words import phrases
from tools.generate import as_asked, rate_of
from training import figures, flow_data, plain_cnn, ptbxl, reading, vae_data
from training.evaluate_reconstruct import frechet
from training.novelty import PERCENTILE, apart

NEIGHBOUR = 5
DRAWN_AT_ONCE = 16
BEFORE, AFTER = 25, 40  # samples of a beat around its R peak


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--flow", type=Path, default=flow.FILE)
    parser.add_argument("--vae", type=Path, default=vae.FILE)
    parser.add_argument("--fold", type=int, default=ptbxl.TEST[0])


def run(args: argparse.Namespace) -> dict[str, Any]:
    everything = ptbxl.load(args.data)
    table, train = (part.rows(part.raw) for part in (everything.folds(args.fold), everything.folds(*ptbxl.TRAIN)))
    (net, codes), (autoencoder, _) = flow.opened(args.flow), vae.opened(args.vae)
    rates = np.array([flow_data.heart_rate(one) for one in table.signal])
    prompts = asked(table, args.data, rates, codes)
    made = {
        "drawn": drawn(net, autoencoder, prompts),
        "same label": alike(train, table),
        "simulator": np.stack([simulated(rate, seed) for seed, rate in enumerate(rates)]),
    }
    reader = Reader(READING)
    truth = table.labels["superclass"]
    columns = [reader.codes["superclass"].index(code) for code in table.codes["superclass"]]
    seen_by = {kind: reading.net_logits(reader.net, replace(table, signal=one)) for kind, one in made.items()}
    real = reading.net_logits(reader.net, table)
    cnn = plain_cnn.fit((learnt := everything.folds(*ptbxl.TRAIN)).signal, learnt.labels["superclass"], seed=0)
    out: dict[str, Any] = {"fold": args.fold, "records": len(table), "codes": len(codes), "kinds": {}}
    out["real"] = figures.with_interval(real["superclass"][:, columns], truth)
    ectopic = np.array(["PVC" in one["codes"] for one in prompts])
    out["real"] |= {"beats_alike": beats_alike(table.signal), "by_cnn": by_cnn(cnn, table.signal, truth)}
    out["real"]["ventricular"] = ventricular(table.signal, ectopic)
    for kind, signal in made.items():
        p = seen_by[kind]
        out["kinds"][kind] = {
            "rate_error_bpm": rate_error(signal, rates),
            "read_as": figures.with_interval(p["superclass"][:, columns], truth, real["superclass"][:, columns]),
            "by_cnn": by_cnn(cnn, signal, truth),
            "beats_alike": beats_alike(signal),
            "ventricular": ventricular(signal, ectopic),
            "frechet": round(frechet(real["embedding"], p["embedding"]), 4),
            **near(real["embedding"], p["embedding"]),
        }
    out["copying"] = copying(autoencoder, made["drawn"], train)
    return out


def asked(table: ptbxl.Table, root: Path, rates: np.ndarray, codes: tuple[str, ...]) -> list[dict[str, Any]]:
    """What each recording of the fold would be asked for as."""
    people, names = ptbxl.people(root), table.codes["statement"]
    prompts = []
    for row, record in enumerate(table.record):
        age, sex = people.get(str(record), (None, None))
        said = [code for code, there in zip(names, table.labels["statement"][row], strict=True) if there]
        rate = None if np.isnan(rates[row]) else float(rates[row])
        prompts.append({"codes": [c for c in said if c in codes], "rate": rate, "age": age, "sex": sex})
    return prompts


def drawn(net: flow.Flow, autoencoder: vae.Vae, prompts: list[dict[str, Any]], person: Any = None) -> np.ndarray:
    """(prompts, 12, 1000) mV; the seed of each is its place."""
    from encoders.sentence import embed

    width, most = net.shape.text, max(len(one["codes"]) for one in prompts) or 1
    codes = sorted({code for one in prompts for code in one["codes"]})
    vector = dict(zip(codes, torch.from_numpy(embed([phrases(code)[0] for code in codes])), strict=True))
    out = []
    for start in tqdm(range(0, len(prompts), DRAWN_AT_ONCE), desc="drawing"):
        some = prompts[start : start + DRAWN_AT_ONCE]
        text, has = torch.zeros(len(some), most, width), torch.zeros(len(some), most, dtype=torch.bool)
        numbers = torch.full((len(some), len(flow.NUMBERS)), float("nan"))
        for i, one in enumerate(some):
            for k, code in enumerate(one["codes"]):
                text[i, k], has[i, k] = vector[code], True
            male = None if one["sex"] is None else float(one["sex"] == "M")
            told = (one["rate"], one["age"], male, 1.0)
            numbers[i] = torch.tensor([float("nan") if value is None else value for value in told])
        of, has_person = flow_data.nobody(len(some), net.shape.person)
        if person is not None:
            of, has_person = person[start : start + len(some)], torch.ones(len(some), dtype=torch.bool)
        given = flow.Given(text, has, numbers.nan_to_num(), ~numbers.isnan(), of, has_person)
        seeds = list(range(start, start + len(some)))
        out.append(as_asked(net, autoencoder, given, seeds, flow.DRAW_STEPS, [one["codes"] for one in some]))
    return np.concatenate(out)


def alike(train: ptbxl.Table, table: ptbxl.Table) -> np.ndarray:
    """A training recording with the same superclasses for each of `table`, at random; any where there is none."""
    rng = np.random.default_rng(0)
    chosen = []
    for labels in table.labels["superclass"]:
        same = np.flatnonzero((train.labels["superclass"] == labels).all(axis=1))
        chosen.append(rng.choice(same if len(same) else len(train)))
    return train.signal[chosen]


def simulated(rate_bpm: float, seed: int) -> np.ndarray:
    """(12, 1000) mV of a sum of Gaussian waves along a dipole (after McSharry et al. 2003) at a rate."""
    rng = np.random.default_rng(seed)
    rr_s = 60 / (rate_bpm if np.isfinite(rate_bpm) else 75.0)
    beats_s = np.cumsum(rng.normal(rr_s, 0.02 * rr_s, int(12 / rr_s) + 2)) - rng.uniform(0, rr_s)
    time_s, dipole = np.arange(1000) / 100, np.zeros((3, 1000))
    waves = ((-0.17, 0.022, (0.08, 0.1, -0.02)), (-0.025, 0.01, (-0.1, -0.05, -0.2)), (0.0, 0.012, (1.1, 0.7, 0.3)),
             (0.03, 0.012, (-0.2, -0.1, 0.4)), (0.25, 0.045, (0.3, 0.2, -0.15)))  # fmt: skip
    for at, wide, vector in waves:
        late = at * (np.sqrt(rr_s) if at > 0.1 else 1)
        shape = np.exp(-0.5 * ((time_s - beats_s[:, None] - late) / wide) ** 2).sum(axis=0)
        dipole += np.array(vector)[:, None] * shape
    return (vae.twelve_of_eight().numpy() @ (vae_data.DOWER @ dipole)).astype(np.float32)


def rate_error(signal: np.ndarray, rates: np.ndarray) -> dict[str, Any]:
    """Median distance of the drawn heart rate from that asked for; no measurable rate counts as infinite."""
    measured = [rate_of(one) for one in signal]
    pairs = zip(measured, rates, strict=True)
    off = np.array([np.inf if rate is None else abs(rate - wanted) for rate, wanted in pairs])
    return figures.median(off[np.isfinite(rates)], 2)


def by_cnn(cnn: torch.nn.Sequential, signal: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Macro AUROC of the superclasses asked for, by the baseline of `training.evaluate reading`."""
    return figures.with_interval(plain_cnn.probabilities(cnn, signal), truth)


def beats_alike(signal: np.ndarray) -> dict[str, Any]:
    """How far the beats of an ECG are alike, median over recordings, and its interval; of three beats or more."""
    return figures.median(np.array([value for one in signal if (value := _alike(one)) is not None]), 3)


def _alike(signal: np.ndarray) -> float | None:
    """Median correlation of each beat of (12, 1000) mV, all leads together, with the mean of the others."""
    peaks = r_peaks(signal, vae.FS_HZ)
    peaks = peaks[(peaks >= BEFORE) & (peaks < signal.shape[1] - AFTER)]
    if len(peaks) < 3:
        return None
    beats = np.stack([signal[:, at - BEFORE : at + AFTER] for at in peaks])
    beats = (beats - beats.mean(axis=2, keepdims=True)).reshape(len(peaks), -1)
    others = (beats.sum(axis=0) - beats) / (len(beats) - 1)
    return float(np.median([np.corrcoef(one, other)[0, 1] for one, other in zip(beats, others, strict=True)]))


def ventricular(signal: np.ndarray, asked: np.ndarray) -> dict[str, float | None]:
    """Share of the ECGs in which a beat looks ventricular, of those asked for with extrasystoles and of the others."""
    shown = np.array([(heart[:, 1] > 0).any() for heart in flow_data.listed(flow_data.beats(signal))])
    return {
        name: round(float(shown[rows].mean()), 2) if rows.any() else None
        for name, rows in (("asked", asked), ("not_asked", ~asked))
    }


def near(real: np.ndarray, made: np.ndarray) -> dict[str, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv 1904.06991)."""
    between = np.linalg.norm(made[:, None] - real[None], axis=2)
    radius = [np.sort(np.linalg.norm(x[:, None] - x[None], axis=2), axis=1)[:, NEIGHBOUR] for x in (real, made)]
    return {
        "precision": round(float((between <= radius[0][None]).any(axis=1).mean()), 3),
        "recall": round(float((between <= radius[1][:, None]).any(axis=0).mean()), 3),
    }


def copying(autoencoder: vae.Vae, made: np.ndarray, train: ptbxl.Table) -> dict[str, Any]:
    """Distances to the nearest training recording in the latent, and those among training recordings."""
    own, learnt = (novelty.latents(autoencoder, one) for one in (made, train.signal))
    to_train, nearest = torch.cdist(own, learnt).min(dim=1).values.numpy(), apart(learnt).numpy()
    limit = float(np.percentile(nearest, PERCENTILE))
    return {
        "nearest": round(float(to_train.min()), 2),
        "median": round(float(np.median(to_train)), 2),
        "among_training_1st_percentile": round(limit, 2),
        "among_training_median": round(float(np.median(nearest)), 2),
        "nearer_than_that": int((to_train < limit).sum()),
    }


def table(out: dict[str, Any]) -> str:
    lines = [
        f"PTB-XL fold {out['fold']}, {out['records']} raw recordings; {out['codes']} statements can be asked for; "
        f"superclasses read from the real ones {out['real']['auroc']:.3f} {out['real']['interval']}, their beats alike "
        f"{out['real']['beats_alike']['median']:.3f}, read by a plain CNN {out['real']['by_cnn']['auroc']:.3f}, "
        f"a ventricular beat where one was asked for and elsewhere {_both(out['real'])}"
    ]
    for kind, one in out["kinds"].items():
        rate, read = one["rate_error_bpm"], one["read_as"]
        lines.append(
            f"{kind:10s} heart rate off by {rate['median']:.1f} bpm {rate['interval']} (median)  superclasses read "
            f"{read['auroc']:.3f} {read['interval']}, by a plain CNN {one['by_cnn']['auroc']:.3f} "
            f"{one['by_cnn']['interval']}  Frechet distance {one['frechet']:.3f}  "
            f"precision {one['precision']:.2f}  recall {one['recall']:.2f}  beats alike "
            f"{one['beats_alike']['median']:.3f} {one['beats_alike']['interval']}  a ventricular beat {_both(one)}"
        )
    copy = out["copying"]
    lines.append(
        f"nearest training recording: {copy['nearest']} at least, {copy['median']} usually; among training recordings "
        f"{copy['among_training_1st_percentile']} (1st percentile), {copy['among_training_median']} usually; "
        f"{copy['nearer_than_that']} drawn ECGs are nearer than that percentile"
    )
    return "\n".join(lines)


def _both(one: dict[str, Any]) -> str:
    return f"{one['ventricular']['asked']}, {one['ventricular']['not_asked']}"
