"""The network inside the package: small, and made to dream cleanly.

It looks like a GoogLeNet without what leaves marks on dreams. Nothing takes a maximum, and sizes are halved by
means and by kernels that weigh all pixels alike, so that gradients have no checkerboard (Odena et al. 2016). It
sees edges and no surfaces. It was trained on images made by formulas, see `training`; normalization is folded
into its convolutions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 300
EVEN = 0.1
"""Mean square of edges below which a surface counts as even."""


class Unit(nn.Sequential):
    """A convolution and its activation, the size kept but for the stride.

    Args:
        inputs, outputs: channels.
        kernel: its side; with stride 2 an even one, so that it weighs all pixels alike.
        stride: 1 or 2.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding(kernel, stride))
        self.act = nn.ReLU()


class Edges(nn.Module):
    """What differs from its surroundings, by how much more than they differ among themselves.

    Kernels that sum to nothing see no surface, only its structure; dividing by the structure's local strength
    makes faint as good as strong (local contrast normalization, Jarrett et al. 2009). So a dream grows out of flat
    surfaces too, flattens nothing, and leaves their brightness and color as they are.

    Args:
        outputs: channels, at half the image's size.
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
        # For the gradient the strength is a given: a dream may raise contrast.
        known = found.detach()
        strength = self.around(self.coarse((known * known).mean(1, keepdim=True)))
        strength = F.interpolate(strength, found.shape[-2:], mode="bilinear", align_corners=False)
        edges: Tensor = self.act(found * (strength + EVEN).rsqrt() + self.offset)
        return edges

    def found(self, x: Tensor) -> Tensor:
        """What the kernels find."""
        found: Tensor = self.conv(x)
        return found


MakeUnit = Callable[..., nn.Module]
"""(inputs, outputs, kernel, stride) -> what computes it: `Unit`, or in training one with normalization."""


def padding(kernel: int, stride: int) -> int:
    """What keeps the size, or halves it exactly."""
    return (kernel - stride) // 2


class Mixed(nn.Module):
    """Three views of the same place side by side (after Szegedy et al. 2014): points, near and wide.

    Args:
        inputs: channels.
        widths: channels of the three views.
        unit: makes the convolutions.
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int], unit: MakeUnit) -> None:
        super().__init__()
        point, near, wide = widths
        self.split = [point, near // 2, wide // 2]
        # One convolution for what each view begins with.
        self.enter = unit(inputs, sum(self.split), 1)
        self.near = unit(near // 2, near, 3)
        self.outputs = sum(widths)
        self.wide = nn.Sequential(unit(wide // 2, wide // 2, 3), unit(wide // 2, wide, 3))

    def forward(self, x: Tensor) -> Tensor:
        """(B,inputs,h,w) -> (B,sum of widths,h,w)."""
        point, near, wide = self.enter(x).split(self.split, 1)
        return torch.cat([point, self.near(near), self.wide(wide)], 1)


class Fractal(nn.Module):
    """From (B,3,H,W), zero mean and unit variance, to class scores.

    Args:
        classes: how many.
        unit: makes the convolutions.
        edges: makes the first one.
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
