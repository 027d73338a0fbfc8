"""Texts with weights, as the options write them."""

from __future__ import annotations

import pytest

from dream_core.errors import SettingsError
from dream_core.text_weights import text_entries


def test_a_number_after_the_last_colon_is_a_weight() -> None:
    assert text_entries(("a forest", "fire: 0.5", "fog:-1", "Alien: the movie", "Alien: the movie:2")) == (
        ("a forest", 1),
        ("fire", 0.5),
        ("fog", -1),
        ("Alien: the movie", 1),
        ("Alien: the movie", 2),
    )


@pytest.mark.parametrize("entry", ["", " ", ":2", "fire:inf", "fire:nan"])
def test_an_empty_text_or_a_weight_that_is_not_finite_is_an_error(entry: str) -> None:
    with pytest.raises(SettingsError, match="expected a text as TEXT or TEXT:WEIGHT"):
        text_entries((entry,))
