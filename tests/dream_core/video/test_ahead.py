"""Reading ahead in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import ContextVar

import pytest

from dream_core.errors import VideoError
from dream_core.video.ahead import AHEAD, read_ahead, with_next

NODE: ContextVar[str] = ContextVar("NODE")


def test_frames_come_in_order_from_another_thread() -> None:
    threads, nodes = set(), []

    def frames() -> Iterator[int]:
        for number in range(20):
            threads.add(threading.get_ident())
            nodes.append(NODE.get())
            yield number

    NODE.set("mine")
    with read_ahead(frames()) as ahead:
        assert list(ahead) == list(range(20))
    assert threads != {threading.get_ident()}
    assert set(nodes) == {"mine"}


def test_no_more_is_read_than_may_wait() -> None:
    read: list[int] = []
    enough = threading.Event()

    def frames() -> Iterator[int]:
        for number in range(20):
            read.append(number)
            if number == AHEAD + 1:
                enough.set()
            yield number

    with read_ahead(frames()) as ahead:
        assert next(ahead) == 0
        assert enough.wait(10)
        assert len(read) == AHEAD + 2  # one used, two that wait, and one in the hand of the thread
    assert len(read) == AHEAD + 2


def test_an_error_comes_after_the_frames_before_it() -> None:
    def frames() -> Iterator[int]:
        yield 1
        yield 2
        raise VideoError("the file ends here")

    found = []

    def use() -> None:
        with read_ahead(frames()) as ahead:
            for number in ahead:
                found.append(number)

    with pytest.raises(VideoError, match="ends here"):
        use()
    assert found == [1, 2]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, VideoError])
def test_the_thread_has_ended_when_the_block_is_left(stop: type[BaseException]) -> None:
    before = threading.active_count()

    def use() -> None:
        with read_ahead(iter(range(10**9))) as ahead:
            next(ahead)
            raise stop

    with pytest.raises(stop):
        use()
    assert threading.active_count() == before


def test_frames_come_with_the_next_one() -> None:
    assert list(with_next([1, 2, 3])) == [(1, 2), (2, 3), (3, None)]
    assert list(with_next([1])) == [(1, None)]
    assert list(with_next([])) == []


def test_an_error_of_the_next_frame_comes_in_its_place() -> None:
    def frames() -> Iterator[int]:
        yield 1
        yield 2
        raise VideoError("the file ends here")

    pairs = with_next(frames())
    assert [next(pairs), next(pairs)] == [(1, 2), (2, None)]
    with pytest.raises(VideoError, match="ends here"):
        next(pairs)
