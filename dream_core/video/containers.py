"""Opening of media files by ffmpeg, which takes each name for a file and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer, OutputContainer

from ..checks import kind_of
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
    _keep_ffmpeg_out_of_python()
    opened: InputContainer = av.open(_address(path), "r", container_options=options, **_BROKEN_TAGS)
    return opened


def open_to_write(path: Path, *, options: dict[str, str], container: str | None = None) -> OutputContainer:
    """Create a media file in the container of its suffix, or in another one by ffmpeg's name.

    Raises:
        VideoError: ffmpeg has no such container, or it consists of several files.
        OSError: the file cannot be created.
    """
    _keep_ffmpeg_out_of_python()
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
        VideoError: it is an address or stands for a stream, names neither a file nor a folder, or cannot be looked
            at: too long a name, a zero byte in it, a link to itself, a path below a file, no permission.
    """
    kind = kind_of(path)
    if kind is None and str(path) == "-":
        raise VideoError(
            f"expected a file or folder as {what}, got -: streams are not supported; name a file"
        )
    if kind is None and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise VideoError(
            f"expected a file or folder as {what}, got an address, {path}: use a file on this machine"
        )
    try:
        path.stat()
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise VideoError(
            f"{path} cannot be looked at ({_reason(error)}): expected a folder that may be opened as that of "
            f"the {what}; change its permissions, or choose another"
        ) from error
    except (OSError, ValueError) as error:
        raise VideoError(
            f"{str(path)[:60]!r} cannot be a file ({_reason(error)}): choose another name"
        ) from error
    if kind == "other":
        raise VideoError(f"{path} is neither a file nor a folder: expected one as {what}")


def require_apart(target: Path, source: Path) -> None:
    """Check that an output is not its input.

    Raises:
        VideoError: both are one file, or one of them cannot be a file.
    """
    require_path(source, what="input")
    require_path(target, what="output")
    if target.resolve() == source.resolve():
        raise VideoError(f"{target} is the input: choose another name for the output")


@contextmanager
def telling(path: Path, done: str) -> Iterator[None]:
    """Tell in one line what the system does not let us do with a path inside the block.

    Args:
        path: for the message.
        done: such as "read", for the message.

    Raises:
        VideoError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise VideoError(
            f"{path} cannot be {done} ({_reason(error)}): check that it is there, and its permissions"
        ) from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def flag_number(flags: Any) -> int:
    """Return flags as a number; PyAV 14 has an enumeration there."""
    return int(getattr(flags, "value", flags))


def _keep_ffmpeg_out_of_python() -> None:
    # Older torchvision, when imported, has ffmpeg log errors through Python. Closing a film, which waits for the
    # decoder's threads, then hangs for ever if one of them logs: it waits for Python (PyAV's issue 751).
    if av.logging.get_level() == av.logging.ERROR:
        av.logging.set_level(None)


def _address(path: Path) -> str:
    # With the protocol in front, ffmpeg takes the rest as it stands: `12:30 take.mp4` has no protocol "12".
    return f"file:{path}"


def _not_written(path: Path) -> str:
    return (
        f"ffmpeg does not write {path.suffix} files: expected .mp4, .mov, .mkv, .webm, .avi or .gif, an image such "
        "as .png, or a folder"
    )
