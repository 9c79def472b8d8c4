"""The baseline that anybody would train: a plain convolutional network of 0.9 M parameters over twelve leads in mV.

Five convolutions, batch norm, mean over time, one linear layer for all codes; 25 epochs on the same recordings, with
shifts and a little noise. It needs all leads: what is missing is zero.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

EPOCHS, BATCH, LR = 25, 64, 2e-3


def network(codes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    widths = (12, 64, 128, 192, 256, 256)
    for inside, outside, kernel in zip(widths, widths[1:], (15, 11, 7, 7, 5), strict=False):
        layers += [
            nn.Conv1d(inside, outside, kernel, 2, kernel // 2, bias=False),
            nn.BatchNorm1d(outside),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, codes))


def fit(signal: np.ndarray, labels: np.ndarray, seed: int, epochs: int = EPOCHS) -> nn.Sequential:
    """Train on (records, 12, samples) mV and (records, codes) of 0 and 1."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = network(labels.shape[1])
    steps = max(len(signal) // BATCH, 1)
    optimiser = torch.optim.AdamW(net.parameters(), LR, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=epochs * steps)
    for _ in tqdm(range(epochs), desc=f"plain CNN, seed {seed}"):
        for rows in np.array_split(rng.permutation(len(signal)), steps):
            shifted = np.roll(signal[rows], int(rng.integers(-100, 100)), axis=2)
            noisy = shifted + rng.normal(0, 0.02, shifted.shape)
            logits = net.train()(torch.from_numpy(noisy.astype(np.float32)))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels[rows]))
            loss.backward()
            optimiser.step()
            schedule.step()
            optimiser.zero_grad()
    return net.eval()


@torch.inference_mode()
def probabilities(net: nn.Sequential, signal: np.ndarray) -> np.ndarray:
    """(records, codes)"""
    return torch.cat([torch.sigmoid(net(part)) for part in torch.from_numpy(signal).split(256)]).numpy()
