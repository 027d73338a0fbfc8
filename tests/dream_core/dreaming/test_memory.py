"""Going on with smaller tiles."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from dream_core.dreaming.memory import half, step_with_smaller_tiles, with_smaller_tiles
from dream_core.errors import DeepDreamError, OutOfMemoryError
from dream_core.models.dream_model import DreamModel
from dream_core.settings import (
    DreamSettings,
    OctaveSettings,
    ReliabilitySettings,
    TemporalSettings,
    TileSettings,
)
from dream_core.temporal import dreamer as temporal
from dream_core.temporal.dreamer import TemporalDreamer

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


def no_free() -> None:
    pass


@pytest.mark.parametrize(
    ("side", "size", "smaller"),
    [
        (0, (300, 800), 384),  # a multiple of the networks' stride
        (2000, (300, 800), 384),  # larger than the image: the image counts
        (384, (300, 800), 192),
        (100, (300, 800), 64),
        (64, (300, 800), None),
        (0, (60, 64), None),
        (0, (60, 65), 64),
    ],
)
def test_tiles_are_halved_down_to_the_smallest(side: int, size: tuple[int, int], smaller: int | None) -> None:
    tile = TileSettings(tile_size=side, tile_overlap=0.1, tile_roll=False)
    found = half(tile, size)
    assert found == (None if smaller is None else TileSettings(smaller, 0.1, False))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_it_goes_on_with_half_the_tile_and_says_so(error: Exception) -> None:
    seen: list[int] = []

    def attempt(tile: TileSettings) -> str:
        seen.append(tile.tile_size)
        if tile.tile_size != 128:
            raise error
        return "dreamed"

    with pytest.warns(UserWarning, match="memory ran out: going on with tiles of") as told:
        assert with_smaller_tiles(attempt, TileSettings(), (300, 512), free=no_free) == "dreamed"
    assert seen == [0, 256, 128]
    assert ["tiles of 256 pixels" in str(told[0].message), "tiles of 128 pixels" in str(told[1].message)] == [
        True,
        True,
    ]


def test_nothing_is_said_where_memory_suffices(recwarn: pytest.WarningsRecorder) -> None:
    assert with_smaller_tiles(lambda tile: tile, TileSettings(), (9, 9), free=pytest.fail) == TileSettings()
    assert not recwarn.list


@pytest.mark.filterwarnings("ignore:memory ran out")
def test_at_the_smallest_tile_it_gives_up_with_advice() -> None:
    freed: list[bool] = []

    def attempt(tile: TileSettings) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmore")

    with pytest.raises(
        OutOfMemoryError, match=r"tiles of 64 pixels \(CUDA out of memory.*take a smaller"
    ) as told:
        with_smaller_tiles(attempt, TileSettings(tile_size=128), (300, 512), free=lambda: freed.append(True))
    assert isinstance(told.value, DeepDreamError)
    assert isinstance(told.value, MemoryError)
    assert "\n" not in str(told.value)
    assert len(freed) == 2


def test_other_errors_pass() -> None:
    def attempt(tile: TileSettings) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        with_smaller_tiles(attempt, TileSettings(), (300, 512), free=pytest.fail)


@pytest.mark.filterwarnings("ignore:memory ran out")
def test_nothing_of_a_failed_attempt_is_alive_when_memory_is_freed() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def attempt(tile: TileSettings) -> None:
        large = torch.zeros(9)
        alive.append(weakref.ref(large))
        if tile.tile_size == 0:
            raise torch.OutOfMemoryError("out of memory")

    def free() -> None:
        assert alive[-1]() is None

    with_smaller_tiles(attempt, TileSettings(), (300, 512), free=free)
    assert len(alive) == 2


@pytest.mark.filterwarnings("ignore:memory ran out")
def test_a_clip_goes_on_with_the_smaller_tiles(tiny: DreamModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second frame runs out of memory: it and the third are dreamed in tiles, as by who chose them."""
    frames = torch.rand(3, 1, 3, 100, 140)
    octave = OctaveSettings(octaves=1, octave_steps=2)

    def dreamer(tile: int) -> TemporalDreamer:
        return TemporalDreamer(
            [tiny],
            None,
            settings=DreamSettings(octave=octave, tile=TileSettings(tile_size=tile)),
            temporal=TemporalSettings(independent=True),
            occlusion=ReliabilitySettings(),
        )

    tiled, scarce = dreamer(64), dreamer(0)
    expected = [dreamer(0).step(frames[0]).dream, *(tiled.step(frame).dream for frame in frames[1:])]
    whole = temporal.dream
    attempts: list[int] = []

    def dream(*arguments: Any, settings: DreamSettings, **options: Any) -> Tensor:
        attempts.append(settings.tile.tile_size)
        if len(attempts) == 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(*arguments, settings=settings, **options)

    monkeypatch.setattr(temporal, "dream", dream)
    dreams = [step_with_smaller_tiles(scarce, frame, free=no_free).dream for frame in frames]
    assert attempts == [0, 0, 64, 64]
    for one, other in zip(dreams, expected, strict=True):
        assert torch.equal(one, other)
