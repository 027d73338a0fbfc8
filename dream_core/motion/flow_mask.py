"""Masks from optical flow: where something moves, by speed and direction."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..checks import validate
from ..errors import ImageError
from ..image import vector_like
from ..settings import FlowMaskSettings
from .warp import require_flow

FADE = 15.0
"""Degrees at the edges of the range of directions over which the mask fades."""


def flow_mask(flow: Tensor, settings: FlowMaskSettings) -> Tensor:
    """Compute a mask of what moves.

    Args:
        flow: (B,2,H,W), backward, in pixels, x first: from each frame to the one before. What moves to the right
            has negative x.
        settings: of speed and direction.

    Returns:
        (B,1,H,W) float32 in 0..1, 1 where it moves as asked.

    Raises:
        ImageError: the flow has another shape or type, or is not finite.
        SettingsError: a setting is out of range.
    """
    validate(settings)
    require_flow(flow)
    if not bool(flow.isfinite().all()):
        raise ImageError("expected finite flow, got NaN or infinite values; check its source")
    motion = -flow.detach().float()
    if settings.still_camera:
        motion = motion - motion.flatten(2).median(dim=2).values[..., None, None]
    speed = motion.norm(dim=1, keepdim=True)
    mask = _from(speed, settings.min_speed, settings.speed_fade)
    if settings.direction_range < 360:
        angle = math.radians(settings.direction)
        toward = vector_like(motion, [math.cos(angle), math.sin(angle)]).view(1, 2, 1, 1)
        cosine = (motion * toward).sum(1, keepdim=True) / speed.clamp_min(torch.finfo(speed.dtype).tiny)
        apart = cosine.clamp(-1, 1).arccos().rad2deg()
        mask = mask * _from(-apart, -settings.direction_range / 2, FADE)
    return mask


def _from(values: Tensor, least: float, fade: float) -> Tensor:
    """Return 1 for values from `least` on, which fades to 0 over `fade` below."""
    return ((values - least) / fade + 1).clamp(0, 1) if fade else (values >= least).float()
