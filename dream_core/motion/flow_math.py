"""Arithmetic of optical flow: compose, invert and smooth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from ..errors import ImageError
from ..image import require_image
from .warp import require_flow

FOOTPRINT = 0.05
"""Least bilinear weight with which a vector reaches a pixel."""
SAME_LAYER = 1.0
"""Difference of vectors in pixels up to which those that reach one pixel are averaged."""
TRUSTED = 1e5
"""Nearness of full reliability: more than any motion has."""
REFINEMENTS = 4
"""Steps of the fixed-point iteration that makes an inverse exact between pixels."""


def compose(first: Tensor, then: Tensor) -> Tensor:
    """Follow one flow, then another from where it leads: ``out(x) = first(x) + then(x + first(x))``.

    The flow from a frame to the one before, and then from that to the one before it, is the flow over two frames.

    Args:
        first, then: (B,2,H,W) in pixels, x first.

    Returns:
        (B,2,H,W) in pixels. Outside of the frame `then` goes on as at its edge.

    Raises:
        ImageError: the flows have the wrong or different shapes.
    """
    require_flow(first, name="the first flow")
    require_flow(then, like=first, name="the second flow")
    return first + _on_one_layer(then, first)


def invert(
    flow: Tensor, *, reliability: Tensor | None = None, nearness: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Invert a flow: ``flow(x) + inverse(x + flow(x)) = 0`` for every pixel that is seen at both ends.

    Each vector is turned around and put where it leads. Where several lead to one place, the nearest is seen.
    Between
    pixels a fixed-point iteration finds the exact inverse. What no vector leads to is filled from around it.

    Args:
        flow: (B,2,H,W) in pixels, x first.
        reliability: (B,1,H,W) in 0..1: what is trusted lies over what is not, since it is seen at both ends.
        nearness: (B,1,H,W), any numbers, such as inverse depths: the largest is nearest. By default what moves
            otherwise than most of the image is nearer than what moves with it.

    Returns:
        The inverse, (B,2,H,W), and a mask (B,1,H,W) that is 1 where a vector leads, 0 where it was filled.

    Raises:
        ImageError: a shape does not fit.
    """
    require_flow(flow)
    if nearness is None:
        apart = flow - flow.flatten(2).median(dim=2).values[..., None, None]
        nearness = apart.norm(dim=1, keepdim=True)
    require_image(nearness, name="nearness", channels=1, like=flow, values=False)
    if reliability is not None:
        require_image(reliability, name="reliability", channels=1, like=flow, values=False)
        nearness = nearness + TRUSTED * reliability
    inverse, reached = splat(-flow, flow, nearness)
    # x = y + inverse(y) has to lead to y: x + flow(x) = y.
    for _ in range(REFINEMENTS):
        refined = -_on_one_layer(flow, inverse)
        same = (refined - inverse).norm(dim=1, keepdim=True) <= SAME_LAYER
        inverse = torch.where(same & (reached > 0), refined, inverse)
    return fill(inverse, reached), reached


def splat(values: Tensor, flow: Tensor, nearness: Tensor) -> tuple[Tensor, Tensor]:
    """Put values where a flow leads, the nearest on top (a z-buffer).

    Each value reaches the up to four pixels around its target. Among those that reach a pixel, the values of
    vectors
    within a pixel of the nearest one's are averaged, by their bilinear weights.

    Args:
        values: (B,C,H,W).
        flow: (B,2,H,W) in pixels, x first.
        nearness: (B,1,H,W), the largest is on top.

    Returns:
        (B,C,H,W), 0 where nothing arrives, and a mask (B,1,H,W) that is 1 where something does.

    Raises:
        ImageError: the shapes do not fit.
    """
    require_flow(flow, like=values)
    batch, channels, height, width = values.shape
    x = torch.arange(width, device=flow.device, dtype=flow.dtype) + flow[:, 0]
    y = torch.arange(height, device=flow.device, dtype=flow.dtype).view(-1, 1) + flow[:, 1]
    left, top = x.floor(), y.floor()
    places, weights = [], []
    for across in (0, 1):
        for down in (0, 1):
            column, row = left + across, top + down
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height) & (weight >= FOOTPRINT)
            places.append((row * width + column).where(inside, torch.zeros_like(row)).long().flatten(1))
            weights.append(weight.where(inside, torch.zeros_like(weight)).flatten(1))
    place, weight = torch.cat(places, 1), torch.cat(weights, 1)
    near = nearness.flatten(1).repeat(1, 4).masked_fill(weight == 0, -torch.inf)
    nearest = near.new_full((batch, height * width), -torch.inf).scatter_reduce(1, place, near, "amax")
    # The vector of the nearest; of equally near ones their mean.
    top_weight = weight * (near == nearest.gather(1, place))
    vectors = flow.flatten(2).repeat(1, 1, 4)
    winner = _averages(vectors, top_weight, place, height * width)[0]
    apart = (vectors - _gathered(winner, place)).norm(dim=1)
    averages, total = _averages(
        values.flatten(2).repeat(1, 1, 4), weight * (apart <= SAME_LAYER), place, height * width
    )
    reached = (total > 0).to(values.dtype)
    return averages.view(batch, channels, height, width), reached.view(batch, 1, height, width)


