"""Writing behind: finished frames are written in a thread while the next ones are dreamed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from ..beside import Pending, Worker

T = TypeVar("T")

BEHIND = 2
"""Number of frames that wait to be written."""


@contextmanager
def write_behind(
    write: Callable[[T], None], written: Callable[[T], None], worker: Worker | None
) -> Iterator[Callable[[T], None]]:
    """Write frames in order, beside what the program does.

    After an error nothing more is written; the error comes with a later frame, or at the end of the block. If the
    block is left by an error, what waits is still written.

    Args:
        write: writes a frame.
        written: called after each, in the caller's thread.
        worker: writes; None writes at once.

    Yields:
        A function that takes the next frame. It waits while `BEHIND` frames do.
    """
    waiting: deque[tuple[T, Pending[None]]] = deque()
    failed: list[BaseException] = []

    def write_unless_failed(frame: T) -> None:
        if failed:
            return
        try:
            write(frame)
        except BaseException as error:
            failed.append(error)
            raise

    def finish_one() -> None:
        frame, pending = waiting.popleft()
        pending.result()
        written(frame)

    def put(frame: T) -> None:
        if worker is None:
            write(frame)
            written(frame)
            return
        while len(waiting) >= BEHIND:
            finish_one()
        waiting.append((frame, worker.begin(partial(write_unless_failed, frame))))

    try:
        yield put
        while waiting:
            finish_one()
    finally:
        for _, pending in waiting:
            pending.future.exception()  # wait, so that the output can be closed
