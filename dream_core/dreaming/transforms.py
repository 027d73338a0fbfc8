"""Random views of an image: shifted, flipped, turned, scaled.

The gradient of a network depends on the position of its grid of strides. Another view in each step keeps that grid
out of the dream (the jitter of Mordvintsev et al. 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..image import SampleMode, Size, sample, size_of, vector_like
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

    @property
    def shape(self) -> View:
        """The same view without what `numbers` says of it."""
        return replace(self, down=0, right=0)

    def numbers(self, size: Size, device: torch.device | str) -> Tensor:
        """Rows, then columns, to take from an image of a size: (H+W,) integers."""
        height, width = size
        rows = (torch.arange(height, device=device) - self.down) % height
        columns = (torch.arange(width, device=device) - self.right) % width
        return torch.cat([rows, columns])

    def look(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Apply the view whose `numbers` are given, and whose `shape` is this one's."""
        rows, columns = numbers.split(size_of(x))
        rolled = x.index_select(-2, rows).index_select(-1, columns)
        return self._flip(self._turn(rolled, self.turns))

    def apply(self, x: Tensor, *, nearest: bool = True) -> Tensor:
        """Roll, turn, then flip: pixels stay as they are."""
        if not (self.down or self.right):
            return self._flip(self._turn(x, self.turns))
        if x.device.type != "cpu":
            return self.look(x, self.numbers(size_of(x), x.device))
        # The same, but faster there.
        rolled = torch.roll(x, (self.down, self.right), (-2, -1))
        return self._flip(self._turn(rolled, self.turns))

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

    @property
    def shape(self) -> AffineView:
        """The same view without what `numbers` says of it."""
        return AffineView(0, 0, 0, 1, self.exact)

    def numbers(self, size: Size, device: torch.device | str) -> Tensor:
        """Matrix of the view of an image of a size: (6,), by rows."""
        height, width = size[::-1] if self.exact.turns % 2 else size
        cos = math.cos(math.radians(self.degrees)) / self.scale
        sin = math.sin(math.radians(self.degrees)) / self.scale
        # In units of half a side, x first.
        across = cos, -sin * height / width, -2 * self.right / width
        down = sin * width / height, cos, -2 * self.down / height
        return vector_like(torch.empty(0, device=device), [*across, *down])

    def look(self, x: Tensor, numbers: Tensor, *, nearest: bool = False) -> Tensor:
        """Apply the view whose `numbers` are given, and whose `shape` is this one's."""
        x = self.exact.apply(x)
        matrices = numbers.to(x.dtype).view(1, 2, 3).expand(len(x), -1, -1)
        grid = F.affine_grid(matrices, list(x.shape), align_corners=False)
        mode: SampleMode = "nearest" if nearest else "bilinear"
        return sample(x, grid, mode=mode, padding_mode="reflection", align_corners=False)

    def apply(self, x: Tensor, *, nearest: bool = False) -> Tensor:
        """Sample the view of (B,C,H,W): bilinear, or the nearest pixels."""
        return self.look(x, self.numbers(size_of(x), x.device), nearest=nearest)


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
