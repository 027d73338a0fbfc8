"""The inputs of a node that takes lists."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def lists(pack: Any) -> Any:
    return pack("nodes.adapters.lists")


def test_an_item_has_the_last_value_of_a_list_that_is_too_short(lists: Any) -> None:
    values = {
        "seed": [1, 2, 3],
        "mode": {"mode": ["normal"], "octaves": [4, 5]},
        "model": (None,),
        "none": None,
    }
    assert lists.longest(values) == 3
    wanted = {"seed": 3, "mode": {"mode": "normal", "octaves": 5}, "model": None, "none": None}
    assert lists.item_of(values, 2) == wanted
    assert lists.longest({}) == 1
