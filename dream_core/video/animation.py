"""Animated WebP and PNG files as clips."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from PIL import Image, ImageSequence
from torch import Tensor

from ..errors import VideoError
from ..image import size_of
from ..settings import InputSettings
from .clip import ROUNDING, Clip, Timed, limited
from .color_profile import to_srgb
from .images import UNREADABLE, image_to_tensor
from .pixels import fit, resize

_FORMATS = ("PNG", "WEBP")
_UNTIMED = Fraction(1, 10)
"""Seconds that browsers show an image that says 0."""


def is_animated(path: Path) -> bool:
    """True if an image file is a WebP or PNG of several images."""
    try:
        with Image.open(path) as image:
            return image.format in _FORMATS and getattr(image, "n_frames", 1) > 1
    except UNREADABLE:
        return False


def open_animation(path: Path, *, settings: InputSettings) -> Clip:
    """Open an animated WebP or PNG; its images are read once before, for their times, by Pillow: ffmpeg reads no
    animated WebP.

    Raises:
        VideoError: no image can be read, or the start is after the end.
    """
    times, end = _times(path)
    start = Fraction(settings.start)
    first = sum(time <= start + ROUNDING for time in times) - 1
    if start >= end:
        raise VideoError(
            f"start is {settings.start:g} s, but {path} lasts {float(end):g} s: choose an earlier start"
        )
    own_size = _size(path)
    size = fit(*own_size, longest=settings.size)
    fps = Fraction(len(times)) / end
    lengths = [later - time for time, later in zip(times, [*times[1:], end], strict=True)]
    return Clip(
        _frames(path, times, first=first, start=start, keep_alpha=settings.transparency),
        load=lambda raw: resize(raw[0], size),
        own_duration=lambda raw: lengths[raw[1]],
        size=size,
        fps=fps,
        top_fps=1 / min(lengths),
        time_base=Fraction(1, 1000),
        frame_count=limited(len(times) - first, settings.frames),
        limit=settings.frames or None,
        sound=None,
        transparency=settings.transparency,
        frames_before=lambda: first,
    )


def _frames(
    path: Path, times: list[Fraction], *, first: int, start: Fraction, keep_alpha: bool
) -> Iterator[Timed]:
    with Image.open(path) as file:
        images = _images(file)
        for index, (time, image) in enumerate(zip(times, images, strict=False)):
            if index >= first:
                tensor: Tensor = image_to_tensor(to_srgb(image, path), keep_alpha=keep_alpha)
                yield (tensor, index), max(time, start)


def _times(path: Path) -> tuple[list[Fraction], Fraction]:
    """Times of the images that can be read, and the end of the last, in seconds."""
    times, end = [], Fraction(0)
    try:
        with Image.open(path) as file:
            for image in _images(file):
                times.append(end)
                end += (
                    Fraction(float(image.info.get("duration", 0))).limit_denominator(1000) / 1000 or _UNTIMED
                )
    except UNREADABLE as error:
        if not times:
            raise VideoError(f"{path} cannot be read as an image ({error}): the file is damaged") from error
        warnings.warn(f"{path} breaks off after {len(times)} images; these are used", stacklevel=3)
    return times, end


def _images(file: Image.Image) -> Iterator[Image.Image]:
    for index, image in enumerate(ImageSequence.Iterator(file)):
        # A PNG's picture for programs without animation is not a part of it.
        if index == 0 and getattr(file, "default_image", False):
            continue
        image.load()
        yield image


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as file:
        return size_of(image_to_tensor(next(_images(file))))
