"""Checks what comes over a wire: its type has a name only, which another pack may use for something else."""

from __future__ import annotations

from typing import Any, TypeVar

from ...dream_core.errors import DeepDreamError

Kind = TypeVar("Kind")


class WireError(DeepDreamError):
    """Something else came over a wire than its type stands for."""


def require(value: Any, kind: type[Kind], *, name: str, source: str) -> Kind:
    """The value, if it is of a kind.

    Args:
        value: what came.
        kind: what it must be.
        name: of the input.
        source: the nodes that make such values.

    Raises:
        WireError: it is something else.
    """
    if not isinstance(value, kind):
        raise WireError(
            f"expected {name} from {source}, got {type(value).__name__}: connect one of these nodes"
        )
    return value
