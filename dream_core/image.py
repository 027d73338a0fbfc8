"""Images: checks, size, sampling, zoom, colors and contrast."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from kornia.color import rgb_to_grayscale, rgb_to_ycbcr, ycbcr_to_rgb
from torch import Tensor

from .errors import ImageError, SettingsError
from .settings import ImageSettings, WarpMode, ZoomMode

SampleMode: TypeAlias = Literal["nearest", "bilinear", "bicubic"]

Size = tuple[int, int]
"""Height and width in pixels."""

TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])
"""Version of PyTorch: (major, minor)."""

TOO_BRIGHT = 16.0
"""Values up to here may be overshoot of a resampling; larger ones must be levels of 255."""


ALIKE = 0.02
"""Difference of proportions, relative, that counts as rounding."""


def describe(tensor: Tensor) -> str:
    """Shape and type of a tensor, for error messages."""
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def size_of(image: Tensor) -> Size:
    """Height and width of (..., H, W)."""
    return image.shape[-2], image.shape[-1]


def vector_like(tensor: Tensor, values: Sequence[float]) -> Tensor:
    """Make a tensor (n,) of a few numbers in another tensor's type, on its device.

    They are filled in there: a copy from the host would make the program wait for a GPU.
    """
    return torch.stack([tensor.new_full((), value) for value in values])


def to_gray(image: Tensor) -> Tensor:
    """Convert RGB (B,3,H,W) to gray (B,1,H,W), with the weights of ITU-R BT.601."""
    # The weights are given, because kornia before 0.9 copies its own to a GPU for every image.
    found: Tensor = rgb_to_grayscale(image, vector_like(image, (0.299, 0.587, 0.114)))
    return found


def scaled_size(size: Size, factor: float) -> Size:
    """Scale both sides by a factor, rounded to whole pixels, each at least 1."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def require_image(
    image: Tensor,
    *,
    name: str = "image",
    batch: int | None = None,
    channels: int | None = 3,
    like: Tensor | None = None,
    values: bool | None = None,
) -> None:
    """Raise an ImageError unless a tensor is an image (B,C,H,W): floating-point, finite and not empty.

    Args:
        image: the tensor to check.
        name: its name in the message.
        batch: the number B of images; None for any.
        channels: the number C of channels; None for any.
        like: images (B,?,H,W) whose number, height and width are expected.
        values: also check that the values are finite and no levels of 255; by default only on the CPU, because it
            would make the program wait for a GPU.
    """
    shape = (batch, channels, None, None) if like is None else (len(like), channels, *size_of(like))
    if not image.is_floating_point() or not _fits(image, shape):
        expected = ",".join(
            letter if side is None else str(side) for letter, side in zip("BCHW", shape, strict=True)
        )
        raise ImageError(
            f"expected {name} ({expected}) in floating point, got {describe(image)}{_advice(image, like)}"
        )
    if values or (values is None and image.device.type == "cpu"):
        require_values(image, name)


def _fits(image: Tensor, shape: tuple[int | None, ...]) -> bool:
    if image.ndim != 4 or 0 in image.shape:
        return False
    return all(wanted in (None, side) for wanted, side in zip(shape, image.shape, strict=True))


def _advice(image: Tensor, like: Tensor | None) -> str:
    if not image.is_floating_point():
        return "; convert it to floating point in 0..1"
    if like is not None and image.ndim == 4 and size_of(image) != size_of(like):
        return "; resize it"
    return ""


def require_values(image: Tensor, name: str) -> None:
    """Raise an ImageError if a tensor holds NaN, infinite values or levels of 255. A GPU is waited for."""
    lowest, highest = torch.stack(image.aminmax()).tolist()  # NaN if any value is
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ImageError(f"expected finite {name} in 0..1, got NaN or infinite values; check its source")
    if highest > TOO_BRIGHT:
        raise ImageError(f"expected {name} in 0..1, got values up to {highest:g}; divide it by 255")


def require_shares(mask: Tensor, *, name: str = "mask") -> None:
    """Raise an ImageError unless all values lie in 0..1. Reading them makes the program wait for a GPU."""
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ImageError(f"expected {name} values between 0 and 1, got values outside or NaN; clamp the mask")


def require_mask(mask: Tensor, *, like: Tensor, name: str = "mask", values: bool | None = None) -> None:
    """Raise an ImageError unless a tensor is a mask (B,1,H,W) of images; on the CPU its values must lie in 0..1.

    Args:
        mask: the tensor to check.
        like, name, values: see `require_image`.
    """
    require_image(mask, name=name, channels=1, like=like, values=values)
    if mask.device.type == "cpu":
        require_shares(mask, name=name)


