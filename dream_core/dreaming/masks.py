"""Masks: where a dream may be, and the part of an image that is computed for it."""

from __future__ import annotations

import math

from torch import Tensor

from ..image import box_max, box_mean, size_of
from ..settings import MaskSettings
from .objectives import Objective
from .step_plan import MARGIN
from .tiling import Rectangle, Span

PARTS = 16
"""The sides of the part that is computed are multiples of this part of the image's, as those of the boxes of a step
plan: a size that the libraries for convolutions have not met costs them time."""


def prepare_mask(mask: Tensor, settings: MaskSettings) -> Tensor:
    """Invert and feather a mask, and apply the strength.

    Feathering works inwards, by the mean over squares of an eroded mask: what is 0 stays 0.

    Args:
        mask: (B,1,H,W) in 0..1, 1 = dream.
        settings: accepted by `validate`.

    Returns:
        (B,1,H,W) in 0..1.
    """
    if settings.mask_invert:
        mask = 1 - mask
    # What the erosion takes, the blur brings back in half.
    reach = (settings.mask_feather + 1) // 2
    if reach:
        mask = -box_max(-mask, 2 * reach + 1)
        for part in (reach // 2, reach - reach // 2):
            mask = box_mean(mask, 2 * part + 1)
    return (settings.mask_strength * mask).clamp(0, 1)


def within_reach(mask: Tensor | None, objective: Objective, settings: MaskSettings) -> Tensor | None:
    """Leave out of a mask where an objective acts nowhere.

    Args:
        mask: (1,1,H,W) from `prepare_mask`; None for everywhere.
        objective: in its regions.
        settings: of the mask, for the feather.

    Returns:
        (1,1,H,W) in 0..1; None for everywhere.
    """
    reach = objective.reach
    if reach is None:
        return mask
    reach = prepare_mask(reach, MaskSettings(mask_feather=settings.mask_feather))
    return reach if mask is None else mask.to(reach) * reach


def masked_part(mask: Tensor, *, smallest: int) -> Rectangle | None:
    """Choose the part of an image that is computed: a box around what a mask leaves, and a margin.

    Args:
        mask: (1,1,H,W). On a GPU, the program waits.
        smallest: least length of a side, where the image's is as long.

    Returns:
        The part; None where the mask is 0 everywhere.
    """
    left = mask[0, 0].cpu() > 0
    down, across = (left.any(dim).nonzero().flatten().tolist() for dim in (1, 0))
    if not down:
        return None
    height, width = size_of(mask)
    return Rectangle(_span(down, height, smallest), _span(across, width, smallest))


def _span(found: list[int], side: int, smallest: int) -> Span:
    wanted = max(found[-1] + 1 - found[0] + 2 * MARGIN, smallest)
    count = min(side, math.ceil(math.ceil(PARTS * wanted / side) * side / PARTS))
    start = min(max(0, (found[0] + found[-1] + 1 - count) // 2), side - count)
    return Span(start, start + count)
