"""Guides: images whose features a dream climbs towards."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ImageError
from ..image import require_image, resize, scaled_size, size_of
from ..models.dream_model import DreamModel
from .guide_terms import Guide, GuideTerm
from .objectives import Objective

GUIDE_SIDE = 384
"""Longest side in pixels at which a guide is looked at; a larger one is shrunk first."""


def look_at_guide(image: Tensor, objective: Objective, model: DreamModel) -> Guide:
    """Compute the features of a guide.

    Args:
        image: (1,3,H,W) RGB in 0..1, of any size.
        objective: names the layers.
        model: the network that dreams.

    Raises:
        ImageError: it is no image, or smaller than a layer needs.
    """
    require_image(image, name="guide", batch=1)
    layers = guided_layers(objective)
    least, side = model.smallest_side(layers), min(size_of(image))
    factor = min(1.0, GUIDE_SIDE / max(size_of(image)))
    if side * factor < least:
        height, width = size_of(image)
        raise ImageError(
            f"expected a guide whose shorter side has at least {least} pixels for layer {', '.join(layers)}, with "
            f"{GUIDE_SIDE} at most on its longer one, got {width}x{height}; take a larger or less narrow one, "
            "or an earlier layer"
        )
    small = resize(image.detach().to(model.device, torch.float32), scaled_size(size_of(image), factor))
    with torch.no_grad():
        return {name: one.float() for name, one in model.activations(small, layers).items()}


def guided_layers(objective: Objective) -> tuple[str, ...]:
    """Names of the layers that guides are compared in, each once."""
    return tuple(dict.fromkeys(one.layer for one in objective.terms if isinstance(one, GuideTerm)))


def guide_count(objective: Objective) -> int:
    """Number of guides that an objective needs."""
    return max((one.guide + 1 for one in objective.terms if isinstance(one, GuideTerm)), default=0)


def with_guides(objective: Objective, guides: Sequence[Guide]) -> Objective:
    """Let the terms with a guide climb towards it.

    Args:
        objective: the number to raise.
        guides: from `look_at_guide`, by the terms' numbers.
    """
    return objective.with_terms(
        lambda one: one.toward(guides[one.guide]) if isinstance(one, GuideTerm) else one
    )
