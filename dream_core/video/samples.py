"""Reading of a clip's sound as samples."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.audio.stream import AudioStream
from torch import Tensor

from ..errors import VideoError
from .clip import Sound
from .containers import open_to_read, require_path
from .gapless import SampleFormat, decoded, gapless, packets_from
from .sound import sound_tracks

RATE = 22_050
"""Samples per second that are read: enough for what is heard as rhythm, and 300 MB for an hour."""


@dataclass(frozen=True)
class Samples:
    """Sound as numbers.

    Args:
        wave: (T,) float32, one channel, about -1..1.
        rate: samples per second.
        begin: time of the first one, in seconds from the clip's first frame; negative where it comes before that.
    """

    wave: Tensor
    rate: int
    begin: float = 0.0

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.wave) / self.rate


def sound_of(path: Path, *, start: float) -> Sound:
    """Return the sound of a file from `start` seconds on.

    Raises:
        VideoError: the file is missing or cannot be read.
    """
    require_path(path, what="sound")
    if not path.exists():
        raise VideoError(f"{path} does not exist: expected a file with sound")
    try:
        with open_to_read(path) as source:
            return Sound(path, start + (source.start_time or 0) / 1_000_000)
    except (av.FFmpegError, OSError) as error:
        raise VideoError(f"the sound of {path} cannot be read ({error}): expected a whole file") from error


def read_samples(sound: Sound) -> Samples:
    """Decode the default track of a file, all channels mixed, from the clip's first frame on.

    Gaps, and what is missing before sound that begins late, are silent.

    Args:
        sound: where it is, and the time of the first frame.

    Raises:
        VideoError: the file cannot be read, or has no sound, or none from the first frame on.
    """
    try:
        tracks = sound_tracks(sound)
        if not tracks:
            raise VideoError(f"expected sound in {sound.path}, got a file without: choose another one")
        with open_to_read(sound.path) as source:
            track = source.streams[tracks[0]]
            assert isinstance(track, AudioStream)
            if track.codec_context is None:
                raise VideoError(
                    f"the sound of {sound.path} has a codec that this ffmpeg does not know: convert it, or choose "
                    "another file"
                )
            start = Fraction(sound.start)
            frames = decoded(_until_damage(packets_from(source, track, start), sound), track)
            whole = gapless(frames, SampleFormat(RATE, "flt", "mono"), start=start)
            pieces = [frame.to_ndarray().ravel().astype(np.float32, copy=False) for frame in whole]
    except (av.FFmpegError, OSError) as error:
        raise VideoError(
            f"the sound of {sound.path} cannot be read ({error}): expected a whole file"
        ) from error
    if not pieces:
        raise VideoError(
            f"the sound of {sound.path} has no samples from {sound.start:g} s on: choose another file or start"
        )
    return Samples(torch.from_numpy(np.concatenate(pieces)), RATE)


def _until_damage(packets: Iterator[av.Packet[Any]], sound: Sound) -> Iterator[av.Packet[Any]]:
    try:
        yield from packets
    except av.FFmpegError as error:
        warnings.warn(f"the sound of {sound.path} breaks off ({error}): the rest is silent", stacklevel=2)
