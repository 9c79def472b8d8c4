"""A small 1-D network over a fetal heart trace: gestational age, and how likely the cord blood will be acid.

    reader = opened()
    seen = reader.read(fhr_bpm, uc)          # at 4 Hz, NaN where missing; uc may be None
    seen.age_days, seen.acidaemia            # None where no window holds enough of the trace

After CTGage (arXiv 2509.14242): residual convolutions with squeeze and excitation, as Net1D has them, over windows of
1,800 samples; ours also see the uterus and what is missing, and are normalised by the training set's figures, which lie
in the file. Made by `python -m training.ctg`; the card tells how good it is.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoders.weights import WEIGHTS, stored

FS_HZ = 4  # of a trace
SAMPLES = 1800  # of a window
CHANNELS = 4  # FHR, whether it is known, uterine activity, whether it is known
LEAST_KNOWN = 0.4  # share of a window with heart rate, for it to be read
FILE = WEIGHTS / "ctg.safetensors"


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; kept in its file. `fs_hz`: rate of a window, 1 Hz for half an hour, 4 Hz for 7.5 min."""

    fs_hz: int = 1
    widths: tuple[int, ...] = (16, 32, 32, 48, 64)
    kernel: int = 9
    dropout: float = 0.2


@dataclass(frozen=True)
class Scale:
    """The training set: mean and spread of its traces and ages (days)."""

    fhr: tuple[float, float] = (140.0, 20.0)
    uc: tuple[float, float] = (25.0, 20.0)
    age: tuple[float, float] = (283.0, 8.0)


@dataclass(frozen=True)
class Seen:
    """What the network sees in a trace: means over its windows. `acidaemia` is a probability of pH <= 7.05."""

    age_days: float | None
    acidaemia: float | None
    windows: int


class CtgNet(nn.Module):
    """(B, CHANNELS, SAMPLES), as `windows_of` cuts them -> age in days (B,), logit of acidaemia (B,)."""

    def __init__(self, shape: Shape = Shape(), scale: Scale = Scale()):
        super().__init__()
        self.shape, self.scale = shape, scale
        widths = shape.widths
        self.stem = nn.Conv1d(CHANNELS, widths[0], 2 * shape.kernel, 3, shape.kernel)
        self.blocks = nn.Sequential(*(_Block(a, b, shape) for a, b in pairwise(widths)))
        self.drop = nn.Dropout(shape.dropout)
        self.heads = nn.Linear(widths[-1], 2)

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.drop(self.blocks(self.stem(windows)).mean(-1))
        age, acid = self.heads(hidden).unbind(1)
        mean, spread = self.scale.age
        return mean + spread * age, acid

    def config(self) -> dict[str, Any]:
        return {"shape": asdict(self.shape), "scale": asdict(self.scale)}


class _Block(nn.Module):
    """Two convolutions, the second at half the rate, weighed by channel and added to the pooled input."""

    def __init__(self, inputs: int, outputs: int, shape: Shape):
        super().__init__()
        kernel = shape.kernel
        self.body = nn.Sequential(
            nn.GroupNorm(8, inputs), nn.SiLU(), nn.Conv1d(inputs, outputs, 1),
            nn.GroupNorm(8, outputs), nn.SiLU(), nn.Dropout(shape.dropout),
            nn.Conv1d(outputs, outputs, kernel, 2, kernel // 2, groups=outputs // 16), nn.SiLU(),
            nn.Conv1d(outputs, outputs, 1),
        )  # fmt: skip
        self.weigh = nn.Sequential(nn.Linear(outputs, outputs // 2), nn.SiLU(), nn.Linear(outputs // 2, outputs))
        self.across = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.pool = nn.AvgPool1d(2, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return self.across(self.pool(x)) + y * torch.sigmoid(self.weigh(y.mean(-1)))[..., None]


def channels(fhr: np.ndarray, uc: np.ndarray | None, shape: Shape, scale: Scale) -> np.ndarray:
    """(CHANNELS, samples at `shape.fs_hz`) float32 of a trace at 4 Hz; what is unknown is 0, and so is its flag."""
    rows = []
    for values, (mean, spread) in ((fhr, scale.fhr), (uc, scale.uc)):
        slow = _slower(np.full(len(fhr), np.nan) if values is None else values, FS_HZ // shape.fs_hz)
        known = np.isfinite(slow)
        rows += [np.where(known, (np.nan_to_num(slow) - mean) / spread, 0), known]
    return np.stack(rows).astype(np.float32)


def windows_of(whole: np.ndarray, starts: list[int] | None = None) -> np.ndarray:
    """(windows, CHANNELS, SAMPLES) of what `channels` gives, beginning at `starts`; unknown beyond its end.

    By default windows that overlap by half cover the trace, those left out that hold too little of a heart rate.
    """
    n = whole.shape[1]
    last = max(n - SAMPLES, 0)
    given = starts is not None
    starts = starts if starts is not None else [*range(0, last, SAMPLES // 2), last]
    out = np.zeros((len(starts), CHANNELS, SAMPLES), np.float32)
    for window, start in zip(out, starts, strict=True):
        part = whole[:, start : start + SAMPLES]
        window[:, : part.shape[1]] = part
    return out if given else out[out[:, 1].mean(axis=1) >= LEAST_KNOWN]


def _slower(values: np.ndarray, times: int) -> np.ndarray:
    rows = values[: len(values) // times * times].reshape(-1, times)
    count = np.isfinite(rows).sum(axis=1)
    return np.where(count > 0, np.nansum(rows, axis=1) / np.maximum(count, 1), np.nan)


class CtgReader:
    """The trained network from its file, and what training found: see `python -m training.ctg`.

    Attributes
    ----------
    cohort : {"mean_days", "median_days", "range_days": [lo, hi], "records"} of the training set.
    half_width_days : of the interval that holds `coverage` of the ages (split conformal, from validation).
    informative : whether it beat predicting the mean on patients it had not seen.
    """

    def __init__(self, file: Path):
        config, tensors = stored(file, "ctg")
        shape = Shape(**{**config["shape"], "widths": tuple(config["shape"]["widths"])})
        self.net = CtgNet(shape, Scale(**{name: tuple(pair) for name, pair in config["scale"].items()}))
        self.net.load_state_dict({name: value.float() for name, value in tensors.items()})
        self.net.eval()
        self.cohort: dict[str, Any] = config["cohort"]
        self.half_width_days: float = config["half_width_days"]
        self.coverage: float = config["coverage"]
        self.informative: bool = config["informative"]

    def read(self, fhr: np.ndarray, uc: np.ndarray | None) -> Seen:
        """(samples,) bpm at 4 Hz, NaN where missing; uterine activity likewise, or None."""
        return seen_by(self.net, windows_of(channels(fhr, uc, self.net.shape, self.net.scale)))


@torch.inference_mode()
def seen_by(net: CtgNet, windows: np.ndarray) -> Seen:
    """What a network sees in the windows of one trace."""
    if not len(windows):
        return Seen(None, None, 0)
    age, acid = net(torch.from_numpy(windows))
    return Seen(float(age.mean()), float(torch.sigmoid(acid.mean())), len(windows))


@cache
def opened(file: Path = FILE) -> CtgReader:
    """The shipped reader, opened once.

    Raises
    ------
    MissingModel : where its weights are not there.
    """
    return CtgReader(file)
