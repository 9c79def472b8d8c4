"""`generate_ecg`: a twelve-lead ECG drawn from words, or a person's ECG under another condition.

    words -> what is understood (tools/drawing_words.py) -> when the heart beats (encoders/rhythm.py)
    -> a latent by the flow (encoders/flow.py) -> twelve leads by the autoencoder (encoders/vae.py)

The same words and the same seed give the same ECG. What is drawn is nobody's: it is marked as synthetic in its header,
on its figure and in every answer. With a reference recording the flow is also given whose heart it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tools.beat_kinds import label_beats
from tools.beats import r_peaks
from tools.errors import MissingWeights, UsageError
from tools.recording import LEADS, Recording, write

if TYPE_CHECKING:
    from encoders.flow import Given
    from tools.drawing_words import Condition
    from tools.registry import GenerateEcg

Hear = Callable[[str, Sequence[str]], np.ndarray | None]

SHORTEST_S = 5.0  # of a reference: under that a heart is hardly known
TRIES, NEAR_BPM = (
    4,
    2.0,
)  # drawings of a seed at most, until it shows what was asked for and the rate is as near as this
MOST = 12  # and as long as each is too near to an ECG that was learnt from
STRIDE = 1_000_003  # from the noise of one try to that of the next
OFF_BPM = 10.0  # a drawn rate further from the one asked for is said


def generate_ecg(
    recording: Recording | None, arguments: GenerateEcg, out: Path | None = None, hear: Hear | None = None
) -> dict[str, Any]:
    """Draw `arguments.count` ECGs; writes a WFDB record and a figure of each into `out`.

    `hear` turns the prompt and the statements understood of it into their (statements, 384) vectors, or None where it
    hears others; without it, and then, the sentence encoder does.

    Returns
    -------
    record, figure : paths of the first; records, figures : of all.
    condition : {statements, heart_rate_bpm, age_years, sex, text, ignored}, what was understood of the words.
    heard_by : "language model" or "sentence encoder", who made vectors of the statements.
    seed : of the first; the others follow it. heart_rate_bpm : of each, as drawn. reference : was a person given.
    warnings.

    Raises
    ------
    UsageError : words that contradict each other, ask the impossible or name nothing medical; an unfit reference.
    MissingWeights : where the weights are not on this machine.
    """
    from tools.drawing_words import understood
    from tools.paper import compose, save

    net, autoencoder, codes = _models()
    condition = understood(arguments.prompt, codes)
    person = None if recording is None else _person(recording)
    seeds = [arguments.seed + i for i in range(arguments.count)]
    vectors = hear(arguments.prompt, condition.statements) if hear else None
    drawn = draw(net, autoencoder, condition, seeds, person, vectors=vectors)
    folder = Path() if out is None else Path(out)
    records, figures, rates = [], [], []
    said = list(condition.warnings)
    for seed, signal in zip(seeds, drawn, strict=True):
        meta = {"synthetic": True} | {"age": condition.age_years, "sex": condition.sex}
        one = Recording(signal, 100.0, LEADS, meta={key: value for key, value in meta.items() if value is not None})
        sheet, page, oddities = compose(one)
        figures.append(str(save(sheet, one, page.layout, "svg", folder)))
        digest = hashlib.sha256(signal.tobytes()).hexdigest()[:8]
        records.append(str(write(one, folder / f"synthetic-{seed}-{digest}")))
        rates.append(rate_of(signal))
        said += oddities + _off(condition, rates[-1], seed)
    return {
        "record": records[0],
        "figure": figures[0],
        "records": records,
        "figures": figures,
        "condition": {key: value for key, value in asdict(condition).items() if key != "warnings"},
        "heard_by": "sentence encoder" if vectors is None else "language model",
        "seed": arguments.seed,
        "heart_rate_bpm": rates,
        "reference": recording is not None,
        "synthetic": True,
        "warnings": list(dict.fromkeys(said)),
    }


def _models() -> tuple[Any, Any, tuple[str, ...]]:
    from encoders import flow, novelty, rhythm, vae
    from encoders.reading import reader
    from encoders.weights import MissingModel

    try:
        (net, codes), (autoencoder, _), *_ = flow.opened(), vae.opened(), novelty.opened(), rhythm.opened(), reader()
    except MissingModel as error:
        raise MissingWeights(str(error)) from None
    return net, autoencoder, codes


def draw(
    net: Any, autoencoder: Any, condition: Condition, seeds: list[int], person: Any = None, steps: int | None = None,
    vectors: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """(seeds, 12, 1000) float32 mV at 100 Hz; row i depends on `seeds[i]` alone.

    `vectors` (statements, 384) are those of the condition's statements; the sentence encoder's by default.
    """
    import torch

    from encoders.flow import DRAW_STEPS, Given
    from encoders.sentence import embed
    from tools.drawing_words import phrases

    count, codes = len(seeds), condition.statements
    text = torch.zeros(count, max(len(codes), 1), net.shape.text)
    if codes:
        text[:] = torch.from_numpy(embed([phrases(code)[0] for code in codes]) if vectors is None else vectors)
    male = None if condition.sex is None else float(condition.sex == "M")
    asked = (condition.heart_rate_bpm, condition.age_years, male, 1.0)
    numbers = torch.tensor([[0.0 if value is None else value for value in asked]] * count)
    there = torch.tensor([[value is not None for value in asked]] * count)
    given = Given(
        text,
        torch.full(text.shape[:2], bool(codes)),
        numbers,
        there,
        torch.zeros(count, net.shape.person) if person is None else person.expand(count, -1),
        torch.full((count,), person is not None),
    )
    return as_asked(net, autoencoder, given, seeds, steps or DRAW_STEPS, [codes] * count)


def as_asked(
    net: Any, autoencoder: Any, given: Given, seeds: list[int], steps: int, statements: Sequence[Sequence[str]]
) -> np.ndarray:
    """(seeds, 12, 1000) mV: of some drawings of each seed one that is near to no recording that was learnt from
    (encoders/novelty.py), beats as fast as asked and shows the `statements`, the SCP codes of each seed, as the default
    reader sees it. These tell, too, when the heart beats (encoders/rhythm.py)."""
    import torch

    from encoders import novelty, rhythm

    def drawn(rows: list[int], noise: list[int]) -> np.ndarray:
        hearts = [
            rhythms.beats(statements[i], wanted[i], np.random.default_rng(seed))
            for i, seed in zip(rows, noise, strict=True)
        ]
        with torch.inference_mode():
            latent = net.draw(given.rows(rows), noise, rhythm.track(hearts), steps) * autoencoder.scale[:, None]
            return autoencoder.decode(latent)[0].numpy()

    def faults(signals: np.ndarray, rows: list[int]) -> list[tuple[bool, float, float]]:
        near, lacking = known.too_near(autoencoder, signals), unseen(signals, [statements[i] for i in rows])
        far = [max(_distance(one, wanted[i]) - NEAR_BPM, 0.0) for one, i in zip(signals, rows, strict=True)]
        return list(zip(map(bool, near), far, lacking, strict=True))

    known, rhythms = novelty.opened(), rhythm.opened()
    wanted = [float(row[0]) if there[0] else None for row, there in zip(given.numbers, given.has_numbers, strict=True)]
    best = drawn([*range(len(seeds))], seeds)
    off = faults(best, [*range(len(seeds))])
    for again in range(1, MOST):
        rows = [i for i, (near, far, lacking) in enumerate(off) if near or ((far or lacking) and again < TRIES)]
        if not rows:
            break
        others = drawn(rows, [seeds[i] + again * STRIDE for i in rows])
        for i, other, fault in zip(rows, others, faults(others, rows), strict=True):
            if fault < off[i]:
                best[i], off[i] = other, fault
    return best


def unseen(signals: np.ndarray, statements: Sequence[Sequence[str]]) -> list[float]:
    """How far each of (B, 12, 1000) mV is from showing all that was asked for: 0 where the network of the default
    reader sees each statement that it knows at its threshold, else the largest share of the way to it that is missing.
    Extrasystoles that tools/beat_kinds.py does not see are missing.
    """
    from encoders.reading import reader
    from encoders.rhythm import VENTRICULAR

    judge = reader()
    thresholds, at = judge.thresholds["statement"], {code: i for i, code in enumerate(judge.codes["statement"])}
    seen = judge.whole(signals)["statement"]
    lacking = []
    for signal, p, codes in zip(signals, seen, statements, strict=True):
        short = [1 - p[at[code]] / thresholds[code] for code in codes if code in at]
        if VENTRICULAR & set(codes) and "V" not in label_beats(signal, 100.0, r_peaks(signal, 100.0)):
            short.append(1.0)
        lacking.append(max(0.0, *short) if short else 0.0)
    return lacking


def _distance(signal: np.ndarray, wanted: float | None) -> float:
    rate = rate_of(signal)
    return 0.0 if wanted is None else float("inf") if rate is None else abs(rate - wanted)


def _person(recording: Recording) -> Any:
    """(1, person) vector of whose heart the reference shows."""
    import torch

    from encoders import identity, vae
    from encoders.flow import NUMBERS, Given
    from encoders.reading import at_100_hz
    from encoders.weights import MissingModel
    from tools.reconstruct import usable_leads

    if recording.duration_s < SHORTEST_S:
        raise UsageError(f"the reference is too short: {SHORTEST_S:g} s are needed to know a heart")
    usable, _ = usable_leads(recording)
    signal, known = np.zeros((1, 12, vae.SAMPLES), np.float32), np.zeros((1, 12, vae.SAMPLES), bool)
    rows = [recording.leads.index(name) for name in usable]
    slow, there = at_100_hz(recording.signal[rows], np.isfinite(recording.signal[rows]), recording.fs_hz)
    at, length = [LEADS.index(name) for name in usable], min(slow.shape[1], vae.SAMPLES)
    signal[0, at, :length] = (slow - np.median(slow, axis=1, keepdims=True))[:, :length]
    known[0, at, :length] = there[:, :length]
    try:
        extractor, (autoencoder, _) = identity.opened(), vae.opened()
    except MissingModel as error:
        raise MissingWeights(str(error)) from None
    nothing = torch.zeros(1, 1, extractor.shape.text), torch.zeros(1, 1, dtype=torch.bool)
    unknown = torch.zeros(1, len(NUMBERS)), torch.zeros(1, len(NUMBERS), dtype=torch.bool)
    nobody = torch.zeros(1, extractor.shape.person), torch.zeros(1, dtype=torch.bool)
    with torch.inference_mode():
        latent = autoencoder.encode(torch.from_numpy(signal), torch.from_numpy(known))[0] / autoencoder.scale[:, None]
        return extractor(latent, Given(*nothing, *unknown, *nobody))


def rate_of(signal: np.ndarray) -> float | None:
    """Ventricular rate of a drawn ECG in bpm, None under three beats."""
    peaks = r_peaks(signal, 100.0)
    return round(60 * 100.0 * (len(peaks) - 1) / float(peaks[-1] - peaks[0]), 1) if len(peaks) > 2 else None


def _off(condition: Condition, rate: float | None, seed: int) -> list[str]:
    wanted = condition.heart_rate_bpm
    if wanted is None or (rate is not None and abs(rate - wanted) <= OFF_BPM):
        return []
    drawn = "no rate that can be measured" if rate is None else f"{rate:.0f} bpm"
    return [f"Seed {seed} drew {drawn} instead of {wanted:.0f} bpm; another seed may come nearer."]


def sentences(result: dict[str, Any]) -> list[str]:
    """The result in words, one fact a sentence."""
    condition, count = result["condition"], len(result["records"])
    what = condition["text"].rstrip(". ") or "no statement"
    said = [f"{'A synthetic ECG was' if count == 1 else f'{count} synthetic ECGs were'} drawn: {what}."]
    said.append("It is nobody's recording: a model drew it.")
    if condition["sex"] or condition["age_years"]:
        who = {"F": "a woman", "M": "a man", None: "a person"}[condition["sex"]]
        years = f" of {condition['age_years']:g} years" if condition["age_years"] else ""
        said.append(f"Asked for {who}{years}.")
    if condition["heart_rate_bpm"] is not None:
        said.append(f"Heart rate asked for {condition['heart_rate_bpm']:.0f} bpm.")
    drawn = [f"{rate:.0f}" for rate in result["heart_rate_bpm"] if rate is not None]
    if drawn:
        said.append(f"Heart rate drawn {', '.join(drawn)} bpm.")
    if result["reference"]:
        said.append("The heart is that of the reference recording, as far as the model knows it.")
    if condition["ignored"]:
        said.append(f"No word for this in the training labels: {', '.join(condition['ignored'])}.")
    return [*said, f"Seed {result['seed']}.", *result["warnings"]]
