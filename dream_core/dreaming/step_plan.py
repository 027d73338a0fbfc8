"""Number and place of the gradient steps of a dream: most of them only where most is due."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..image import Size, resize, size_of
from .tiling import Rectangle, Span

LARGEST_STEP = 5.0
"""Largest factor of a step. Few large steps change more from frame to frame than many small ones."""

CELLS = 32
"""Cells along the longer side of an image in which the steps that are due are compared."""

MARGIN = 16
"""Pixels around the box that its steps see besides, so that the network knows what surrounds it."""

LARGEST_BOX = 0.7
"""Share of the image from which the whole is computed instead of a box."""

PARTS = 4
"""The sides of a box are multiples of this part of the image's: a size that the libraries for convolutions have not
met costs them more time than the step."""


@dataclass(frozen=True)
class Box:
    """A part of an image, as fractions of its height and width."""

    top: float
    left: float
    height: float
    width: float

    @property
    def area(self) -> float:
        """Share of the image."""
        return self.height * self.width

    def pixels(self, size: Size, *, margin: int = 0, smallest: int = 1) -> Rectangle:
        """Pixels of this box and a margin; each side is at least `smallest` where the image's is.

        Their number depends on the size of the box, not on its place.
        """
        return Rectangle(
            _span(self.top, self.height, size[0], margin, smallest),
            _span(self.left, self.width, size[1], margin, smallest),
        )


def _span(start: float, length: float, side: int, margin: int, smallest: int) -> Span:
    count = min(side, max(smallest, math.ceil(length * side) + 2 * margin))
    first = round((start + length / 2) * side - count / 2)
    # What would leave the image is moved inside.
    first = min(max(0, first), side - count)
    return Span(first, first + count)


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """The gradient steps of a dream at each size.

    Args:
        whole: number of steps on the whole image.
        extra: number of steps after them on the box alone.
        box: its place; None without extra steps.
        due: (1,1,H,W), number of steps due at each pixel; None for every step everywhere.
    """

    whole: int
    extra: int = 0
    box: Box | None = None
    due: Tensor | None = None

    @property
    def steps(self) -> int:
        """Number of all steps."""
        return self.whole + self.extra

    def crop(self, size: Size, smallest: int) -> Rectangle | None:
        """Pixels that the extra steps compute at one size; None for all of them.

        Args:
            size: of the image at that size.
            smallest: least length of a side for which the layers can be computed.
        """
        if self.box is None:
            return None
        part = self.box.pixels(size, margin=MARGIN, smallest=smallest)
        share = len(part.rows) * len(part.columns) / (size[0] * size[1])
        return None if share > LARGEST_BOX else part

    def scales(self, size: Size) -> tuple[Tensor | None, Tensor | None]:
        """Factors of each step on the whole image, and of each extra step; (1,1,*size), None for 1 everywhere.

        Inside the box, what is due is shared by all steps; outside of it, by those on the whole image.
        """
        if self.due is None:
            return None, None
        due = resize(self.due, size).clamp_min(0)
        whole = (due / max(1, self.whole)).clamp_max(LARGEST_STEP)
        if self.box is None:
            return whole, None
        inside = self.box.pixels(size)
        shared = (inside.crop(due) / self.steps).clamp_max(LARGEST_STEP)
        extra = torch.zeros_like(due)
        for scale in (whole, extra):
            inside.crop(scale).copy_(shared)
        return whole, extra


def cell_means(renewal: Tensor) -> Tensor:
    """Mean of the share that is due, and of its square, over each cell of an image: (2,h,w), on its device."""
    return F.adaptive_avg_pool2d(torch.cat([renewal, renewal.square()], 1), _grid(size_of(renewal)))[0]


def plan_steps(renewal: Tensor | None, all_steps: int, *, means: np.ndarray | None = None) -> StepPlan:
    """Choose the cheapest steps that give each pixel its due.

    A part of the image takes as many steps as its pixels are due on average, or more if the factor of a step would
    exceed `LARGEST_STEP`. Where a few places are due much more than the rest, a box around them takes extra steps.

    Args:
        renewal: (1,1,H,W) in 0..1, share of all steps that is due at each pixel; None for all steps everywhere.
        all_steps: number of steps at each size of a dream from nothing.
        means: of `cell_means`, on the CPU, because the numbers of steps must be known there; by default they are
            computed, for which the program waits for the device.
    """
    if renewal is None:
        return StepPlan(whole=all_steps)
    due = all_steps * renewal
    means = cell_means(renewal).cpu().numpy() if means is None else means
    mean, square = all_steps * means[0], all_steps**2 * means[1]
    if mean.max() <= 0:
        return StepPlan(whole=0)
    if mean.min() >= (1 - 1e-6) * all_steps:
        return StepPlan(whole=all_steps)
    most = square / np.maximum(mean, 1e-6)
    enough = max(1, math.ceil(max(mean.max(), most.max())))
    plans = [plan for whole in range(1, enough + 1) if (plan := _plan(whole, mean, most, due))]
    return min(plans, key=lambda plan: (_cost(plan), plan.extra))


def _plan(whole: int, cells: np.ndarray, most: np.ndarray, due: Tensor) -> StepPlan | None:
    """Plan this number of steps on the whole image; None if they are too few for the rest of it."""
    busy = most > LARGEST_STEP * whole
    rest = cells[~busy]
    if rest.size and round(float(rest.mean())) > whole:
        return None
    if not busy.any():
        return StepPlan(whole=whole, due=due) if round(float(cells.mean())) <= whole else None
    (top, height), (left, width) = _extent(busy, 0), _extent(busy, 1)
    box = Box(top, left, height, width)
    inside = box.pixels((cells.shape[0], cells.shape[1])).slices
    wanted = max(math.ceil(float(most[inside].max()) / LARGEST_STEP), round(float(cells[inside].mean())))
    return StepPlan(whole=whole, extra=max(1, wanted - whole), box=box, due=due)


def _extent(busy: np.ndarray, axis: int) -> tuple[float, float]:
    """Start and length of the busy rows or columns as fractions of the side, the length in whole parts."""
    found, count = np.flatnonzero(busy.any(axis=1 - axis)).tolist(), busy.shape[axis]
    # One more each way: what is due does not end at a cell's edge.
    first, last = max(0, found[0] - 1), min(count, found[-1] + 2)
    length = math.ceil(PARTS * (last - first) / count) / PARTS
    start = (first + last) / (2 * count) - length / 2
    return min(max(0, start), 1 - length), length


def _cost(plan: StepPlan) -> float:
    """Number of steps, those on the box by its share of the image."""
    if plan.box is None:
        return plan.whole
    return plan.whole + plan.extra * (1 if plan.box.area > LARGEST_BOX else plan.box.area)


def _grid(size: Size) -> Size:
    longest = max(size)
    height, width = (max(1, round(CELLS * side / longest)) for side in size)
    return min(height, size[0]), min(width, size[1])
