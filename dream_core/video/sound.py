"""Copying of a clip's sound into the output."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer

from .containers import open_to_read
from .reader import Sound


class SoundCopy:
    """Copies sound into an output piece by piece, so that its packets interleave with those of the images.

    The sound is encoded again, with the default codec of the output's container, only if the container does not
    take its codec, or for raw samples outside AVI, MOV and Matroska.
    """

    def __init__(self, sound: Sound, output: OutputContainer) -> None:
        """Add a sound stream to the output, to which nothing may have been written yet."""
        self._output = output
        self._source = open_to_read(sound.path)
        stream = self._source.streams.best("audio")
        assert isinstance(stream, AudioStream)
        # Ten seconds early, because seeking may be inexact; packets before the start are dropped.
        if sound.start > 10:
            self._source.seek(int((sound.start - 10) * 1_000_000))
        self._packets = _sheltered(_packets(self._source, stream, output, start=Fraction(sound.start)), sound)
        self._next: av.Packet[Any] | None = None
        self._started = False

    def copy_until(self, seconds: float) -> None:
        """Write the remaining packets that begin before this time, in seconds from the output's first frame."""
        if not self._started:
            self._started, self._next = True, next(self._packets, None)
        while self._next is not None and _time(self._next) < seconds:
            self._output.mux_one(self._next)
            self._next = next(self._packets, None)

    def close(self) -> None:
        """Close the source file."""
        self._source.close()


_RAW_CONTAINERS = ("avi", "mov", "matroska")
_ENCODERS = {"opus": "libopus", "vorbis": "libvorbis"}  # ffmpeg's own encoders of these are experimental


def _packets(
    source: InputContainer, stream: AudioStream, output: OutputContainer, *, start: Fraction
) -> Iterator[av.Packet[Any]]:
    # Other containers take raw samples too, but few players read them.
    raw = stream.codec_context.name.startswith("pcm_")
    if not raw or output.format.name in _RAW_CONTAINERS:
        # PyAV raises a ValueError for a codec that the container does not take.
        with suppress(ValueError):
            return _copied(source, stream, output.add_stream_from_template(stream), start=start)
    return _encoded(source, stream, _add_encoder(stream, output), start=start)


def _add_encoder(stream: AudioStream, output: OutputContainer) -> AudioStream:
    name = _ENCODERS.get(output.default_audio_codec, output.default_audio_codec)
    rates = av.Codec(name, "w").audio_rates
    rate = stream.rate if not rates or stream.rate in rates else max(rates)
    target = output.add_stream(name, rate=rate)
    assert isinstance(target, AudioStream)
    target.codec_context.layout = "mono" if stream.codec_context.channels == 1 else "stereo"
    return target


def _copied(
    source: InputContainer, stream: AudioStream, target: AudioStream, *, start: Fraction
) -> Iterator[av.Packet[Any]]:
    for packet in source.demux(stream):
        if packet.pts is None or packet.dts is None:
            continue
        offset = round(start / packet.time_base)
        pts = packet.pts - offset
        if pts >= -(packet.duration or 0) / 2:
            # A time below 0 would delay the images.
            packet.pts = packet.dts = max(0, pts)
            packet.stream = target
            yield packet


def _encoded(
    source: InputContainer, stream: AudioStream, target: AudioStream, *, start: Fraction
) -> Iterator[av.Packet[Any]]:
    for frame in source.decode(stream):
        if frame.pts is None or frame.time_base is None:
            continue
        frame.pts -= round(start / frame.time_base)
        if frame.pts * frame.time_base >= -Fraction(frame.samples, 2 * frame.sample_rate):
            yield from target.encode(frame)
    yield from target.encode(None)


def _time(packet: av.Packet[Any]) -> float:
    return float((packet.pts or 0) * packet.time_base)


def _sheltered(packets: Iterator[av.Packet[Any]], sound: Sound) -> Iterator[av.Packet[Any]]:
    # Damaged sound must not stop the images.
    try:
        yield from packets
    except av.FFmpegError as error:
        warnings.warn(f"the sound of {sound.path} breaks off ({error}); the images go on", stacklevel=2)
