"""Reliability of flow."""

from __future__ import annotations

from dataclasses import fields, replace

import kornia
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dream_core.errors import ImageError, SettingsError
from dream_core.motion.occlusion import (
    flow_is_smooth,
    flows_agree,
    reliability_mask,
    same_brightness,
    soften_inwards,
)
from dream_core.motion.warp import warp
from dream_core.settings import ReliabilitySettings
from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip

CHECKS = [field.name for field in fields(ReliabilitySettings) if field.name.startswith("check_")]
NOTHING = replace(ReliabilitySettings(mask_softness=0), **dict.fromkeys(CHECKS, False))


def constant_flow(x: float, y: float, height: int, width: int) -> Tensor:
    return torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).repeat(1, 1, height, width)


def gray(value: float, height: int = 9, width: int = 9) -> Tensor:
    return torch.full((1, 3, height, width), value)


def mask_of(clip: SyntheticClip, options: ReliabilitySettings) -> Tensor:
    return reliability_mask(
        clip.backward, clip.forward, frame=clip.frames[1:], previous=clip.frames[:-1], settings=options
    )


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return synthetic_clip(frames=6, height=97, width=131, scene=Scene(shapes=4, speed=5.0))


def test_there_are_four_checks() -> None:
    assert CHECKS == ["check_consistency", "check_boundaries", "check_brightness", "check_leaving"]


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (97, 131), (480, 854)])
def test_a_still_image_is_trusted_everywhere(size: tuple[int, int]) -> None:
    frame = torch.rand(2, 3, *size)
    still = torch.zeros(2, 2, *size)
    mask = reliability_mask(still, still, frame=frame, previous=frame, settings=ReliabilitySettings())
    assert torch.equal(mask, torch.ones(2, 1, *size))


def test_flows_that_undo_each_other_agree() -> None:
    assert torch.equal(
        flows_agree(constant_flow(2, -1, 6, 7), constant_flow(-2, 1, 6, 7)), torch.ones(1, 1, 6, 7)
    )


@pytest.mark.parametrize(
    ("forward", "trusted"),
    [
        # |w + w'|^2 against 0.01 (|w|^2 + |w'|^2) + 0.5, with w = (10, 0)
        (-8.7, 1.0),  # 1.69 < 0.01 * 175.69 + 0.5 = 2.2569
        (-8.4, 0.0),  # 2.56 > 0.01 * 170.56 + 0.5 = 2.2056
        (-11.6, 1.0),  # 2.56 < 0.01 * 234.56 + 0.5 = 2.8456
        (10.0, 0.0),  # 400 > 2.5
    ],
)
def test_consistency_by_hand(forward: float, trusted: float) -> None:
    mask = flows_agree(constant_flow(10, 0, 1, 1), constant_flow(forward, 0, 1, 1))
    assert mask.item() == trusted


def test_consistency_boundary_case_is_distrusted() -> None:
    # Still backward flow and w' = (0, v): v^2 >= 0.01 v^2 + 0.5 from v = sqrt(0.5 / 0.99) = 0.7107 on.
    still = torch.zeros(1, 2, 1, 1)
    assert flows_agree(still, constant_flow(0, 0.710, 1, 1)).item() == 1
    assert flows_agree(still, constant_flow(0, 0.711, 1, 1)).item() == 0


def test_forward_flow_is_read_where_the_pixel_came_from() -> None:
    # Pixels 0 and 1 of the current frame came from 3 px to the right, where the forward flow leads back.
    backward = torch.zeros(1, 2, 1, 6)
    backward[0, 0, 0, :2] = 3
    forward = torch.zeros(1, 2, 1, 6)
    forward[0, 0, 0, 3:5] = -3
    assert flows_agree(backward, forward).flatten().tolist() == [1, 1, 1, 0, 0, 1]


def test_motion_boundary_by_hand() -> None:
    # u = 0 0 0 8 8 8: central differences 0 0 4 4 0 0, so |grad|^2 = 16 > 0.01 * 64 + 0.002.
    flow = torch.zeros(1, 2, 3, 6)
    flow[:, 0, :, 3:] = 8
    expected = torch.tensor([1.0, 1, 0, 0, 1, 1]).expand(3, 6)
    assert torch.equal(flow_is_smooth(flow)[0, 0], expected)
    # The same along y, in the other component.
    turned = flow.flip(1).transpose(2, 3)
    assert torch.equal(flow_is_smooth(turned)[0, 0], expected.T)


