"""Changes of light between two frames: exposure that pumps, lamps, shadows. They are not motion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..image import antialias, box_max, box_mean, scaled_size, size_of

SIDE = 32
"""Longest side in pixels at which changes of light are measured: light changes smoothly."""

WINDOW = 7
"""Side in pixels of the square, at that size, in which half of all pixels decide how the light changed there."""

FITS = 4
"""Number of least-squares fits of gain and offset; each trusts outliers less."""

DETAIL_SIDE = 128
"""Longest side in pixels at which the textures of both images are compared."""

DETAIL_WINDOW = 15
"""Side in pixels of the square, at that size, over which textures are compared."""

OUTLIER = 8 / 255
"""Difference from which pixels hardly count in a fit."""

EXPOSURE = 8 / 255
"""Change of the mean color that is taken for a change of exposure."""


def match_light(image: Tensor, like: Tensor) -> Tensor:
    """Give an image the light of another image of the same scene.

    One gain and offset, by a robust fit, for the exposure; then, for lamps and shadows, an offset that varies over
    the image: the median of what is left over in a window of a fifth of its side. The latter only where both images
    have the same texture: without that, it could as well be another thing.

    Args:
        image: (B,1,H,W), gray in 0..1, warped onto the other one.
        like: (B,1,H,W), gray in 0..1.

    Returns:
        (B,1,H,W), not clamped.
    """
    small, wanted = _shrink(image, SIDE), _shrink(like, SIDE)
    gain, offset = _fit_gain(small, wanted)
    left = F.pad(wanted - gain * small - offset, (WINDOW // 2,) * 4, mode="replicate")
    local = F.unfold(left, WINDOW).median(dim=1).values.view_as(small)
    local, same = (
        F.interpolate(x, size_of(image), mode="bilinear", align_corners=False)
        for x in (local, _same_texture(_shrink(image, DETAIL_SIDE), _shrink(like, DETAIL_SIDE)))
    )
    return gain * image + offset + same * local


def match_exposure(image: Tensor, like: Tensor) -> Tensor:
    """Shift the colors of an image so that the mean of each is another image's, if they differ much.

    Args:
        image, like: (B,3,H,W) in 0..1.

    Returns:
        (B,3,H,W) in 0..1; the image bit for bit if no mean differs by more than `EXPOSURE`.
    """
    shift = (like - image).mean((2, 3), keepdim=True)
    differs = (shift.abs() > EXPOSURE).any(dim=1, keepdim=True)
    return torch.where(differs, (image + shift).clamp(0, 1), image)


def _fit_gain(image: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Fit ``wanted = gain * image + offset``, each (B,1,1,1), by iteratively reweighted least squares."""
    offset = (wanted - image).flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    gain = torch.ones_like(offset)
    for _ in range(FITS):
        error = (wanted - gain * image - offset) / OUTLIER
        weight = (1 + error.square()).pow(-2)  # of Geman and McClure
        weight = weight / weight.sum((2, 3), keepdim=True)
        mean, goal = ((weight * x).sum((2, 3), keepdim=True) for x in (image, wanted))
        spread = (weight * (image - mean).square()).sum((2, 3), keepdim=True) + OUTLIER**2
        both = (weight * (image - mean) * (wanted - goal)).sum((2, 3), keepdim=True) + OUTLIER**2
        gain = (both / spread).clamp(0.5, 2)
        offset = goal - gain * mean
    return gain, offset


def _same_texture(image: Tensor, like: Tensor) -> Tensor:
    """Compare the details of two images by their correlation in a window: (B,1,H,W), 1 = alike, 0 = not or none."""
    one, other = (x - box_mean(x, 5) for x in (image, like))
    products = torch.cat([one * other, one.square(), other.square()], 1)
    both, energy, other_energy = box_mean(products, DETAIL_WINDOW).split(1, 1)
    # Details of less than two levels could be noise.
    noise = (2 / 255) ** 2
    correlation = both / ((energy + noise) * (other_energy + noise)).sqrt()
    # All around, because the outlines of two things in one place are alike too.
    return -box_max(-((correlation - 0.5) / 0.3).clamp(0, 1), DETAIL_WINDOW // 2)


def _shrink(image: Tensor, side: int) -> Tensor:
    size = scaled_size(size_of(image), min(1.0, side / max(size_of(image))))
    return image if size == size_of(image) else antialias(image, size, mode="bilinear")
