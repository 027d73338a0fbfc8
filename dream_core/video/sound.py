"""Copying of a clip's sound into the output."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import chain
from typing import Any, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from ..errors import Notice
from .clip import Sound
from .containers import flag_number, open_to_read
from .gapless import SampleFormat, decoded, gapless, packets_from

_DEFAULT = 1  # AV_DISPOSITION_DEFAULT
_KEPT_TAGS = ("language", "title")

_TRANSPORT_CODECS = ("mp1", "mp2", "mp3", "aac", "ac3", "eac3", "dts", "truehd", "opus")
"""Codecs that MPEG transport streams name; ffmpeg writes others too, but nobody could read them."""
_RAW_CONTAINERS = ("avi", "mov", "matroska")
_ENCODERS = {"opus": "libopus", "vorbis": "libvorbis"}  # ffmpeg's own encoders of these are experimental
_WITHOUT_TIMES = ("avi",)
"""Containers that play sound from the beginning to the end, whatever its times."""
_NEGATIVE_TIMES = ("mp4", "mov", "matroska", "webm")
"""Containers that say how much an encoder put in front of the sound, so that players leave it out."""


class SoundCopy:
    """Copies a sound track into an output piece by piece, so that its packets interleave with those of the images.

    The sound is encoded again, with the default codec of the output's container, if the container does not take its
    codec or has no times for it, and for raw samples outside AVI, MOV and Matroska.
    """

    def __init__(self, sound: Sound, index: int, output: OutputContainer, *, copies: bool) -> None:
        """Add a sound stream to the output, to which nothing may have been written yet.

        Args:
            sound: the clip's sound.
            index: number of the track among the streams of its file.
            output: receives it.
            copies: False if the sound is to be encoded again in any case.

        Raises:
            av.FFmpegError, ValueError: the track cannot be copied, or not into this container.
        """
        self._sound = sound
        self._output = output
        self._source = open_to_read(sound.path)
        try:
            track = self._source.streams[index]
            assert isinstance(track, AudioStream)
            self.stream, packets = _packets(
                self._source, track, output, start=Fraction(sound.start), copies=copies
            )
        except BaseException:
            self._source.close()
            raise
        self._packets = self._sheltered(packets)
        self._next: av.Packet[Any] | None = None
        self._started = False

    def copy_until(self, seconds: float) -> None:
        """Write the remaining packets that begin before this time, in seconds from the output's first frame."""
        if not self._started:
            self._started, self._next = True, next(self._packets, None)
        while self._next is not None and _time(self._next) < seconds:
            try:
                self._write(self._next)
            except ValueError as error:  # the packet is refused; a full disk is another error
                self._break_off(error)
                self._packets = iter(())
            self._next = next(self._packets, None)

    def _write(self, packet: av.Packet[Any]) -> None:
        self._output.mux_one(packet)

    def close(self) -> None:
        """Close the source file."""
        self._source.close()

    def _sheltered(self, packets: Iterator[av.Packet[Any]]) -> Iterator[av.Packet[Any]]:
        # Damaged sound must not stop the images.
        try:
            yield from packets
        except (av.FFmpegError, ValueError) as error:
            self._break_off(error)

    def _break_off(self, error: Exception) -> None:
        warnings.warn(f"the sound of {self._sound.path} breaks off ({error}); the images go on", stacklevel=2)


def tell_left_out(tracks: Sequence[str]) -> None:
    """Say in one line which sound tracks an output does not hold, if any."""
    if tracks:
        text = f"left out of the output, which cannot hold it: {', '.join(tracks)} of the input's sound"
        warnings.warn(text, Notice, stacklevel=3)


def describe_tracks(sound: Sound) -> list[str]:
    """Write every sound track of a file: track 1 (deu, ac3)."""
    with open_to_read(sound.path) as source:
        return [_described(track) for track in source.streams.audio]


def sound_tracks(sound: Sound) -> list[int]:
    """Return the numbers of a file's sound tracks among its streams, in order; the default one comes first."""
    with open_to_read(sound.path) as source:
        default = _default_track(source.streams.audio)
        return sorted((track.index for track in source.streams.audio), key=lambda index: index != default)


