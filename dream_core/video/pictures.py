"""Folders of images and single images as clips."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

from torch import Tensor

from ..errors import VideoError
from ..image import Size, alike, size_of
from ..settings import InputSettings
from .clip import ROUNDING, Clip, Timed, limited
from .folder import is_whole
from .images import load_image
from .pixels import fit, fit_inside


def open_pictures(paths: list[Path], *, settings: InputSettings, first: int | None = None) -> Clip:
    """Open image files as the frames of a clip at `settings.fps`, all at the size of the first.

    Args:
        paths: of the images.
        settings: of the clip.
        first: number of images to skip; None = those before `settings.start`.

    Raises:
        VideoError: the start is after the end, or the first image cannot be read.
    """
    fps = Fraction(settings.fps).limit_denominator(1001)
    skipped = int((Fraction(settings.start) + ROUNDING) * fps) if first is None else first
    chosen = paths[skipped:]
    if not chosen and first is not None:
        raise VideoError(
            f"expected an image for each frame, got {len(paths)} in {paths[0].parent} for a clip that begins after "
            f"{first} frames: add some, or choose an earlier start"
        )
    if not chosen:
        raise VideoError(
            f"start is {settings.start:g} s, but {len(paths)} images at {float(fps):g} frames per second "
            f"last {float(len(paths) / fps):g} s: choose an earlier start"
        )
    frames = _frames(chosen, fps, keep_alpha=settings.transparency)
    shown = next(frames)
    own_size = size_of(shown[0][1])
    size = fit(*own_size, longest=settings.size)
    loader = _Loader(own_size, size, first=shown[0][0])
    return Clip(
        chain([shown], frames),
        load=loader.load,
        begins_anew=loader.begins_anew,
        transparency=settings.transparency,
        size=size,
        fps=fps,
        time_base=1 / fps,
        frame_count=limited(len(chosen), settings.frames),
        limit=settings.frames or None,
        sound=None,
        frames_before=lambda: sum(1 for _ in _frames(paths[:skipped], fps, keep_alpha=False)),
    )


def _frames(paths: list[Path], fps: Fraction, *, keep_alpha: bool) -> Iterator[Timed]:
    """Read the images; one that is damaged costs only itself, and the image before it stays."""
    read = 0
    for index, path in enumerate(paths):
        try:
            image = load_image(path, keep_alpha=keep_alpha)
        except VideoError as error:
            if not read and path == paths[-1]:
                raise
            if not is_whole(path):  # as it was before the first image was read
                raise VideoError(
                    f"{path} was removed or cut while the images were read: put it back, then start the same again"
                ) from error
            warnings.warn(f"{error}: left out", stacklevel=2)
            continue
        read += 1
        yield (path, image), index / fps


class _Loader:
    """Brings images to the clip's size; those of other proportions are fitted into it."""

    def __init__(self, own_size: Size, size: Size, *, first: Path) -> None:
        self._own_size = self._before = own_size
        self._size = size
        self._first = first
        self._warned = False
        self._anew = False

    def load(self, raw: tuple[Path, Tensor]) -> Tensor:
        """Resize an image to (3,H,W)."""
        path, image = raw
        own_size = size_of(image)
        self._anew, self._before = not alike(own_size, self._before), own_size
        if own_size != self._own_size and not self._warned:
            self._warned = True
            warnings.warn(
                f"{path.name} is {_named(own_size)} but {self._first.name} is {_named(self._own_size)}: images of "
                "another size are fitted into that of the first, with black bars rather than stretched, and where "
                "proportions change the dream starts afresh",
                stacklevel=2,
            )
        return fit_inside(image, own_size, self._size)

    def begins_anew(self, _: tuple[Path, Tensor]) -> bool:
        """True if the image that was loaded last has other proportions than the one before."""
        return self._anew


def _named(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
