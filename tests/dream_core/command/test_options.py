"""The commands' options: each setting a flag, with its range, and help that names flags."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dream_core.checks import kinds, split_range, validate
from dream_core.command.options import Command, MeasureCommand, as_flag, as_flags, look_in, parse
from dream_core.errors import SettingsError
from dream_core.looks import load_look, look_names
from dream_core.settings import FlowSettings, ModelSettings, ObjectiveSettings, OctaveSettings


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


def test_schedules_are_given_one_by_one_before_or_after_the_input() -> None:
    command = parse(["--schedule", "blend=0: 0, 9: 1", "clip.mp4", "--schedule", "zoom=0: 1"])
    assert command.schedule.schedule == ("blend=0: 0, 9: 1", "zoom=0: 1")
    assert command.input == Path("clip.mp4")
    assert command.given_lists == []
    with pytest.raises(SettingsError, match="did you mean `learning_rate`"):
        validate(parse(["--schedule", "learning-rat=0: 1"]))
    with pytest.raises(SettingsError, match="`blend` from 0 to 1, got 2; correct its `schedule`"):
        validate(parse(["--schedule", "blend=0: 2"]))


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


# Looks


@pytest.fixture
def look(tmp_path: Path) -> str:
    options = {"model": "vgg16", "layers": ["conv3_1", "conv3_2"], "octaves": 2, "octave_scale": 0.5}
    path = tmp_path / "look.json"
    path.write_text(json.dumps({"description": "One.", "options": options}), "utf-8")
    return str(path)


def test_a_look_gives_the_defaults_and_other_options_win(look: str) -> None:
    vgg16, layers = ModelSettings(model="vgg16"), ObjectiveSettings(layers=("conv3_1", "conv3_2"))
    expected = Command(
        look=look, model=vgg16, objective=layers, octave=OctaveSettings(octaves=2, octave_scale=0.5)
    )
    assert parse(["--look", look]) == expected
    octave = OctaveSettings(octaves=OctaveSettings.octaves, octave_scale=0.5)
    given = ["--octaves", str(OctaveSettings.octaves)]
    assert parse([*given, f"--look={look}"]) == replace(expected, octave=octave)


def test_the_layers_of_a_look_are_left_out_for_another_network(look: str) -> None:
    command = parse(["--look", look, "--model", "vgg19"])
    assert command == Command(
        look=look,
        model=ModelSettings(model="vgg19"),
        octave=OctaveSettings(octaves=2, octave_scale=0.5),
    )
    command = parse(["--look", look, "--model", "vgg19", "--layers", "conv4_1"])
    assert command.objective == ObjectiveSettings(layers=("conv4_1",))


def test_the_lists_of_a_look_are_not_given_by_hand(look: str) -> None:
    assert parse(["--look", look]).given_lists == []
    assert parse(["--look", look, "--layers", "conv3_1", "clip.mp4"]).given_lists == ["--layers"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], None),
        (["a.mp4", "--look", "fur", "--octaves", "2"], "fur"),
        (["--look=fur.json"], "fur.json"),
        (["--look", "a", "--look=b", "--look", "c"], "c"),
        (["--look"], None),
    ],
)
def test_the_look_is_found_among_the_arguments(arguments: list[str], found: str | None) -> None:
    assert look_in(arguments) == found


def test_the_help_beside_a_look_shows_its_values(look: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--look", look, "--help"])
    assert "conv3_1 conv3_2" in " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("name", "message"),
    [("furrr", "expected --look to be one of"), ("none.json", "none.json: expected a file that can be read")],
)
def test_a_wrong_look_is_one_line(name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(["--look", name])
    told = capsys.readouterr().err
    assert stopped.value.code == 1
    assert told.startswith(f"error: {message}")
    assert told.count("\n") == 1


def test_looks_are_listed_one_a_line_with_their_networks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(["--print-looks"])
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == look_names()
    for line in lines:
        look = load_look(line.split()[0])
        assert look.description in line
        assert line.split()[-1] == look.model
