"""Exact optical flow of a camera that zooms, turns and pans over a flat image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import validate
from ..errors import ImageError
from ..settings import CameraSettings


def camera_flow(size: tuple[int, int], settings: CameraSettings) -> tuple[Tensor, Tensor]:
    """Compute the flow of one step of a camera: the image grows and turns about its center, then shifts.

    A point ``x`` of the previous frame moves to ``c + zoom * R (x - c) + pan`` in the current one. The center
    ``c`` lies midway between the centers of the corner pixels. The backward flow is the exact inverse of that map.

    Args:
        size: height and width of the frames, in pixels.
        settings: of the camera. Positive rotation looks counter-clockwise, although y points down.

    Returns:
        The backward flow, from the current frame to the previous one, for `warp`, and the forward flow; both
        (1,2,H,W) float32 in pixels, x first, on the CPU.

    Raises:
        ImageError: the size is not positive.
        SettingsError: a setting is out of range.
    """
    if len(size) != 2 or min(size) < 1:
        raise ImageError(f"expected a height and a width of at least 1, got {tuple(size)}")
    validate(settings)
    height, width = size
    # Float64, so that the two flows are inverse to each other.
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    y = (torch.arange(height, dtype=torch.float64) - (height - 1) / 2).unsqueeze(1)
    angle, zoom = math.radians(settings.rotation), settings.zoom_factor
    moved_x, moved_y = _turned(x, y, angle)
    forward = (zoom * moved_x + settings.pan_x - x, zoom * moved_y + settings.pan_y - y)
    came_x, came_y = _turned(x - settings.pan_x, y - settings.pan_y, -angle)
    backward = (came_x / zoom - x, came_y / zoom - y)
    return _as_flow(backward), _as_flow(forward)


def _turned(x: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Turn points about the origin, counter-clockwise as seen with y pointing down."""
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def _as_flow(components: tuple[Tensor, Tensor]) -> Tensor:
    return torch.stack(components).unsqueeze(0).to(torch.float32)
