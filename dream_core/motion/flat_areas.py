"""Flow of areas without texture: the motion of the camera, because there is nothing to estimate it from."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..image import (
    Size,
    antialias,
    box_max,
    box_mean,
    box_opening,
    scaled_size,
    size_of,
    to_gray,
    vector_like,
)
from .warp import resize_flow, warp

COMPARISON_SIDE = 256
"""Longest side in pixels at which texture is looked for, so that grain does not count as texture."""

WINDOW = 5
"""Side in pixels of the square over which texture is measured."""

FLAT_SIDE = 15
"""Side in pixels of the smallest square without texture that counts as a flat area."""

CELL = 8
"""Side in pixels of the cells in which the motion of the camera is fitted."""

TEXTURE = (0.35, 0.9)
"""Texture in levels of 255 per pixel up to which an area is flat, and from which it is not."""

FITS = 12
"""Number of least-squares fits of the camera's motion; each trusts outliers less."""

STEPS = 48
"""Longest random walk over a flat area, in steps of two cells."""


class Camera(NamedTuple):
    """Motion of the camera between two frames: a shift, a turn and a zoom about the center of the frame.

    Args:
        motion: (B,4): shift x and y in pixels; growth and turn (counter-clockwise with y pointing down is negative)
            in pixels per pixel of distance from the center.
        known: (B,) True where the textures at the edges of the frame agree on it, or leave it at rest.
    """

    motion: Tensor
    known: Tensor


