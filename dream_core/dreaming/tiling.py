"""The gradient of an objective, of a whole image or tile by tile.

With tiles, memory depends on the size of a tile, not of the image. Tiles overlap, and their gradients are faded
into one another. A nonlinear objective, such as the root of a sum over the image, is not the sum of its values on
tiles. Therefore a first pass adds up the sums over all tiles, and a second one computes each tile's gradient of the
whole objective. Tiled and untiled gradients differ only because a tile does not see beyond its edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle, product

import torch
from torch import Tensor

from ..image import Size, size_of
from ..models.dream_model import DreamModel
from ..settings import TileSettings
from .objectives import Objective
from .terms import Activations, LossSum
from .text_terms import as_strong_as
from .transforms import View, random_int

GRID = 32
"""Largest total stride of the networks here, in pixels. A tile that begins on a multiple of it is sampled at the
same positions as the whole image; at other positions the gradient would be quite different."""


@dataclass(frozen=True)
class Span:
    """A stretch of one side, start <= pixel < stop."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def spans(side: int, tile: int, overlap: float) -> list[Span]:
    """Cover a side with tiles of at most `tile` pixels that overlap by at least the fraction `overlap`.

    A side of at most `tile` pixels takes one tile. Otherwise the tiles are spread from edge to edge, all equally
    long except the last, which may be shorter by less than GRID. Large enough tiles begin on multiples of GRID.
    """
    if side <= tile:
        return [Span(0, side)]
    grid = GRID if tile * (1 - overlap) >= GRID else 1
    stride = max(1, math.floor(tile * (1 - overlap) / grid)) * grid
    count = math.ceil((side - tile) / stride) + 1
    last = math.ceil((side - tile) / grid)
    starts = [math.ceil(index * last / (count - 1)) * grid for index in range(count)]
    return [Span(start, min(start + tile, side)) for start in starts]


def fade_weights(all_spans: Sequence[Span]) -> list[Tensor]:
    """Weights (length,) of each tile along a side, which add up to 1 at every pixel.

    They fall towards the edges of a tile, where the network sees least of a pixel's surroundings.
    """
    side = max(span.stop for span in all_spans)
    tents = torch.zeros(len(all_spans), side)
    for row, span in enumerate(all_spans):
        position = torch.arange(len(span)) + 0.5
        tents[row, span.start : span.stop] = torch.minimum(position, len(span) - position)
    weights = tents / tents.sum(0)
    return [row[span.start : span.stop] for row, span in zip(weights, all_spans, strict=True)]


