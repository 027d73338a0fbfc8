"""Running the body of a loop."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_loop import FRAMES, Loop, of
from torch import Tensor

STATM = Path("/proc/self/statm")
"""Memory of this process, in pages."""


def numbers(batch: Tensor) -> list[float]:
    return batch[:, 0, 0, 0].tolist()


def test_feedback(loop: Loop) -> None:
    results, *_ = loop(
        {"work": ({"new": of("frame"), "old": of("previous_result")}, lambda new, old: 10 * new + old)}
    )
    assert numbers(results) == [0, 10, 30, 60]


def test_what_open_hands_out(loop: Loop) -> None:
    loop(
        {
            "work": (
                {name: of(name) for name in ("frame", "previous_frame", "previous_result", "index", "count")},
                lambda frame, **_: frame + 100,
            )
        }
    )
    seen = [
        [
            call[name] if isinstance(call[name], int) else call[name].flatten()[0].item()
            for name in sorted(call)
        ]
        for call in loop.nodes["work"].calls
    ]
    # count, frame, index, previous_frame, previous_result
    assert seen == [[4, 0, 0, 0, 0], [4, 1, 1, 0, 100], [4, 2, 2, 1, 101], [4, 3, 3, 2, 102]]


def test_an_initial_result(loop: Loop) -> None:
    results, *_ = loop(
        {
            "start": ({}, lambda: 5.0),
            "work": ({"new": of("frame"), "old": of("previous_result")}, lambda new, old: new * 0 + old),
        },
        opened={"initial_result": ["start", 0]},
    )
    assert numbers(results) == [5, 5, 5, 5]


def test_carried_values_of_any_type(loop: Loop) -> None:
    _, number, text, untouched, *_ = loop(
        {
            "zero": ({}, lambda: 0),
            "empty": ({}, lambda: ""),
            "text": ({}, lambda: "as it was"),
            "work": ({"x": of("frame")}, lambda x: x),
            "add": ({"a": ["open", 7], "i": of("index")}, lambda a, i: a + i),
            "note": ({"s": ["open", 8], "i": of("index")}, lambda s, i: f"{s}{i}"),
        },
        opened={f"initial.carried_{k}": [name, 0] for k, name in enumerate(("zero", "empty", "text"))},
        **{"carried.carried_0": ["add", 0], "carried.carried_1": ["note", 0]},
    )
    assert (number, text, untouched) == (6, "0123", "as it was")


def test_each_node_runs_once_for_each_frame(loop: Loop) -> None:
    loop(
        {
            "shared": ({"x": of("frame")}, lambda x: x),
            "a": ({"x": ["shared", 0]}, lambda x: x),
            "b": ({"x": ["shared", 0]}, lambda x: x),
            "work": ({"a": ["a", 0], "b": ["b", 0]}, lambda a, b: a + b),
        }
    )
    assert {name: len(node.calls) for name, node in loop.nodes.items()} == dict.fromkeys(
        ("shared", "a", "b", "work"), 4
    )


def test_only_the_lazy_inputs_asked_for_are_computed(loop: Loop) -> None:
    results, *_ = loop(
        {
            "even": ({"x": of("frame")}, lambda x: x),
            "odd": ({"x": of("frame")}, lambda x: -x),
            "work": (
                {"i": of("index"), "lazy_even": ["even", 0], "lazy_odd": ["odd", 0]},
                lambda i, lazy_even=None, lazy_odd=None: lazy_odd if i % 2 else lazy_even,
            ),
        },
        lazy=lambda i, **_: ["lazy_odd" if i % 2 else "lazy_even"],
    )
    assert numbers(results) == [0, -1, 2, -3]
    assert len(loop.nodes["even"].calls) == len(loop.nodes["odd"].calls) == 2


def test_a_blocked_result_leaves_its_frame_out(loop: Loop, pack: Any) -> None:
    blocker = pack("nodes.adapters.host").blocker
    results, carried, *_ = loop(
        {
            "zero": ({}, lambda: 0),
            "work": (
                {"i": of("index"), "new": of("frame"), "old": of("previous_result")},
                lambda i, new, old: blocker() if i == 1 else new + old,
            ),
            "add": ({"a": ["open", 7], "i": of("index")}, lambda a, i: blocker() if i == 2 else a + 1),
        },
        opened={"initial.carried_0": ["zero", 0]},
        **{"carried.carried_0": ["add", 0]},
    )
    assert numbers(results) == [0, 2, 5]
    assert carried == 3


def test_all_results_blocked(loop: Loop, pack: Any) -> None:
    host = pack("nodes.adapters.host")
    results, *_ = loop({"work": ({"x": of("frame")}, lambda x: host.blocker())})
    assert host.is_blocker(results)


def test_blocked_frames_block_the_results(loop: Loop, pack: Any) -> None:
    host = pack("nodes.adapters.host")
    outputs = loop({"work": ({"x": of("frame")}, lambda x: x)}, frames=host.blocker())
    assert all(map(host.is_blocker, outputs))


def test_a_failing_node_is_named_with_its_frame(loop: Loop, error: type[Exception]) -> None:
    def fail(x: Tensor) -> Tensor:
        if x.max() > 1:
            raise ValueError("no more")
        return x

    with pytest.raises(error, match=r"^ValueError: no more \('Fake' \(node work\), frame 2 of 4\)$"):
        loop({"work": ({"x": of("frame")}, fail)})
    assert loop.run.failing_node() == "work"


def test_results_that_change_their_size(loop: Loop, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^expected a result of \(1, 2, 3, 3\).* \(frame 1 of 4\)$"):
        loop({"work": ({"x": of("frame"), "i": of("index")}, lambda x, i: x[:, : 2 - i])})


def test_a_list_is_no_result(loop: Loop, error: type[Exception]) -> None:
    with pytest.raises(
        error, match=r"^expected one value for 'result' of the loop, got a list of 2.* \(frame 0 of 4\)$"
    ):
        loop({"work": ({"x": of("frame")}, lambda x: [[x, x]])})


def test_no_frames(loop: Loop, error: type[Exception]) -> None:
    with pytest.raises(error, match="got no frames"):
        loop({"work": ({"x": of("frame")}, lambda x: x)}, frames=FRAMES[:0])


def test_cancel_goes_through_as_it_is(loop: Loop, pack: Any, host: Any) -> None:
    def cancel(x: Tensor) -> Tensor:
        host.interrupted = True
        pack("nodes.adapters.host").check_interrupted()
        return x

    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        loop({"work": ({"x": of("frame")}, cancel)})
    assert host.started == host.finished == ["work"]


def test_the_bar_counts_frames(loop: Loop, host: Any) -> None:
    loop({"work": ({"x": of("frame")}, lambda x: x)})
    assert [(done, total) for done, total, _ in host.progress] == [(k, 4) for k in (1, 2, 3, 4)]


def test_a_loop_inside(loop: Loop) -> None:
    results, *_ = loop(
        {
            "split": ({"x": of("frame")}, lambda x: torch.cat([x, x, x])),
            "in": ({"frames": ["split", 0]}, "DeepDreamLoopOpen"),
            "step": (
                {
                    "x": of("frame", "in"),
                    "old": of("previous_result", "in"),
                    "i": of("index", "in"),
                    "o": of("index"),
                },
                lambda x, old, i, o: old + 10 * o + i,
            ),
            "out": ({"loop": ["in", 0], "result": ["step", 0]}, "DeepDreamLoopClose"),
            "work": ({"x": ["out", 0]}, lambda x: x[-1:]),
        }
    )
    # frame + sum over three inner frames of (10 outer + inner)
    assert numbers(results) == [3, 34, 65, 96]


def test_a_failure_in_a_loop_inside_tells_both_frames(loop: Loop, error: type[Exception]) -> None:
    def fail(i: int, o: int) -> Tensor:
        if (o, i) == (2, 1):
            raise RuntimeError("broken")
        return FRAMES[:1]

    where = r"\('Fake' \(node step\), frame 1 of 2\) \(frame 2 of 4 of the loop around it\)$"
    with pytest.raises(error, match=r"^RuntimeError: broken " + where):
        loop(
            {
                "split": ({"x": of("frame")}, lambda x: torch.cat([x, x])),
                "in": ({"frames": ["split", 0]}, "DeepDreamLoopOpen"),
                "step": ({"i": of("index", "in"), "o": of("index")}, fail),
                "out": ({"loop": ["in", 0], "result": ["step", 0]}, "DeepDreamLoopClose"),
                "work": ({"x": ["out", 0]}, lambda x: x[:1]),
            }
        )


def test_an_output_node_shows_all_it_made(loop: Loop, host: Any) -> None:
    loop(
        {
            "work": ({"x": of("frame")}, lambda x: x),
            "look": ({"x": ["work", 0]}, lambda x: {"images": [x.max().item()]}),
        }
    )
    assert host.shown[-1] == ("look", {"images": [0, 1, 2, 3]})


def test_one_initial_result_is_meant(loop: Loop, pack: Any) -> None:
    with pytest.raises(
        pack("dream_core.errors").ImageError, match="expected initial_result of one frame, got 4"
    ):
        loop(
            {"start": ({}, lambda: FRAMES), "work": ({"old": of("previous_result")}, lambda old: old)},
            opened={"initial_result": ["start", 0]},
        )


MIX = ({"new": of("frame"), "old": of("previous_result")}, lambda new, old: (new + old) / 2)


def test_a_video_gives_the_pixels_that_its_frames_as_a_batch_give(
    loop: Loop, read: Any, video: Path, film: Any
) -> None:
    frames = read(video).movedim(1, -1)
    results, *_ = loop({"work": MIX}, frames=frames)
    seen: list[Tensor] = []

    def mix(new: Tensor, old: Tensor) -> Tensor:
        seen.append((new + old) / 2)
        return seen[-1]

    made, *_ = loop({"work": (MIX[0], mix)}, frames=film, quality=0)
    assert torch.equal(torch.cat(seen), results)
    # Lossless but for the colors, which H.264 halves.
    found = read(Path(made.get_stream_source())).movedim(1, -1)
    assert found.shape == results.shape
    assert (found - results).mean(-1).abs().mean() < 0.01


def test_each_frame_of_a_video_comes_with_its_time(loop: Loop, film: Any) -> None:
    loop(
        {"work": ({"x": of("frame"), "t": of("time"), "i": of("index"), "n": of("count")}, lambda x, **_: x)},
        frames=film,
    )
    calls = loop.nodes["work"].calls
    assert [call["t"] for call in calls] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert [(call["i"], call["n"]) for call in calls] == [(index, 6) for index in range(6)]


@pytest.mark.skipif(not STATM.exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_a_video(loop: Loop, pack: Any, tmp_path: Path) -> None:
    """3,000 frames, which as a batch would take 110 MB."""
    settings = pack("dream_core.settings").OutputSettings()
    path, frame = tmp_path / "long.mp4", torch.rand(3, 48, 64)
    with pack("dream_core.video").open_output(
        path, size=(48, 64), fps=Fraction(25), settings=settings
    ) as output:
        for _ in range(3000):
            output.write(frame)
    memory: dict[int, int] = {}

    def look(x: Tensor, i: int) -> Tensor:
        loop.nodes["work"].calls.clear()
        if i in (100, 2999):
            memory[i] = int(STATM.read_text("ascii").split()[1])
        return x

    film = pack("nodes.adapters.videos").InputImpl.VideoFromFile(str(path))
    loop({"work": ({"x": of("frame"), "i": of("index")}, look)}, frames=film)
    assert memory[2999] < 1.03 * memory[100]


def test_a_failure_keeps_what_is_done_of_a_video(
    loop: Loop, read: Any, film: Any, error: type[Exception], host: Any
) -> None:
    def fail(x: Tensor, i: int) -> Tensor:
        if i == 3:
            raise ValueError("no more")
        return x

    with pytest.raises(error, match="frame 3 of 6"):
        loop({"work": ({"x": of("frame"), "i": of("index")}, fail)}, frames=film)
    (path,) = (host.folder / "temp").glob("*.mp4")
    assert len(read(path)) == 3
    assert host.told == [f"stopped: the 3 frames that are done are in {path} until ComfyUI starts again"]


def test_an_output_node_shows_the_last_results_of_a_video(
    loop: Loop, film: Any, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.runner, "SHOWN_AT_MOST", 2)
    loop(
        {
            "work": ({"x": of("frame")}, lambda x: x),
            "look": ({"i": of("index")}, lambda i: {"images": [i, -i]}),
        },
        frames=film,
    )
    assert host.shown[-1] == ("look", {"images": [5, -5]})


def test_quality_may_come_from_outside_and_not_from_inside(
    loop: Loop, film: Any, error: type[Exception]
) -> None:
    work = ({"x": of("frame")}, lambda x: x)
    made, *_ = loop({"work": work, "best": ({}, lambda: 0)}, frames=film, quality=["best", 0])
    poor, *_ = loop({"work": work}, frames=film, quality=51)
    sizes = [Path(one.get_stream_source()).stat().st_size for one in (made, poor)]
    assert sizes[0] > 3 * sizes[1]
    with pytest.raises(error, match=r"quality of Temporal Loop Close .* from inside"):
        loop({"work": work, "bad": ({"i": of("index")}, lambda i: i)}, frames=film, quality=["bad", 0])


def test_what_loses_all_its_frames_makes_no_video(loop: Loop, film: Any, pack: Any, host: Any) -> None:
    adapter = pack("nodes.adapters.host")
    results, *_ = loop({"work": ({"x": of("frame")}, lambda x: adapter.blocker())}, frames=film)
    assert adapter.is_blocker(results)
    assert list((host.folder / "temp").glob("*")) == []