@pytest.mark.parametrize(("slope", "trusted"), [(0.04, 1.0), (0.05, 0.0)])
def test_motion_boundary_threshold(slope: float, trusted: float) -> None:
    # A linear flow that is zero in the middle: |grad|^2 = slope^2 against 0.002 = 0.0447^2.
    flow = torch.zeros(1, 2, 3, 3)
    flow[:, 1] = slope * torch.tensor([-1.0, 0.0, 1.0])
    assert flow_is_smooth(flow)[0, 0, 1, 1].item() == trusted


PATCH = (slice(None), slice(None), slice(6, 9), slice(10, 13))


@pytest.mark.parametrize(("difference", "trusted"), [(29, 1.0), (31, 0.0), (-31, 0.0)])
def test_brightness_threshold(difference: int, trusted: float) -> None:
    warped = gray(0.5, 20, 24)
    warped[PATCH] += difference / 255
    mask = same_brightness(gray(0.5, 20, 24), warped)
    assert torch.equal(mask[PATCH], torch.full((1, 1, 3, 3), trusted))
    assert mask.mean() == (1 if trusted else 1 - 9 / 480)


def test_brightness_is_measured_in_gray() -> None:
    # A change of blue by 100 levels is one of 11.4 in gray; of green, 58.7.
    for channel, trusted in ((2, 1.0), (1, 0.0)):
        warped = gray(0.2, 20, 24)
        warped[PATCH][:, channel] += 100 / 255
        assert same_brightness(gray(0.2, 20, 24), warped)[PATCH].unique().item() == trusted


def test_opening_drops_trusted_specks_and_keeps_distrusted_ones() -> None:
    warped = gray(0.1, 20, 24)
    warped[..., 3:12, 5:14] = 0.9
    warped[..., 7, 9] = 0.1
    mask = same_brightness(gray(0.1, 20, 24), warped)
    assert mask[..., 3:12, 5:14].sum() == 0
    assert mask.sum() == 480 - 81
    warped = gray(0.1)
    warped[..., 4, 4] = 0.9
    mask = same_brightness(gray(0.1), warped)
    assert mask.sum() == 80
    assert mask[0, 0, 4, 4] == 0


def test_opening_grows_with_the_image() -> None:
    # At 1800x1800 the square is int(0.003 * 1800) = 5 pixels: a trusted patch of 4 is dropped, 5 is not.
    warped = gray(0.1, 1800, 1800)
    warped[..., :300, :300] = 0.9
    warped[..., 10:14, 10:14] = 0.1
    warped[..., 100:105, 100:105] = 0.1
    mask = same_brightness(gray(0.1, 1800, 1800), warped)
    assert mask[..., :50, :50].sum() == 0
    assert mask[..., :300, :300].sum() == 25


def test_doubtful_pixels_are_trusted_where_they_look_alike() -> None:
    """At the edge of a moving thing, and where two flows agree only roughly."""
    edge = torch.zeros(1, 2, 20, 24)
    edge[:, 0, :, 12:] = 0.4
    still, rough, wrong = (constant_flow(x, 0, 20, 24) for x in (0, -1.3, -3))  # 1.3^2 is between 0.5 and 2
    options = replace(NOTHING, check_consistency=True, check_boundaries=True)
    for backward, forward, difference, trusted in (
        (edge, -edge, 10, 1.0),
        (edge, -edge, 14, 0.0),
        (still, rough, 10, 1.0),
        (still, rough, 14, 0.0),
        (still, wrong, 0, 0.0),
        (still, still, 100, 1.0),
    ):
        frame, previous = gray(0.3, 20, 24), gray(0.3, 20, 24)
        previous[PATCH] += difference / 255
        mask = reliability_mask(backward, forward, frame=frame, previous=previous, settings=options)
        assert mask[0, 0, 7, 11].item() == trusted


def lit(name: str, frame: Tensor) -> Tensor:
    """A frame in other light."""
    if name == "pumping":
        return (0.75 * frame + 0.15).clamp(0, 1)
    x = torch.arange(frame.shape[-1]) / frame.shape[-1]
    return frame * (1 - 0.45 * torch.sigmoid((x - 0.6) * 40))  # a shadow falls on the right


@pytest.mark.parametrize("light", ["pumping", "shadow"])
def test_light_is_no_reason_for_distrust_but_what_was_hidden_is(light: str) -> None:
    clip = synthetic_clip(frames=3, height=192, width=256, seed=4, scene=Scene(shapes=3, speed=6.0))
    frames = torch.cat(
        [frame if time != 1 else lit(light, frame) for time, frame in enumerate(clip.frames.split(1))]
    )
    warped = warp(frames[:-1], clip.backward, mode="bilinear")
    mask = same_brightness(frames[1:], warped)
    assert mask[clip.visible > 0].mean() > 0.9
    # As much of what was hidden is found as in steady light.
    steady = same_brightness(clip.frames[1:], warp(clip.frames[:-1], clip.backward, mode="bilinear"))
    assert mask[clip.visible == 0].mean() < steady[clip.visible == 0].mean() + 0.05


