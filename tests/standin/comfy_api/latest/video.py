"""A VIDEO that is a file, with the methods that need no decoding."""

from __future__ import annotations

from io import BytesIO


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


class InputImpl:
    VideoFromFile = VideoFromFile
