"""Loops over a video that go on where they were stopped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Lock
from typing import Any

import pytest
import torch
from fake_loop import Loop, of
from torch import Tensor

Functions = dict[str, tuple[dict[str, Any], Callable[..., Any]]]


@pytest.fixture(autouse=True)
def _hurry(pack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack("dream_core.unfinished"), "SECONDS", 0)
    monkeypatch.setattr(pack("dream_core.unfinished"), "SHARE", 0)


def mixing(loop: Loop, stop_at: int | None = None, error: type[BaseException] = ValueError) -> Functions:
    """A body that mixes all it gets: frame, frame before, result before, a carried number and what a node keeps."""

    def mix(new: Tensor, before: Tensor, old: Tensor, i: int, number: int) -> Tensor:
        if i == stop_at:
            raise error("stopped")
        kept = loop.nodes["work"].attributes
        kept["sum"] = kept.get("sum", 0) + new
        kept.setdefault("seen", []).append(i)
        assert kept["seen"] == list(range(i + 1))
        return (new + 2 * before + 3 * old + kept["sum"] / (i + 1) + number / 10) / 8

    inputs = {
        "new": of("frame"), "before": of("previous_frame"), "old": of("previous_result"), "i": of("index"),
        "number": ["open", 7],
    }  # fmt: skip
    return {"one": ({}, lambda: 1), "work": (inputs, mix), "add": ({"a": ["open", 7]}, lambda a: a + 1)}


def run(loop: Loop, film: Any, functions: Functions) -> list[Any]:
    return loop(
        functions,
        frames=film,
        recorded=True,
        quality=0,
        opened={"initial.carried_0": ["one", 0]},
        **{"carried.carried_0": ["add", 0]},
    )


def test_a_loop_that_was_stopped_twice_is_the_one_of_an_uninterrupted_run(
    loop: Loop, film: Any, read: Any, host: Any
) -> None:
    made, number, *_ = run(loop, film, mixing(loop))
    path = Path(made.get_stream_source())
    expected = read(path)
    loop.lasting.forget(path)
    for stop_at in (2, 4):
        with pytest.raises(Exception, match="stopped"):
            run(loop, film, mixing(loop, stop_at))
    part = path.with_name(f"{path.stem}.part.mp4")
    assert len(read(part)) == 4
    again, same, *_ = run(loop, film, mixing(loop))
    assert len(loop.nodes["work"].calls) == 2
    assert (again.get_stream_source(), same) == (str(path), number)
    assert torch.equal(read(path), expected)
    assert host.told == [
        f"stopped: the 2 frames that are done are in {part}; the same graph, queued again, goes on after frame 2",
        "goes on after frame 2, where it was stopped",
        f"stopped: the 4 frames that are done are in {part}; the same graph, queued again, goes on after frame 4",
        "goes on after frame 4, where it was stopped",
    ]


def test_a_loop_that_was_stopped_between_two_records_goes_on_after_the_last_frame(
    loop: Loop, film: Any, pack: Any, monkeypatch: pytest.MonkeyPatch, host: Any
) -> None:
    monkeypatch.setattr(pack("dream_core.unfinished"), "SECONDS", 1000)
    stop = pack("nodes.adapters.host").Interrupted

    def work(x: Tensor, i: int) -> Tensor:
        loop.nodes["work"].attributes["model"] = object()  # it cannot be saved, and does not stand in the way
        if i == 3 and not host.told:
            raise stop
        return x

    functions = {"work": ({"x": of("frame"), "i": of("index")}, work)}
    with pytest.raises(stop):
        loop(functions, frames=film, recorded=True)
    loop(functions, frames=film, recorded=True)
    assert [call["i"] for call in loop.nodes["work"].calls] == [3, 4, 5]


def test_a_finished_loop_is_taken_up_with_what_it_carried_out(loop: Loop, film: Any) -> None:
    made, number, *_ = run(loop, film, mixing(loop))
    record = loop.run._record
    assert record.path == Path(made.get_stream_source())
    assert record.finished()[:2] == [number, None]
    (values,) = record.path.parent.glob("*.values.resume/carried.safetensors")
    values.unlink()
    assert record.finished() is None  # it is to run
    assert not record.path.exists()


def test_a_loop_with_output_nodes_always_runs(loop: Loop, film: Any) -> None:
    look = ({"x": of("frame")}, lambda x: {"images": [1]})
    loop({"work": ({"x": of("frame")}, lambda x: x), "look": look}, frames=film, recorded=True)
    assert loop.run._record.finished() is None


def test_a_damaged_record_begins_anew(loop: Loop, film: Any, read: Any, host: Any) -> None:
    with pytest.raises(Exception, match="stopped"):
        run(loop, film, mixing(loop, 4))
    (state,) = loop.run._record.work.path.glob("loop_*.safetensors")
    state.write_bytes(b"damage")
    made, *_ = run(loop, film, mixing(loop))
    assert len(read(Path(made.get_stream_source()))) == 6
    assert host.told[1:] == ["the record of the unfinished video was damaged: it begins anew"]


def test_a_carried_value_that_cannot_be_saved_is_told_once(loop: Loop, film: Any, host: Any) -> None:
    loop(
        {
            "one": ({}, lambda: 1),
            "work": ({"x": of("frame"), "c": ["open", 7]}, lambda x, c: x),
            "o": ({}, object),
        },
        frames=film,
        recorded=True,
        opened={"initial.carried_0": ["one", 0]},
        **{"carried.carried_0": ["o", 0]},
    )
    assert host.told == ["a carried value, object, cannot be saved: from here on the loop is not recorded"]
    assert loop.run._record.finished() is None


def test_what_a_node_keeps_and_cannot_be_saved_is_told_once(loop: Loop, film: Any, host: Any) -> None:
    def work(x: Tensor) -> Tensor:
        loop.nodes["work"].attributes["model"] = object()
        return x

    loop({"work": ({"x": of("frame")}, work)}, frames=film, recorded=True)
    assert host.told == [
        "'Fake' (node work) keeps model (object) from frame to frame, which cannot be saved: unless it is a cache, "
        "or never changes, a loop that goes on after a stop differs"
    ]


def test_only_what_may_have_changed_is_kept(pack: Any) -> None:
    kept_by = pack("nodes.loop.record").kept_by
    fixed = {
        "none": None, "folder": "temp", "path": Path("temp"), "lock": Lock(), "sizes": (1, ("a", 2.5)), "kind": int,
        "module": torch, "function": of, "built_in": len, "dtype": torch.float32, "device": torch.device("cpu"),
    }  # fmt: skip
    in_place = {
        "list": [], "random": Random(0), "generator": torch.Generator(), "seen": set(), "last": deque(),
        "sums": torch.zeros(1).numpy(), "mixed": (1, []), "model": object(),
    }  # fmt: skip
    fresh = {**fixed, **in_place, "count": 0}
    now = {**fresh, "count": 1, "mean": torch.zeros(1)}
    in_place["random"].random()
    in_place["seen"].add(3)
    assert set(kept_by(now, fresh)) == {*in_place, "count", "mean"}


def test_what_a_node_changes_in_place_and_cannot_be_saved_is_told(loop: Loop, film: Any, host: Any) -> None:
    def begin() -> Any:
        return {"random": Random(0), "folder": Path("temp")}

    def work(x: Tensor) -> Tensor:
        return x + loop.nodes["work"].attributes["random"].random()

    loop({"work": ({"x": of("frame")}, work)}, frames=film, recorded=True, made_with=begin)
    assert ["keeps random (Random) from frame to frame" in told for told in host.told] == [True]
