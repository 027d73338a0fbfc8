"""The flow of a moving camera."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dream_core.errors import ImageError, SettingsError
from dream_core.motion.camera import camera_flow, depth_camera_flow
from dream_core.motion.flow_math import compose
from dream_core.motion.warp import warp
from dream_core.settings import CameraSettings
from dream_core.synthetic import Scene, synthetic_clip

STILL = CameraSettings(zoom_factor=1, rotation=0, pan_x=0, pan_y=0)


def targets(flow: Tensor) -> Tensor:
    """Targets of the vectors, (2,H,W)."""
    height, width = flow.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return flow[0] + torch.stack((x, y))


def test_a_resting_camera_has_zero_flow() -> None:
    backward, forward = camera_flow((7, 10), STILL)
    assert backward.shape == forward.shape == (1, 2, 7, 10)
    assert backward.dtype == forward.dtype == torch.float32
    assert not backward.any()
    assert not forward.any()


def test_a_pan_to_the_right_and_up_came_from_the_left_and_below() -> None:
    backward, forward = camera_flow((5, 6), replace(STILL, pan_x=3, pan_y=-2))
    assert torch.equal(backward, torch.tensor([-3.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, 5, 6))
    assert torch.equal(forward, -backward)


def test_a_panned_image_shifts_by_whole_pixels() -> None:
    image = torch.rand(1, 3, 12, 14)
    backward, _ = camera_flow((12, 14), replace(STILL, pan_x=3, pan_y=-2))
    moved = warp(image, backward)
    torch.testing.assert_close(moved[..., :-2, 3:], image[..., 2:, :-3], rtol=0, atol=1e-5)


def test_zoom_holds_the_center_and_halves_the_way_to_it() -> None:
    backward, forward = camera_flow((5, 9), replace(STILL, zoom_factor=2))
    assert backward[0, :, 2, 4].tolist() == forward[0, :, 2, 4].tolist() == [0, 0]
    assert backward[0, :, 0, 8].tolist() == [-2, 1]  # 4 right of and 2 above the center: from half as far
    assert forward[0, :, 0, 8].tolist() == [4, -2]


def test_a_quarter_turn_is_counter_clockwise_as_seen() -> None:
    image = torch.rand(1, 3, 8, 8)
    backward, _ = camera_flow((8, 8), replace(STILL, rotation=90))
    turned = torch.rot90(image, 1, (-2, -1))  # torch's first row is on top, as an image's is
    torch.testing.assert_close(warp(image, backward), turned, rtol=0, atol=1e-5)


def test_the_image_turns_and_grows_before_it_shifts() -> None:
    _, forward = camera_flow((5, 5), CameraSettings(zoom_factor=2, rotation=90, pan_x=10, pan_y=1))
    # One right of the center: turned it is one above, grown two above, then shifted.
    came = torch.tensor([3.0, 2.0])
    torch.testing.assert_close(came + forward[0, :, 2, 3], torch.tensor([2.0 + 10, 2.0 - 2 + 1]))


@settings(max_examples=50, deadline=None)
@given(
    zoom_factor=st.floats(0.5, 2),
    rotation=st.floats(-180, 180),
    pan_x=st.floats(-20, 20),
    pan_y=st.floats(-20, 20),
)
def test_backward_and_forward_undo_each_other(
    zoom_factor: float, rotation: float, pan_x: float, pan_y: float
) -> None:
    camera = CameraSettings(zoom_factor=zoom_factor, rotation=rotation, pan_x=pan_x, pan_y=pan_y)
    backward, forward = camera_flow((6, 8), camera)
    came = targets(backward).double()
    angle = math.radians(rotation)
    x, y = came[0] - 3.5, came[1] - 2.5
    there = torch.stack(
        (
            zoom_factor * (math.cos(angle) * x + math.sin(angle) * y) + 3.5 + pan_x,
            zoom_factor * (math.cos(angle) * y - math.sin(angle) * x) + 2.5 + pan_y,
        )
    )
    torch.testing.assert_close(there, targets(torch.zeros(1, 2, 6, 8)).double(), rtol=0, atol=1e-4)
    # The forward flow is affine, so that one step on from any pixel and back leads home.
    corner = targets(forward)[:, 0, 0].double() - torch.tensor([3.5 + pan_x, 2.5 + pan_y])
    back = torch.stack(
        (
            math.cos(angle) * corner[0] - math.sin(angle) * corner[1],
            math.cos(angle) * corner[1] + math.sin(angle) * corner[0],
        )
    )
    torch.testing.assert_close(
        back / zoom_factor, torch.tensor([-3.5, -2.5], dtype=torch.float64), rtol=0, atol=1e-4
    )


def test_a_zoom_and_its_inverse_cancel_out() -> None:
    size = (9, 11)
    into, _ = camera_flow(size, replace(STILL, zoom_factor=1.25, rotation=10))
    out, back = camera_flow(size, replace(STILL, zoom_factor=1 / 1.25, rotation=-10))
    torch.testing.assert_close(back, into, rtol=0, atol=1e-5)
    torch.testing.assert_close(targets(into) + _at(out, targets(into)), targets(torch.zeros(1, 2, *size)))


def _from_first(flow: Tensor) -> Tensor:
    return flow - flow[..., :1, :1]


def _at(flow: Tensor, points: Tensor) -> Tensor:
    """An affine flow at points between pixels, (2,H,W)."""
    origin = flow[0, :, 0, 0].view(2, 1, 1)
    along_x = (flow[0, :, 0, 1] - flow[0, :, 0, 0]).view(2, 1, 1)
    along_y = (flow[0, :, 1, 0] - flow[0, :, 0, 0]).view(2, 1, 1)
    return origin + along_x * points[0] + along_y * points[1]


def test_the_background_of_a_synthetic_clip_moves_in_the_same_way() -> None:
    scene = Scene(shapes=0, background=(0, 0), rotation=-2, zoom=1.05)
    clip = synthetic_clip(frames=2, height=40, width=56, seed=1, scene=scene)
    backward, forward = camera_flow((40, 56), replace(STILL, zoom_factor=1.05, rotation=2))
    for expected, flow in ((clip.backward, backward), (clip.forward, forward)):
        # Its center lies elsewhere, which is a constant.
        torch.testing.assert_close(_from_first(flow), _from_first(expected), rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(0, 4), (4, -1), (3,)])
def test_an_empty_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageError, match="a height and a width of at least 1"):
        camera_flow(size, STILL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zoom_factor": 0.0}, "expected `zoom_factor` from 0.01 to 100, got 0"),
        ({"zoom_factor": -1.0}, "expected `zoom_factor` from 0.01 to 100, got -1"),
        ({"rotation": math.inf}, "expected `rotation` from -360 to 360, got inf"),
        ({"pan_x": math.nan}, "expected `pan_x` from -10000 to 10000, got nan"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, float], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        camera_flow((4, 4), replace(STILL, **change))


LOOKING = CameraSettings(zoom_factor=1.05, rotation=2, pan_x=3, pan_y=-1, yaw=2, pitch=-1.5)
SIZE = (48, 64)


def square(*, near: float = 1.0, far: float = 0.0) -> Tensor:
    """Depth map of a near square before a far wall, (1,1,48,64)."""
    depth = torch.full((1, 1, *SIZE), far)
    depth[..., 16:32, 20:40] = near
    return depth


def test_the_flows_of_a_camera_that_looks_around_undo_each_other() -> None:
    backward, forward = camera_flow(SIZE, LOOKING)
    assert compose(backward, forward).norm(dim=1)[:, 8:-8, 8:-8].max() < 0.01


def test_a_look_to_the_right_and_up_moves_the_image_left_and_down() -> None:
    for look, (x, y) in (({"yaw": 5.0}, (-1, 0)), ({"pitch": 5.0}, (0, 1))):
        _, forward = camera_flow(SIZE, replace(STILL, **look))  # type: ignore[arg-type]
        focal = 32 / math.tan(math.radians(25))
        middle = forward[0, :, 24, 32]
        expected = torch.tensor([x, y]) * focal * math.tan(math.radians(5))
        assert (middle - expected).abs().max() < 0.1


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_a_flat_depth_map_moves_as_a_flat_image(level: float) -> None:
    backward, forward = camera_flow(SIZE, LOOKING)
    view = depth_camera_flow(torch.full((1, 1, *SIZE), level), LOOKING)
    torch.testing.assert_close(view.forward, forward)
    inner = (..., slice(6, -6), slice(6, -6))
    assert (view.backward - backward)[inner].norm(dim=1).max() < 0.05
    assert view.reliability[inner].all()


def test_what_is_near_passes_before_what_is_far_and_uncovers_it() -> None:
    view = depth_camera_flow(square(), replace(STILL, pan_x=4))  # the wall has the median depth
    assert view.forward[0, :, 24, 30].tolist() == [20, 0]
    assert view.forward[0, :, 2, 2].tolist() == [4, 0]
    row = view.reliability[0, 0, 24]
    assert row[:4].sum() == row[24:40].sum() == 0  # came into view from outside, and from behind the square
    assert row[4:24].all()
    assert row[40:].all()
    assert view.backward[0, 0, 24, 40:60].eq(-20).all()  # the square covers the wall
    assert view.backward[0, 0, 24, 60:].eq(-4).all()
    assert view.depth[0, 0, 24, 40:60].eq(1).all()


def test_what_the_camera_flies_past_is_not_seen_and_the_flight_can_go_on() -> None:
    depth = torch.linspace(0, 1, SIZE[1]).expand(1, 1, *SIZE)
    far_in = replace(STILL, zoom_factor=3.0)
    for _ in range(3):
        view = depth_camera_flow(depth, far_in)
        assert view.backward.isfinite().all()
        assert view.forward.isfinite().all()
        depth = view.depth
    assert 0 < depth.median() < 1


def test_depth_that_is_no_map_is_refused() -> None:
    for depth, says in (
        (torch.zeros(1, 3, *SIZE), "depth"),
        (torch.full((1, 1, *SIZE), 2.0), "between 0 and 1"),
    ):
        with pytest.raises(ImageError, match=says):
            depth_camera_flow(depth, STILL)
    view = depth_camera_flow(square(near=0.7), replace(STILL, depth_range=1.0, pan_x=3))
    assert view.forward[:, 0].eq(3).all()
    assert view.depth.max() == pytest.approx(0.7)
