"""The settings: defaults and ranges of all fields, and what must fit together."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args

import pytest

import dream_core.command.options
import dream_core.settings
from dream_core.checks import Range, kinds, split_range, validate
from dream_core.errors import SettingsError
from dream_core.settings import (
    DeviceSettings,
    DreamSettings,
    ImageSettings,
    ObjectiveSettings,
    OctaveSettings,
    PipelineSettings,
    TileSettings,
)

CLASSES = {
    cls
    for module in (dream_core.settings, dream_core.command.options)
    for cls in vars(module).values()
    if isinstance(cls, type) and is_dataclass(cls)
}
LEAVES = sorted((cls for cls in CLASSES if cls.__name__.endswith("Settings")), key=lambda cls: cls.__name__)


def leaf_kinds(kind: Any) -> Iterator[Any]:
    """The types that a type is made of, each with its metadata."""
    plain, limits = split_range(kind)
    inner = get_args(plain)
    if limits or not inner:
        yield kind
    for one in inner if not limits else ():
        yield from leaf_kinds(one)


def ranges() -> list[Any]:
    """Every number: class, field and range."""
    return [
        pytest.param(cls, name, limits, id=f"{cls.__name__}.{name}")
        for cls in LEAVES
        for name, kind in kinds(cls).items()
        if (limits := split_range(kind)[1])
    ]


def changed(cls: type[Any], name: str, value: float) -> Any:
    """Settings with one value set, and what it does not go without."""
    return cls(**{"zoom_mode": "pixel"} if name == "zoom" else {}, **{name: value})


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_every_number_has_a_range_and_every_default_is_valid(cls: type[Any]) -> None:
    for name, kind in kinds(cls).items():
        assert not {int, float} & set(leaf_kinds(kind)), name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        validate(cls())


@pytest.mark.parametrize(("cls", "name", "limits"), ranges())
def test_both_ends_are_taken_and_nothing_beyond(cls: type[Any], name: str, limits: Range) -> None:
    ends = [limits.least, limits.most, *([0] if limits.or_zero else [])]
    for value in ends:
        validate(changed(cls, name, value))
    for value in (limits.least - limits.step, limits.most + limits.step, float("nan"), float("inf")):
        if value in ends:
            continue
        with pytest.raises(SettingsError, match=f"^expected `{name}` "):
            validate(changed(cls, name, value))


@pytest.mark.parametrize(("cls", "name", "limits"), ranges())
def test_a_click_from_the_default_is_valid(cls: type[Any], name: str, limits: Range) -> None:
    default = getattr(cls(), name)
    for value in (default + limits.step, default - limits.step):
        if min(limits.least, 0 if limits.or_zero else limits.least) <= value <= limits.most:
            validate(changed(cls, name, value))


def test_field_names_are_unique_in_what_becomes_flags() -> None:
    names = [
        one.name
        for cls in LEAVES
        if cls.__module__.endswith("settings") and cls not in (PipelineSettings, DreamSettings)
        for one in fields(cls)
    ]
    assert len(names) == len(set(names))


def test_every_field_has_a_default() -> None:
    for cls in LEAVES:
        for one in fields(cls):
            assert (one.default, one.default_factory) != (MISSING, MISSING), one.name


# What must fit together


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            OctaveSettings(octave_mode="manual"),
            r"^expected `octave_sizes` for `octave_mode` manual, got none$",
        ),
        (
            OctaveSettings(octave_mode="manual_min", octave_sizes=(8, 0)),
            r"^expected each of `octave_sizes` from 1 to 16384, got 0$",
        ),
        (
            OctaveSettings(octave_mode="manual", octave_sizes=(8, 9, 10)),
            r"^expected `octave_sizes` in pairs of height and width .*, got \[8, 9, 10\]$",
        ),
        (ImageSettings(zoom=100), r"^expected `zoom` below 100 percent, got 100$"),
        (
            ObjectiveSettings(channel_mode="strong"),
            r"^expected one number in `channels` for `channel_mode` strong, how many channels, got none$",
        ),
        (
            ObjectiveSettings(channel_mode="weak", channels=("1,2",)),
            r"^expected one number in `channels` for `channel_mode` weak, how many channels, got 1, 2$",
        ),
        (
            PipelineSettings(device=DeviceSettings(device="cuda:0,cuda:1")),
            r"^expected a `tile_size`, got 0: several devices share out the tiles",
        ),
    ],
)
def test_what_does_not_fit_together(settings: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        validate(settings)


@pytest.mark.parametrize(
    "settings",
    [
        OctaveSettings(octave_mode="manual", octave_sizes=(8, 9)),
        OctaveSettings(octave_mode="manual_max", octave_sizes=(8, 9, 10)),
        ImageSettings(zoom=99.5),
        ImageSettings(zoom=100, zoom_mode="pixel"),
        ObjectiveSettings(channel_mode="strong", channels=("3",)),
        PipelineSettings(
            device=DeviceSettings(device="cuda:0,cuda:1"),
            dream=DreamSettings(tile=TileSettings(tile_size=64)),
        ),
    ],
)
def test_what_fits_together(settings: Any) -> None:
    validate(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ObjectiveSettings(channel_mode="ignore"), "^`channel_mode` ignore does nothing without `channels`"),
        (OctaveSettings(octave_sizes=(8,)), "^`octave_sizes` does nothing in `octave_mode` normal: choose"),
        (
            OctaveSettings(octave_mode="advanced", octave_sizes=(8,)),
            "^`octave_sizes` does nothing in `octave_mode` advanced: choose",
        ),
    ],
)
def test_what_does_nothing_is_warned_about(settings: Any, message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        validate(settings)
