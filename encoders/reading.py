"""The default reader of ECGs: the network over the signal and trees over its measurements, fused and calibrated.

    seen = reader().read(signal_mv, fs_hz, leads, measured)
    seen.probabilities["statement"]["AFIB"], seen.thresholds["statement"]["AFIB"]

`signal_mv` may hold any leads, NaN where nothing was recorded; `measured` is what `measure_ecg` returned for it. The
network (encoders/reading_net.py) gives logits, an embedding and tokens; gradient-boosted trees (XGBoost) over the
vector of encoders/measures.py give logits of their own; both are added with weights that validation chose, so that a
probability of 0.3 is right three times in ten. Made by `python -m training.reading`; the card tells how good it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import measures
from encoders.reading_net import FS_HZ, PATCH, SAMPLES, TOKENS, ReadingNet, Shape
from encoders.weights import WEIGHTS, stored

GROUPS = ("superclass", "subclass", "statement")
FILE = WEIGHTS / "reading.safetensors"
MOST_WINDOWS = 6  # of 10 s, spread over a longer recording
LOOKED_S = 2  # length of the stretches that are hidden in turn


@dataclass(frozen=True)
class Reading:
    """What a reader sees in one recording.

    Attributes
    ----------
    probabilities, thresholds : {group: {code: 0-1}}, calibrated; a finding is one at or above its threshold.
    uncertain : {group: {code: (low, high)}}, the band in which validation was right neither way.
    embedding : (d,) of length 1, alike for one lead and twelve of the same heart beat.
    tokens, places : (n, width) features of 0.4 s of a lead, and (lead, start_s, stop_s) of each.
    """

    probabilities: dict[str, dict[str, float]]
    thresholds: dict[str, dict[str, float]]
    uncertain: dict[str, dict[str, tuple[float, float]]]
    embedding: np.ndarray
    tokens: np.ndarray
    places: list[tuple[str, float, float]]


@cache
def reader() -> Reader:
    """The shipped reader, opened once.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    return Reader(FILE)


