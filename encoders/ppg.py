"""A pulse wave (PPG) and lead II of the same moment share a latent; a rectified flow draws the one from the other.

    net, told = opened()
    drawn = translate(net, wave, seed=0)      # (samples,) at 100 Hz -> ECG and beats, in the time of the pulse

After PPGFlowECG (arXiv 2509.19774): each signal has an encoder and a decoder; their latents, one vector every 80 ms,
are held together by alignment, cross-reconstruction and contrast; a flow then draws the ECG's latent from noise, given
the pulse's latent of the same step. Three things are our own, as the published system gets the rate, not the beats:

- The pulse comes later than its R peak by the arrival time. In training the ECG is moved by it, so that beat and pulse
  meet in the same step; afterwards the drawn ECG is moved back by the arrival time that is usual at this heart rate.
- A head says for every sample how likely an R peak is; it sees nothing but the pulse's latent, so that the latent must
  tell the phase, and it is a condition of the flow.
- Long waves are drawn as one: at every step the velocities of overlapping windows are averaged (as in MultiDiffusion,
  arXiv 2302.08113), so that there is one latent and no seam.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor, nn
from torch.nn import functional as F

from encoders.vae import FS_HZ, SAMPLES, STEPS
from encoders.weights import WEIGHTS, network

FILE = WEIGHTS / "ppg.safetensors"
STEP = SAMPLES // STEPS  # samples of a latent step
HOP = 62  # steps between two windows of a long wave
RAMP = 40  # steps over which two windows fade into each other
DRAW_STEPS = 20
WARMTH = 0.5  # of the noise that a drawing starts from: 1 is as varied as patients are, 0 is the usual ECG
# Of the usual height, what is slower and what is faster than the arrival time is known to: a QRS drawn 30 ms beside the
# true one costs twice its size. Set on validation patients, by error and Fréchet distance.
SLOW, FAST, APART_S = 0.6, 0.3, 0.02
HIGHEST = 5.0  # a wave is cut at this many times its usual height: motion
AT_ONCE = 16  # windows


@dataclass(frozen=True)
class Shape:
    """Sizes of the networks; kept in their file."""

    latent: int = 8
    width: int = 48
    reach: tuple[int, ...] = (1, 2, 4, 8)  # dilations of the pulse's encoder: it sees 5 s around a step
    flow_width: int = 64
    flow_reach: tuple[int, ...] = (1, 2, 4, 8, 1, 2)


class Block(nn.Module):
    """(B, width, STEPS) -> the same: a residual convolution, modulated by the time of the flow where there is one."""

    def __init__(self, width: int, reach: int = 1, mode: int = 0):
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.wide = nn.Conv1d(width, width, 5, padding=2 * reach, dilation=reach)
        self.narrow = nn.Conv1d(width, width, 1)
        self.modulate = nn.Linear(mode, 2 * width) if mode else None
        for start in self.narrow.parameters():
            nn.init.zeros_(start)

    def forward(self, x: Tensor, mode: Tensor | None = None) -> Tensor:
        h = self.norm(x)
        if self.modulate is not None and mode is not None:
            scale, shift = self.modulate(mode)[..., None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        return x + self.narrow(F.silu(self.wide(F.silu(h))))


class Encoder(nn.Module):
    """(B, 1, SAMPLES) -> mean and log variance, each (B, latent, STEPS)."""

    def __init__(self, shape: Shape, reach: tuple[int, ...]):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, shape.width, 3 * STEP, STEP, STEP),  # a step and its neighbours
            *(Block(shape.width, one) for one in reach),
            nn.Conv1d(shape.width, 2 * shape.latent, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = self.body(x).chunk(2, dim=1)
        return mean, log_var.clamp(-12, 4)


class Decoder(nn.Module):
    """(B, latent, STEPS) -> (B, 1, SAMPLES); sees its neighbourhood only."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.width
        self.body = nn.Sequential(
            nn.Conv1d(shape.latent, width, 3, padding=1), Block(width), Block(width),
            nn.GroupNorm(8, width), nn.SiLU(), nn.ConvTranspose1d(width, 1, 3 * STEP, STEP, STEP),
        )  # fmt: skip

    def forward(self, z: Tensor) -> Tensor:
        return self.body(z)


