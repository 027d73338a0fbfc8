"""IMAGE and MASK to the core's images, and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor


@pytest.fixture
def images(pack: Any) -> Any:
    return pack("nodes.adapters.images")


def test_there_and_back_nothing_changes(images: Any) -> None:
    image = torch.rand(2, 4, 5, 3)
    core = images.from_image(image)
    assert core.shape == (2, 3, 4, 5)
    assert torch.equal(images.to_image(core), image)
    assert images.to_image(core).is_contiguous()
    assert images.alpha_of(image) is None


def test_alpha_is_left_out_and_put_back(images: Any) -> None:
    image = torch.rand(2, 4, 5, 4)
    core, alpha = images.from_image(image), images.alpha_of(image)
    assert core.shape == (2, 3, 4, 5)
    assert torch.equal(images.to_image(core, alpha=alpha), image)


def test_gray_is_repeated(images: Any) -> None:
    gray = torch.rand(2, 4, 5, 1)
    assert torch.equal(images.from_image(gray), gray.movedim(-1, 1).expand(-1, 3, -1, -1))


def test_a_mask_there_and_back(images: Any) -> None:
    mask = torch.rand(2, 4, 5)
    assert images.from_mask(mask).shape == (2, 1, 4, 5)
    assert torch.equal(images.to_mask(images.from_mask(mask)), mask)
    assert images.from_mask(mask[0]).shape == (1, 1, 4, 5)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("text", "expected frames as IMAGE .*, got str"),
        (torch.rand(4, 5, 3), r"expected frames as IMAGE .*, got \(4, 5, 3\)"),
        (torch.rand(1, 4, 5, 2), r"1, 3 or 4 channels\), got \(1, 4, 5, 2\)"),
        (torch.rand(0, 4, 5, 3), r"frames is empty, \(0, 4, 5, 3\)"),
        (torch.full((1, 4, 5, 3), torch.nan), "expected finite frames in 0..1, got NaN or infinite values"),
        (
            torch.full((1, 4, 5, 3), 255, dtype=torch.uint8),
            "expected frames in 0..1, got values up to 255; divide it",
        ),
    ],
)
def test_what_is_not_an_image_is_named(images: Any, errors: Any, image: Any, message: str) -> None:
    with pytest.raises(errors.ImageError, match=message):
        images.from_image(image, name="frames")


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.rand(1, 4, 5, 1), r"expected mask as MASK .*, got \(1, 4, 5, 1\)"),
        (torch.rand(0, 4, 5), "mask is empty"),
        (torch.full((1, 4, 5), torch.inf), "expected finite mask in 0..1, got NaN or infinite values"),
        (torch.full((1, 4, 5), 200.0), "expected mask in 0..1, got values up to 200; divide it"),
    ],
)
def test_what_is_not_a_mask_is_named(images: Any, errors: Any, mask: Tensor, message: str) -> None:
    with pytest.raises(errors.ImageError, match=message):
        images.from_mask(mask)
