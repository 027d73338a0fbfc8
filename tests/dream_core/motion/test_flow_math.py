"""Arithmetic of flow: known motions, and inverses where both ends are seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dream_core.errors import ImageError
from dream_core.image import box_max
from dream_core.motion.camera import camera_flow
from dream_core.motion.flow_math import compose, fill, invert, smooth, splat
from dream_core.motion.warp import points_inside
from dream_core.settings import CameraSettings
from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip

SIZE = (48, 64)
TOLERANCE = 0.1
"""Pixels."""


def clip(**scene: object) -> SyntheticClip:
    return synthetic_clip(frames=3, height=64, width=80, seed=3, scene=Scene(shapes=3, **scene))  # type: ignore[arg-type]


def error(flow: Tensor, inverse: Tensor) -> Tensor:
    return compose(flow, inverse).norm(dim=1, keepdim=True)


def constant(x: float, y: float) -> Tensor:
    return torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, *SIZE).contiguous()


def test_constant_motions_add_up() -> None:
    assert torch.allclose(compose(constant(3, -2), constant(0.5, 4)), constant(3.5, 2))


def test_two_steps_of_a_camera_are_one_of_both() -> None:
    step, _ = camera_flow(SIZE, CameraSettings(zoom_factor=1.05, rotation=2))
    twice, _ = camera_flow(SIZE, CameraSettings(zoom_factor=1.05**2, rotation=4))
    inside = points_inside(step) > 0
    assert (compose(step, step) - twice).norm(dim=1, keepdim=True)[inside].max() < 0.01


@pytest.mark.parametrize("rotation", [0.0, 8.0])
def test_a_smooth_motion_and_its_inverse_undo_each_other(rotation: float) -> None:
    camera = CameraSettings(zoom_factor=1.1, rotation=rotation, pan_x=3.3, pan_y=-1.7)
    backward, forward = camera_flow(SIZE, camera)
    inverse, reached = invert(backward)
    seen, back = (points_inside(flow)[..., 1:-1, 1:-1] > 0 for flow in (backward, forward))
    assert error(backward, inverse)[..., 1:-1, 1:-1][seen].max() < TOLERANCE
    assert (inverse - forward).norm(dim=1, keepdim=True)[..., 1:-1, 1:-1][back].max() < TOLERANCE
    assert reached[..., 1:-1, 1:-1][back].all()


@pytest.mark.parametrize("told", [False, True], ids=["by motion", "by reliability"])
def test_where_things_hide_others_whole_pixels_undo_each_other_wherever_both_ends_are_seen(
    told: bool,
) -> None:
    moving = clip(whole_pixels=True)
    inverse, _ = invert(moving.backward, reliability=moving.visible if told else None)
    seen = error(moving.backward, inverse)[moving.visible > 0]
    if told:
        assert seen.max() < TOLERANCE
    assert (seen < TOLERANCE).float().mean() > 0.999
    ahead = (inverse - moving.forward).norm(dim=1, keepdim=True)[moving.visible_next > 0]
    assert (ahead < TOLERANCE).float().mean() > 0.999


def test_parts_of_pixels_undo_each_other_but_within_a_pixel_of_an_edge() -> None:
    moving = clip(rotation=1.0, zoom=1.01)
    inverse, _ = invert(moving.backward, reliability=moving.visible)
    ends = torch.cat([moving.backward, -moving.forward], 1)
    jumps = [box_max(one, 3) + box_max(-one, 3) for one in (ends[:, :2], ends[:, 2:])]
    here, there = (jump.amax(1, keepdim=True) > 1 for jump in jumps)
    lands_at_an_edge, _ = splat(there.float(), -moving.forward * 0, torch.ones_like(moving.visible))
    sampled = torch.nn.functional.max_pool2d(lands_at_an_edge, 5, 1, 2)
    x = torch.arange(80) + moving.backward[:, 0].round()
    y = torch.arange(64).view(-1, 1) + moving.backward[:, 1].round()
    place = (y.clamp(0, 63) * 80 + x.clamp(0, 79)).long()
    at_an_edge = sampled.flatten(1).gather(1, place.flatten(1)).view_as(sampled) > 0
    apart = (moving.visible > 0) & ~here & ~at_an_edge
    assert apart.float().mean() > 0.5
    assert error(moving.backward, inverse)[apart].max() < TOLERANCE


def test_the_nearest_lies_on_top() -> None:
    flow = torch.zeros(1, 2, 1, 4)
    flow[0, 0, 0, 0] = 2  # both the first and the third pixel lead to the third
    values = torch.tensor([10.0, 20, 30, 40]).view(1, 1, 1, 4)
    for near, expected in ((5.0, 10), (-5.0, 30)):
        nearness = torch.tensor([near, 0, 0, 0]).view(1, 1, 1, 4)
        put, reached = splat(values, flow, nearness)
        assert put.flatten().tolist() == [0, 20, expected, 40]
        assert reached.flatten().tolist() == [0, 1, 1, 1]


def test_holes_are_filled_from_around_them() -> None:
    values, known = torch.full((1, 2, 9, 9), 3.0), torch.ones(1, 1, 9, 9)
    values[..., 3:6, 3:6], known[..., 3:6, 3:6] = 100, 0
    assert torch.allclose(fill(values, known), torch.full((1, 2, 9, 9), 3.0), atol=1e-4)
    assert not fill(values, known * 0).any()


def test_smoothing_averages_by_trust() -> None:
    assert torch.allclose(smooth(constant(3, -2), 2.0), constant(3, -2), atol=1e-5)
    noisy = constant(3, -2) + torch.randn(1, 2, *SIZE)
    assert smooth(noisy, 3.0).var() < 0.2 * noisy.var() + 6.25  # the two components differ
    wrong, trust = constant(3, -2).clone(), torch.ones(1, 1, *SIZE)
    wrong[..., 10:20, 10:20], trust[..., 10:20, 10:20] = 50, 0
    for radius in (0.0, 2.0):
        assert torch.allclose(smooth(wrong, radius, reliability=trust), constant(3, -2), atol=0.01)
    assert torch.equal(smooth(wrong, 0.0), wrong)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageError, match="the second flow"):
        compose(constant(0, 0), torch.zeros(1, 2, 3, 3))
    with pytest.raises(ImageError, match="nearness"):
        invert(constant(0, 0), nearness=torch.zeros(1, 1, 3, 3))
    with pytest.raises(ImageError, match="at least 0"):
        smooth(constant(0, 0), -1.0)
