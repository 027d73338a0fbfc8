"""Batches that go together: as many of each, of one size."""

from __future__ import annotations

import torch
from torch import Tensor

from ...dream_core.errors import ImageError
from . import host


def match(**batches: Tensor) -> tuple[int, tuple[Tensor, ...]]:
    """How many entries there are, and each batch with as many; a batch of one serves all entries.

    Args:
        batches: name of the input -> (B,...), none of them empty.

    Raises:
        ImageError: two batches of more than one entry differ in length.
    """
    count = max(len(batch) for batch in batches.values())
    if any(len(batch) not in (1, count) for batch in batches.values()):
        lengths = ", ".join(f"{len(batch)} in {name}" for name, batch in batches.items())
        raise ImageError(f"expected batches of equal length, or of one that serves all, got {lengths}")
    return count, tuple(batch.expand(count, *batch.shape[1:]) for batch in batches.values())


def check_same_size(**batches: Tensor) -> None:
    """Raise a ImageError that names both unless all batches (B,C,H,W) have the first one's height and width."""
    (first, expected), *others = batches.items()
    for name, batch in others:
        if batch.shape[-2:] != expected.shape[-2:]:
            raise ImageError(
                f"expected {name} in the size of {first}, {_size(expected)}, got {_size(batch)}: resize one of them"
            )


def compute(entries: Tensor) -> Tensor:
    """Entries of a batch (B,C,H,W) where ComfyUI computes.

    In one memory layout, whatever node they came from: kernels for others round differently.
    """
    return entries.detach().to(host.compute_device(), torch.float32).contiguous()


def _size(batch: Tensor) -> str:
    return f"{batch.shape[-1]} x {batch.shape[-2]}"
