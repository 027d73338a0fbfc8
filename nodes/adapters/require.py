"""Check of socket values: another pack may use the name of a socket's type for something else."""

from __future__ import annotations

from typing import Any, TypeVar

from ...dream_core.errors import DeepDreamError

Kind = TypeVar("Kind")


class WireError(DeepDreamError):
    """A socket got a value of a class that does not belong to its type."""


def require(value: Any, kind: type[Kind], *, name: str, source: str) -> Kind:
    """Return a value after checking its class.

    Args:
        value: of a socket.
        kind: the expected class.
        name: of the input.
        source: the nodes that make such values.

    Raises:
        WireError: the value is of another class.
    """
    if not isinstance(value, kind):
        raise WireError(
            f"expected {name} from {source}, got {type(value).__name__}: connect one of these nodes"
        )
    return value
