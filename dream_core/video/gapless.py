"""Decoding of a sound track without gaps: samples that are counted from a time on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph

from .packets import continuous_packets, may_jump

_LONG_PAUSE = 60
"""Seconds of silence that are made at once."""
_EARLY = 10
"""Seconds by which a seek aims before the start, because it may be inexact."""


@dataclass(frozen=True)
class SampleFormat:
    """Samples to convert to.

    Args:
        rate: per second.
        format: by ffmpeg's name, such as fltp.
        layout: of the channels, such as mono.
    """

    rate: int
    format: str
    layout: str


def packets_from(source: InputContainer, track: AudioStream, start: Fraction) -> Iterator[av.Packet[Any]]:
    """Read the packets of a track from about a time on, in seconds of the file; some are earlier."""
    if may_jump(source):
        return (packet for packet in continuous_packets(source) if packet.stream.index == track.index)
    if start > _EARLY:
        source.seek(int((start - _EARLY) * 1_000_000))
    return source.demux(track)


def decoded(packets: Iterator[av.Packet[Any]], track: AudioStream) -> Iterator[av.AudioFrame]:
    """Decode the packets of a track."""
    for packet in packets:
        with suppress(av.InvalidDataError):  # a damaged packet leaves a gap
            yield from track.codec_context.decode(packet)


def gapless(
    frames: Iterator[av.AudioFrame], wanted: SampleFormat, *, start: Fraction
) -> Iterator[av.AudioFrame]:
    """Convert frames, beginning at `start` with gaps filled by silence.

    Whoever counts samples would otherwise shift all that follows a gap, or a beginning before or after the start.
    ffmpeg's aresample fills and trims.
    """
    done = 0
    timed = (
        _moved(frame, start) for frame in frames if frame.pts is not None and frame.time_base is not None
    )
    kinds = groupby(timed, key=lambda frame: (frame.sample_rate, frame.format.name, frame.layout.name))
    for _, alike in kinds:
        first = next(alike)
        graph = _resampler(first, wanted, begin=done)
        for frame in chain(_without_long_pauses(chain([first], alike)), [None]):
            for pulled in _pulled(graph, frame):
                done += pulled.samples
                yield pulled


def _without_long_pauses(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Fill long pauses bit by bit: aresample would make an hour's silence, or that of a damaged time, at once."""
    end: int | None = None
    for frame in frames:
        start = frame.pts or 0
        while end is not None and start - end > _LONG_PAUSE * frame.sample_rate:
            yield _silence(frame, begin=end)
            end += frame.sample_rate
        end = start + frame.samples
        yield frame


def _silence(like: av.AudioFrame, *, begin: int) -> av.AudioFrame:
    """Make a second of silence of the same kind."""
    silence = av.AudioFrame(format=like.format.name, layout=like.layout.name, samples=like.sample_rate)
    zero = b"\x80" if like.format.name.startswith("u8") else b"\0"
    for plane in silence.planes:
        plane.update(zero * plane.buffer_size)
    silence.sample_rate, silence.pts, silence.time_base = like.sample_rate, begin, like.time_base
    return silence


def _moved(frame: av.AudioFrame, start: Fraction) -> av.AudioFrame:
    """Time a frame from `start` on, in samples."""
    unit = Fraction(1, frame.sample_rate)
    frame.pts = round(((frame.pts or 0) * Fraction(frame.time_base or 0) - start) / unit)
    frame.time_base = unit
    return frame


def _resampler(frame: av.AudioFrame, wanted: SampleFormat, *, begin: int) -> Graph:
    """Build the filters for frames like this one; what they return begins at sample `begin`."""
    graph, rate = Graph(), frame.sample_rate
    source = graph.add_abuffer(
        sample_rate=rate, format=frame.format.name, layout=frame.layout.name, time_base=Fraction(1, rate)
    )
    resample = graph.add("aresample", f"{wanted.rate}:async=1:first_pts={begin}:min_hard_comp=0.01")
    kind = f"sample_fmts={wanted.format}:channel_layouts={wanted.layout}:sample_rates={wanted.rate}"
    graph.link_nodes(source, resample, graph.add("aformat", kind), graph.add("abuffersink")).configure()
    return graph


def _pulled(graph: Graph, frame: av.AudioFrame | None) -> Iterator[av.AudioFrame]:
    graph.push(frame)
    while True:
        try:
            pulled = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        assert isinstance(pulled, av.AudioFrame)
        yield pulled
