"""Net1D, the network of ECGFounder (Li et al. 2024, arXiv 2410.04133; Net1D: Hong et al. 2020), written anew.

    logits = Net1D(leads=12)(torch.randn(2, 12, 5000))                     # (2, 150), the sigmoid is the caller's
    logits, vector = Net1D(leads=12)(signal, features=True)                # and (2, 1024)

Names and shapes of the weights are those of the published files, so these load strictly. The published network
carries batch normalisations that its forward pass leaves out; they are kept for the names alone, and never applied.
"""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CLASSES = 150
FEATURES = 1024
WIDTHS = (64, 160, 160, 400, 400, 1024, 1024)  # channels of each stage
BLOCKS = (2, 2, 2, 3, 3, 4, 4)  # blocks of each stage; the first one halves the time axis
KERNEL, STRIDE, GROUP_WIDTH = 16, 2, 16


class SameConv(nn.Module):
    """Convolution whose output has ceil(time / stride) samples; an odd sample of padding goes to the right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv1d(inputs, outputs, kernel, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, T) -> (B, outputs, ceil(T / stride))
        steps = -(-x.shape[-1] // self.stride)
        missing = max(0, (steps - 1) * self.stride + self.kernel - x.shape[-1])
        return self.conv(F.pad(x, (missing // 2, missing - missing // 2)) if missing else x)


class Block(nn.Module):
    """Bottleneck of three convolutions, weighed by channel (squeeze and excitation), added to its input."""

    def __init__(self, inputs: int, outputs: int, stride: int, first: bool):
        super().__init__()
        self.stride, self.first = stride, first
        self.bn1 = unused_norm(inputs)
        self.conv1 = SameConv(inputs, outputs, 1)
        self.bn2 = unused_norm(outputs)
        self.conv2 = SameConv(outputs, outputs, KERNEL, stride, groups=outputs // GROUP_WIDTH)
        self.bn3 = unused_norm(outputs)
        self.conv3 = SameConv(outputs, outputs, 1)
        self.se_fc1 = nn.Linear(outputs, outputs // 2)
        self.se_fc2 = nn.Linear(outputs // 2, outputs)

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, T) -> (B, outputs, ceil(T / stride))
        y = self.conv1(x if self.first else F.silu(x))  # the very first block gets what was activated already
        y = self.conv3(F.silu(self.conv2(F.silu(y))))
        weight = torch.sigmoid(self.se_fc2(F.silu(self.se_fc1(y.mean(-1)))))  # (B, outputs)
        return y * weight[..., None] + self.shortcut(x, y.shape[1])

    def shortcut(self, x: Tensor, channels: int) -> Tensor:
        """The input at the output's size: max-pooled over time, zero channels on both sides."""
        if self.stride > 1:  # a zero on the right, where the last window is not full
            x = F.max_pool1d(F.pad(x, (0, -x.shape[-1] % self.stride)), self.stride)
        more = channels - x.shape[1]
        return F.pad(x, (0, 0, more // 2, more - more // 2)) if more else x


class Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, blocks: int, first: bool):
        super().__init__()
        self.block_list = nn.ModuleList(
            Block(inputs if i == 0 else outputs, outputs, STRIDE if i == 0 else 1, first and i == 0)
            for i in range(blocks)
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, inputs, T) -> (B, outputs, ceil(T / 2))
        for block in self.block_list:
            x = block(x)
        return x


class Net1D(nn.Module):
    """ECGFounder's network; 30.8 million weights.

    Parameters
    ----------
    leads : 12 (I, II, III, aVR, aVL, aVF, V1-V6) or 1 (I).
    classes : outputs of the last layer; 150 in the published files.
    """

    def __init__(self, leads: int = 12, classes: int = CLASSES):
        super().__init__()
        self.leads, self.classes = leads, classes
        self.first_conv = SameConv(leads, WIDTHS[0], KERNEL, STRIDE)
        self.first_bn = unused_norm(WIDTHS[0])
        widths = (WIDTHS[0], *WIDTHS)
        self.stage_list = nn.ModuleList(
            Stage(widths[i], widths[i + 1], blocks, first=i == 0) for i, blocks in enumerate(BLOCKS)
        )
        self.dense = nn.Linear(FEATURES, classes)

    @overload
    def forward(self, signal: Tensor, features: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, signal: Tensor, features: Literal[True]) -> tuple[Tensor, Tensor]: ...
    def forward(self, signal: Tensor, features: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """(B, leads, samples) preprocessed signal at 500 Hz -> (B, classes) logits, and (B, 1024) if `features`.

        Any length runs; the published weights saw 5000 samples.
        """
        x = F.silu(self.first_conv(signal))  # (B, 64, samples / 2)
        for stage in self.stage_list:
            x = stage(x)  # 5000 samples: 1250, 625, 313, 157, 79, 40, 20 time steps
        vector = x.mean(-1)  # (B, 1024)
        logits = self.dense(vector)
        return (logits, vector) if features else logits


def unused_norm(channels: int) -> nn.BatchNorm1d:
    """A normalisation that the file has and the network does not apply; nothing trains it."""
    return nn.BatchNorm1d(channels).requires_grad_(False)
