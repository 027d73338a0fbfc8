"""The end of a dream in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dream_core.dreaming.dream import ImageDreamer
from dream_core.errors import SettingsError
from dream_core.models.dream_model import DreamModel
from dream_core.motion.flow import FlowEstimator, dis_flow
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    OctaveSettings,
    ReliabilitySettings,
    TemporalSettings,
    TileSettings,
)
from dream_core.synthetic import synthetic_clip
from dream_core.temporal.dreamer import DreamerState, TemporalDreamer
from dream_core.temporal.last_dream import (
    load_last_dream,
    require_fit,
    require_place,
    save_last_dream,
)

SIZE = (48, 64)


def dreamer(model: DreamModel, *, tile_size: int = 0, **temporal: object) -> TemporalDreamer:
    settings = DreamSettings(
        octave=OctaveSettings(octaves=1, octave_steps=2),
        ascent=AscentSettings(jitter=2),
        tile=TileSettings(tile_size=tile_size),
    )
    return TemporalDreamer(
        ImageDreamer([model], settings=settings),
        FlowEstimator(dis_flow, torch.device("cpu"), 16, 1),
        temporal=TemporalSettings(**temporal),  # type: ignore[arg-type]
        reliability=ReliabilitySettings(),
    )


@pytest.mark.parametrize(("references", "end"), [(1, 3), (3, 4)])
def test_two_clips_dream_as_one(tiny: DreamModel, tmp_path: Path, references: int, end: int) -> None:
    scenes = [synthetic_clip(frames=3, height=SIZE[0], width=SIZE[1], seed=seed).frames for seed in (1, 2)]
    frames = torch.cat(scenes)  # one clip ends at the cut, one after it
    whole = dreamer(tiny, references=references)
    wanted = [whole.step(frame[None]).dream for frame in frames]
    first = dreamer(tiny, references=references)
    for frame in frames[:end]:
        first.step(frame[None])
    save_last_dream(first.state, tmp_path / "last.safetensors")
    second = dreamer(tiny, references=references)
    second.go_on_from(load_last_dream(tmp_path / "last.safetensors"))
    for frame, dream in zip(frames[end:], wanted[end:], strict=True):
        assert torch.equal(second.step(frame[None]).dream, dream)
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]


def test_the_tiles_are_those_of_the_clip_that_goes_on(tiny: DreamModel) -> None:
    second = dreamer(tiny, tile_size=128)
    second.go_on_from(dreamer(tiny).state)
    assert second.settings.tile.tile_size == 128


@pytest.fixture
def state(tiny: DreamModel) -> DreamerState:
    made = dreamer(tiny)
    made.step(torch.rand(1, 3, *SIZE))
    return made.state


def test_what_does_not_fit_is_refused(state: DreamerState) -> None:
    require_fit(state, TemporalSettings(), size=SIZE)
    with pytest.raises(
        SettingsError, match="expected frames of 64x48, the size of the dream in `previous_dream`, got 32x"
    ):
        require_fit(state, TemporalSettings(), size=(24, 32))
    with pytest.raises(SettingsError, match="expected `seamless` off with `previous_dream`"):
        require_fit(state, TemporalSettings(seamless=True), size=SIZE)


def test_what_has_no_effect_is_told(state: DreamerState, tiny: DreamModel) -> None:
    with pytest.warns(UserWarning, match="`previous_dream` does nothing with `independent`"):
        require_fit(state, TemporalSettings(independent=True), size=SIZE)
    alone = dreamer(tiny, independent=True)
    alone.step(torch.rand(1, 3, *SIZE))
    with pytest.warns(UserWarning, match="`previous_dream` holds no dream"):
        require_fit(alone.state, TemporalSettings(), size=SIZE)


@pytest.mark.parametrize("content", [None, b"", b"something else", "folder"])
def test_another_file_is_refused(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "last.safetensors"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(
        SettingsError, match=r"expected a file that .* for `previous_dream`, got .*last.safetensors"
    ):
        load_last_dream(path)


def test_a_place_that_cannot_be_saved_in_is_refused_before_the_work(tmp_path: Path) -> None:
    path, plain = tmp_path / "last.safetensors", TemporalSettings()
    require_place(path, plain, overwrite=False)
    path.write_bytes(b"mine")
    require_place(path, plain, overwrite=True)
    for settings, place, words in (
        (plain, path, "which exists; choose another name or set `overwrite`"),
        (plain, tmp_path / "last.pt", "expected a .safetensors file for `save_last_dream`"),
        (plain, tmp_path / "none" / "last.safetensors", "expected a folder that exists"),
        (TemporalSettings(independent=True), path, "expected `independent` off with `save_last_dream`"),
        (TemporalSettings(seamless=True), path, "expected `seamless` off with `save_last_dream`"),
    ):
        with pytest.raises(SettingsError, match=words):
            require_place(place, settings, overwrite=False)


def test_a_disk_that_cannot_be_written_is_told_and_nothing_is_left(
    state: DreamerState, tmp_path: Path
) -> None:
    (tmp_path / "last.safetensors").mkdir()
    with pytest.raises(SettingsError, match="expected a file that can be written for `save_last_dream`"):
        save_last_dream(state, tmp_path / "last.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["last.safetensors"]
