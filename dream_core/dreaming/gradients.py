"""Filters that shape the gradient before it changes the image.

Each takes a gradient (B,C,H,W) and returns a new one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..device import kept_on_device
from ..image import Size, percentile, size_of
from ..settings import AscentSettings


def blur(gradient: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian, sigma in pixels. A sigma of at least the longer side gives the mean."""
    if sigma >= max(size_of(gradient)):
        return gradient.mean((-2, -1), keepdim=True).expand_as(gradient)
    reach = max(1, round(3 * sigma))
    weights = [math.exp(-(shift / sigma) * (shift / sigma) / 2) for shift in range(-reach, reach + 1)]
    # Reflection needs a side longer than the padding; narrow images repeat their edge instead.
    border = "reflect" if min(size_of(gradient)) > reach else "replicate"
    blurred = F.pad(gradient.contiguous(), (reach,) * 4, mode=border)
    for dim in (-1, -2):
        blurred = _weigh(blurred, [weight / sum(weights) for weight in weights], dim)
    return blurred


def _weigh(image: Tensor, weights: Sequence[float], dim: int) -> Tensor:
    """Add up neighbors along a dimension, which gets shorter by all weights but one.

    Not a convolution: for three channels it is slower on the CPU, and its kernel would be copied to a GPU.
    """
    length = image.shape[dim] - len(weights) + 1
    total = image.narrow(dim, 0, length) * weights[0]
    for start, weight in enumerate(weights[1:], 1):
        total.add_(image.narrow(dim, start, length), alpha=weight)
    return total


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


# Square root of the covariance of photographs' colors, rows R, G, B (Olah et al. 2017, "Feature Visualization").
COLOR_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))


@kept_on_device
def _color_mix(share: float, device: torch.device) -> Tensor:
    root = torch.tensor(COLOR_ROOT)
    covariance = root @ root.T
    covariance /= covariance.diagonal().mean()
    return torch.lerp(torch.eye(3), covariance, share).to(device)[:, :, None, None]


def mix_colors(gradient: Tensor, share: float) -> Tensor:
    """Correlate the colors of a gradient as in photographs: ascent in decorrelated colors (Olah et al. 2017).

    Args:
        gradient: (B,3,H,W).
        share: 0 leaves the colors as they are, 1 correlates them fully.
    """
    return F.conv2d(gradient, _color_mix(share, gradient.device))


MARGIN = 1 / 8
"""Width of the mirrored margin of a gradient, as a fraction of its side: Fourier transforms wrap around edges."""


def fast_length(least: int) -> int:
    """Return the shortest even length of at least `least` whose Fourier transform is fast: 2^a 3^b 5^c."""
    length = least + least % 2
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 2


@kept_on_device
def _spectrum_weights(size: Size, exponent: float, device: torch.device) -> Tensor:
    # On the device: parts of an image have new sizes all the time, and copies make the program wait for a GPU.
    rows, columns = (
        torch.fft.fftfreq(size[0], device=device),
        torch.fft.rfftfreq(size[1], device=device),
    )
    frequency = (rows[:, None].square() + columns.square()).sqrt()
    frequency[0, 0] = 1
    weights: Tensor = frequency**-exponent
    weights[0, 0] = 0
    return weights


def weigh_frequencies(gradient: Tensor, exponent: float) -> Tensor:
    """Weigh the frequencies f of a gradient by f^-exponent, with f in cycles per pixel.

    Ascent in the Fourier basis (Olah et al. 2017). The amplitudes of photographs fall about as f^-1.

    Args:
        gradient: (B,C,H,W); its mirror image continues it beyond its edges.
        exponent: at least 0; 0 changes nothing but the mean.

    Returns:
        (B,C,H,W), with a mean of 0 in each channel, so that no step changes an image's mean color.
    """
    size = size_of(gradient)
    padded = [fast_length(side + 2 * int(side * MARGIN)) for side in size]
    before = [(whole - side) // 2 for whole, side in zip(padded, size, strict=True)]
    after = [whole - side - one for whole, side, one in zip(padded, size, before, strict=True)]
    mode = "reflect" if all(a < side for a, side in zip(after, size, strict=True)) else "replicate"
    wide = F.pad(gradient, (before[1], after[1], before[0], after[0]), mode=mode)
    spectrum = torch.fft.rfft2(wide) * _spectrum_weights((padded[0], padded[1]), exponent, gradient.device)
    weighed = torch.fft.irfft2(spectrum, s=padded)
    inner = weighed[..., before[0] : before[0] + size[0], before[1] : before[1] + size[1]]
    varied: Tensor = inner - inner.mean((-2, -1), keepdim=True)
    # Of a flat gradient only rounding errors are left, which must not be amplified.
    return varied * (_strength(varied) > 1e-5 * _strength(gradient))


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
    """Apply the filters that the settings switch on, in this order.

    Blur, Laplacian bands, frequencies, weakest pixels; for the clean optimizer natural colors and spectrum.
    """
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
    if settings.optimizer == "clean" and settings.natural_colors > 0:
        gradient = mix_colors(gradient, settings.natural_colors)
    if settings.optimizer == "clean" and settings.spectrum > 0:
        gradient = weigh_frequencies(gradient, settings.spectrum)
    return gradient
