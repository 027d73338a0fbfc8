"""The gradient of an objective, of a whole image or tile by tile.

With tiles, memory is bounded by the tile and not by the image. Each tile overlaps its neighbors, and the
gradients are faded into one another. An objective such as the root of a sum over the whole image has no
meaning on one tile; therefore its sums are gathered over all tiles first, and each tile then contributes the
slope of the whole. Tiled and untiled gradients so differ only by what lies beyond a tile's edge.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, product

import torch
from torch import Tensor

from ..errors import SettingsError
from ..image import Size, size_of
from ..models.dream_model import DreamModel
from ..settings import TileSettings
from .objectives import Objective, Total
from .transforms import View, random_int

GRID = 32
"""The strides of each network here multiply to at most this many pixels. A tile that begins on a multiple of it
is sampled as the whole image would be; a tile that begins elsewhere has a quite different gradient."""


@dataclass(frozen=True)
class Span:
    """A stretch of one side, start <= pixel < stop."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def spans(side: int, tile: int, overlap: float) -> list[Span]:
    """Cover a side with tiles of at most `tile` pixels that overlap by at least that fraction of it.

    One tile covers a side that fits; otherwise the tiles are spread from edge to edge, all equally long but for
    the last, which may be shorter by less than GRID. They begin on multiples of GRID where they are large enough.
    """
    if side <= tile:
        return [Span(0, side)]
    grid = GRID if tile * (1 - overlap) >= GRID else 1
    stride = max(1, math.floor(tile * (1 - overlap) / grid)) * grid
    count = math.ceil((side - tile) / stride) + 1
    last = math.ceil((side - tile) / grid)
    starts = [math.ceil(index * last / (count - 1)) * grid for index in range(count)]
    return [Span(start, min(start + tile, side)) for start in starts]


def fades(all_spans: Sequence[Span]) -> list[Tensor]:
    """The weight (length,) of each tile along a side; over all tiles the weights add up to 1 everywhere.

    Each weight falls towards its tile's edges, where the network sees least of what surrounds a pixel.
    """
    side = max(span.stop for span in all_spans)
    tents = torch.zeros(len(all_spans), side)
    for row, span in enumerate(all_spans):
        position = torch.arange(len(span)) + 0.5
        tents[row, span.start : span.stop] = torch.minimum(position, len(span) - position)
    weights = tents / tents.sum(0)
    return [row[span.start : span.stop] for row, span in zip(weights, all_spans, strict=True)]


def _gradient(value: Tensor, leaf: Tensor, objective: Objective) -> Tensor:
    """The gradient of a value that layers gave."""
    if not value.requires_grad:
        raise SettingsError(
            f"expected a layer that has a gradient, got {', '.join(objective.layers)}, which the network takes as "
            "given; choose another one"
        )
    return torch.autograd.grad(value, leaf)[0]


