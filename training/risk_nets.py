"""Comparators on the signal itself: a small 1D-CNN and a small recurrent network, both of some ten thousand weights.

    p, threshold = judged(NETWORKS["1D-CNN"], train, test, seed)

They read `Data.signal` (rows, leads, samples) float32: of a strip its last minute at 50 Hz, of another ECG ten seconds
of twelve leads at 100 Hz (`signals`). Events weigh as in the trees; a fifth of the patients chooses when to stop, and
calibrates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from encoders.reading import at_100_hz
from tools.recording import LEADS
from tools.risk_features import FS_HZ, MINUTE_S, at_125_hz
from tools.risk_inputs import strip_of
from training.risk_cohort import _read, part
from training.risk_figures import auc
from training.risk_models import Data, best_f1, outer, platt, sigmoid

STEPS, CHECKS, BATCH, LR = 200, 10, 32, 3e-3
STRIP_HZ, ECG_HZ, ECG_S = 50, 100, 10
WIDTH = 16


def cnn(leads: int) -> nn.Module:
    """Four strided convolutions and the mean over time."""
    layers: list[nn.Module] = []
    for inside in (leads, WIDTH, WIDTH, 2 * WIDTH):
        outside = WIDTH if inside in (leads, WIDTH) and len(layers) < 6 else 2 * WIDTH
        layers += [nn.Conv1d(inside, outside, 9, 3, 4), nn.BatchNorm1d(outside), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(2 * WIDTH, 1))


class Recurrent(nn.Module):
    """A convolution that makes a step of twenty samples, then a GRU over the steps; the mean of its states."""

    def __init__(self, leads: int):
        super().__init__()
        self.step = nn.Conv1d(leads, WIDTH, 30, 20, 5)
        self.gru = nn.GRU(WIDTH, 2 * WIDTH, batch_first=True)
        self.head = nn.Linear(2 * WIDTH, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = torch.relu(self.step(x)).transpose(1, 2)
        return self.head(self.gru(steps)[0].mean(1))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {"1D-CNN": cnn, "RNN": Recurrent}


def judged(build: Callable[[int], nn.Module], train: Data, test: Data, seed: int) -> tuple[np.ndarray, float]:
    """Probabilities of the test rows by a network fitted to the train rows, and a threshold of the rows held back."""
    torch.manual_seed(seed)
    inside, outside = outer(train, seed + 2, 5)[0]
    part_, held = train.rows(inside), train.rows(outside)
    net = build(train.signal.shape[1])  # type: ignore[union-attr]
    best: tuple[float, dict[str, Any]] = (-1.0, {})
    weight = part_.weight.copy()
    weight[part_.event == 1] *= np.sqrt((part_.event == 0).sum() / max((part_.event == 1).sum(), 1))
    optimiser = torch.optim.AdamW(net.parameters(), LR, weight_decay=1e-2)
    rng = np.random.default_rng(seed)
    for step in range(STEPS):
        rows = rng.choice(len(part_.event), min(BATCH, len(part_.event)), replace=False)
        out = net.train()(torch.from_numpy(part_.signal[rows]))[:, 0]  # type: ignore[index]
        truth = torch.from_numpy(part_.event[rows].astype(np.float32))
        share = torch.from_numpy(weight[rows].astype(np.float32))
        loss = nn.functional.binary_cross_entropy_with_logits(out, truth, share)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % (STEPS // CHECKS) == 0:
            now = auc(_log_odds(net, held.signal), held.event, held.weight)
            if np.isfinite(now) and now > best[0]:
                best = (now, {key: value.clone() for key, value in net.state_dict().items()})
    if best[1]:
        net.load_state_dict(best[1])
    told = _log_odds(net, held.signal)
    slope, offset = platt(told, held.event, held.weight)
    threshold = best_f1(sigmoid(slope * told + offset), held.event, held.weight)
    return sigmoid(slope * _log_odds(net, test.signal) + offset), threshold


@torch.inference_mode()
def _log_odds(net: nn.Module, signal: Any) -> np.ndarray:
    return torch.cat([net.eval()(part)[:, 0] for part in torch.from_numpy(signal).split(128)]).numpy().astype(float)


def signals(table: pd.DataFrame, kind: str) -> np.ndarray:
    """(rows, leads, samples) float32 of every row of a cohort; see the module."""
    out = []
    for _, row in tqdm(table.iterrows(), total=len(table), desc="signals", leave=False):
        recording = part(_read(row.path), row.get("start_s"), row.get("stop_s"))
        if kind == "strip":
            x, _ = at_125_hz(strip_of(recording).signal[:1], recording.fs_hz)
            minute = x[:, -round(MINUTE_S * FS_HZ) :]
            at = np.arange(round(MINUTE_S * STRIP_HZ)) / STRIP_HZ * FS_HZ
            out.append(np.interp(at, np.arange(minute.shape[1]), minute[0])[None])
        else:
            page = np.zeros((len(LEADS), ECG_S * ECG_HZ))
            slow, known = at_100_hz(recording.signal, np.isfinite(recording.signal), recording.fs_hz)
            slow = np.where(known, slow, 0)[:, : page.shape[1]]
            for lead, values in zip(recording.leads, slow, strict=True):
                if lead in LEADS:
                    page[LEADS.index(lead), : len(values)] = values - np.median(values)
            out.append(page)
    return np.stack(out).astype(np.float32)
