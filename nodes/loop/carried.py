"""Values that a loop carries from frame to frame: the names of their sockets, and how they must be wired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .body import LoopBody, LoopError, links_of, title

CARRIED = "carried"
"""Prefix of the names of carried values, and the name of their group on Close."""
INITIAL = "initial"
"""Name of the group on Open of the values carried into the first frame."""
CARRIED_AT_MOST = 100


def carried_name(number: int) -> str:
    """Return the name of a carried value among Open's outputs."""
    return f"{CARRIED}_{number}"


def initial_name(number: int) -> str:
    """Return the name of Open's input for a carried value of the first frame."""
    return f"{INITIAL}.{carried_name(number)}"


def next_name(number: int) -> str:
    """Return the name of Close's input for a carried value of the next frame."""
    return f"{CARRIED}.{carried_name(number)}"


def check_carried(body: LoopBody, open_outputs: Sequence[str]) -> None:
    """Check the wires of a loop's carried values, and of the loops in it.

    Args:
        body: the loop.
        open_outputs: names of Open's outputs, in order.

    Raises:
        LoopError: a node uses a value of Open that has no value for the first frame, or none for the next.
    """
    numbers = {carried_name(number): number for number in range(CARRIED_AT_MOST)}
    for user, name in _used(body, open_outputs):
        number = numbers.get(name)
        if number is None:
            continue
        if initial_name(number) not in body.open_inputs:
            raise LoopError(
                f"{user} uses {name}, which has no value for the first frame: connect one to {name} of "
                f"Temporal Loop Open (node {body.open_id})"
            )
        if next_name(number) not in body.close_inputs:
            raise LoopError(
                f"{user} uses {name} of Temporal Loop Open, but nothing is connected to {name} of Temporal Loop "
                f"Close (node {body.close_id}): connect the value for the next frame, or, if it never changes, "
                f"wire what leads into {name} of Temporal Loop Open to {user} itself"
            )
    for loop in body.inner.values():
        check_carried(loop, open_outputs)


def _used(body: LoopBody, open_outputs: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the title of a node and the name of the output of Open that it uses."""
    ends: Mapping[str, Any] = {"class_type": "Temporal Loop Close", "inputs": body.close_inputs}
    for node_id, node in [*body.nodes.items(), (body.close_id, ends)]:
        for source, slot in links_of(node).values():
            if source == body.open_id and slot < len(open_outputs):
                yield title(node, node_id), open_outputs[slot]
