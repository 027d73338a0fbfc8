"""Values of a loop as JSON and tensors, so that they can be saved and come back as they were. Never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..adapters.sockets import Flow


class Unsavable(Exception):  # noqa: N818, it is no error
    """A value cannot be saved; the message names its type."""


class Packer:
    """Takes values apart: numbers, texts, tensors, flow, and lists, tuples and dictionaries of them.

        packer = Packer()
        packed = packer.pack({"samples": latent})  # what JSON can hold
        packer.tensors                             # its tensors, each once

    A tensor that occurs twice is kept once.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        """The tensors of all values, by the names under which `unpack` finds them."""
        self._names: dict[int, str] = {}

    def pack(self, value: Any) -> Any:
        """Return a value as JSON can hold it.

        Raises:
            Unsavable: it is or holds something else, such as a MODEL.
        """
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Tensor):
            return {"tensor": self._name(value), "device": str(value.device)}
        if isinstance(value, Flow):
            return {"flow": [self.pack(one) for one in (value.backward, value.forward, value.reliability)]}
        if type(value) is list:
            return {"list": [self.pack(one) for one in value]}
        if type(value) is tuple:
            return {"tuple": [self.pack(one) for one in value]}
        if type(value) is dict:
            return {"dict": [[self.pack(name), self.pack(one)] for name, one in value.items()]}
        raise Unsavable(type(value).__name__)

    def _name(self, tensor: Tensor) -> str:
        if id(tensor) not in self._names:
            name = self._names[id(tensor)] = f"tensor_{len(self.tensors)}"
            self.tensors[name] = tensor
        return self._names[id(tensor)]


def unpack(packed: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put a value together again.

    Args:
        packed: from `Packer.pack`.
        tensors: those of the packer.
    """
    if not isinstance(packed, dict):
        return packed
    if "tensor" in packed:
        return tensors[packed["tensor"]].to(packed["device"])
    ((kind, parts),) = packed.items()
    if kind == "dict":
        return {unpack(name, tensors): unpack(value, tensors) for name, value in parts}
    values = [unpack(one, tensors) for one in parts]
    return Flow(*values) if kind == "flow" else tuple(values) if kind == "tuple" else values
