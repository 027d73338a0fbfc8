"""Frames of an input, with their times."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import islice, takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..device import send

ROUNDING = Fraction(1, 1000)
"""Seconds by which a start may miss a frame, as 0.033 misses 1/30."""

Timed: TypeAlias = tuple[Any, Fraction]
"""A frame before it is loaded, with its time in the file: only the current frame becomes a tensor."""


class FrameFlow(NamedTuple):
    """The motion of a frame, where it is known and need not be estimated.

    Args:
        backward: (1,2,H,W) in pixels, x first: from the frame to the one before it.
        forward: the same from the one before to the frame; None if it is not known.
        reliability: (1,1,H,W) in 0..1, 0 where the backward flow is not known; None for 1 everywhere.
    """

    backward: Tensor
    forward: Tensor | None = None
    reliability: Tensor | None = None

    def to(self, device: torch.device) -> FrameFlow:
        """Return the same in float32 on a device."""
        others = (None if one is None else send(one.float(), device) for one in self[1:])
        return FrameFlow(send(self.backward.float(), device), *others)

    def reversed(self) -> FrameFlow | None:
        """Return the flow of the frame before in reversed time; None if it is not known."""
        return None if self.forward is None else FrameFlow(self.forward, self.backward)


@dataclass(frozen=True)
class Frame:
    """One image of a clip."""

    image: Tensor
    """(3,H,W) RGB float32 in 0..1, at the dream's size."""
    time: float
    """Seconds from the first frame of the clip that was read."""
    duration: float
    """Seconds until the next frame."""
    index: int
    """0, 1, 2, ..."""
    alpha: Tensor | None = None
    """(1,H,W) in 0..1, 1 = opaque, if it is kept; the image lies over black."""
    mask: Tensor | None = None
    """(1,H,W) in 0..1, where to dream, if there is a mask."""
    regions: Mapping[str, Tensor] = field(default_factory=dict)
    """(1,H,W) in 0..1 by the name of a layer or of an objective, where it alone acts."""
    guides: tuple[Tensor, ...] = ()
    """(3,h,w) RGB in 0..1 each, of any size: what to dream of."""
    flow: FrameFlow | None = None
    """Its motion, if it is known."""
    anew: bool = False
    """True where the clip goes on in other proportions, so that no dream can be carried into it."""


@dataclass(frozen=True)
class Sound:
    """Location of a clip's sound."""

    path: Path
    """The file that contains it."""
    start: float
    """Time of the clip's first frame, in seconds of the file."""


