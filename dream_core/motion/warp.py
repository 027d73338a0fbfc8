"""Moving images along optical flow."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ImageError
from ..image import SampleMode, antialias, describe, sample, vector_like
from ..settings import WarpEdges

WARP_MODES: tuple[SampleMode, ...] = ("nearest", "bilinear", "bicubic")
PADDING: dict[WarpEdges, str] = {"border": "border", "mirror": "reflection"}
"""Names of the edges in grid_sample."""


def warp(
    tensor: Tensor, flow: Tensor, *, mode: SampleMode = "bicubic", edges: WarpEdges = "border"
) -> Tensor:
    """Sample a tensor where the flow points: ``out(x) = tensor(x + flow(x))``.

    With the *backward* flow, from the current frame to the previous one, this moves a tensor of the previous frame
    onto the current one (Jaderberg et al. 2015). Positions outside of the tensor are never black. Where the flow is
    exactly zero, the tensor is returned bit for bit.

    Args:
        tensor: (B,C,H,W), floating point, any number of channels and any range: images, masks, flows,
            residuals.
        flow: (B,2,H,W) in pixels, x first.
        mode: "bicubic" stays sharp when an image is warped frame after frame. It overshoots at edges
            and is not clamped, because the tensor may be a residual with negative values: clamp images
            afterwards. "bilinear" keeps the range and suits masks and flows; "nearest" mixes nothing.
        edges: values outside of the tensor: "border" repeats the nearest pixel, "mirror" reflects the tensor at the
            centers of its outermost pixels.

    Returns:
        (B,C,H,W) in the tensor's own type; the arithmetic is at least float32.

    Raises:
        ImageError: the shapes or types do not fit, or mode or edges are unknown.
    """
    require_flow(flow, like=tensor)
    if mode not in WARP_MODES:
        raise ImageError(f"expected warp mode {' or '.join(WARP_MODES)}, got {mode!r}")
    if edges not in PADDING:
        raise ImageError(f"expected warp edges {' or '.join(PADDING)}, got {edges!r}")
    exact = torch.promote_types(tensor.dtype, torch.float32)
    grid = _sampling_grid(flow.to(exact))
    warped = sample(tensor.to(exact), grid, mode=mode, padding_mode=PADDING[edges], align_corners=True)
    still = (flow == 0).all(dim=1, keepdim=True)
    return torch.where(still, tensor, warped.to(tensor.dtype))


def points_inside(flow: Tensor) -> Tensor:
    """Trust pixels whose flow points inside the frame, at most half a pixel beyond the outermost centers.

    The half pixel keeps the border of a still clip trusted, where estimated flow is not exactly zero.

    Args:
        flow: (B,2,H,W) in pixels, x first.

    Returns:
        (B,1,H,W), 1 where ``x + flow(x)`` lies inside, 0 elsewhere and where the flow is NaN.

    Raises:
        ImageError: the flow has another shape or type.
    """
    require_flow(flow)
    height, width = flow.shape[-2:]
    x, y = _targets(flow.to(torch.promote_types(flow.dtype, torch.float32)))
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return inside.unsqueeze(1).to(flow.dtype)


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a flow and scale its vectors: x by the ratio of the widths, y by that of the heights.

    Args:
        flow: (B,2,H,W) in pixels, x first.
        size: the new (height, width).

    Returns:
        (B,2,*size) in pixels of the new size.

    Raises:
        ImageError: the flow has another shape or type, or the size is not positive.
    """
    require_flow(flow)
    if len(size) != 2 or min(size) < 1:
        raise ImageError(f"expected a height and a width of at least 1, got {tuple(size)}")
    height, width = flow.shape[-2:]
    if size == (height, width):
        return flow
    return antialias(flow, size, mode="bilinear") * vector_like(
        flow, [size[1] / width, size[0] / height]
    ).view(1, 2, 1, 1)


def require_flow(flow: Tensor, *, like: Tensor | None = None, name: str = "flow") -> None:
    """Raise an ImageError unless the flow is (B,2,H,W) in floating point and fits ``like``, (B,C,H,W)."""
    if flow.ndim != 4 or flow.shape[1] != 2 or not flow.is_floating_point():
        raise ImageError(f"expected {name} (B,2,H,W) in floating point, got {describe(flow)}")
    if like is None:
        return
    if like.ndim != 4 or not like.is_floating_point():
        raise ImageError(f"expected a tensor (B,C,H,W) in floating point for {name}, got {describe(like)}")
    expected = (like.shape[0], 2, *like.shape[-2:])
    if flow.shape != expected:
        raise ImageError(
            f"expected {name} of shape {expected} to fit {describe(like)}, got {tuple(flow.shape)}"
        )


def _targets(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Targets of the vectors: x and y, each (B,H,W)."""
    height, width = flow.shape[-2:]
    x = torch.arange(width, device=flow.device, dtype=flow.dtype)
    y = torch.arange(height, device=flow.device, dtype=flow.dtype).unsqueeze(1)
    return flow[:, 0] + x, flow[:, 1] + y


def _sampling_grid(flow: Tensor) -> Tensor:
    """Targets in the format of grid_sample: (B,H,W,2), centers of corner pixels at -1 and 1."""
    height, width = flow.shape[-2:]
    x, y = _targets(flow)
    # A side of one pixel cannot be normalized; any coordinate samples its only pixel.
    return torch.stack((x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1), dim=-1)
