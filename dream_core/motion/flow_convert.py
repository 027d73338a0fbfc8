"""Flow as other programs write it: other orders of dimensions, other units, the other direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError
from ..image import describe, vector_like
from ..settings import FlowLayout, FlowUnit
from .flow_math import invert
from .warp import require_flow


def vectors_from(value: Any, *, unit: FlowUnit = "pixels") -> Tensor:
    """Convert flow of another program to (B,2,H,W) in pixels.

    Args:
        value: a tensor or array (B,H,W,2), (B,2,H,W), (H,W,2) or (2,H,W), x first, or a list of them. Where both
            the
            second and the last dimension are 2, the last one is taken for the vectors.
        unit: of the vectors: "pixels"; "fraction" of width and height; "grid", as PyTorch's grid_sample counts with
            align_corners=True: 2 is the way from the center of the first pixel to that of the last one.

    Returns:
        (B,2,H,W) float32 on the CPU.

    Raises:
        ImageError: the value is no such flow, or not finite.
    """
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) and len(value):
        parts = [vectors_from(one, unit=unit) for one in value]
        if any(part.shape[1:] != parts[0].shape[1:] for part in parts):
            raise ImageError("expected flow of one size in the list, got several: resize the frames first")
        return torch.cat(parts)
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if not isinstance(value, Tensor) or value.ndim not in (3, 4) or 0 in value.shape:
        raise ImageError(
            f"expected flow as a tensor, an array or a list of them, got {_kind(value)}: connect the output of "
            f"a node "
            "that estimates optical flow"
        )
    flow = value.detach().to("cpu", torch.float32)
    flow = flow if flow.ndim == 4 else flow[None]
    if flow.shape[-1] == 2:
        flow = flow.movedim(-1, 1)
    elif flow.shape[1] != 2:
        raise ImageError(
            f"expected flow with 2 channels, first or last, got {describe(value)}: an image of flow in colors "
            f"cannot "
            "be read back"
        )
    if not bool(flow.isfinite().all()):
        raise ImageError("expected finite flow, got NaN or infinite values; check its source")
    return (flow * _pixels_in(flow, unit)).contiguous()


def to_layout(flow: Tensor, layout: FlowLayout, *, unit: FlowUnit = "pixels") -> Tensor | list[np.ndarray]:
    """Convert flow to what another program expects.

    Args:
        flow: (B,2,H,W) in pixels, x first.
        layout: "channels_last", a tensor (B,H,W,2); "channels_first", (B,2,H,W); "arrays", a list of (H,W,2);
            "stmap", a tensor (B,H,W,3) with the place that each pixel samples, see `flow_file.write_flow`.
        unit: see `vectors_from`; an STMap has its own.

    Raises:
        ImageError: the flow has the wrong shape.
    """
    require_flow(flow)
    if layout == "stmap":
        return _stmap(flow)
    scaled = flow.detach().to("cpu", torch.float32)
    scaled = scaled / _pixels_in(scaled, unit)
    if layout == "channels_first":
        return scaled.contiguous()
    last = scaled.movedim(1, -1).contiguous()
    return [one.numpy() for one in last] if layout == "arrays" else last


def both_directions(
    flow: Tensor, *, to_next: bool, first_missing: bool, reliability: Tensor | None = None
) -> tuple[Tensor, Tensor | None, Tensor]:
    """Make of flow in one direction that of a clip: from each frame to the one before, and back.

    Args:
        flow: (B,2,H,W) in pixels.
        to_next: whether it leads from each frame to the next, so that the other direction is its inverse; else from
            each frame to the one before.
        first_missing: whether the first frame has none, and gets flow without motion.
        reliability: (B,1,H,W) in 0..1 of the flow.

    Returns:
        Backward flow (B,2,H,W); forward flow, None unless it came; and the reliability (B,1,H,W) of the backward
        flow, 0 where no vector leads.

    Raises:
        ImageError: a shape does not fit.
    """
    require_flow(flow)
    trust = torch.ones_like(flow[:, :1]) if reliability is None else reliability
    if first_missing:
        flow = torch.cat([torch.zeros_like(flow[:1]), flow])
        trust = torch.cat([torch.ones_like(trust[:1]), trust])
    if not to_next:
        return flow, None, trust
    parts = [
        invert(flow[index : index + 1], reliability=trust[index : index + 1]) for index in range(len(flow))
    ]
    return torch.cat([part[0] for part in parts]), flow, torch.cat([part[1] for part in parts])


def _stmap(flow: Tensor) -> Tensor:
    height, width = flow.shape[-2:]
    x = (torch.arange(width) + 0.5 + flow[:, 0].cpu()) / width
    y = 1 - ((torch.arange(height) + 0.5).view(-1, 1) + flow[:, 1].cpu()) / height
    return torch.stack([x, y, torch.zeros_like(x)], dim=-1).float()


def _pixels_in(flow: Tensor, unit: FlowUnit) -> Tensor:
    """Return the pixels of one unit, across and down, (1,2,1,1)."""
    height, width = flow.shape[-2:]
    sides = {
        "pixels": (1.0, 1.0),
        "fraction": (float(width), float(height)),
        "grid": (max(width - 1, 1) / 2, max(height - 1, 1) / 2),
    }[unit]
    return vector_like(flow, sides).view(1, 2, 1, 1)


def _kind(value: Any) -> str:
    return describe(value) if isinstance(value, Tensor) else type(value).__name__
