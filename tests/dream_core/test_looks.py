"""Looks: their files, what is wrong in them, and what wins over them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dream_core import looks
from dream_core.errors import Notice, SettingsError
from dream_core.layer_weights import split_list
from dream_core.looks import FIRST, OPTIONS, Look, load_look, look_names, save_look, with_look
from dream_core.models.dream_model import outline
from dream_core.settings import (
    AscentSettings,
    InputSettings,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
    TemporalSettings,
)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """`write(octaves=2)`: a look's file."""

    def write(**options: Any) -> Path:
        path = tmp_path / "mine.json"
        path.write_text(json.dumps({"description": "Mine.", "options": options}), "utf-8")
        return path

    return write


# The looks of the package


@pytest.mark.parametrize("name", look_names())
def test_a_look_of_the_package_names_layers_and_channels_of_its_network(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        look = load_look(name)
    assert look.name == name
    assert look.description.endswith(".")
    assert look.model != "auto"
    network = outline(look.model)  # type: ignore[arg-type]
    for entry in split_list(look.settings(ObjectiveSettings).layers):
        assert network.channels(entry.partition(":")[0]) > 0


def test_there_are_looks_for_the_network_that_is_installed_and_for_the_classic_one() -> None:
    networks = [load_look(name).model for name in look_names()]
    assert networks == ["efficientnet_lite0"] * 12 + ["bvlc_googlenet"] * 4
    assert len({load_look(name).description for name in look_names()}) == 16


def test_the_first_look_begins_the_list_and_the_others_follow_by_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look_names()[0] == FIRST
    for name, model in {FIRST: "vgg19", "d": "vgg16", "b": "vgg19", "c": "googlenet", "a": "vgg19"}.items():
        content = {"description": "One.", "options": {"model": model}}
        (tmp_path / f"{name}.json").write_text(json.dumps(content), "utf-8")
    monkeypatch.setattr(looks, "FOLDER", tmp_path)
    assert look_names() == [FIRST, "c", "d", "a", "b"]


def test_looks_have_options_of_the_dream_and_none_of_files_and_devices() -> None:
    assert {"model", "pooling", "layers", "octaves", "seed", "original_colors", "blend"} < set(OPTIONS)
    assert not {"model_file", "tile_size", "size", "device", "flow", "keep", "model_mean"} & set(OPTIONS)


# Files


def test_a_file_is_read_and_the_other_options_have_their_defaults(write: Callable[..., Path]) -> None:
    look = load_look(write(model="efficientnet_lite0", layers="block4", channels=[3, 5], learning_rate=2))
    assert look == Look(
        name="mine",
        description="Mine.",
        options={
            "model": "efficientnet_lite0",
            "layers": ("block4",),
            "channels": ("3", "5"),
            "learning_rate": 2,
        },
    )
    assert look.settings(ModelSettings) == ModelSettings(model="efficientnet_lite0")
    assert look.settings(ObjectiveSettings) == ObjectiveSettings(layers=("block4",), channels=("3", "5"))
    assert look.settings(AscentSettings) == AscentSettings(learning_rate=2)
    assert look.settings(TemporalSettings) == TemporalSettings()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"octave_step": 3}, "expected options of a look, got octave_step; did you mean octave_steps?"),
        ({"size": 256}, "expected options of a look, got size; "),
        ({"octaves": 0}, "expected octaves from 1 to 100, got 0"),
        ({"octaves": 2.5}, "expected octaves a whole number from 1 to 100, got 2.5"),
        ({"octaves": True}, "expected octaves from 1 to 100, got True"),
        ({"clamp": "no"}, "expected clamp to be true or false, got 'no'"),
        ({"model": "vgg"}, "expected model to be one of auto, "),
        (
            {"model": "efficientnet_lite0", "layers": {"block4": 1}},
            "expected each of layers to be a text, got {'block4': 1}",
        ),
        ({"octave_mode": "manual"}, "expected octave_sizes for octave_mode manual, got none"),
        ({"layers": "block4"}, "expected the model that layers belongs to, got none; add model"),
    ],
)
def test_a_wrong_option_is_told_with_the_file(
    write: Callable[..., Path], options: dict[str, Any], message: str
) -> None:
    path = write(**options)
    with pytest.raises(SettingsError) as told:
        load_look(path)
    assert str(told.value).startswith(f"{path}: {message}")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{",
            "expected JSON, got Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("\xff", "expected JSON, got 'utf-8' codec can't decode byte 0xff"),
        ("[]", "expected a description and options, got list; write both"),
        ('{"options": {}}', "expected a description and options, got options; write both"),
        (
            '{"description": "a", "options": {}, "x": 1}',
            "expected a description and options, got description, ",
        ),
        (
            '{"description": "a\\nb", "options": {}}',
            "expected one line of text as the description, got 'a\\nb'",
        ),
        ('{"description": 1, "options": {}}', "expected one line of text as the description, got 1"),
        ('{"description": "a", "options": []}', "expected options by name, got []; write"),
    ],
)
def test_a_file_that_is_no_look_is_told(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError) as told:
        load_look(path)
    assert str(told.value).startswith(f"{path}: {message}")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"none\.json: expected a file that can be read, got No such file"
    ):
        load_look(tmp_path / "none.json")


