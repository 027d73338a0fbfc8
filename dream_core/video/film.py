"""Reading of video files and GIFs as clips."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import torch
from av.container import InputContainer
from av.video.stream import VideoStream

from ..errors import VideoError
from ..settings import InputSettings
from .clip import ROUNDING, Clip, Sound, Timed, limited
from .containers import open_to_read
from .packets import continuous_packets, may_jump
from .pixels import DisplayMatrix, display_matrix, fit, image_from_frame, resize, turn_upright

_ATTACHED_IMAGE = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC
_MICROSECOND = Fraction(1, 1_000_000)
_MISSING_END = 0.5
"""Seconds by which a whole clip may end earlier than its header says."""
_MOST_HELD = 1000
_HIGHEST_RATE = 60
"""Frames per second beyond which a container of a constant rate gets the average rate."""


def open_film(path: Path, *, settings: InputSettings) -> Clip:
    """Open a video file or GIF.

    Raises:
        VideoError: the file cannot be read or contains no video, no frame can be decoded, or the start is after the
            end.
    """
    container = _open_container(path)
    try:
        return _Film(container, path).clip(settings)
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


class _Film:
    """The images of a file, and what the file says of them."""

    def __init__(self, container: InputContainer, path: Path) -> None:
        self._container = container
        self._path = path
        self._stream = stream = _video_stream(container, path)
        self._fps = Fraction(stream.average_rate or stream.guessed_rate or stream.base_rate or 25)
        self._unit = Fraction(stream.time_base or _MICROSECOND)
        self._begin = (stream.start_time or 0) * self._unit
        self._is_avi = container.format.name == "avi"
        self._delay = self._guessed_delay()

    def clip(self, settings: InputSettings) -> Clip:
        frames = self._frames_from(Fraction(settings.start))
        first = next(frames, None)
        if first is None:
            raise VideoError(self._why_nothing(settings.start))
        matrix = display_matrix(first[0])
        size = fit(*_upright_size(first[0], self._stream, matrix), longest=settings.size)
        return Clip(
            chain([first], frames),
            load=lambda frame: resize(turn_upright(image_from_frame(frame), matrix), size),
            own_duration=_own_duration,
            size=size,
            fps=self._fps,
            top_fps=self._top_fps(),
            time_base=self._unit,
            frame_count=limited(self._count(Fraction(settings.start)), settings.frames),
            limit=settings.frames or None,
            sound=Sound(self._path, float(first[1])) if self._container.streams.audio else None,
            close=self._container.close,
        )

    # --- frames ---

    def _frames_from(self, start: Fraction) -> Iterator[Timed]:
        """Decode the frame that is on the screen at `start`, and those that follow."""
        begin = self._begin + start
        return self._on_screen(self._sought(begin, start) if start else self._decode(), begin)

    def _on_screen(self, frames: Iterator[Timed], begin: Fraction) -> Iterator[Timed]:
        current = next(frames, None)
        if current is None:
            return
        following = next(frames, None)
        while following is not None and following[1] <= begin + ROUNDING:
            current, following = following, next(frames, None)
        raw, time = current
        usual = 1 / self._fps
        duration = (_own_duration(raw) or usual) if following is None else following[1] - time
        if time + duration <= begin + ROUNDING:
            return
        # One frame of the usual length is shown as a whole; what stands for longer is not shown again from its
        # beginning.
        yield raw, max(time, begin) if duration > usual * Fraction(3, 2) else time
        if following is not None:
            yield following
        yield from frames

    def _sought(self, begin: Fraction, start: Fraction) -> Iterator[Timed]:
        """Seek to a keyframe that is not after `begin`, and decode from there."""
        if may_jump(self._container):
            return self._decode(begin)
        # In files without an index, ffmpeg guesses where to seek, sometimes too far.
        for earlier in (Fraction(0), Fraction(10), start + 1):
            # If seeking is impossible, reading starts at the beginning.
            with suppress(av.FFmpegError):
                self._container.seek(int((begin - earlier) / self._unit), stream=self._stream)
            frames = self._decode()
            first = next(frames, None)
            if first is None or first[1] <= begin + ROUNDING:
                break
        return iter(()) if first is None else chain([first], frames)

    def _decode(self, begin: Fraction | None = None) -> Iterator[Timed]:
        """Decode frames with increasing times; skip damaged packets and warn about them at the end.

        With `begin`, frames that end before it may be left out.
        """
        damage = _Damage()
        time: Fraction | None = None
        places: deque[int] = deque()
        every = damage.watch(self._container)
        packets = (packet for packet in every if packet.stream_index == self._stream.index)
        for packet in packets if begin is None else _needed(packets, begin):
            if self._is_avi and packet.size and packet.pts is not None:
                places.append(packet.pts)
            for frame in damage.decode(packet):
                # The images of an AVI file have places instead of times: in the order in which they are shown.
                pts = places.popleft() if places else frame.pts
                stamp = None if pts is None else pts * self._unit - self._delay
                if time is not None and (stamp is None or stamp <= time):
                    stamp = time + 1 / self._fps
                time = stamp or Fraction(0)
                yield frame, time
        if time is not None:
            damage.warn(self._container, self._path)

    def _guessed_delay(self) -> Fraction:
        """Seconds by which ffmpeg delays the images of an AVI file: it expects B-frames."""
        if not self._is_avi:
            return Fraction(0)
        with _open_container(self._path) as other:
            packets = other.demux(other.streams[self._stream.index])
            first = next((packet.pts for packet in packets if packet.pts is not None), 0)
        return first * self._unit - self._begin

    # --- numbers ---

    def _top_fps(self) -> Fraction:
        rate = self._stream.base_rate
        return max(self._fps, Fraction(rate)) if rate and rate <= _HIGHEST_RATE else self._fps

    def _count(self, start: Fraction) -> int | None:
        """Count the frames from `start` on, exactly where that is quick."""
        begin = self._begin + start
        if may_jump(self._container):
            return self._counted(begin)
        if start == 0 and self._stream.frames:
            return self._stream.frames
        if start and self._top_fps() != self._fps:
            return self._counted(begin)
        seconds = self._seconds()
        if seconds is None:
            return None
        total = self._stream.frames or round(seconds * self._fps)
        return max(1, total - int((start + ROUNDING) * self._fps))

    def _counted(self, begin: Fraction) -> int:
        """Count the packets from `begin` on, where the length says too little: times jump, or the rate varies."""
        later = 0
        with _open_container(self._path) as container, suppress(av.FFmpegError):
            for packet in continuous_packets(container):
                if packet.stream_index == self._stream.index and packet.size:
                    stamp = packet.dts if packet.pts is None else packet.pts
                    later += stamp is None or stamp * packet.time_base > begin + ROUNDING
        return later + 1

    def _seconds(self) -> Fraction | None:
        """Length of the images; sound may be longer."""
        if self._stream.duration:
            return self._stream.duration * self._unit
        if tag := self._stream.metadata.get("DURATION"):  # Matroska's, counted from the file's beginning
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds) - self._begin
        if not self._container.duration:
            return None
        whole = self._container.duration * _MICROSECOND
        return self._seconds_at_the_end(whole) if self._container.streams.audio else whole

    def _seconds_at_the_end(self, whole: Fraction) -> Fraction:
        end = Fraction(0)
        with _open_container(self._path) as container, suppress(av.FFmpegError):
            stream = container.streams[self._stream.index]
            container.seek(int(self._begin / self._unit), stream=stream)
            container.seek(int((self._begin + whole) / self._unit), stream=stream)
            for packet in container.demux(stream):
                if packet.pts is not None:
                    end = max(end, (packet.pts + (packet.duration or 0)) * self._unit)
        return end - self._begin if end else whole

    def _why_nothing(self, start: float) -> str:
        if start > 0:
            seconds = self._seconds()
            length = "" if seconds is None else f", which lasts {float(seconds):.1f} s"
            return (
                f"start is {start:g} s, but no frame follows in {self._path}{length}: choose an earlier start"
            )
        return f"no frame of {self._path} can be decoded: the file is damaged or incomplete"


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


def _own_duration(frame: av.VideoFrame) -> Fraction:
    """Seconds that a frame lasts, by its file, or 0."""
    return (getattr(frame, "duration", 0) or 0) * Fraction(frame.time_base or 0)


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
        if self._reached < end - _MISSING_END and not may_jump(container):
            warnings.warn(
                f"{path} breaks off at {float(self._reached):.1f} s of {float(end):.1f} s; "
                "what could be decoded was used",
                stacklevel=2,
            )
        elif self._errors:
            warnings.warn(
                f"{path} is damaged in {self._errors} places; what could be decoded was used", stacklevel=2
            )