def steady_flat_areas(flow: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Give areas without texture the motion of the camera instead of an estimate that nothing supports.

    Estimators invent flow in a flat sky, or let things that pass drag it along. The camera's motion is fitted to
    the textured parts near the edges of the frame, where backgrounds are. It is at rest if hardly any texture is
    there; nothing is changed if the textures contradict each other. It replaces the flow of large flat areas that
    reach the edge of the frame or textures that move with the camera, but not inside things that move by
    themselves, and never where it explains the first frame worse than the flow does.

    Args:
        flow: (B,2,H,W) in pixels, from the first frames to the second ones; or (2B,2,H,W), followed by those back.
        first, second: (B,3,H,W) in 0..1.

    Returns:
        flow of the same shape; the same wherever there is texture.
    """
    size = size_of(first)
    inner = scaled_size(size, min(1.0, COMPARISON_SIDE / max(size)))
    a, b = _levels(first, inner), _levels(second, inner)
    if len(flow) > len(first):
        a, b = torch.cat([a, b]), torch.cat([b, a])
    small = resize_flow(flow, inner)
    left = _texture(a - warp(b, small, mode="bilinear"))
    # What the flow does not explain is noise, unless there is much more than elsewhere: that was hidden before.
    noise = torch.minimum(left, 2 * left.flatten(1).median(1).values.view(-1, 1, 1, 1))
    texture = _ramp((_texture(a) - noise).clamp_min(0).sqrt(), *TEXTURE)
    camera = fit_camera(small, texture)
    moved = similarity_flow(camera.motion, inner)
    worse = _ramp((_texture(a - warp(b, moved, mode="bilinear")) - left) / (left + TEXTURE[0] ** 2), 0.5, 2.0)
    # An edge that moved is worse over a whole window; grain, to which estimators fit flow, in specks.
    worse = box_opening(worse, WINDOW)
    flat = box_opening(1 - texture, FLAT_SIDE) * (1 - worse) * _reached(small, moved, texture)
    share = F.interpolate(flat * camera.known.view(-1, 1, 1, 1), size, mode="bilinear", align_corners=False)
    scale = vector_like(flow, [max(size) / max(inner)] * 2 + [1.0, 1.0])
    return torch.lerp(flow, similarity_flow(camera.motion * scale, size), share)


def fit_camera(flow: Tensor, texture: Tensor) -> Camera:
    """Fit the motion of the camera to the flow of textured pixels near the edges of the frame.

    An iteratively reweighted least-squares fit of a similarity to the mean flow of cells, which is robust against
    things that move by themselves.

    Args:
        flow: (B,2,H,W) in pixels.
        texture: (B,1,H,W) in 0..1, trust in the flow.
    """
    flows, textured = _cells(flow, texture)
    height, width = size_of(textured)
    ring = torch.ones_like(textured)
    down, across = max(1, height // 6), max(1, width // 6)
    ring[..., down:-down, across:-across] = 0
    weights = (textured * ring).flatten(2)  # (B,1,N)
    x, y = (side.flatten() for side in _centers((height, width), size_of(flow), CELL, flow))
    found, trust = flows.flatten(2), torch.ones_like(weights)
    for _ in range(FITS):
        motion = _fit_similarity(found, x, y, weights * trust)
        error = _length(_similarity(motion, x, y) - found)
        trust = 1 / (error + 0.1)
    tolerance = 0.5 + 0.1 * _length(_similarity(motion, x, y))
    agreeing = (weights * (error < tolerance)).sum((1, 2)) / weights.sum((1, 2)).clamp_min(1e-6)
    framed = _on_opposite_edges(textured[:, 0]) >= 0.2
    return Camera(motion * framed.unsqueeze(1), ~framed | (agreeing > 0.6))


def similarity_flow(motion: Tensor, size: Size) -> Tensor:
    """Compute the flow of a camera's motion, see `Camera`: (B,4) -> (B,2,H,W) in pixels."""
    x, y = _centers(size, size, 1, motion)
    return _similarity(motion, x.flatten(), y.flatten()).view(-1, 2, *size)


def _similarity(motion: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Flow (B,2,N) at the points (N,)."""
    shift_x, shift_y, growth, turn = motion.unsqueeze(2).unbind(1)
    return torch.stack([shift_x + growth * x - turn * y, shift_y + growth * y + turn * x], 1)


def _fit_similarity(flow: Tensor, x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Fit a motion (B,4) to a flow (B,2,N) at the points (N,) with weights (B,1,N), in closed form."""
    weights = weights / weights.sum(2, keepdim=True).clamp_min(1e-6)
    points = torch.stack([x, y]).expand_as(flow)
    middle, shift = (weights * points).sum(2, keepdim=True), (weights * flow).sum(2, keepdim=True)
    (px, py), (u, v) = (points - middle).unbind(1), (flow - shift).unbind(1)
    weight = weights[:, 0]
    # A few pixels of spread are added, so that textures in one place give a shift alone.
    spread = (weight * (px.square() + py.square())).sum(1) + CELL**2
    growth = (weight * (px * u + py * v)).sum(1) / spread
    turn = (weight * (px * v - py * u)).sum(1) / spread
    (cx, cy), (sx, sy) = middle[..., 0].unbind(1), shift[..., 0].unbind(1)
    return torch.stack([sx - growth * cx + turn * cy, sy - growth * cy - turn * cx, growth, turn], 1)


def _on_opposite_edges(cells: Tensor) -> Tensor:
    """Share of textured cells (B,h,w) along the edges, of the two opposite edges that have most: (B,)."""
    down, across = (max(1, side // 12) for side in size_of(cells))
    left, right = cells[:, :, :across].amax(2).mean(1), cells[:, :, -across:].amax(2).mean(1)
    top, bottom = cells[:, :down].amax(1).mean(1), cells[:, -down:].amax(1).mean(1)
    return torch.maximum(torch.minimum(left, right), torch.minimum(top, bottom))


def _reached(flow: Tensor, moved: Tensor, texture: Tensor) -> Tensor:
    """Find where a flat area belongs to the background, (B,1,H,W) in 0..1.

    A random walk over cells without texture ends at the edge of the frame, at a texture that moves with the camera,
    or at one that does not. The background is where enough walks end at one of the first two.
    """
    _, textured = _cells(flow, texture)
    different = _length(flow - moved) > 0.5 + 0.1 * _length(moved)
    own = _cell_mean(different * texture) > 0.2 * _cell_mean(texture)
    # Estimates mix both motions near the edge of a moving thing.
    ends = 1 - box_max(own.to(flow.dtype), 3)
    is_end = textured > 0
    # From coarse to fine, because a walk takes steps in proportion to the square of its length.
    coarse_end, coarse_own = (F.max_pool2d(cells, 2, ceil_mode=True) for cells in (textured, 1 - ends))
    coarse = _walk(torch.ones_like(coarse_own), coarse_end > 0, 1 - coarse_own, STEPS)
    height, width = size_of(ends)
    start = coarse.repeat_interleave(2, 2)[:, :, :height].repeat_interleave(2, 3)[..., :width]
    chance = _walk(start, is_end, ends, STEPS // 3)
    # Cells with texture may have flat parts too: those next to them tell.
    chance = torch.where(is_end, box_max(chance * ~is_end, 3), chance)
    height, width = size_of(flow)
    fine = F.interpolate(chance, scale_factor=CELL, mode="bilinear", align_corners=False)
    return _ramp(fine[..., :height, :width], 0.04, 0.12)


def _walk(chance: Tensor, is_end: Tensor, ends: Tensor, steps: int) -> Tensor:
    """Chance of a walk to end well, (B,1,h,w), after so many further steps; outside of the frame it is 1."""
    for _ in range(steps):
        padded = F.pad(chance, (1, 1, 1, 1), value=1.0)
        beside = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
        chance = torch.where(is_end, ends, (beside + padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]) / 4)
    return chance


def _cells(flow: Tensor, texture: Tensor) -> tuple[Tensor, Tensor]:
    """Mean flow of the textured pixels of each cell, (B,2,h,w), and 1 for cells with texture, (B,1,h,w)."""
    weight = _cell_mean(texture)
    return _cell_mean(flow * texture) / weight.clamp_min(1e-6), (weight > 0.1).to(flow.dtype)


def _cell_mean(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, CELL, ceil_mode=True, count_include_pad=False)


def _centers(count: Size, size: Size, side: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Positions x and y, each (h,w), of the centers of squares, from the center of a frame of this size."""
    height, width = size
    x = (torch.arange(count[1], device=like.device, dtype=like.dtype) + 0.5) * side - width / 2
    y = (torch.arange(count[0], device=like.device, dtype=like.dtype) + 0.5) * side - height / 2
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return grid_x, grid_y


def _levels(frames: Tensor, size: Size) -> Tensor:
    """Gray (B,1,*size) in levels of 255."""
    levels = to_gray(frames) * 255
    if size_of(levels) == size:
        return levels
    return antialias(levels, size, mode="bilinear")


def _texture(gray: Tensor) -> Tensor:
    """Variance of the gradient over a window, (B,1,H,W): a ramp has none, whatever its slope."""
    padded = F.pad(gray, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    energy, mean_x, mean_y = box_mean(torch.cat([dx.square() + dy.square(), dx, dy], 1), WINDOW).unbind(1)
    return (energy - mean_x.square() - mean_y.square()).clamp_min(0).unsqueeze(1)


def _length(vectors: Tensor) -> Tensor:
    """Length of each vector, (B,2,...) -> (B,1,...): much faster on the CPU than a norm over two channels."""
    return (vectors[:, :1].square() + vectors[:, 1:].square()).sqrt()


def _ramp(values: Tensor, low: float, high: float) -> Tensor:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    share = ((values - low) / (high - low)).clamp(0, 1)
    return share * share * (3 - 2 * share)
