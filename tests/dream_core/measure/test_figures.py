"""The formulas of the five figures, for a frame or a pair of frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from pretended import Pretended
from torch import Tensor

from dream_core.errors import ImageError
from dream_core.measure.figures import (
    ClipFigures,
    Figures,
    Heard,
    evenness_terms,
    flicker_terms,
    laplacian_variance,
    luminance,
    mean_square,
    moving_and_still,
    warp_error,
)
from dream_core.synthetic import SyntheticClip


def still(height: int = 6, width: int = 8) -> tuple[Tensor, Tensor]:
    """Flow and reliability of a pair of frames without motion."""
    return torch.zeros(2, height, width), torch.ones(1, height, width)


def test_warp_error_by_hand() -> None:
    # The second frame is 0.2 brighter in red alone: 0.04 in one of three colors.
    frame = torch.full((3, 6, 8), 0.5)
    following = frame.clone()
    following[0] += 0.2
    assert warp_error(frame, following, *still()) == pytest.approx(0.04 / 3)


def test_warp_error_counts_reliable_pixels_only() -> None:
    frame, (flow, reliability) = torch.zeros(3, 6, 8), still()
    following = torch.full_like(frame, 0.1)
    following[..., :3] = 0.9
    reliability[..., :3] = 0
    assert warp_error(frame, following, flow, reliability) == pytest.approx(0.01)
    assert warp_error(frame, following, flow, 0 * reliability) is None


def test_warp_error_weighs_by_soft_reliability() -> None:
    frame, (flow, reliability) = torch.zeros(3, 1, 2), still(1, 2)
    following = frame.clone()
    following[..., 0] = 1
    reliability[..., 0] = 0.25
    assert warp_error(frame, following, flow, reliability) == pytest.approx(0.25 / 1.25)


def test_warp_error_vanishes_along_the_true_forward_flow_only(clip: SyntheticClip) -> None:
    frame, following = clip.frames[:2]
    forward, backward, reliability = clip.forward[0], clip.backward[0], clip.visible_next[0]
    assert warp_error(frame, following, forward, reliability) == pytest.approx(0, abs=1e-9)
    for flow, trusted in ((backward, reliability), (forward, torch.ones_like(reliability))):
        error = warp_error(frame, following, flow, trusted)
        assert error is not None
        assert error > 1e-4


@pytest.mark.parametrize(("now", "then"), [(0.1, 0.3), (0.3, 0.9), (0.1, -0.1), (0.2, 0.2), (0.0, 0.0)])
def test_flicker_terms_by_hand(now: float, then: float) -> None:
    change, energy = flicker_terms(torch.full((3, 6, 8), now), torch.full((3, 6, 8), then), *still())
    assert change == pytest.approx(3 * 6 * 8 * (then - now) ** 2, rel=1e-5)
    assert energy == pytest.approx(3 * 6 * 8 * (then**2 + now**2), rel=1e-5)


def test_flicker_terms_count_reliable_pixels_only() -> None:
    residual, (flow, reliability) = torch.full((3, 6, 8), 0.1), still()
    following = residual.clone()
    following[..., :4] -= 0.5
    reliability[..., :4] = 0
    change, energy = flicker_terms(residual, following, flow, reliability)
    assert change == 0
    assert energy == pytest.approx(3 * 6 * 4 * 0.02)


def test_flicker_terms_follow_the_motion(clip: SyntheticClip) -> None:
    pattern = 0.3 * (clip.frames.flip(1) - 0.5)
    change, energy = flicker_terms(pattern[0], pattern[1], clip.forward[0], clip.visible_next[0])
    assert change < 1e-6 * energy
    stuck, energy = flicker_terms(pattern[0], pattern[0], clip.forward[0], clip.visible_next[0])
    assert stuck > 0.1 * energy


def test_mean_square_by_hand() -> None:
    assert mean_square(torch.tensor([1.0, -2.0, 3.0])) == pytest.approx(14 / 3)
    assert mean_square(torch.tensor([[300.0]], dtype=torch.float16)) == pytest.approx(90000)  # no overflow


def test_laplacian_variance_equals_opencv() -> None:
    frame = torch.randint(0, 256, (3, 17, 23), generator=torch.Generator().manual_seed(1)).float() / 255
    rgb = np.ascontiguousarray(frame.permute(1, 2, 0).numpy() * 255)  # CHW -> HWC
    gray = cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2GRAY).astype(np.float64)
    assert laplacian_variance(frame) == pytest.approx(cv2.Laplacian(gray, cv2.CV_64F).var(), rel=1e-4)


def test_laplacian_variance_by_hand() -> None:
    # A white pixel away from the border of 5x5: Laplacian -4 there and 1 at its 4 neighbors, times 255.
    frame = torch.zeros(3, 5, 5)
    frame[..., 2, 2] = 1
    assert laplacian_variance(frame) == pytest.approx(20 / 25 * 255**2, rel=1e-5)
    assert laplacian_variance(torch.full((3, 5, 5), 0.3)) == pytest.approx(0, abs=1e-6)
    assert laplacian_variance(torch.rand(3, 1, 1)) == 0


def test_luminance_is_in_levels_of_255() -> None:
    assert luminance(torch.full((3, 4, 4), 10 / 255)) == pytest.approx(10, abs=1e-4)
    assert luminance(torch.full((3, 4, 4), -7 / 255)) == pytest.approx(-7, abs=1e-4)
    green = torch.zeros(3, 4, 4)
    green[1] = 1
    assert luminance(green) == pytest.approx(0.587 * 255, abs=0.1)


def checkerboard(levels: float, height: int = 24, width: int = 32) -> Tensor:
    """A frame whose Laplacian has the magnitude 8 * levels everywhere."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    return (0.5 + levels / 255 * (1 - 2 * ((rows + columns) % 2))).expand(3, -1, -1)


