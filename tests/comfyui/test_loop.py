"""Temporal Loop Open and Close in the real ComfyUI, around nodes of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from comfyui_server import Draft, Node, Run, Server
from PIL import Image
from studio import PACKS

Seen = Callable[[Run, Node], list[np.ndarray]]
Executions = Callable[[], list[str]]

FRAME, PREVIOUS_FRAME, PREVIOUS_RESULT, INDEX, COUNT, TIME, CARRIED = range(1, 8)


class Loop(Draft):
    """A prompt with frames, a Temporal Loop Open on them and, at the end, a Close."""

    def __init__(self, count: int = 4, **initial: object) -> None:
        super().__init__()
        self.frames = self.add("ProbeFrames", kind="moving", count=count, height=16, width=24)
        self.open = self.add("DeepDreamLoopOpen", frames=self.frames, **initial)

    def close(self, result: object, **carried: object) -> Node:
        """Close the loop and look at its results."""
        self.end = self.add("DeepDreamLoopClose", loop=self.open, result=result, **carried)
        return self.add("ProbeSee", value=self.end)


def frames_of(comfyui: Server, seen: Seen, count: int = 4) -> np.ndarray:
    draft = Draft()
    frames = draft.add("ProbeFrames", kind="moving", count=count, height=16, width=24)
    see = draft.add("ProbeSee", value=frames)
    return seen(comfyui.run(draft.graph), see)[0]


def test_core_image_nodes_repeat_for_every_frame(comfyui: Server, seen: Seen) -> None:
    loop = Loop()
    inverted = loop.add("ImageInvert", image=loop.open[FRAME])
    mixed = loop.add(
        "ImageBlend",
        image1=inverted,
        image2=loop.open[PREVIOUS_RESULT],
        blend_factor=0.5,
        blend_mode="normal",
    )
    see = loop.close(mixed)
    (results,) = seen(comfyui.run(loop.graph), see)
    frames = frames_of(comfyui, seen)
    previous = frames[0]
    for frame, result in zip(frames, results, strict=True):
        expected = (1 - frame) * 0.5 + previous * 0.5
        assert np.allclose(result, expected, atol=1e-6)
        previous = result


def test_an_async_node_and_one_of_the_old_kind_mix(comfyui: Server, seen: Seen) -> None:
    loop = Loop()
    inverted = loop.add("ProbeAsyncInvert", image=loop.open[FRAME])
    see = loop.close(loop.add("ProbeLighten", image=inverted, amount=0.125))
    (results,) = seen(comfyui.run(loop.graph), see)
    assert np.array_equal(results, (1 - frames_of(comfyui, seen)) + np.float32(0.125))


def test_the_previous_frame_the_index_and_the_count_are_handed_out(comfyui: Server, seen: Seen) -> None:
    loop = Loop(3)
    see = loop.close(loop.open[PREVIOUS_FRAME])
    loop.add("ProbeSee", value=loop.open[INDEX])
    loop.add("ProbeSee", value=loop.open[COUNT])
    run = comfyui.run(loop.graph)
    (results,) = seen(run, see)
    assert np.array_equal(results, frames_of(comfyui, seen, 3)[[0, 0, 1]])
    shown = [text for outputs in run.outputs.values() for text in outputs.get("texts", [])]
    assert sorted(shown) == ["0", "1", "2", "3", "3", "3"]


def test_values_of_several_kinds_are_carried(comfyui: Server, seen: Seen) -> None:
    loop = Loop(4, **{"initial.carried_0": 10, "initial.carried_1": "text"})
    number = loop.add("ProbeAdd", left=loop.open[CARRIED], right=2)
    darker = loop.add("ProbeLighten", image=loop.open[PREVIOUS_RESULT], amount=-0.0625)
    loop.close(
        darker,
        **{
            "carried.carried_0": number[0],
            "carried.carried_1": loop.open[CARRIED + 1],
            "carried.carried_2": darker[0],
        },
    )
    seers = [loop.add("ProbeSee", value=loop.end[1 + slot]) for slot in range(3)]
    run = comfyui.run(loop.graph)
    (last,) = seen(run, seers[2])
    assert run.outputs[seers[0].id]["texts"] == ["18"]
    assert run.outputs[seers[1].id]["texts"] == ["text"]
    assert np.allclose(last[0], frames_of(comfyui, seen)[0] - 0.25, atol=1e-6)


def test_a_failing_node_is_named_with_its_frame(comfyui: Server, seen: Seen) -> None:
    loop = Loop()
    fail = loop.add("ProbeFail", value=loop.open[FRAME], index=loop.open[INDEX], at=2)
    loop.close(fail)
    run = comfyui.run(loop.graph)
    assert run.error is not None
    assert run.error["node_id"] == fail.id  # not Close: the page frames the node that failed
    assert run.error["node_type"] == "ProbeFail"
    assert run.error["exception_type"] == "LoopError"
    assert "frame 2 of 4" in run.error["exception_message"]
    assert "ProbeFail" in run.error["exception_message"].replace(" ", "")
    assert "failed on purpose" in run.error["exception_message"]
    frames_of(comfyui, seen)  # the queue is usable


def test_a_loop_may_stand_in_a_loop(comfyui: Server, seen: Seen) -> None:
    loop = Loop(3)
    inner = loop.add("DeepDreamLoopOpen", frames=loop.frames)
    mixed = loop.add(
        "ImageBlend", image1=inner[FRAME], image2=loop.open[FRAME], blend_factor=0.5, blend_mode="normal"
    )
    inner_end = loop.add("DeepDreamLoopClose", loop=inner, result=mixed)
    see = loop.close(inner_end)
    (results,) = seen(comfyui.run(loop.graph), see)
    frames = frames_of(comfyui, seen, 3)
    expected = np.concatenate([frames * 0.5 + frame * 0.5 for frame in frames])
    assert np.allclose(results, expected, atol=1e-6)


def test_an_output_node_inside_shows_every_frame(comfyui: Server) -> None:
    loop = Loop()
    loop.add("PreviewImage", images=loop.open[FRAME])
    loop.close(loop.open[FRAME])
    run = comfyui.run(loop.graph)
    assert run.error is None
    images = [image for outputs in run.outputs.values() for image in outputs.get("images", [])]
    assert len(images) == 4
    assert len({image["filename"] for image in images}) == 4


def test_lists_inside_a_loop_go_from_node_to_node(comfyui: Server, seen: Seen) -> None:
    loop = Loop()
    halves = loop.add("ProbeSplit", image=loop.open[FRAME])
    lighter = loop.add("ProbeLighten", image=halves, amount=0.25)  # once for each
    see = loop.close(loop.add("ProbeJoin", images=lighter))
    (results,) = seen(comfyui.run(loop.graph), see)
    assert np.allclose(results, 0.75, atol=1e-6)


def test_a_lazy_switch_leaves_the_other_side_uncomputed(
    comfyui: Server, seen: Seen, executions: Executions
) -> None:
    loop = Loop()
    even = loop.add("ProbeCount", value=loop.open[FRAME], label="even")
    odd = loop.add("ProbeCount", value=loop.add("ImageInvert", image=loop.open[FRAME]), label="odd")
    see = loop.close(loop.add("ProbeSwitch", index=loop.open[INDEX], even=even, odd=odd))
    (results,) = seen(comfyui.run(loop.graph), see)
    frames = frames_of(comfyui, seen)
    assert executions() == ["even", "odd", "even", "odd"]
    assert np.array_equal(results[::2], frames[::2])
    assert np.array_equal(results[1::2], 1 - frames[1::2])


def test_a_blocked_result_leaves_its_frame_out(comfyui: Server, seen: Seen) -> None:
    loop = Loop()
    see = loop.close(loop.add("ProbeBlock", value=loop.open[FRAME], index=loop.open[INDEX], at=1))
    (results,) = seen(comfyui.run(loop.graph), see)
    assert np.array_equal(results, frames_of(comfyui, seen)[[0, 2, 3]])


def test_a_node_that_expands_is_rejected_by_name(comfyui: Server) -> None:
    loop = Loop()
    loop.close(loop.add("ProbeExpand", image=loop.open[FRAME]))
    run = comfyui.run(loop.graph)
    assert run.error is not None
    assert "ProbeExpand" in run.error["exception_message"].replace(" ", "")
    assert "expands" in run.error["exception_message"]


def test_an_empty_batch_is_refused_clearly(comfyui: Server) -> None:
    draft = Draft()
    frames = draft.add("ProbeFrames", kind="empty", count=2, height=16, width=24)
    start = draft.add("DeepDreamLoopOpen", frames=frames)
    draft.add("ProbeSee", value=draft.add("DeepDreamLoopClose", loop=start, result=start[FRAME]))
    run = comfyui.run(draft.graph)
    assert run.error is not None
    assert "the loop got no frames" in run.error["exception_message"]


def test_an_identical_queue_runs_nothing_again(comfyui: Server, executions: Executions) -> None:
    loop = Loop()
    loop.close(loop.add("ProbeCount", value=loop.open[FRAME], label="ran"))
    first = comfyui.run(loop.graph)
    assert executions() == ["ran"] * 4
    again = comfyui.run(loop.graph)
    assert executions() == []
    assert again.executed == []
    assert again.outputs == first.outputs


def test_a_change_outside_the_loop_runs_it_again(comfyui: Server, executions: Executions) -> None:
    loop = Loop()
    loop.close(loop.add("ProbeCount", value=loop.open[FRAME], label="ran"))
    comfyui.run(loop.graph)
    executions()
    loop.graph[loop.frames.id]["inputs"]["seed"] = 7
    comfyui.run(loop.graph)
    assert executions() == ["ran"] * 4


def test_a_change_inside_the_loop_runs_it_again(comfyui: Server, executions: Executions) -> None:
    loop = Loop()
    count = loop.add("ProbeCount", value=loop.open[FRAME], label="ran")
    loop.close(count)
    comfyui.run(loop.graph)
    executions()
    loop.graph[count.id]["inputs"]["label"] = "changed"
    comfyui.run(loop.graph)
    assert executions() == ["changed"] * 4


def test_cancel_ends_a_loop_and_the_queue_goes_on(
    comfyui: Server, seen: Seen, executions: Executions
) -> None:
    loop = Loop(50)
    slow = loop.add("ProbeSlow", value=loop.open[FRAME], seconds=0.2)
    loop.close(loop.add("ProbeCount", value=slow, label="ran"))
    run = comfyui.queue(loop.graph)
    assert run.started.wait(30)
    comfyui.interrupt()
    comfyui.wait(run, timeout=30)
    assert run.interrupted
    assert len(executions()) < 50
    frames_of(comfyui, seen)


def saved_files(comfyui: Server, prefix: str) -> int:
    return len(list((comfyui.base / "output").glob(f"{prefix}*.png")))


def test_a_loop_that_nothing_takes_from_runs_for_what_is_saved_in_it(comfyui: Server) -> None:
    loop = Loop(3)
    loop.add("SaveImage", images=loop.open[FRAME], filename_prefix="within")
    loop.add("DeepDreamLoopClose", loop=loop.open, result=loop.open[FRAME])
    assert comfyui.run(loop.graph).error is None
    assert saved_files(comfyui, "within") == 3


def test_a_change_of_what_is_saved_in_a_loop_runs_it_again(comfyui: Server, executions: Executions) -> None:
    loop = Loop(3)
    count = loop.add("ProbeCount", value=loop.open[FRAME], label="ran")
    save = loop.add("SaveImage", images=loop.open[FRAME], filename_prefix="before")
    loop.close(count)
    comfyui.run(loop.graph)
    loop.graph[save.id]["inputs"]["filename_prefix"] = "after"
    assert comfyui.run(loop.graph).error is None
    assert saved_files(comfyui, "after") == 3
    executions()
    assert comfyui.run(loop.graph).executed == []
    assert executions() == []


def test_a_changed_file_that_only_what_is_saved_in_a_loop_uses_runs_it_again(comfyui: Server) -> None:
    brush = comfyui.base / "input" / "brush.png"
    Image.new("RGB", (24, 16), "red").save(brush)
    loop = Loop(3)
    image = loop.add("LoadImage", image=brush.name)
    mixed = loop.add(
        "ImageBlend", image1=loop.open[FRAME], image2=image, blend_factor=0.5, blend_mode="normal"
    )
    loop.add("SaveImage", images=mixed, filename_prefix="brushed")
    loop.close(loop.open[FRAME])
    assert comfyui.run(loop.graph).error is None
    assert comfyui.run(loop.graph).error is None
    assert saved_files(comfyui, "brushed") == 3
    Image.new("RGB", (24, 16), "blue").save(brush)
    assert comfyui.run(loop.graph).error is None
    assert saved_files(comfyui, "brushed") == 6


def test_an_open_without_a_close_is_refused_each_time(comfyui: Server) -> None:
    loop = Loop(2)
    see = loop.add("ProbeSee", value=loop.open[FRAME])
    loop.close(loop.open[FRAME])
    assert comfyui.run(loop.graph).error is None
    graph = {node_id: loop.graph[node_id] for node_id in (loop.frames.id, loop.open.id, see.id)}
    for _ in range(2):
        run = comfyui.run(graph)
        assert run.error is not None
        assert "no Temporal Loop Close is tied" in run.error["exception_message"]


def test_two_closes_on_one_open_are_refused(comfyui: Server) -> None:
    loop = Loop(2)
    loop.close(loop.open[FRAME])
    loop.close(loop.open[PREVIOUS_FRAME])
    run = comfyui.run(loop.graph)
    assert run.error is not None
    assert "a loop has one Close" in run.error["exception_message"]


def test_a_loop_inside_that_nothing_takes_from_runs_too(comfyui: Server, executions: Executions) -> None:
    loop = Loop(2)
    inner = loop.add("DeepDreamLoopOpen", frames=loop.open[FRAME])
    count = loop.add("ProbeCount", value=inner[FRAME], label="inner")
    loop.add("ProbeSee", value=count)
    loop.add("DeepDreamLoopClose", loop=inner, result=inner[FRAME])
    loop.close(loop.open[FRAME])
    assert comfyui.run(loop.graph).error is None
    assert executions() == ["inner"] * 2


def test_nodes_inside_know_who_queued_the_prompt(comfyui: Server) -> None:
    loop = Loop(1)
    see = loop.add("ProbeSee", value=loop.add("ProbeUsage", value=loop.open[INDEX]))
    loop.close(loop.open[FRAME])
    content = {"prompt": comfyui.filled(loop.graph), "extra_data": {"comfy_usage_source": "a test"}}
    run = Run(prompt_id=comfyui.post("/prompt", content)["prompt_id"])
    run.ended.set()  # nobody listens: the history tells
    outputs = comfyui.wait(run).outputs
    assert see.id not in outputs  # shown by the loop
    assert [text for shown in outputs.values() for text in shown.get("texts", [])] == ["a test"]


def test_a_video_gives_the_pixels_of_the_batch_and_keeps_its_times_and_its_sound(
    comfyui: Server, seen: Seen
) -> None:
    draft = Draft()
    frames = draft.add("ProbeFrames", kind="moving", count=5, height=64, width=96)
    sound = draft.add("EmptyAudio", duration=0.5, sample_rate=44100, channels=2)
    film = draft.add("CreateVideo", images=frames, fps=10, audio=sound)
    ends, bodies = [], []
    for source in (frames, film):
        start = draft.add("DeepDreamLoopOpen", frames=source)
        mixed = draft.add(
            "ImageBlend",
            image1=draft.add("ImageInvert", image=start[FRAME]),
            image2=start[PREVIOUS_RESULT],
            blend_factor=0.5,
            blend_mode="normal",
        )
        bodies.append(draft.add("ProbeSee", value=mixed))
        times = draft.add("ProbeSee", value=start[TIME])
        ends.append(draft.add("DeepDreamLoopClose", loop=start, result=mixed, quality=0))
    parts = draft.add("GetVideoComponents", video=ends[1])
    see = draft.add("ProbeSee", value=parts)
    rate = draft.add("ProbeSee", value=parts[2])
    heard = draft.add("PreviewAudio", audio=parts[1])
    run = comfyui.run(draft.graph)
    (written,) = seen(run, see)
    shown = run.outputs[f"{ends[0].id}.runner"], run.outputs[f"{ends[1].id}.runner"]
    of_batch, of_video = ([np.load(file) for file in one["files"]] for one in shown)
    assert len(of_batch) == 5
    assert np.array_equal(of_batch, of_video)
    assert [float(text) for text in shown[1]["texts"]] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert times.id not in run.outputs
    assert run.outputs[rate.id]["texts"] == ["10.0"]
    assert run.outputs[heard.id]["audio"]
    # Lossless but for the colors, which H.264 halves.
    assert np.abs(written.mean(-1) - np.concatenate(of_batch).mean(-1)).mean() < 0.01


@pytest.mark.parametrize(
    "options", [("--cache-none",), ("--cache-ram", "1000")], ids=["no cache", "memory is short"]
)
def test_what_feeds_a_loop_runs_once_whatever_is_cached(tmp_path: Path, options: tuple[str, ...]) -> None:
    with Server(tmp_path, packs=PACKS, options=options) as comfyui:
        loop = Loop()
        counted = loop.add("ProbeCount", value=loop.frames, label="frames")
        loop.graph[loop.open.id]["inputs"]["frames"] = [counted.id, 0]
        other = loop.add("ProbeCount", value=loop.frames, label="other")
        loop.add("PreviewImage", images=counted)
        loop.add("PreviewImage", images=other)
        loop.add("PreviewImage", images=loop.open[FRAME])
        mixed = loop.add(
            "ImageBlend", image1=loop.open[FRAME], image2=other, blend_factor=0.5, blend_mode="normal"
        )
        inside = loop.add("ProbeCount", value=mixed, label="inside")
        loop.close(loop.add("ImageInvert", image=inside))
        run = comfyui.run(loop.graph)
        assert run.error is None
        lines = (tmp_path / "temp" / "executions.txt").read_text("utf-8").split()
        assert sorted(lines) == ["frames", *["inside"] * 4, "other"]