class Flow(nn.Module):
    """Velocity (B, latent, STEPS) at time `t` (B,) of 0 noise ... 1 ECG, given what is told at each step."""

    rates: Tensor

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.flow_width
        self.inside = nn.Conv1d(2 * shape.latent + STEP, width, 1)
        self.time = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.blocks = nn.ModuleList(Block(width, one, width) for one in shape.flow_reach)
        self.outside = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), nn.Conv1d(width, shape.latent, 1))
        self.register_buffer("rates", math.pi * 2 ** torch.linspace(-1, 5, 16), persistent=False)

    def forward(self, x: Tensor, t: Tensor, told: Tensor) -> Tensor:
        angle = t[:, None] * self.rates
        mode = self.time(torch.cat([angle.cos(), angle.sin()], 1))
        h = self.inside(torch.cat([x, told], 1))
        for block in self.blocks:
            h = block(h, mode)
        return self.outside(h)


class PpgToEcg(nn.Module):
    """See the module. Signals inside are in units of their usual height; `height_mv` makes mV of an ECG.

    scale : (latent,) spread of the latents of real ECGs. height_mv : (), standard deviation of a usual lead II.
    arrival : (3,), arrival time in s = arrival @ (1, RR in s, foot to steepest rise of the usual pulse in s).
    """

    scale: Tensor
    height_mv: Tensor
    arrival: Tensor

    def __init__(self, shape: Shape = Shape()):
        super().__init__()
        self.shape = shape
        self.ppg_in, self.ecg_in = Encoder(shape, shape.reach), Encoder(shape, (1, 2))
        self.ppg_out, self.ecg_out, self.beat_out = Decoder(shape), Decoder(shape), Decoder(shape)
        self.flow = Flow(shape)
        self.register_buffer("scale", torch.ones(shape.latent))
        self.register_buffer("height_mv", torch.tensor(0.2))
        self.register_buffer("arrival", torch.tensor([0.25, 0.0, 0.0]))

    def told(self, ppg: Tensor) -> tuple[Tensor, Tensor]:
        """What a pulse wave (B, 1, SAMPLES) says at each step, (B, latent + STEP, STEPS), and the logits of its beats
        (B, SAMPLES)."""
        mean, _ = self.ppg_in(ppg)
        logits = self.beat_out(mean)[:, 0]
        return torch.cat([mean, by_step(torch.sigmoid(logits))], 1), logits

    def config(self) -> dict[str, Any]:
        return asdict(self.shape)


class Drawn(NamedTuple):
    """ecg_mv, beat (samples,): the drawn lead II and how likely an R peak is, both in the time of the pulse."""

    ecg_mv: np.ndarray
    beat: np.ndarray


def by_step(x: Tensor) -> Tensor:
    """(B, SAMPLES) -> (B, STEP, STEPS)"""
    return x.view(len(x), -1, STEP).transpose(1, 2)


def levelled(x: Tensor) -> Tensor:
    """(B, SAMPLES) pulse waves in units of their usual height: the median over seconds that are not empty."""
    height = x.view(len(x), -1, FS_HZ).std(-1)
    height = torch.where(height > 1e-6, height, torch.nan).nanmedian(dim=1).values.nan_to_num(1.0)
    return (x / height[:, None]).clamp(-HIGHEST, HIGHEST)


