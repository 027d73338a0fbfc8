"""State of unfinished work on disk: whoever is killed, or loses power, goes on from it later.

It is a folder beside the output, with JSON, tensors (safetensors) and files that only grow. Never a pickle.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from .checks import remedy
from .errors import DamagedError, SettingsError, VideoError
from .tensor_file import pack, unpack

SUFFIX = ".resume"
"""Added to the name of an output for the folder of its unfinished work."""

VERSION = 1
SECONDS = 2.0
"""Shortest time between two records."""
SHARE = 20
"""A record may take one part in so many of the time."""

_STATE, _LOCK = "state.json", "lock"
_LONGEST_NAME = 255
_SAMPLE = 1 << 18
"""Bytes read at each place of a file for its digest."""
_SHOWN = 3
_DIGEST = re.compile("[0-9a-f]{64}")


class Pace:
    """Says when to record: every few seconds, or less often where recording takes long."""

    def __init__(self) -> None:
        self._due = time.monotonic() + SECONDS

    def due(self) -> bool:
        """Return True if it is time to record."""
        return time.monotonic() >= self._due

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Measure a record, after which the next one is due."""
        begun = time.monotonic()
        yield
        now = time.monotonic()
        self._due = now + max(SECONDS, SHARE * (now - begun))


class Unfinished:
    """Folder with what a run needs to go on where it was stopped.

        work = Unfinished(target, conditions={"input": digest_of(source), "octave_steps": 10})
        work.open()
        if work.state: ...  # go on from it
        work.save_tensors("dream_000012.safetensors", {"dream": dream})
        work.commit({"frames": 13}, files=["dream_000012.safetensors"])
        work.remove()  # once all is done

    Nothing of a commit counts before all of it is on disk, and a commit replaces the one before at once.

    Args:
        target: the output that is being made; the folder lies beside it.
        conditions: all that the result depends on, by name: values that JSON can hold. Names of settings are those
            of their fields.
        restart: forget the state of an earlier run.
    """

    def __init__(self, target: Path, *, conditions: Mapping[str, Any], restart: bool = False) -> None:
        self.target = target
        self.path = target.with_name(shortened(target.name, SUFFIX) + SUFFIX)
        """The folder; it exists between `open` and `remove`."""
        self.state: dict[str, Any] | None = None
        """What the last commit said, None before the first."""
        self._conditions: dict[str, Any] = json.loads(json.dumps(dict(conditions), default=str))
        self._restart = restart
        self._lock: FileLock | None = None

    def open(self) -> None:
        """Make or find the folder, lock it against other runs, and read its state.

        Raises:
            SettingsError: the state was begun under other conditions.
            DamagedError: it is damaged.
            VideoError: another run works on it, or it cannot be read or written.
        """
        with self._told():
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise VideoError(
                    f"another run is making {self.target}: wait for it, or choose another name"
                ) from None
            except NotImplementedError as error:  # filelock's word for a file system without locks
                raise OSError(f"its file system has no locks: {error}") from error
            self._lock = lock
            try:
                self.state = None if self._restart else self._read()
                if self.state is None:
                    self._keep_only({_LOCK})
            except BaseException:
                self.close()
                raise

    def file(self, name: str) -> Path:
        """Path of a file of this folder."""
        return self.path / name

    def save_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Save tensors in a new file. It is on disk when this returns, and stays if the next commit names it.

        Raises:
            VideoError: it cannot be written.
        """
        with self._told():
            _write(self.file(name), pack(tensors))

    def load_tensors(self, name: str) -> dict[str, Tensor]:
        """Load the tensors of a file onto the CPU, in the order in memory that they had.

        Raises:
            DamagedError: it is missing or damaged.
        """
        with self._told():
            data = self.file(name).read_bytes()
        try:
            tensors, _ = unpack(data)
        except ValueError as error:
            raise self._damaged(name) from error
        return tensors

    def commit(self, state: Mapping[str, Any], *, files: Iterable[str] = ()) -> None:
        """Replace the state at once, so that after a loss of power either the old or the new one is there.

        Args:
            state: values that JSON can hold.
            files: names of the files that belong to it, which are on disk already; all others are removed.

        Raises:
            VideoError: it cannot be written.
        """
        content: dict[str, Any] = {
            "version": VERSION,
            "conditions": self._conditions,
            "files": sorted(files),
            "state": dict(state),
        }
        with self._told():
            fresh = self.file(f"{_STATE}.new")
            _write(fresh, json.dumps(content).encode())
            fresh.replace(self.file(_STATE))
            sync(self.path)
            self.state = content["state"]
            self._keep_only({_STATE, _LOCK, *content["files"]})

    def peek(self) -> Any:
        """Return the state without opening the folder; None if there is none that can be read."""
        try:
            return json.loads(self.file(_STATE).read_bytes())["state"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def exists(self) -> bool:
        """True if there is a state to go on from."""
        return self.file(_STATE).is_file()

    def in_use(self) -> bool:
        """Return True if a run has it open, or if nothing tells: no permission, a file system without locks."""
        if not self.file(_LOCK).exists():
            return False
        lock = FileLock(self.file(_LOCK))
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError, NotImplementedError):
            return True
        lock.release()
        return False

    def close(self) -> None:
        """Let other runs have the folder; a second call does nothing."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def remove(self) -> None:
        """Remove the folder, once the output is whole."""
        self.close()
        with suppress(OSError):  # nothing depends on it any more
            self.file(_STATE).unlink(missing_ok=True)
            for file in self.path.iterdir():
                file.unlink()
            self.path.rmdir()

    def _read(self) -> dict[str, Any] | None:
        try:
            content = json.loads(self.file(_STATE).read_bytes())
            version, conditions = content["version"], content["conditions"]
            state: dict[str, Any] = content["state"]
            missing = [name for name in content["files"] if not self.file(name).exists()]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(_STATE) from error
        if missing:
            raise self._damaged(missing[0])
        if version != VERSION:
            raise SettingsError(
                f"{self.target} is unfinished, and was begun by another version of this program: expected state "
                f"in version {VERSION}, got {version}; add `restart` to begin it anew"
            )
        self._require_same(conditions)
        self._keep_only({_STATE, _LOCK, *content["files"]})
        return state

    def _require_same(self, before: Mapping[str, Any]) -> None:
        now = self._conditions
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if not changed:
            return
        named = [_change(name, before.get(name), now.get(name)) for name in changed[:_SHOWN]]
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise SettingsError(
            f"{self.target} is unfinished: expected what it was begun with, got {', '.join(named)}{more}; "
            "repeat it as it was, choose another name, or add `restart` to begin it anew"
        )

    def _damaged(self, name: str) -> DamagedError:
        return DamagedError(
            f"{self.target} is unfinished, but its state is damaged ({self.file(name)}): `restart` begins anew"
        )

    def _keep_only(self, names: set[str]) -> None:
        for file in self.path.iterdir():
            if file.name not in names:
                file.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise VideoError(
                f"the state of {self.target} cannot be kept in {self.path} ({error.strerror or error}): "
                f"{remedy(error)}"
            ) from error