@pytest.mark.parametrize("contrast", [0.0, 1.0])
def test_a_thing_of_like_brightness_that_uncovers_another_texture_leaves_no_ghost(contrast: float) -> None:
    """A thing covers a quarter of each side of the frame, and is gone in the next one."""
    one, other = (synthetic_clip(frames=1, height=192, width=256, seed=seed).frames for seed in (5, 6))
    box = (slice(None), slice(None), slice(60, 108), slice(90, 154))
    before = one.clone()
    # Flat and 40 levels brighter, or of another texture with the same mean.
    textured = one[box].mean() + other[box] - other[box].mean()
    before[box] = textured if contrast else one[box].mean() + 40 / 255
    frame = one.clone()
    if not contrast:
        frame[box] = one[box].mean()
    trusted = same_brightness(frame, before)
    wrong = (kornia.color.rgb_to_grayscale(frame - before).abs() > 30 / 255)[box]
    assert wrong.float().mean() > 0.2
    assert trusted[box][wrong].mean() < 0.1
    outside = torch.ones_like(trusted)
    outside[box] = 0
    assert trusted[outside > 0].mean() > 0.99


def test_softening_by_hand() -> None:
    mask = torch.ones(1, 1, 1, 9)
    mask[..., 0] = 0
    # Eroded by 2: 0 0 0 1 1 ...; averaged over 5.
    expected = torch.tensor([0, 1 / 4, 2 / 5, 3 / 5, 4 / 5, 1, 1, 1, 1])
    torch.testing.assert_close(soften_inwards(mask, radius=2).flatten(), expected)


def test_softening_ramps_from_zero_around_a_hole() -> None:
    mask = torch.ones(1, 1, 41, 41)
    mask[..., 20, 20] = 0
    soft = soften_inwards(mask, radius=4)[0, 0, 20, 20:]
    assert soft[0] == 0
    assert (soft.diff() >= 0).all()
    assert soft.diff().max() < 0.3
    assert soft[9:].min() == 1


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 25),
    width=st.integers(1, 25),
    radius=st.integers(0, 9),
    trust=st.floats(0, 1),
    binary=st.booleans(),
    seed=st.integers(0, 99),
)
def test_softening_never_adds_trust(
    height: int, width: int, radius: int, trust: float, binary: bool, seed: int
) -> None:
    mask = torch.rand(2, 1, height, width, generator=torch.Generator().manual_seed(seed))
    if binary:
        mask = (mask < trust).float()
    soft = soften_inwards(mask, radius=radius)
    assert (soft <= mask).all()
    assert (soft >= 0).all()
    assert (soft[mask == 0] == 0).all()


@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 25), width=st.integers(1, 25), radius=st.integers(0, 30))
def test_softening_leaves_full_trust_alone(height: int, width: int, radius: int) -> None:
    mask = torch.ones(1, 1, height, width)
    torch.testing.assert_close(soften_inwards(mask, radius=radius), mask)


def test_the_occlusion_of_a_synthetic_clip_is_found(clip: SyntheticClip) -> None:
    mask = mask_of(clip, ReliabilitySettings(mask_softness=0))
    hidden, distrusted = clip.visible == 0, mask == 0
    assert hidden.sum() > 500
    recall = (hidden & distrusted).sum() / hidden.sum()
    assert recall > 0.98
    # Motion boundaries cost a line of visible pixels on either side of every edge, and no more.
    precision = (hidden & distrusted).sum() / distrusted.sum()
    assert precision > 0.35
    assert mask.mean() > 0.85


def test_without_the_boundary_check_occlusion_is_found_too(clip: SyntheticClip) -> None:
    mask = mask_of(clip, ReliabilitySettings(mask_softness=0, check_boundaries=False))
    hidden, distrusted = clip.visible == 0, mask == 0
    assert (hidden & distrusted).sum() / hidden.sum() > 0.9
    assert (hidden & distrusted).sum() / distrusted.sum() > 0.75


