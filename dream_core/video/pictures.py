"""Folders of images and single images as clips."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from torch import Tensor

from ..errors import VideoError
from ..settings import InputSettings
from .clip import ROUNDING, Clip, limited
from .images import load_image
from .pixels import fit, resize


def open_pictures(paths: list[Path], *, settings: InputSettings) -> Clip:
    """Open image files as the frames of a clip at `settings.fps`, all at the size of the first.

    Raises:
        VideoError: the start is after the end, or the first image cannot be read.
    """
    fps = Fraction(settings.fps).limit_denominator(1001)
    skipped = int((Fraction(settings.start) + ROUNDING) * fps)
    chosen = paths[skipped:]
    if not chosen:
        raise VideoError(
            f"start is {settings.start:g} s, but {len(paths)} images at {float(fps):g} frames per second "
            f"last {float(len(paths) / fps):g} s: choose an earlier start"
        )
    own_size = tuple(load_image(chosen[0]).shape[-2:])
    size = fit(*own_size, longest=settings.size)
    return Clip(
        ((path, index / fps) for index, path in enumerate(chosen)),
        load=_image_loader(own_size, size, first=chosen[0]),
        size=size,
        fps=fps,
        time_base=1 / fps,
        frame_count=limited(len(chosen), settings.frames),
        limit=settings.frames or None,
        sound=None,
    )


def _image_loader(
    own_size: tuple[int, ...], size: tuple[int, int], *, first: Path
) -> Callable[[Path], Tensor]:
    warned = False

    def load(path: Path) -> Tensor:
        nonlocal warned
        image = load_image(path)
        if tuple(image.shape[-2:]) != own_size and not warned:
            warned = True
            height, width = image.shape[-2:]
            warnings.warn(
                f"{path.name} is {width}x{height} but {first.name} is {own_size[1]}x{own_size[0]}: "
                "images of another size are stretched to that of the first",
                stacklevel=2,
            )
        return resize(image, size)

    return load
