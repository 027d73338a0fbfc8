"""Values of sockets, checked."""

from __future__ import annotations

from typing import Any

import pytest


def test_a_value_of_the_kind_is_returned_and_another_one_named(pack: Any) -> None:
    require = pack("nodes.adapters.require")
    assert require.require(3, int, name="index", source="Temporal Loop Open") == 3
    with pytest.raises(
        require.WireError, match=r"^expected index from Temporal Loop Open, got str: connect one of these"
    ):
        require.require("3", int, name="index", source="Temporal Loop Open")
