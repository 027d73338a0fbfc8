"""Texts that fade into each other."""

from __future__ import annotations

import pytest

from dream_core.errors import SettingsError
from dream_core.models.image_text import ImageTextEncoder
from dream_core.schedules.text_schedule import parse_text_schedule
from dream_core.text_weights import text_entries


def test_texts_fade_into_each_other() -> None:
    schedule = parse_text_schedule("0: a forest, 10: a sea of fire")
    assert schedule.at(0, 0.0) == ("a forest",)
    assert schedule.at(4, 0.0) == ("a forest:0.6", "a sea of fire:0.4")
    assert schedule.at(10, 0.0) == schedule.at(99, 0.0) == ("a sea of fire",)


def test_quotes_hold_commas_and_several_texts() -> None:
    schedule = parse_text_schedule('0: "a tall, dark forest" "fog:0.5", 2s: a sea hold')
    assert schedule.unit == "seconds"
    assert schedule.values == (("a tall, dark forest", "fog:0.5"), ("a sea",))
    assert schedule.at(0, 1.0) == ("a tall, dark forest:0.5", "fog:0.25", "a sea:0.5")


def test_a_text_that_crosses_zero_pulls_nowhere_there(colors: ImageTextEncoder) -> None:
    schedule = parse_text_schedule("0: red, 2: red:-1")
    goals = [colors.goal(text_entries(schedule.at(frame, 0.0))) for frame in range(3)]
    assert [goal.tolist() for goal in goals] == [[1, 0, 0], [0, 0, 0], [-1, 0, 0]]


def test_a_text_that_ends_like_an_easing_stays_whole_in_quotes() -> None:
    schedule = parse_text_schedule('0: "a life of ease" hold, 60: the "big" one, 90: "fog":0.5 fire')
    assert schedule.values == (("a life of ease",), ('the "big" one',), ("fog:0.5", "fire"))
    assert [one.easing for one in schedule.keyframes] == ["hold", "linear", "linear"]


@pytest.mark.parametrize(
    "text",
    ['0: a forest, 60: a 12" disc', '0: a 12" disc, 60: a 7" single', '0: "fire, 9: fog', '0: fog, 9: "fire'],
)
def test_a_quote_that_does_not_close_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match="expected a closing quote"):
        parse_text_schedule(text)


@pytest.mark.parametrize("text", ['0: "a forest', "0: fire:inf", "0:"])
def test_what_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(SettingsError, match="expected"):
        parse_text_schedule(text)
