"""Optical flow as an image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.utils import flow_to_image

from ..checks import require_valid
from ..errors import ImageError, SettingsError
from ..image import describe, require_image
from ..settings import FlowImageSettings
from .warp import require_flow

TIP = 0.3
"""Length of an arrow's tip, as a fraction of the arrow."""

FIXED_POINT = 4
"""Fractional bits in the coordinates of arrows, for OpenCV."""


def flow_image(flow: Tensor, *, saturation_length: float = 0.0) -> Tensor:
    """Color flow by the wheel of Baker et al. 2007: hue is direction, saturation is length, no motion is white.

    Args:
        flow: (B,2,H,W) in pixels, x first.
        saturation_length: length in pixels from which colors are fully saturated; one value for several images
            makes them comparable. 0 takes the longest vector of each image.

    Returns:
        (B,3,H,W) float32 in 0..1, in steps of 1/255.

    Raises:
        ImageError: the flow has another shape or type, or is not finite.
        SettingsError: the length is not in 0..10000.
    """
    _check_finite(flow)
    # torchvision divides by the longest vector of all; an added column of length 1 makes that 1.
    padded = F.pad(_normalized(flow, saturation_length), (0, 1), value=0.5**0.5)
    colors: Tensor = flow_to_image(padded)[..., :-1]
    return colors.float() / 255


def draw_arrows(images: Tensor, flow: Tensor, *, spacing: int, saturation_length: float = 0.0) -> Tensor:
    """Draw arrows, white with a black rim, on a grid; each points in the direction of the flow there.

    Args:
        images: (B,3,H,W) in 0..1; other values are clamped.
        flow: (B,2,H,W) in pixels, x first.
        spacing: distance in pixels between arrows, down and across, and the length of the longest arrows.
        saturation_length: flow of this length in pixels, and longer flow, gets the longest arrows. 0 takes the
            longest vector of each image.

    Returns:
        (B,3,H,W) float32 in 0..1, in steps of 1/255, on the images' device.

    Raises:
        ImageError: the images are not RGB, or the flow does not fit them or is not finite.
        SettingsError: the spacing is not in 1..10000, or the length not in 0..10000.
    """
    require_image(images, name="images", values=False)
    require_flow(flow, like=images)
    _check_finite(flow)
    require_valid(FlowImageSettings, arrow_spacing=spacing)
    if spacing == 0:
        raise SettingsError("expected `arrow_spacing` of at least 1, got 0")
    levels = images.detach().float().clamp(0, 1).mul(255).round().to("cpu", torch.uint8)
    canvases = np.array(levels.permute(0, 2, 3, 1).numpy(), order="C")  # BCHW -> BHWC
    vectors = _normalized(flow, saturation_length) * spacing
    fields = vectors.permute(0, 2, 3, 1).cpu().numpy()  # BCHW -> BHWC
    for canvas, field in zip(canvases, fields, strict=True):
        _draw(canvas, field, spacing)
    drawn = torch.from_numpy(canvases).permute(0, 3, 1, 2)  # BHWC -> BCHW
    return drawn.to(images.device).float() / 255


def _draw(canvas: np.ndarray, field: np.ndarray, spacing: int) -> None:
    height, width = canvas.shape[:2]
    rows, columns = (np.arange(min(spacing, side) // 2, side, spacing) for side in (height, width))
    y, x = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))
    starts = np.stack([x, y], axis=1).astype(np.float32)
    ends = starts + field[y, x]
    starts, ends = (np.rint(points * 2**FIXED_POINT).astype(int) for points in (starts, ends))
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        for color, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.arrowedLine(canvas, start, end, color, thickness, cv2.LINE_AA, FIXED_POINT, TIP)
    canvas[y, x] = 255  # without motion the rim would hide the white dot


def _normalized(flow: Tensor, saturation_length: float) -> Tensor:
    """Divide the flow by the length of full saturation; no vector is longer than 1."""
    require_valid(FlowImageSettings, saturation_length=saturation_length)
    flow = flow.detach().float()
    length = torch.hypot(flow[:, :1], flow[:, 1:])
    if saturation_length:
        full = length.clamp(min=saturation_length)  # longer ones keep their direction
    else:
        full = length.amax(dim=(2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return flow / full


def _check_finite(flow: Tensor) -> None:
    require_flow(flow)
    if 0 in flow.shape:
        raise ImageError(f"expected a flow of at least one pixel, got {describe(flow)}")
    if not torch.isfinite(flow).all():
        raise ImageError("expected a finite flow, got NaN or infinite values; check its source")
