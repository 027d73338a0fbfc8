"""Exact optical flow of a camera that zooms, turns and pans over an image, flat or with a depth map."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..checks import validate
from ..errors import ImageError
from ..image import require_image, require_shares, size_of
from ..settings import CameraSettings
from .flow_math import fill, invert, splat

NEAREST = 1e-3
"""Least distance in front of the camera that is seen, where that of the nearest things in a depth map is 1."""


SHARPNESS = 40.0
"""How strongly the farthest prevails where holes of a depth map are filled."""


class Points(NamedTuple):
    """Points of an image.

    Args:
        x, y: from its center, in pixels.
        distance: from the plane of the camera.
    """

    x: Tensor
    y: Tensor
    distance: Tensor


class CameraView(NamedTuple):
    """What a step of a camera makes of an image with depth.

    Args:
        backward: (1,2,H,W) in pixels, from the current frame to the previous one; filled where it was hidden.
        forward: (1,2,H,W), from the previous frame to the current one, exact.
        reliability: (1,1,H,W), 0 where the previous frame did not show what the current one shows, else 1.
        depth: (1,1,H,W) in 0..1, the depth map of the current frame, scaled so that the flight can go on for ever.
    """

    backward: Tensor
    forward: Tensor
    reliability: Tensor
    depth: Tensor


def camera_flow(size: tuple[int, int], settings: CameraSettings) -> tuple[Tensor, Tensor]:
    """Compute the flow of one step of a camera: the image grows and turns about its center, then shifts.

    A point ``x`` of the previous frame moves to ``c + zoom * R (x - c) + pan`` in the current one. The center
    ``c`` lies midway between the centers of the corner pixels. Yaw and pitch then turn the camera on the spot. The
    backward flow is the exact inverse of that map.

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
    x, y = _pixels(size)
    validate(settings)
    angle, zoom = math.radians(settings.rotation), settings.zoom_factor
    moved_x, moved_y = _turned(x, y, angle)
    moved_x, moved_y = zoom * moved_x + settings.pan_x, zoom * moved_y + settings.pan_y
    came_x, came_y = x, y
    if settings.yaw or settings.pitch:
        focal, far = _focal_length(size, settings), torch.ones_like(x * y)
        moved_x, moved_y, _ = _looked(Points(moved_x, moved_y, far), settings, focal)
        came_x, came_y = _looked_back(x, y, settings, focal)
    came_x, came_y = _turned(came_x - settings.pan_x, came_y - settings.pan_y, -angle)
    return _as_flow((came_x / zoom - x, came_y / zoom - y)), _as_flow((moved_x - x, moved_y - y))


def depth_camera_flow(depth: Tensor, settings: CameraSettings) -> CameraView:
    """Compute the flow of one step of a camera through a scene whose depth is known.

    The camera moves so that what has the median depth moves as in `camera_flow`; what is nearer moves faster. Of
    things that cover each other the nearest is seen (a z-buffer).

    Args:
        depth: (1,1,H,W) in 0..1, of the previous frame: 1 is nearest, as depth estimators give it, and the inverse
            of the distance is even between.
        settings: of the camera and the range of depths.

    Raises:
        ImageError: the depth map has another shape, or values outside of 0..1.
        SettingsError: a setting is out of range.
    """
    validate(settings)
    require_image(depth, name="depth", batch=1, channels=1)
    require_shares(depth, name="depth")
    size = size_of(depth)
    x, y = _pixels(size)
    inverse = depth[0, 0].to("cpu", torch.float64)
    farthest = 1 / settings.depth_range
    distance = 1 / (farthest + (1 - farthest) * inverse)
    median = distance.median().item()
    zoom = settings.zoom_factor
    moved_x, moved_y = _turned(x, y, math.radians(settings.rotation))
    ahead = distance - median * (1 - 1 / zoom)
    seen = ahead > NEAREST
    ahead = ahead.clamp_min(NEAREST)
    step = median / zoom
    points = Points(
        (moved_x * distance + settings.pan_x * step) / ahead,
        (moved_y * distance + settings.pan_y * step) / ahead,
        ahead,
    )
    points = _looked(points, settings, _focal_length(size, settings))
    forward = _as_flow((points.x - x, points.y - y))
    # What has passed the camera leads out of the image.
    outside = torch.full_like(forward, 2.0 * sum(size))
    lost = (seen & (points.distance > NEAREST)).logical_not()[None, None]
    nearness = (1 / points.distance.clamp_min(NEAREST))[None, None].float()
    forward = torch.where(lost, outside, forward)
    backward, reached = invert(forward, nearness=nearness)
    # Scaled by the zoom, the median depth stays as it was.
    shares = depth.float() if farthest == 1 else (nearness / zoom - farthest) / (1 - farthest)
    put, arrived = splat(shares.clamp(0, 1), forward, nearness)
    return CameraView(backward, forward, reached, _filled_from_behind(put, arrived))


def _filled_from_behind(depth: Tensor, known: Tensor) -> Tensor:
    """Fill the holes of a depth map with what is far around them: something nearer has uncovered them."""
    return (-fill((-SHARPNESS * depth).exp(), known).log() / SHARPNESS).clamp(0, 1)


def _pixels(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the places of pixels from the center, in float64 so that two flows are inverse to each other.

    Raises:
        ImageError: the size is not positive.
    """
    if len(size) != 2 or min(size) < 1:
        raise ImageError(f"expected a height and a width of at least 1, got {tuple(size)}")
    height, width = size
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    return x, (torch.arange(height, dtype=torch.float64) - (height - 1) / 2).unsqueeze(1)


def _turned(x: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Turn points about the origin, counter-clockwise as seen with y pointing down."""
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def _focal_length(size: tuple[int, int], settings: CameraSettings) -> float:
    """Return the distance in pixels from which the width of an image covers the field of view."""
    return size[1] / 2 / math.tan(math.radians(settings.field_of_view) / 2)


def _looked(points: Points, settings: CameraSettings, focal: float) -> Points:
    """Turn the camera on the spot: to the right by the yaw, then up by the pitch."""
    x, y, distance = points
    turn = torch.tensor(math.radians(settings.yaw), dtype=x.dtype)
    along = x * turn.sin() / focal + turn.cos()
    x, y, distance = _divided(x * turn.cos() - focal * turn.sin(), y, along, distance)
    turn = torch.tensor(math.radians(settings.pitch), dtype=x.dtype)
    along = turn.cos() - y * turn.sin() / focal
    y, x, distance = _divided(y * turn.cos() + focal * turn.sin(), x, along, distance)
    return Points(x, y, distance)


def _looked_back(x: Tensor, y: Tensor, settings: CameraSettings, focal: float) -> tuple[Tensor, Tensor]:
    """Undo `_looked`: down by the pitch, then to the left by the yaw."""
    turn = torch.tensor(math.radians(-settings.pitch), dtype=x.dtype)
    along = turn.cos() - y * turn.sin() / focal
    y, x, _ = _divided(y * turn.cos() + focal * turn.sin(), x, along, along)
    turn = torch.tensor(math.radians(-settings.yaw), dtype=x.dtype)
    along = x * turn.sin() / focal + turn.cos()
    x, y, _ = _divided(x * turn.cos() - focal * turn.sin(), y, along, along)
    return x, y


def _divided(turned: Tensor, other: Tensor, along: Tensor, distance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Project points that were turned; those behind the camera keep a distance below 0."""
    safe = along.clamp_min(NEAREST)
    return turned / safe, other / safe, distance * along


def _as_flow(components: tuple[Tensor, Tensor]) -> Tensor:
    return torch.stack(components).unsqueeze(0).to(torch.float32)
