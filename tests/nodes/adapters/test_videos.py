"""ComfyUI's VIDEO, read frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

Pack = Callable[[str], ModuleType]
Opened = Callable[..., tuple[Tensor, list[float], int]]


@dataclass
class Components:
    """Stands for ComfyUI's VideoComponents."""

    images: Tensor
    frame_rate: Fraction = Fraction(24)
    audio: Any = None


@pytest.fixture
def opened(pack: Pack) -> Opened:
    """`opened(video, size=0)`: frames (B,3,H,W), their times, and their number by the video itself."""

    def opened(video: Any, **settings: Any) -> tuple[Tensor, list[float], int]:
        reading = pack("dream_core.settings").InputSettings(**{"size": 0, **settings})
        with pack("nodes.adapters.videos").open_video(video, settings=reading) as clip:
            found, count = list(clip), clip.frame_count
        return torch.stack([frame.image for frame in found]), [frame.time for frame in found], count

    return opened


@pytest.fixture
def impl(pack: Pack) -> Any:
    return pack("nodes.adapters.videos").InputImpl


def test_a_file_and_the_same_file_in_memory(
    impl: Any, opened: Opened, read: Callable[[Path], Tensor], video: Path, host: Any
) -> None:
    for source in (str(video), BytesIO(video.read_bytes())):
        frames, times, count = opened(impl.VideoFromFile(source))
        assert torch.equal(frames, read(video))
        assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
        assert count == 6
    assert list((host.folder / "temp").iterdir()) == []


def test_a_trimmed_file(impl: Any, opened: Opened, read: Callable[[Path], Tensor], video: Path) -> None:
    frames, times, count = opened(impl.VideoFromFile(str(video), start_time=0.2, duration=0.3))
    assert torch.equal(frames, read(video)[2:5])
    assert times == pytest.approx([0, 0.1, 0.2])
    assert count == 3


def test_the_images_of_a_video_in_memory_are_taken_as_they_are(pack: Pack, impl: Any, opened: Opened) -> None:
    images = torch.rand(4, 5, 7, 4)
    frames, times, count = opened(impl.VideoFromComponents(Components(images)))
    assert torch.equal(frames, images[..., :3].movedim(-1, 1))
    assert times == pytest.approx([0, 1 / 24, 2 / 24, 3 / 24])
    assert count == 4
    with pack("nodes.adapters.videos").open_video(
        impl.VideoFromComponents(Components(images, Fraction(29.97))),
        settings=pack("dream_core.settings").InputSettings(),
    ) as clip:
        assert clip.fps == Fraction(2997, 100)
    frames, _, count = opened(impl.VideoFromComponents(Components(images)), size=14, frames=2)
    assert frames.shape == (2, 3, 10, 14)
    assert count == 2


def test_the_sound_of_a_video_in_memory_lies_in_a_file_for_as_long_as_it_is_open(
    pack: Pack, impl: Any, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[Components] = []

    def save_to(video: Any, path: str) -> None:
        saved.append(video.get_components())
        Path(path).write_text("sound", "utf-8")

    monkeypatch.setattr(impl.VideoFromComponents, "save_to", save_to)
    reading = pack("dream_core.settings").InputSettings()
    video = impl.VideoFromComponents(Components(torch.rand(9, 20, 30, 3), audio={"waveform": 1}))
    with pack("nodes.adapters.videos").open_video(video, settings=reading) as clip:
        assert clip.sound.path.read_text("utf-8") == "sound"
    assert not clip.sound.path.exists()
    assert saved[0].audio == {"waveform": 1}
    assert saved[0].images.shape == (9, 16, 16, 3)


def test_what_is_a_video(pack: Pack, impl: Any, video: Path) -> None:
    is_video = pack("nodes.adapters.videos").is_video
    assert is_video(impl.VideoFromFile(str(video)))
    assert not is_video(torch.rand(1, 2, 3, 3))
    assert not is_video({"samples": torch.rand(1, 4, 3, 3)})
