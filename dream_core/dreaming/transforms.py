"""Random views of an image: rolled, flipped, turned.

The gradient of a network depends on the position of its grid of strides. Another view in each step keeps that grid
out of the dream (the jitter of Mordvintsev et al. 2015).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

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


def random_int(low: int, high: int, generator: torch.Generator) -> int:
    """Draw a uniform integer in low..high, both included; on the CPU: a seed means the same on every device."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def random_view(settings: AscentSettings, generator: torch.Generator) -> View:
    """Draw a view: rolled by up to `jitter` pixels, and mirrored or turned as `random_transforms` allows."""
    down, right = (random_int(-settings.jitter, settings.jitter, generator) for _ in range(2))
    turns = random_int(0, 3, generator) if settings.random_transforms in ("rotate", "all") else 0
    flip = bool(random_int(0, 1, generator)) if settings.random_transforms in ("flip", "all") else False
    return View(down, right, turns, flip)
