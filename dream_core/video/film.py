"""Reading of video files and GIFs as clips."""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import av
import torch
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from torch import Tensor

from ..errors import VideoError
from ..image import Size, alike, size_of
from ..settings import InputSettings
from .clip import ROUNDING, Clip, Sound, Timed, limited
from .containers import flag_number, open_to_read
from .packets import continuous_packets, may_jump
from .pixels import (
    DisplayMatrix,
    display_matrix,
    fit,
    fit_inside,
    has_alpha,
    image_from_frame,
    turn_upright,
)
from .restore import Restorer

_ATTACHED_IMAGE = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC
_IMAGE_CODECS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpeg2000", "ljpeg")
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
    container = open_container(path)
    try:
        return _Film(container, path).clip(settings)
    except BaseException:
        container.close()
        raise


def open_container(path: Path) -> InputContainer:
    """Open a video file.

    Raises:
        VideoError: it cannot be read as one.
    """
    try:
        return open_to_read(path)
    except EOFError as error:
        raise VideoError(f"{path} cannot be read as a video (it is empty): expected a whole file") from error
    except OSError as error:  # the file itself cannot be read
        raise VideoError(
            f"{path} cannot be opened ({error.strerror or error}): check its permissions"
        ) from error
    except av.FFmpegError as error:
        reason = error.strerror or error
        raise VideoError(
            f"{path} cannot be read as a video ({reason}): it is damaged, incomplete or of another kind"
        ) from error


