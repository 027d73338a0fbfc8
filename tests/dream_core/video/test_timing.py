from __future__ import annotations

from fractions import Fraction

import pytest

from dream_core.video.timing import Timing


def moments(timing: Timing, times: list[float], end: float) -> list[int]:
    """The image on the screen at each step."""
    shown: dict[int, int] = {}
    for index, (time, following) in enumerate(zip(times, [*times[1:], end], strict=True)):
        for stamp, steps in timing.stamps(time=time, duration=following - time):
            shown |= dict.fromkeys(range(stamp, stamp + steps), index)
    return [shown[step] for step in sorted(shown)]


def test_a_constant_rate_shows_every_moment_where_it_is():
    timing = Timing(Fraction(1, 10), constant=True)
    assert moments(timing, [0, 0.1, 0.2, 0.7, 0.8], 1.2) == [0, 1, 2, 2, 2, 2, 2, 3, 4, 4, 4, 4]
    assert (timing.repeated, timing.dropped) == (7, 0)


def test_a_constant_rate_drops_what_comes_too_quickly():
    timing = Timing(Fraction(1, 10), constant=True)
    shown = moments(timing, [index / 40 for index in range(80)], 2)
    assert len(shown) == 20
    assert all(abs(image / 40 - step / 10) <= 0.1 for step, image in enumerate(shown))
    assert timing.dropped == 60


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(1, 3)])
def test_the_rate_itself_neither_repeats_nor_drops(rate):
    timing = Timing(1 / rate, constant=True)
    times = [
        float(index / rate) + jitter
        for index, jitter in zip(range(1000), [0.0004, -0.0004] * 500, strict=True)
    ]
    assert moments(timing, times, float(1000 / rate)) == list(range(1000))
    assert (timing.repeated, timing.dropped) == (0, 0)


def test_a_single_image_is_always_written():
    assert Timing(Fraction(1), constant=True).stamps(time=0, duration=0.01) == [(0, 1)]


def test_times_of_a_fine_unit_are_kept_and_equal_ones_moved_apart():
    timing = Timing(Fraction(1, 1000))
    found = [timing.stamps(time=time, duration=0.25) for time in (0, 0.0404, 0.0404, 1)]
    assert found == [[(0, 250)], [(40, 250)], [(41, 250)], [(1000, 250)]]
    assert timing.dropped == 0


def test_a_shortest_step_drops_images_instead_of_slowing_the_rest():
    timing = Timing(Fraction(1, 100), shortest=2)
    found = [timing.stamps(time=index / 100, duration=0.01) for index in range(6)]
    assert [stamps[0][0] for stamps in found if stamps] == [0, 2, 4]
    assert timing.dropped == 3


def test_a_part_that_begins_later_repeats_nothing():
    whole, part = (Timing(Fraction(1, 10), constant=True) for _ in range(2))
    stamps = [whole.stamps(time=index / 10, duration=0.1) for index in range(9)]
    assert [part.stamps(time=index / 10, duration=0.1) for index in range(5, 9)] == stamps[5:]
    assert part.repeated == 0
