"""A VIDEO that is a file, or frames in memory, with the methods that need no decoding."""

from __future__ import annotations

from io import BytesIO
from typing import Any


class VideoFromFile:
    def __init__(self, file: str | BytesIO, *, start_time: float = 0, duration: float = 0) -> None:
        self._file = file
        self._window = (start_time, duration)

    def get_stream_source(self) -> str | BytesIO:
        if isinstance(self._file, BytesIO):
            self._file.seek(0)
        return self._file

    def get_active_trim_window(self) -> tuple[float, float]:
        return self._window


class VideoFromComponents:
    def __init__(self, components: Any, bit_depth: int = 8) -> None:
        self._components = components

    def get_components(self) -> Any:
        return self._components


class InputImpl:
    VideoFromFile = VideoFromFile
    VideoFromComponents = VideoFromComponents
