"""Comparison of clips: places, differences, the wipe, labels, and clips that do not fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from dream_core.errors import ImageError, SettingsError, VideoError
from dream_core.measure.compare import GAP, Comparison, compared, require_comparable
from dream_core.settings import CompareSettings
from dream_core.video import Clip

SIZE = (48, 64)
BARE = CompareSettings(show_labels=False)


def gray(level: float) -> Tensor:
    return torch.full((1, 3, *SIZE), float(level))


def clip(
    count: int,
    level: float = 0.5,
    *,
    size: tuple[int, int] = SIZE,
    told: int | None = -1,
    counted: bool = True,
) -> Clip:
    def frames() -> Iterator[tuple[Tensor, Fraction]]:
        for index in range(count):
            yield torch.full((3, *size), level), Fraction(index, 10)

    return Clip(
        frames(),
        load=lambda image: image,
        size=size,
        fps=Fraction(10),
        time_base=Fraction(1, 10),
        frame_count=count if told == -1 else told,
        count=lambda: count if counted else None,
        limit=None,
        sound=None,
    )


@pytest.mark.parametrize(("count", "rows", "columns"), [(2, 1, 2), (3, 1, 3), (4, 2, 2)])
def test_each_clip_has_its_place(count: int, rows: int, columns: int) -> None:
    comparison = Comparison("ABCD"[:count], SIZE, BARE)
    levels = [0.2 * (index + 1) for index in range(count)]
    picture = comparison([gray(level) for level in levels], time=0)
    assert picture.shape == (1, 3, rows * 48 + (rows - 1) * GAP, columns * 64 + (columns - 1) * GAP)
    assert picture.shape[-2:] == comparison.size
    for index, level in enumerate(levels):
        top, left = index // columns * (48 + GAP), index % columns * (64 + GAP)
        assert torch.equal(picture[..., top : top + 48, left : left + 64], gray(level))


def test_differences_are_amplified_and_equal_clips_are_black() -> None:
    settings = CompareSettings(layout="difference", amplify=3, show_labels=False)
    picture = Comparison("ABC", SIZE, settings)([gray(0.5), gray(0.4), gray(0.5)], time=0)
    panels = [picture[..., left : left + 64] for left in (0, 64 + GAP, 2 * (64 + GAP))]
    for panel, level in zip(panels, (0.5, 0.3, 0), strict=True):
        torch.testing.assert_close(panel, gray(level))


def test_the_wipe_uncovers_each_clip_from_the_left() -> None:
    comparison = Comparison("ABC", SIZE, CompareSettings(layout="wipe", wipe_seconds=2, show_labels=False))
    assert comparison.size == SIZE
    frames = [gray(0.2), gray(0.4), gray(0.6)]
    seen = {time: comparison(frames, time=time)[0, 0, 5] for time in (0, 0.5, 1.0, 2.5, 5.0)}
    for time, (left, right) in {0.5: (0.4, 0.2), 1.0: (0.4, 0.2), 2.5: (0.6, 0.4), 5.0: (0.2, 0.6)}.items():
        border = round(time / 2 % 1 * 64)
        assert seen[time][border] == 1  # the line
        assert seen[time][border - 3] == pytest.approx(left)
        assert seen[time][border + 3] == pytest.approx(right)
    assert seen[0][3:].eq(seen[0][3]).all()


def test_labels_are_read_in_their_corner_and_shortened_where_too_long() -> None:
    bare = Comparison("AB", SIZE, BARE)([gray(0.5), gray(0.5)], time=0)
    named = Comparison(["one", "a very long name of a clip"], SIZE, CompareSettings())(
        [gray(0.5)] * 2, time=0
    )
    changed = (named != bare)[0].any(0)
    assert changed[:17, 64 + GAP :].any(1).all()
    assert not changed[20:].any()
    assert changed[:17, :30].any()
    assert not changed[:, 40:64].any()  # the short name ends before
    assert named.max() > 0.95  # white on dark
    other = Comparison("AB", SIZE, CompareSettings(labels=("one", "a very long name of a clip")))
    assert torch.equal(other([gray(0.5)] * 2, time=0), named)


def test_a_label_of_the_wipe_comes_and_goes_with_its_clip() -> None:
    large = (120, 320)
    frames = [torch.full((3, *large), level) for level in (0.3, 0.6)]
    comparison = Comparison(["left", "right"], large, CompareSettings(layout="wipe"))
    bare = Comparison("AB", large, CompareSettings(layout="wipe", show_labels=False))
    for time, left, right in ((0.0, False, True), (1.0, True, True), (1.98, True, False)):
        changed = (comparison(frames, time=time) != bare(frames, time=time))[0].any(0).any(0)
        assert (bool(changed[:10].any()), bool(changed[-10:].any())) == (left, right)


def test_pictures_come_with_the_times_of_a_clip_and_all_at_one_size() -> None:
    clips = {"A": clip(3), "B": clip(3, size=(96, 128))}
    require_comparable(clips)
    comparison = Comparison(list(clips), SIZE, BARE)
    found = list(compared(clips, comparison, size=SIZE, timed="B"))
    assert [frame.time for frame, _ in found] == [0, 0.1, 0.2]
    assert found[0][0].image.shape == (3, 96, 128)
    assert found[0][1].shape == (1, 3, *comparison.size)


def test_clips_of_unequal_length_are_refused_before_any_frame() -> None:
    with pytest.raises(
        VideoError, match="got B with 3 frames and A with 5: compare the first 3 by `frames` 3"
    ):
        require_comparable({"A": clip(5), "B": clip(3)})
    require_comparable({"A": clip(3), "B": clip(3, told=9)})  # what a file says may be wrong
    require_comparable({"A": clip(3), "B": clip(3, told=9, counted=False)})
    clips = {"A": clip(3, told=None), "B": clip(2, told=None)}
    require_comparable(clips)  # their files do not say
    stream = compared(clips, Comparison("AB", SIZE, BARE), size=SIZE)
    with pytest.raises(VideoError, match="got B with 2 frames and A with 3"):
        list(stream)


def test_other_proportions_are_refused() -> None:
    with pytest.raises(VideoError, match="A with 64x48 and B with 48x64 pixels: crop"):
        require_comparable({"A": clip(2), "B": clip(2, size=(64, 48))})


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SettingsError, match="two to four clips to compare, got 1"):
        Comparison("A", SIZE, BARE)
    with pytest.raises(SettingsError, match="a label for each of the 2 clips in `labels`, got 3"):
        Comparison("AB", SIZE, CompareSettings(labels=("a", "b", "c")))
    with pytest.raises(ImageError, match="frame"):
        Comparison("AB", SIZE, BARE)([gray(0), torch.zeros(1, 3, 5, 5)], time=0)
