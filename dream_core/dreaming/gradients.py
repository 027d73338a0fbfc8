"""Filters that shape the gradient before it changes the image.

All take and return (B,C,H,W) and are pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from ..image import percentile
from ..settings import AscentSettings


def blur(gradient: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, sigma in pixels. One wider than the image leaves its mean."""
    if sigma >= max(gradient.shape[-2:]):
        return gradient.mean((-2, -1), keepdim=True).expand_as(gradient)
    size = 2 * max(1, round(3 * sigma)) + 1
    # Reflection needs a side longer than the padding; narrow images repeat their edge instead.
    border = "reflect" if min(gradient.shape[-2:]) > size // 2 else "replicate"
    # In the layout of gradients, channels last, a convolution of single channels takes fifty times as long.
    blurred: Tensor = gaussian_blur2d(gradient.contiguous(), size, (sigma, sigma), border_type=border)
    return blurred


def equalize_octaves(gradient: Tensor, levels: int, sigma: float) -> Tensor:
    """Give every octave of detail the same strength: the Laplacian-pyramid gradient of Mordvintsev et al.
    (2015).

    The gradient is split into `levels` bands of detail and the rest, each band twice as coarse as the one
    before; each is divided by its root mean square, and all are added up again. The bands keep the full size
    (a stack rather than a pyramid), which needs no resampling.

    Args:
        gradient: (B,C,H,W).
        levels: number of bands, at least 1; none is coarser than the image.
        sigma: of the blur that splits off the first band, in pixels.
    """
    total = torch.zeros_like(gradient)
    # What rounding leaves of an empty band is not to be amplified.
    floor = (1e-5 * _strength(gradient)).clamp_min(1e-30)
    coarsest = max(0, math.ceil(math.log2(max(gradient.shape[-2:]) / sigma)))
    for level in range(min(levels, coarsest + 1)):
        low = blur(gradient, sigma * 2**level)
        total += _unit(gradient - low, floor)
        gradient = low
    return total + _unit(gradient, floor)


def _strength(band: Tensor) -> Tensor:
    return band.square().mean().sqrt()


def _unit(band: Tensor, floor: Tensor) -> Tensor:
    return band / torch.maximum(_strength(band), floor)


def drop_low_frequencies(gradient: Tensor, block: int) -> Tensor:
    """Take out every frequency of at most `block` cycles per image, across and down: no change of large
    areas."""
    spectrum = torch.fft.rfft2(gradient)
    rows = torch.fft.fftfreq(gradient.shape[-2], device=gradient.device).mul(gradient.shape[-2]).abs()
    columns = torch.arange(spectrum.shape[-1], device=gradient.device)
    low = (rows.round() <= block)[:, None] & (columns <= block)[None, :]
    filtered: Tensor = torch.fft.irfft2(spectrum.masked_fill(low, 0), s=gradient.shape[-2:])
    return filtered


# How strong one pixel's gradient is, (B,C,H,W) -> (B,1,H,W).
PIXEL_STRENGTH: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda gradient: gradient.norm(dim=1, keepdim=True),
    "abs": lambda gradient: gradient.abs().sum(dim=1, keepdim=True),
    "mean": lambda gradient: gradient.mean(dim=1, keepdim=True).abs(),
}


def drop_weakest(gradient: Tensor, percent: float, measure: str) -> Tensor:
    """Set the weakest `percent` of the pixels to 0, by a measure named in PIXEL_STRENGTH; the strongest stays."""
    strength = PIXEL_STRENGTH[measure](gradient)
    return gradient * (strength >= percentile(strength, percent))


def shape_gradient(gradient: Tensor, settings: AscentSettings) -> Tensor:
    """Apply the filters that the settings switch on: blur, octaves, frequencies, then the percent filters."""
    if settings.gradient_blur > 0:
        gradient = blur(gradient, settings.gradient_blur)
    if settings.laplacian_levels > 0:
        gradient = equalize_octaves(gradient, settings.laplacian_levels, settings.laplacian_sigma)
    if settings.fft_block > 0:
        gradient = drop_low_frequencies(gradient, settings.fft_block)
    percents = {"norm": settings.norm_percent, "abs": settings.abs_percent, "mean": settings.mean_percent}
    for measure, percent in percents.items():
        if percent > 0:
            gradient = drop_weakest(gradient, percent, measure)
    return gradient
