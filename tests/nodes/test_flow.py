"""Optical Flow: batches, parts, memory, messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torchvision.models.optical_flow import raft_small

SIZE = (48, 64)


@pytest.fixture
def estimate(pack: Any) -> Callable[..., Any]:
    """`estimate(function, frames, flow_batch=3)`: the flow of a clip by an estimate of one's own."""

    def estimate(
        function: Callable[[Tensor, Tensor, bool], Tensor],
        frames: Tensor,
        *,
        both: bool = True,
        flow_batch: int = 0,
        **options: Any,
    ) -> Any:
        estimator = pack("dream_core.motion.flow").FlowEstimator(
            function, torch.device("cpu"), 1, 1, 1.0, flow_batch, **options
        )
        pairs = pack("nodes.adapters.pairs").FramePairs(frames, None)
        with pack("nodes.adapters.working").working():
            return pack("nodes.flow").estimate(estimator, pairs, both=both)

    return estimate


def test_a_clip_has_one_flow_for_each_frame_to_the_one_before(
    nodes: Any, run: Any, pack: Any, dis: Any, clip: Any, planes: Any
) -> None:
    frames = clip(4)
    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, both_ways=True)
    estimator = pack("nodes.adapters.estimators").estimator_for(
        dis, pack("dream_core.settings").FlowSettings()
    )
    backward, forward = estimator.both_ways(planes(frames)[1:], planes(frames)[:-1])
    assert torch.equal(flow.backward[1:], backward)
    assert torch.equal(flow.forward[1:], forward)
    assert not flow.backward[0].any()
    assert not flow.forward[0].any()
    assert backward.any()


def test_previous_frames_are_paired_one_by_one_or_one_serves_all(
    nodes: Any, run: Any, dis: Any, clip: Any
) -> None:
    frames = clip(3)
    (alone,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, both_ways=True)
    (pairs,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames[1:], previous=frames[:-1], both_ways=True)
    assert torch.equal(pairs.backward, alone.backward[1:])
    (to_one,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, previous=frames[:1], both_ways=True)
    assert not to_one.backward[0].any()
    assert torch.equal(to_one.backward[1], alone.backward[1])
    assert not torch.equal(to_one.backward[2], alone.backward[2])


def test_one_frame_of_a_clip_has_not_moved(nodes: Any, run: Any, dis: Any, clip: Any) -> None:
    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=clip(2)[:1], both_ways=True)
    assert torch.equal(flow.backward, torch.zeros(1, 2, *SIZE))


def test_the_forward_flow_is_left_out_where_it_is_not_wanted(estimate: Any, clip: Any) -> None:
    asked = []

    def function(first: Tensor, second: Tensor, both: bool) -> Tensor:
        asked.append(both)
        return first[:, :2]

    assert estimate(function, clip(2), both=False).forward is None
    assert asked == [False]


def test_a_long_batch_goes_through_in_parts_and_shows_how_far_it_is(
    estimate: Any, host: Any, planes: Any
) -> None:
    seen = []

    def function(first: Tensor, second: Tensor, both: bool) -> Tensor:
        seen.append(len(first))
        return torch.cat([first, second])[:, :2]

    frames = torch.rand(7, 20, 600, 3)
    flow = estimate(function, frames, flow_batch=3)
    assert seen == [2, 3, 1]  # the first frame of three has nothing to be estimated
    assert torch.equal(flow.backward[1:], planes(frames)[1:, :2])
    assert torch.equal(flow.forward[1:], planes(frames)[:-1, :2])
    assert [(done, total) for done, total, _ in host.progress] == [(3, 7), (6, 7), (7, 7)]
    assert host.progress[0][2].shape == (1, 3, 10, 300)  # a preview, within 512 pixels


def test_cancel_is_heard_between_parts(estimate: Any, host: Any, pack: Any, clip: Any) -> None:
    seen = []

    def function(first: Tensor, second: Tensor, both: bool) -> Tensor:
        seen.append(len(first))
        host.interrupted = True
        return torch.cat([first, second])[:, :2]

    with pytest.raises(pack("nodes.adapters.host").Interrupted):
        estimate(function, clip(4))
    assert seen == [1]


def test_where_memory_runs_out_it_goes_on_pair_by_pair(estimate: Any, host: Any, planes: Any) -> None:
    def function(first: Tensor, second: Tensor, both: bool) -> Tensor:
        if len(first) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return torch.cat([first, second])[:, :2]

    frames = torch.rand(6, 5, 6, 3)
    flow = estimate(function, frames, flow_batch=4)
    assert torch.equal(flow.backward[1:], planes(frames)[1:, :2])
    assert host.freed == 1
    assert host.told == ["memory ran out: going on with one pair of frames at a time"]


def test_a_smaller_scale_is_told_in_each_prompt(estimate: Any, pack: Any, clip: Any, tmp_path: Path) -> None:
    def still(first: Tensor, second: Tensor, both: bool) -> Tensor:
        return torch.zeros(len(first) * (1 + both), 2, *first.shape[-2:])

    half_the_sides = (6 * 8) ** 2 * 4 * 4 / 3 * 2 / 16
    host, working = pack("nodes.adapters.host"), pack("nodes.adapters.working").working
    for _ in range(2):
        host.record = host.Record(folder=tmp_path)
        with working():
            estimate(still, clip(4), flow_batch=1, pair_memory=half_the_sides)
        (told,) = host.record.told
        assert told == (
            "flow is estimated at 32 x 24, to bound its time and memory; flow_scale sets the scale"
        )


def test_where_memory_lacks_for_one_pair_it_says_what_to_do(estimate: Any, host: Any) -> None:
    def function(first: Tensor, second: Tensor, both: bool) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(
        torch.OutOfMemoryError,
        match=r"a single pair of frames was estimated \(out of memory\): lower flow_scale",
    ):
        estimate(function, torch.rand(3, 5, 6, 3), flow_batch=2)
    assert host.freed == 2


