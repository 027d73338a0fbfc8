"""Taking batches apart and putting them together: IMAGE, MASK and LATENT."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from ...dream_core.errors import ImageError
from ..adapters.latents import NOISE_MASK, SAMPLES, Latent, noise_mask_of, rest_of, sample_at

Frames: TypeAlias = Tensor | Latent
"""An IMAGE (B,H,W,C), a MASK (B,H,W) or a LATENT whose samples are (B,C,h,w) or (B,C,T,h,w)."""


def check_frames(frames: Any, *, name: str) -> Frames:
    """Return a batch after checking that it can be split into frames; else raise an ImageError.

    Args:
        frames: value of a socket.
        name: of the input, for the message.
    """
    is_latent = isinstance(frames, dict)
    tensor = frames.get(SAMPLES) if is_latent else frames
    if not isinstance(tensor, Tensor):
        raise ImageError(f"expected {name} as IMAGE, MASK or LATENT, got {type(frames).__name__}")
    if tensor.ndim not in ((4, 5) if is_latent else (3, 4)):
        raise ImageError(f"expected {name} as IMAGE, MASK or LATENT, got the shape {tuple(tensor.shape)}")
    return frames  # type: ignore[no-any-return]


def length(frames: Frames) -> int:
    """Count the frames of a batch."""
    return len(_tensor(frames))


def frame_at(frames: Frames, index: int) -> Frames:
    """Copy one frame as a batch of one; a view would keep the whole batch in memory."""
    if isinstance(frames, Tensor):
        return frames[index : index + 1].clone()
    return sample_at(frames, index)


class Gatherer:
    """Gathers the results of a loop in one batch, which is allocated once.

    Args:
        count: the number of frames to come, at most.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._done = 0
        self._batch: Tensor | None = None
        self._masks: list[Tensor] = []
        self._latent: Latent | None = None

    def add(self, result: Any) -> None:
        """Add the result of the next frame: one or more images, the same number for every frame.

        Raises:
            ImageError: the result cannot be gathered, or differs in kind or size from the first one.
        """
        result = check_frames(result, name="the result of a frame")
        tensor = _tensor(result)
        if self._batch is None:
            shape = (self._count * len(tensor), *tensor.shape[1:])
            self._batch = torch.empty(shape, dtype=tensor.dtype)
            self._latent = {} if isinstance(result, dict) else None
        self._check(tensor, is_latent=isinstance(result, dict))
        rows = len(tensor)
        self._batch[self._done * rows : (self._done + 1) * rows] = tensor.to("cpu", self._batch.dtype)
        self._done += 1
        if isinstance(result, dict):
            self._latent, mask = rest_of(result), noise_mask_of(result)
            self._masks += [] if mask is None else [mask]

    def _check(self, tensor: Tensor, *, is_latent: bool) -> None:
        assert self._batch is not None
        expected = (len(self._batch) // self._count, *self._batch.shape[1:])
        if tensor.shape != expected or is_latent != (self._latent is not None):
            kind = "LATENT " if self._latent is not None else ""
            raise ImageError(
                f"expected a result of {kind}{expected} as for the first frame, got {tuple(tensor.shape)}: "
                "bring all results of the loop to one size"
            )

    def gathered(self) -> Frames | None:
        """Return all results so far, or None if there are none."""
        if self._batch is None:
            return None
        rows = len(self._batch) // self._count
        batch = self._batch[: self._done * rows]
        if self._latent is None:
            return batch
        masks = {NOISE_MASK: torch.cat(self._masks)} if len(self._masks) == self._done else {}
        return {**self._latent, **masks, SAMPLES: batch}


def _tensor(frames: Frames) -> Tensor:
    tensor: Tensor = frames[SAMPLES] if isinstance(frames, dict) else frames
    return tensor
