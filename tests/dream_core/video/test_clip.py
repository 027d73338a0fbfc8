from __future__ import annotations

import weakref
from fractions import Fraction

import pytest
import torch
from clips import NATIVE, levels

from dream_core.settings import InputSettings
from dream_core.video import open_clip


def test_frames_come_in_order_with_times_sizes_and_levels(make_clip):
    with open_clip(make_clip(count=12, fps=12), settings=NATIVE) as clip:
        assert (clip.size, clip.fps, clip.frame_count, clip.has_sound) == ((48, 64), 12, 12, False)
        frames = list(clip)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx([index / 12 for index in range(12)])
    assert [frame.duration for frame in frames] == pytest.approx([1 / 12] * 12)
    expected = [20 + 200 * index // 11 for index in range(12)]
    assert levels(frames) == pytest.approx(expected, abs=1.5)
    assert frames[0].image.shape == (3, 48, 64)
    assert frames[0].image.dtype == torch.float32


def test_frames_limits_the_clip(make_clip):
    with open_clip(make_clip(count=12, fps=12), settings=InputSettings(size=0, start=0.5, frames=3)) as clip:
        assert clip.frame_count == 3
        frames = list(clip)
    assert levels(frames) == pytest.approx([20 + 200 * index // 11 for index in (6, 7, 8)], abs=1.5)


def test_a_clip_ends_at_a_time_also_after_frames_that_are_skipped(make_clip):
    for skipped in (0, 4):
        with open_clip(make_clip(count=12, fps=12), settings=NATIVE) as clip:
            clip.end_at(0.5)
            clip.skip(skipped)
            assert clip.frame_count == 6
            assert [frame.index for frame in clip] == list(range(skipped, 6))


def test_frames_are_not_held(make_clip):
    alive = []
    with open_clip(make_clip(count=12), settings=NATIVE) as clip:
        for frame in clip:
            assert sum(reference() is not None for reference in alive) == 0
            alive.append(weakref.ref(frame.image))
            del frame
    assert len(alive) == 12


def test_a_closed_clip_yields_nothing(make_clip):
    clip = open_clip(make_clip(), settings=NATIVE)
    clip.close()
    clip.close()
    assert list(clip) == []


def test_times_are_read_without_images(make_clip):
    path = make_clip("clip.mkv", count=6, stamps=[0, 40, 100, 140, 200, 300], time_base=Fraction(1, 1000))
    with open_clip(path, settings=NATIVE) as clip:
        times = [frame.time for frame in clip]
    assert times == pytest.approx([0, 0.04, 0.1, 0.14, 0.2, 0.3])
    for options, count in ((InputSettings(size=0), 6), (InputSettings(size=0, frames=4), 4)):
        with open_clip(path, settings=options) as clip:
            assert list(clip.times()) == times[:count]
    with open_clip(path, settings=NATIVE) as clip:
        clip.end_at(0.15)
        assert list(clip.times()) == times[:4]


def test_a_part_of_a_clip_keeps_its_indices_and_times(make_clip):
    for skipped in (0, 2):
        with open_clip(make_clip(count=12, fps=12), settings=NATIVE) as clip:
            clip.only(4, 9)
            clip.skip(skipped)
            assert clip.frame_count == 5
            frames = list(clip)
        assert [frame.index for frame in frames] == list(range(4 + skipped, 9))
        assert [frame.time for frame in frames] == pytest.approx([frame.index / 12 for frame in frames])
        assert [frame.duration for frame in frames] == pytest.approx([1 / 12] * len(frames))


def test_frames_that_are_picked_keep_their_own_indices_and_times(make_clip):
    path = make_clip(count=10, fps=10)
    with open_clip(path, settings=NATIVE) as clip:
        clip.pick({2, 3, 8})
        frames = list(clip)
    assert [frame.index for frame in frames] == [2, 3, 8]
    with open_clip(path, settings=NATIVE) as clip:
        whole = list(clip)
    assert all(torch.equal(frame.image, whole[frame.index].image) for frame in frames)
    assert [frame.time for frame in frames] == [whole[index].time for index in (2, 3, 8)]


def test_what_is_given_by_index_is_not_asked_for_frames_that_are_skipped(make_clip):
    asked = []
    with open_clip(make_clip(count=6), settings=NATIVE) as clip:
        clip.give({"mask": lambda index: asked.append(index) or index})
        clip.skip(3)
        assert [frame.mask for frame in clip] == asked == [3, 4, 5]
