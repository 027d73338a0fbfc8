"""Reading of video files, GIFs, folders of images and single images as a stream of images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, dropwhile, islice
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import torch
from av.container import InputContainer
from av.video.stream import VideoStream
from torch import Tensor

from ..checks import validate
from ..errors import VideoError
from ..settings import InputSettings
from .containers import open_to_read
from .images import is_image, list_images, load_image
from .packets import continuous_packets, may_jump
from .pixels import DisplayMatrix, display_matrix, fit, image_from_frame, resize, turn_upright

_ATTACHED_IMAGE = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC
_MICROSECOND = Fraction(1, 1_000_000)
_MISSING_END = 0.5
"""Seconds by which a whole clip may end earlier than its header says."""
_MOST_HELD = 1000
_ROUNDING = Fraction(1, 1000)
"""Seconds by which a frame may come before the start, as with 0.033 for 1/30."""


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


@dataclass(frozen=True)
class Sound:
    """Location of a clip's sound."""

    path: Path
    """The file that contains it."""
    start: float
    """Time of the clip's first frame, in seconds of the file."""


# A frame before it is loaded, with its time in the file: only the current frame becomes a tensor.
_Timed = tuple[Any, Fraction]


class Clip:
    """Iterator of the frames of an input, in constant memory. Close it at the end."""

    def __init__(
        self,
        frames: Iterable[_Timed],
        *,
        load: Callable[[Any], Tensor],
        size: tuple[int, int],
        fps: Fraction,
        time_base: Fraction,
        frame_count: int | None,
        limit: int | None,
        sound: Sound | None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.size = size
        """Height and width of the images."""
        self.fps = fps
        """Average frame rate."""
        self.time_base = time_base
        """Unit of the input's timestamps, in seconds."""
        self.frame_count = frame_count
        """Estimated number of frames to come, or None if the file does not say."""
        self.sound = sound
        """The input's sound, or None."""
        self._close = close
        self._frames: Iterator[Frame] = islice(_with_durations(frames, load=load, fps=fps), limit)

    @property
    def has_sound(self) -> bool:
        """True if the input has sound."""
        return self.sound is not None

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._frames = iter(())
        self._close()

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_clip(path: Path | str, *, settings: InputSettings) -> Clip:
    """Open a video of any container that ffmpeg reads, a GIF, a folder of images or a single image.

    Timestamps, rotation and pixel proportions of the file are respected; 10-bit video keeps its bits; transparency
    is blended with black. The longer side of each image is `settings.size`. The images of a folder come in natural
    order, all at the size of the first one. A damaged file is read as far as possible, with a warning.

    Raises:
        SettingsError: size, start, frames or fps is out of range.
        VideoError: the file is missing or contains no video, no frame can be decoded, the folder is empty, or the
            start is after the end.
    """
    validate(settings)
    path = Path(path)
    if not path.exists():
        raise VideoError(f"{path} does not exist: expected a video, an image or a folder of images")
    if path.is_dir():
        return _open_images(list_images(path), settings=settings)
    if is_image(path):
        return _open_images([path], settings=settings)
    return _open_video(path, settings=settings)


def _with_durations(
    frames: Iterable[_Timed], *, load: Callable[[Any], Tensor], fps: Fraction
) -> Iterator[Frame]:
    remaining = iter(frames)
    current = next(remaining, None)
    first = None if current is None else current[1]
    index = 0
    while current is not None and first is not None:
        following = next(remaining, None)
        raw, time = current
        duration = 1 / fps if following is None else following[1] - time
        yield Frame(load(raw), float(time - first), float(duration), index)
        current, index = following, index + 1


def _limited(frame_count: int | None, limit: int) -> int | None:
    return limit or None if frame_count is None else min(frame_count, limit or frame_count)


# --- images -----------------------------------------------------------------------------------------------


def _open_images(paths: list[Path], *, settings: InputSettings) -> Clip:
    fps = Fraction(settings.fps).limit_denominator(1001)
    skipped = -int(-(Fraction(settings.start) * fps - Fraction(1, 1000)) // 1)
    chosen = paths[max(0, skipped) :]
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
        frame_count=_limited(len(chosen), settings.frames),
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


# --- video --------------------------------------------------------------------------------------------------


def _open_video(path: Path, *, settings: InputSettings) -> Clip:
    container = _open_container(path)
    try:
        return _video_clip(container, path, settings=settings)
    except BaseException:
        container.close()
        raise


def _open_container(path: Path) -> InputContainer:
    try:
        return open_to_read(path)
    except (av.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(
            f"{path} cannot be read as a video ({reason}): it is damaged, incomplete or of another kind"
        ) from error


def _video_clip(container: InputContainer, path: Path, *, settings: InputSettings) -> Clip:
    stream = _video_stream(container, path)
    fps = Fraction(stream.average_rate or stream.guessed_rate or stream.base_rate or 25)
    frames = _frames_from(container, stream, start=Fraction(settings.start), fps=fps, path=path)
    first = next(frames, None)
    if first is None:
        raise VideoError(_why_nothing(container, stream, path, start=settings.start))
    matrix = display_matrix(first[0])
    size = fit(*_upright_size(first[0], stream, matrix), longest=settings.size)
    return Clip(
        chain([first], frames),
        load=lambda frame: resize(turn_upright(image_from_frame(frame), matrix), size),
        size=size,
        fps=fps,
        time_base=Fraction(stream.time_base or 1 / fps),
        frame_count=_limited(
            _count(container, stream, fps, start=settings.start, path=path), settings.frames
        ),
        limit=settings.frames or None,
        sound=Sound(path, float(first[1])) if container.streams.audio else None,
        close=container.close,
    )


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    stream = container.streams.best("video")
    # The cover image of a music file is a video stream too.
    if not isinstance(stream, VideoStream) or stream.disposition.value & _ATTACHED_IMAGE:
        raise VideoError(f"{path} contains no video stream: expected a video, an image or a folder of images")
    stream.thread_type = "AUTO"
    return stream


def _upright_size(frame: av.VideoFrame, stream: VideoStream, matrix: DisplayMatrix) -> tuple[int, int]:
    pixel_aspect = stream.sample_aspect_ratio or 1
    image = torch.empty(1, frame.height, max(1, round(frame.width * pixel_aspect)))
    height, width = turn_upright(image, matrix).shape[-2:]
    return height, width


def _frames_from(
    container: InputContainer, stream: VideoStream, *, start: Fraction, fps: Fraction, path: Path
) -> Iterator[_Timed]:
    begin = (stream.start_time or 0) * _time_base(stream) + start
    frames = _decode(container, stream, fps=fps, path=path)
    if start:
        frames = _sought(container, stream, begin, start=start, fps=fps, path=path)
    return dropwhile(lambda timed: timed[1] < begin - _ROUNDING, frames)


def _sought(
    container: InputContainer,
    stream: VideoStream,
    begin: Fraction,
    *,
    start: Fraction,
    fps: Fraction,
    path: Path,
) -> Iterator[_Timed]:
    """Seek to a keyframe that is not after `begin`, and decode from there."""
    if may_jump(container):
        return _decode(container, stream, fps=fps, path=path, begin=begin)
    # In files without an index, ffmpeg guesses where to seek, sometimes too far.
    for earlier in (Fraction(0), Fraction(10), start + 1):
        # If seeking is impossible, reading starts at the beginning.
        with suppress(av.FFmpegError):
            container.seek(int((begin - earlier) / _time_base(stream)), stream=stream)
        frames = _decode(container, stream, fps=fps, path=path)
        first = next(frames, None)
        if first is None or first[1] <= begin + 1 / fps:
            break
    return iter(()) if first is None else chain([first], frames)


def _time_base(stream: VideoStream) -> Fraction:
    return Fraction(stream.time_base or _MICROSECOND)


def _decode(
    container: InputContainer,
    stream: VideoStream,
    *,
    fps: Fraction,
    path: Path,
    begin: Fraction | None = None,
) -> Iterator[_Timed]:
    """Decode frames with increasing times; skip damaged packets and warn about them at the end.

    With `begin`, frames that end before it may be left out.
    """
    damage = _Damage()
    time: Fraction | None = None
    delay = _guessed_delay(container, stream, path)
    packets = (packet for packet in damage.watch(container) if packet.stream_index == stream.index)
    for packet in packets if begin is None else _needed(packets, begin):
        for frame in damage.decode(packet):
            stamp = None if frame.pts is None else frame.pts * Fraction(frame.time_base or 0) - delay
            if time is not None and (stamp is None or stamp <= time):
                stamp = time + 1 / fps
            time = stamp or Fraction(0)
            yield frame, time
    if time is not None:
        damage.warn(container, path)


def _guessed_delay(container: InputContainer, stream: VideoStream, path: Path) -> Fraction:
    """Seconds by which ffmpeg delays the images of an AVI file, which has no times: it expects B-frames."""
    if container.format.name != "avi":
        return Fraction(0)
    with _open_container(path) as other:
        first = next((packet.pts for packet in other.demux(video=0) if packet.pts is not None), 0)
    return (first - (stream.start_time or 0)) * _time_base(stream)


def _needed(packets: Iterator[Any], begin: Fraction) -> Iterator[Any]:
    """Leave out the packets before the last keyframe that is not after `begin`."""
    held: list[Any] = []
    for packet in packets:
        if packet.is_keyframe and packet.pts is not None and packet.pts * packet.time_base <= begin:
            held.clear()
        held.append(packet)
        # Without keyframes, decode what is not needed rather than hold the whole file.
        if len(held) > _MOST_HELD or (packet.dts is not None and packet.dts * packet.time_base > begin):
            break
    yield from held
    held.clear()
    yield from packets


class _Damage:
    """Count of the errors in a file, and the time up to which it could be read."""

    def __init__(self) -> None:
        self._errors = 0
        self._reached = Fraction(0)

    def watch(self, container: InputContainer) -> Iterator[Any]:
        """Read all packets up to the end of the file, or until it breaks off."""
        packets = continuous_packets(container)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError:
                self._errors += 1
                return
            if packet.pts is not None:
                self._reached = max(self._reached, (packet.pts + (packet.duration or 0)) * packet.time_base)
            yield packet

    def decode(self, packet: Any) -> list[av.VideoFrame]:
        """Decode the frames of a packet; a damaged one gives none."""
        try:
            frames = list(packet.decode())
        except av.FFmpegError:
            self._errors += 1
            return []
        self._errors += sum(frame.is_corrupt for frame in frames)
        return frames

    def warn(self, container: InputContainer, path: Path) -> None:
        """Warn about errors and a missing end, if any."""
        end = ((container.start_time or 0) + (container.duration or 0)) * _MICROSECOND
        if self._reached < end - _MISSING_END:
            warnings.warn(
                f"{path} breaks off at {float(self._reached):.1f} s of {float(end):.1f} s; "
                "what could be decoded was used",
                stacklevel=2,
            )
        elif self._errors:
            warnings.warn(
                f"{path} is damaged in {self._errors} places; what could be decoded was used", stacklevel=2
            )


def _count(
    container: InputContainer, stream: VideoStream, fps: Fraction, *, start: float, path: Path
) -> int | None:
    if may_jump(container):
        return _counted(stream, path, begin=(stream.start_time or 0) * _time_base(stream) + Fraction(start))
    total = stream.frames or _estimated_count(container, stream, fps)
    return None if total is None else max(1, total - round(start * fps))


def _counted(stream: VideoStream, path: Path, *, begin: Fraction) -> int:
    """Count the packets from `begin` on: in a file whose times jump, its length says nothing."""
    count = 0
    with _open_container(path) as container, suppress(av.FFmpegError):
        for packet in continuous_packets(container):
            if packet.stream_index == stream.index and packet.size:
                stamp = packet.dts if packet.pts is None else packet.pts
                count += stamp is None or stamp * packet.time_base >= begin - _ROUNDING
    return max(1, count)


def _estimated_count(container: InputContainer, stream: VideoStream, fps: Fraction) -> int | None:
    seconds = _seconds(container, stream)
    return None if seconds is None else round(seconds * fps)


def _seconds(container: InputContainer, stream: VideoStream) -> Fraction | None:
    if stream.duration:
        return stream.duration * _time_base(stream)
    return container.duration * _MICROSECOND if container.duration else None


def _why_nothing(container: InputContainer, stream: VideoStream, path: Path, *, start: float) -> str:
    seconds = _seconds(container, stream)
    if start > 0:
        length = "" if seconds is None else f", which lasts {float(seconds):.1f} s"
        return f"start is {start:g} s, but no frame follows in {path}{length}: choose an earlier start"
    return f"no frame of {path} can be decoded: the file is damaged or incomplete"