class Reader:
    """A trained reader from its file; `read` for one recording, `logits` for many that are prepared already."""

    name = "reading"

    def __init__(self, file: Path):
        import xgboost

        config, tensors = stored(file, "reading")
        self.codes: dict[str, list[str]] = config["codes"]
        self.thresholds: dict[str, dict[str, float]] = config["thresholds"]
        self.uncertain: dict[str, dict[str, tuple[float, float]]] = {
            group: {code: (band[0], band[1]) for code, band in bands.items()}
            for group, bands in config["uncertain"].items()
        }
        self.fusion: dict[str, dict[str, list[float]]] = config["fusion"]
        self.trees = xgboost.Booster()
        self.trees.load_model(bytearray(tensors.pop("trees").numpy().tobytes()))
        self.net = ReadingNet(Shape(**config["shape"]))
        self.net.load_state_dict({key: value.float() for key, value in tensors.items()})
        self.net.eval()

    def read(
        self, signal: np.ndarray, fs_hz: float, leads: tuple[str, ...], measured: dict[str, Any] | None = None
    ) -> Reading:
        """Read one recording: (leads, samples) mV, NaN where nothing was recorded; see `Reading`."""
        windows, known, index = prepared(signal, fs_hz, leads)
        out = self._net(windows, known, index)
        of_net = {group: out[group].numpy().mean(axis=0) for group in GROUPS}
        of_trees = self.tree_logits(measures.vector(measured)[None])[0] if measured else None
        fused = self.fused(of_net, of_trees)
        there = out["there"][0].numpy()
        names = [measures.LEADS[i] for i in index]
        step_s = PATCH / FS_HZ
        places = [(names[lead], round(t * step_s, 2), round((t + 1) * step_s, 2)) for lead, t in np.argwhere(there)]
        embedding = out["embedding"].numpy().mean(axis=0)
        return Reading(
            {group: dict(zip(self.codes[group], map(float, fused[group]), strict=True)) for group in GROUPS},
            self.thresholds,
            self.uncertain,
            embedding / np.linalg.norm(embedding),
            out["tokens"][0].numpy()[there],
            places,
        )

    @torch.inference_mode()
    def look(
        self, signal: np.ndarray, fs_hz: float, leads: tuple[str, ...], wanted: list[tuple[str, str]]
    ) -> list[dict[str, list]]:
        """Where the network looked for each (group, code) of `wanted`, in the first ten seconds.

        {"leads": [(lead, drop)], "times": [(start_s, stop_s, drop)]}, largest drop first: how far its probability falls
        when a lead, or a stretch of two seconds, is hidden from attention (occlusion; Zeiler and Fergus 2014).
        """
        windows, known, index = prepared(signal, fs_hz, leads)
        tokens, there = self.net.stemmed(*_tensors(windows[:1], known[:1], index))
        spans = [(start, start + LOOKED_S) for start in range(0, SAMPLES // FS_HZ, LOOKED_S)]
        hidden = there.repeat(1 + len(index) + len(spans), 1, 1)
        for row in range(len(index)):
            hidden[1 + row, row] = False
        for row, (start, stop) in enumerate(spans, 1 + len(index)):
            hidden[row, :, start * FS_HZ // PATCH : stop * FS_HZ // PATCH] = False
        out = self.net.read(tokens.expand(len(hidden), -1, -1, -1), hidden)
        found: list[dict[str, list]] = []
        for group, code in wanted:
            p = torch.sigmoid(out[group][:, self.codes[group].index(code)]).numpy()
            drop = [round(float(value), 4) for value in p[0] - p[1:]]
            by_lead = [(measures.LEADS[i], value) for i, value in zip(index, drop, strict=False)]
            by_time = [(float(a), float(b), value) for (a, b), value in zip(spans, drop[len(index) :], strict=True)]
            found.append({
                "leads": sorted(by_lead, key=lambda pair: -pair[1]) if len(index) > 1 else [],
                "times": sorted(by_time, key=lambda three: -three[2]),
            })  # fmt: skip
        return found

    @torch.inference_mode()
    def _net(self, signal: np.ndarray, known: np.ndarray, index: list[int]) -> dict[str, torch.Tensor]:
        return self.net(*_tensors(signal, known, index))

    def whole(self, signal: np.ndarray) -> dict[str, np.ndarray]:
        """Probabilities {group: (B, codes)} by the network alone, of (B, 12, SAMPLES) mV at 100 Hz without gaps."""
        out = self._net(signal.astype(np.float32), np.ones(signal.shape, bool), [*range(12)])
        return self.fused({group: out[group].numpy() for group in GROUPS}, None)

    def tree_logits(self, vectors: np.ndarray, chest_voltage: np.ndarray | None = None) -> np.ndarray:
        """(records, all codes) logits of the trees over `measures.vector`s; `chest_voltage` False: it was lost."""
        import xgboost

        data = xgboost.DMatrix(tree_features(vectors, chest_voltage), nthread=1)
        return self.trees.predict(data, output_margin=True).reshape(len(vectors), -1)

    def fused(self, of_net: dict[str, np.ndarray], of_trees: np.ndarray | None) -> dict[str, np.ndarray]:
        """Calibrated probabilities {group: (..., codes)} from the logits of both (of the net alone without trees)."""
        start, out = 0, {}
        for group in GROUPS:
            size = len(self.codes[group])
            trees = None if of_trees is None else of_trees[..., start : start + size]
            out[group] = combined(self.fusion[group], of_net[group], trees)
            start += size
        return out


def _tensors(signal: np.ndarray, known: np.ndarray, index: list[int]) -> tuple[torch.Tensor, ...]:
    """Arguments of the network for a recording whose voltages are those recorded."""
    lead = torch.tensor(index).expand(len(signal), -1)
    return torch.from_numpy(signal), torch.from_numpy(known), lead, torch.ones(lead.shape, dtype=torch.bool)


def combined(fusion: dict[str, list[float]], net: np.ndarray, trees: np.ndarray | None) -> np.ndarray:
    """Probabilities from two sets of logits: sigmoid(a net + b trees + c), or sigmoid(a' net + c') without trees."""
    if trees is None:
        return _sigmoid(fusion["net_alone"][0] * net + np.array(fusion["offset_alone"]))
    return _sigmoid(fusion["both"][0] * net + fusion["both"][1] * trees + np.array(fusion["offset"]))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


VOLTAGE_SUMS = ("sokolow_mv", "cornell_mv", "r_progression")  # these add chest voltages


def tree_features(vectors: np.ndarray, chest_voltage: np.ndarray | None = None) -> np.ndarray:
    """What the trees see: the measurements, and whether chest voltages are those recorded."""
    told = np.ones(len(vectors), np.float32) if chest_voltage is None else chest_voltage.astype(np.float32)
    out = np.concatenate([vectors, told[:, None]], axis=1).astype(np.float32)
    sums = [measures.NAMES.index(name) for name in VOLTAGE_SUMS]
    out[np.ix_(told == 0, sums)] = np.nan
    return out


def prepared(signal: np.ndarray, fs_hz: float, leads: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Windows of 10 s at 100 Hz: signal (windows, leads, SAMPLES) float32, known (…) bool, and each lead's number.

    Leads that are none of the twelve count as lead II if there is no other. A shorter recording fills its window's
    beginning; of a longer one up to `MOST_WINDOWS` are taken, evenly spread.
    """
    index = [measures.LEADS.index(name) if name in measures.LEADS else -1 for name in leads]
    rows = [row for row, number in enumerate(index) if number >= 0] or [0]
    numbers = [max(index[row], 0) if index[row] >= 0 else 1 for row in rows]
    chosen = np.asarray(signal, np.float32)[rows]
    known = np.isfinite(chosen)
    slow, known = at_100_hz(chosen, known, fs_hz)
    n = slow.shape[1]
    starts = np.unique(np.linspace(0, max(n - SAMPLES, 0), min(MOST_WINDOWS, max(1, n // SAMPLES))).astype(int))
    windows = np.zeros((len(starts), len(rows), SAMPLES), np.float32)
    seen = np.zeros(windows.shape, bool)
    for i, start in enumerate(starts):
        part = slow[:, start : start + SAMPLES]
        windows[i, :, : part.shape[1]] = part
        seen[i, :, : part.shape[1]] = known[:, start : start + SAMPLES]
    return windows, seen, numbers


def at_100_hz(signal: np.ndarray, known: np.ndarray, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Resampled by a polyphase filter; gaps are bridged for the filter alone and stay unknown."""
    from scipy.signal import resample_poly

    filled = np.zeros(signal.shape)
    for row, (values, there) in enumerate(zip(signal, known, strict=True)):
        if there.any():
            filled[row] = np.interp(np.arange(len(values)), np.flatnonzero(there), values[there])
    if fs_hz == FS_HZ:
        return filled.astype(np.float32), known
    up, down = FS_HZ * 10, round(fs_hz * 10)
    common = gcd(up, down)
    level = np.median(filled, axis=1, keepdims=True)
    slow = resample_poly(filled - level, up // common, down // common, axis=1) + level
    at = np.minimum((np.arange(slow.shape[1]) * fs_hz / FS_HZ).astype(int), known.shape[1] - 1)
    return slow.astype(np.float32), known[:, at]


assert SAMPLES == TOKENS * PATCH
