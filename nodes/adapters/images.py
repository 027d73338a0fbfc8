"""ComfyUI's IMAGE (B,H,W,C) and MASK (B,H,W) to the core's (B,C,H,W), and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...dream_core.errors import ImageError
from ...dream_core.image import Size, fit_mask, require_values


def from_image(image: Tensor, *, name: str = "image") -> Tensor:
    """Convert an IMAGE to the core's images, without its alpha.

    Args:
        image: (B,H,W,C) in 0..1 with 1, 3 or 4 channels; gray is repeated, alpha dropped.
        name: of the input, for the error message.

    Returns:
        (B,3,H,W) float32, on the image's device.

    Raises:
        ImageError: the batch is empty, has another shape, or holds NaN, infinite values or levels of 255.
    """
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ImageError(
            f"expected {name} as IMAGE (batch, height, width, 1, 3 or 4 channels), got {_kind(image)}"
        )
    if 0 in image.shape:
        raise ImageError(f"{name} is empty, {tuple(image.shape)}: connect at least one image")
    image = image.to(torch.float32)
    require_values(image, name)
    colors = image[..., :3].movedim(-1, 1)
    return colors.expand(-1, 3, -1, -1)


def to_image(images: Tensor, *, alpha: Tensor | None = None) -> Tensor:
    """Convert the core's images to an IMAGE (B,H,W,C) float32 on the CPU.

    Args:
        images: (B,3,H,W).
        alpha: from `alpha_of`, to append.
    """
    image = images.detach().to("cpu", torch.float32).movedim(1, -1).contiguous()
    return image if alpha is None else torch.cat([image, alpha], dim=-1)


def alpha_of(image: Tensor) -> Tensor | None:
    """Return the alpha (B,H,W,1) float32 of an IMAGE on the CPU, or None if it has none."""
    return image[..., 3:].to("cpu", torch.float32) if image.shape[-1] == 4 else None


def from_mask(mask: Tensor, *, name: str = "mask") -> Tensor:
    """Convert a MASK (B,H,W), or one mask (H,W), to (B,1,H,W) float32.

    Raises:
        ImageError: the mask is empty, has another shape, or holds NaN, infinite values or levels of 255.
    """
    if not isinstance(mask, Tensor) or mask.ndim not in (2, 3):
        raise ImageError(f"expected {name} as MASK (batch, height, width), got {_kind(mask)}")
    if 0 in mask.shape:
        raise ImageError(f"{name} is empty, {tuple(mask.shape)}: connect at least one mask")
    mask = mask.to(torch.float32)
    require_values(mask, name)
    return mask.reshape(-1, 1, *mask.shape[-2:])


def fit_masks(masks: Tensor | None, count: int, size: Size) -> Tensor | None:
    """Scale masks to the size of images, one for all or one for each.

    Args:
        masks: (B,1,h,w) in 0..1, from `from_mask`; None if nothing is connected.
        count, size: of the images.

    Returns:
        (1,1,*size) or (count,1,*size).

    Raises:
        ImageError: there is another number, or they have other proportions.
    """
    if masks is None:
        return None
    if len(masks) not in (1, count):
        raise ImageError(f"expected mask as one, or one for each of {count} images, got {len(masks)}")
    return fit_mask(masks, size)


def require_enough(batch: Tensor, count: int, *, name: str) -> None:
    """Raise an ImageError unless a batch has one entry for all frames, or one for each.

    Args:
        batch: masks or guides of a clip, one entry in each row.
        count: of the frames, which may be fewer.
        name: of the batch, for the error message.
    """
    if 1 < len(batch) < count:
        raise ImageError(_too_few(batch, name, f"{count} frames"))


def of_frame(batch: Tensor, index: int, *, name: str) -> Tensor:
    """Return a frame's own entry of a batch, or the one for all, as a batch of one; see `require_enough`."""
    index = index if len(batch) > 1 else 0
    if index >= len(batch):  # a container's own count of its frames was wrong
        raise ImageError(_too_few(batch, name, "more frames"))
    return batch[index, None]


def _too_few(batch: Tensor, name: str, frames: str) -> str:
    expected = f"expected {name} as one, or one for each frame, got {len(batch)} for {frames}"
    return f"{expected}; add some, or connect one for all"


def to_mask(masks: Tensor) -> Tensor:
    """Convert (B,1,H,W) to a MASK (B,H,W) float32 on the CPU."""
    return masks.detach().to("cpu", torch.float32)[:, 0].contiguous()


def _kind(value: Any) -> str:
    """Write the shape or type of a value, for an error message; sockets of any type accept everything."""
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