def whole_gradient(model: DreamModel, objective: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
    """The layers' part of the objective and its gradient for (1,3,H,W), in one piece."""
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        value = objective(model.activations(leaf, objective.layers))
    gradient = _gradient(value, leaf, objective)
    return value.detach(), gradient


@dataclass(frozen=True)
class Tile:
    """A part of an image.

    Args:
        rows, columns: where it lies.
        row_weight, column_weight: (h,1) and (w,), its share in the sum of all tiles.
    """

    rows: Span
    columns: Span
    row_weight: Tensor
    column_weight: Tensor

    def crop(self, image: Tensor) -> Tensor:
        """This part of (B,C,H,W)."""
        return image[..., self.rows.start : self.rows.stop, self.columns.start : self.columns.stop]

    def weight(self, like: Tensor) -> Tensor:
        """Its share (h,w) in the sum of all tiles, on the device of another tensor."""
        return (self.row_weight * self.column_weight).to(like)


def tiles(size: Size, settings: TileSettings) -> Iterator[Tile]:
    """All tiles of an image."""
    height, width = size
    rows = spans(height, settings.tile_size, settings.tile_overlap)
    columns = spans(width, settings.tile_size, settings.tile_overlap)
    of_rows, of_columns = zip(rows, fades(rows), strict=True), list(zip(columns, fades(columns), strict=True))
    for (row, row_weight), (column, column_weight) in product(of_rows, of_columns):
        yield Tile(row, column, row_weight[:, None], column_weight)


def tiled_gradient(
    models: Sequence[DreamModel], objective: Objective, image: Tensor, settings: TileSettings
) -> tuple[Tensor, Tensor]:
    """The same as `whole_gradient`, tile by tile, the tiles dealt out to the models (one per device)."""
    parts = list(zip(tiles(size_of(image), settings), cycle(models), strict=False))
    value, slopes = _slopes(objective, _gather(parts, objective, image))
    gradient = torch.zeros_like(image)
    for part, model in parts:
        leaf = part.crop(image).to(model.device).requires_grad_()
        with torch.enable_grad():
            totals = objective.totals(model.activations(leaf, objective.layers))
            contribution = sum(
                slope.to(total.sum.device) * total.sum for slope, total in zip(slopes, totals, strict=True)
            )
        assert isinstance(contribution, Tensor)
        slope_of_part = _gradient(contribution, leaf, objective)
        part.crop(gradient).addcmul_(slope_of_part.to(image.device), part.weight(image))
    return value, gradient


def _gather(parts: Sequence[tuple[Tile, DreamModel]], objective: Objective, image: Tensor) -> list[Total]:
    """The totals of the whole image from those of its tiles."""
    with torch.no_grad():
        of_parts = [
            objective.totals(model.activations(part.crop(image).to(model.device), objective.layers))
            for part, model in parts
        ]
    # Overlaps are counted more than once; this brings the sums back to the size of the image's own.
    share = image[0, 0].numel() / sum(len(part.rows) * len(part.columns) for part, _ in parts)
    return [
        Total(
            share * torch.stack([total.sum.to(image.device) for total in of_term]).sum(),
            max(1, round(share * sum(total.values for total in of_term))),
            of_term[0].channels,
        )
        for of_term in zip(*of_parts, strict=True)
    ]


def _slopes(objective: Objective, totals: Sequence[Total]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The objective, and how it changes with each term's sum."""
    sums = [total.sum.detach().requires_grad_() for total in totals]
    with torch.enable_grad():
        value = objective.value([total._replace(sum=s) for total, s in zip(totals, sums, strict=True)])
    return value.detach(), torch.autograd.grad(value, sums)


def objective_gradient(
    models: Sequence[DreamModel],
    objective: Objective,
    image: Tensor,
    *,
    settings: TileSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Compute an objective and its gradient for an image (1,3,H,W) in 0..1, whole or in tiles.

    Args:
        models: the network, once per device; the image is on the first one's.
        objective: of the layers and of the image itself.
        image: (1,3,H,W).
        settings: the size of the tiles; valid ones.
        generator: decides where the grid of tiles lies.

    Returns:
        The objective, 0-dimensional, and its gradient (1,3,H,W).

    Raises:
        SettingsError: a layer or a channel does not exist.
    """
    if settings.tile_size == 0 or max(size_of(image)) <= settings.tile_size:
        value, gradient = whole_gradient(models[0], objective, image)
    elif not settings.tile_roll:
        value, gradient = tiled_gradient(models, objective, image, settings)
    else:
        down, right = (random_int(0, side - 1, generator) for side in size_of(image))
        view = View(down, right)
        value, gradient = tiled_gradient(models, objective, view.apply(image), settings)
        gradient = view.undo(gradient)
    if not objective.has_image_terms:
        return value, gradient
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        own = objective.image_value(leaf)
    return value + own.detach(), gradient + torch.autograd.grad(own, leaf)[0]
