"""Packets of a file in one run of time, also where the file's own times jump."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from .containers import flag_number

_MAY_JUMP = 0x0200  # AVFMT_TS_DISCONT
_BACKWARD = Fraction(1, 10)
_FORWARD = Fraction(10)
"""Seconds by which times must be off to count as a jump, as in ffmpeg's own program."""


def may_jump(container: InputContainer) -> bool:
    """True for formats whose times may jump, such as MPEG transport streams that were joined.

    In such a file a time says nothing about the place, so that it is read from its beginning.
    """
    return bool(flag_number(container.format.flags) & _MAY_JUMP)


def continuous_packets(container: InputContainer) -> Iterator[av.Packet[Any]]:
    """Read all packets; where times jump, those that follow are moved so that no time is lost or repeated.

    Whoever reads such a file from its beginning gets the same times.

    Raises:
        av.FFmpegError: the file breaks off.
    """
    timeline = _Timeline()
    moves = may_jump(container)
    for packet in container.demux():
        if moves:
            timeline.move(packet)
        yield packet


class _Timeline:
    """Shifts of the times of a file, by place in the file.

    The packets of a place are not read in order: ffmpeg returns a picture once the next one begins, and sound
    from before a jump after pictures from behind it.
    """

    def __init__(self) -> None:
        self._places = [0]
        self._shifts = [Fraction(0)]
        self._ends: dict[int, Fraction] = {}
        self._parts: dict[int, int] = {}

    def move(self, packet: av.Packet[Any]) -> None:
        """Shift the times of a packet."""
        unit, stamp, index = Fraction(packet.time_base), packet.dts, packet.stream.index
        part = self._part(packet)
        if stamp is not None and packet.stream.type in ("video", "audio"):
            end = self._ends.get(index)
            if end is not None and self._jumps(stamp * unit + self._shifts[part], end):
                part = self._new_part(packet.pos, part, end - stamp * unit)
            self._ends[index] = (stamp + (packet.duration or 0)) * unit + self._shifts[part]
            if packet.pts is not None and not -_BACKWARD < (packet.pts - stamp) * unit < _FORWARD:
                packet.pts = stamp + (packet.duration or 0)  # ffmpeg took it from behind the jump
        self._parts[index] = part
        shift = round(self._shifts[part] / unit)
        packet.pts = None if packet.pts is None else packet.pts + shift
        packet.dts = None if stamp is None else stamp + shift

    def _jumps(self, time: Fraction, end: Fraction) -> bool:
        # A stream that pauses while another one goes on does not jump.
        return time < end - _BACKWARD or time > max(self._ends.values()) + _FORWARD

    def _part(self, packet: av.Packet[Any]) -> int:
        """Part of the file that a packet lies in, or that of the packet before for one without a place."""
        if packet.pos is None or packet.pos < 0:
            return self._parts.get(packet.stream.index, 0)
        return max(index for index, begin in enumerate(self._places) if index == 0 or begin <= packet.pos)

    def _new_part(self, place: int | None, part: int, shift: Fraction) -> int:
        if part + 1 < len(self._places):
            # Another stream has jumped already, a little later in the file: it is the same jump.
            self._places[part + 1] = place or self._places[part + 1]
            return part + 1
        self._places.append(place or self._places[-1])
        self._shifts.append(shift)
        return part + 1
