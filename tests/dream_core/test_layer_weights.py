"""Layers as options name them."""

from __future__ import annotations

import pytest

from dream_core.errors import SettingsError
from dream_core.layer_weights import LayerEntry, layer_entries, parse_layers, split_list


def test_lists_are_split_at_commas() -> None:
    assert split_list(("a, b", "c", ",", "")) == ["a", "b", "c"]


def test_layers_are_parsed_with_their_weights() -> None:
    assert parse_layers(("a:0.5,b", "c:-2e1")) == {"a": 0.5, "b": 1.0, "c": -20.0}
    assert parse_layers(()) == {}


def test_layers_may_have_losses_of_their_own() -> None:
    assert layer_entries(("a", "b:-2e1:cosine")) == (LayerEntry("a"), LayerEntry("b", -20.0, "cosine"))
    assert layer_entries(("a:2", "a:3", "a:1:mse")) == (LayerEntry("a", 3.0), LayerEntry("a", 1.0, "mse"))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("a:much", r"^expected a layer as NAME, NAME:WEIGHT or NAME:WEIGHT:LOSS, got 'a:much'$"),
        ("a:", r"^expected a layer as NAME, .* got 'a:'$"),
        ("a:1:", r"^expected a layer as NAME, .* got 'a:1:'$"),
        ("a:1:l2:x", r"^expected a layer as NAME, .* got 'a:1:l2:x'$"),
        ("a:nan", r"^expected a finite weight for layer 'a', got 'nan'$"),
        ("a:-inf", r"^expected a finite weight for layer 'a', got '-inf'$"),
    ],
)
def test_wrong_weights_are_refused(entry: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_layers((entry,))