class Clip:
    """Iterator of the frames of an input, in constant memory. Close it at the end."""

    def __init__(
        self,
        frames: Iterable[Timed],
        *,
        load: Callable[[Any], Tensor],
        size: tuple[int, int],
        fps: Fraction,
        time_base: Fraction,
        frame_count: int | None,
        limit: int | None,
        sound: Sound | None,
        top_fps: Fraction | None = None,
        own_duration: Callable[[Any], Fraction] = lambda _: Fraction(0),
        begins_anew: Callable[[Any], bool] = lambda _: False,
        transparency: bool = False,
        count: Callable[[], int | None] | None = None,
        frames_before: Callable[[], int] = lambda: 0,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.size = size
        """Height and width of the images."""
        self.fps = fps
        """Average frame rate."""
        self.top_fps = top_fps or fps
        """Frame rate in which every frame has its place, also where they follow each other most quickly."""
        self.time_base = time_base
        """Unit of the input's timestamps, in seconds."""
        self.frame_count = frame_count
        """Estimated number of frames to come, or None if the file does not say; see `counted`."""
        self.passed = 0
        """Number of frames that were read, also those that are left out."""
        self.sound = sound
        """The input's sound, or None."""
        self.transparency = transparency
        """True if the frames have an alpha."""
        self.frames_before = cache(frames_before)
        """Counts the frames of the input before the first one of the clip; it may decode them for that."""
        self._count: Callable[[], int | None] | None = None if count is None else cache(count)
        self._load = load
        self._own_duration = own_duration
        self._begins_anew = begins_anew
        self._close = close
        self._first = self._skipped = 0
        self._picked: Container[int] | None = None
        self._beside: dict[str, Iterator[Any]] = {}
        self._given: dict[str, Callable[[int], Any]] = {}
        self._frames: Iterator[Frame | None] = islice(self._with_durations(frames), limit)
        self._timed: Iterator[Timed] = islice(frames, limit)
        self._end = math.inf

    @property
    def has_sound(self) -> bool:
        """True if the input has sound."""
        return self.sound is not None

    @property
    def first(self) -> int:
        """Index of the first frame that `only` keeps."""
        return self._first

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(frame for frame in self._frames if frame is not None)

    def counted(self) -> int | None:
        """Return the number of frames to come where `frame_count` is but an estimate, too; it may read the file.

        Returns:
            None if it cannot be known without decoding.
        """
        return self.frame_count if self._count is None else self._count()

    def skip(self, count: int) -> None:
        """Leave out this many frames. They are decoded, but not brought to the clip's size.

        Call it before the first frame is read.
        """
        self._skipped = self._first + count

    def pick(self, indices: Container[int]) -> None:
        """Keep the frames of these indices alone. The others are decoded, but not brought to the clip's size.

        Call it before the first frame is read.
        """
        self._picked = indices

    def only(self, first: int, end: int) -> None:
        """Keep the frames from index `first` to before `end`, with their own indices and times.

        `skip` then counts from `first` on. Call it before the first frame is read.
        """
        self._first = self._skipped = first
        self._frames = islice(self._frames, end)
        self.frame_count, self._count = end - first, None

    def times(self) -> Iterator[float]:
        """Read the times of all frames, in seconds from the first one on, without their images.

        Call it instead of reading frames.
        """
        first: Fraction | None = None
        for _, time in self._timed:
            first = time if first is None else first
            if time - first >= self._end:
                return
            yield float(time - first)

    def end_at(self, seconds: float) -> None:
        """End before the frame of this time, in seconds from the first frame on.

        Call it before the first frame is read.
        """
        self._end = seconds
        self._frames = takewhile(lambda frame: frame is None or frame.time < seconds, self._frames)
        if self.frame_count is not None:
            self.frame_count = min(self.frame_count, max(1, round(seconds * float(self.fps))))
        self._count = lambda: None

    def add(self, values: Mapping[str, Iterator[Any]], *, close: Callable[[], None] = lambda: None) -> None:
        """Give each frame something that is read beside it. Call it before the first frame is read.

        Args:
            values: by the name of the field of `Frame`, one for each frame, those that are skipped too.
            close: called when the clip is closed.
        """
        self._beside |= values
        close_frames = self._close

        def close_both() -> None:
            close_frames()
            close()

        self._close = close_both

    def give(self, values: Mapping[str, Callable[[int], Any]]) -> None:
        """Give each frame something by its index; nothing is asked for those that are skipped.

        Args:
            values: functions of the index, by the name of the field of `Frame`.
        """
        self._given |= values

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._frames, self._timed = iter(()), iter(())
        self._close()

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _with_durations(self, frames: Iterable[Timed]) -> Iterator[Frame | None]:
        """Yield the frames; None for each one that is skipped."""
        remaining = iter(frames)
        current = next(remaining, None)
        first = None if current is None else current[1]
        index = 0
        while current is not None and first is not None:
            following = next(remaining, None)
            raw, time = current
            self.passed = index + 1
            last = self._own_duration(raw) or 1 / self.fps
            duration = last if following is None else following[1] - time
            beside = {name: next(values) for name, values in self._beside.items()}
            if not (self._is_kept(index) or self._is_kept(index + 1)):
                yield None
            else:
                # The last one that is skipped is loaded: the loader compares each with the one before.
                image = self._load(raw)  # (4,H,W) with alpha
                if self._is_kept(index):
                    beside |= {name: give(index) for name, give in self._given.items()}
                frame = Frame(
                    image[:3],
                    float(time - first),
                    float(duration),
                    index,
                    alpha=image[3:] if self.transparency else None,
                    **beside,
                    anew=self._begins_anew(raw),
                )
                yield frame if self._is_kept(index) else None
            current, index = following, index + 1

    def _is_kept(self, index: int) -> bool:
        return index >= self._skipped and (self._picked is None or index in self._picked)


def limited(frame_count: int | None, limit: int) -> int | None:
    """Return the number of frames to come if at most `limit` are read, 0 for all."""
    return limit or None if frame_count is None else min(frame_count, limit or frame_count)
