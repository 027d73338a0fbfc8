"""Flow as an image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.utils import flow_to_image

from dream_core.errors import ImageError, SettingsError
from dream_core.motion.flow_image import draw_arrows, flow_image

BYTE = 1 / 255


def constant_flow(x: float, y: float, height: int = 8, width: int = 10) -> Tensor:
    return torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).repeat(1, 1, height, width)


def test_the_colors_are_torchvisions() -> None:
    flow = torch.randn(1, 2, 9, 11) * 5
    expected = flow_to_image(flow).float() / 255
    torch.testing.assert_close(flow_image(flow), expected, rtol=0, atol=1.5 * BYTE)


def test_no_motion_is_white_and_direction_is_hue() -> None:
    assert torch.equal(flow_image(constant_flow(0, 0)), torch.ones(1, 3, 8, 10))
    red, green, blue = flow_image(constant_flow(3, 0))[0, :, 0, 0]
    assert red > 0.9
    assert max(green, blue) < 0.1


def test_each_image_has_its_own_scale() -> None:
    flow = torch.randn(1, 2, 6, 7)
    images = flow_image(torch.cat([flow, flow * 100]))
    torch.testing.assert_close(images[0], images[1], rtol=0, atol=1.5 * BYTE)


def test_a_fixed_scale_saturates_at_its_length_and_fades_below() -> None:
    flow = torch.cat([constant_flow(0, length) for length in (2, 4, 8, 80)])
    half, full, longer, longest = flow_image(flow, saturation_length=4)[..., 0, 0]
    torch.testing.assert_close(1 - half, (1 - full) / 2, rtol=0, atol=1.5 * BYTE)
    assert full.min() < 0.05
    assert torch.equal(full, longer)
    assert torch.equal(full, longest)


def test_an_arrow_points_in_the_direction_of_the_flow() -> None:
    gray = torch.full((2, 3, 32, 32), 0.5)
    flow = torch.cat([constant_flow(10, 0, 32, 32), constant_flow(0, -12, 32, 32)])
    drawn = draw_arrows(gray, flow, spacing=32, saturation_length=32)
    white = (drawn > 0.8).all(dim=1)
    assert white[0, 16, 16:27].all()  # from the middle to the right
    assert not white[0, 16, :15].any()
    assert not white[0, 16, 28:].any()
    assert white[1, 4:17, 16].all()  # and upwards
    assert not white[1, 18:, 16].any()
    assert not white[1, :3, 16].any()
    assert (drawn < 0.1).all(dim=1).any()  # the rim
    assert torch.equal(gray, torch.full_like(gray, 0.5))


def test_the_longest_arrow_is_as_long_as_the_spacing() -> None:
    flow = constant_flow(0.01, 0, 64, 48)
    flow[:, 0, 32:] = 0.005
    black = torch.zeros(1, 3, 64, 48)
    long, short = (draw_arrows(black, flow, spacing=32)[0] > 0.8).all(dim=0)[[16, 48]]
    assert long[16:].all()
    assert short[16:32].all()
    assert not short[33:].any()
    long, short = (draw_arrows(black, flow * 1e6, spacing=32, saturation_length=5) > 0.8)[0, 0, [16, 48]]
    assert long[16:].all()
    assert short[16:].all()


def test_arrows_stand_on_a_grid() -> None:
    drawn = draw_arrows(torch.zeros(1, 3, 20, 30), constant_flow(0, 0, 20, 30), spacing=10)
    dots = (drawn[0] > 0.9).all(dim=0).nonzero().tolist()
    assert dots == [[y, x] for y in (5, 15) for x in (5, 15, 25)]


@pytest.mark.parametrize("size", [(1, 1), (3, 50)])
def test_small_images_and_long_vectors_are_drawn_too(size: tuple[int, int]) -> None:
    drawn = draw_arrows(torch.zeros(1, 3, *size), constant_flow(1e30, -1e30, *size), spacing=40)
    assert drawn.shape == (1, 3, *size)
    assert drawn.max() > 0.9


def test_wrong_arguments_are_refused() -> None:
    flow = constant_flow(1, 2)
    with pytest.raises(ImageError, match="expected a finite flow, got NaN"):
        flow_image(flow * torch.nan)
    with pytest.raises(ImageError, match=r"at least one pixel, got \(0, 2, 8, 10\)"):
        flow_image(flow[:0])
    with pytest.raises(SettingsError, match="`saturation_length` from 0 to 10000, got -1"):
        flow_image(flow, saturation_length=-1)
    with pytest.raises(SettingsError, match="`arrow_spacing` of at least 1, got 0"):
        draw_arrows(torch.zeros(1, 3, 8, 10), flow, spacing=0)
    with pytest.raises(ImageError, match="expected flow of shape"):
        draw_arrows(torch.zeros(1, 3, 8, 9), flow, spacing=4)
    with pytest.raises(ImageError, match=r"images \(B,3,H,W\) in floating point, got \(1, 1, 8, 10\)"):
        draw_arrows(torch.zeros(1, 1, 8, 10), flow, spacing=4)
