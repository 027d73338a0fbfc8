"""Batches as a loop takes them apart and puts them together: IMAGE, MASK and LATENT."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from ...dream_core.errors import ImageError

Frames: TypeAlias = Tensor | dict[str, Any]
"""An IMAGE (B,H,W,C), a MASK (B,H,W) or a LATENT, a dictionary whose "samples" are (B,C,h,w) or (B,C,T,h,w)."""

MASKED = "noise_mask"
"""The entry of a LATENT that has a row for each sample, or one for all."""


def check_frames(frames: Any, *, name: str) -> Frames:
    """Raise a ImageError unless this is a batch that can be taken apart.

    Args:
        frames: what came.
        name: what it is called in the message.
    """
    tensor = frames.get("samples") if isinstance(frames, dict) else frames
    if not isinstance(tensor, Tensor):
        raise ImageError(f"expected {name} as IMAGE, MASK or LATENT, got {type(frames).__name__}")
    least = 4 if isinstance(frames, dict) else 3
    if not least <= tensor.ndim <= (5 if isinstance(frames, dict) else 4):
        raise ImageError(f"expected {name} as IMAGE, MASK or LATENT, got the shape {tuple(tensor.shape)}")
    return frames  # type: ignore[no-any-return]


def length(frames: Frames) -> int:
    """The number of frames."""
    return len(frames["samples"] if isinstance(frames, dict) else frames)


def frame_at(frames: Frames, index: int) -> Frames:
    """One frame, as a batch of one; a copy, since a view would keep the whole batch alive."""
    if isinstance(frames, Tensor):
        return frames[index : index + 1].clone()
    picked = {name: value for name, value in frames.items() if name != "batch_index"}
    picked["samples"] = frames["samples"][index : index + 1].clone()
    mask = frames.get(MASKED)
    if isinstance(mask, Tensor) and len(mask) == length(frames):
        picked[MASKED] = mask[index : index + 1].clone()
    return picked


class Gatherer:
    """Puts the results of a loop into one batch, which is allocated once.

    Args:
        count: the number of frames to come, at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._batch: Tensor | None = None
        self._masks: list[Tensor] = []
        self._latent: dict[str, Any] | None = None

    def add(self, result: Any) -> None:
        """Take the result of the next frame: one or more images, each time as many.

        Raises:
            ImageError: it is none, or differs from those before in kind or size.
        """
        result = check_frames(result, name="the result of a frame")
        tensor = result["samples"] if isinstance(result, dict) else result
        if self._batch is None:
            shape = (self._count * len(tensor), *tensor.shape[1:])
            self._batch = torch.empty(shape, dtype=tensor.dtype)
            self._latent = {} if isinstance(result, dict) else None
        self._check(tensor, is_latent=isinstance(result, dict))
        rows = len(tensor)
        self._batch[self._done * rows : (self._done + 1) * rows] = tensor.to("cpu", self._batch.dtype)
        self._done += 1
        if isinstance(result, dict):
            self._keep_rest(result, rows)

    def _check(self, tensor: Tensor, *, is_latent: bool) -> None:
        assert self._batch is not None
        expected = (len(self._batch) // self._count, *self._batch.shape[1:])
        if tensor.shape != expected or is_latent != (self._latent is not None):
            kind = "LATENT " if self._latent is not None else ""
            raise ImageError(
                f"expected a result of {kind}{expected} as for the first frame, got {tuple(tensor.shape)}: "
                "bring all results of the loop to one size"
            )

    def _keep_rest(self, latent: dict[str, Any], rows: int) -> None:
        rest = {
            name: value for name, value in latent.items() if name not in ("samples", MASKED, "batch_index")
        }
        self._latent = rest
        if MASKED in latent:
            mask = latent[MASKED]
            self._masks.append(mask.expand(rows, *mask.shape[1:]).to("cpu", copy=True))

    def gathered(self) -> Frames | None:
        """All results so far, or None where there are none."""
        if self._batch is None:
            return None
        rows = len(self._batch) // self._count
        batch = self._batch[: self._done * rows]
        if self._latent is None:
            return batch
        masks = {MASKED: torch.cat(self._masks)} if len(self._masks) == self._done else {}
        return {**self._latent, **masks, "samples": batch}
