"""The synthetic clip."""

from __future__ import annotations

import pytest
import torch

from dream_core.command.sample import open_sample
from dream_core.errors import SettingsError
from dream_core.settings import InputSettings


def test_it_reads_like_a_file() -> None:
    with open_sample(InputSettings(size=64, frames=3, fps=10)) as clip:
        assert (clip.size, clip.frame_count, clip.fps) == ((48, 64), 3, 10)
        assert not clip.has_sound
        frames = list(clip)
    assert [(frame.index, frame.time, frame.duration) for frame in frames] == [
        (0, 0, 0.1),
        (1, 0.1, 0.1),
        (2, 0.2, 0.1),
    ]
    assert frames[0].image.shape == (3, 48, 64)
    assert not torch.equal(frames[0].image, frames[1].image)


def test_its_defaults() -> None:
    with open_sample(InputSettings(size=0)) as clip:
        assert clip.size == (384, 512)
        assert clip.frame_count == 60


def test_it_is_the_same_each_time() -> None:
    one, other = (next(open_sample(InputSettings(size=32))).image for _ in range(2))
    assert torch.equal(one, other)


@pytest.mark.parametrize("settings", [InputSettings(size=-1), InputSettings(frames=-1), InputSettings(fps=0)])
def test_settings_out_of_range(settings: InputSettings) -> None:
    with pytest.raises(SettingsError):
        open_sample(settings)
