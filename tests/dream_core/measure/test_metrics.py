"""Figures of dreamed clips."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from dream_core.errors import ImageError
from dream_core.measure.metrics import drift, e_warp, flicker, sharpness, strength
from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    scene = Scene(shapes=3, whole_pixels=True, background=(2, -1))
    return synthetic_clip(frames=5, height=60, width=80, scene=scene)


def still(frames: int, height: int = 6, width: int = 8) -> tuple[Tensor, Tensor]:
    """Flows and masks of a clip in which nothing moves."""
    return torch.zeros(frames - 1, 2, height, width), torch.ones(frames - 1, 1, height, width)


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_e_warp_by_hand() -> None:
    # The second frame is 0.2 brighter in red alone: 0.04 in one of three colors.
    frames = torch.full((2, 3, 6, 8), 0.5)
    frames[1, 0] += 0.2
    assert e_warp(frames, *still(2)) == pytest.approx(0.04 / 3)


def test_e_warp_is_the_mean_over_pairs_of_what_is_reliable() -> None:
    frames = torch.zeros(3, 3, 6, 8)
    frames[1] = 0.1
    frames[2] = 0.4
    flows, masks = still(3)
    masks[0, :, :3] = 0
    frames[1, :, :3] = 0.9  # distrusted from frame 0, but trusted from frame 1 to 2
    # Pair 0: 0.01. Pair 1: half of the pixels 0.3^2, the other half 0.5^2.
    assert e_warp(frames, flows, masks) == pytest.approx((0.01 + (0.09 + 0.25) / 2) / 2)


def test_e_warp_weighs_by_soft_masks() -> None:
    frames = torch.zeros(2, 3, 1, 2)
    frames[1, :, 0, 0] = 1.0
    flows, masks = still(2, 1, 2)
    masks[..., 0] = 0.25
    assert e_warp(frames, flows, masks) == pytest.approx(0.25 / 1.25)


def test_e_warp_vanishes_along_the_true_forward_flow_only(clip: SyntheticClip) -> None:
    exact = e_warp(clip.frames, clip.forward, clip.visible_next)
    assert exact < 1e-9
    assert e_warp(clip.frames, clip.backward, clip.visible_next) > 1e-3
    assert e_warp(clip.frames, clip.forward, torch.ones_like(clip.visible_next)) > 1e-4


def test_pairs_without_reliable_pixels_are_left_out(clip: SyntheticClip) -> None:
    flows, masks = still(3)
    frames = torch.zeros(3, 3, 6, 8)
    frames[1:] = 0.5
    masks[0] = 0
    assert e_warp(frames, flows, masks) == 0


def carried_pattern(clip: SyntheticClip) -> Tensor:
    """A pattern that sticks to the scene: a function of its colors."""
    return 0.3 * (clip.frames.flip(1) - 0.5)


def test_flicker_of_a_carried_pattern_is_zero(clip: SyntheticClip) -> None:
    dreamed = clip.frames + carried_pattern(clip)
    assert flicker(dreamed, clip.frames, clip.forward, clip.visible_next) < 1e-6


def test_flicker_of_independent_noise_is_one(clip: SyntheticClip) -> None:
    dreamed = clip.frames + noise(*clip.frames.shape)
    assert flicker(dreamed, clip.frames, clip.forward, clip.visible_next) == pytest.approx(1, abs=0.03)


def test_flicker_of_a_pattern_that_sticks_to_the_screen_is_not_zero(clip: SyntheticClip) -> None:
    dreamed = clip.frames + noise(1, *clip.frames.shape[1:])
    assert flicker(dreamed, clip.frames, clip.forward, clip.visible_next) > 0.9
    assert flicker(dreamed, clip.frames, torch.zeros_like(clip.forward), clip.visible_next) < 1e-6


def test_flicker_by_hand() -> None:
    # R = 0.1, 0.3: (0.3 - 0.1)^2 / (0.3^2 + 0.1^2); inverted patterns give 2; strength does not matter.
    source = torch.rand(2, 3, 6, 8)
    steps = torch.tensor([0.1, 0.3]).view(2, 1, 1, 1)
    assert flicker(source + steps, source, *still(2)) == pytest.approx(0.04 / 0.10, rel=1e-5)
    assert flicker(source + 3 * steps, source, *still(2)) == pytest.approx(0.04 / 0.10, rel=1e-5)
    signs = torch.tensor([0.1, -0.1]).view(2, 1, 1, 1)
    assert flicker(source + signs, source, *still(2)) == pytest.approx(2, rel=1e-5)


def test_flicker_sees_reliable_pixels_only() -> None:
    source = torch.rand(2, 3, 6, 8)
    dreamed = source + 0.1
    dreamed[1, :, :, :4] -= 0.5
    flows, masks = still(2)
    masks[..., :4] = 0
    assert flicker(dreamed, source, flows, masks) < 1e-6


def test_strength() -> None:
    activation = torch.tensor([1.0, -2.0, 3.0])
    assert strength(2 * activation, activation) == pytest.approx(4)
    assert strength(torch.tensor([3.0, 0.0]), torch.tensor([1.0, 2.0])) == pytest.approx(9 / 5)


def test_sharpness_is_opencv_s() -> None:
    frames = torch.randint(0, 256, (2, 3, 17, 23)).float() / 255
    expected = []
    for frame in frames:
        rgb = np.ascontiguousarray(frame.permute(1, 2, 0).numpy() * 255)  # CHW -> HWC
        gray = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2GRAY).astype(np.float64)
        expected.append(cv2.Laplacian(gray, cv2.CV_64F).var())
    assert sharpness(frames) == pytest.approx(np.mean(expected), rel=1e-4)


def test_sharpness_by_hand() -> None:
    # One white pixel in a corner-free place of 5x5: Laplacian -4 there and 1 at its 4 neighbors, times 255.
    frame = torch.zeros(1, 3, 5, 5)
    frame[..., 2, 2] = 1
    assert sharpness(frame) == pytest.approx(20 / 25 * 255**2, rel=1e-5)
    assert sharpness(torch.full((1, 3, 5, 5), 0.3)) == pytest.approx(0, abs=1e-6)
    assert sharpness(torch.rand(1, 3, 1, 1)) == 0


def test_drift_by_hand() -> None:
    source = torch.zeros(3, 3, 4, 4)
    source[2] = 10 / 255
    dreamed = source + 5 / 255
    assert drift(dreamed, source) == pytest.approx(0, abs=1e-5)
    dreamed[2] += 3 / 255
    assert drift(dreamed, source) == pytest.approx(3, abs=1e-4)
    dreamed[2] -= 7 / 255
    assert drift(dreamed, source) == pytest.approx(-4, abs=1e-4)


def test_generators_give_the_same_and_are_read_once(clip: SyntheticClip) -> None:
    dreamed = clip.frames + noise(*clip.frames.shape)
    links = clip.forward, clip.visible_next
    streamed = [iter(link) for link in links]
    assert flicker(iter(dreamed), iter(clip.frames), *streamed) == flicker(dreamed, clip.frames, *links)
    streamed = [iter(link) for link in links]
    assert e_warp(iter(dreamed), *streamed) == e_warp(dreamed, *links)
    assert sharpness(iter(dreamed)) == sharpness(dreamed)
    assert drift(iter(dreamed), iter(clip.frames)) == drift(dreamed, clip.frames)


FRAMES = torch.rand(3, 3, 6, 8)
FLOWS, MASKS = still(3)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda: e_warp(FRAMES[:1], FLOWS[:0], MASKS[:0]), "at least 2 frames"),
        (lambda: e_warp(FRAMES, FLOWS[:1], MASKS), "equally many pairs of frames, flows and masks"),
        (lambda: e_warp(FRAMES, FLOWS, torch.cat([MASKS, MASKS])), "equally many pairs"),
        (lambda: e_warp(FRAMES, FLOWS, 0 * MASKS), "a reliable pixel in some mask"),
        (lambda: e_warp(FRAMES, FLOWS, MASKS[..., 1:]), r"mask of shape \(1, 6, 8\), got \(1, 6, 7\)"),
        (lambda: e_warp(FRAMES, FLOWS[..., 1:], MASKS), r"flow of shape \(1, 2, 6, 8\)"),
        (lambda: flicker(FRAMES, FRAMES, FLOWS, MASKS), "a dream that differs from its source"),
        (lambda: flicker(FRAMES, FRAMES[:2], FLOWS, MASKS), "equally many dreamed and source frames"),
        (
            lambda: flicker(FRAMES, FRAMES[..., 1:], FLOWS, MASKS),
            r"dream of shape \(3, 6, 7\), got \(3, 6, 8\)",
        ),
        (lambda: strength(torch.ones(3), torch.zeros(3)), "activation of the source that is not zero"),
        (lambda: sharpness([]), "at least 1 frame to measure sharpness"),
        (lambda: sharpness([torch.rand(1, 6, 8)]), r"frame as \(3, H, W\), got \(1, 6, 8\)"),
        (lambda: drift([], []), "at least 1 frame to measure drift"),
        (lambda: drift(FRAMES, FRAMES[:2]), "equally many dreamed and source frames"),
    ],
)
def test_errors(measure: Callable[[], float], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        measure()
