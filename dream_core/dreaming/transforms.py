"""Random views of an image: shifted, flipped, turned, scaled.

The gradient of a network depends on the position of its grid of strides. Another view in each step keeps that grid
out of the dream (the jitter of Mordvintsev et al. 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..image import sample, size_of, vector_like
from ..settings import AscentSettings


@dataclass(frozen=True)
class View:
    """A transform of (B,C,H,W) tensors that can be undone exactly.

    Args:
        down, right: pixels to roll by, around the edges.
        turns: quarter turns.
        flip: mirror left and right.
    """

    down: int = 0
    right: int = 0
    turns: int = 0
    flip: bool = False

    def apply(self, x: Tensor) -> Tensor:
        """Roll, turn, then flip."""
        x = torch.roll(x, (self.down, self.right), (-2, -1))
        return self._flip(self._turn(x, self.turns))

    def undo(self, x: Tensor) -> Tensor:
        """Invert `apply`."""
        x = self._turn(self._flip(x), -self.turns)
        return torch.roll(x, (-self.down, -self.right), (-2, -1))

    def _turn(self, x: Tensor, turns: int) -> Tensor:
        return torch.rot90(x, turns, (-2, -1)) if turns else x  # rot90 copies even without a turn

    def _flip(self, x: Tensor) -> Tensor:
        return x.flip(-1) if self.flip else x


@dataclass(frozen=True)
class AffineView:
    """A view that is shifted, turned and scaled about its center by any amount; edges are mirrored.

    Unlike rolling, mirroring brings no edge into the picture that the network could dream on.

    Args:
        down, right: pixels to shift by.
        degrees: angle to turn by, counter-clockwise.
        scale: magnification.
        exact: quarter turns and flip, applied first.
    """

    down: float
    right: float
    degrees: float
    scale: float
    exact: View

    def apply(self, x: Tensor) -> Tensor:
        """Sample the view of (1,C,H,W), bilinear."""
        x = self.exact.apply(x)
        height, width = size_of(x)
        cos = math.cos(math.radians(self.degrees)) / self.scale
        sin = math.sin(math.radians(self.degrees)) / self.scale
        # In units of half a side, x first.
        across = cos, -sin * height / width, -2 * self.right / width
        down = sin * width / height, cos, -2 * self.down / height
        matrix = vector_like(x, [*across, *down]).view(1, 2, 3)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        return sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def random_int(low: int, high: int, generator: torch.Generator) -> int:
    """Draw a uniform integer in low..high, both included; on the CPU: a seed means the same on every device."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def random_view(settings: AscentSettings, generator: torch.Generator) -> View | AffineView:
    """Draw a view: shifted by up to `jitter` pixels, and mirrored or turned as `random_transforms` allows.

    For the clean optimizer it is also turned by up to `turn` and scaled by up to `stretch`.
    """
    down, right = (random_int(-settings.jitter, settings.jitter, generator) for _ in range(2))
    turns = random_int(0, 3, generator) if settings.random_transforms in ("rotate", "all") else 0
    flip = bool(random_int(0, 1, generator)) if settings.random_transforms in ("flip", "all") else False
    if settings.optimizer != "clean":
        return View(down, right, turns, flip)
    degrees, stretch = (2 * torch.rand(2, generator=generator) - 1).tolist()
    scale = 1 + stretch * settings.stretch / 100
    return AffineView(down, right, degrees * settings.turn, scale, View(turns=turns, flip=flip))
