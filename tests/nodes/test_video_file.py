"""DeepDream Video File."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
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
    before = set(lasting(host))
    in_memory = pack("nodes.video_file").InputImpl.VideoFromFile(BytesIO(video.read_bytes()))
    assert torch.equal(dream_video("DeepDreamVideoFile", video=in_memory, quality=0), expected)
    (made,) = set(lasting(host)) - before
    assert made.suffix == ".mp4"
    assert list((host.folder / "temp").iterdir()) == []


def test_cancel_keeps_what_is_done_and_the_same_graph_goes_on(
    pack: Pack, read: Run, dream_video: Run, host: Any
) -> None:
    expected = dream_video("DeepDreamVideoFile", quality=0)
    (made,) = lasting(host)
    made.unlink()
    stop_after(host, 3)
    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        dream_video("DeepDreamVideoFile", quality=0)
    path = made.with_name(f"{made.stem}.part.mp4")
    assert len(read(path)) == 3
    assert host.told == [
        f"stopped: the 3 frames that are done are in {path}; the same graph, queued again, goes on after frame 3"
    ]
    host.interrupted, host.cancel_at = False, 0
    dream_video("DeepDreamVideoFile", quality=0, frames=1)  # another setting is another video
    assert len(host.told) == 1
    assert torch.equal(dream_video("DeepDreamVideoFile", quality=0), expected)
    assert host.told[1:] == ["goes on after frame 3, where it was stopped"]
    assert made in lasting(host)


def test_a_damaged_record_begins_anew(pack: Pack, dream_video: Run, host: Any) -> None:
    stop_after(host, 1)
    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        dream_video("DeepDreamVideoFile", frames=2)
    host.interrupted, host.cancel_at = False, 0
    (state,) = pack("nodes.adapters.host").lasting_folder().glob("*.resume/state.json")
    state.write_text("{", "utf-8")
    assert len(dream_video("DeepDreamVideoFile", frames=2)) == 2
    assert host.told[1:] == ["the record of the unfinished video was damaged: it begins anew"]


def test_a_finished_video_is_taken_up_until_its_file_is_gone(pack: Pack, host: Any, dream_video: Run) -> None:
    node = pack("nodes.video_file").DeepDreamVideoFile
    clone = type(node.__name__, (node,), {"hidden": SimpleNamespace(unique_id=None)})
    before = clone.fingerprint_inputs(look="custom")
    expected = dream_video("DeepDreamVideoFile", frames=1)
    steps = len(host.progress)
    assert torch.equal(dream_video("DeepDreamVideoFile", frames=1), expected)
    assert len(host.progress) == steps
    assert clone.fingerprint_inputs(look="custom") == before
    (made,) = lasting(host)
    made.unlink()
    assert clone.fingerprint_inputs(look="custom") != before
    assert torch.equal(dream_video("DeepDreamVideoFile", frames=1), expected)
    assert len(host.progress) == 2 * steps
    after = clone.fingerprint_inputs(look="custom")
    assert after == clone.fingerprint_inputs(look="custom") != before


def lasting(host: Any) -> list[Path]:
    return sorted((host.folder / "output" / ".deepdream").iterdir())


def stop_after(host: Any, frames: int) -> None:
    """Press Cancel in the frame after so many: the first has four steps, the others two."""
    host.cancel_at = len(host.progress) + 4 + 2 * (frames - 1) + 1
