"""Filters that shape the gradient before it changes the image.

Each takes a gradient (B,C,H,W) and returns a new one.
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
    """Blur by a Gaussian, sigma in pixels. A sigma of at least the longer side gives the mean."""
    if sigma >= max(gradient.shape[-2:]):
        return gradient.mean((-2, -1), keepdim=True).expand_as(gradient)
    size = 2 * max(1, round(3 * sigma)) + 1
    # Reflection needs a side longer than the padding; narrow images repeat their edge instead.
    border = "reflect" if min(gradient.shape[-2:]) > size // 2 else "replicate"
    # Gradients are channels_last, in which a depthwise convolution takes fifty times as long.
    blurred: Tensor = gaussian_blur2d(gradient.contiguous(), size, (sigma, sigma), border_type=border)
    return blurred


def equalize_octaves(gradient: Tensor, levels: int, sigma: float) -> Tensor:
    """Give every band of detail the same strength: Laplacian-pyramid normalization (Mordvintsev et al. 2015).

    The gradient is split into `levels` bands, each twice as coarse as the one before, and a remainder. Each is
    divided by its root mean square over the whole tensor, and all are added up. The bands keep the full size (a
    stack rather than a pyramid), so nothing is resampled.

    Args:
        gradient: (B,C,H,W).
        levels: number of bands, at least 1; bands coarser than the image are left out.
        sigma: width in pixels of the blur that separates the first band.
    """
    total = torch.zeros_like(gradient)
    # An empty band holds rounding errors, which must not be amplified.
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
    """Remove every frequency of at most `block` cycles per image both across and down."""
    spectrum = torch.fft.rfft2(gradient)
    rows = torch.fft.fftfreq(gradient.shape[-2], device=gradient.device).mul(gradient.shape[-2]).abs()
    columns = torch.arange(spectrum.shape[-1], device=gradient.device)
    low = (rows.round() <= block)[:, None] & (columns <= block)[None, :]
    filtered: Tensor = torch.fft.irfft2(spectrum.masked_fill(low, 0), s=gradient.shape[-2:])
    return filtered


PIXEL_STRENGTH: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda gradient: gradient.norm(dim=1, keepdim=True),
    "abs": lambda gradient: gradient.abs().sum(dim=1, keepdim=True),
    "mean": lambda gradient: gradient.mean(dim=1, keepdim=True).abs(),
}
"""Measures of the strength of each pixel's gradient, (B,C,H,W) -> (B,1,H,W)."""


def drop_weakest(gradient: Tensor, percent: float, measure: str) -> Tensor:
    """Set the weakest `percent` of the pixels to 0; `measure` is a key of PIXEL_STRENGTH. The strongest stays."""
    strength = PIXEL_STRENGTH[measure](gradient)
    return gradient * (strength >= percentile(strength, percent))


def shape_gradient(gradient: Tensor, settings: AscentSettings) -> Tensor:
    """Apply the filters that the settings switch on: blur, Laplacian bands, frequencies, weakest pixels."""
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
