"""Flow of areas without texture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dream_core.motion import flat_areas
from dream_core.motion.camera import camera_flow
from dream_core.motion.flat_areas import Camera, fit_camera, similarity_flow, steady_flat_areas
from dream_core.motion.flow import FlowEstimator, load_flow
from dream_core.motion.warp import warp
from dream_core.settings import CameraSettings, FlowSettings, InputSettings
from dream_core.synthetic import Scene, synthetic_clip
from dream_core.video import open_clip

CPU = torch.device("cpu")
HEIGHT, WIDTH = 144, 208
SKY = torch.tensor([0.44, 0.66, 0.86]).view(1, 3, 1, 1)
Covers = Callable[[Tensor, Tensor, int], Tensor]
"""(x, y, time) -> True where something covers the sky."""


@pytest.fixture(params=["dis", "raft_small"])
def estimator(request: pytest.FixtureRequest) -> FlowEstimator:
    settings = FlowSettings(flow="dis")
    if request.param == "raft_small":
        folder: Path = request.getfixturevalue("test_data")
        settings = FlowSettings(flow_file=folder / "weights" / "raft_small.safetensors")
    return load_flow(settings, device=CPU, dtype=torch.float32)


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Switch the correction off for the rest of a test."""
    return lambda: monkeypatch.setattr("dream_core.motion.flow.steady_flat_areas", lambda flow, *_: flow)


def sky(covers: Covers, *, frames: int = 2, grain: float = 0.5, **scene: Any) -> tuple[Tensor, Tensor]:
    """Frames of a flat sky, partly covered by a texture, and the masks (T,1,H,W) of the sky."""
    texture = synthetic_clip(
        frames=frames, height=HEIGHT, width=WIDTH, seed=3, scene=Scene(shapes=0, **scene)
    ).frames
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    covered = torch.stack([covers(x, y, time) for time in range(frames)]).unsqueeze(1)
    noise = torch.randn(texture.shape, generator=torch.Generator().manual_seed(0)) * grain / 255
    image = torch.where(covered, texture, SKY) + noise
    return image.mul(255).round().clamp(0, 255) / 255, ~covered


def square(x: Tensor, y: Tensor, time: int) -> Tensor:
    """A square of 48 pixels that moves right by 4 pixels per frame."""
    left = 30 + 4 * time
    return (x >= left) & (x < left + 48) & (y >= 50) & (y < 98)


def torso(x: Tensor, y: Tensor, time: int) -> Tensor:
    """Head and shoulders that enter at the bottom and sway to the right."""
    x = x - 100 - 4 * time
    return ((x.abs() < 60) & (y > 90)) | (x.square() + (y - 55).square() < 30**2)


def entering(x: Tensor, y: Tensor, time: int) -> Tensor:
    """A thing nearly as high as the frame that comes in from the left."""
    return (x < 90 + 4 * time) & (y > 20) & (y < 124)


def length(flow: Tensor, where: Tensor) -> float:
    return float(flow.norm(dim=1, keepdim=True)[where].mean())


@pytest.mark.parametrize("covers", [square, torso, entering])
def test_a_flat_sky_stands_still_behind_whatever_passes(
    estimator: FlowEstimator, covers: Covers, raw: Callable[[], None]
) -> None:
    frames, is_sky = sky(covers, background=(4, 0), whole_pixels=True)
    flow = estimator.flow(frames[1:], frames[:1])
    assert length(flow, is_sky[1:]) < 0.7
    median = flow[:, 0][~is_sky[1:, 0]].median()
    assert median == pytest.approx(-4, abs=0.5)
    raw()
    before = estimator.flow(frames[1:], frames[:1])
    assert length(before, is_sky[1:]) > 1
    # What passes keeps its flow.
    assert length(flow - before, ~is_sky[1:]) < 0.1


def test_what_is_drawn_on_a_flat_sky_stays_the_same_while_something_passes(
    estimator: FlowEstimator, raw: Callable[[], None]
) -> None:
    frames, is_sky = sky(square, frames=11, background=(4, 0), whole_pixels=True)
    always = is_sky.all(dim=0, keepdim=True).expand(1, 3, -1, -1)
    drawn = synthetic_clip(frames=1, height=HEIGHT, width=WIDTH, seed=8).frames - 0.5

    def correlation() -> float:
        carried = drawn
        for previous, frame in zip(frames[:-1].split(1), frames[1:].split(1), strict=True):
            carried = warp(carried, estimator.flow(frame, previous))
        return float(torch.corrcoef(torch.stack([drawn[always], carried[always]]))[0, 1])

    assert correlation() > 0.95
    raw()
    assert correlation() < 0.6


def test_a_flat_sky_follows_the_camera(estimator: FlowEstimator) -> None:
    def landscape(x: Tensor, y: Tensor, time: int) -> Tensor:
        return y > 70 + time + 8 * torch.sin((x - 5 * time) / 12)

    frames, is_sky = sky(landscape, background=(5, 1), whole_pixels=True)
    flow = estimator.flow(frames[1:], frames[:1])
    exact = torch.tensor([-5.0, -1.0]).view(1, 2, 1, 1)
    assert length(flow - exact, is_sky[1:]) < 0.5