def test_where_memory_lacks_for_one_pair_it_goes_on_at_a_smaller_scale(
    estimate: Any, host: Any, clip: Any
) -> None:
    tried: list[int] = []

    def function(first: Tensor, second: Tensor, both: bool) -> Tensor:
        tried.append(first.shape[-1])
        if first.shape[-1] > 40:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.zeros(len(first) * (1 + both), 2, *first.shape[-2:])

    flow = estimate(function, clip(3), flow_batch=1, pair_memory=1e9)
    assert flow.backward.shape == (3, 2, *SIZE)
    assert tried == [64, 64, 45, 31, 31]  # again once memory is freed, then with a quarter of it, and so on
    assert host.freed == 3
    assert host.told[0].startswith("flow is estimated at 45 x 33, to bound its time and memory")


def test_other_errors_are_not_taken_for_a_lack_of_memory(estimate: Any, host: Any, clip: Any) -> None:
    def function(first: Tensor, second: Tensor, both: bool) -> Tensor:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        estimate(function, clip(2))
    assert host.freed == 0


# Through the node


class Socket:
    """What a socket of flow models carries, around RAFT with seeded random weights; it counts its uses."""

    def __init__(self) -> None:
        self.network = raft_small(weights=None).eval()
        self.uses = 0

    @property
    def model(self) -> nn.Module:
        self.uses += 1
        return self.network


def test_flow_scale_and_both_ways_arrive(nodes: Any, run: Any, dis: Any, clip: Any) -> None:
    frames = clip(2)
    (whole,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, both_ways=False)
    (half,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, both_ways=False, flow_scale=0.5)
    assert whole.forward is None
    assert not torch.equal(whole.backward, half.backward)


def test_flow_batch_is_the_number_of_pairs_in_a_part(
    nodes: Any, run: Any, dis: Any, clip: Any, host: Any
) -> None:
    run(nodes.OpticalFlow, flow_model=dis, frames=clip(5), both_ways=False, flow_batch=2)
    assert [(done, total) for done, total, _ in host.progress] == [(2, 5), (4, 5), (5, 5)]


def test_flow_updates_are_the_refinements_of_the_estimate(
    nodes: Any, run: Any, pack: Any, clip: Any, planes: Any
) -> None:
    socket, frames = Socket(), clip(2)
    one, three = (
        run(nodes.OpticalFlow, flow_model=socket, frames=frames, both_ways=False, flow_updates=updates)[0]
        for updates in (1, 3)
    )
    settings = pack("dream_core.settings").FlowSettings(flow_updates=3)
    estimator = pack("nodes.adapters.estimators").estimator_for(socket, settings)
    assert torch.equal(three.backward[1:], estimator.flow(planes(frames)[1:], planes(frames)[:-1]))
    assert not torch.allclose(three.backward, one.backward)


def test_after_memory_ran_out_the_same_flow_model_goes_on(nodes: Any, run: Any, clip: Any, host: Any) -> None:
    def scarce(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if type(module).__name__ == "FastRaft" and len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("out of memory")

    socket = Socket()
    values = {"flow_model": socket, "frames": clip(3), "both_ways": True, "flow_updates": 1}
    (expected,) = run(nodes.OpticalFlow, **values, flow_batch=1)
    assert (socket.uses, host.freed) == (1, 0)
    hook = register_module_forward_pre_hook(scarce)
    try:
        (flow,) = run(nodes.OpticalFlow, **values, flow_batch=3)
    finally:
        hook.remove()
    assert (socket.uses, host.freed) == (2, 1)
    assert torch.equal(flow.backward, expected.backward)
    assert torch.equal(flow.forward, expected.forward)


def test_it_works_outside_of_inference_mode_and_names_widgets(
    nodes: Any, run: Any, dis: Any, clip: Any, errors: Any
) -> None:
    values = {"flow_model": dis, "frames": clip(2), "both_ways": True}
    (flow,) = run(nodes.OpticalFlow, **values)
    assert not flow.backward.is_inference()
    with pytest.raises(errors.SettingsError, match=r"^expected flow_scale from 0\.01 to 1, got 2$"):
        run(nodes.OpticalFlow, **values, flow_scale=2)


@pytest.mark.parametrize(
    ("frames", "previous", "message"),
    [
        (torch.rand(2, 8, 9, 3), torch.rand(2, 8, 7, 3), "previous in the size of frames, 9 x 8, got 7 x 8"),
        (torch.rand(3, 8, 9, 3), torch.rand(2, 8, 9, 3), "equal length.*got 3 in frames, 2 in previous"),
        (torch.rand(0, 8, 9, 3), None, "frames is empty"),
        (torch.rand(2, 8, 9, 3), torch.rand(0, 8, 9, 3), "previous is empty"),
        (torch.full((1, 8, 9, 3), torch.nan), None, "expected finite frames"),
    ],
)
def test_frames_that_do_not_fit_are_named(
    nodes: Any, run: Any, dis: Any, errors: Any, frames: Tensor, previous: Tensor | None, message: str
) -> None:
    with pytest.raises(errors.ImageError, match=message):
        run(nodes.OpticalFlow, flow_model=dis, frames=frames, previous=previous, both_ways=True)


def test_another_packs_flow_model_is_refused_by_name(nodes: Any, run: Any, pack: Any, clip: Any) -> None:
    with pytest.raises(
        pack("nodes.adapters.require").WireError, match=r"flow_model from Load Flow Model .*, got dict"
    ):
        run(nodes.OpticalFlow, flow_model={}, frames=clip(2), both_ways=True)