def test_with_exact_flow_the_still_background_stays_trusted() -> None:
    made = synthetic_clip(frames=3, height=40, width=50, scene=Scene(shapes=0, background=(0, 0)))
    assert mask_of(made, ReliabilitySettings()).min() == 1


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_changes_the_mask(clip: SyntheticClip, check: str) -> None:
    alone = mask_of(clip, replace(NOTHING, **{check: True}))
    assert 0 < (alone == 0).sum() < alone.numel() / 2
    together = mask_of(clip, ReliabilitySettings(mask_softness=0))
    assert (together <= alone).all()
    assert (together < alone).any()
    others = mask_of(clip, replace(ReliabilitySettings(mask_softness=0), **{check: False}))
    assert torch.equal(torch.minimum(others, alone), together)


def test_without_checks_everything_is_trusted(clip: SyntheticClip) -> None:
    assert mask_of(clip, NOTHING).min() == 1


def test_the_check_of_leaving_distrusts_the_strip_that_entered() -> None:
    made = synthetic_clip(frames=2, height=20, width=30, scene=Scene(shapes=0, background=(3, -2)))
    assert torch.equal(mask_of(made, replace(NOTHING, check_leaving=True)), made.visible)


def test_threshold_and_softness_are_used(clip: SyntheticClip) -> None:
    brightness = replace(NOTHING, check_brightness=True)
    strict = mask_of(clip, replace(brightness, brightness_threshold=5))
    assert strict.sum() < mask_of(clip, brightness).sum()
    soft = mask_of(clip, ReliabilitySettings(mask_softness=0.02))
    hard = mask_of(clip, ReliabilitySettings(mask_softness=0))
    assert ((soft > 0) & (soft < 1)).any()
    assert (soft <= hard).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (97, 131)])
def test_any_size(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    flow = torch.zeros(2, 2, *size)
    mask = reliability_mask(flow, flow, frame=image, previous=image, settings=ReliabilitySettings())
    assert torch.equal(mask, torch.ones(2, 1, *size))


def test_broken_flow_is_distrusted() -> None:
    flow = torch.full((1, 2, 4, 4), torch.nan)
    image = torch.rand(1, 3, 4, 4)
    for check in ("check_consistency", "check_boundaries", "check_leaving"):
        options = replace(NOTHING, **{check: True})
        assert reliability_mask(flow, flow, frame=image, previous=image, settings=options).max() == 0


def test_forward_flow_is_needed_for_consistency_only() -> None:
    image, flow = torch.rand(1, 3, 4, 4), torch.zeros(1, 2, 4, 4)
    options = ReliabilitySettings()
    with pytest.raises(
        ImageError, match=r"expected a forward flow .* got None; .* switch `check_consistency` off"
    ):
        reliability_mask(flow, None, frame=image, previous=image, settings=options)
    without = replace(options, check_consistency=False)
    assert reliability_mask(flow, None, frame=image, previous=image, settings=without).min() == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frame": torch.rand(1, 1, 4, 4)}, r"frame \(B,3,H,W\) in floating point, got \(1, 1, 4, 4\)"),
        ({"previous": torch.rand(1, 3, 4, 5)}, r"previous frame \(1,3,4,4\) .*, got \(1, 3, 4, 5\)"),
        ({"backward": torch.rand(1, 2, 4, 5)}, r"backward flow of shape \(1, 2, 4, 4\).* got \(1, 2, 4, 5\)"),
        ({"forward": torch.rand(1, 2, 5, 4)}, r"forward flow of shape \(1, 2, 4, 4\).* got \(1, 2, 5, 4\)"),
    ],
)
def test_wrong_shapes_are_refused(changed: dict[str, Tensor], message: str) -> None:
    image, flow = torch.rand(1, 3, 4, 4), torch.zeros(1, 2, 4, 4)
    given_ = {"backward": flow, "forward": flow, "frame": image, "previous": image} | changed
    with pytest.raises(ImageError, match=message):
        reliability_mask(
            given_["backward"],
            given_["forward"],
            frame=given_["frame"],
            previous=given_["previous"],
            settings=ReliabilitySettings(),
        )


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"^expected `brightness_threshold` from 0 to 255, got -1$"):
        same_brightness(gray(0.0), gray(0.0), threshold=-1)
    with pytest.raises(SettingsError, match="radius of at least 0 pixels, got -1"):
        soften_inwards(torch.ones(1, 1, 2, 2), radius=-1)
    with pytest.raises(ImageError, match=r"mask \(B,1,H,W\) in floating point, got \(1, 3, 2, 2\)"):
        soften_inwards(torch.ones(1, 3, 2, 2), radius=1)
    flow = torch.zeros(1, 2, 9, 9)
    with pytest.raises(SettingsError, match=r"^expected `mask_softness` from 0 to 1, got -0\.1$"):
        reliability_mask(
            flow, flow, frame=gray(0.0), previous=gray(0.0), settings=ReliabilitySettings(mask_softness=-0.1)
        )
