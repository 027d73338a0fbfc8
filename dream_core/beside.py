"""Work beside the dream: in a thread of its own and, on an NVIDIA GPU, in a stream of its own."""

from __future__ import annotations

import contextvars
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def has_room_beside(device: torch.device) -> bool:
    """Return whether the CPU has time for other work while a device dreams.

    It has while a GPU dreams, or where the variable OMP_NUM_THREADS gives PyTorch at most half of the cores.
    """
    if device.type != "cpu":
        return True
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return threads.isdecimal() and 2 * int(threads) <= _cores()


def can_compute_beside(device: torch.device) -> bool:
    """Return whether two threads can compute on a device at the same time. Apple's GPUs have one stream for all."""
    return device.type != "mps" and has_room_beside(device)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


@dataclass(frozen=True)
class Pending(Generic[T]):
    """Some work that a `Worker` has begun.

    Args:
        worker: that does it.
        work: holds the tensors that it reads. Their memory must not be used anew before the result is taken.
        future: of the result, and of the event that ends it on a GPU.
    """

    worker: Worker
    work: Callable[[], T]
    future: Future[tuple[T, Any]]

    def result(self) -> T:
        """Wait for the result, and return it or raise its error. What the caller starts on a GPU comes after it."""
        value, end = self.future.result()
        self.worker.go_on_after(end, value)
        return value


class Worker:
    """Computes in a thread and a stream of its own, one piece of work after the other.

    Args:
        device: that it computes on.
        streams: the module of streams; for tests.
    """

    def __init__(self, device: torch.device, *, streams: Any = torch.cuda) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="beside the dream")
        self._streams = streams if device.type == "cuda" else None
        self._device = device
        self._own: Any = None

    def begin(self, work: Callable[[], T]) -> Pending[T]:
        """Begin some work once all that was given before is done, and on a GPU after all that the caller started.

        Args:
            work: returns tensors, alone or in tuples and lists, or something without tensors.
        """
        start = self._event()

        def run() -> tuple[T, Any]:
            with self._stream_after(start):
                return work(), self._event()

        # In a copy of the context, by which ComfyUI knows the node that a warning belongs to.
        return Pending(self, work, self._threads.submit(contextvars.copy_context().run, run))

    def go_on_after(self, event: Any, value: Any) -> None:
        """Let what the caller starts on a GPU wait for an event there, after which a value is complete."""
        if not self._streams:
            return
        current = self._streams.current_stream(self._device)
        current.wait_event(event)
        for tensor in _tensors(value):
            tensor.record_stream(current)  # otherwise their memory might be used anew too early

    def _event(self) -> Any:
        return self._streams and self._streams.current_stream(self._device).record_event()

    def _stream_after(self, event: Any) -> AbstractContextManager[Any]:
        if not self._streams:
            return nullcontext()
        self._own = self._own or self._streams.Stream(self._device)
        self._own.wait_event(event)
        return self._streams.stream(self._own)  # type: ignore[no-any-return]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _tensors(one)
