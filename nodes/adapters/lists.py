"""The inputs of a node that takes lists (`is_input_list`), in the values that ComfyUI gives to other nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def item_of(lists: Mapping[str, Any], index: int = 0) -> dict[str, Any]:
    """Return an item of each input; the last one of a list that is too short.

    Args:
        lists: input -> its values, or None for one without any; a choice is a dictionary of such lists.
        index: of the item.
    """
    return {name: _item(value, index) for name, value in lists.items()}


def longest(lists: Mapping[str, Any]) -> int:
    """Return the number of items of the longest list; 1 without any."""
    return max((len(one) for one in _lists(lists)), default=1)


def _item(value: Any, index: int) -> Any:
    if isinstance(value, Mapping):
        return item_of(value, index)
    return value[min(index, len(value) - 1)] if isinstance(value, (list, tuple)) else value


def _lists(value: Any) -> Iterator[list[Any] | tuple[Any, ...]]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _lists(one)
    elif isinstance(value, (list, tuple)):
        yield value
