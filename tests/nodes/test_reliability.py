"""Reliability Mask: the core's masks, in order."""

from __future__ import annotations

from typing import Any

import pytest
import torch

SIZE = (48, 64)


def test_masks_are_the_cores(nodes: Any, run: Any, pack: Any, dis: Any, clip: Any, planes: Any) -> None:
    frames = clip(3)
    (flow,) = run(nodes.OpticalFlow, flow_model=dis, frames=frames, both_ways=True)
    (reliability,) = run(nodes.ReliabilityMask, flow=flow, frames=frames)
    expected = pack("dream_core.motion.occlusion").reliability_mask(
        flow.backward[1:],
        flow.forward[1:],
        frame=planes(frames)[1:],
        previous=planes(frames)[:-1],
        settings=pack("dream_core.settings").ReliabilitySettings(),
    )
    assert torch.equal(reliability[1:], expected[:, 0])
    assert 0 < expected.mean() < 1
    assert torch.equal(reliability[0], torch.ones(SIZE))
    pairs = nodes.Flow(flow.backward[1:], flow.forward[1:])
    (again,) = run(nodes.ReliabilityMask, flow=pairs, frames=frames[1:], previous=frames[:-1])
    assert torch.equal(again, reliability[1:])


def test_masks_need_the_forward_flow_only_for_its_check(
    nodes: Any, run: Any, errors: Any, clip: Any, constant_flow: Any
) -> None:
    flow, frames = nodes.Flow(constant_flow(0, 0, count=2)), clip(2)
    with pytest.raises(errors.ImageError, match=r"switch `?check_consistency`? off"):
        run(nodes.ReliabilityMask, flow=flow, frames=frames)
    (reliability,) = run(nodes.ReliabilityMask, flow=flow, frames=frames, check_consistency=False)
    assert reliability.shape == (2, *SIZE)


def test_what_the_flow_does_not_know_is_not_trusted(
    nodes: Any, run: Any, clip: Any, constant_flow: Any
) -> None:
    known = torch.ones(2, 1, *SIZE)
    known[:, :, :20] = 0
    flow = nodes.Flow(constant_flow(0, 0, count=2), None, known)
    checks = {"check_consistency": False, "check_brightness": False, "mask_softness": 0}
    (reliability,) = run(nodes.ReliabilityMask, flow=flow, frames=clip(2), **checks)
    assert not reliability[:, :20].any()
    assert reliability[:, 20:].any()


def test_masks_refuse_flow_of_other_frames(
    nodes: Any, run: Any, errors: Any, clip: Any, constant_flow: Any
) -> None:
    flow = nodes.Flow(constant_flow(0, 0, count=3))
    with pytest.raises(errors.ImageError, match="one flow for each of the 2 frames, got 3"):
        run(nodes.ReliabilityMask, flow=flow, frames=clip(2))
    with pytest.raises(errors.ImageError, match="flow in the size of frames, 10 x 12, got 64 x 48"):
        run(nodes.ReliabilityMask, flow=flow, frames=torch.rand(3, 12, 10, 3))


def test_another_packs_flow_is_refused_by_name(nodes: Any, run: Any, pack: Any, clip: Any) -> None:
    error = pack("nodes.adapters.require").WireError
    with pytest.raises(error, match="flow from Optical Flow, Camera Flow or DeepDream Video, got Tensor"):
        run(nodes.ReliabilityMask, flow=torch.zeros(2, 2, *SIZE), frames=clip(2))