def luma(image: Tensor) -> Tensor:
    """Compute the luma of images by ITU-R BT.709: (B,3,H,W) to (B,1,H,W), both in 0..1."""
    red, green, blue = image.clamp(0, 1).split(1, 1)
    weighted: Tensor = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return weighted.clamp(0, 1)


def fit_mask(mask: Tensor, size: Size, *, name: str = "mask") -> Tensor:
    """Scale a mask to the size of an image.

    Args:
        mask: (B,1,h,w) in 0..1.
        size: height and width of the image.
        name: of the mask, for the message.

    Returns:
        (B,1,*size) in 0..1.

    Raises:
        ImageError: it has other proportions, or is no mask.
    """
    require_image(mask, name=name, channels=1)
    require_shares(mask, name=name)
    own = size_of(mask)
    if own == size:
        return mask
    if not alike(own, size):
        raise ImageError(
            f"expected {name} in the proportions of the image, {size[1]}x{size[0]} pixels, got {own[1]}x{own[0]}; "
            "crop or resize it"
        )
    return antialias(mask, size, mode="bilinear").clamp(0, 1)


def alike(size: Size, other: Size) -> bool:
    """Return whether two sizes have the same proportions, up to rounding."""
    across, down = size[1] * other[0], size[0] * other[1]
    return abs(across - down) <= ALIKE * max(across, down)


def percentile(values: Tensor, percent: float) -> Tensor:
    """Value below which `percent` of all values lie (nearest rank), a 0-dimensional tensor."""
    rank = 1 + round(percent / 100 * (values.numel() - 1))
    if values.device.type == "cpu":
        return values.flatten().kthvalue(rank).values
    # On a GPU kthvalue is slow, where it exists at all.
    return values.flatten().sort().values[rank - 1]


def where_possible(tensor: Tensor, *, since: tuple[int, int]) -> Tensor:
    """Return a tensor on a device that has an operation: on the CPU instead of one of Apple's GPUs that lack it.

    Args:
        tensor: of any shape.
        since: version of PyTorch that has the operation on Apple's GPUs.
    """
    return tensor.cpu() if tensor.device.type == "mps" and since > TORCH else tensor


def resize(image: Tensor, size: Size) -> Tensor:
    """Resize (B,C,H,W) to (B,C,*size), bicubic, anti-aliased when shrinking; the same size is returned as it is."""
    if size_of(image) == size:
        return image
    return antialias(image, size, mode="bicubic")


def antialias(image: Tensor, size: Size, *, mode: WarpMode) -> Tensor:
    """Resize (B,C,H,W) to (B,C,*size), anti-aliased when shrinking."""
    source = where_possible(image, since=(2, 8) if mode == "bicubic" else (2, 7))
    resized = F.interpolate(source, size, mode=mode, align_corners=False, antialias=True)
    return resized.to(image.device)


def box_mean(image: Tensor, side: int) -> Tensor:
    """Average (B,C,H,W) over a square around each pixel, as far as the square lies inside the image.

    Args:
        image: floating point.
        side: of the square in pixels, odd.
    """
    for dim in (-1, -2):
        ones = image.new_ones(image.shape[dim]).view(-1, 1) if dim == -2 else image.new_ones(image.shape[dim])
        image = _slide(image, side, dim, torch.add, 0.0) / _slide(ones, side, dim, torch.add, 0.0)
    return image


def box_max(image: Tensor, side: int) -> Tensor:
    """Take the largest value of (B,C,H,W) in a square around each pixel; the arguments are those of `box_mean`."""
    for dim in (-1, -2):
        image = _slide(image, side, dim, torch.maximum, -math.inf)
    return image


def box_opening(mask: Tensor, side: int) -> Tensor:
    """Drop what is smaller than a square (morphological opening); the arguments are those of `box_mean`."""
    return box_max(-box_max(-mask, side), side)


