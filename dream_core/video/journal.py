"""Record of what a video encoder was given and has returned, so that encoding goes on after a kill.

Of complete segments, closed groups of pictures at fixed frame numbers, the packets are recorded; of the segment
that grows, the frames, converted as the encoder takes them. Encoded again they give the same packets.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.video.plane import VideoPlane

from ..errors import VideoError
from ..unfinished import Unfinished, sync

_PACKET = struct.Struct("<qqqqq")
"""Of a packet: place in order, time of decoding, duration, bytes, and 1 for a keyframe."""
_FRAME = struct.Struct("<qqqqq")
"""Of a frame: stamp, steps, bytes, matrix and range of its colors."""
_PACKETS = "packets"


class Journal:
    """Packets and frames in the folder of an unfinished output, in files that only grow.

    Args:
        work: the folder, opened.
        state: from `state`, to go on from it; None begins a new record.

    Raises:
        VideoError: the record cannot be written.
    """

    def __init__(self, work: Unfinished, state: Mapping[str, Any] | None = None) -> None:
        self._work = work
        state = state or {"segments": 0, "packets": 0, "frames": 0}
        self.segments: int = state["segments"]
        """Number of complete segments."""
        try:
            self._packets = _reopened(work.file(_PACKETS), state["packets"])
            self._frames = _reopened(work.file(self._frames_name), state["frames"])
        except OSError as error:
            raise self._failure(error) from error
        self._shape: tuple[int, int, str] | None = None
        self._complete: int = state["packets"]
        """Bytes of the packets of complete segments."""

    def add_packets(self, packets: Sequence[av.Packet[Any]]) -> None:
        """Record packets that the encoder returned, before they are muxed."""
        for packet in packets:
            stamps = (packet.pts or 0, packet.dts or 0, packet.duration or 0)
            head = _PACKET.pack(*stamps, packet.size, int(packet.is_keyframe))
            self._write(self._packets, head + bytes(packet))

    def add_frame(self, frame: av.VideoFrame, steps: int) -> None:
        """Record a frame that is about to be encoded, with its duration in steps of its time base."""
        planes = b"".join(
            _lines(plane, width) for plane, width in zip(frame.planes, self._widths(frame), strict=True)
        )
        numbers = (frame.pts or 0, steps, len(planes), int(frame.colorspace), int(frame.color_range))
        self._write(self._frames, _FRAME.pack(*numbers) + planes)

    def complete_segment(self) -> None:
        """Note that the packets so far make all frames so far, which are needed no more."""
        try:
            self._frames.close()
            self._packets.flush()
            self._complete = self._packets.tell()
            self.segments += 1
            self._frames = _reopened(self._work.file(self._frames_name), 0)
        except OSError as error:
            raise self._failure(error) from error

    def state(self) -> dict[str, int]:
        """Bring the record onto the disk, and return what describes it."""
        try:
            for file in (self._packets, self._frames):
                file.flush()
                os.fsync(file.fileno())
            sync(self._work.path)
        except OSError as error:
            raise self._failure(error) from error
        return {"segments": self.segments, "packets": self._complete, "frames": self._frames.tell()}

    @property
    def files(self) -> list[str]:
        """Names of the files that belong to the state."""
        return [_PACKETS, self._frames_name]

    def packets(self) -> Iterator[av.Packet[Any]]:
        """Read the packets of the complete segments, without their stream and time base."""
        with self._work.file(_PACKETS).open("rb") as file:
            while file.tell() < self._complete:
                pts, dts, duration, size, key = _PACKET.unpack(file.read(_PACKET.size))
                packet: av.Packet[Any] = av.Packet(file.read(size))
                packet.pts, packet.dts, packet.duration, packet.is_keyframe = pts, dts, duration, bool(key)
                yield packet

    def frames(self, size: tuple[int, int], pixel_format: str) -> Iterator[tuple[av.VideoFrame, int]]:
        """Read the frames of the segment that grows, each with its duration.

        Args:
            size: height and width.
            pixel_format: of the frames.
        """
        end = self._frames.tell()
        with self._work.file(self._frames_name).open("rb") as file:
            while file.tell() < end:
                pts, steps, length, matrix, color_range = _FRAME.unpack(file.read(_FRAME.size))
                frame = av.VideoFrame(size[1], size[0], pixel_format)
                _fill(frame, file.read(length))
                frame.pts, frame.colorspace, frame.color_range = pts, matrix, color_range
                yield frame, steps

    def close(self) -> None:
        """Close the files."""
        self._packets.close()
        self._frames.close()

    def _widths(self, frame: av.VideoFrame) -> list[int]:
        """Bytes of a line of each plane, as in a fresh frame: filters make longer ones."""
        shape = frame.width, frame.height, frame.format.name
        if shape != self._shape:
            self._shape, fresh = shape, av.VideoFrame(*shape)
            self._line_bytes = [plane.line_size for plane in fresh.planes]
        return self._line_bytes

    @property
    def _frames_name(self) -> str:
        return f"frames_{self.segments:06d}"

    def _write(self, file: BinaryIO, data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> VideoError:
        return VideoError(
            f"{self._work.path} cannot be written ({error.strerror}): check the folder and the disk"
        )


def _reopened(path: Path, length: int) -> BinaryIO:
    """Open a file to add to it, after this many bytes."""
    file = path.open("r+b" if length else "wb")
    file.truncate(length)
    file.seek(length)
    return file


def _lines(plane: VideoPlane, width: int) -> bytes:
    """Bytes of a plane whose lines are brought to this number of bytes."""
    lines = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
    padding = max(0, width - plane.line_size)
    return np.pad(lines[:, :width], ((0, 0), (0, padding))).tobytes()


def _fill(frame: av.VideoFrame, data: bytes) -> None:
    """Fill the planes of a fresh frame."""
    place = 0
    for plane in frame.planes:
        plane.update(data[place : place + plane.buffer_size])
        place += plane.buffer_size
