"""Batches whose entries go together: equal in number and size, computed one entry at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...dream_core.errors import ImageError
from . import host


def match(**batches: Tensor) -> tuple[int, tuple[Tensor, ...]]:
    """Bring batches to one length; a batch of one serves all entries.

    Args:
        batches: name of the input -> (B,...), not empty.

    Returns:
        The number of entries, and each batch with that many.

    Raises:
        ImageError: two batches of more than one entry differ in length.
    """
    count = max(len(batch) for batch in batches.values())
    if any(len(batch) not in (1, count) for batch in batches.values()):
        lengths = ", ".join(f"{len(batch)} in {name}" for name, batch in batches.items())
        raise ImageError(f"expected batches of equal length, or of one that serves all, got {lengths}")
    return count, tuple(batch.expand(count, *batch.shape[1:]) for batch in batches.values())


def check_same_size(**batches: Tensor) -> None:
    """Raise an ImageError unless all batches (B,C,H,W) have the first one's height and width."""
    (first, expected), *others = batches.items()
    for name, batch in others:
        if batch.shape[-2:] != expected.shape[-2:]:
            raise ImageError(
                f"expected {name} in the size of {first}, {_size(expected)}, got {_size(batch)}: resize one of them"
            )


def compute(entries: Tensor) -> Tensor:
    """Move entries (B,C,H,W) to the device that ComfyUI computes on, as contiguous float32.

    The memory layout is always the same, because other layouts use kernels that round differently.
    """
    return entries.detach().to(host.compute_device(), torch.float32).contiguous()


def entry_at(batch: Tensor, index: int) -> Tensor:
    """Return one entry (1,C,H,W) of a batch, on the device that ComfyUI computes on."""
    return compute(batch[index : index + 1])


def map_entries(
    function: Callable[[int], Tensor], count: int, *, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Compute a batch entry by entry, and move the node's progress bar.

    Args:
        function: index of an entry -> (1,C,H,W) on any device.
        count: number of entries.
        dtype: of the batch.

    Returns:
        (count,C,H,W) on the CPU, with the channels last in memory as in an IMAGE.
    """
    progress = host.Progress(count)
    batch = torch.empty(0)
    for index in range(count):
        entry = function(index)
        if index == 0:
            shape = (count, *entry.shape[1:])
            batch = torch.empty(shape, dtype=dtype, memory_format=torch.channels_last)
        batch[index] = entry[0]
        progress.update(index + 1, count)
    return batch


def _size(batch: Tensor) -> str:
    return f"{batch.shape[-1]} x {batch.shape[-2]}"
