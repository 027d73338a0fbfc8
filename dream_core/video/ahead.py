"""Reading ahead: the next frames are decoded in a thread while a frame is dreamed."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")

AHEAD = 2
"""Number of frames that wait for their use."""

_PATIENCE = 0.2
"""Seconds between two looks at whether ctrl-C was pressed, or the other side has ended."""


@contextmanager
def read_ahead(frames: Iterable[T]) -> Iterator[Iterator[T]]:
    """Take frames from an iterator in a thread, up to `AHEAD` before their use.

    An error comes in its place, after the frames before it. When the block is left, the thread has ended, so that
    the file can be closed.

    Yields:
        An iterator over the frames, in order.
    """
    waiting: Queue[tuple[T | None, BaseException | None]] = Queue(AHEAD)
    left = threading.Event()

    def put(frame: T | None, error: BaseException | None = None) -> bool:
        while not left.is_set():
            with suppress(Full):
                waiting.put((frame, error), timeout=_PATIENCE)
                return True
        return False

    def read() -> None:
        try:
            for frame in frames:
                if not put(frame):
                    return
            put(None)
        except BaseException as error:  # whatever it is, it belongs to who uses the frames
            put(None, error)

    # In a copy of the context, by which ComfyUI knows the node that a warning belongs to.
    thread = threading.Thread(target=contextvars.copy_context().run, args=[read], daemon=True)
    thread.start()
    try:
        yield _in_order(waiting)
    finally:
        left.set()
        thread.join()


def _in_order(waiting: Queue[tuple[T | None, BaseException | None]]) -> Iterator[T]:
    while True:
        try:
            frame, error = waiting.get(timeout=_PATIENCE)
        except Empty:
            continue
        if error is not None:
            raise error
        if frame is None:
            return
        yield frame


def with_next(frames: Iterable[T]) -> Iterator[tuple[T, T | None]]:
    """Iterate over frames, each with the one after it.

    An error of the next frame comes in its place, after the frame before it.

    Yields:
        Each frame and the next one; None after the last, and before an error.
    """
    source, error = iter(frames), None
    current = next(source, None)
    while current is not None:
        try:
            following = next(source, None)
        except Exception as found:
            error, following = found, None
        yield current, following
        current = following
    if error:
        raise error