def sync(path: Path) -> None:
    """Bring a file, or a folder's list of files, onto the disk.

    Raises:
        OSError: the disk is full, or the path is gone.
    """
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders, and writes their lists itself
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest_of(path: Path, *, files: Sequence[Path] = ()) -> str:
    """Digest of a file, or of the files of a folder and their names: of their sizes and of samples of their bytes.

    Args:
        path: of the file or folder.
        files: those of a folder that count; all by default.

    Raises:
        OSError: it cannot be read.
    """
    digest = sha256()
    found = files or [file for file in path.iterdir() if file.is_file()] if path.is_dir() else [path]
    for file in sorted(found):
        size = file.stat().st_size
        digest.update(f"{file.name if path.is_dir() else ''} {size}\n".encode(errors="surrogateescape"))
        with file.open("rb") as opened:
            length = _SAMPLE if len(found) == 1 else _SAMPLE >> 6
            for place in (0, max(0, size - length) // 2, max(0, size - length)):
                opened.seek(place)
                digest.update(opened.read(length))
    return digest.hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _change(name: str, before: Any, now: Any) -> str:
    if name == "input":
        return "another input, or one that was changed"
    return f"`{name}` {_worded(now)} instead of {_worded(before)}"


def _worded(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "empty"
    if isinstance(value, str) and _DIGEST.fullmatch(value):
        return f"file {value[:8]}"
    if value is None or isinstance(value, bool):
        return {None: "unset", True: "on", False: "off"}[value]
    return str(value)


def shortened(name: str, suffix: str) -> str:
    """Return a name, cut so that a suffix still fits behind it."""
    while len(os.fsencode(name + suffix)) > _LONGEST_NAME:
        name = name[:-1]
    return name
