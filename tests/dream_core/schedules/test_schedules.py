"""Schedules of several settings."""

from __future__ import annotations

import pytest

from dream_core.checks import validate
from dream_core.errors import SettingsError
from dream_core.schedules.schedule import parse_schedule
from dream_core.schedules.schedules import Moment, curves_of, join, parse_schedule_of, parse_schedules
from dream_core.settings import (
    SCHEDULABLE,
    DreamSettings,
    ImageSettings,
    PipelineSettings,
    ScheduleSettings,
    TemporalSettings,
)


def test_settings_take_their_values_of_the_moment_wherever_they_are_nested() -> None:
    schedules = parse_schedules(
        ["learning_rate=0: 1, 4: 3", "octaves = 0: 1, 2s: 4", "blend=9: 1"], SCHEDULABLE
    )
    settings = schedules.apply(PipelineSettings(), Moment(2, 1.1))
    assert settings.dream.ascent.learning_rate == 2
    assert settings.dream.octave.octaves == 3  # 2.65 is rounded
    assert settings.temporal == TemporalSettings(blend=1)
    assert settings.reliability == PipelineSettings().reliability
    assert schedules.by_seconds
    assert not schedules.only(["blend"]).by_seconds


def test_without_a_schedule_settings_are_the_same_object() -> None:
    settings = DreamSettings()
    assert parse_schedules(["blend=0: 1"], SCHEDULABLE).apply(settings, Moment(0, 0.0)) is settings


def test_names_may_be_spelled_as_flags_and_the_last_of_a_name_counts() -> None:
    schedules = parse_schedules(["learning-rate=0: 1", "--learning-rate=0: 2"], SCHEDULABLE)
    assert dict(schedules.by_name) == {"learning_rate": parse_schedule("0: 2")}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("0: 1, 30: 3", r"expected a `schedule` as NAME=KEYFRAMES, such as learning_rate=0: 1, 30: 3, got"),
        ("learning_rat=0: 1", "did you mean `learning_rate`"),
        ("references=0: 1", "expected a setting that can have a `schedule`, got `references`; choose one of"),
        ("tile_size=0: 64", "got `tile_size`"),
        ("blend=0: high", "`schedule` of blend: expected a number"),
        ("layers=0: one:much", "`schedule` of layers: expected a layer"),
        (
            "learning_rate=0: 1, 30: 2000",
            "`learning_rate` from 0.001 to 1000, got 2000; correct its `schedule`",
        ),
        ("octaves=0: 0.4, 9: 2", "`octaves` from 1 to 100, got 0; correct"),
        ("zoom=0: 0, 9: 100", "`zoom` below 100 percent, got 100; correct"),
    ],
)
def test_a_wrong_entry_is_told_in_one_line_before_any_work(entry: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told) as caught:
        validate(PipelineSettings(schedule=ScheduleSettings(schedule=(entry,))))
    assert "\n" not in str(caught.value)


def test_values_are_checked_beside_the_other_settings() -> None:
    schedules = parse_schedules(["zoom=0: 0, 9: 100"], SCHEDULABLE)
    schedules.check(ImageSettings(zoom_mode="pixel"))
    with pytest.raises(SettingsError, match="100 percent"):
        schedules.check(ImageSettings())


def test_two_schedules_of_one_setting_do_not_go_together() -> None:
    one = parse_schedule("0: 1")
    assert dict(join([("blend", one), ("zoom", one)]).by_name) == {"blend": one, "zoom": one}
    with pytest.raises(SettingsError, match="got two of `blend`; drop one"):
        join([("blend", one), ("blend", one)])


def test_a_curve_has_the_values_at_all_frames_and_layers_have_one_each() -> None:
    times = [0.0, 0.5, 1.0]
    assert curves_of("zoom", parse_schedule("0: 0, 1s: 4"), times) == {"zoom": [0, 2, 4]}
    assert curves_of("blend", parse_schedule("0: 0, 2: 4"), times) == {"blend": [0, 2, 4]}
    fade = parse_schedule_of("layers", "0: one:2 two:1:mean, 2: two:1:mean")
    words = parse_schedule_of("text", "0: a sea, 2: fog")
    assert curves_of("text", words, times) == {"a sea": [1, 0.5, 0], "fog": [0, 0.5, 1]}
    assert curves_of("layers", fade, times) == {"one": [2, 1, 0], "two:mean": [1, 1, 1]}
