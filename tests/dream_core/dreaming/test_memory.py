"""Tiles for which there is memory."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from dream_core.dreaming import memory
from dream_core.dreaming.memory import (
    fitting_tiles,
    free_cached,
    likely_memory,
    smaller_sides,
    smaller_tiles,
    step_memory,
)
from dream_core.dreaming.objectives import layer
from dream_core.dreaming.tiling import spans
from dream_core.errors import DeepDreamError, OutOfMemoryError
from dream_core.models.dream_model import DreamModel
from dream_core.settings import TileSettings

HD = 1080, 1920


class Room:
    """Memory that is free on every device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = math.inf
        monkeypatch.setattr(memory, "free_memory", lambda device: self.free)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(monkeypatch)


@pytest.mark.parametrize(
    ("side", "size", "sides"),
    [
        (0, HD, [1120, 768, 608, 512, 448, 384]),  # 2, 3, 4, ... in a row
        (2000, HD, [1120, 768]),  # larger than the image: the image counts
        (608, HD, [512, 448]),
        (96, (300, 800), [64]),
        (0, (60, 65), [64]),
        (64, (300, 800), []),
        (0, (60, 64), []),
    ],
)
def test_the_tiles_are_the_smallest_of_each_number_in_a_row(
    side: int, size: tuple[int, int], sides: list[int]
) -> None:
    tile = TileSettings(tile_size=side, tile_overlap=0.25)
    found = list(smaller_sides(size, tile))
    assert found[: len(sides)] == sides
    assert all(one % 32 == 0 for one in found)
    counts = [len(spans(max(size), one, 0.25)) for one in found]
    assert counts == sorted(set(counts))


def test_tiles_stay_where_there_is_memory_for_them(tiny: DreamModel, room: Room) -> None:
    tile, objective = TileSettings(tile_size=0, tile_overlap=0.25), layer("conv")
    whole = likely_memory(tiny, objective, HD, tile)
    room.free = math.ceil(1.1 * whole + 5000)
    assert fitting_tiles(tiny, objective, HD, tile, beside=5000) == (tile, "")
    room.free -= 1
    smaller, told = fitting_tiles(tiny, objective, HD, tile, beside=5000)
    assert smaller == replace(tile, tile_size=1120)
    assert told.startswith(
        "dreaming in tiles of 1120 pixels: whole images would take about 0.8 GiB for 1920x1080"
    )
    assert fitting_tiles(tiny, objective, HD, tile, beside=5000, margin=1.0) == (tile, "")


def test_too_little_memory_for_the_smallest_tiles_is_told_before_any_work(
    tiny: DreamModel, room: Room
) -> None:
    room.free = 1.5 * 2**30
    with pytest.raises(
        OutOfMemoryError, match=r"expected about 2\.\d GiB of free memory to dream 3840x2160 .* got 1\.5 GiB"
    ):
        fitting_tiles(tiny, layer("conv"), (2160, 3840), TileSettings())


def test_after_memory_ran_out_tiles_have_at_most_half_the_side_and_fit(tiny: DreamModel, room: Room) -> None:
    tile, objective = TileSettings(tile_overlap=0.25), layer("conv")
    assert smaller_tiles(tiny, objective, HD, tile, problem="") == replace(tile, tile_size=768)
    room.free = likely_memory(tiny, objective, HD, replace(tile, tile_size=608))
    assert smaller_tiles(tiny, objective, HD, tile, problem="") == replace(tile, tile_size=608)
    small = replace(tile, tile_size=100)
    assert smaller_tiles(tiny, objective, (60, 90), small, problem="") == replace(tile, tile_size=64)


@pytest.mark.parametrize(("side", "size"), [(64, (300, 800)), (0, (60, 64))])
def test_memory_that_runs_out_with_the_smallest_tiles_is_an_error(
    side: int, size: tuple[int, int], tiny: DreamModel, room: Room
) -> None:
    tile = TileSettings(tile_size=side)
    with pytest.raises(
        OutOfMemoryError, match=r"tiles of 64 pixels \(CUDA out of memory\); take a smaller"
    ) as told:
        smaller_tiles(tiny, layer("conv"), size, tile, problem="CUDA out of memory")
    assert isinstance(told.value, DeepDreamError)
    assert isinstance(told.value, MemoryError)


def test_a_shortage_that_smaller_tiles_cannot_mend_is_an_error_at_once(tiny: DreamModel, room: Room) -> None:
    room.free = 2**28
    with pytest.raises(
        OutOfMemoryError, match=r"which would take 0\.6 GiB where 0\.2 GiB are free \(no memory\)"
    ):
        smaller_tiles(tiny, layer("conv"), HD, TileSettings(), problem="no memory")


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
    images = 22 * 3 * 4  # bytes a pixel
    assert whole - 300 * 400 * images == tiny.gradient_memory((300, 400), ["conv"])
    assert tiled - 300 * 400 * images == small - 64 * 64 * images == tiny.gradient_memory((64, 64), ["conv"])