class _Film:
    """The images of a file, and what the file says of them."""

    def __init__(self, container: InputContainer, path: Path) -> None:
        self._container = container
        self._path = path
        self._bytes = path.stat().st_size
        self._stream = stream = video_stream(container, path)
        self._fps = Fraction(stream.average_rate or stream.guessed_rate or stream.base_rate or 25)
        self._unit = Fraction(stream.time_base or _MICROSECOND)
        self._begin = (stream.start_time or 0) * self._unit
        self._alpha_decoder = _alpha_decoder(stream, path)
        self._first_aspect: Fraction | None = None
        self._is_avi = container.format.name == "avi"
        # Where the codec reorders images, those of an AVI file have places instead of times: in the order in which
        # they are shown.
        self._has_places = self._is_avi and stream.codec_context.codec.reorder
        self._delay = self._guessed_delay()

    def clip(self, settings: InputSettings) -> Clip:
        """Open the frames that the settings choose."""
        self._deinterlace = settings.deinterlace
        frames = self._shown(self._frames_from(Fraction(settings.start)))
        first = next(frames, None)
        if first is None:
            raise VideoError(self._why_nothing(settings.start))
        size = fit(*first[0].size, longest=settings.size)
        transparency = settings.transparency and has_alpha(first[0].frame.format)
        return Clip(
            chain([first], frames),
            load=lambda shown: shown.image(size, keep_alpha=transparency),
            transparency=transparency,
            own_duration=lambda shown: _own_duration(shown.frame),
            begins_anew=lambda shown: shown.anew,
            size=size,
            fps=self._fps,
            top_fps=self._top_fps(),
            time_base=self._unit,
            frame_count=limited(self._count(Fraction(settings.start)), settings.frames),
            count=self._exact_count(settings),
            limit=settings.frames or None,
            sound=Sound(self._path, float(first[1])) if self._container.streams.audio else None,
            frames_before=lambda: self._frames_before(Fraction(settings.start)),
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
        duration = (_own_duration(raw[0]) or usual) if following is None else following[1] - time
        if time + duration <= begin + ROUNDING:
            return
        # One frame of the usual length is shown as a whole; what stands for longer is not shown again from its
        # beginning.
        yield raw, max(time, begin) if duration > usual * Fraction(3, 2) else time
        if following is not None:
            yield following
        yield from frames

    def _frames_before(self, start: Fraction) -> int:
        """Count the frames before the one that is on the screen at `start`."""
        if not start:
            return 0
        with open_container(self._path) as container:
            film = _Film(container, self._path)
            film._deinterlace = self._deinterlace
            end = self._begin + start + ROUNDING
            return max(0, sum(1 for _ in takewhile(lambda timed: timed[1] <= end, film._decode())) - 1)

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
        # At the end, PyAV tells by the packet's stream which decoder to empty; its stream_index is 0 then.
        packets = (packet for packet in every if packet.stream.index == self._stream.index)
        wanted = packets if begin is None else _needed(packets, begin)
        for frame, pixel_aspect in self._restored(wanted, damage, places):
            if places:
                stamp: Fraction | None = places.popleft() * self._unit - self._delay
            else:
                stamp = (
                    None if frame.pts is None else frame.pts * Fraction(frame.time_base or 0) - self._delay
                )
            if time is not None and (stamp is None or stamp <= time):
                stamp = time + 1 / self._fps
            time = stamp or Fraction(0)
            self._require_uncut()
            yield (frame, pixel_aspect), time
        self._require_uncut()
        if time is not None:
            damage.warn(self._container, self._path)

    def _require_uncut(self) -> None:
        """Raise a VideoError if the file became shorter meanwhile; one that is removed can be read to its end."""
        try:
            now = self._path.stat().st_size
        except OSError:
            return
        if now < self._bytes:
            raise VideoError(
                f"{self._path} became shorter while it was read, {now} bytes instead of {self._bytes}: put the "
                "whole file back, then start the same again"
            )

    def _restored(
        self, packets: Iterator[Any], damage: _Damage, places: deque[int]
    ) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """Decode packets into whole frames in the colors of BT.709, each with the shape of its pixels."""
        decoder = self._alpha_decoder or self._stream.codec_context
        restorer = Restorer(self._path, decoder=decoder.name, deinterlace=self._deinterlace)
        pixel_aspect = Fraction(1)
        for packet in packets:
            frames = damage.decode(packet, self._alpha_decoder)
            if self._has_places and packet.size and packet.pts is not None and frames is not None:
                places.append(packet.pts)
            for frame in frames or ():
                before, pixel_aspect = pixel_aspect, self._pixel_aspect()
                # What comes out first is still of the kind before, if the kind changes.
                ready = list(restorer.restore(frame, pixel_aspect))
                for restored in ready:
                    alike = restored.width == frame.width and restored.height == frame.height
                    yield restored, pixel_aspect if alike else before
        for restored in restorer.restore(None):
            yield restored, pixel_aspect

    def _pixel_aspect(self) -> Fraction:
        """Width of the pixels of the frame decoded last, by their height."""
        now = self._stream.codec_context.sample_aspect_ratio
        if may_jump(self._container):
            return Fraction(now or 1)  # these files say nothing themselves
        if self._first_aspect is None:
            self._first_aspect = now or Fraction(0)
        changed = now and now != self._first_aspect
        return Fraction((now if changed else self._stream.sample_aspect_ratio) or 1)

    def _shown(self, frames: Iterator[Timed]) -> Iterator[Timed]:
        """Add to each frame how it is turned and shaped; warn once where that changes within the clip."""
        before: _Shown | None = None
        warned = False
        for (frame, pixel_aspect), time in frames:
            shape = (frame.width, frame.height, pixel_aspect)
            if before is None or before.shape != shape:
                matrix = display_matrix(frame)
                size = _upright_size(shape, matrix)
            shown = _Shown(frame, shape, matrix, size, before is not None and not alike(before.size, size))
            if before is not None and size != before.size and not warned:
                warned = True
                warnings.warn(
                    f"{self._path} changes from {_named(before.size)} to {_named(size)} at "
                    f"{float(time - self._begin):.1f} s: its images are fitted into the first size, and where "
                    "proportions change the dream starts afresh",
                    stacklevel=2,
                )
            yield shown, time
            before = replace(shown, frame=None)  # the frame itself is not held

    def _guessed_delay(self) -> Fraction:
        """Seconds by which ffmpeg delays the images of an AVI file: it expects B-frames."""
        if not self._is_avi:
            return Fraction(0)
        with open_container(self._path) as other:
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

    def _exact_count(self, settings: InputSettings) -> Callable[[], int | None] | None:
        """What counts the frames exactly; None if `_count` has done so."""
        rate = self._stream.base_rate
        if self._stream.frames and (not settings.start or rate == self._stream.average_rate):
            return None
        if self._stream.codec_context.name == "vp8":  # some of its packets are never shown
            return lambda: None
        begin = self._begin + Fraction(settings.start)
        return lambda: limited(self._counted(begin), settings.frames)

    def _counted(self, begin: Fraction) -> int:
        """Count the packets from `begin` on, where the length says too little: times jump, or the rate varies."""
        later = 0
        with open_container(self._path) as container, suppress(av.FFmpegError):
            for packet in continuous_packets(container):
                if packet.stream.index == self._stream.index and packet.size:
                    stamp = packet.dts if packet.pts is None else packet.pts
                    later += stamp is None or stamp * packet.time_base > begin + ROUNDING
        return later + 1

    def _seconds(self) -> Fraction | None:
        """Length of the images; sound may be longer."""
        if self._stream.duration:
            return self._stream.duration * self._unit
        # Matroska's, counted from the file's beginning
        tag = re.fullmatch(r"(\d+):(\d+):([\d.]+)", self._stream.metadata.get("DURATION", ""), re.ASCII)
        with suppress(ValueError):
            if tag and (end := int(tag[1]) * 3600 + int(tag[2]) * 60 + Fraction(tag[3])) > self._begin:
                return end - self._begin
        if not self._container.duration:
            return None
        whole = self._container.duration * _MICROSECOND
        return self._seconds_at_the_end(whole) if self._container.streams.audio else whole

    def _seconds_at_the_end(self, whole: Fraction) -> Fraction:
        end = Fraction(0)
        with open_container(self._path) as container, suppress(av.FFmpegError):
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


@dataclass(frozen=True)
class _Shown:
    """A decoded frame, and how it is shown.

    Args:
        frame: the frame.
        shape: width and height in its pixels, and their own width by their height.
        matrix: how it is turned.
        size: height and width upright, in square pixels.
        anew: its proportions are not those of the frame before.
    """

    frame: av.VideoFrame | None
    shape: tuple[int, int, Fraction]
    matrix: DisplayMatrix
    size: Size
    anew: bool

    def image(self, size: Size, *, keep_alpha: bool) -> Tensor:
        """Convert the frame to an image (3,*size), or (4,*size) with alpha."""
        assert self.frame is not None
        image = image_from_frame(self.frame, keep_alpha=keep_alpha)
        return fit_inside(turn_upright(image, self.matrix), self.size, size)


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the stream that is the film, not a cover.

    Raises:
        VideoError: there is none.
    """
    streams = [stream for stream in container.streams.video if stream.codec_context is not None]
    # The cover image of a music file is a video stream too, and a film can have one, even flagged as the default.
    films = [stream for stream in streams if not flag_number(stream.disposition) & _ATTACHED_IMAGE]
    if not films:
        raise VideoError(f"{path} contains no video stream: expected a video, an image or a folder of images")
    moving = [stream for stream in films if stream.codec_context.name not in _IMAGE_CODECS] or films
    best = container.streams.best("video")
    if best not in moving:
        best = max(moving, key=lambda stream: stream.width * stream.height)
    assert isinstance(best, VideoStream)
    best.thread_type = "AUTO"
    return best


def _alpha_decoder(stream: VideoStream, path: Path) -> VideoCodecContext | None:
    """Decoder of a side stream with transparency, which ffmpeg's own decoders of VP8 and VP9 ignore."""
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    tags = {tag.lower(): value for tag, value in stream.metadata.items()}
    if name is None or tags.get("alpha_mode") != "1":
        return None
    try:
        decoder = VideoCodecContext.create(name, "r")
    except ValueError:
        warnings.warn(
            f"this ffmpeg cannot read the transparency of {path}: what it hides is dreamed on", stacklevel=2
        )
        return None
    decoder.extradata = stream.codec_context.extradata
    assert isinstance(decoder, VideoCodecContext)
    return decoder


def _upright_size(shape: tuple[int, int, Fraction], matrix: DisplayMatrix) -> Size:
    width, height, pixel_aspect = shape
    image = torch.empty(1, height, max(1, round(width * pixel_aspect)))
    return size_of(turn_upright(image, matrix))


def _named(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


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

    def decode(self, packet: Any, decoder: VideoCodecContext | None) -> list[av.VideoFrame] | None:
        """Decode the frames of a packet, by `decoder` or that of its stream; None if it is damaged."""
        try:
            frames = decoder.decode(packet if packet.size else None) if decoder else list(packet.decode())
        except av.FFmpegError:
            self._errors += 1
            return None
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