def test_a_square_moves_by_itself_but_for_its_edge() -> None:
    flow = torch.tensor([7.0, -3.0])[:, None, None].repeat(1, 24, 32)  # of the camera
    flow[0, 5:15, 8:20] += 3
    moving, still = moving_and_still(checkerboard(5), flow)
    expected = torch.zeros(1, 24, 32, dtype=torch.bool)
    expected[:, 6:14, 9:19] = True
    assert torch.equal(moving, expected)
    outside = torch.ones(1, 24, 32, dtype=torch.bool)
    outside[:, 5:15, 8:20] = False
    assert torch.equal(still, outside)


def test_what_moves_at_the_border_counts() -> None:
    flow = torch.zeros(2, 24, 32)
    flow[1, :, :10] = -3
    moving, _ = moving_and_still(checkerboard(5), flow)
    assert torch.equal(moving[0], (torch.arange(32) < 9).expand(24, -1))


@pytest.mark.parametrize(
    ("shift", "moves", "is_still"),
    [
        ((0.0, 0.4), False, True),
        ((0.0, 0.6), False, False),
        ((0.4, 0.4), False, False),
        ((1.9, 0.0), False, False),
        ((1.5, 1.5), True, False),
        ((-2.1, 0.0), True, False),
    ],
)
def test_own_motion_is_compared_in_pixels(shift: tuple[float, float], moves: bool, is_still: bool) -> None:
    flow = torch.zeros(2, 24, 32)
    flow[:, :10, :10] = torch.tensor(shift)[:, None, None]
    moving, still = moving_and_still(checkerboard(5), flow)
    assert (moving[0, 4, 4].item(), still[0, 4, 4].item()) == (moves, is_still)


@pytest.mark.parametrize(("levels", "counts"), [(0.45, False), (0.55, True)])
def test_only_pixels_with_detail_count(levels: float, counts: bool) -> None:
    flow = torch.zeros(2, 24, 32)
    flow[0, 5:15, 8:20] = 3
    for mask in moving_and_still(checkerboard(levels), flow):
        assert mask.any() == counts


def test_what_is_far_from_any_detail_does_not_count() -> None:
    frame = torch.full((3, 24, 96), 0.5)
    frame[..., :48] = checkerboard(2, 24, 48)
    _, still = moving_and_still(frame, torch.zeros(2, 24, 96))
    assert still[..., :44].all()
    assert not still[..., 56:].any()