def _slide(
    image: Tensor, side: int, dim: int, combine: Callable[[Tensor, Tensor], Tensor], outside: float
) -> Tensor:
    """Combine the values of a window that slides along one dimension.

    Windows are put together from windows of 1, 2, 4, ... pixels: pooling would take time in proportion to `side`.
    """
    length, around = image.shape[dim], (side // 2, side // 2)
    block = F.pad(image, around if dim == -1 else (0, 0, *around), value=outside)
    whole, start, width = None, 0, 1
    while width <= side:
        if side & width:
            part = block.narrow(dim, start, length)
            whole = part if whole is None else combine(whole, part)
            start += width
        if 2 * width <= side:
            pairs = block.shape[dim] - width
            block = combine(block.narrow(dim, 0, pairs), block.narrow(dim, width, pairs))
        width *= 2
    assert whole is not None  # side is at least 1
    return whole


def sample(
    tensor: Tensor, grid: Tensor, *, mode: SampleMode, padding_mode: str, align_corners: bool
) -> Tensor:
    """Sample a tensor at the points of a grid: `F.grid_sample`, also where Apple's GPUs lack it.

    Before torch 2.13 they had neither border padding nor bicubic. Gradients add up in another order in every run on
    a GPU; where PyTorch is asked for determinism, they are computed on the CPU.

    Args:
        tensor: (B,C,H,W).
        grid: (B,h,w,2), x first. -1 and 1 are the image's edges, or with `align_corners` the centers of its
            outermost pixels.
        mode, padding_mode, align_corners: as in torch.

    Returns:
        (B,C,h,w), on the tensor's device.
    """
    source = where_possible(tensor, since=(2, 13))
    if tensor.requires_grad and torch.are_deterministic_algorithms_enabled():
        source = source.cpu()
    grid = grid.to(source.device)
    sampled = F.grid_sample(source, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners)
    return sampled.to(tensor.device)


def zoom(image: Tensor, amount: float, mode: ZoomMode) -> Tensor:
    """Enlarge the middle of an image to its full size, or shrink the image and fill up with its reflection.

    Args:
        image: (B,C,H,W).
        amount: length to crop from the height and from the width, both edges together; negative zooms out.
        mode: the unit of `amount`: percent of the side, or pixels.

    Raises:
        SettingsError: the zoom crops the whole image.
    """
    if amount == 0:
        return image
    kept = kept_by_zoom(size_of(image), amount, mode)
    matrix = vector_like(image, [kept[0], 0, 0, 0, kept[1], 0]).view(1, 2, 3)
    grid = F.affine_grid(matrix.expand(len(image), 2, 3), list(image.shape), align_corners=False)
    return sample(image, grid, mode="bicubic", padding_mode="reflection", align_corners=False)


def kept_by_zoom(size: Size, amount: float, mode: ZoomMode) -> tuple[float, float]:
    """Fractions of an image's width and height that a zoom keeps.

    Raises:
        SettingsError: the zoom crops the whole image.
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
    """Mid-gray with Gaussian noise of standard deviation 0.1, (1,3,H,W), to start a dream without an image."""
    return (0.5 + 0.1 * torch.randn(1, 3, *size, generator=generator)).clamp(0, 1)


def keep_colors(dreamed: Tensor, frame: Tensor) -> Tensor:
    """Give a dream the colors (chroma, BT.601) of a frame, both (B,3,H,W); the brightness stays the dream's."""
    chroma = rgb_to_ycbcr(frame)[:, 1:]
    merged: Tensor = ycbcr_to_rgb(torch.cat([rgb_to_ycbcr(dreamed)[:, :1], chroma], 1))
    return merged


def stretch_contrast(image: Tensor, percent: float) -> Tensor:
    """Scale an image so that this percentile of its values becomes 1."""
    return image / percentile(image, percent).clamp_min(1e-6)


def shift_colors(dreamed: Tensor, image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Shift the colors of a dream (B,3,H,W) so that the mean of each is the image's; in the share of a mask."""
    # Contiguous, because the rounding of a sum depends on the memory layout.
    change = (image - dreamed).contiguous()
    if mask is None:
        return dreamed + change.mean((2, 3), keepdim=True)
    total = mask.square().sum((2, 3), keepdim=True).clamp_min(1e-12)
    return dreamed + mask * (change * mask).sum((2, 3), keepdim=True) / total


def finish(dreamed: Tensor, colors: Tensor, settings: ImageSettings) -> Tensor:
    """Apply the settings' contrast and colors, then clamp to 0..1.

    Args:
        dreamed: (B,3,H,W).
        colors: (B,3,H,W), the image whose colors `original_colors` keeps.
        settings: accepted by `validate`.
    """
    if settings.contrast > 0:
        dreamed = stretch_contrast(dreamed, settings.contrast)
    if settings.original_colors:
        dreamed = keep_colors(dreamed, colors)
    return dreamed.clamp(0, 1)
