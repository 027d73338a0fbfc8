"""Encoding of images into a video file or animated image that can be played while it grows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import av
import torch
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from torch import Tensor
from torch.nn import functional as F

from ..checks import remedy
from ..errors import Notice, VideoError
from ..settings import OutputSettings
from ..unfinished import Unfinished
from .clip import Sound
from .containers import flag_number, open_to_write
from .gif import Palette
from .journal import Journal
from .pixels import BT709, FrameConverter, color_tags
from .sound import SoundCopy, copy_sound, sound_tracks, tell_left_out
from .timing import Timing

_MP4_SUFFIXES = (".mp4", ".m4v", ".mov")
_MATROSKA_SUFFIXES = (".mkv", ".webm")
_ANIMATION_CODECS = ("gif", "apng", "libwebp_anim")
_VARIABLE_RATE = 0x400  # AVFMT_VARIABLE_FPS


@dataclass(frozen=True)
class _Animation:
    """A kind of animated image.

    Args:
        container, codec, pixel_format: by their names in ffmpeg; frames of a GIF then get palettes.
        unit: seconds per step of its times.
        shortest: smallest number of steps that an image may last.
        options: of the container; they play it in a circle.
    """

    container: str
    codec: str
    pixel_format: str
    unit: Fraction
    shortest: int = 0
    options: tuple[tuple[str, str], ...] = ()

    def frames(self, transparency: bool) -> str:
        """Pixel format of its frames."""
        # ffmpeg's libwebp_anim loses the alpha of bgra.
        with_alpha = {"rgb24": "rgba", "bgra": "yuva420p"}
        return with_alpha[self.pixel_format] if transparency else self.pixel_format


_MILLISECOND = Fraction(1, 1000)
_ANIMATED_PNG = _Animation("apng", "apng", "rgb24", _MILLISECOND, options=(("plays", "0"),))
_ANIMATIONS = {
    # Browsers show a GIF's frame of less than 0.02 s for 0.1 s.
    ".gif": _Animation("gif", "gif", "rgb24", Fraction(1, 100), shortest=2),
    ".webp": _Animation("webp", "libwebp_anim", "bgra", _MILLISECOND, options=(("loop", "0"),)),
    ".png": _ANIMATED_PNG,
    ".apng": _ANIMATED_PNG,
}
_COVER_CODECS = ("png", "mjpeg")
SEGMENT = 48
"""Number of images after which a video can be cut: each such segment is encoded by itself."""

ENCODER_MEMORY = 4.5
"""Bytes per pixel that libx264 was measured to take for each image of a segment, as it looks ahead."""

_CRF_ENCODERS = ("libx264", "libx264rgb", "libx265", "libvpx", "libvpx-vp9", "libaom-av1", "libsvtav1")
_QUANTIZER_ENCODERS = ("mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "libxvid", "msmpeg4v3")
_LEAST_WIDTH = {"libx265": 64}
"""Width in pixels below which an encoder damages the memory of the program: x265 does from 48 down."""

_QUIET = {"libx265": {"x265-params": "log-level=error"}}


class Encoder:
    """Encodes images, copies sound, and writes both into one container.

    A video is encoded in segments of about `SEGMENT` images, whether or not it is recorded, so that one that goes
    on from its record is the same. An animated image is one segment.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: tuple[int, int],
        fps: Fraction,
        time_base: Fraction,
        settings: OutputSettings,
        sound: Sound | None = None,
        top_fps: Fraction | None = None,
        transparency: bool = False,
        work: Unfinished | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the file and the encoder; with transparency, an animated image that takes images (4,H,W).

        A container of a constant rate, such as AVI, gets `top_fps`, by default `fps`. If the pixel format requires
        even sides, an odd side is extended by repeating its last pixels.

        With `work`, all is recorded there; with a `state` of it too, the file gets what was recorded, and goes on.

        Raises:
            VideoError: container, codec, pixel format, quality and size do not go together, or the record cannot be
                read or written.
        """
        self._path = path
        self._size = size
        self._animation = _ANIMATIONS.get(path.suffix.lower())
        self._transparency = transparency
        self._is_gif = path.suffix.lower() == ".gif"
        self._gif_step = settings.frame_duration if self._is_gif else 0
        self._journal: Journal | None = None
        tracks = sound_tracks(sound) if sound is not None and settings.sound else []
        # A container may refuse to hold several tracks, or a codec, once all is told. The images come first.
        attempts = (
            [(tracks, True), (tracks, False), (tracks[:1], True), (tracks[:1], False)] if tracks else []
        )
        for number, (attempt, copies) in enumerate([*attempts, ([], False)]):
            try:
                self._open(
                    sound,
                    attempt,
                    copies=copies,
                    fps=fps,
                    top_fps=top_fps or fps,
                    time_base=time_base,
                    settings=settings,
                )
                break
            except VideoError:
                if number == len(attempts):
                    raise
        self._written = 0
        self._end = 0.0
        self._durations: dict[int, int] = {}
        self._coder: VideoCodecContext | None = self._stream.codec_context
        self._held = 0
        self._segment = None if self._animation else _segment_length(settings)
        if work is not None:
            try:
                self._journal = Journal(work, state and state["journal"])
                if state:
                    self._go_on(state)
            except BaseException:
                self._release()
                raise

    def _go_on(self, state: Mapping[str, Any]) -> None:
        """Write what was recorded, as it was written then."""
        assert self._journal
        self._written, self._end = state["written"], state["end"]
        self._timing.restore(state["timing"])
        try:
            for packet in self._journal.packets():
                packet.stream, packet.time_base = self._stream, self._time_base
                self._mux(packet)
            for frame, steps in self._journal.frames(self._padded_size, self._pixel_format):
                frame.time_base = self._time_base
                self._encode(frame, steps)
        except av.FFmpegError as error:
            self._fail(error)

    def memory(self, frames: int | None) -> float:
        """Estimate the bytes that the encoder comes to hold.

        Args:
            frames: to be written, if known.
        """
        if self._animation:
            return 0
        height, width = self._padded_size
        return ENCODER_MEMORY * height * width * min(frames or SEGMENT, SEGMENT)

    def state(self) -> dict[str, Any]:
        """Bring the record onto the disk, and return what an encoder needs to go on from it.

        Raises:
            VideoError: the record cannot be written.
        """
        assert self._journal
        return {
            "journal": self._journal.state(),
            "timing": self._timing.state(),
            "written": self._written,
            "end": self._end,
        }

    def end_record(self) -> None:
        """Encode the frames that the encoder still holds, and record them as a segment, though it is a short one.

        Nothing can be written afterwards. An animated image stays frames, because it is one segment.

        Raises:
            VideoError: the file cannot be written.
        """
        assert self._journal
        if self._animation or not self._held:
            return
        try:
            self._flush()
        except av.FFmpegError as error:
            self._fail(error)
        self._journal.complete_segment()

    @property
    def files(self) -> list[str]:
        """Names of the files of the record."""
        return self._journal.files if self._journal else []

    def _open(
        self,
        sound: Sound | None,
        tracks: Sequence[int],
        *,
        copies: bool,
        fps: Fraction,
        top_fps: Fraction,
        time_base: Fraction,
        settings: OutputSettings,
    ) -> None:
        animation = self._animation
        self._container = _open_container(
            self._path,
            options=_muxer_options(self._path, fps=fps, settings=settings),
            container=animation.container if animation else None,
        )
        self._sound: list[SoundCopy] = []
        self._empty = False  # without a beginning it needs no packet
        try:
            codec = _codec(
                animation.codec
                if animation
                else settings.codec or _default_codec(self._container.format.name, self._path)
            )
            self._pixel_format = (
                animation.frames(self._transparency)
                if animation
                else _checked_pixel_format(codec, settings.pixel_format)
            )
            self._padding = _padding(self._pixel_format, *self._size)
            constant = animation is None and _is_constant(self._container, codec, time_base)
            self._rate = rate = _allowed_rate(codec, top_fps if constant else fps)
            self._time_base = animation.unit if animation else 1 / rate if constant else time_base
            shortest = animation.shortest if animation and not self._gif_step else 0
            self._timing = Timing(self._time_base, constant=constant, shortest=shortest)
            self._add_streams(codec, sound, tracks, copies=copies, rate=rate, settings=settings)
        except BaseException:
            self._release()
            raise

    def _add_streams(
        self,
        codec: av.Codec,
        sound: Sound | None,
        tracks: Sequence[int],
        *,
        copies: bool,
        rate: Fraction,
        settings: OutputSettings,
    ) -> None:
        height, width = self._padded_size
        self._settings = settings
        self._convert = FrameConverter(
            (height, width),
            pixel_format=self._pixel_format,
            alpha=self._transparency,
            matrix="bt601" if self._animation else "bt709",  # WebP's
        )
        self._stream: VideoStream = _add_stream(
            self._container,
            codec,
            (height, width),
            rate=rate,
            time_base=self._time_base,
            pixel_format=self._pixel_format,
            settings=settings,
        )
        left_out: list[str] = []
        if sound is not None and settings.sound:
            self._sound, left_out = copy_sound(sound, tracks, self._container, copies=copies)
        try:
            self._container.start_encoding()
        except (av.FFmpegError, ValueError, OSError) as error:
            if isinstance(error, OSError) and not self._path.exists():
                raise VideoError(_cannot_write(self._path, error)) from error
            raise VideoError(
                f"{codec.name} cannot encode {width}x{height} {self._pixel_format} into {self._path.suffix} "
                f"({_reason(error)}): choose another `codec`, `pixel_format` or `size`"
            ) from error
        self._empty = True
        tell_left_out(left_out)
        self._palette = (
            Palette(width=width, height=height, time_base=self._time_base, transparency=self._transparency)
            if self._is_gif
            else None
        )

    def write(self, image: Tensor, *, time: float, duration: float) -> None:
        """Encode one image (3,H,W), to be shown for `duration` seconds from `time` on.

        Raises:
            VideoError: the file cannot be written.
        """
        if self._gif_step:
            time, duration = self._written * self._gif_step / 1000, self._gif_step / 1000
        self._end = time + duration
        self._written += 1
        try:
            for stamp, steps in self._timing.stamps(time=time, duration=duration):
                frame = self._convert(self._padded(image))
                frame.pts, frame.time_base = stamp, self._time_base
                if self._journal:
                    self._journal.add_frame(frame, steps)
                self._encode(frame, steps)
        except av.FFmpegError as error:
            self._fail(error)

    def close(self) -> None:
        """Encode the frames that the encoder still holds, and finish the file.

        Raises:
            VideoError: the file cannot be written.
        """
        try:
            self._complete()
        except av.FFmpegError as error:
            self._fail(error)

    def _complete(self) -> None:
        try:
            if not self._written:
                # ffmpeg closes no animated image without a frame; such a file is removed afterwards.
                self.write(torch.zeros(4 if self._transparency else 3, *self._size), time=0.0, duration=1.0)
            self._flush()
            self._copy_sound_until(self._end)
        finally:
            self._release()
        self._tell_timing()

    def _tell_timing(self) -> None:
        repeated, dropped = self._timing.repeated, self._timing.dropped
        if repeated or dropped:
            kind = (
                "one of 0.02 s at least"
                if self._is_gif
                else f"{float(1 / self._time_base):.4g} images a second"
            )
            warnings.warn(
                f"{self._path.suffix} takes {kind}: {repeated} images are repeated and {dropped} left out, so that "
                "every moment stays where it is",
                Notice,
                stacklevel=4,
            )

    def _padded(self, image: Tensor) -> Tensor:
        return F.pad(image[None], self._padding, mode="replicate")[0] if any(self._padding) else image

    @property
    def _padded_size(self) -> tuple[int, int]:
        return self._size[0] + self._padding[3], self._size[1] + self._padding[1]

    def _encode(self, frame: av.VideoFrame, steps: int) -> None:
        """Encode a converted frame that lasts this many steps."""
        self._durations[frame.pts or 0] = steps
        self._coder = self._coder or self._another_coder()
        for reduced in self._palette.reduce(frame) if self._palette else [frame]:
            self._take(self._coder.encode(reduced))
        self._held += 1
        if self._held == self._segment:
            self._flush()
            if self._journal:
                self._journal.complete_segment()

    def _flush(self) -> None:
        """Take what the encoder still holds, and end its segment."""
        if self._held and self._coder:
            for reduced in self._palette.reduce(None) if self._palette else []:
                self._take(self._coder.encode(reduced))
            self._take(self._coder.encode(None))
            self._coder, self._held = None, 0

    def _another_coder(self) -> VideoCodecContext:
        """Make an encoder like that of the stream, for another segment."""
        like = self._stream.codec_context
        context = VideoCodecContext.create(like.name, "w")
        assert isinstance(context, VideoCodecContext)
        # As PyAV sets up the encoder of a stream.
        context.framerate, context.bit_rate, context.bit_rate_tolerance = self._rate, 0, 128000
        context.flags = like.flags
        _set_up(
            context,
            self._padded_size,
            container=self._container,
            time_base=self._time_base,
            pixel_format=self._pixel_format,
            settings=self._settings,
        )
        return context

    def _take(self, packets: list[av.Packet[Any]]) -> None:
        """Time, record and write packets that the encoder returned."""
        for packet in packets:
            packet.stream = self._stream
            if packet.pts is not None and packet.time_base == self._time_base:
                packet.duration = self._durations.pop(packet.pts, packet.duration)
        if self._journal and self._segment:
            self._journal.add_packets(packets)
        for packet in packets:
            self._mux(packet)

    def _mux(self, packet: av.Packet[Any]) -> None:
        if packet.dts is not None:
            self._copy_sound_until(float(packet.dts * packet.time_base))
        self._container.mux_one(packet)
        self._empty = False

    def _copy_sound_until(self, seconds: float) -> None:
        for track in self._sound:
            track.copy_until(seconds)

    def _release(self) -> None:
        if self._empty and self._path.suffix.lower() in _MP4_SUFFIXES:
            # ffmpeg 8 crashes when it closes an MP4 without a packet, also where there was no memory for a frame.
            packet = av.Packet(bytes(8))
            packet.stream, packet.pts, packet.dts = self._stream, 0, 0
            with suppress(av.FFmpegError):
                self._container.mux_one(packet)
        if self._journal:
            self._journal.close()
        for track in self._sound:
            track.close()
        self._container.close()

    def _fail(self, error: av.FFmpegError) -> NoReturn:
        advice = f": {remedy(error)}" if isinstance(error, OSError) else ""
        raise VideoError(f"{self._path} cannot be written ({_reason(error)}){advice}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _cannot_write(path: Path, error: Exception) -> str:
    return f"{path} cannot be written ({_reason(error)}): check the folder"


def _default_codec(container: str, path: Path) -> str:
    """H.264 if the container takes it, else ffmpeg's default for the container, such as VP9 for WebM.

    Raises:
        VideoError: the container is for sound and takes at most a cover.
    """
    with closing(av.open(BytesIO(), "w", format=container)) as probe:
        own = probe.default_video_codec
        if own in _COVER_CODECS and probe.default_audio_codec != "none":
            raise VideoError(
                f"{path.suffix} files hold sound, and at most a picture beside it: expected a name such as .mp4"
            )
        try:
            probe.add_stream("libx264")
        except ValueError:
            return own if own != "none" else "libx264"
    return "libx264"


def _codec(name: str) -> av.Codec:
    try:
        codec = av.Codec(name, "w")
    except ValueError as error:  # base class of PyAV's UnknownCodecError
        raise VideoError(
            f"codec {name} is not an encoder of this ffmpeg: expected a `codec` such as libx264, libx265, "
            "libvpx-vp9, libsvtav1, ffv1 or prores_ks"
        ) from error
    if codec.type != "video":
        raise VideoError(f"codec {name} encodes {codec.type}: expected a video encoder such as libx264")
    return codec


def _checked_pixel_format(codec: av.Codec, name: str) -> str:
    valid = [pixel_format.name for pixel_format in codec.video_formats or []]
    if valid and name not in valid:
        raise VideoError(f"{codec.name} does not take pixel format {name}: expected {', '.join(valid)}")
    try:
        av.VideoFormat(name)
    except ValueError as error:
        raise VideoError(f"pixel format {name} is unknown to ffmpeg: expected one such as yuv420p") from error
    return name


def _padding(pixel_format: str, height: int, width: int) -> tuple[int, int, int, int]:
    """Padding left, right, top and bottom up to whole chroma samples."""
    target = av.VideoFormat(pixel_format)
    across, down = 8 // target.chroma_width(8), 8 // target.chroma_height(8)
    return 0, -width % across, 0, -height % down


def _muxer_options(path: Path, *, fps: Fraction, settings: OutputSettings) -> dict[str, str]:
    flush = {"flush_packets": "1"}
    if animation := _ANIMATIONS.get(path.suffix.lower()):
        return {**dict(animation.options), **flush}
    if path.suffix.lower() in _MP4_SUFFIXES:
        # Fragmented while it grows, an ordinary file once closed.
        # Edit lists hide what an encoder puts in front of the sound; without them the images come that much later.
        return {"movflags": "hybrid_fragmented+frag_keyframe", "use_editlist": "1", **flush}
    if path.suffix.lower() in _MATROSKA_SUFFIXES and settings.update_interval:
        return {"cluster_time_limit": str(max(1, round(1000 * settings.update_interval / fps))), **flush}
    return flush


def _open_container(path: Path, *, options: dict[str, str], container: str | None) -> OutputContainer:
    try:
        return open_to_write(path, options=options, container=container)
    except OSError as error:
        raise VideoError(_cannot_write(path, error)) from error


def _is_constant(container: OutputContainer, codec: av.Codec, time_base: Fraction) -> bool:
    """True where images have no times of their own, or none as fine as the input's."""
    # AVI counts frames, MPEG-1 and MPEG-2 have a few fixed rates, MPEG-4 has 16 bits for the unit.
    counts_frames = not flag_number(container.format.flags) & _VARIABLE_RATE
    coarse = codec.name == "mpeg4" and time_base.denominator > 65535
    return counts_frames or bool(codec.frame_rates) or coarse


