"""Taking batches apart and putting them together: IMAGE, MASK and LATENT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...dream_core.errors import ImageError
from ...dream_core.settings import InputSettings
from ..adapters.latents import (
    NOISE_MASK,
    SAMPLES,
    Latent,
    entry_count,
    is_video,
    noise_mask_at,
    rest_of,
    sample_at,
)

Frames: TypeAlias = Tensor | Latent
"""An IMAGE (B,H,W,C), a MASK (B,H,W) or a LATENT whose samples are (B,C,h,w) or (1,C,T,h,w)."""


@dataclass(frozen=True)
class Shot:
    """One frame of a loop.

    Args:
        value: a batch of one.
        time: seconds from the first frame.
        duration: seconds until the next frame.
    """

    value: Frames
    time: float
    duration: float


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


def check_one_frame(value: Any, *, name: str) -> None:
    """Raise an ImageError if a value is a batch of several frames. What is no batch passes."""
    try:
        count = length(check_frames(value, name=name))
    except ImageError:
        return
    if count != 1:
        raise ImageError(
            f"expected {name} of one frame, got {count}: pick one, with Image From Batch for images"
        )


def length(frames: Frames) -> int:
    """Count the frames of a batch."""
    return entry_count(frames) if isinstance(frames, dict) else len(frames)


def frame_at(frames: Frames, index: int) -> Frames:
    """Copy one frame as a batch of one; a view would keep the whole batch in memory."""
    if isinstance(frames, Tensor):
        return frames[index : index + 1].clone()
    return sample_at(frames, index)


class BatchFrames:
    """The frames of a batch, which has no times: they follow each other as those of a folder of images do.

    Args:
        frames: value of a socket.

    Raises:
        ImageError: it cannot be split into frames.
    """

    def __init__(self, frames: Any) -> None:
        self._frames = check_frames(frames, name="frames")
        self.count = length(self._frames)
        """Number of frames."""

    def __iter__(self) -> Iterator[Shot]:
        duration = 1 / InputSettings.fps
        for index in range(self.count):
            yield Shot(frame_at(self._frames, index), index * duration, duration)

    def gatherer(self) -> Gatherer:
        """Make what gathers the results."""
        is_clip = isinstance(self._frames, dict) and is_video(self._frames) and self.count > 1
        return Gatherer(self.count, along_time=is_clip)

    def close(self) -> None:
        """Do nothing: the batch is ComfyUI's."""


class Gatherer:
    """Gathers the results of a loop in one batch, which is allocated once.

    Args:
        count: the number of frames to come, at most.
        along_time: put latents (1,C,T,h,w) together as one video.
    """

    def __init__(self, count: int, *, along_time: bool = False) -> None:
        self._count, self._along_time = count, along_time
        self._done = 0
        self._batch: Tensor | None = None
        self._masks: list[Tensor | None] = []
        self._latent: Latent | None = None

    def add(self, result: Any, shot: Shot) -> None:
        """Add the result of the next frame: one or more images, the same number for every frame.

        Raises:
            ImageError: the result cannot be gathered, or differs in kind or size from the first one.
        """
        result = check_frames(result, name="the result of a frame")
        is_latent = isinstance(result, dict)
        self._along_time &= is_latent and is_video(result)
        entries = self._entries(result)
        if not len(entries):
            raise ImageError(
                "expected one or more images as the result of a frame, got an empty batch: connect another result"
            )
        if self._batch is None:
            shape = (self._count * len(entries), *entries.shape[1:])
            self._batch = torch.empty(shape, dtype=entries.dtype)
            self._latent = {} if is_latent else None
        self._check(entries, is_latent=is_latent)
        rows = len(entries)
        self._batch[self._done * rows : (self._done + 1) * rows] = entries.to("cpu", self._batch.dtype)
        self._done += 1
        if isinstance(result, dict):
            self._latent = rest_of(result)
            self._masks.append(_masks_of(result, along_time=self._along_time))

    def gathered(self) -> Frames | None:
        """Return all results so far, or None if there are none."""
        if self._batch is None:
            return None
        rows = len(self._batch) // self._count
        batch = self._batch[: self._done * rows]
        if self._latent is None:
            return batch
        masks = _joined(self._masks)
        if self._along_time:
            batch = batch.movedim(0, 1)[None].contiguous()  # TCHW -> 1CTHW
            masks = None if masks is None else masks.movedim(0, 1)[None]
        return {**self._latent, **({} if masks is None else {NOISE_MASK: masks}), SAMPLES: batch}

    def stop(self) -> None:
        """Do nothing: what is gathered of a loop that failed is of no use."""

    def _entries(self, result: Frames) -> Tensor:
        tensor: Tensor = result[SAMPLES] if isinstance(result, dict) else result
        return tensor[0].movedim(1, 0) if self._along_time else tensor  # 1CTHW -> TCHW

    def _check(self, entries: Tensor, *, is_latent: bool) -> None:
        assert self._batch is not None
        expected = (len(self._batch) // self._count, *self._batch.shape[1:])
        if is_latent != (self._latent is not None) or entries.ndim != len(expected):
            kinds = {True: "a LATENT", False: "an IMAGE or MASK"}
            raise ImageError(
                f"expected {kinds[self._latent is not None]} {expected} as for the first frame, got "
                f"{kinds[is_latent]} {tuple(entries.shape)}: give the loop results of one kind"
            )
        if entries.shape == expected:
            return
        raise ImageError(
            f"expected a result of {expected} as for the first frame, got {tuple(entries.shape)}: "
            f"{_advice(expected, tuple(entries.shape), is_latent=is_latent)}"
        )


def _advice(expected: tuple[int, ...], came: tuple[int, ...], *, is_latent: bool) -> str:
    if expected[0] != came[0]:
        return "give the loop the same number of images for every frame"
    channels = 1 if is_latent else 3
    if expected[channels:] and expected[channels] != came[channels] and len(expected) > 3:
        return (
            "use one VAE or model for all frames"
            if is_latent
            else "give all results the same channels; Split Image with Alpha leaves the alpha out"
        )
    return "bring all results of the loop to one size"


def _masks_of(result: Latent, *, along_time: bool) -> Tensor | None:
    """Copy the noise masks of a result: (B,1,H,W), or (1,1,T,H,W) of a video that is one entry."""
    if result.get(NOISE_MASK) is None:
        return None
    masks = torch.cat([noise_mask_at(result, index) for index in range(entry_count(result))]).cpu()
    return masks.movedim(0, 1)[None] if is_video(result) and not along_time else masks  # T1HW -> 11THW


def _joined(masks: list[Tensor | None]) -> Tensor | None:
    """Join the masks of all results. One without a mask is repainted as a whole, as ComfyUI does."""
    first = next((mask for mask in masks if mask is not None), None)
    if first is None:
        return None
    whole = torch.ones_like(first)
    return torch.cat([_fitted(whole if mask is None else mask, first) for mask in masks])


def _fitted(mask: Tensor, like: Tensor) -> Tensor:
    if mask.shape == like.shape:
        return mask.to(like.dtype)
    mode = "bilinear" if like.ndim == 4 else "trilinear"
    return interpolate(mask.float(), size=like.shape[2:], mode=mode).to(like.dtype)
