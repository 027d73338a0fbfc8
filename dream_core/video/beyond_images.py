"""What a video file holds beside its images: who takes the images alone, at one rate, loses it."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path
from statistics import median

import av

from ..errors import VideoError
from .film import open_container, video_stream

_PACKETS = 300
"""Packets whose times are looked at."""
_REORDERED = 16
"""Packets at the end of these, between which others may still belong."""
_UNEVEN = 1.5
"""A rate varies if a frame lasts that much longer than usual."""
_HDR = (16, 18)  # PQ and HLG by ffmpeg's numbers


def beyond_images(path: Path) -> list[str]:
    """Name what the images of a video file would lose without it, in words for a sentence about the file.

    Args:
        path: of the file; nothing is named of one that cannot be read.
    """
    found: list[str] = []
    with suppress(VideoError, av.FFmpegError), open_container(path) as container:
        stream = video_stream(container, path)
        if _varies([packet.pts for packet in islice(container.demux(stream), _PACKETS)]):
            found.append("a frame rate that varies")
        if (stream.sample_aspect_ratio or 1) != 1:
            found.append("pixels that are not square")
        if stream.codec_context.color_trc in _HDR:
            found.append("HDR colors")
    return found


def _varies(stamps: list[int | None]) -> bool:
    """Return True if frames of these times, in any order, last differently long."""
    times = sorted(stamp for stamp in stamps if stamp is not None)
    if len(stamps) == _PACKETS:
        times = times[:-_REORDERED]
    lengths = [later - earlier for earlier, later in pairwise(times)]
    return len(lengths) > 1 and max(lengths) > _UNEVEN * median(lengths)