def _allowed_rate(codec: av.Codec, rate: Fraction) -> Fraction:
    """Return the rate itself or, for a codec that has only some, the lowest that holds as many images."""
    allowed = sorted(Fraction(one.numerator, one.denominator) for one in codec.frame_rates or [])
    if codec.name == "mpeg1video":
        allowed = [one for one in allowed if one > 20]  # the slower ones are unofficial, and refused
    enough = [one for one in allowed if one >= rate * Fraction(999, 1000)]
    return next(iter([*enough, *allowed[-1:]]), rate.limit_denominator(1001))


def _add_stream(
    container: OutputContainer,
    codec: av.Codec,
    size: tuple[int, int],
    *,
    rate: Fraction,
    time_base: Fraction,
    pixel_format: str,
    settings: OutputSettings,
) -> VideoStream:
    try:
        stream = container.add_stream(codec.name, rate=rate)
    except ValueError as error:
        raise VideoError(
            f"{container.format.name} files hold no {codec.name}: leave `codec` out for "
            f"{container.default_video_codec}, or choose another suffix"
        ) from error
    assert isinstance(stream, VideoStream)
    _set_up(
        stream.codec_context,
        size,
        container=container,
        time_base=time_base,
        pixel_format=pixel_format,
        settings=settings,
    )
    return stream


