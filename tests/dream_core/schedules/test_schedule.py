"""Values along a clip: between keyframes, with easings, by frames and by seconds."""

from __future__ import annotations

import pytest

from dream_core.errors import SettingsError
from dream_core.schedules.schedule import Keyframes, Schedule, parse_keyframes, parse_schedule, sampled


def values(text: str, *frames: int) -> list[float]:
    schedule = parse_schedule(text)
    return [round(schedule.at(frame, frame / 10), 6) for frame in frames]


def test_it_goes_straight_between_keyframes_and_holds_the_ends() -> None:
    assert values("10: 1, 20: 3, 40: 2", 0, 10, 15, 20, 30, 40, 99) == [1, 1, 2, 3, 2.5, 2, 2]


def test_the_easing_of_a_keyframe_shapes_the_way_to_the_next() -> None:
    assert values("0: 0 ease, 10: 1, 20: 0", 1, 5, 9, 15) == [0.028, 0.5, 0.972, 0.5]
    assert values("0: 0 ease-in, 10: 1", 5) == [0.25]
    assert values("0: 0 ease-out, 10: 1", 5) == [0.75]
    assert values("0: 0 hold, 10: 1 hold, 20: 2", 9, 10, 19, 20) == [0, 1, 1, 2]


def test_seconds_are_those_of_the_frame_whatever_its_index() -> None:
    schedule = parse_schedule("0: 1, 2.5s: 2")
    assert [schedule.at(frame, seconds) for frame, seconds in ((0, 0.0), (7, 1.25), (9, 2.5))] == [1, 1.5, 2]


def test_signs_exponents_lines_and_deforum_s_parentheses_are_read() -> None:
    assert parse_schedule("0:(-1.5)\n30: 1e-2; 60:+2").values == (-1.5, 0.01, 2)


def test_a_constant_schedule_gives_its_value_exactly() -> None:
    schedule = parse_schedule("0: 0.1 ease, 7: 0.1")
    assert schedule.constant
    assert not parse_schedule("0: 0.1, 7: 0.2").constant
    assert [schedule.at(frame, 0.0) for frame in range(9)] == [0.1] * 9


def test_its_ends_are_those_of_its_values() -> None:
    schedule = parse_schedule("0: 2 ease, 5: -1, 9: 7")
    assert (schedule.lowest, schedule.highest) == (-1, 7)


def test_samples_are_joined_by_straight_lines_in_time() -> None:
    schedule = sampled([0.0, 0.5, 2.0], [0, 1, 4])
    assert [schedule.at(0, seconds) for seconds in (-1, 0.25, 0.5, 1.0, 9)] == [0, 0.5, 1, 2, 4]


def test_keyframes_of_texts_tell_what_is_around_a_moment() -> None:
    layers: Keyframes[str] = parse_keyframes("0: one, 10: two:0.5 hold")
    assert layers.around(5, 0.5) == ("one", "two:0.5", 0.5)
    assert layers.around(10, 1.0) == ("two:0.5", "two:0.5", 0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "at least one keyframe"),
        ("0.9", "a keyframe such as"),
        ("ten: 0.9", "a keyframe such as"),
        ("-3: 0.9", "a keyframe such as"),
        ("0:", "a keyframe such as"),
        ("0: high", "a number"),
        ("0: nan", "a number"),
        ("0: 1 slow", "a number, with one of linear, ease"),
        ("2.5: 1", "add s for seconds"),
        ("0: 1, 30: 2, 1s: 3", "got both"),
        ("30: 1, 10: 2", "in order"),
        ("30: 1, 30: 2", "in order"),
        ("0: 1, 30: 3 ease", "put it at the one before"),
    ],
)
def test_what_is_no_schedule_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        parse_schedule(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("times", "samples"), [([], []), ([0.0], [1, 2]), ([0.0, 0.0], [1, 2]), ([0.0], [float("nan")])]
)
def test_samples_that_make_no_schedule_are_refused(times: list[float], samples: list[float]) -> None:
    with pytest.raises(SettingsError):
        sampled(times, samples)


def test_schedules_can_be_compared_and_hashed() -> None:
    one, other = parse_schedule("0: 1, 5: 2"), parse_schedule("0:1,5:2.0")
    assert one == other
    assert isinstance(one, Schedule)
    assert len({one, other}) == 1


@pytest.mark.parametrize(
    ("text", "fps", "length"),
    [("0: 1", 25, 1), ("0: 1, 9: 2", 25, 10), ("0: 1, 0.1s: 2", 30, 4), ("0: 1, 2.5s: 2", 25, 64)],
)
def test_a_schedule_is_as_long_as_up_to_its_last_keyframe(text: str, fps: float, length: int) -> None:
    assert parse_schedule(text).length(fps) == length
