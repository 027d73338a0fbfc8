"""Memory of a gradient step: tiles for which there is enough, and smaller ones after it ran out."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import torch

from ..errors import OutOfMemoryError
from ..free_memory import free_memory
from ..image import Size
from ..models.dream_model import DreamModel
from ..settings import SMALLEST_TILE, TileSettings
from .objectives import Objective
from .tiling import GRID, spans

IMAGE = 3 * 4
"""Bytes per pixel of an image in float32."""

IMAGES = 22
"""Measured size of what a step holds besides activations, in images: views, gradients, filters."""

GIB = 2**30
START = GIB / 8
"""Bytes that the first step takes once: libraries that are loaded, weights in another order."""

MARGIN = 1.1
"""Factor by which an estimate may be too low."""


def fitting_tiles(
    model: DreamModel,
    objective: Objective,
    size: Size,
    tile: TileSettings,
    *,
    beside: float = 0.0,
    margin: float = MARGIN,
) -> tuple[TileSettings, str]:
    """Return the largest tiles for which there is memory.

    Args:
        model: the network, on its device.
        objective: names its layers.
        size: of the image, height and width.
        tile: the tiles to take if there is enough memory; size 0 stands for the whole image.
        beside: bytes that will be taken besides a step's.
        margin: factor on the estimate of a step.

    Returns:
        The tiles, and a line about them if they are smaller.

    Raises:
        OutOfMemoryError: on a CPU, where programs are killed for it, there is too little even for the smallest
            tiles.
    """
    free = free_memory(model.device)

    def need(side: int) -> float:
        return beside + margin * likely_memory(model, objective, size, replace(tile, tile_size=side))

    wanted, pixels = need(tile.tile_size), f"{size[1]}x{size[0]}"
    if wanted <= free:
        return tile, ""
    before = f"tiles of {tile.tile_size}" if 0 < tile.tile_size < max(size) else "whole images"
    if objective.needs_whole and model.device.type == "cpu":
        raise OutOfMemoryError(
            f"expected about {_gib(wanted)} GiB of free memory to dream {pixels} in one piece, as a neuron needs, "
            f"got {_gib(free)} GiB; take smaller images, or close what else uses memory"
        )
    for side in () if objective.needs_whole else smaller_sides(size, tile):
        if need(side) <= free:
            return replace(tile, tile_size=side), (
                f"dreaming in tiles of {side} pixels: {before} would take about {_gib(wanted)} GiB for {pixels}, "
                f"and {_gib(free)} GiB are free; tiles take longer, and make another dream"
            )
    if model.device.type == "cpu":
        raise OutOfMemoryError(
            f"expected about {_gib(need(SMALLEST_TILE))} GiB of free memory to dream {pixels} in the smallest "
            f"tiles, got {_gib(free)} GiB; take smaller images, or close what else uses memory"
        )
    return tile, ""  # where a lack of memory is an error like others, the attempt costs little


def smaller_tiles(
    model: DreamModel, objective: Objective, size: Size, tile: TileSettings, *, problem: str
) -> TileSettings:
    """Return tiles of at most half the side, for which there is memory.

    Args:
        model: the network, on its device.
        objective: names its layers.
        size: of the image.
        tile: the tiles for which memory ran out; size 0 stands for the whole image.
        problem: first line of the out-of-memory error.

    Raises:
        OutOfMemoryError: smaller tiles would not help.
    """
    before = min(tile.tile_size or max(size), max(size))
    room = free_memory(model.device)
    needed = math.inf
    for side in () if objective.needs_whole else smaller_sides(size, tile):
        if side > max(before // 2, SMALLEST_TILE):
            continue
        smaller = replace(tile, tile_size=side)
        needed = likely_memory(model, objective, size, smaller)
        if needed <= room:
            return smaller
    taken = (
        f", which would take {_gib(needed)} GiB where {_gib(room)} GiB are free" if needed < math.inf else ""
    )
    raise OutOfMemoryError(
        f"memory ran out even with tiles of {min(before, SMALLEST_TILE) if taken else before} pixels{taken} "
        f"({problem}); take a smaller image, `flow_scale` 0.5, or close what else uses memory"
    )


def smaller_sides(size: Size, tile: TileSettings) -> Iterator[int]:
    """Yield smaller sides of tiles from large to small, in pixels: the least for each number of tiles in a row."""
    longest = max(size)
    before = min(tile.tile_size or longest, longest)
    first = (before - 1) // GRID * GRID
    sides = {
        len(spans(longest, side, tile.tile_overlap)): side for side in range(first, SMALLEST_TILE - 1, -GRID)
    }
    yield from sides.values()


def step_memory(
    model: DreamModel, objective: Objective, size: Size, tile: TileSettings, *, share: float = 1.0
) -> float:
    """Estimate the bytes that a gradient step takes besides weights.

    Args:
        model: the network.
        objective: names its layers.
        size: of the image, height and width.
        tile: size of the tiles; 0 stands for the whole image.
        share: of the upper bound of what the network's gradient takes.
    """
    height, width = (min(side, tile.tile_size or side) for side in size)
    activations = model.gradient_memory((height, width), objective.layers)
    return share * activations + IMAGES * IMAGE * size[0] * size[1]


def likely_memory(model: DreamModel, objective: Objective, size: Size, tile: TileSettings) -> float:
    """Estimate the bytes that a gradient step takes besides weights: not the upper bound, but as measured."""
    # In float32 on a CPU 0.47 to 0.63 of the upper bound; elsewhere the least, because an attempt costs little.
    share = 0.5 if model.device.type != "cpu" else 0.65 if model.dtype == torch.float32 else 1.0
    return START + step_memory(model, objective, size, tile, share=share)


def _gib(count: float) -> str:
    return f"{max(0.0, count) / GIB:.1f}"


def free_cached() -> bool:
    """Release the memory that PyTorch's caches hold. Return False: the same attempt would fail again."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # a lack of memory that is still pending would be raised once more
            torch.cuda.synchronize()
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    return False
