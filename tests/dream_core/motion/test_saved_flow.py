"""Saved flow beside the frames of a clip: which file belongs to which frame, and what does not fit."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dream_core.errors import VideoError
from dream_core.motion.flow_file import write_flow
from dream_core.motion.flow_folder import FlowFolder
from dream_core.motion.saved_flow import SavedFlow, add_saved_flow
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import open_clip, open_output
from dream_core.video.clip import FrameFlow

SIZE = (24, 32)
COUNT = 8


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.mp4"
    with open_output(path, size=SIZE, fps=Fraction(10), settings=OutputSettings(quality=0)) as output:
        for _ in range(COUNT):
            output.write(torch.rand(3, *SIZE))
    return path


def numbered(value: float, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.full((2, *size), float(value))


def own(path: Path, numbers: range, *, both: bool = True) -> Path:
    """Write flow whose vectors have the number of their frame."""
    folder = FlowFolder(path, ".flo")
    for index, number in enumerate(numbers):
        folder.save(index, numbered(number), forward=numbered(-number) if both else None)
    return path


def foreign(path: Path, count: int, size: tuple[int, int] = SIZE) -> Path:
    path.mkdir()
    for index in range(count):
        write_flow(path / f"{index}.flo", numbered(index + 1, size))
    return path


def read(source: Path, flow: Path, *, skip: int = 0, **options: object) -> list[FrameFlow | None]:
    settings = InputSettings(**{"size": 0, "saved_flow": flow, **options})
    with open_clip(source, settings=settings) as clip:
        add_saved_flow(clip, source, settings)
        clip.skip(skip)
        return [frame.flow for frame in clip]


def values(flows: list[FrameFlow | None]) -> list[float | None]:
    return [None if flow is None else float(flow.backward.median()) for flow in flows]


def test_flow_of_the_whole_input_is_for_any_part_of_it(source: Path, tmp_path: Path) -> None:
    flow = own(tmp_path / "flow", range(COUNT))
    whole = read(source, flow)
    assert values(whole) == [None, 1, 2, 3, 4, 5, 6, 7]
    assert whole[3] is not None
    assert whole[3].forward is not None
    assert whole[3].forward.eq(-3).all()
    assert values(read(source, flow, start=0.3)) == [3, 4, 5, 6, 7]
    assert values(read(source, flow, start=0.3, frames=2)) == [3, 4]
    assert values(read(source, flow, start=0.3, skip=3)) == [6, 7]


def test_flow_of_a_part_is_for_that_part(source: Path, tmp_path: Path) -> None:
    flow = own(tmp_path / "flow", range(3, 6), both=False)
    part = read(source, flow, start=0.3, frames=3)
    assert values(part) == [None, 4, 5]
    assert part[1] is not None
    assert part[1].forward is None


@pytest.mark.parametrize("count", [COUNT - 1, COUNT])
def test_vectors_of_another_program_lead_to_the_next_frame_unless_told(
    source: Path, tmp_path: Path, count: int
) -> None:
    flow = foreign(tmp_path / "flow", count)
    to_next = read(source, flow)
    assert values(to_next) == [None, -1, -2, -3, -4, -5, -6, -7]
    assert to_next[2] is not None
    assert to_next[2].forward is not None
    assert to_next[2].forward.eq(2).all()
    assert to_next[2].reliability is not None
    assert not to_next[2].reliability[..., 0, :].any()  # came into view
    first = 1 + (count == COUNT)  # one for each frame: the first one's leads nowhere
    assert values(read(source, flow, points_to="previous")) == [None, *range(first, first + COUNT - 1)]
    assert values(read(source, flow, points_to="previous", start=0.3)) == [
        *range(first + 2, first + COUNT - 1)
    ]


@pytest.mark.parametrize("count", [COUNT - 1, COUNT])
def test_the_flow_of_a_frame_is_the_same_in_every_part(source: Path, tmp_path: Path, count: int) -> None:
    # A part that is one frame shorter has as many frames as another program wrote files for the whole.
    flow = foreign(tmp_path / "flow", count)
    for leads_to, sign in (("next", -1), ("previous", 1)):
        whole = values(read(source, flow, points_to=leads_to))
        assert whole[1] == sign * (2 if (count, leads_to) == (COUNT, "previous") else 1)
        for start in range(3):
            for frames in (1, 5, 6, 7):
                part = values(read(source, flow, points_to=leads_to, start=start / 10, frames=frames))
                assert part == whole[start : start + frames]


def test_a_wrong_count_of_a_container_shifts_nothing(source: Path, tmp_path: Path) -> None:
    settings = InputSettings(size=0, saved_flow=foreign(tmp_path / "flow", COUNT - 1), points_to="previous")
    with open_clip(source, settings=settings) as clip:
        clip.frame_count = COUNT - 1
        add_saved_flow(clip, source, settings)
        assert values([frame.flow for frame in clip]) == [None, *range(1, COUNT)]


def test_flow_is_scaled_to_the_clip_by_the_vectors_that_are_known(source: Path, tmp_path: Path) -> None:
    folder = FlowFolder(tmp_path / "flow", ".png")
    vectors, known = numbered(8, (48, 64)), torch.ones(1, 48, 64)
    vectors[:, :, :33], known[..., :33] = 0, 0
    for index in range(COUNT):
        folder.save(index, vectors, reliability=known)
    found = read(source, folder.path)[1]
    assert found is not None
    assert found.backward.shape == (1, 2, *SIZE)
    assert found.reliability is not None
    assert not found.reliability[..., :15].any()
    torch.testing.assert_close(found.backward[..., 16:], torch.full((1, 2, 24, 16), 4.0))


def test_flow_of_another_number_or_shape_is_refused_before_any_frame(source: Path, tmp_path: Path) -> None:
    few = own(tmp_path / "few", range(5))
    with pytest.raises(VideoError, match=r"of the 8 frames of \S+ or 2 of the part \S+ \S+ dreamed, got 5"):
        read(source, few, frames=2)
    with pytest.raises(VideoError, match=r"each of the 8 frames of \S+source.mp4, got 5 in"):
        read(source, few)
    tall = foreign(tmp_path / "tall", COUNT, (64, 32))
    with pytest.raises(VideoError, match=r"proportions of the clip, 32x24 pixels, got 32x64"):
        read(source, tall)


def test_more_frames_than_flow_are_told_where_the_count_was_wrong(tmp_path: Path) -> None:
    flow = SavedFlow(foreign(tmp_path / "flow", 2))
    with pytest.raises(VideoError, match="got 2 in"):
        flow.at(3, SIZE, frames=3)
