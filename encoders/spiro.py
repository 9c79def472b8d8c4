"""The encoder of spirograms: segments of a forced expiration -> a vector each, and a probability of obstruction.

    net = opened()
    seen = net.read(volume_l, fs_hz)       # one blow: seen.vectors (segments, 128), seen.probability, seen.attention

A blow is cut into segments of 0.3 s (30 samples at 100 Hz) from shortly before its peak flow; each goes through a small
convolution, all through a recurrent layer in both directions, which gives the vectors that a language model can read
as soft tokens. Attention over them gives the probability that FEV1/FVC is below the lower limit of normal (GLI Global
2022) of a person of whom only the curve is known. After SpiroEncoder of SpiroLLM (arXiv 2507.16145), with segments that
were not recorded really hidden. Made by `python -m training.spirogram`; the card tells how good it is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.weights import WEIGHTS, network

FS_HZ = 100
SEGMENT = 30  # samples
SEGMENTS = 36  # 10.8 s; what a longer blow still exhales is not seen
BEFORE_S = 0.4  # of the peak flow, where the first segment begins
CHANNELS = 5
FILE = WEIGHTS / "spiro.safetensors"


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; kept in its file."""

    widths: tuple[int, int] = (16, 32)
    hidden: int = 64  # of each direction: vectors have twice as many
    dropout: float = 0.1


@dataclass(frozen=True)
class Seen:
    """vectors (segments, 128) of the recorded segments, the weight of each in the probability, and the probability."""

    vectors: np.ndarray
    attention: np.ndarray
    probability: float


class SpiroNet(nn.Module):
    """See the module. `scale` (2,) are factor and offset that calibrate the logit."""

    scale: Tensor

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        a, b = shape.widths
        self.segment = nn.Sequential(
            nn.Conv1d(CHANNELS, a, 7, 3, 2), nn.ReLU(), nn.Conv1d(a, b, 5, 2, 2), nn.ReLU(), nn.Flatten(),
            nn.Linear(5 * b, shape.hidden), nn.LayerNorm(shape.hidden), nn.ReLU(), nn.Dropout(shape.dropout),
        )  # fmt: skip
        self.recurrent = nn.GRU(shape.hidden, shape.hidden, batch_first=True, bidirectional=True)
        self.look = nn.Linear(2 * shape.hidden, 1)
        self.obstruction = nn.Linear(4 * shape.hidden, 1)
        self.z_and_sizes = nn.Linear(4 * shape.hidden, 3)  # taught beside it: z, log FVC, log FEV1 of the whole blow
        self.register_buffer("scale", torch.tensor([1.0, 0.0]))

    def vectors(self, x: Tensor, there: Tensor) -> Tensor:
        """(B, SEGMENTS, 2 hidden) of (B, SEGMENTS, CHANNELS, SEGMENT); `there` (B, SEGMENTS) what was recorded."""
        joined = x.new_zeros(*there.shape, self.shape.hidden)
        joined[there] = self.segment(x[there])
        lengths = there.sum(1).clamp_min(1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(joined, lengths, batch_first=True, enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=there.shape[1]
        )[0]

    def forward(self, x: Tensor, there: Tensor) -> dict[str, Tensor]:
        """`vectors` (B, SEGMENTS, 2 hidden), `attention` (B, SEGMENTS), `whole` (B, 4 hidden), of both, `logit` (B,)
        uncalibrated, `beside` (B, 3)."""
        vectors = self.vectors(x, there)
        weight = self.look(vectors)[..., 0].masked_fill(~there, -torch.inf).softmax(1)
        last = (there.sum(1) - 1).clamp_min(0)
        half = self.shape.hidden
        ends = torch.cat([vectors[torch.arange(len(x)), last, :half], vectors[:, 0, half:]], 1)
        whole = torch.cat([(weight[..., None] * vectors).sum(1), ends], 1)
        return {
            "vectors": vectors,
            "attention": weight,
            "whole": whole,
            "logit": self.obstruction(whole)[:, 0],
            "beside": self.z_and_sizes(whole),
        }

    @torch.inference_mode()
    def read(self, volume_l: np.ndarray, fs_hz: float) -> Seen:
        """One blow, (samples,) exhaled L, NaN where nothing was recorded; see `Seen`."""
        x, there = prepared(volume_l, fs_hz)
        out = self(torch.from_numpy(x)[None], torch.from_numpy(there)[None])
        logit = float(self.scale[0] * out["logit"][0] + self.scale[1])
        return Seen(
            out["vectors"][0].numpy()[there],
            out["attention"][0].numpy()[there],
            float(1 / (1 + np.exp(-np.clip(logit, -30, 30)))),
        )

    def config(self) -> dict[str, Any]:
        return asdict(self.shape)


def prepared(volume_l: np.ndarray, fs_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """(SEGMENTS, CHANNELS, SEGMENT) float32 and (SEGMENTS,) bool, which hold something recorded.

    Channels: logarithms of what is left of the volume, of flow and of volume; time; recorded or not. What comes before
    the blow, and the breath in after it, is cut off.
    """
    volume = np.asarray(volume_l, float)
    known = np.flatnonzero(np.isfinite(volume))
    volume = np.interp(np.arange(known[0], known[-1] + 1), known, volume[known])
    if fs_hz != FS_HZ:
        grid = np.arange(int((len(volume) - 1) / fs_hz * FS_HZ + 1e-6) + 1) / FS_HZ
        volume = np.interp(grid, np.arange(len(volume)) / fs_hz, volume)
    flow = _slope(volume)
    peak = int(flow.argmax())
    start = peak - int(BEFORE_S * FS_HZ)
    volume = volume - volume[: peak + 1].min()
    fall = np.maximum.accumulate(volume[peak:]) - volume[peak:] > 0.1 * volume.max() + 0.1
    stop = peak + int(fall.argmax()) if fall.any() else len(volume)
    at = np.arange(start, start + SEGMENTS * SEGMENT)
    inside = np.clip(at, 0, stop - 1)
    volume, flow = volume[inside], np.where((at >= 0) & (at < stop), flow[inside], 0.0)
    exhaled = np.maximum.accumulate(volume)
    recorded = (at < stop).astype(np.float32)
    left = 1 - exhaled / max(float(exhaled[-1]), 1e-3)
    channels = [  # each about as large as 1
        (np.log(left + 0.01) + 2) / 1.5,
        (np.log(np.clip(flow, 0, None) + 0.02) + 1) / 1.5,
        np.log(exhaled + 0.05) - 0.8,
        np.arange(len(at)) / FS_HZ / 4 - 1,
        recorded,
    ]
    x = np.stack(channels).astype(np.float32).reshape(CHANNELS, SEGMENTS, SEGMENT).transpose(1, 0, 2)
    return np.ascontiguousarray(x), recorded.reshape(SEGMENTS, SEGMENT).max(axis=1) > 0


def _slope(volume: np.ndarray) -> np.ndarray:
    """L/s of a volume at FS_HZ: the slope of a line through five samples."""
    padded = np.pad(volume, 2, mode="edge")
    return np.convolve(padded, np.arange(2, -3, -1) / 10 * FS_HZ, mode="valid")


@cache
def opened(file: Path = FILE) -> SpiroNet:
    """The trained network.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    return network(file, "spirogram", lambda shape: SpiroNet(Shape(**shape)))[0]
