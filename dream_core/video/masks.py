"""Masks of a clip, read beside its frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from ..errors import ImageError, VideoError
from ..image import Size, fit_mask, luma
from .clip import Clip, Frame


def masks_for(clip: Clip, masks: Clip, *, path: Path, still: bool) -> Iterator[Tensor]:
    """Read a mask (1,H,W) in 0..1 for each frame of a clip: the brightness, of BT.709's luma.

    Args:
        clip: the frames.
        masks: the masks, in their own size.
        path: of the masks, for messages.
        still: whether the masks are an image; one mask alone is for all frames.

    Raises:
        VideoError: there are fewer masks than frames, or they have other proportions.
    """
    expected, found = clip.frame_count, masks.frame_count
    still = still or found == 1
    if not still and expected and found and found < expected:
        raise VideoError(_too_few(path, found, f"the {expected} frames"))
    first = _mask_of(next(masks), clip.size, path)
    return _repeated(first) if still else _each(first, masks, clip.size, path)


def _repeated(mask: Tensor) -> Iterator[Tensor]:
    while True:
        yield mask


def _each(first: Tensor, masks: Clip, size: Size, path: Path) -> Iterator[Tensor]:
    count = 1
    yield first
    for frame in masks:
        yield _mask_of(frame, size, path)
        count += 1
    raise VideoError(_too_few(path, count, "more frames"))


def _mask_of(frame: Frame, size: Size, path: Path) -> Tensor:
    try:
        return fit_mask(luma(frame.image[None]), size, name=f"the mask {path}")[0]
    except ImageError as error:
        raise VideoError(str(error)) from error


def _too_few(path: Path, count: int, frames: str) -> str:
    return (
        f"expected one mask for all frames or one for each, got {count} in {path} for {frames}: add masks, or "
        "dream fewer frames by `frames`"
    )
