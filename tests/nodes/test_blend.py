"""Temporal Blend, and the nodes before it: the image that the pipeline would dream on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

SIZE = (48, 64)


def test_blending_is_the_cores(nodes: Any, run: Any, pack: Any, planes: Any) -> None:
    frame, warped = torch.rand(2, 2, *SIZE, 3)
    mask = torch.rand(2, *SIZE)
    image, _ = run(nodes.TemporalBlend, frame=frame, warped=warped, reliability=mask, blend=0.3)
    expected = pack("dream_core.temporal.blend").blend_frames(
        planes(frame), planes(warped), mask[:, None], blend=0.3
    )
    assert torch.equal(planes(image), expected.clamp(0, 1))


def test_adding_the_residual_is_the_cores(nodes: Any, run: Any, pack: Any, planes: Any) -> None:
    frame, warped, before = torch.rand(3, 2, *SIZE, 3)
    mask = torch.rand(2, *SIZE)
    image, _ = run(
        nodes.TemporalBlend, frame=frame, warped=warped, reliability=mask, warped_frame=before[:1], blend=0.3
    )
    expected = pack("dream_core.temporal.blend").add_residual(
        planes(frame), planes(warped), mask[:, None], planes(before[:1].expand(2, -1, -1, -1)), blend=0.3
    )
    assert torch.equal(planes(image), expected)


def test_blending_ends_in_range(nodes: Any, run: Any) -> None:
    frame, mask = torch.tensor([-0.5, 0.5, 1.5]).expand(1, *SIZE, 3), torch.ones(SIZE)
    image, _ = run(nodes.TemporalBlend, frame=frame, warped=frame, reliability=mask, blend=0.3)
    assert torch.equal(image, torch.tensor([0.0, 0.5, 1.0]).expand(1, *SIZE, 3))


def test_the_frames_transparency_is_kept(nodes: Any, run: Any) -> None:
    frame, warped = torch.rand(1, *SIZE, 4), torch.rand(2, *SIZE, 3)
    image, _ = run(nodes.TemporalBlend, frame=frame, warped=warped, reliability=torch.ones(*SIZE), blend=0.0)
    assert image.shape == (2, *SIZE, 4)
    assert torch.equal(image[..., :3], warped)
    assert torch.equal(image[1, ..., 3], frame[0, ..., 3])


def test_blending_refuses_other_sizes_and_masks(nodes: Any, run: Any, errors: Any) -> None:
    frame, mask = torch.rand(1, 8, 9, 3), torch.ones(1, 8, 9)
    with pytest.raises(errors.ImageError, match="warped in the size of frame, 9 x 8, got 9 x 7"):
        run(nodes.TemporalBlend, frame=frame, warped=frame[:, :7], reliability=mask, blend=0.3)
    with pytest.raises(errors.ImageError, match="reliability in the size of frame, 9 x 8, got 8 x 8"):
        run(nodes.TemporalBlend, frame=frame, warped=frame, reliability=mask[..., :8], blend=0.3)
    with pytest.raises(errors.ImageError, match="mask values between 0 and 1"):
        run(nodes.TemporalBlend, frame=frame, warped=frame, reliability=mask * 2, blend=0.3)
    with pytest.raises(errors.ImageError, match="warped_frame in the size of frame, 9 x 8, got 9 x 7"):
        run(
            nodes.TemporalBlend,
            frame=frame,
            warped=frame,
            reliability=mask,
            warped_frame=frame[:, :7],
            blend=0.3,
        )


@pytest.mark.parametrize("carry", ["residual", "image"])
def test_the_nodes_carry_a_dream_bit_for_bit_as_the_pipeline(
    nodes: Any, run: Any, pack: Any, dis: Any, clip: Any, planes: Any, moved: Any, carry: str
) -> None:
    frames, dream = clip(2), torch.rand(1, *SIZE, 3)
    frame, previous = frames[1:], frames[:1]
    settings = pack("dream_core.settings")
    temporal = pack("dream_core.temporal.dreamer")
    dreamer = temporal.TemporalDreamer(
        SimpleNamespace(device=torch.device("cpu"), settings=settings.DreamSettings()),
        pack("nodes.adapters.estimators").estimator_for(dis, settings.FlowSettings()),
        temporal=settings.TemporalSettings(blend=0.3, carry=carry),
        reliability=settings.ReliabilitySettings(),
    )
    before = temporal.DreamedFrame(frame=planes(previous), dream=planes(dream), carried=None)
    dreamer._past.append(before)
    continued = dreamer._carry(planes(frame))
    carried = continued.carried
    start = dreamer._start(planes(frame), carried)

    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=frame, previous=previous, both_ways=True)
    (mask,) = run(nodes.ReliabilityMask, flow=flow, frames=frame, previous=previous)
    warped = moved(dream, flow.backward)
    also = {"warped_frame": moved(previous, flow.backward)} if carry == "residual" else {}
    image, renewal = run(nodes.TemporalBlend, frame=frame, warped=warped, reliability=mask, blend=0.3, **also)
    assert torch.equal(flow.backward, carried.flow)
    assert torch.equal(mask[:, None], carried.reliability)
    assert torch.equal(planes(warped), carried.warped)
    assert torch.equal(planes(image), start.clamp(0, 1))
    assert torch.equal(renewal[:, None], continued.renewal)
    assert 0 < mask.mean() < 1


def test_the_first_frame_of_a_loop_starts_from_itself_bit_for_bit(
    nodes: Any, run: Any, dis: Any, clip: Any, moved: Any
) -> None:
    frame = clip(1)
    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=frame, previous=frame, both_ways=True)
    (mask,) = run(nodes.ReliabilityMask, flow=flow, frames=frame, previous=frame)
    warped = moved(frame, flow.backward)
    for also in ({}, {"warped_frame": warped}):
        image, renewal = run(
            nodes.TemporalBlend, frame=frame, warped=warped, reliability=mask, blend=0.3, **also
        )
        assert torch.equal(image, frame)
        assert renewal.min() == 1
