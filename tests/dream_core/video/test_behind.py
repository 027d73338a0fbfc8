"""Writing behind in a thread."""

from __future__ import annotations

import threading

import pytest
import torch

from dream_core.beside import Worker
from dream_core.errors import VideoError
from dream_core.video.behind import BEHIND, write_behind

CPU = torch.device("cpu")


@pytest.mark.parametrize("worker", [None, Worker(CPU)], ids=["at once", "behind"])
def test_frames_are_written_in_order_and_told_in_the_callers_thread(worker: Worker | None) -> None:
    writers, written, told = set(), [], []

    def write(frame: int) -> None:
        writers.add(threading.get_ident())
        written.append(frame)

    def tell(frame: int) -> None:
        assert written[: frame + 1] == list(range(frame + 1))
        told.append((frame, threading.get_ident()))

    with write_behind(write, tell, worker) as put:
        for frame in range(10):
            put(frame)
            assert frame - BEHIND <= len(told) <= frame + 1
    here = threading.get_ident()
    assert told == [(frame, here) for frame in range(10)]
    assert (writers == {here}) == (worker is None)


def test_no_more_than_two_wait() -> None:
    may_write, taken = threading.Semaphore(0), []

    def use() -> None:
        with write_behind(lambda _: may_write.acquire(), lambda _: None, Worker(CPU)) as put:
            for frame in range(6):
                put(frame)
                taken.append(frame)

    user = threading.Thread(target=use)
    user.start()
    user.join(0.2)
    assert taken == list(range(BEHIND))
    may_write.release(6)
    user.join()
    assert taken == list(range(6))


def test_nothing_is_written_after_an_error_which_comes_with_a_later_frame() -> None:
    written = []

    def write(frame: int) -> None:
        if frame == 2:
            raise VideoError("the disk is full")
        written.append(frame)

    def use() -> None:
        with write_behind(write, lambda _: None, Worker(CPU)) as put:
            for frame in range(100):
                put(frame)

    with pytest.raises(VideoError, match="full"):
        use()
    assert written == [0, 1]


def test_an_error_of_the_last_frame_comes_at_the_end() -> None:
    def write(frame: int) -> None:
        raise VideoError("the disk is full")

    with pytest.raises(VideoError, match="full"), write_behind(write, print, Worker(CPU)) as put:
        put(1)


def test_what_waits_is_written_when_the_dream_is_stopped() -> None:
    written: list[int] = []

    def use() -> None:
        with write_behind(written.append, lambda _: None, Worker(CPU)) as put:
            put(0)
            put(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert written == [0, 1]
