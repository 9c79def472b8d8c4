"""`reconstruct_leads`: the twelve leads from fewer, or from a printed page with gaps.

    rebuilt = reconstructed(recording)
    rebuilt.recording, rebuilt.band_mv["V2"]        # twelve leads; half of an 80 % band of each sample, NaN if measured

What was measured comes back untouched to the sample. Limb leads that follow from two others by Einthoven's and
Goldberger's algebra are exact; the rest is the guess of an autoencoder (encoders/vae.py), with a band that held 80 %
of the errors on patients it had not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tools import quality
from tools.errors import MissingWeights, UsageError
from tools.gaps import middle
from tools.interpret import TALLEST_MV, height_mv
from tools.recording import LEADS, Recording, write

SHORTEST_S = 2.0
LONGEST_S = 300.0  # each rebuilt sample is told with its band
STEPS = 1000.0  # per mV, of a rebuilt lead in a file
OVERLAP = 200  # samples at 100 Hz over which two windows fade into each other
SIDES = {"inferior": ("II", "III", "aVF"), "lateral": ("I", "aVL", "V5", "V6"), "anterior": ("V2", "V3", "V4")}


@dataclass(frozen=True)
class Rebuilt:
    """Twelve leads; of each rebuilt lead half of its 80 % band in mV, NaN where measured; what had to be left out."""

    recording: Recording
    band_mv: dict[str, np.ndarray]
    measured: tuple[str, ...]
    by_algebra: tuple[str, ...]
    warnings: tuple[str, ...]


def reconstruct_leads(recording: Recording, arguments: Any = None, out: Path | None = None) -> dict[str, Any]:
    """Rebuild the leads that are missing; writes a WFDB record and a figure into `out`.

    Returns
    -------
    record : path of the WFDB header with all twelve leads.
    measured_leads, reconstructed_leads : names; a lead with gaps is in both.
    uncertainty_mv : {reconstructed lead: (samples,) half of its 80 % band}; None where it was measured.
    typical_uncertainty_mv : {reconstructed lead: its median}; 0 for a lead that follows by algebra.
    figure, warnings.

    Raises
    ------
    UsageError : no usable lead, a wrong unit, under 2 s.
    MissingWeights : where the autoencoder's weights are not on this machine.
    """
    made = reconstructed(recording)
    folder = Path() if out is None else Path(out)
    from tools.paper import compose, save

    sheet, page, said = compose(made.recording, bands=made.band_mv)
    figure = save(sheet, made.recording, f"rebuilt-{page.layout}", "svg", folder)
    record = write(made.recording, folder / f"{figure.stem}")
    return {
        "record": str(record),
        "measured_leads": list(made.measured),
        "reconstructed_leads": list(made.band_mv),
        "by_algebra": list(made.by_algebra),
        "uncertainty_mv": {name: _listed(band) for name, band in made.band_mv.items()},
        "typical_uncertainty_mv": {name: round(float(np.nanmedian(band)), 3) for name, band in made.band_mv.items()},
        "figure": str(figure),
        "warnings": [*made.warnings, *said],
    }


def reconstructed(recording: Recording) -> Rebuilt:
    """See the module; raises as `reconstruct_leads` does."""
    import torch

    from encoders.vae import completed, opened
    from encoders.weights import MissingModel

    whole_s = recording.duration_s
    if whole_s > LONGEST_S:
        recording = replace(recording, signal=recording.signal[:, : round(LONGEST_S * recording.fs_hz)])
    usable, warnings = usable_leads(recording)
    if whole_s > LONGEST_S:
        warnings.append(f"Only the first {LONGEST_S / 60:g} min of {whole_s / 60:.0f} were rebuilt.")
    try:
        net, factor = opened()
    except MissingModel as error:
        raise MissingWeights(str(error)) from None
    signal = np.full((12, recording.signal.shape[1]), np.nan, np.float32)
    for name in usable:
        signal[LEADS.index(name)] = recording.lead(name)
    known = np.isfinite(signal)
    silent = ~known.any(axis=0)  # nothing was recorded: there is nothing to rebuild it from
    if (known | silent).all():
        raise UsageError("all twelve leads are measured: there is nothing to rebuild")
    filled, told = completed(torch.from_numpy(np.nan_to_num(signal))[None], torch.from_numpy(known)[None])
    exact, whole = filled[0].numpy(), told[0].numpy()
    level = np.nan_to_num(middle(np.where(whole, exact, np.nan), axis=1))[:, None] if whole.any() else 0.0
    guess, doubt = _guess(net, exact - level, whole, recording.fs_hz)
    out = np.where(silent, np.nan, np.where(whole, exact, guess + level)).astype(np.float32)
    band = np.where(known | silent, np.nan, np.where(whole, 0.0, doubt * factor[:, None])).astype(np.float32)
    rebuilt = {name: band[row] for row, name in enumerate(LEADS) if not (known[row] | silent).all()}
    algebra = tuple(name for name in rebuilt if (whole[LEADS.index(name)] | silent).all())
    if silent.any():
        warnings.append(f"Nothing was recorded for {silent.sum() / recording.fs_hz:.1f} s; that stays empty.")
    meta = {**recording.meta, "rebuilt": " ".join(rebuilt)}
    gains = dict(zip(recording.leads, recording.gain or (), strict=False))
    twelve = replace(
        recording, signal=out, leads=LEADS, meta=meta, warnings=(), gain=tuple(gains.get(name, STEPS) for name in LEADS)
    )
    return Rebuilt(twelve, rebuilt, usable, algebra, (*warnings, *_unseen(usable, rebuilt, algebra)))


def usable_leads(recording: Recording) -> tuple[tuple[str, ...], list[str]]:
    """The leads to rebuild from, in the field's order, and what is said of those left out."""
    if recording.unit != "mV":
        raise UsageError(f"leads are rebuilt in mV, this recording is in {recording.unit[:12]}: give its unit")
    named = [name for name in LEADS if name in recording.leads]
    if not named:
        raise UsageError("none of the leads is named as one of the twelve: rename them (I … V6)")
    if float(np.isfinite(recording.signal).sum(axis=1).max(initial=0)) / recording.fs_hz < SHORTEST_S:
        raise UsageError(f"the recording is too short to rebuild leads from: {SHORTEST_S:g} s are needed")
    if height_mv(recording) > TALLEST_MV:
        raise UsageError("beats of this height look like microvolt read as millivolt: give the unit of the file")
    judged = quality.assess(recording)["leads"]
    usable = [name for name in named if judged[name]["usable"] or quality.shows_beats(judged[name])]
    if not usable:
        why = "; ".join(f"{name} {', '.join(judged[name]['reasons'])}" for name in named)
        raise UsageError(f"no lead is usable to rebuild from: {why}")
    left = [f"{name} ({', '.join(judged[name]['reasons'])})" for name in named if name not in usable]
    said = [f"Not used, and rebuilt instead: {', '.join(left)}."] if left else []
    return tuple(usable), said


