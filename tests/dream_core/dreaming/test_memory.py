"""Smaller tiles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dream_core.dreaming.memory import free_cached, smaller_tiles, step_memory
from dream_core.dreaming.objectives import layer
from dream_core.errors import DeepDreamError, OutOfMemoryError
from dream_core.models.dream_model import DreamModel
from dream_core.settings import TileSettings


@pytest.mark.parametrize(
    ("side", "size", "smaller"),
    [
        (0, (300, 800), 384),  # a multiple of the networks' stride
        (2000, (300, 800), 384),  # larger than the image: the image counts
        (384, (300, 800), 192),
        (100, (300, 800), 64),
        (0, (60, 65), 64),
    ],
)
def test_tiles_are_halved_down_to_the_smallest(side: int, size: tuple[int, int], smaller: int) -> None:
    tile = TileSettings(tile_size=side, tile_overlap=0.1, tile_roll=False)
    assert smaller_tiles(tile, size, "out of memory") == replace(tile, tile_size=smaller)


@pytest.mark.parametrize(("side", "size"), [(64, (300, 800)), (0, (60, 64))])
def test_memory_that_runs_out_with_the_smallest_tiles_is_an_error(side: int, size: tuple[int, int]) -> None:
    with pytest.raises(
        OutOfMemoryError, match=r"tiles of 64 pixels \(CUDA out of memory\); take a smaller"
    ) as told:
        smaller_tiles(TileSettings(tile_size=side), size, "CUDA out of memory")
    assert isinstance(told.value, DeepDreamError)
    assert isinstance(told.value, MemoryError)


@pytest.mark.parametrize("started", [True, False])
def test_an_error_that_cuda_still_holds_is_not_raised_again(
    started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def synchronize() -> None:
        done.append("synchronize")
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: started)
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("empty_cache"))
    free_cached()
    # CUDA is not started for this: that would take memory.
    assert done == (["synchronize", "empty_cache"] if started else [])


def test_a_step_in_tiles_takes_the_activations_of_one_tile(tiny: DreamModel) -> None:
    whole, tiled, small = (
        step_memory(tiny, layer("conv"), size, TileSettings(tile_size=tile))
        for size, tile in (((300, 400), 0), ((300, 400), 64), ((64, 64), 0))
    )
    images = 16 * 3 * 4  # bytes a pixel
    assert whole - 300 * 400 * images == tiny.gradient_memory((300, 400), ["conv"])
    assert tiled - 300 * 400 * images == small - 64 * 64 * images == tiny.gradient_memory((64, 64), ["conv"])