def copy_sound(
    sound: Sound, tracks: Sequence[int], output: OutputContainer, *, copies: bool
) -> tuple[list[SoundCopy], list[str]]:
    """Add sound tracks to an output, with their languages, titles and flags.

    Exactly one is the default: the first that is flagged so in the source, else the first.

    Args:
        sound: the clip's sound.
        tracks: numbers of the tracks to copy among the streams of its file.
        output: receives those that its container can hold.
        copies: False if they are to be encoded again in any case.

    Returns:
        The copies, and the names of the tracks that are left out.
    """
    copied: list[SoundCopy] = []
    kept: list[AudioStream] = []
    left_out: list[str] = []
    with open_to_read(sound.path) as source:
        for track in source.streams.audio:
            one = _copy(sound, track.index, output, copies) if track.index in tracks else None
            if one is None:
                left_out.append(_described(track))
            else:
                copied.append(one)
                kept.append(track)
        default = _default_track(kept)
        for track, one in zip(kept, copied, strict=True):
            one.stream.metadata.update(
                {tag: track.metadata[tag] for tag in _KEPT_TAGS if tag in track.metadata}
            )
            flags = flag_number(track.disposition) & ~_DEFAULT | (_DEFAULT if track.index == default else 0)
            cast(Any, one.stream).disposition = flags  # PyAV before 19 takes a number only
    return copied, left_out


def _copy(sound: Sound, index: int, output: OutputContainer, copies: bool) -> SoundCopy | None:
    if output.default_audio_codec == "none":
        return None
    try:
        return SoundCopy(sound, index, output, copies=copies)
    except (av.FFmpegError, ValueError):
        return None


def _default_track(tracks: Sequence[AudioStream]) -> int | None:
    flagged = [track.index for track in tracks if flag_number(track.disposition) & _DEFAULT]
    return next(iter([*flagged, *(track.index for track in tracks)]), None)


def _described(track: AudioStream) -> str:
    language = track.metadata.get("language")
    codec = track.codec_context.name if track.codec_context else "unknown codec"
    return f"track {track.index} ({', '.join(filter(None, [language, codec]))})"


def _packets(
    source: InputContainer, track: AudioStream, output: OutputContainer, *, start: Fraction, copies: bool
) -> tuple[AudioStream, Iterator[av.Packet[Any]]]:
    """Add a stream to the output, and return it with its packets, timed from `start` on."""
    if track.codec_context is None:
        raise ValueError("this ffmpeg does not know its codec")
    packets = packets_from(source, track, start)
    # Other containers take raw samples too, but few players read them.
    raw = track.codec_context.name.startswith("pcm_")
    named = (
        output.format.name != "mpegts" or track.codec_context.name.removesuffix("float") in _TRANSPORT_CODECS
    )
    takes_raw = not raw or output.format.name in _RAW_CONTAINERS
    if copies and named and takes_raw and output.format.name not in _WITHOUT_TIMES:
        # PyAV raises a ValueError for a codec that the container does not take.
        with suppress(ValueError):
            target = output.add_stream_from_template(track)
            return target, _copied(packets, target, start=start)
    target = _add_encoder(track, output)
    return target, _encoded(packets, track, target, output, start=start)


def _add_encoder(track: AudioStream, output: OutputContainer) -> AudioStream:
    name = _ENCODERS.get(output.default_audio_codec, output.default_audio_codec)
    if track.codec_context.name.startswith("pcm_") and output.format.name in _RAW_CONTAINERS:
        name = "pcm_s16le"
    rates = av.Codec(name, "w").audio_rates
    rate = track.rate if not rates or track.rate in rates else max(rates)
    target = output.add_stream(name, rate=rate)
    assert isinstance(target, AudioStream)
    target.codec_context.layout = "mono" if track.codec_context.channels == 1 else "stereo"
    return target


def _copied(
    packets: Iterator[av.Packet[Any]], target: AudioStream, *, start: Fraction
) -> Iterator[av.Packet[Any]]:
    last = -1
    for packet in packets:
        if packet.pts is None or packet.dts is None:
            continue
        pts = packet.pts - round(start / packet.time_base)
        if pts >= -(packet.duration or 0) / 2:
            # A time below 0 would delay the images. Where two parts of a file overlap, the first is kept.
            pts = max(0, pts)
            if pts > last:
                packet.pts = packet.dts = last = pts
                packet.stream = target
                yield packet


def _encoded(
    packets: Iterator[av.Packet[Any]],
    track: AudioStream,
    target: AudioStream,
    output: OutputContainer,
    *,
    start: Fraction,
) -> Iterator[av.Packet[Any]]:
    keeps_negative = output.format.name in _NEGATIVE_TIMES
    encoder = target.codec_context
    wanted = SampleFormat(encoder.rate, encoder.format.name, encoder.layout.name)
    # None at the end empties the encoder.
    for frame in chain(gapless(decoded(packets, track), wanted, start=start), [None]):
        for packet in target.encode(frame):
            # What an encoder puts in front of the sound delays the images if a container cannot say so.
            if keeps_negative or packet.pts is None or packet.pts >= -(packet.duration or 0) / 2:
                if not keeps_negative and packet.pts is not None:
                    packet.pts = packet.dts = max(0, packet.pts)
                yield packet


def _time(packet: av.Packet[Any]) -> float:
    return float((packet.pts or 0) * packet.time_base)
