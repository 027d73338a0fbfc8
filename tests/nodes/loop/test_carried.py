"""The wires of carried values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Check = Callable[..., None]


@pytest.fixture
def check(pack: Any) -> Check:
    """`check(initial=True, next=True)`: a loop in which a node uses carried_1 of Open."""

    def check(*, initial: bool, following: bool, **more: Any) -> None:
        outputs = pack("nodes.loop.nodes").open_outputs()
        first, later = pack("nodes.loop.carried").initial_name(1), pack("nodes.loop.carried").next_name(1)
        graph = {
            "frames": {"class_type": "Load", "inputs": {}},
            "open": {
                "class_type": "DeepDreamLoopOpen",
                "inputs": {"frames": ["frames", 0], **({first: ["frames", 0]} if initial else {})},
            },
            "work": {
                "class_type": "Work",
                "inputs": {"new": ["open", 1], "old": ["open", outputs.index("carried_1")]},
            },
            "close": {
                "class_type": "DeepDreamLoopClose",
                "inputs": {
                    "loop": ["open", 0],
                    "result": ["work", 0],
                    **({later: ["work", 0]} if following else {}),
                },
            },
            **more,
        }
        end = "outer close" if "outer close" in graph else "close"
        body = pack("nodes.loop.body").collect(graph, end, lambda kind: False)
        pack("nodes.loop.carried").check_carried(body, outputs)

    return check


@pytest.fixture
def error(pack: Any) -> type[Exception]:
    found: type[Exception] = pack("nodes.loop.body").LoopError
    return found


def test_a_value_with_both_ends_is_carried(check: Check) -> None:
    check(initial=True, following=True)


def test_a_value_without_a_first_one(check: Check, error: type[Exception]) -> None:
    with pytest.raises(
        error, match=r"'Work' \(node work\) uses carried_1, which has no value .* \(node open\)"
    ):
        check(initial=False, following=True)


def test_a_value_without_a_next_one(check: Check, error: type[Exception]) -> None:
    with pytest.raises(
        error,
        match=r"'Work' \(node work\) uses carried_1 .* nothing is connected to carried_1 of .* \(node close\)",
    ):
        check(initial=True, following=False)


def test_a_value_of_a_loop_inside(check: Check, error: type[Exception]) -> None:
    outer = {
        "frames": {"class_type": "DeepDreamLoopOpen", "inputs": {"frames": ["load", 0]}},
        "load": {"class_type": "Load", "inputs": {}},
        "outer close": {
            "class_type": "DeepDreamLoopClose",
            "inputs": {"loop": ["frames", 0], "result": ["close", 0]},
        },
    }
    check(initial=True, following=True, **outer)
    with pytest.raises(error, match="nothing is connected to carried_1"):
        check(initial=True, following=False, **outer)
