"""Layers that fade into each other."""

from __future__ import annotations

import pytest

from dream_core.errors import SettingsError
from dream_core.layer_weights import parse_layers
from dream_core.schedules.layer_schedule import parse_layer_schedule


def test_the_weights_of_the_next_layers_rise_as_those_of_the_last_fall() -> None:
    fade = parse_layer_schedule("0: one, 10: two:4 three")
    assert fade.at(0, 0.0) == ("one",)
    assert parse_layers(fade.at(5, 0.0)) == {"one": 0.5, "two": 2.0, "three": 0.5}
    assert fade.at(10, 0.0) == ("two:4", "three")


def test_a_layer_of_both_goes_from_weight_to_weight() -> None:
    fade = parse_layer_schedule("0: one two:2, 8: two:4")
    assert parse_layers(fade.at(2, 0.0)) == {"one": 0.75, "two": 2.5}


def test_one_layer_fades_from_loss_to_loss() -> None:
    fade = parse_layer_schedule("0: one:1:mse, 4: one:1:mean two")
    assert fade.at(1, 0.0) == ("one:0.75:mse", "one:0.25:mean", "two:0.25")
    assert fade.mixtures == (
        ("one:1:mse",),
        ("one:1:mean", "two"),
        ("one:0.5:mse", "one:0.5:mean", "two:0.5"),
    )


def test_layers_that_stay_come_as_they_were_written() -> None:
    fade = parse_layer_schedule("0: one:0.1, 7: one:0.1")
    assert fade.constant
    assert [fade.at(frame, 0.0) for frame in (0, 3, 9)] == [("one:0.1",)] * 3


def test_a_layer_that_crosses_zero_stays_named() -> None:
    # No layers would mean the network's default one.
    fade = parse_layer_schedule("0: one, 2: one:-1")
    assert [fade.at(frame, 0.0) for frame in range(3)] == [("one",), ("one:0.0",), ("one:-1",)]
    assert fade.mixtures == (("one",), ("one:-1",), ("one:0.0",))
    assert parse_layer_schedule("0: one two, 2: one:-1 two").at(1, 0.0) == ("two:1.0",)


def test_a_wrong_weight_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"expected a layer as NAME, .*, got 'one:much'"):
        parse_layer_schedule("0: one:much")
