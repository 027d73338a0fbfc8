"""DeepDream Video File."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

Pack = Callable[[str], ModuleType]
Run = Callable[..., Any]

SEAMLESS = {"seamless": True, "seamless_frames": 3}


@pytest.mark.parametrize("values", [{}, SEAMLESS], ids=["open", "seamless"])
def test_a_file_is_dreamed_as_by_the_library(
    read: Run, video: Path, dream_video: Run, dream_by_the_library: Run, values: dict[str, Any]
) -> None:
    expected = dream_by_the_library(read(video), **values)
    found = dream_video("DeepDreamVideoFile", quality=0, **values)
    # Lossless but for the colors, which H.264 halves.
    assert (found.mean(1) - expected.mean(1)).abs().mean() < 0.02
    assert found.shape == expected.shape


def test_only_the_chosen_part_of_a_video_is_dreamed(pack: Pack, video: Path, dream_video: Run) -> None:
    file = pack("nodes.video_file").InputImpl.VideoFromFile
    trimmed = file(str(video), start_time=0.2, duration=0.3)
    found = dream_video("DeepDreamVideoFile", video=trimmed, independent=True, quality=0)
    assert torch.equal(found, dream_video("DeepDreamVideoFile", independent=True, quality=0)[2:5])


def test_a_video_in_memory_is_dreamed_as_the_file_and_only_the_dream_stays(
    pack: Pack, video: Path, dream_video: Run, host: Any
) -> None:
    # Lossless, because x264 does not encode the same images to the same bytes every time.
    expected = dream_video("DeepDreamVideoFile", quality=0)
    before = set((host.folder / "temp").iterdir())
    in_memory = pack("nodes.video_file").InputImpl.VideoFromFile(BytesIO(video.read_bytes()))
    assert torch.equal(dream_video("DeepDreamVideoFile", video=in_memory, quality=0), expected)
    assert len(set((host.folder / "temp").iterdir()) - before) == 1


def test_cancel_while_the_clip_is_closed_keeps_what_is_done(
    pack: Pack, read: Run, dream_video: Run, host: Any
) -> None:
    """It comes in the second dream in reversed time, when three frames are done."""
    host.cancel_at = 4 + 2 + 2 + 2 + 1
    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        dream_video("DeepDreamVideoFile", **SEAMLESS)
    (path,) = (host.folder / "temp").glob("*.mp4")
    assert len(read(path)) == 3
    assert host.told == [
        f"stopped: the 3 frames that are done are in {path} until ComfyUI starts again",
    ]