def _set_up(
    context: VideoCodecContext,
    size: tuple[int, int],
    *,
    container: OutputContainer,
    time_base: Fraction,
    pixel_format: str,
    settings: OutputSettings,
) -> None:
    """Set what an encoder needs to know before it is opened."""
    least = _LEAST_WIDTH.get(context.name, 0)
    if size[1] < least:
        raise VideoError(
            f"expected images at least {least} pixels wide for codec {context.name}, got {size[1]}; choose another "
            "`codec`, such as libx264"
        )
    context.height, context.width = size
    context.time_base = time_base
    if context.name in _ANIMATION_CODECS:
        context.pix_fmt = "pal8" if context.name == "gif" else pixel_format
        if context.name == "libwebp_anim":
            # It keeps the alpha of yuva420p in lossless files alone.
            lossless = {"lossless": "1"} if pixel_format == "yuva420p" else {}
            context.options = {"quality": str(100 - settings.quality), **lossless}
        return
    context.pix_fmt = settings.pixel_format
    _set_quality(context, settings.quality)
    # No B-frames: AVI cannot store them, MP4 gets uneven times wrong with them, and dreams do not become smaller.
    context.max_b_frames = 0
    context.gop_size = min(settings.update_interval or SEGMENT, SEGMENT)
    context.color_primaries = context.color_trc = BT709
    context.colorspace, context.color_range = color_tags(settings.pixel_format)
    if context.codec.canonical_name == "hevc" and container.format.name in ("mp4", "mov"):
        context.codec_tag = "hvc1"  # Apple's players require this tag


def _segment_length(settings: OutputSettings) -> int:
    """Number of images of a segment: whole distances of keyframes."""
    distance = min(settings.update_interval or SEGMENT, SEGMENT)
    return -(-SEGMENT // distance) * distance


def _set_quality(context: VideoCodecContext, quality: int) -> None:
    if context.name in _CRF_ENCODERS:
        context.options = {"crf": str(quality), **_QUIET.get(context.name, {})}
    elif context.name.endswith("_nvenc"):
        context.options = {"rc": "vbr", "cq": str(quality)}
    elif context.name in _QUANTIZER_ENCODERS:
        context.qmin = context.qmax = 1 + round(quality * 30 / 63)
