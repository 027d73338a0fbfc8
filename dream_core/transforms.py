"""Random views of a picture: rolled, flipped, turned.

A network is not quite blind to where its grid of strides lies; looking at another view in each step keeps that
grid out of the dream (Mordvintsev et al. 2015 call it jitter).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .settings import AscentSettings


@dataclass(frozen=True)
class View:
    """A way to look at (B,C,H,W) tensors that can be undone exactly.

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
        x = torch.rot90(torch.roll(x, (self.down, self.right), (-2, -1)), self.turns, (-2, -1))
        return x.flip(-1) if self.flip else x

    def undo(self, x: Tensor) -> Tensor:
        """The inverse of `apply`."""
        x = x.flip(-1) if self.flip else x
        return torch.roll(torch.rot90(x, -self.turns, (-2, -1)), (-self.down, -self.right), (-2, -1))


def random_int(low: int, high: int, generator: torch.Generator) -> int:
    """A uniform integer in low..high, both included, drawn on the CPU so that a seed means the same anywhere."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def random_view(settings: AscentSettings, generator: torch.Generator) -> View:
    """Draw a view: rolled by up to `jitter` pixels, mirrored or turned where `random_transforms` says so."""
    down, right = (random_int(-settings.jitter, settings.jitter, generator) for _ in range(2))
    turns = random_int(0, 3, generator) if settings.random_transforms in ("rotate", "all") else 0
    flip = bool(random_int(0, 1, generator)) if settings.random_transforms in ("flip", "all") else False
    return View(down, right, turns, flip)
