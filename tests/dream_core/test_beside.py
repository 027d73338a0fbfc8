"""Work beside the dream, on the CPU and on a GPU that notes its streams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest
import torch
from torch import Tensor

from dream_core import beside
from dream_core.beside import Worker, can_compute_beside, has_room_beside

CPU, CUDA, MPS = (torch.device(kind) for kind in ("cpu", "cuda", "mps"))
NODE: ContextVar[str] = ContextVar("NODE")


@pytest.mark.parametrize(
    ("threads", "room"), [(None, False), ("8", False), ("5", False), ("4", True), ("1", True), ("4,2", False)]
)
def test_a_cpu_has_room_if_half_of_its_cores_are_left(
    threads: str | None, room: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "_cores", lambda: 8)
    if threads:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert has_room_beside(CPU) == can_compute_beside(CPU) == room


def test_a_gpu_leaves_the_cpu_free_but_apples_computes_one_thing_at_a_time() -> None:
    assert has_room_beside(CUDA)
    assert can_compute_beside(CUDA)
    assert has_room_beside(MPS)
    assert not can_compute_beside(MPS)


def test_work_is_done_in_order_in_one_other_thread() -> None:
    NODE.set("mine")
    worker, done = Worker(CPU), []

    def work(number: int) -> Callable[[], int]:
        def one() -> int:
            done.append((number, threading.get_ident(), NODE.get()))
            return number

        return one

    begun = [worker.begin(work(number)) for number in range(5)]
    assert [one.result() for one in begun] == list(range(5))
    assert [number for number, _, _ in done] == list(range(5))
    assert len({thread for _, thread, _ in done} - {threading.get_ident()}) == 1
    assert {node for _, _, node in done} == {"mine"}


def test_an_error_comes_with_the_result_and_the_next_work_is_done() -> None:
    worker = Worker(CPU)

    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    failed, fine = worker.begin(fail), worker.begin(lambda: 3)
    with pytest.raises(torch.OutOfMemoryError):
        failed.result()
    assert fine.result() == 3


class Streams:
    """Stands in for torch.cuda: notes what each stream is given, in the order of the program."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._local = threading.local()
        self._made = 0

    def Stream(self, device: torch.device) -> Stream:  # noqa: N802
        assert device.type == "cuda"
        self._made += 1
        return Stream(self, f"side {self._made}")

    def current_stream(self, device: torch.device) -> Stream:
        return getattr(self._local, "stream", None) or Stream(self, "main")

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        self._local.stream = stream
        yield
        self._local.stream = None


class Stream:
    def __init__(self, streams: Streams, name: str) -> None:
        self.streams, self.name = streams, name

    def record_event(self) -> str:
        self.streams.notes.append(f"{self.name} marks")
        return f"mark of {self.name}"

    def wait_event(self, event: str) -> None:
        self.streams.notes.append(f"{self.name} waits for {event}")


class Recorded(Tensor):
    recorded: Any = None

    def record_stream(self, stream: Any) -> None:
        self.recorded = stream.name


def test_streams_wait_for_each_other_and_memory_is_kept_for_both() -> None:
    streams = Streams()
    worker = Worker(CUDA, streams=streams)
    made = [torch.zeros(2).as_subclass(Recorded) for _ in range(2)]

    def work() -> tuple[Tensor, list[Tensor], str]:
        streams.notes.append("work")
        return made[0], [made[1]], "and what is no tensor"

    begun = worker.begin(work)
    assert begun.work is work  # which holds what it reads
    begun.result()
    assert streams.notes == [
        "main marks",
        "side 1 waits for mark of main",
        "work",
        "side 1 marks",
        "main waits for mark of side 1",
    ]
    assert [tensor.recorded for tensor in made] == ["main", "main"]
    worker.begin(work).result()
    assert "side 2 marks" not in streams.notes
