"""Parts of an output that are made apart and joined."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from dream_core.errors import VideoError
from dream_core.settings import InputSettings, OutputSettings
from dream_core.unfinished import Unfinished
from dream_core.video import Output, open_clip, open_output
from dream_core.video.encoder import SEGMENT
from dream_core.video.joining import images_done, is_whole, join_parts, remove_parts

SIZE = (16, 32)
FPS = Fraction(25)
COUNT = SEGMENT + 12
FRAMES = torch.rand(COUNT, 3, *SIZE, generator=torch.Generator().manual_seed(0))
EXACT = OutputSettings(quality=0, pixel_format="yuv444p")
FFV1 = OutputSettings(codec="ffv1", pixel_format="yuv444p")


def opened(path: Path, settings: OutputSettings, work: Unfinished | None = None) -> Output:
    return open_output(path, size=SIZE, fps=FPS, settings=settings, work=work, frame_count=COUNT, top_fps=FPS)


def write(output: Output, first: int, end: int) -> None:
    for index in range(first, end):
        output.write(FRAMES[index], time=index / 25, duration=1 / 25)


def part(path: Path, settings: OutputSettings, first: int, end: int) -> Unfinished:
    path.parent.mkdir(exist_ok=True)
    work = Unfinished(path, conditions={})
    output = opened(path, settings, work)
    write(output, first, end)
    output.leave_as_part()
    return work


def contents(path: Path) -> list[tuple[float, float, bytes]]:
    with open_clip(path, settings=InputSettings(size=0)) as clip:
        return [(frame.time, frame.duration, frame.image.numpy().tobytes()) for frame in clip]


@pytest.mark.filterwarnings("ignore:`")
@pytest.mark.parametrize(
    ("name", "settings", "divided"),
    [
        ("out.mp4", EXACT, (0, 5, SEGMENT + 5, COUNT)),
        ("out.mkv", FFV1, (0, SEGMENT, COUNT)),
        ("out.avi", FFV1, (0, 7, 8, COUNT)),
        ("out", EXACT, (0, 5, COUNT)),
        ("out.gif", EXACT, (0, COUNT)),
    ],
)
def test_joined_parts_are_the_output_that_is_written_at_once(
    tmp_path: Path, name: str, settings: OutputSettings, divided: tuple[int, ...]
) -> None:
    target, folder = tmp_path / name, tmp_path / "parts"
    suffix = Path(name).suffix
    ranges = list(pairwise(divided))
    parts = [part(folder / f"{first}{suffix}", settings, first, end) for first, end in reversed(ranges)][::-1]
    assert all(map(is_whole, parts))
    assert [images_done(one) for one in parts] == [end - first for first, end in ranges]
    work = Unfinished(target, conditions={})
    join_parts(parts, work)
    with opened(target, settings, work) as output:
        assert output.restored == COUNT
    remove_parts(parts)
    assert not any(folder.iterdir())
    with opened(tmp_path / f"whole{suffix}", settings) as whole:
        write(whole, 0, COUNT)
    assert contents(target) == contents(whole.path)


def test_a_join_that_was_interrupted_begins_again(tmp_path: Path) -> None:
    """What an earlier run, or an earlier join, left of the output is replaced, and no file stays."""
    target = tmp_path / "out.mkv"
    begun = Unfinished(target, conditions={"octaves": 3})
    before = opened(target, FFV1, begun)
    write(before, 0, 3)
    before.save({})
    before.stop()
    parts = [part(tmp_path / "parts" / "0.mkv", FFV1, 0, 5), part(tmp_path / "parts" / "5.mkv", FFV1, 5, 9)]
    work = Unfinished(target, conditions={})
    for _ in range(2):
        join_parts(parts, work)
    with opened(target, FFV1, work):
        pass
    remove_parts(parts)
    assert len(contents(target)) == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mkv", "parts"]


def test_a_part_is_whole_only_once_it_was_left(tmp_path: Path) -> None:
    work = Unfinished(tmp_path / "0.mkv", conditions={})
    assert not is_whole(work)
    assert images_done(work) == 0
    output = opened(tmp_path / "0.mkv", FFV1, work)
    write(output, 0, 3)
    output.save({})
    output.stop()
    assert images_done(work) == 3
    assert not is_whole(work)


def test_an_output_that_another_run_makes_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "out.mkv"
    one = part(tmp_path / "parts" / "0.mkv", FFV1, 0, 5)
    running = opened(target, FFV1, Unfinished(target, conditions={}))
    with pytest.raises(VideoError, match="another run is making"):
        join_parts([one], Unfinished(target, conditions={}))
    running.discard()


def test_a_part_with_a_damaged_record_is_told(tmp_path: Path) -> None:
    one = part(tmp_path / "parts" / "0.mkv", FFV1, 0, 5)
    packets = one.file("packets")
    packets.write_bytes(packets.read_bytes()[:-1])
    with pytest.raises(VideoError, match="cannot be joined"):
        join_parts([one], Unfinished(tmp_path / "out.mkv", conditions={}))
