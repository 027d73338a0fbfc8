"""Opening of media files by ffmpeg, which takes each name for a file and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer

from ..errors import VideoError

_SEVERAL_FILES = 0x1  # AVFMT_NOFILE: the muxer makes files of its own, such as a playlist's

# PyAV 19 has no such option: it reads any bytes as text, and writes them back.
_BROKEN_TAGS: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
)


def open_to_read(path: Path) -> InputContainer:
    """Open a media file.

    Raises:
        av.FFmpegError, OSError: it cannot be read as one.
    """
    # Without it, `shot_%03d.png` and `shot_[1].dpx` are patterns of a sequence's names.
    options = {"pattern_type": "none"}
    opened: InputContainer = av.open(_address(path), "r", options=options, **_BROKEN_TAGS)
    return opened


def open_to_write(path: Path, *, options: dict[str, str], container: str | None = None) -> OutputContainer:
    """Create a media file in the container of its suffix, or in another one by ffmpeg's name.

    Raises:
        VideoError: ffmpeg has no such container, or it consists of several files.
        OSError: the file cannot be created.
    """
    try:
        opened = av.open(_address(path), "w", format=container, options=options)
    except ValueError as error:
        raise VideoError(_not_written(path)) from error
    if flag_number(opened.format.flags) & _SEVERAL_FILES:
        opened.close()
        raise VideoError(_not_written(path))
    return opened


def require_path(path: Path, *, what: str) -> None:
    """Check that a path can be that of a file or folder here.

    Args:
        path: of an input or output.
        what: "input" or "output", for the message.

    Raises:
        VideoError: it is an address or stands for a stream, is too long, or names neither a file nor a folder.
    """
    try:
        exists = path.exists()
        if "\0" in str(path):  # Python takes such a path for one that does not exist
            raise ValueError("it has a zero byte")
        special = exists and not path.is_file() and not path.is_dir()
    except (OSError, ValueError) as error:  # too long a name, or a zero byte in it
        raise VideoError(
            f"{str(path)[:60]!r} cannot be a file ({_reason(error)}): choose another name"
        ) from error
    if special:
        raise VideoError(f"{path} is neither a file nor a folder: expected one as {what}")
    if not exists and str(path) == "-":
        raise VideoError(
            f"expected a file or folder as {what}, got -: streams are not supported; name a file"
        )
    if not exists and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise VideoError(
            f"expected a file or folder as {what}, got an address, {path}: use a file on this machine"
        )


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def flag_number(flags: Any) -> int:
    """Return flags as a number; PyAV 14 has an enumeration there."""
    return int(getattr(flags, "value", flags))


def _address(path: Path) -> str:
    # With the protocol in front, ffmpeg takes the rest as it stands: `12:30 take.mp4` has no protocol "12".
    return f"file:{path}"


def _not_written(path: Path) -> str:
    return (
        f"ffmpeg does not write {path.suffix} files: expected .mp4, .mov, .mkv, .webm, .avi or .gif, an image such "
        "as .png, or a folder"
    )
