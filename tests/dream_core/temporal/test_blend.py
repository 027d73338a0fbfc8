"""Mixing the carried dream with the new frame."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dream_core.errors import ImageError, SettingsError
from dream_core.temporal.blend import add_residual, blend_frames, share_to_renew

FRAME = torch.full((1, 3, 2, 2), 0.2)
WARPED = torch.full((1, 3, 2, 2), 0.8)
ONES = torch.ones(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("trust", "blend", "expected"),
    [
        (1.0, 0.0, 0.8),  # all dream
        (1.0, 1.0, 0.2),  # all frame
        (0.0, 0.0, 0.2),  # nothing to be trusted: the frame
        (1.0, 0.5, 0.5),
        (0.5, 0.5, 0.35),  # guided = 0.5, then halfway to the frame
        (0.25, 0.2, 0.32),  # guided = 0.35, then 0.2 * 0.2 + 0.8 * 0.35
    ],
)
def test_known_blends(trust: float, blend: float, expected: float) -> None:
    start = blend_frames(FRAME, WARPED, trust * ONES, blend=blend)
    torch.testing.assert_close(start, torch.full_like(FRAME, expected))


def test_each_pixel_follows_its_own_mask() -> None:
    mask = torch.tensor([[0.0, 1.0], [0.5, 0.0]]).view(1, 1, 2, 2)
    start = blend_frames(FRAME, WARPED, mask, blend=0)
    torch.testing.assert_close(start[0, 2], torch.tensor([[0.2, 0.8], [0.5, 0.2]]))


@settings(max_examples=30, deadline=None)
@given(blend=st.floats(0, 1), seed=st.integers(0, 99))
def test_blends_stay_between_frame_and_dream(blend: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    frame, warped = torch.rand(2, 1, 3, 4, 5, generator=generator)
    mask = torch.rand(1, 1, 4, 5, generator=generator)
    start = blend_frames(frame, warped, mask, blend=blend)
    assert (start >= torch.minimum(frame, warped) - 1e-6).all()
    assert (start <= torch.maximum(frame, warped) + 1e-6).all()


@settings(max_examples=30, deadline=None)
@given(blend=st.floats(0, 1))
def test_equal_images_are_blended_exactly(blend: float) -> None:
    frame, warped = torch.rand(2, 2, 3, 7, 9)
    mask = torch.rand(2, 1, 7, 9)
    assert torch.equal(blend_frames(frame, frame, mask, blend=blend), frame)
    assert torch.equal(blend_frames(frame, warped, mask, blend=1), frame)
    assert torch.equal(blend_frames(frame, warped, torch.zeros_like(mask), blend=blend), frame)
    assert torch.equal(blend_frames(frame, warped, torch.ones_like(mask), blend=0), warped)


@pytest.mark.parametrize("blend", [-0.1, 1.5, float("nan")])
def test_a_blend_out_of_range_is_refused(blend: float) -> None:
    with pytest.raises(SettingsError, match=rf"^expected `blend` from 0 to 1, got {blend}"):
        blend_frames(FRAME, WARPED, ONES, blend=blend)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_a_mask_out_of_range_is_refused(value: float) -> None:
    with pytest.raises(ImageError, match="mask values between 0 and 1"):
        blend_frames(FRAME, WARPED, value * ONES, blend=0.5)


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ImageError, match=r"frame \(B,3,H,W\) .*, got \(3, 2, 2\) float32"):
        blend_frames(FRAME[0], WARPED, ONES, blend=0.5)
    with pytest.raises(ImageError, match=r"warped \(1,3,2,2\) .*, got \(1, 3, 2, 1\)"):
        blend_frames(FRAME, WARPED[..., :1], ONES, blend=0.5)
    with pytest.raises(ImageError, match=r"mask \(1,1,2,2\) .*, got \(1, 3, 2, 2\)"):
        blend_frames(FRAME, WARPED, FRAME, blend=0.5)


# The residual


@pytest.mark.parametrize(
    ("trust", "blend", "expected"),
    [
        (1.0, 0.0, 0.5),  # the whole residual
        (1.0, 1.0, 0.2),  # the frame alone
        (0.0, 0.0, 0.2),  # nothing to be trusted: the frame
        (1.0, 0.5, 0.35),
        (0.5, 0.5, 0.275),
    ],
)
def test_known_sums(trust: float, blend: float, expected: float) -> None:
    start = add_residual(FRAME, WARPED, trust * ONES, WARPED - 0.3, blend=blend)
    torch.testing.assert_close(start, torch.full_like(FRAME, expected))


def test_sums_are_clamped() -> None:
    dark, bright = torch.zeros_like(FRAME), torch.ones_like(FRAME)
    assert torch.equal(add_residual(WARPED, bright, ONES, dark, blend=0), bright)
    assert torch.equal(add_residual(FRAME, dark, ONES, bright, blend=0), dark)


@settings(max_examples=30, deadline=None)
@given(blend=st.floats(0, 1))
def test_a_zero_residual_leaves_the_frame_exactly(blend: float) -> None:
    frame, warped, before = torch.rand(3, 2, 3, 7, 9)
    mask = torch.rand(2, 1, 7, 9)
    assert torch.equal(add_residual(frame, warped, mask, warped, blend=blend), frame)
    assert torch.equal(add_residual(frame, warped, mask, before, blend=1), frame)
    assert torch.equal(add_residual(frame, warped, torch.zeros_like(mask), before, blend=blend), frame)


def test_the_residual_is_checked_in_the_same_way() -> None:
    with pytest.raises(SettingsError, match="`blend` from 0 to 1"):
        add_residual(FRAME, WARPED, ONES, WARPED, blend=2)
    with pytest.raises(ImageError, match="mask values between 0 and 1"):
        add_residual(FRAME, WARPED, 2 * ONES, WARPED, blend=0)
    with pytest.raises(ImageError, match=r"warped_frame \(1,3,2,2\) .*, got \(1, 3, 2, 1\)"):
        add_residual(FRAME, WARPED, ONES, WARPED[..., :1], blend=0)


# The share to renew


def test_what_is_lost_is_renewed() -> None:
    residual = torch.full((1, 3, 9, 9), 0.1)
    for trust, blend, expected in ((1, 0.2, 1 - 0.8**2.5), (0.5, 0.2, 1 - 0.4**2.5), (0, 0.2, 1), (1, 0, 0)):
        share = share_to_renew(torch.full((1, 1, 9, 9), float(trust)), residual, blend=blend)
        torch.testing.assert_close(share, torch.full_like(share, expected))


def test_single_pixels_are_hardly_renewed() -> None:
    mask = torch.ones(1, 1, 11, 11)
    mask[..., 5, 5] = 0
    share = share_to_renew(mask, torch.full((1, 3, 11, 11), 0.1), blend=0)
    torch.testing.assert_close(share.sum(), torch.tensor(1.0))
    assert share.max() == share[..., 5, 5] < 0.12


def test_all_is_renewed_where_there_is_no_dream_at_all() -> None:
    residual = torch.zeros(2, 3, 4, 5)
    residual[1, 0, 3, 3] = 0.1
    share = share_to_renew(torch.ones(2, 1, 4, 5), residual, blend=0.1)
    assert (share[0] == 1).all()
    torch.testing.assert_close(share[1], torch.full((1, 4, 5), 1 - 0.9**2.5))