def test_both_directions_are_steadied_as_each_by_itself(estimator: FlowEstimator) -> None:
    frames, is_sky = sky(square, background=(4, 0), whole_pixels=True)
    there, back = estimator.both_ways(frames[1:], frames[:1])
    torch.testing.assert_close(there, estimator.flow(frames[1:], frames[:1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(back, estimator.flow(frames[:1], frames[1:]), atol=1e-3, rtol=0)
    assert length(back, is_sky[:1]) < 0.5


@pytest.mark.parametrize(("contrast", "limit"), [(1, 0.01), (1 / 6, 0.1)])
def test_textured_clips_keep_their_flow(contrast: float, limit: float) -> None:
    clip = synthetic_clip(frames=3, height=HEIGHT, width=WIDTH, seed=1)
    frames = (clip.frames * contrast * 255).round() / 255
    steadied = steady_flat_areas(clip.backward, frames[1:], frames[:-1])
    assert length(steadied - clip.backward, clip.visible > 0) < limit


def test_real_clips_keep_their_flow(
    test_data: Path, estimator: FlowEstimator, raw: Callable[[], None]
) -> None:
    with open_clip(test_data / "clips" / "mallard.mp4", settings=InputSettings(size=320, frames=2)) as clip:
        previous, current = (frame.image[None] for frame in clip)
    flow = estimator.flow(current, previous)
    raw()
    assert length(flow - estimator.flow(current, previous), torch.ones_like(flow[:, :1]) > 0) < 0.02


def test_a_flat_thing_that_moves_by_itself_keeps_its_flow() -> None:
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    background = synthetic_clip(frames=1, height=HEIGHT, width=WIDTH, seed=2).frames
    frames, flows = [], []
    for time in range(2):
        disc = (x - 90 - 4 * time).square() + (y - 70).square() < 40**2
        frames.append(torch.where(disc, SKY, background))
        flows.append(torch.stack([-4.0 * disc, 0.0 * disc])[None])
    steadied = steady_flat_areas(flows[1], frames[1], frames[0])
    assert length(steadied - flows[1], torch.ones(1, 1, HEIGHT, WIDTH) > 0) < 0.05


def test_the_flow_of_a_frame_of_nothing_is_zero() -> None:
    flow = torch.randn(2, 2, 40, 50)
    flat = SKY.expand(2, 3, 40, 50)
    assert steady_flat_areas(flow, flat, flat).abs().max() == 0


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (5, 300), (700, 30)])
def test_any_size(size: tuple[int, int]) -> None:
    first, second = torch.rand(2, 1, 3, *size)
    steadied = steady_flat_areas(torch.randn(2, 2, *size), first, second)
    assert steadied.shape == (2, 2, *size)
    assert torch.isfinite(steadied).all()


@pytest.mark.parametrize("options", [{"pan_x": 3.0}, {"zoom_factor": 1.05}, {"rotation": 2.0, "pan_y": -2.0}])
def test_the_motion_of_the_camera_is_fitted_in_spite_of_moving_things(options: dict[str, float]) -> None:
    neutral = {"zoom_factor": 1.0, "rotation": 0.0, "pan_x": 0.0, "pan_y": 0.0}
    exact, _ = camera_flow((HEIGHT, WIDTH), CameraSettings(**{**neutral, **options}))
    flow = exact.clone()
    flow[..., 30:110, 40:170] = 9  # in the middle
    flow[..., 100:, 60:100] = -7  # at an edge
    camera = fit_camera(flow, torch.ones(1, 1, HEIGHT, WIDTH))
    assert camera.known.item()
    assert (
        length(similarity_flow(camera.motion, (HEIGHT, WIDTH)) - exact, torch.ones_like(flow[:, :1]) > 0)
        < 0.2
    )


def test_the_camera_rests_where_only_one_edge_has_texture() -> None:
    flow = torch.full((1, 2, HEIGHT, WIDTH), 4.0)
    texture = torch.zeros(1, 1, HEIGHT, WIDTH)
    texture[..., 60:, 50:150] = 1
    camera = fit_camera(flow, texture)
    assert camera.known.item()
    assert camera.motion.abs().max() == 0


def test_the_motion_of_the_camera_is_unknown_where_textures_contradict_each_other() -> None:
    flow = torch.randn(1, 2, HEIGHT // 8, WIDTH // 8).repeat_interleave(8, 2).repeat_interleave(8, 3) * 10
    assert not fit_camera(flow, torch.ones(1, 1, HEIGHT, WIDTH)).known.item()
    # Then even a flat frame keeps its flow.
    unknown = Camera(torch.zeros(1, 4), torch.tensor([False]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flat_areas, "fit_camera", lambda *_: unknown)
        flat = SKY.expand(1, 3, HEIGHT, WIDTH)
        assert torch.equal(steady_flat_areas(flow, flat, flat), flow)
