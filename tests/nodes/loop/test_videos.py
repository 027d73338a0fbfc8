"""A VIDEO taken apart and put together."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

Pack = Callable[[str], ModuleType]
Opened = Callable[..., Any]


@pytest.fixture
def opened(pack: Pack, video: Path) -> Opened:
    """`opened(quality=0)`: the frames of the video of `swinging`, ten a second."""

    def opened(**settings: Any) -> Any:
        film = pack("nodes.adapters.videos").InputImpl.VideoFromFile(str(video))
        writing = pack("dream_core.settings").OutputSettings(**settings)
        return pack("nodes.loop.videos").VideoFrames(film, writing)

    return opened


def times(pack: Pack, path: Path) -> list[float]:
    with pack("dream_core.video").open_clip(
        path, settings=pack("dream_core.settings").InputSettings()
    ) as clip:
        return [frame.time for frame in clip]


def test_frames_are_those_of_the_file(opened: Opened, read: Callable[[Path], Tensor], video: Path) -> None:
    source = opened()
    shots = list(source)
    source.close()
    assert source.count == 6
    assert torch.equal(torch.cat([shot.value for shot in shots]), read(video).movedim(1, -1))
    assert [shot.duration for shot in shots] == pytest.approx([0.1] * 6)


def test_a_mask_becomes_gray(opened: Opened, read: Callable[[Path], Tensor]) -> None:
    source = opened(quality=0)
    gatherer = source.gatherer()
    for shot in source:
        gatherer.add(torch.full((1, 20, 30), shot.time), shot)
    found = read(Path(gatherer.gathered().get_stream_source()))
    source.close()
    assert found.mean((1, 2, 3)).tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=0.01)


def test_several_images_share_the_time_of_their_frame(pack: Pack, opened: Opened) -> None:
    source = opened()
    gatherer = source.gatherer()
    for shot in source:
        gatherer.add(shot.value.expand(2, -1, -1, -1), shot)
    path = Path(gatherer.gathered().get_stream_source())
    source.close()
    assert times(pack, path) == pytest.approx([0.05 * number for number in range(12)], abs=0.001)


def test_a_frame_that_is_left_out_leaves_the_others_in_their_places(pack: Pack, opened: Opened) -> None:
    source = opened()
    gatherer = source.gatherer()
    for index, shot in enumerate(source):
        if index != 2:
            gatherer.add(shot.value, shot)
    path = Path(gatherer.gathered().get_stream_source())
    source.close()
    assert times(pack, path) == pytest.approx([0, 0.1, 0.3, 0.4, 0.5], abs=0.001)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"samples": torch.rand(1, 4, 8, 8)}, "got a LATENT: put VAE Decode before"),
        ("text", "expected IMAGE or MASK .*, got str"),
        (torch.rand(1, 66, 80, 3), "expected a result of 80 x 64 as for the first frame, got 80 x 66"),
        (torch.full((1, 64, 80, 3), 255.0), "got values up to 255; divide it by 255"),
    ],
)
def test_what_cannot_be_written_is_named(
    pack: Pack, opened: Opened, errors: Any, result: Any, message: str, host: Any
) -> None:
    source = opened()
    gatherer = source.gatherer()
    first, second, *_ = source
    gatherer.add(first.value, first)
    with pytest.raises(errors.ImageError, match=message):
        gatherer.add(result, second)
    gatherer.stop()
    source.close()


def test_without_sound(pack: Pack, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    module = pack("nodes.loop.videos")
    monkeypatch.setattr(module, "open_output", lambda path, **options: given.append(options) or Unwritten())
    for sound in (True, False):
        source = opened(sound=sound)
        source._clip.sound = "sound"
        gatherer = source.gatherer()
        shot = next(iter(source))
        gatherer.add(shot.value, shot)
        source.close()
    assert [options["sound"] for options in given] == ["sound", None]
    assert given[0]["fps"] == Fraction(10)


class Unwritten:
    """Takes images and forgets them."""

    def write(self, image: Tensor, **_: float) -> None:
        pass
