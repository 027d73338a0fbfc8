"""Filters of ffmpeg that decoded frames pass before they become images: whole frames, in the colors of BT.709."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.filter import Graph

from ..errors import Notice
from .pixels import has_alpha

_UNSPECIFIED = 2
_HDR = {16: "PQ", 18: "HLG"}
_OTHER_CURVES = {8: "linear light", 9: "a logarithmic curve", 10: "a logarithmic curve", 17: "SMPTE 428"}
_WIDE = {9: "BT.2020", 10: "XYZ", 11: "DCI-P3", 12: "P3"}
"""Transfer curves and primaries by ffmpeg's numbers, as far as players show them otherwise than BT.709."""

_SITED_LEFT = (
    "vp8",
    "vp9",
    "libvpx",
    "libvpx-vp9",
    "ffv1",
    "ffvhuff",
    "utvideo",
    "prores",
    "dnxhd",
    "rawvideo",
)
"""Decoders that do not say where colors lie between the pixels: ffmpeg takes the middle, and players the left."""


class Restorer:
    """Makes whole frames of interlaced ones and maps colors to BT.709, where a frame says that it needs this.

    HDR is tone-mapped. ffmpeg does all that: by setparams, by bwdif and by the color management of its scale,
    because PyAV's builds have no zscale, and tonemap needs linear light.
    """

    def __init__(self, path: Path, *, decoder: str, deinterlace: bool) -> None:
        """Prepare for the frames of a file.

        Args:
            path: the file, for messages.
            decoder: name of the decoder that the frames come from.
            deinterlace: make whole frames of interlaced ones.
        """
        self._path = path
        self._sited_left = decoder in _SITED_LEFT
        self._deinterlace = deinterlace
        self._interlaced = False
        self._kind: tuple[Any, ...] = ()
        self._graph: Graph | None = None
        self._told: set[str] = set()

    def restore(self, frame: av.VideoFrame | None, *more: Any) -> Iterator[av.VideoFrame]:
        """Add a frame and return those that are ready; None returns the rest.

        Args:
            frame: the next one.
            more: what else frames that pass together have in common.
        """
        if frame is not None and self._deinterlace and frame.interlaced_frame:
            self._interlaced = True
        kind = self._kind if frame is None else (*_kind(frame), self._interlaced, *more)
        if kind != self._kind:
            yield from self._rest()
            self._kind = kind
            assert frame is not None
            self._graph = self._filters(frame)
        if frame is None:
            yield from self._rest()
        elif self._graph is None:
            yield frame
        else:
            self._graph.vpush(frame)
            yield from _ready(self._graph)

    def _rest(self) -> Iterator[av.VideoFrame]:
        if self._graph is not None:
            self._graph.vpush(None)
            yield from _ready(self._graph)
            self._graph = None
            self._kind = ()

    def _filters(self, frame: av.VideoFrame) -> Graph | None:
        filters: list[tuple[str, str]] = []
        if self._sited_left and _is_subsampled(frame.format):
            filters.append(("setparams", "chroma_location=left"))
        if self._interlaced:
            self._tell(
                f"{self._path} is interlaced: whole frames are made of it, unless `deinterlace` is off"
            )
            filters.append(("bwdif", "mode=send_frame:deint=interlaced"))
        mapping = self._mapping(frame)
        try:
            return _chain(frame, [*filters, *mapping]) if filters or mapping else None
        except (av.FFmpegError, ValueError):
            if not mapping:
                raise
            # ffmpeg 7's scale has no color management.
            text = f"this ffmpeg cannot map the colors of {self._path} to BT.709: install av 16 or newer"
            self._tell(text, UserWarning)
            return _chain(frame, filters) if filters else None

    def _mapping(self, frame: av.VideoFrame) -> list[tuple[str, str]]:
        curve, primaries = _tag(frame, "color_trc"), _tag(frame, "color_primaries")
        names = [
            *(f"HDR ({_HDR[curve]})" for _ in [0] if curve in _HDR),
            *(_OTHER_CURVES[curve] for _ in [0] if curve in _OTHER_CURVES),
            *(_WIDE[primaries] for _ in [0] if primaries in _WIDE),
        ]
        if not names:
            return []
        self._tell(f"{self._path} is in {', '.join(names)}: its colors are mapped to BT.709")
        options = ["out_primaries=bt709", "out_transfer=bt709", "out_range=full"]
        options.append("intent=perceptual" if curve in _HDR else "intent=relative_colorimetric")
        if primaries == _UNSPECIFIED:
            options.append("in_primaries=bt2020" if curve in _HDR else "in_primaries=bt709")
        if curve not in _HDR and curve not in _OTHER_CURVES:
            options.append("in_transfer=bt709")  # as it is: nobody tells sRGB's curve from BT.709's
        if frame.colorspace == _UNSPECIFIED and primaries in (_UNSPECIFIED, 9) and not frame.format.is_rgb:
            options.append("in_color_matrix=bt2020")
        return [
            ("scale", ":".join(options)),
            ("format", "rgba64le" if has_alpha(frame.format) else "rgb48le"),
        ]

    def _tell(self, text: str, category: type[Warning] = Notice) -> None:
        if text not in self._told:
            self._told.add(text)
            warnings.warn(text, category, stacklevel=2)


def _kind(frame: av.VideoFrame) -> tuple[Any, ...]:
    tags = (_tag(frame, "color_trc"), _tag(frame, "color_primaries"), frame.colorspace, frame.color_range)
    return (frame.width, frame.height, frame.format.name, *tags)


def _tag(frame: av.VideoFrame, name: str) -> int:
    return int(getattr(frame, name, _UNSPECIFIED))  # old PyAV has no such tags


def _is_subsampled(pixel_format: av.VideoFormat) -> bool:
    return not pixel_format.name.startswith("yuvj") and pixel_format.chroma_width(8) < 8


def _chain(frame: av.VideoFrame, filters: list[tuple[str, str]]) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=Fraction(frame.time_base or Fraction(1, 1_000_000)),
    )
    added = [graph.add(name, options) for name, options in filters]
    graph.link_nodes(source, *added, graph.add("buffersink")).configure()
    return graph


def _ready(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            yield graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
