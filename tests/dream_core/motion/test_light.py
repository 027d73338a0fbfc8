"""Changes of light."""

from __future__ import annotations

import pytest
import torch

from dream_core.motion.light import match_exposure, match_light
from dream_core.synthetic import synthetic_clip


def scene(seed: int = 1) -> torch.Tensor:
    """(1,1,120,160), gray."""
    return synthetic_clip(frames=1, height=120, width=160, seed=seed).frames.mean(1, keepdim=True)


@pytest.mark.parametrize(("gain", "offset"), [(1, 0), (1, 0.3), (1, -0.2), (0.6, 0), (1.6, -0.1)])
def test_gain_and_offset_are_matched(gain: float, offset: float) -> None:
    image = scene()
    torch.testing.assert_close(
        match_light(image, gain * image + offset), gain * image + offset, atol=0.01, rtol=0
    )


def test_a_shadow_is_matched_where_there_is_texture() -> None:
    image = scene()
    shade = 1 - 0.4 * torch.sigmoid((torch.arange(160) - 90) / 6)
    before = (image - image * shade).abs()
    after = (match_light(image, image * shade) - image * shade).abs()
    assert before[..., 110:].mean() > 0.15
    assert after[..., 110:].mean() < 0.1
    assert after[..., :70].mean() < 0.02


def test_a_thing_that_comes_into_view_does_not_change_the_light() -> None:
    image = scene()
    other = image.clone()
    other[..., 20:100, 30:90] = 0.95  # a quarter of the frame, flat
    changed = (match_light(image, other) - image).abs() > 0.02
    assert changed.float().mean() < 0.02


def test_a_flat_field_is_matched_by_its_offset() -> None:
    flat = torch.full((2, 1, 5, 7), 0.4)
    torch.testing.assert_close(match_light(flat, flat + 0.3), flat + 0.3)


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (700, 20)])
def test_any_size(size: tuple[int, int]) -> None:
    image, like = torch.rand(2, 1, 1, *size)
    assert torch.isfinite(match_light(image, like)).all()


def test_exposure_is_matched_color_by_color_only_where_it_differs() -> None:
    image = 0.3 + 0.3 * torch.rand(2, 3, 20, 30)
    like = image.clone()
    like[0] += torch.tensor([0.1, 0.0, -0.05]).view(3, 1, 1)
    like[1] += 0.02  # five levels
    matched = match_exposure(image, like)
    torch.testing.assert_close(matched[0], like[0])
    assert torch.equal(matched[1], image[1])
    assert match_exposure(image, image + 0.6).max() <= 1