def test_shapes_move_and_the_background_is_still(clip: SyntheticClip) -> None:
    background = torch.tensor([2.0, -1.0])[:, None, None]
    shapes = (clip.forward[0] != background).any(0, keepdim=True)
    moving, still = moving_and_still(clip.frames[0], clip.forward[0])
    assert 100 < moving.sum() < shapes.sum()
    assert not (moving & ~shapes).any()
    assert 100 < still.sum() < (~shapes).sum()
    assert not (still & shapes).any()


def test_evenness_terms_are_the_mean_squares_on_both_masks_times_the_pixels_that_move() -> None:
    residual = torch.full((3, 6, 8), 9.0)
    residual[..., :2], residual[..., 2:5] = 0.1, -0.3
    residual[0, :, :2] = 0.2
    moving, still = (torch.zeros(1, 6, 8, dtype=torch.bool) for _ in range(2))
    moving[..., :2], still[..., 2:5] = True, True
    assert evenness_terms(residual, moving, still) == pytest.approx((12 * 0.06 / 3, 12 * 0.09))
    assert evenness_terms(residual, moving & still, still) is None
    assert evenness_terms(residual, moving, moving & still) is None


FRAME = torch.rand(3, 6, 8)
FLOW, RELIABILITY = still()


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (
            lambda: warp_error(FRAME, FRAME, FLOW, RELIABILITY[..., 1:]),
            r"reliability of shape \(1, 6, 8\), got \(1, 6, 7\)",
        ),
        (lambda: warp_error(FRAME, FRAME, FLOW[..., 1:], RELIABILITY), "expected flow"),
        (lambda: flicker_terms(FRAME, FRAME, FLOW, RELIABILITY[0]), "expected reliability"),
        (lambda: laplacian_variance(torch.rand(1, 6, 8)), r"image as \(3,H,W\), got \(1, 6, 8\)"),
        (
            lambda: moving_and_still(FRAME, FLOW[..., 1:]),
            r"flow of shape \(2, 6, 8\), got \(2, 6, 7\)",
        ),
        (lambda: moving_and_still(FRAME[:1], FLOW), r"image as \(3,H,W\), got \(1, 6, 8\)"),
        (lambda: evenness_terms(FRAME, RELIABILITY > 0, RELIABILITY[0] > 0), "expected still of shape"),
        (lambda: luminance(torch.rand(6, 8)), r"image as \(3,H,W\), got \(6, 8\)"),
    ],
)
def test_images_of_wrong_shapes_are_refused(formula: Callable[[], object], message: str) -> None:
    with pytest.raises(ImageError, match=message):
        formula()


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_figures_are_computed_on_a_gpu_too(kind: str) -> None:
    """Apple's GPUs have no float64."""
    frame, following = torch.rand(2, 3, 24, 32)
    flow, reliability = torch.randn(2, 24, 32), torch.rand(1, 24, 32)

    def figures(*tensors: Tensor) -> list[object]:
        frame, following, flow, reliability = tensors
        moving, _ = moving_and_still(frame, flow)
        return [
            warp_error(frame, following, flow, reliability),
            *flicker_terms(frame, following, flow, reliability),
            mean_square(frame),
            laplacian_variance(frame),
            luminance(frame),
            *(evenness_terms(frame, flow[:1] > 0, flow[:1] < 0) or ()),
            moving.sum().item(),
        ]

    tensors = (frame, following, flow, reliability)
    expected = figures(*tensors)
    with Pretended(kind) as gpu:
        found = figures(*(tensor.to(gpu.device) for tensor in tensors))
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_sound_correlates_with_the_strength_of_the_same_frames() -> None:
    none = Figures(*[None] * 7)
    rising = tuple(replace(none, strength=float(index)) for index in range(4))
    clip = ClipFigures("dream", none, rising)
    assert Heard("level", (0.0, 0.1, 0.2, 0.3)).correlation(clip) == pytest.approx(1)
    assert Heard("level", (3.0, 2.0, 1.0, 0.0)).correlation(clip) == pytest.approx(-1)
    assert Heard("level", (1.0,) * 4).correlation(clip) is None
    assert Heard("level", (0.0, 1.0)).correlation(ClipFigures("dream", none, (none, none))) is None