@torch.inference_mode()
def translate(net: PpgToEcg, wave: np.ndarray, seed: int = 0, steps: int = DRAW_STEPS, warmth: float = WARMTH) -> Drawn:
    """Draw the ECG of an upright pulse wave of any length; the same seed gives the same ECG.

    Parameters
    ----------
    wave : (samples,) at 100 Hz, 0.5-8 Hz; zero where nothing is known.
    steps : of Euler's method. warmth : see `WARMTH`.
    """
    n = len(wave)
    total = max(-(-n // STEP), STEPS)  # latent steps
    padded = torch.zeros(total * STEP)
    padded[:n] = torch.from_numpy(np.asarray(wave, np.float32))
    starts = [*range(0, total - STEPS, HOP), total - STEPS]
    windows = torch.stack([padded[start * STEP : start * STEP + SAMPLES] for start in starts])
    told, beats = [], []
    for part in levelled(windows)[:, None].split(AT_ONCE):
        condition, logits = net.told(part)
        told.append(condition)
        beats.append(torch.sigmoid(logits)[:, None])
    condition = blended(torch.cat(told), starts, total, 1)
    beat = blended(torch.cat(beats), starts, total, STEP)[0, :n]
    noise = torch.randn(net.shape.latent, total, generator=torch.Generator().manual_seed(seed))
    x = warmth * noise
    given = torch.stack([condition[:, start : start + STEPS] for start in starts])
    for step in range(steps):
        now = torch.stack([x[:, start : start + STEPS] for start in starts])
        velocity = [
            net.flow(some, torch.full((len(some),), step / steps), what)
            for some, what in zip(now.split(AT_ONCE), given.split(AT_ONCE), strict=True)
        ]
        x = x + blended(torch.cat(velocity), starts, total, 1) / steps
    z = torch.stack([x[:, start : start + STEPS] for start in starts]) * net.scale[:, None]
    ecg = blended(torch.cat([net.ecg_out(part) for part in z.split(AT_ONCE)]), starts, total, STEP)[0, :n]
    return Drawn((lowered(ecg.numpy()) * float(net.height_mv)).astype(np.float32), beat.numpy())


def lowered(ecg: np.ndarray) -> np.ndarray:
    """(samples,) with its slow waves at `SLOW` and its fast ones at `FAST` of their height."""
    slow = gaussian_filter1d(ecg, APART_S * FS_HZ)
    return SLOW * slow + FAST * (ecg - slow)


def blended(parts: Tensor, starts: list[int], total: int, unit: int) -> Tensor:
    """(windows, C, STEPS * unit) at `starts` -> (C, total * unit): the mean where they overlap, faded in and out."""
    ramp = torch.arange(1, STEPS * unit + 1).float()
    ramp = torch.minimum(ramp, ramp.flip(0)).clamp(max=RAMP * unit)
    out, weight = parts.new_zeros(parts.shape[1], total * unit), parts.new_zeros(total * unit)
    for part, start in zip(parts, starts, strict=True):
        span = slice(start * unit, start * unit + STEPS * unit)
        out[:, span] += part * ramp
        weight[span] += ramp
    return out / weight


@cache
def opened(file: Path = FILE) -> tuple[PpgToEcg, dict[str, Any]]:
    """The trained networks from their file, and what else it says: `threshold` of a beat, `arrival_error_s` (the
    standard deviation of the arrival time between patients), `patients`.

    Raises
    ------
    MissingModel : where the weights are not there.
    """
    net, config = network(file, "ppg", lambda shape: PpgToEcg(Shape(**shape)))
    return net, config["told"]


def contrast(one: Tensor, other: Tensor, sharpness: float = 0.07) -> Tensor:
    """InfoNCE (van den Oord et al. 2018, arXiv 1807.03748): the latents (B, latent, STEPS) of one moment find each
    other among those of the batch, both ways."""
    a, b = (F.normalize(z.flatten(1), dim=1) for z in (one, other))
    alike, same = a @ b.T / sharpness, torch.arange(len(a), device=a.device)
    return (F.cross_entropy(alike, same) + F.cross_entropy(alike.T, same)) / 2
