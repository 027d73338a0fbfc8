"""Division of clips into segments."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dream_core.cluster.plan import (
    BESIDE_A_CUT,
    NEAR,
    Segment,
    around,
    cut_test,
    divide,
    find_candidates,
    find_cuts,
    near_equal_parts,
    split,
)
from dream_core.motion.finder import MotionFinder
from dream_core.motion.flow import FlowEstimator, dis_flow
from dream_core.settings import ReliabilitySettings
from dream_core.synthetic import Scene, synthetic_clip

CPU = torch.device("cpu")


def shots(*lengths: int) -> list[Tensor]:
    """Shots of one color each, far from that of the one before."""
    return [
        torch.full((1, 3, 8, 8), float(index % 2))
        for index, length in enumerate(lengths)
        for _ in range(length)
    ]


def changes(frame: Tensor, previous: Tensor) -> bool:
    return not torch.equal(frame, previous)


def found(frames: list[Tensor], is_cut: Callable[[Tensor, Tensor], bool]) -> list[int]:
    """Cuts of frames, of which only those around candidates are looked at in full."""
    candidates = find_candidates(enumerate(frames))
    wanted = {index for candidate in candidates for index in around(candidate)}
    picked = [(index, frame) for index, frame in enumerate(frames) if index in wanted]
    return find_cuts(picked, candidates, is_cut)


def test_cuts_are_found_but_for_those_near_another_or_an_end():
    assert found(shots(9, 8, 9), changes) == [9, 17]
    near = BESIDE_A_CUT
    assert found(shots(9, near, 9, 9), changes) == [9 + near + 9]
    assert found(shots(9, near + 1, 9), changes) == [9, 9 + near + 1]
    assert found(shots(near, 9, near), changes) == []
    assert found(shots(near + 1, 9, near + 1), changes) == [near + 1, near + 10]


def test_only_frames_in_a_row_are_compared():
    frames = list(enumerate(shots(9, 9)))
    assert find_candidates(frames) == [9]
    assert find_candidates(frames[:8] + frames[10:]) == []


def test_a_long_clip_is_looked_at_near_the_ends_of_equal_parts_alone():
    assert len(near_equal_parts(90_000, wanted=8)) == 7 * 2 * NEAR
    assert {45_000 - NEAR, 45_000, 45_000 + NEAR - 1} <= near_equal_parts(90_000, wanted=2)
    assert set(range(1500)) - near_equal_parts(1500, wanted=8) == set()
    assert near_equal_parts(1500, wanted=1) == set()


def test_a_flash_is_no_place_to_divide_at():
    flash = [*shots(9), *(1 - frame for frame in shots(2)), *shots(9)]
    assert found(flash, changes) == []


def test_the_dreamer_is_asked_only_where_colors_change():
    asked = []

    def ask(frame: Tensor, previous: Tensor) -> bool:
        asked.append((frame, previous))
        return changes(frame, previous)

    assert found(shots(40, 40), ask) == [40]
    assert len(asked) == 2 * BESIDE_A_CUT + 1


def test_what_the_dreamer_does_not_take_for_a_cut_is_none():
    assert found(shots(9, 9), lambda *_: False) == []


def test_the_test_of_a_real_clip_finds_its_cut_and_no_other():
    slow = Scene(shapes=2, speed=1)
    scenes = [synthetic_clip(frames=7, height=48, width=64, seed=seed, scene=slow).frames for seed in (1, 2)]
    frames = list(torch.cat(scenes).split(1))
    test = cut_test(MotionFinder(FlowEstimator(dis_flow, CPU, 16, 1), ReliabilitySettings(), True))
    cuts = [index for index in range(1, 14) if test(frames[index], frames[index - 1])]
    assert cuts == [7]


def test_a_clip_is_divided_at_the_cuts_nearest_to_equal_parts():
    assert divide([], 30, wanted=3, shortest=10) == [Segment(0, 30)]
    assert divide([12, 18, 25], 30, wanted=1, shortest=10) == [Segment(0, 30)]
    assert divide([12, 18, 25], 30, wanted=2, shortest=5) == [Segment(0, 12), Segment(12, 30)]
    assert divide([12, 18, 25], 40, wanted=3, shortest=5) == [
        Segment(0, 12),
        Segment(12, 25),
        Segment(25, 40),
    ]
    assert divide([12, 14, 25], 40, wanted=9, shortest=10) == [
        Segment(0, 12),
        Segment(12, 25),
        Segment(25, 40),
    ]
    assert divide([20], 22, wanted=2, shortest=10) == [Segment(0, 22)]
    assert len(divide(range(90, 90_000, 90), 90_000, wanted=8, shortest=100)) == 8
    assert Segment(12, 30).frame_count == 18


def test_the_longest_shots_are_split_until_there_is_work_for_all():
    shots = [Segment(0, 20), Segment(20, 60)]
    assert split(shots) == shots
    assert split(shots, wanted=3) == [
        Segment(0, 20),
        Segment(20, 40, leads_on=True),
        Segment(40, 60, continues=True),
    ]
    assert [one.first for one in split(shots, wanted=5)] == [0, 10, 20, 33, 46]
    assert split(shots, wanted=5, shortest=15) == split(shots, wanted=3)
    assert split(shots, wanted=5, shortest=50) == shots
    # The longest cannot be split in three, but the other one in two.
    assert [one.first for one in split([Segment(0, 58), Segment(58, 98)], wanted=9, shortest=20)] == [
        0,
        29,
        58,
        78,
    ]


def test_a_number_splits_into_equal_parts_that_are_no_longer():
    assert [part.frame_count for part in split([Segment(0, 10), Segment(10, 35)], longest=10)] == [
        10,
        8,
        8,
        9,
    ]
