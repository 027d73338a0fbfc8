"""Scene cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dream_core.image import resize
from dream_core.motion.flow import dis_flow, load_flow
from dream_core.motion.scene_cuts import THRESHOLD, content_change, find_pan, is_cut
from dream_core.settings import FlowSettings, InputSettings
from dream_core.synthetic import Scene, synthetic_clip
from dream_core.video import open_clip


def color(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1).expand(1, 3, 30, 40) / 255


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ((90, 90, 90), (90, 90, 90), 0),
        ((0, 0, 0), (255, 255, 255), 255 / 3),  # value
        ((200, 0, 0), (200, 200, 200), 255 / 3),  # saturation
        ((255, 0, 0), (0, 255, 0), 60 / 3),  # hue: 120 degrees
    ],
)
def test_known_changes(before: tuple[float, ...], after: tuple[float, ...], change: float) -> None:
    assert content_change(color(*before), color(*after)) == pytest.approx(change)
    assert content_change(color(*after), color(*before)) == pytest.approx(change)


def still(frame: Tensor) -> Tensor:
    return torch.zeros_like(frame[:, :2])


def test_fast_motion_is_not_a_cut() -> None:
    scene = Scene(speed=12, background=(9, -5))
    clip = synthetic_clip(frames=4, height=90, width=120, seed=1, scene=scene)
    for index in range(3):
        previous, frame = clip.frames[index : index + 1], clip.frames[index + 1 : index + 2]
        assert content_change(frame, previous) > THRESHOLD
        assert not is_cut(frame, previous, clip.backward[index : index + 1])
        assert is_cut(frame, previous, still(frame))


def test_another_scene_is_a_cut_whatever_the_flow() -> None:
    one, other = (synthetic_clip(frames=1, height=90, width=120, seed=seed).frames for seed in (1, 4))
    for frame, previous in ((one, other), (other, one)):
        flow = dis_flow(frame, previous, False)
        assert flow.abs().max() > 1
        assert is_cut(frame, previous, flow)
        assert is_cut(frame, previous, still(frame))


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0.0), (1.0, 0.3)])
def test_a_change_of_light_is_not_a_cut(gain: float, offset: float) -> None:
    frame = synthetic_clip(frames=1, height=90, width=120, seed=1).frames
    lit = (gain * frame + offset).clamp(0, 1)
    assert content_change(lit, frame) > THRESHOLD
    assert not is_cut(lit, frame, still(frame))


def test_a_cut_between_dark_scenes_is_found() -> None:
    """Both scenes gray, at a sixth of their contrast."""
    one, other = (
        0.2 + synthetic_clip(frames=1, height=90, width=120, seed=seed).frames.mean(1, keepdim=True) / 6
        for seed in (1, 4)
    )
    frame, previous = one.expand(1, 3, -1, -1), other.expand(1, 3, -1, -1)
    assert content_change(frame, previous) < THRESHOLD
    assert is_cut(frame, previous, still(frame))


@pytest.mark.parametrize("flow", ["dis", "raft_small"])
def test_cuts_between_real_clips_are_found_and_nothing_else(test_data: Path, flow: Any) -> None:
    """Also between dark clips, gray and at a sixth of their contrast."""
    weights = test_data / "weights" / "raft_small.safetensors" if flow == "raft_small" else None
    estimator = load_flow(
        FlowSettings(flow=flow, flow_file=weights), device=torch.device("cpu"), dtype=torch.float32
    )

    def pair(name: str) -> list[Tensor]:
        options = InputSettings(size=256, start=1, frames=2)
        with open_clip(test_data / "clips" / name, settings=options) as clip:
            return [resize(frame.image[None], (144, 256)).clamp(0, 1) for frame in clip]

    def dark(frame: Tensor) -> Tensor:
        gray = (frame.mean(1, keepdim=True) - 0.5) / 6 + 0.3
        return (gray.expand(1, 3, -1, -1) * 255).round() / 255

    clips = [pair(name) for name in ("mallard.mp4", "bikes.mp4", "bigbuckbunny.mp4")]
    for (previous, frame), (other, _) in zip(clips, clips[1:] + clips[:1], strict=True):
        for look in (lambda frame: frame, dark):
            assert not is_cut(look(frame), look(previous), estimator.flow(look(frame), look(previous)))
            assert is_cut(look(other), look(previous), estimator.flow(look(other), look(previous)))
            assert find_pan(look(other), look(previous)) is None


def test_flat_frames_are_told_apart_by_their_color() -> None:
    red, blue = color(200, 0, 0), color(0, 0, 200)
    assert is_cut(red, blue, still(red))
    assert not is_cut(red, color(190, 0, 0), still(red))


def test_a_white_frame_is_a_cut() -> None:
    frame = synthetic_clip(frames=1, height=90, width=120, seed=1).frames
    white = torch.ones_like(frame)
    assert is_cut(white, frame, still(frame))
    assert is_cut(frame, white, still(frame))


@pytest.mark.parametrize("pan", [(60, 0), (-65, 12), (0, -40)])
def test_a_fast_pan_is_found(pan: tuple[int, int]) -> None:
    wide = synthetic_clip(frames=1, height=250, width=320, seed=3).frames
    x, y = pan
    previous = wide[..., 80:170, 100:220]
    frame = wide[..., 80 + y : 170 + y, 100 + x : 220 + x]
    found = find_pan(frame, previous)
    assert found is not None
    assert found.flatten().tolist() == pytest.approx(pan, abs=1)


def test_another_scene_is_no_pan() -> None:
    one, other = (synthetic_clip(frames=1, height=90, width=120, seed=seed).frames for seed in (1, 4))
    assert find_pan(one, other) is None
    assert find_pan(one, torch.ones_like(one)) is None


def test_grain_is_not_a_cut_at_any_size() -> None:
    scene = synthetic_clip(frames=1, height=540, width=960, seed=1).frames
    noise = torch.randn(2, *scene.shape, generator=torch.Generator().manual_seed(0)) * 0.1
    assert content_change((scene + noise[0]).clamp(0, 1), (scene + noise[1]).clamp(0, 1)) < THRESHOLD


def test_tiny_frames_are_compared_too() -> None:
    assert content_change(torch.ones(1, 3, 1, 600), torch.zeros(1, 3, 1, 600)) == 255 / 3
    assert content_change(torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1, 1)) == 0
