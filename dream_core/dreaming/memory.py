"""Going on after memory ran out: with smaller tiles."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from ..device import is_out_of_memory
from ..errors import OutOfMemoryError
from ..image import Size, size_of
from ..settings import TileSettings
from ..temporal.dreamer import DreamedFrame, TemporalDreamer
from .dream import DreamCallback
from .tiling import GRID, SMALLEST_TILE

T = TypeVar("T")


def with_smaller_tiles(
    attempt: Callable[[TileSettings], T], tile: TileSettings, size: Size, *, free: Callable[[], None]
) -> T:
    """Try something again and again, with tiles of half the size each time memory runs out.

    Args:
        attempt: what to try. What it holds on to beyond its own call is not freed.
        tile: for the first time.
        size: of the image.
        free: called after each failed attempt, when nothing of it is alive any more.

    Returns:
        What the attempt returns.

    Raises:
        OutOfMemoryError: there is too little memory for the smallest tiles.
    """
    while True:
        try:
            return attempt(tile)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            problem = str(error).partition("\n")[0]
        # Only here is the error gone, and with it its traceback, which held the attempt's tensors.
        free()
        smaller = half(tile, size)
        if smaller is None:
            raise OutOfMemoryError(
                f"memory ran out even with tiles of {tile.tile_size or max(size)} pixels ({problem}): take a "
                "smaller image, --flow-scale 0.5, or close what else uses memory"
            )
        warnings.warn(
            f"memory ran out: going on with tiles of {smaller.tile_size} pixels; a --tile-size of that, or less, "
            "avoids the attempt",
            stacklevel=2,
        )
        tile = smaller


def free_cached() -> None:
    """Give back the memory that nothing uses but PyTorch's own cache on the devices."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def half(tile: TileSettings, size: Size) -> TileSettings | None:
    """Tiles of half the side, or None where those would be too small to see anything.

    Args:
        tile: how large the tiles are; 0 stands for the whole image.
        size: of the image.
    """
    side = min(tile.tile_size or max(size), max(size))
    smaller = max(SMALLEST_TILE, side // 2 // GRID * GRID)
    return replace(tile, tile_size=smaller) if smaller < side else None


def step_with_smaller_tiles(
    dreamer: TemporalDreamer,
    frame: Tensor,
    *,
    free: Callable[[], None],
    on_step: DreamCallback | None = None,
) -> DreamedFrame:
    """Dream the next frame of a clip; where memory runs out, this and all later frames in smaller tiles.

    Args:
        dreamer: whose state, after a failed attempt, is what it was before.
        frame: (1,3,H,W), see `TemporalDreamer.step`.
        free: see `with_smaller_tiles`.
        on_step: told about every gradient step, those of failed attempts too.

    Raises:
        OutOfMemoryError: there is too little memory for the smallest tiles.
        ImageError: the frame is no such image.
    """

    def attempt(tile: TileSettings) -> DreamedFrame:
        dreamer.settings = replace(dreamer.settings, tile=tile)
        return dreamer.step(frame, on_step=on_step)

    return with_smaller_tiles(attempt, dreamer.settings.tile, size_of(frame), free=free)
