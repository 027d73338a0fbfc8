"""The simulation of a cluster."""

from __future__ import annotations

import pytest
from cluster import OVERLAP, Costs, dreamed_frames, makespan, segments_of_clips

from dream_core.cluster.plan import NEAR, Segment

COSTS = Costs(frame=1, scan=0.5, decode=0.1, start=2, join=3)
HALVES = [Segment(0, 10), Segment(10, 20)]


def test_a_worker_does_all_in_turn_and_two_share_the_segments():
    alone = (2 + 10) + (2 + 10) + (2 + 1 + 10)
    assert makespan([HALVES], 1, COSTS, wanted=2) == pytest.approx(alone + 3)
    assert makespan([HALVES], 2, COSTS, wanted=2) == pytest.approx(12 + 13 + 3)
    assert makespan([HALVES], 9, COSTS, wanted=2) == makespan([HALVES], 2, COSTS, wanted=2)


def test_seams_within_shots_cost_a_run_up_twice_and_a_fade():
    (plan,) = segments_of_clips(1, 300, shot=0, shortest=100, wanted=3)
    assert [one.frame_count for one in plan] == [100, 100, 100]
    assert sum(map(dreamed_frames, plan)) == 300 + 2 * (3 * OVERLAP + 1)
    assert makespan([plan], 1, COSTS) == pytest.approx(
        (2 + 0.1 * 300) + 3 * 2 + 0.1 * (100 + 200) + sum(map(dreamed_frames, plan)) + 3
    )


def test_joins_come_one_after_the_other():
    whole = [Segment(0, 10)]
    assert makespan([whole] * 4, 4, COSTS) == pytest.approx((2 + 1) + (2 + 10) + 4 * 3)


def test_only_what_is_near_the_ends_of_equal_parts_is_scanned():
    long = [Segment(0, 5 * NEAR), Segment(5 * NEAR, 10 * NEAR)]
    scanned, decoded = 2 * NEAR, 8 * NEAR
    took = makespan([long], 2, COSTS, wanted=2)
    assert took == pytest.approx(2 + 0.5 * scanned + 0.1 * decoded + (2 + 5 * NEAR + 0.1 * 5 * NEAR) + 3)


def test_clips_are_divided_whole_and_the_same_again():
    plans = segments_of_clips(5, 300, shot=60, shortest=50, wanted=3)
    assert plans == segments_of_clips(5, 300, shot=60, shortest=50, wanted=3)
    assert all(plan[0].first == 0 and plan[-1].end == 300 for plan in plans)
    assert sum(map(len, plans)) > 5
    assert segments_of_clips(1, 300, shot=0, shortest=50) == [[Segment(0, 300)]]