def test_an_unknown_name_is_told_with_the_names_and_the_nearest() -> None:
    names = ", ".join(look_names())
    with pytest.raises(SettingsError) as told:
        load_look(f"{FIRST}x")
    assert str(told.value) == f"expected `look` to be one of {names}, got {FIRST}x; did you mean {FIRST}?"
    with pytest.raises(SettingsError, match=r"got q; choose one of these, or a \.json file$"):
        load_look("q")


# What wins


def test_options_beside_a_look_win_also_when_they_are_the_defaults(write: Callable[..., Path]) -> None:
    path = write(octaves=2, blend=0.5)
    assert with_look(path, {"octaves": OctaveSettings.octaves, "size": 9}) == {
        "octaves": OctaveSettings.octaves,
        "blend": 0.5,
        "size": 9,
    }
    assert with_look(None, {"size": 9}) == {"size": 9}


def test_layers_and_channels_are_left_out_for_another_network(write: Callable[..., Path]) -> None:
    path = write(model="efficientnet_lite0", layers="block4", channel_mode="strong", channels=2, octaves=2)
    message = (
        "^`model` vgg16 is not efficientnet_lite0, the network of `look` mine: leaving out the look's `layers`, "
        "`channels`, `channel_mode`$"
    )
    with pytest.warns(Notice, match=message):
        assert with_look(path, {"model": "vgg16"}) == {"model": "vgg16", "octaves": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert with_look(path, {"model": "efficientnet_lite0"})["layers"] == ("block4",)
        assert with_look(path, {})["layers"] == ("block4",)
    assert load_look(path).settings(ObjectiveSettings, model="vgg16") == ObjectiveSettings()


# Saving


def test_what_differs_from_the_defaults_is_saved_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    save_look(
        path,
        "Ein schöner Traum",
        AscentSettings(learning_rate=2.5, seed=7),
        InputSettings(size=9),
        ModelSettings(pooling="avg", model_file=Path("a.pth")),
        OctaveSettings(octave_mode="manual_max", octave_sizes=(64, 96)),
        model="vgg16",
    )
    options = {
        "pooling": "avg",
        "octave_mode": "manual_max",
        "octave_sizes": [64, 96],
        "learning_rate": 2.5,
        "seed": 7,
    }
    assert json.loads(path.read_text("utf-8")) == {"description": "Ein schöner Traum", "options": options}
    look = load_look(path)
    assert look.settings(OctaveSettings).octave_sizes == (64, 96)
    assert look.settings(AscentSettings) == AscentSettings(learning_rate=2.5, seed=7)


def test_layers_are_saved_with_their_network(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    save_look(path, "One", ModelSettings(), ObjectiveSettings(layers=("fc8",)), model="vgg16")
    assert load_look(path).options == {"model": "vgg16", "layers": ("fc8",)}


def test_a_saved_look_replaces_a_file_only_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    path.write_text("mine", "utf-8")
    with pytest.raises(
        SettingsError, match=r"^expected a new file for `save_look`, got .*saved\.json, which exists"
    ):
        save_look(path, "One", model="vgg16")
    assert path.read_text("utf-8") == "mine"
    save_look(path, "One", model="vgg16", overwrite=True)
    assert load_look(path) == replace(load_look(path), name="saved", description="One", options={})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("look.txt", r"^expected a \.json file for `save_look`"),
        ("none/look.json", "No such file or directory\\); "),
    ],
)
def test_a_look_that_cannot_be_saved_is_told(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        save_look(tmp_path / name, "One", model="vgg16")
