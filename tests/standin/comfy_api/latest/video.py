"""A VIDEO that is a file, or frames in memory, with the methods that need no decoding."""

from __future__ import annotations

from io import BytesIO
from typing import Any


class VideoInput:
    def get_active_trim_window(self) -> tuple[float, float]:
        return 0.0, 0.0


class VideoFromFile(VideoInput):
    def __init__(self, file: str | BytesIO, *, start_time: float = 0, duration: float = 0) -> None:
        self._file = file
        self._window = (start_time, duration)

    def get_stream_source(self) -> str | BytesIO:
        if isinstance(self._file, BytesIO):
            self._file.seek(0)
        return self._file

    def get_active_trim_window(self) -> tuple[float, float]:
        return self._window


class VideoFromComponents(VideoInput):
    def __init__(self, components: Any, bit_depth: int = 8) -> None:
        self._components = components

    def get_components(self) -> Any:
        return self._components

    def save_to(
        self,
        path: str,
        format: str = "auto",
        codec: str = "auto",
        metadata: dict[str, Any] | None = None,
        bit_depth: int | None = None,
        crf: float | None = None,
        color_space: str | None = None,
    ) -> None:
        raise OSError(f"{path}: the stand-in encodes nothing")


class Input:
    Video = VideoInput


class InputImpl:
    VideoFromFile = VideoFromFile
    VideoFromComponents = VideoFromComponents