def whole_gradient(model: DreamModel, objective: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the layers' part of the objective and its gradient for an image (1,3,H,W) in one piece."""
    return _value_and_gradient(model, image.detach(), objective.layers, objective)


def _value_and_gradient(
    model: DreamModel, image: Tensor, layers: Sequence[str], function: Callable[[Activations], Tensor]
) -> tuple[Tensor, Tensor]:
    """Compute a function of activations, and its gradient for an image (1,3,H,W)."""
    leaf = image.requires_grad_()
    with torch.enable_grad():
        activations = model.activations(leaf, layers)
        if model.dtype == torch.float16:
            return _in_float16(activations, leaf, function)
        value = function(activations)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def _in_float16(
    activations: Activations, leaf: Tensor, function: Callable[[Activations], Tensor]
) -> tuple[Tensor, Tensor]:
    """Scale the gradient so that it is at most 1 at the layers: smaller numbers vanish in float16."""
    wide = {layer: activation.detach().float().requires_grad_() for layer, activation in activations.items()}
    value = function(wide)
    slopes = torch.autograd.grad(value, list(wide.values()))
    largest = torch.stack([slope.abs().amax() for slope in slopes]).amax().clamp_min(1e-30)
    scaled = [(slope / largest).half() for slope in slopes]
    (gradient,) = torch.autograd.grad(list(activations.values()), leaf, scaled)
    return value.detach(), gradient * largest


@dataclass(frozen=True)
class Rectangle:
    """A part of an image.

    Args:
        rows, columns: its place in the image.
    """

    rows: Span
    columns: Span

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in (H,W)."""
        return slice(self.rows.start, self.rows.stop), slice(self.columns.start, self.columns.stop)

    def crop(self, image: Tensor) -> Tensor:
        """Cut this rectangle out of (B,C,H,W): a view."""
        rows, columns = self.slices
        return image[..., rows, columns]

    def cut(self, image: Tensor, nearest: bool) -> Tensor:
        """Cut it out of what belongs to an image's pixels: a `Look`."""
        return self.crop(image)


@dataclass(frozen=True)
class Tile(Rectangle):
    """One of the overlapping parts that make up an image.

    Args:
        row_weight, column_weight: (h,1) and (w,), its weight in the sum of all tiles.
    """

    row_weight: Tensor
    column_weight: Tensor

    @property
    def weight(self) -> Tensor:
        """Weight (h,w) in the sum of all tiles."""
        return self.row_weight * self.column_weight

    def on(self, device: torch.device) -> Tile:
        """Copy the weights to a device."""
        weights = {name: getattr(self, name).to(device) for name in ("row_weight", "column_weight")}
        return replace(self, **weights)


def tiles(size: Size, settings: TileSettings) -> Iterator[Tile]:
    """Yield all tiles of an image."""
    height, width = size
    rows = spans(height, settings.tile_size, settings.tile_overlap)
    columns = spans(width, settings.tile_size, settings.tile_overlap)
    of_rows, of_columns = (
        zip(rows, fade_weights(rows), strict=True),
        list(zip(columns, fade_weights(columns), strict=True)),
    )
    for (row, row_weight), (column, column_weight) in product(of_rows, of_columns):
        yield Tile(row, column, row_weight[:, None], column_weight)


@lru_cache(maxsize=16)
def _tiles_on(size: Size, settings: TileSettings, device: torch.device) -> tuple[Tile, ...]:
    # Kept, because copies from the host in every step would make the program wait for a GPU.
    return tuple(tile.on(device) for tile in tiles(size, settings))


def tiled_gradient(
    models: Sequence[DreamModel], objective: Objective, image: Tensor, settings: TileSettings
) -> tuple[Tensor, Tensor]:
    """Compute `whole_gradient` tile by tile; the models, one per device, take turns.

    Each tile is computed twice: for the sums of the whole image, and for its share of the gradient. The result
    differs from the whole's only because a tile does not see beyond its edge.
    """
    parts = list(zip(_tiles_on(size_of(image), settings, image.device), cycle(models), strict=False))
    value, slopes = _slopes(objective, _gather(parts, objective, image))
    gradient = torch.zeros_like(image)
    for part, model in parts:
        of_part = objective.seen(part.cut)

        def contribution(activations: Activations, of_part: Objective = of_part) -> Tensor:
            sums = [one.sum for one in of_part.loss_sums(activations)]
            shares = [(slope.to(one.device) * one).sum() for slope, one in zip(slopes, sums, strict=True)]
            return torch.stack(shares).sum()

        tile = part.crop(image).detach().to(model.device)
        _, slope_of_part = _value_and_gradient(model, tile, objective.layers, contribution)
        part.crop(gradient).addcmul_(slope_of_part.to(image.device), part.weight)
    return value, gradient


def _gather(parts: Sequence[tuple[Tile, DreamModel]], objective: Objective, image: Tensor) -> list[LossSum]:
    """Add up the loss sums of all tiles, as of the whole image."""
    with torch.no_grad():
        of_parts = [
            objective.seen(part.cut).loss_sums(
                model.activations(part.crop(image).to(model.device), objective.layers)
            )
            for part, model in parts
        ]
    # Overlaps are counted more than once; this scales the sums back to one count per pixel.
    share = image[0, 0].numel() / sum(len(part.rows) * len(part.columns) for part, _ in parts)
    return [
        LossSum(
            share * torch.stack([one.sum.to(image.device) for one in of_term]).sum(0),
            max(1, round(share * sum(one.values for one in of_term))),
            of_term[0].channels,
        )
        for of_term in zip(*of_parts, strict=True)
    ]


def _slopes(objective: Objective, loss_sums: Sequence[LossSum]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute the objective and its derivative by each term's sum."""
    sums = [one.sum.detach().requires_grad_() for one in loss_sums]
    with torch.enable_grad():
        value = objective.value([one._replace(sum=s) for one, s in zip(loss_sums, sums, strict=True)])
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

    The gradient of texts is scaled to that of the layers, so that weights mean the same for both.

    Args:
        models: the network, once per device; the image is on the first device.
        objective: of the layers, of texts and of the image itself.
        image: (1,3,H,W).
        settings: size and overlap of the tiles, for the layers; already validated.
        generator: draws the position of the grid of tiles, and the crops that are compared with texts.

    Returns:
        The objective, 0-dimensional, and its gradient (1,3,H,W).

    Raises:
        SettingsError: a layer or a channel does not exist.
    """
    if not objective.terms:
        value, gradient = image.new_zeros(()), torch.zeros_like(image)
    elif settings.tile_size == 0 or max(size_of(image)) <= settings.tile_size:
        value, gradient = whole_gradient(models[0], objective, image)
    elif not settings.tile_roll:
        value, gradient = tiled_gradient(models, objective, image, settings)
    else:
        down, right = (random_int(0, side - 1, generator) for side in size_of(image))
        view = View(down, right)
        rolled = objective.seen(lambda one, _: view.apply(one))
        value, gradient = tiled_gradient(models, rolled, view.apply(image), settings)
        gradient = view.undo(gradient)
    if objective.texts:
        likeness, own_gradient = text_gradient(objective, image, gradient, generator)
        value, gradient = value + likeness, gradient + own_gradient
    if not objective.has_penalties:
        return value, gradient
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        own = objective.penalty_value(leaf)
    return value + own.detach(), gradient + torch.autograd.grad(own, leaf)[0]


def text_gradient(
    objective: Objective, image: Tensor, of_layers: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Compute the texts' part of an objective and its gradient.

    Args:
        objective: with texts.
        image: (1,3,H,W) in 0..1.
        of_layers: the gradient of its layers, (1,3,H,W).
        generator: draws crops.

    Returns:
        The part, 0-dimensional, and its gradient (1,3,H,W): beside layers, as strong by weight as theirs.
    """
    found = [text.gradient(image, generator) for text in objective.texts]
    value, gradient = (
        torch.stack([one for one, _ in found]).sum(),
        torch.stack([one for _, one in found]).sum(0),
    )
    layers = sum(abs(term.weight) for term in objective.terms)
    if not layers:
        return value, gradient
    pull = sum(text.pull for text in objective.texts)
    return value, as_strong_as(gradient, of_layers) * (pull / layers)
