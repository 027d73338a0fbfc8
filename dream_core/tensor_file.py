"""Tensors as the bytes of a file (safetensors), which keeps their order in memory, and notes beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

NOTES = "notes"


def pack(tensors: Mapping[str, Tensor], notes: Mapping[str, Any] | None = None) -> bytes:
    """Write tensors, on any device.

    Args:
        tensors: name -> tensor; no name is "notes".
        notes: values that JSON can hold.
    """
    # Copies, because safetensors refuses tensors that share memory.
    copies = {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}
    # A result may depend on the order in memory, by which PyTorch chooses its kernels.
    orders = {key: json.dumps(_order(copy)) for key, copy in copies.items()}
    flat = {key: copy.permute(_order(copy)).contiguous() for key, copy in copies.items()}
    return save(flat, metadata={**orders, NOTES: json.dumps(dict(notes or {}))})


def unpack(data: bytes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `pack` wrote: the tensors, on the CPU in the order in memory that they had, and the notes.

    Raises:
        ValueError: it is damaged or something else.
    """
    try:
        flat = load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        orders = {key: json.loads(metadata[key]) for key in flat}
        return {key: flat[key].permute(_inverse(orders[key])) for key in flat}, json.loads(
            metadata.get(NOTES, "{}")
        )
    except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(str(error)) from error


def _order(tensor: Tensor) -> list[int]:
    """Dimensions in the order in which they lie in memory, the slowest first."""
    strides = tensor.stride()
    return sorted(range(tensor.dim()), key=lambda dim: (-strides[dim], dim))


def _inverse(order: list[int]) -> list[int]:
    return [order.index(dim) for dim in range(len(order))]
