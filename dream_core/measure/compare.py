"""Comparison of clips, frame by frame, in one picture: side by side, by a wipe, or by their difference."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..checks import validate
from ..errors import SettingsError, VideoError
from ..image import Size, alike, require_image, resize, size_of
from ..settings import CompareSettings
from ..video import Clip, Frame

GAP = 4
"""Pixels between panels, and width of the line of a wipe."""
LINES = 18
"""Lines of text that the height of a clip holds."""
SMALLEST_TEXT = 12
BACKING = 160
"""Opacity of the black behind a label, of 255."""


class Comparison:
    """Puts frames of several clips into one picture.

    Args:
        names: of the clips, two to four.
        size: height and width of every frame.
        settings: of the picture; its `labels` replace the names.

    Raises:
        SettingsError: there are fewer than two clips or more than four, or other numbers of labels than of clips.
    """

    def __init__(self, names: Sequence[str], size: Size, settings: CompareSettings) -> None:
        validate(settings)
        if not 2 <= len(names) <= 4:
            raise SettingsError(f"expected two to four clips to compare, got {len(names)}")
        if settings.labels and len(settings.labels) != len(names):
            raise SettingsError(
                f"expected a label for each of the {len(names)} clips in `labels`, got {len(settings.labels)}"
            )
        self._settings, self._size, self._count = settings, size, len(names)
        labels = list(settings.labels or names)
        if settings.layout == "difference":
            labels[1:] = [f"{label} - {labels[0]}, x{settings.amplify:g}" for label in labels[1:]]
        widest = size[1] // 2 if settings.layout == "wipe" else size[1]
        self._labels = [_label(text, size[0], widest) for text in labels] if settings.show_labels else []
        columns = len(names) if len(names) < 4 else 2
        rows = math.ceil(len(names) / columns)
        height, width = size
        self._places = [
            (row * (height + GAP), column * (width + GAP)) for row in range(rows) for column in range(columns)
        ][: len(names)]
        self.size: Size = size
        """Height and width of the picture."""
        if settings.layout != "wipe":
            self.size = rows * (height + GAP) - GAP, columns * (width + GAP) - GAP

    def __call__(self, frames: Sequence[Tensor], *, time: float) -> Tensor:
        """Put one frame of each clip into a picture.

        Args:
            frames: (3,H,W) or (1,3,H,W) each, in 0..1, in the order of the names.
            time: seconds from the first frame; a wipe moves with it.

        Returns:
            (1,3,*size) float32 in 0..1 on the CPU.

        Raises:
            ImageError: a frame has another size.
        """
        images = [frame.detach().to("cpu", torch.float32).reshape(1, 3, *size_of(frame)) for frame in frames]
        expected = torch.empty(()).expand(1, 3, *self._size)
        for image in images:
            require_image(image, name="frame", like=expected, values=False)
        if self._settings.layout == "wipe":
            return self._wipe(images, time)
        if self._settings.layout == "difference":
            first, *others = images
            images = [first, *((other - first).abs() * self._settings.amplify for other in others)]
        picture = torch.zeros(1, 3, *self.size)
        for index, (image, (top, left)) in enumerate(zip(images, self._places, strict=True)):
            panel = image.clamp(0, 1)
            if self._labels:
                panel = _with_label(panel, self._labels[index], right=False)
            picture[..., top : top + panel.shape[-2], left : left + panel.shape[-1]] = panel
        return picture

    def _wipe(self, images: Sequence[Tensor], time: float) -> Tensor:
        """Uncover each clip after the other from the left, in a circle."""
        width = self._size[1]
        turns = time / self._settings.wipe_seconds
        old, new = int(turns) % self._count, (int(turns) + 1) % self._count
        border = round((turns - int(turns)) * width)
        picture = images[old].clamp(0, 1).clone()
        picture[..., :border] = images[new][..., :border].clamp(0, 1)
        picture[..., max(0, border - GAP // 2) : border + GAP // 2] = 1
        if not self._labels:
            return picture
        # A label goes as its clip does: the old one by the line that comes, the new one comes with it.
        for label, right in ((self._labels[new], False), (self._labels[old], True)):
            shown = label.shape[-1] + label.shape[-2] // 3
            if (border >= shown) if not right else (width - border >= shown):
                picture = _with_label(picture, label, right=right)
        return picture


def compared(
    clips: Mapping[str, Clip], comparison: Comparison, *, size: Size, timed: str | None = None
) -> Iterator[tuple[Frame, Tensor]]:
    """Yield each frame of one clip with the picture of that frame of all, in constant memory.

    Args:
        clips: by name, accepted by `require_comparable`.
        comparison: of their names, at the first one's size.
        size: to which the frames of the others are brought.
        timed: name of the clip whose frames are yielded, for their times; by default the first.

    Raises:
        VideoError: a clip ends before another.
    """
    for index in count():
        frames = [next(clip, None) for clip in clips.values()]
        present = [frame for frame in frames if frame is not None]
        if not present:
            return
        if len(present) < len(frames):
            lengths = {name: index + (frame is not None) for name, frame in zip(clips, frames, strict=True)}
            raise VideoError(_unequal(lengths, least=index))
        images = [resize(frame.image[None], size).clamp(0, 1) for frame in present]
        frame = present[list(clips).index(timed)] if timed else present[0]
        yield frame, comparison(images, time=frame.time)


def require_comparable(clips: Mapping[str, Clip]) -> None:
    """Check, before any frame is read, that clips have as many frames and the same proportions.

    Raises:
        VideoError: they have not; the message names two that differ.
    """
    (first, one), *others = clips.items()
    for name, clip in others:
        if not alike(one.size, clip.size):
            raise VideoError(
                f"expected clips of the same proportions, got {first} with {_worded(one.size)} and {name} with "
                f"{_worded(clip.size)} pixels: crop one of them"
            )
    # What files say of their length may be wrong, and is checked only where it differs.
    if len({clip.frame_count for clip in clips.values()} - {None}) > 1:
        found = {name: clip.counted() for name, clip in clips.items()}
        counts = {name: count for name, count in found.items() if count is not None}
        if len(set(counts.values())) > 1:
            raise VideoError(_unequal(counts, least=min(counts.values())))


def _unequal(counts: Mapping[str, int], *, least: int) -> str:
    longest, shortest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    more = "" if counts[longest] > least + 1 else " or more"
    return (
        f"expected clips of equal length, got {shortest} with {counts[shortest]} frames and {longest} with "
        f"{counts[longest]}{more}: compare the first {least} by `frames` {least}"
    )


def _worded(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def _label(text: str, height: int, widest: int) -> Tensor:
    """Draw a text, white on half-transparent black, (4,h,w) in 0..1; one that is too wide ends in dots."""
    points = max(SMALLEST_TEXT, round(height / LINES))
    font = ImageFont.load_default(points)
    margin = max(2, points // 4)
    room = max(1, widest - 2 * margin)
    shown, kept = text, len(text)
    while font.getlength(shown) > room and kept > 1:
        kept -= 1
        shown = text[:kept].rstrip() + "..."
    width, tall = math.ceil(font.getlength(shown)) + 2 * margin, round(1.4 * points)
    image = Image.new("RGBA", (min(width, widest), min(tall, height)), (0, 0, 0, BACKING))
    ImageDraw.Draw(image).text((margin, tall / 2), shown, font=font, fill="white", anchor="lm")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255  # HWC -> CHW


def _with_label(picture: Tensor, label: Tensor, *, right: bool) -> Tensor:
    """Lay a label over the upper left or right corner of a picture (1,3,H,W)."""
    height, width = size_of(label)
    across = slice(-width, None) if right else slice(0, width)
    picture = picture.clone()
    corner = picture[..., :height, across]
    picture[..., :height, across] = torch.lerp(corner, label[:3], label[3:].expand_as(corner[0]))
    return picture
