"""Scene cuts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dream_core.motion.flow import dis_flow
from dream_core.motion.scene_cuts import THRESHOLD, content_change, is_cut
from dream_core.synthetic import Scene, synthetic_clip


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


def test_grain_is_not_a_cut_at_any_size() -> None:
    scene = synthetic_clip(frames=1, height=540, width=960, seed=1).frames
    noise = torch.randn(2, *scene.shape, generator=torch.Generator().manual_seed(0)) * 0.1
    assert content_change((scene + noise[0]).clamp(0, 1), (scene + noise[1]).clamp(0, 1)) < THRESHOLD


def test_tiny_frames_are_compared_too() -> None:
    assert content_change(torch.ones(1, 3, 1, 600), torch.zeros(1, 3, 1, 600)) == 255 / 3
    assert content_change(torch.ones(1, 3, 1, 1), torch.ones(1, 3, 1, 1)) == 0
