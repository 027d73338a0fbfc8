"""What happens to an image around its dream: size, zoom, colors, contrast."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kornia.color import rgb_to_ycbcr, ycbcr_to_rgb
from torch import Tensor

from .dreaming.gradients import percentile
from .errors import ImageError, SettingsError
from .motion.warp import sample
from .settings import ImageSettings, ZoomMode

Size = tuple[int, int]
"""Height and width in pixels."""


TOO_BRIGHT = 16.0
"""Values a little above 1 are overshoot of some resampling; from here on they must be levels of 255."""


def size_of(image: Tensor) -> Size:
    """Height and width of (..., H, W)."""
    return image.shape[-2], image.shape[-1]


def require_image(image: Tensor) -> None:
    """Raise a ImageError unless this is an image (1,3,H,W), floating-point, finite and not empty."""
    if image.dim() != 4 or image.shape[:2] != (1, 3) or 0 in image.shape:
        raise ImageError(f"expected an image (1, 3, height, width), got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise ImageError(f"expected a floating-point image in 0..1, got {image.dtype}; divide it by 255")
    if not torch.isfinite(image).all():
        raise ImageError("expected a finite image in 0..1, got NaN or infinite values; check its source")
    if image.max() > TOO_BRIGHT:
        raise ImageError(f"expected an image in 0..1, got values up to {image.max():g}; divide it by 255")


def resize(image: Tensor, size: Size) -> Tensor:
    """Bicubic, anti-aliased when shrinking; (B,C,H,W) -> (B,C,*size). The same size is returned as it is."""
    if size_of(image) == size:
        return image
    return F.interpolate(image, size, mode="bicubic", align_corners=False, antialias=True)


def zoom(image: Tensor, amount: float, mode: ZoomMode) -> Tensor:
    """Enlarge the middle of an image to its full size, or shrink it and fill up with its reflection.

    Args:
        image: (B,C,H,W).
        amount: what is cropped away from the height and from the width, both edges together; negative
            moves out.
        mode: the unit of `amount`: percent of the side, or pixels.

    Raises:
        SettingsError: nothing would be left.
    """
    if amount == 0:
        return image
    kept = kept_by_zoom(size_of(image), amount, mode)
    matrix = torch.tensor([[kept[0], 0, 0], [0, kept[1], 0]], dtype=image.dtype, device=image.device)
    grid = F.affine_grid(matrix.expand(len(image), 2, 3), list(image.shape), align_corners=False)
    return sample(image, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def kept_by_zoom(size: Size, amount: float, mode: ZoomMode) -> tuple[float, float]:
    """The fractions of width and height that a zoom leaves of an image.

    Raises:
        SettingsError: nothing would be left.
    """
    height, width = size
    across, down = (100, 100) if mode == "percent" else (width, height)
    if not amount < min(across, down):
        raise SettingsError(
            f"expected `zoom` below {min(across, down)} {mode} for an image of {height}x{width} pixels, "
            f"got {amount:g}"
        )
    return 1 - amount / across, 1 - amount / down


def noise(size: Size, generator: torch.Generator) -> Tensor:
    """Mid-gray with Gaussian noise of standard deviation 0.1, (1,3,H,W), to begin a dream from nothing."""
    return (0.5 + 0.1 * torch.randn(1, 3, *size, generator=generator)).clamp(0, 1)


def keep_colors(dreamed: Tensor, frame: Tensor) -> Tensor:
    """The brightness of one image with the colors (chroma, BT.601) of another, both (B,3,H,W)."""
    chroma = rgb_to_ycbcr(frame)[:, 1:]
    merged: Tensor = ycbcr_to_rgb(torch.cat([rgb_to_ycbcr(dreamed)[:, :1], chroma], 1))
    return merged


def stretch_contrast(image: Tensor, percent: float) -> Tensor:
    """Scale an image so that this percentile of its values becomes 1."""
    return image / percentile(image, percent).clamp_min(1e-6)


def shift_brightness(dreamed: Tensor, image: Tensor) -> Tensor:
    """Shift the values of a dream (B,3,H,W) so that their mean is the image's."""
    # In one order, however the images lie in memory: sums depend on it.
    return dreamed + (image - dreamed).contiguous().mean((1, 2, 3), keepdim=True)


def finish(dreamed: Tensor, colors: Tensor, settings: ImageSettings) -> Tensor:
    """Contrast and colors as the settings say, then the range 0..1.

    Args:
        dreamed: (B,3,H,W).
        colors: (B,3,H,W), whose colors are kept where the settings say so.
        settings: such as `validate` passes.
    """
    if settings.contrast > 0:
        dreamed = stretch_contrast(dreamed, settings.contrast)
    if settings.original_colors:
        dreamed = keep_colors(dreamed, colors)
    return dreamed.clamp(0, 1)
