"""The small network inside the package, designed for clean dreams.

It is a GoogLeNet without the parts that leave artifacts. Instead of maximum pooling, averages and kernels that
weigh all pixels equally halve the size, so that gradients have no checkerboard (Odena et al. 2016). The first layer
responds to edges, not to even surfaces. The network was trained on images made by formulas, see `training`;
normalization is folded into its convolutions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 300
EVEN = 0.1
"""Mean square of the edges below which a surface counts as even."""


class Unit(nn.Sequential):
    """A padded convolution and its activation.

    Args:
        inputs, outputs: numbers of channels.
        kernel: side of the kernel, even with stride 2, so that it weighs all pixels equally.
        stride: 1 or 2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding(kernel, stride))
        self.act = nn.ReLU()


class Edges(nn.Module):
    """Edges, normalized by their local strength (local contrast normalization, Jarrett et al. 2009).

    The kernels sum to zero, so they respond to structure alone, and the normalization makes faint structure count
    as much as strong. A dream therefore grows on flat surfaces too, and keeps their brightness and color.

    Args:
        outputs: number of channels, at half the image's size.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, outputs, 6, 2, padding(6, 2), bias=False)
        self.coarse = nn.AvgPool2d(8, ceil_mode=True, count_include_pad=False)
        self.around = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.offset = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,H,W) -> (B,outputs,H/2,W/2)."""
        found = self.found(x)
        # The gradient treats the strength as a constant, so that a dream may raise contrast.
        known = found.detach()
        strength = self.around(self.coarse((known * known).mean(1, keepdim=True)))
        strength = F.interpolate(strength, found.shape[-2:], mode="bilinear", align_corners=False)
        edges: Tensor = self.act(found * (strength + EVEN).rsqrt() + self.offset)
        return edges

    def found(self, x: Tensor) -> Tensor:
        """Apply the kernels: (B,3,H,W) -> (B,outputs,H/2,W/2)."""
        found: Tensor = self.conv(x)
        return found


MakeUnit = Callable[..., nn.Module]
"""(inputs, outputs, kernel, stride) -> module: `Unit`, or a unit with normalization in training."""


def padding(kernel: int, stride: int) -> int:
    """Padding that keeps the size (stride 1) or halves it exactly (stride 2)."""
    return (kernel - stride) // 2


class Mixed(nn.Module):
    """Three branches with receptive fields of 1, 3 and 5 pixels, concatenated (after Szegedy et al. 2014).

    Args:
        inputs: number of channels.
        widths: numbers of channels of the three branches.
        unit: constructor of the convolutions.
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int], unit: MakeUnit) -> None:
        super().__init__()
        point, near, wide = widths
        self.split = [point, near // 2, wide // 2]
        # One convolution computes the first layer of all three branches.
        self.enter = unit(inputs, sum(self.split), 1)
        self.near = unit(near // 2, near, 3)
        self.outputs = sum(widths)
        self.wide = nn.Sequential(unit(wide // 2, wide // 2, 3), unit(wide // 2, wide, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,h,w) -> (B,sum of widths,h,w)."""
        point, near, wide = self.enter(x).split(self.split, 1)
        return torch.cat([point, self.near(near), self.wide(wide)], 1)


class Fractal(nn.Module):
    """The network from an image of zero mean and unit variance to class scores.

    Args:
        classes: number of classes.
        unit: constructor of the convolutions.
        edges: constructor of the first layer.
    """

    def __init__(
        self, classes: int = CLASSES, unit: MakeUnit = Unit, edges: Callable[[int], nn.Module] = Edges
    ) -> None:
        super().__init__()
        self.grain = edges(16)
        self.weave = unit(16, 32, 4, 2)
        self.lace = Mixed(32, (16, 24, 16), unit)
        self.halve1 = nn.AvgPool2d(2)
        self.scales = Mixed(56, (24, 48, 24), unit)
        self.petals = Mixed(96, (40, 64, 40), unit)
        self.halve2 = nn.AvgPool2d(2)
        self.eyes = Mixed(144, (64, 112, 80), unit)
        self.blooms = Mixed(256, (80, 128, 80), unit)
        self.worlds = Mixed(288, (96, 144, 80), unit)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(320, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B,3,H,W) -> (B,classes)."""
        x = self.lace(self.weave(self.grain(x)))
        x = self.petals(self.scales(self.halve1(x)))
        x = self.worlds(self.blooms(self.eyes(self.halve2(x))))
        scores: Tensor = self.fc(self.pool(x).flatten(1))
        return scores
