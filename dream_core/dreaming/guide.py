"""Guides: images whose features a dream climbs towards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import ImageError, SettingsError
from ..image import Size, require_image, resize, scaled_size, size_of
from ..models.dream_model import DreamModel
from .guide_terms import Guide, GuideTerm, MatchTerm
from .objectives import CHOICE_SIDE, Objective, resized

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


class Guides:
    """Looks at guides, each only once for as long as it stays the same."""

    def __init__(self) -> None:
        self._images: list[Tensor] = []
        self._found: list[Guide] = []
        self._layers: tuple[str, ...] = ()

    def __call__(self, images: Sequence[Tensor], objective: Objective, model: DreamModel) -> Objective:
        """Let an objective climb toward guides.

        Args:
            images: (1,3,H,W) RGB in 0..1, by the terms' numbers.
            objective: the number to raise.
            model: the network that dreams.

        Raises:
            ImageError: see `look_at_guide`.
            SettingsError: there are fewer guides than the objective needs.
        """
        needed = guide_count(objective)
        if not needed:
            return objective
        if len(images) < needed:
            raise SettingsError(
                "expected a guide for `loss` match or statistics, got none; name one by `guide`, or choose another "
                "`loss`"
            )
        if guided_layers(objective) != self._layers:
            self._images, self._found, self._layers = [], [], guided_layers(objective)
        for number, image in enumerate(images[:needed]):
            if number < len(self._images) and self._images[number].is_set_to(image):
                continue
            self._images[number:] = [image]
            self._found[number:] = [look_at_guide(image, objective, model)]
        return with_guides(objective, self._found)


def with_carried(objective: Objective, matches: Tensor | None) -> Objective:
    """Let matches hold that were carried along.

    Args:
        objective: the number to raise.
        matches: (1,K,H,W) from `find_matches`, one for each term that matches; others are left out.
    """
    count = sum(isinstance(one, MatchTerm) for one in objective.terms)
    if matches is None or matches.shape[1] != count:
        return objective
    each = iter(matches.split(1, dim=1))
    return objective.with_terms(
        lambda one: replace(one, carried=next(each)) if isinstance(one, MatchTerm) else one
    )


def find_matches(image: Tensor, objective: Objective, model: DreamModel) -> Tensor | None:
    """Find what each place of an image matches in a guide, to hold on to in the next frame.

    Args:
        image: (1,3,H,W) in 0..1; a larger one is shrunk to `CHOICE_SIDE` first.
        objective: with its guides.
        model: the network that dreams.

    Returns:
        (1,K,H,W), numbers of places for each term that matches; None without one.
    """
    terms = [one for one in objective.terms if isinstance(one, MatchTerm)]
    if not terms:
        return None
    size = size_of(image)
    small = scaled_size(size, min(1.0, CHOICE_SIDE / max(size)))
    layers = tuple(dict.fromkeys(one.layer for one in terms))
    with torch.no_grad():
        activations = model.activations(resize(image, small), layers)
        each = [_spread(one, activations[one.layer], small, size) for one in terms]
    return torch.cat(each, dim=1)


def _spread(term: MatchTerm, activation: Tensor, small: Size, size: Size) -> Tensor:
    seen = term.seen(lambda field, nearest: resized(field, nearest, size=small))
    found = seen.matches(activation)[None, None].to(torch.float32)
    return resized(found, True, size=size)
