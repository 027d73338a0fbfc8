"""Sample Clip: the package's clip on two sockets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch


def test_it_gives_the_file_and_its_frames(
    pack: Callable[[str], ModuleType], run: Callable[..., Any], read: Callable[[Path], torch.Tensor]
) -> None:
    video, images = run(pack("nodes.sample").SampleClip)
    path = Path(video.get_stream_source())
    assert path == pack("dream_core.video").SAMPLE_CLIP
    assert images.shape == (75, 360, 640, 3)
    assert torch.equal(images.movedim(-1, 1), read(path))
