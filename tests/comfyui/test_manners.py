"""Cancel, out of memory, a queue of prompts, and the places of files: in the real ComfyUI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from comfyui_server import Draft, Node, Run, Server
from studio import Studio

Seen = Callable[[Run, Node], list[np.ndarray]]

LONG: dict[str, Any] = {"octave_steps": 5000}


@pytest.fixture
def _plenty_of_memory(comfyui: Server) -> Iterator[None]:
    yield
    draft = Draft()
    draft.add("ProbeSee", value=draft.add("ProbeOutOfMemory", value=0, pixels=0))
    assert comfyui.run(draft.graph).error is None


def cancelled(comfyui: Server, draft: Draft) -> Run:
    """Queue a prompt, press Cancel once it dreams, and wait."""
    run = comfyui.queue(draft.graph)
    assert run.refused is None, run.refused
    end = time.monotonic() + 60
    while not run.previews:
        assert time.monotonic() < end, "no preview came"
        assert not run.ended.is_set(), run.error
        time.sleep(0.01)
    begin = time.perf_counter()
    comfyui.interrupt()
    comfyui.wait(run, timeout=30)
    print(f"stopped {1000 * (time.perf_counter() - begin):.0f} ms after Cancel")
    return run


@pytest.mark.parametrize("where", ["dream", "video", "loop"])
def test_cancel_stops_a_dream_and_the_queue_goes_on(comfyui: Server, seen: Seen, where: str) -> None:
    draft = Studio(count=2, height=128, width=128)
    if where == "dream":
        draft.see(draft.dream(draft.frames, **LONG))
    elif where == "video":
        draft.see(draft.video(**LONG))
    else:
        start = draft.add("DeepDreamLoopOpen", frames=draft.frames)
        dream = draft.dream(start[1], **LONG)
        draft.see(draft.add("DeepDreamLoopClose", loop=start, result=dream))
    run = cancelled(comfyui, draft)
    assert run.interrupted
    assert run.error is None
    after = Studio(count=1)
    see = after.see(after.video())
    assert seen(comfyui.run(after.graph), see)[0].shape == (1, 64, 96, 3)


def test_a_dream_in_a_loop_shows_itself_on_its_own_node(comfyui: Server) -> None:
    draft = Studio(count=2)
    start = draft.add("DeepDreamLoopOpen", frames=draft.frames)
    dream = draft.dream(start[1], seed=5)
    draft.see(draft.add("DeepDreamLoopClose", loop=start, result=dream))
    run = comfyui.run(draft.graph)
    assert run.error is None
    assert dream.id in {node for node, _ in run.previews}
    assert dream.id in {node for node, _, _ in run.progress}


@pytest.mark.usefixtures("_plenty_of_memory")
def test_where_memory_runs_out_a_dream_goes_on_in_smaller_tiles_and_says_so(
    comfyui: Server, seen: Seen
) -> None:
    draft = Studio(count=2, height=256, width=256)
    scarce = draft.add("ProbeOutOfMemory", value=draft.frames, pixels=20000)
    dream = draft.dream(scarce)
    see = draft.see(dream)
    run = comfyui.run(draft.graph)
    (dreams,) = seen(run, see)
    assert ["tiles of 128 pixels" in text for node, text in run.texts if node == dream.id] == [True]
    tiled = Studio(count=2, height=256, width=256)
    see = tiled.see(tiled.dream(tiled.frames, tile_size=128))
    assert np.array_equal(dreams, seen(comfyui.run(tiled.graph), see)[0])


@pytest.mark.usefixtures("_plenty_of_memory")
def test_where_memory_runs_out_a_video_goes_on_too(comfyui: Server, seen: Seen) -> None:
    draft = Studio(count=2, height=256, width=256)
    draft.frames = draft.add("ProbeOutOfMemory", value=draft.frames, pixels=20000)
    video = draft.video(flow_scale=0.25)
    see = draft.see(video)
    run = comfyui.run(draft.graph)
    assert seen(run, see)[0].shape == (2, 256, 256, 3)
    assert ["tiles of 128 pixels" in text for node, text in run.texts if node == video.id] == [True]


@pytest.mark.usefixtures("_plenty_of_memory")
def test_where_even_the_smallest_tile_is_too_large_the_server_lives(comfyui: Server, seen: Seen) -> None:
    draft = Studio(count=1, height=256, width=256)
    draft.see(draft.dream(draft.add("ProbeOutOfMemory", value=draft.frames, pixels=100)))
    run = comfyui.run(draft.graph)
    assert run.error is not None
    assert run.error["node_type"] == "DeepDreamImage"
    again = Studio(count=1)
    again.frames = again.add("ProbeOutOfMemory", value=again.frames, pixels=0)
    see = again.see(again.dream(again.frames))
    assert seen(comfyui.run(again.graph), see)[0].shape == (1, 64, 96, 3)


def test_two_queued_prompts_both_get_their_own_images(comfyui: Server, seen: Seen) -> None:
    drafts = [Studio(seed=seed) for seed in (11, 12)]
    seers = [draft.see(draft.video()) for draft in drafts]
    runs = [comfyui.queue(draft.graph) for draft in drafts]
    first, second = (seen(comfyui.wait(run), see)[0] for run, see in zip(runs, seers, strict=True))
    assert not np.array_equal(first, second)
    alone = Studio(seed=12, count=3)
    see = alone.see(alone.video(octave_steps=1))
    comfyui.run(alone.graph)  # so that nothing of the second prompt is cached
    see = alone.see(alone.video())
    assert np.array_equal(seen(comfyui.run(alone.graph), see)[0], second)


def test_an_identical_queue_dreams_nothing_again(comfyui: Server) -> None:
    draft = Studio(seed=21)
    draft.see(draft.video())
    first = comfyui.run(draft.graph)
    assert first.executed
    again = comfyui.run(draft.graph)
    assert again.executed == []
    assert again.outputs == first.outputs
