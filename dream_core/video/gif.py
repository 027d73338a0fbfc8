"""Reduction of a GIF's frames to palettes, one per frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph


class Palette:
    """Reduces each frame to its best 256 colors, dithered (ffmpeg's palettegen and paletteuse)."""

    def __init__(self, *, width: int, height: int, time_base: Fraction, transparency: bool = False) -> None:
        """Build the filter graph for frames of this size, rgb24, or rgba with transparency."""
        self._graph = graph = Graph()
        pixel_format = av.VideoFormat("rgba" if transparency else "rgb24")
        source = graph.add_buffer(
            width=width,
            height=height,
            format=pixel_format,
            time_base=time_base,
        )
        split, sink = graph.add("split"), graph.add("buffersink")
        generate = graph.add("palettegen", f"stats_mode=single:reserve_transparent={int(transparency)}")
        use = graph.add("paletteuse", "new=1")
        source.link_to(split)
        split.link_to(generate, 0, 0)
        split.link_to(use, 1, 0)
        generate.link_to(use, 0, 1)
        use.link_to(sink)
        graph.configure()

    def reduce(self, frame: av.VideoFrame | None) -> Iterator[av.VideoFrame]:
        """Add a frame and return those that are ready, as pal8; None returns the rest."""
        self._graph.vpush(frame)
        while True:
            try:
                yield self._graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