def fill(values: Tensor, known: Tensor) -> Tensor:
    """Fill the pixels that are not known from those around them, coarse to fine.

    Args:
        values: (B,C,H,W).
        known: (B,1,H,W), 1 where a value is known, 0 where it is to be filled.

    Returns:
        (B,C,H,W); 0 where no value is known in the whole image.
    """
    if min(values.shape[-2:]) == 1 and max(values.shape[-2:]) == 1:
        return values * known
    if bool((known > 0).all()):
        return values
    weights = F.avg_pool2d(known, 2, ceil_mode=True, count_include_pad=False)
    sums = F.avg_pool2d(values * known, 2, ceil_mode=True, count_include_pad=False)
    coarse = fill(sums / weights.clamp_min(1e-6), (weights > 0).to(known.dtype))
    size = values.shape[-2:]
    around = F.interpolate(coarse, size, mode="bilinear", align_corners=False)
    return torch.where(known > 0, values, around)


def smooth(flow: Tensor, radius: float, *, reliability: Tensor | None = None) -> Tensor:
    """Blur a flow, by trust: vectors that are not trusted become those around them.

    Args:
        flow: (B,2,H,W) in pixels.
        radius: standard deviation of the Gaussian in pixels; 0 changes nothing where all is trusted.
        reliability: (B,1,H,W) in 0..1; by default all is trusted.

    Raises:
        ImageError: a shape does not fit, or the radius is negative.
    """
    require_flow(flow)
    if radius < 0:
        raise ImageError(f"expected a radius of at least 0 pixels, got {radius:g}")
    trust = torch.ones_like(flow[:, :1]) if reliability is None else reliability.to(flow)
    require_image(trust, name="reliability", channels=1, like=flow, values=False)
    filled = fill(flow, (trust > 0).to(flow.dtype)) if reliability is not None else flow
    if radius == 0:
        return filled
    weights = _blurred(trust, radius)
    blurred = _blurred(flow * trust, radius) / weights.clamp_min(1e-6)
    return torch.where(weights > 1e-3, blurred, _blurred(filled, radius))


def _on_one_layer(flow: Tensor, path: Tensor) -> Tensor:
    """Sample a flow where a path leads, bilinearly, without mixing the motion of two things at an edge.

    Of the four pixels around a place those count whose vectors are within a pixel of the nearest one's.
    """
    height, width = flow.shape[-2:]
    x = (torch.arange(width, device=path.device, dtype=path.dtype) + path[:, 0]).clamp(0, width - 1)
    y = torch.arange(height, device=path.device, dtype=path.dtype).view(-1, 1) + path[:, 1]
    y = y.clamp(0, height - 1)
    vectors = flow.flatten(2)

    def at(column: Tensor, row: Tensor) -> Tensor:
        place = (row.clamp(max=height - 1) * width + column.clamp(max=width - 1)).long().flatten(1)
        return _gathered(vectors, place).view(*path.shape)

    nearest = at(x.round(), y.round())
    left, top = x.floor(), y.floor()
    total, sums = torch.zeros_like(x), torch.zeros_like(path)
    for column in (left, left + 1):
        for row in (top, top + 1):
            vector = at(column, row)
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            weight = weight * ((vector - nearest).norm(dim=1) <= SAME_LAYER)
            total, sums = total + weight, sums + weight.unsqueeze(1) * vector
    return sums / total.unsqueeze(1)


def _blurred(image: Tensor, radius: float) -> Tensor:
    height, width = image.shape[-2:]
    kernel = [min(2 * round(3 * radius) + 1, 2 * side - 1) for side in (height, width)]
    blurred: Tensor = gaussian_blur2d(image, (kernel[0], kernel[1]), (radius, radius), border_type="reflect")
    return blurred


def _averages(values: Tensor, weights: Tensor, place: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Weighted means of values (B,C,N) by their place (B,N), and the sums of weights: (B,C,count), (B,count)."""
    total = weights.new_zeros(len(weights), count).scatter_add(1, place, weights)
    index = place.unsqueeze(1).expand_as(values)
    sums = values.new_zeros(*values.shape[:2], count).scatter_add(2, index, values * weights.unsqueeze(1))
    return sums / total.unsqueeze(1).clamp_min(1e-6), total


def _gathered(values: Tensor, place: Tensor) -> Tensor:
    return values.gather(2, place.unsqueeze(1).expand(-1, values.shape[1], -1))
