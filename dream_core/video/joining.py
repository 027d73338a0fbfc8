"""Joining of the parts of a clip, made apart, into the record of the whole output, which then only has to end.

Nothing is encoded again: the packets of a video are copied, and so are the images of a folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..checks import remedy
from ..errors import VideoError
from ..unfinished import Unfinished, sync
from .writer import PART, free_name, image_name


def is_whole(part: Unfinished) -> bool:
    """Return True if a part was left by `Output.leave_as_part`.

    Raises:
        SettingsError, VideoError: see `Unfinished.open`.
    """
    if not part.exists():
        return False
    part.open()
    state = part.state
    part.close()
    return bool(state and (state["run"] or {}).get(PART))


def images_done(part: Unfinished) -> int:
    """Count the recorded images of a part, whoever is making it."""
    state = part.peek()
    return state["written"] if state else 0


def join_parts(parts: Sequence[Unfinished], work: Unfinished) -> None:
    """Make the record of an output from those of its parts. `open_output` goes on from it, and adds the sound.

    Args:
        parts: in order, all whole, in the format of the output; of an animated image exactly one.
        work: of the output, not opened. An earlier record is replaced.

    Raises:
        VideoError: another run makes the output, or a file cannot be read or written.
    """
    states = [part.peek() for part in parts]
    before = work.peek()
    growing = work.target.with_name(before["growing"]) if before else free_name(work.target)
    if not work.in_use():
        work.remove()
    work.open()
    try:
        # Noted first, so that whoever is killed meanwhile leaves no file that nobody knows.
        work.commit({"growing": growing.name, "written": 0, "sink": None, "run": None})
        if "index" in states[0]["sink"]:
            files: list[str] = []
            sink = _join_folders(parts, growing)
        else:
            sink, files = _join_videos(parts, work)
        state = {
            "growing": growing.name,
            "written": sum(one["written"] for one in states),
            "next_time": states[-1]["next_time"],
            "sink": sink,
            "run": None,
        }
        work.commit(state, files=files)
    except OSError as error:
        raise VideoError(
            f"the parts of {work.target} cannot be joined ({error.strerror or error}): {remedy(error)}"
        ) from error
    finally:
        work.close()


def remove_parts(parts: Sequence[Unfinished]) -> None:
    """Remove the records of parts, once the output is whole."""
    for part in parts:
        state = part.peek()
        if state:
            shutil.rmtree(part.target.with_name(state["growing"]), ignore_errors=True)
        part.remove()


def _join_videos(parts: Sequence[Unfinished], work: Unfinished) -> tuple[dict[str, Any], list[str]]:
    sinks = [part.peek()["sink"] for part in parts]
    names = []
    # Packets and frames have their times in the whole clip, so that files of them can be put one after the other.
    for kind in ("packets", "frames"):
        with work.file(_name(kind, len(parts))).open("wb") as joined:
            for part, sink in zip(parts, sinks, strict=True):
                with part.file(_name(kind, sink["journal"]["segments"])).open("rb") as file:
                    _copy(file, joined, sink["journal"][kind])
        sync(work.file(_name(kind, len(parts))))
        names.append(_name(kind, len(parts)))
    last = sinks[-1]
    total = {name: sum(sink["timing"][name] for sink in sinks) for name in ("repeated", "dropped")}
    journal = {
        "segments": len(parts),
        **{kind: sum(sink["journal"][kind] for sink in sinks) for kind in ("packets", "frames")},
    }
    written = sum(sink["written"] for sink in sinks)
    return {**last, "written": written, "timing": {**last["timing"], **total}, "journal": journal}, names


def _name(kind: str, segments: int) -> str:
    return kind if kind == "packets" else f"frames_{segments:06d}"


def _copy(file: Any, joined: Any, length: int) -> None:
    """Copy the first bytes of a file."""
    while length:
        data = file.read(min(length, 1 << 24))
        if not data:
            raise OSError(f"{file.name} is too short")
        joined.write(data)
        length -= len(data)


def _join_folders(parts: Sequence[Unfinished], growing: Path) -> dict[str, Any]:
    growing.mkdir(parents=True, exist_ok=True)
    index = 0
    for part in parts:
        state = part.peek()
        folder = part.target.with_name(state["growing"])
        for number in range(state["sink"]["index"]):
            _link(folder / image_name(number), growing / image_name(index))
            index += 1
    sync(growing)
    return {"index": index}


def _link(source: Path, target: Path) -> None:
    """Give a file another name, or copy it where that is not possible; the part stays whole until all is joined."""
    target.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