def _guess(net: Any, signal: np.ndarray, known: np.ndarray, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """(12, samples) of the autoencoder and its standard error, at the recording's own rate, without a seam."""
    import torch

    from encoders.reading import at_100_hz
    from encoders.vae import FS_HZ, SAMPLES

    slow, seen = at_100_hz(np.where(known, signal, np.nan).astype(np.float32), known, fs_hz)
    n, hop = slow.shape[1], SAMPLES - OVERLAP
    starts = [0, *range(hop, n - OVERLAP, hop)] if n > SAMPLES else [0]
    total, weight = np.zeros((2, 12, n)), np.zeros(n)
    ramp = np.ones(SAMPLES)
    ramp[:OVERLAP] = ramp[::-1][:OVERLAP] = np.arange(1, OVERLAP + 1) / (OVERLAP + 1)
    for start in starts:
        part = slice(start, min(start + SAMPLES, n))
        length = part.stop - start
        window, there = np.zeros((1, 12, SAMPLES), np.float32), np.zeros((1, 12, SAMPLES), bool)
        window[0, :, :length], there[0, :, :length] = slow[:, part], seen[:, part]
        leads, error = net.rebuild(torch.from_numpy(window), torch.from_numpy(there))
        total[:, :, part] += np.stack([leads[0].numpy(), error[0].numpy()])[..., :length] * ramp[:length]
        weight[part] += ramp[:length]
    at, grid = np.arange(signal.shape[1]) / fs_hz, np.arange(n) / FS_HZ
    leads, error = (np.stack([np.interp(at, grid, row) for row in one]) for one in total / weight)
    return leads, error


def _unseen(usable: tuple[str, ...], rebuilt: dict[str, np.ndarray], algebra: tuple[str, ...]) -> list[str]:
    """What cannot be inferred, in sentences."""
    guessed = [name for name in rebuilt if name not in algebra]
    if not guessed:
        return []
    looked = {*usable, *algebra}
    blind = [side for side, leads in SIDES.items() if not looked & set(leads)]
    said = [
        "Rebuilt leads lean to the average of similar hearts: their voltages are no basis for hypertrophy, their ST "
        "segments none for ischaemia."
    ]
    if blind:
        said.append(f"No measured lead looks at the {' or '.join(blind)} wall: an infarct there cannot be inferred.")
    if not looked & {"V1", "V2", "V3"}:
        said.append("A posterior infarct cannot be inferred without V1 to V3.")
    return said


def _listed(band: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 3) for value in band]


def sentences(result: dict[str, Any]) -> list[str]:
    """The result in words, one fact a sentence."""
    guessed = [name for name in result["reconstructed_leads"] if name not in result["by_algebra"]]
    said = [
        f"Twelve leads were made from {len(result['measured_leads'])} measured: {', '.join(result['measured_leads'])}."
    ]
    if result["by_algebra"]:
        said.append(f"Follow exactly from two limb leads: {', '.join(result['by_algebra'])}.")
    if guessed:
        of = ", ".join(f"{name} ±{result['typical_uncertainty_mv'][name]:.2f}" for name in guessed)
        said.append(f"Rebuilt, with a typical 80 % band in mV: {of}.")
    return [*said, *result["warnings"]]
