"""Compare Videos: batches into a batch, videos into a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

BARE = {"layout": {"layout": "side_by_side"}, "labels": "", "show_labels": False}


@pytest.fixture
def node(pack: Any) -> Any:
    return pack("nodes.compare").CompareVideos


def test_batches_become_a_batch(run: Any, node: Any, clip: Any) -> None:
    frames = clip(3)
    clips = {"clip_0": frames, "clip_1": 1 - frames}
    (found,) = run(node, clips=clips, **BARE)
    assert found.shape == (3, 48, 2 * 64 + 4, 3)
    assert torch.equal(found[:, :, :64], frames)
    assert torch.equal(found[:, :, 68:], 1 - frames)
    labeled = {**BARE, "labels": '"the dream" plain', "show_labels": True}
    (named,) = run(node, clips=clips, **labeled)
    assert not torch.equal(named[:, :20], found[:, :20])
    assert torch.equal(named[:, 20:], found[:, 20:])


def test_with_a_video_it_is_a_video_with_its_times(
    run: Any, node: Any, pack: Any, read: Any, video: Path, swinging: Tensor, host: Any
) -> None:
    made = pack("nodes.adapters.videos").InputImpl.VideoFromFile(str(video))
    images = swinging.movedim(1, -1)
    for clips in ({"clip_0": made, "clip_1": images}, {"clip_0": images, "clip_1": made}):
        (found,) = run(node, hidden={"unique_id": "1"}, clips=clips, **BARE)
        path = Path(found.get_stream_source())
        assert path.is_relative_to(host.folder / "temp")
        frames = read(path)
        assert frames.shape == (6, 3, 64, 2 * 80 + 4)
        assert (frames[..., :80] - swinging).abs().mean() < 0.03
        with pack("dream_core.video").open_clip(
            path, settings=pack("dream_core.settings").InputSettings(size=0)
        ) as clip:
            assert clip.fps == 10
    assert host.progress[-1][:2] == (6, 6)


def test_what_does_not_fit_is_refused(run: Any, node: Any, clip: Any, errors: Any) -> None:
    with pytest.raises(errors.ImageError, match="two to 4 clips to compare, got 1"):
        run(node, clips={"clip_0": clip(2)}, **BARE)
    with pytest.raises(errors.VideoError, match="got B with 2 frames and A with 3"):
        run(node, clips={"clip_0": clip(3), "clip_1": clip(2)}, **BARE)
    with pytest.raises(errors.SettingsError, match="in labels, got 3"):
        run(node, clips={"clip_0": clip(2), "clip_1": clip(2)}, **{**BARE, "labels": "a b c"})
