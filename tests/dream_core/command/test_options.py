"""The commands' options: each setting a flag, with its range, and help that names flags."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dream_core.checks import kinds, split_range, validate
from dream_core.command.options import Command, MeasureCommand, as_flag, as_flags, parse
from dream_core.errors import SettingsError
from dream_core.settings import FlowSettings, OctaveSettings


def numbers(command: Any) -> list[tuple[str, str, Any]]:
    """Group, field and range of every number."""
    return [
        (group, name, limits)
        for group, settings in vars(command).items()
        if hasattr(settings, "__dataclass_fields__")
        for name, kind in kinds(type(settings)).items()
        if (limits := split_range(kind)[1])
    ]


@pytest.mark.parametrize("end", ["least", "most"])
@pytest.mark.parametrize("given", [["--zoom-mode", "pixel"], ["measure", "clip", "dream"]])
def test_every_number_is_taken_at_both_ends_of_its_range(given: list[str], end: str) -> None:
    found = numbers(parse(given))
    assert len(found) >= 6
    flags = [text for _, name, limits in found for text in (as_flag(name), str(getattr(limits, end)))]
    command = parse([*given, *flags])
    validate(command)
    for group, name, limits in found:
        assert getattr(getattr(command, group), name) == getattr(limits, end), name


def test_numbers_beyond_their_range_are_parsed_and_then_refused() -> None:
    command = parse(["--octave-scale", "20"])
    with pytest.raises(SettingsError, match=r"^expected `octave_scale` from 0\.01 to 10, got 20$"):
        validate(command)


def test_settings_of_different_groups_must_fit_together() -> None:
    with pytest.raises(SettingsError, match=r"^expected a `tile_size`, got 0: several devices"):
        validate(parse(["--device", "cuda:0,cuda:1"]))


def test_a_parsed_command_is_made_of_the_settings_themselves() -> None:
    assert parse([]) == Command()
    assert parse(["--octaves", "2"]) == replace(Command(), octave=OctaveSettings(octaves=2))
    measure = parse(["measure", "clip", "dream"])
    assert isinstance(measure, MeasureCommand)
    assert measure.flow == FlowSettings(flow_updates=12)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("expected `octave_scale` from 0.01", "expected --octave-scale from 0.01"),
        ("no layer 'x'; `print_layers` lists them", "no layer 'x'; --print-layers lists them"),
        ("against `tv_weight` and `l2_weight`", "against --tv-weight and --l2-weight"),
        ("octave_scale without marks stays", "octave_scale without marks stays"),
    ],
)
def test_fields_are_named_as_flags(text: str, flags: str) -> None:
    assert as_flags(text) == flags


@pytest.mark.parametrize("command", [[], ["measure"]])
def test_the_help_names_flags_and_no_fields(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([*command, "--help"])
    text = capsys.readouterr().out
    assert "`" not in text
    assert ("--print-layers lists" if not command else "the network of --model on") in " ".join(
        text.replace("│", " ").split()
    )
