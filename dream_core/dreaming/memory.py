"""Memory of a gradient step, and smaller tiles after it ran out."""

from __future__ import annotations

import gc
from contextlib import suppress
from dataclasses import replace

import torch

from ..errors import OutOfMemoryError
from ..image import Size
from ..models.dream_model import DreamModel
from ..settings import SMALLEST_TILE, TileSettings
from .objectives import Objective
from .tiling import GRID


def smaller_tiles(tile: TileSettings, size: Size, problem: str) -> TileSettings:
    """Halve the side of the tiles.

    Args:
        tile: current size of the tiles; 0 stands for the whole image.
        size: of the image.
        problem: first line of the out-of-memory error.

    Raises:
        OutOfMemoryError: the tiles cannot be made smaller.
    """
    side = min(tile.tile_size or max(size), max(size))
    smaller = max(SMALLEST_TILE, side // 2 // GRID * GRID)
    if smaller >= side:
        raise OutOfMemoryError(
            f"memory ran out even with tiles of {tile.tile_size or max(size)} pixels ({problem}); take a smaller "
            "image, `flow_scale` 0.5, or close what else uses memory"
        )
    return replace(tile, tile_size=smaller)


def step_memory(model: DreamModel, objective: Objective, size: Size, tile: TileSettings) -> int:
    """Estimate the bytes that a gradient step takes besides weights.

    Args:
        model: the network.
        objective: names its layers.
        size: of the image, height and width.
        tile: size of the tiles; 0 stands for the whole image.
    """
    height, width = (min(side, tile.tile_size or side) for side in size)
    # Besides the activations: the image, its view, gradients and filters in float32.
    return model.gradient_memory((height, width), objective.layers) + 16 * 3 * 4 * size[0] * size[1]


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
