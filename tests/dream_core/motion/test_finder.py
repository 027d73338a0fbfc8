"""The motion between a frame and the earlier ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dream_core.motion.finder import FAR_SCALE, MotionFinder
from dream_core.motion.flow import FlowEstimator, dis_flow
from dream_core.motion.occlusion import reliability_mask
from dream_core.settings import ReliabilitySettings
from dream_core.synthetic import synthetic_clip
from dream_core.video.clip import FrameFlow

CPU = torch.device("cpu")
SETTINGS = ReliabilitySettings()


@pytest.fixture(scope="module")
def frames() -> list[Tensor]:
    return list(synthetic_clip(frames=6, height=96, width=128, seed=1).frames.split(1))


class Noted:
    """DIS that notes the size and the directions of each estimate."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, bool]] = []

    def __call__(self, first: Tensor, second: Tensor, both: bool) -> Tensor:
        self.asked.append((first.shape[-1], both))
        return dis_flow(first, second, both)


def finder(
    estimate: Noted, *, reliability: ReliabilitySettings = SETTINGS, cuts: bool = True
) -> MotionFinder:
    return MotionFinder(FlowEstimator(estimate, CPU, 16, 1), reliability, cuts)


def test_motion_is_found_to_the_frames_1_2_and_4_back(frames: list[Tensor]) -> None:
    estimate = Noted()
    found = finder(estimate)(frames[5], frames[:5])
    assert estimate.asked == [(128, True), *[(round(FAR_SCALE * 128), True)] * 2]
    flow = FlowEstimator(dis_flow, CPU, 16, 1)
    for motion, back, scale in zip(found.each, (1, 2, 4), (1, FAR_SCALE, FAR_SCALE), strict=True):
        one = FlowEstimator(dis_flow, CPU, 16, 1, scale=scale) if scale < 1 else flow
        backward, forward = one.both_ways(frames[5], frames[5 - back])
        assert torch.equal(motion.flow, backward)
        mask = reliability_mask(
            backward, forward, frame=frames[5], previous=frames[5 - back], settings=SETTINGS
        )
        assert torch.equal(motion.reliability, mask)


def test_one_direction_is_enough_without_the_check_of_consistency(frames: list[Tensor]) -> None:
    estimate = Noted()
    finder(estimate, reliability=ReliabilitySettings(check_consistency=False))(frames[1], frames[:1])
    assert estimate.asked == [(128, False)]


@pytest.mark.parametrize("known", [False, True])
def test_a_cut_is_told_from_motion(frames: list[Tensor], known: bool) -> None:
    find = finder(Noted())
    other = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    for frame, is_cut in ((frames[1], False), (other, True)):
        found = find(frame, frames[:1])
        assert found.cut is None
        assert found.structure is not None
        read = found.structure.tolist() if known else None
        assert find.is_cut(found, frame, frames[0], found=read) == is_cut


def test_there_is_no_cut_where_none_counts_and_within_a_pan(frames: list[Tensor]) -> None:
    other = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    still = torch.zeros(1, 2, 1, 1)
    for find, pan in ((finder(Noted(), cuts=False), None), (finder(Noted()), still)):
        found = find(other, frames[:1], pan=pan)
        assert found.structure is None
        assert not find.is_cut(found, other, frames[0])


def test_a_pan_is_added_to_the_motion_that_is_left(frames: list[Tensor]) -> None:
    moved = torch.roll(frames[0], (0, 40), (-2, -1))
    pan = torch.tensor([-40.0, 0.0]).view(1, 2, 1, 1)
    (motion,) = finder(Noted())(moved, frames[:1], pan=pan).each
    inside = motion.flow[..., 48:-8]
    torch.testing.assert_close(inside.mean((0, 2, 3)), pan.flatten(), atol=0.5, rtol=0)
    assert motion.reliability[..., 48:-8].mean() > 0.9
    assert motion.reliability[..., :32].mean() < 0.1  # nothing was there before


def test_flow_that_is_known_is_not_estimated(frames: list[Tensor]) -> None:
    estimate = Noted()
    flow = FlowEstimator(dis_flow, CPU, 16, 1)
    backward, forward = flow.both_ways(frames[1], frames[0])
    (both,) = finder(estimate)(frames[1], frames[:1], known=FrameFlow(backward, forward)).each
    assert torch.equal(both.reliability, finder(Noted())(frames[1], frames[:1]).each[0].reliability)
    (one,) = finder(estimate)(frames[1], frames[:1], known=FrameFlow(backward)).each
    without = finder(Noted(), reliability=ReliabilitySettings(check_consistency=False))
    assert torch.equal(one.reliability, without(frames[1], frames[:1]).each[0].reliability)
    known = torch.ones(1, 1, 96, 128)
    known[..., :64] = 0
    (part,) = finder(estimate)(frames[1], frames[:1], known=FrameFlow(backward, forward, known)).each
    assert not part.reliability[..., :64].any()
    assert part.reliability[..., 80:].mean() > 0.5
    assert estimate.asked == []
