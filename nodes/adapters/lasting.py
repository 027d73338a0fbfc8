"""Videos that nodes make: named by all that they depend on, in a folder that outlasts the server.

An unfinished one goes on when the same is asked for again, and a finished one is taken up. What nobody asks for
again goes.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...dream_core.checks import remedy
from ...dream_core.unfinished import Unfinished
from . import host
from .digests import Unknown, digest, key_of

SUFFIX = ".mp4"
KEPT_UNFINISHED = 5
"""Number of unfinished videos that are kept for longer than a week, the last ones."""
KEPT_FINISHED = 10
"""Number of finished videos that are kept in any case, the last ones; all others for a day."""
DAY = 86_400.0
WEEK = 7 * DAY
LONGEST = 30 * DAY
"""Seconds after which a video goes that nobody asked for."""


def place_for(conditions: Mapping[str, Any], *values: Any) -> tuple[Path, Unfinished | None]:
    """Return where a video is to be made, finished if the file is there, and the record of its making.

    Args:
        conditions: what it depends on, by name: values that JSON can hold.
        values: what else it depends on, see `digest`. Where one has no digest, the video is a temporary file
            without a record.
    """
    try:
        key = key_of({**conditions, "values": [digest(value) for value in values]})
    except Unknown:
        return host.temporary_file(SUFFIX), None
    path = host.lasting_folder() / f"{key}{SUFFIX}"
    if not path.exists():
        clean()
    return path, unfinished(path)


def unfinished(path: Path) -> Unfinished:
    """Return the record of the making of a video, not opened yet."""
    return Unfinished(path, conditions={})


def begin_anew(path: Path) -> None:
    """Say that the record of a video is damaged, and remove it."""
    host.tell("the record of the unfinished video was damaged: it begins anew")
    forget(path)


def values_beside(path: Path) -> Unfinished:
    """Return the folder of values that belong to a finished video, not opened yet."""
    return Unfinished(path.with_suffix(".values"), conditions={})


def forget(path: Path) -> None:
    """Remove a video, its record and all else of its name."""
    for one in _files(path.parent).get(path.stem, []):
        with suppress(OSError):
            if one.is_dir():
                shutil.rmtree(one)
            else:
                one.unlink()


def clean() -> None:
    """Remove the videos that nobody asked for again, except those that a run has open; say which had been begun.

    Trials that were canceled count as unfinished too, so number alone removes none: a day of trials would cost the
    work of a night.

    A folder that cannot be read, such as one of another user, stays as it is, which is said.
    """
    try:
        _clean()
    except OSError as error:
        host.tell(f"{host.lasting_folder()} is not tidied up ({error.strerror or error}): {remedy(error)}")


def _clean() -> None:
    finished: list[tuple[float, Path]] = []
    begun: list[tuple[float, Path]] = []
    for key, files in _files(host.lasting_folder()).items():
        path = host.lasting_folder() / f"{key}{SUFFIX}"
        used = max(map(_changed, files))
        (finished if path in files else begun).append((time.time() - used, path))
    for place, (age, path) in enumerate(sorted(finished)):
        if age > LONGEST or (age > DAY and place >= KEPT_FINISHED):
            forget(path)
    for place, (age, path) in enumerate(sorted(begun)):
        outdated = age > LONGEST or (age > WEEK and place >= KEPT_UNFINISHED)
        if outdated and not unfinished(path).in_use():
            _forget_unfinished(path, age)


def _forget_unfinished(path: Path, age: float) -> None:
    begun = unfinished(path).exists()
    forget(path)
    if begun and not unfinished(path).exists():
        host.tell(f"removed the unfinished {path.name}: nobody has gone on with it for {age / DAY:.0f} days")


def _files(folder: Path) -> dict[str, list[Path]]:
    """Files and folders by the name of the video that they belong to."""
    found: dict[str, list[Path]] = {}
    if folder.is_dir():
        for path in folder.iterdir():
            found.setdefault(path.name.partition(".")[0], []).append(path)
    return found


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


# Results whose file is gone while ComfyUI's cache still has them


@dataclass
class _Results:
    """Files that a node returned in the last prompt in which it ran."""

    prompt: str = ""
    files: set[Path] = field(default_factory=set)
    lost: int = 0


_results: dict[str, _Results] = {}
"""Digest of a node and its inputs -> its results."""


def remember(node_id: str, path: Path) -> None:
    """Note that a node returns a file in the running prompt."""
    with suppress(OSError):
        os.utime(path)  # it is asked for again
    results = _results.setdefault(_name(node_id), _Results())
    if results.prompt != host.running_prompt():
        results.prompt, results.files = host.running_prompt(), set()
    results.files.add(path)


def times_lost(node_id: str) -> int:
    """Return how often a file of a node's results was gone: ComfyUI runs the node again when it changes."""
    results = _results.get(_name(node_id))
    if results is None:
        return 0
    if not all(path.exists() for path in results.files):
        results.files, results.lost = set(), results.lost + 1
    for path in results.files:
        with suppress(OSError):
            os.utime(path)
    return results.lost


def _name(node_id: str) -> str:
    node = host.running_graph().get(node_id, {})
    inputs = json.dumps(node.get("inputs", {}), sort_keys=True, default=str)
    return sha256(f"{node_id} {inputs}".encode()).hexdigest()
