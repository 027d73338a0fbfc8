"""Terms that compare the layers of an image with those of a guide (Mordvintsev et al. 2015, "Inceptionism")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SettingsError
from ..image import Size, size_of
from .terms import LEAST, Activations, ChannelTerm, Look, LossSum

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_FEATURES = 1024
"""Number of places of a guide whose features are compared; of finer layers, evenly spaced ones."""

COMPARED_AT_ONCE = 2**22
"""Pairs of places that are compared at once, to save memory."""

HOLD = 0.15
"""How much better, as a share, another place of a guide must match to replace the one that was carried along."""

Guide = Mapping[str, Tensor]
"""A guide's activations (1,C,h,w) by the name of their layer."""


@dataclass(frozen=True, kw_only=True)
class GuideTerm(ChannelTerm):
    """A term that compares a layer with a guide.

    Args:
        guide: number of the guide, see `guide.with_guides`.
        features: (C,M), what the layer finds at M places of the guide, of the chosen channels.
    """

    guide: int = 0
    features: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channel_mode not in ("all", "ignore"):
            raise SettingsError(
                f"expected `channel_mode` all or ignore with a guide, got '{self.channel_mode}'"
            )

    def toward(self, guide: Guide) -> GuideTerm:
        """Return the term for a guide."""
        found = self.chosen(guide[self.layer])[0].flatten(1)
        spacing = -(-found.shape[1] // MOST_FEATURES)
        return replace(self, features=found[:, ::spacing])

    def _guide(self) -> Tensor:
        if self.features is None:
            raise SettingsError(
                f"expected a guide for layer '{self.layer}', got none; name one, or choose another `loss`"
            )
        return self.features


@dataclass(frozen=True, kw_only=True)
class MatchTerm(GuideTerm):
    """How well each place matches the place of the guide that is most like it: the mean over places.

    The match of two places is the product of their activations, divided by the root of the length of each: between
    the plain product (Mordvintsev et al. 2015), which is large wherever much is active, and the cosine, with which
    what hardly shows in the guide counts as much as what stands out.

    Args:
        carried: (1,1,H,W), number of the guide's place that was matched at each pixel in the frame before, moved
            along the flow; -1 for none. It is kept until another matches clearly better, so that matches do not
            flicker.
    """

    carried: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def is_placed(self) -> bool:
        """True if it holds something that belongs to the pixels of the image that is seen."""
        return super().is_placed or self.carried is not None

    def seen(self, look: Look) -> Self:
        """Return the term for another view of the image."""
        term = super().seen(look)
        return term if self.carried is None else replace(term, carried=look(self.carried, True))

    def matches(self, activation: Tensor) -> Tensor:
        """Number of the guide's place for each place of an activation (1,C,h,w): (h,w)."""
        chosen = self.chosen(activation.detach())[0]
        goals = self._goals()
        places = chosen.flatten(1).T
        carried = None if self.carried is None else _at_places(self.carried, size_of(activation)).flatten()
        found: list[Tensor] = []
        for part in places.split(max(1, COMPARED_AT_ONCE // goals.shape[1])):
            scores = part @ goals
            best, index = scores.max(1)
            if carried is not None:
                kept, carried = carried.split([len(part), len(carried) - len(part)])
                known = (kept >= 0) & (kept < goals.shape[1])
                score = scores.gather(1, kept.clamp(0, goals.shape[1] - 1)[:, None])[:, 0]
                index = torch.where(known & (best <= score * (1 + HOLD)), kept, index)
            found.append(index)
        return torch.cat(found).view(size_of(activation))

    def _goals(self) -> Tensor:
        guide = self._guide()
        lengths = guide.square().sum(0).clamp_min(LEAST).sqrt()
        return guide / lengths.sqrt()

    def loss_sum(self, activations: Activations) -> LossSum:
        """Sum the matches of all places."""
        activation = activations[self.layer]
        with torch.no_grad():
            goals = self._goals()[:, self.matches(activation).flatten()]
        chosen = self.chosen(activation)[0].flatten(1)
        lengths = chosen.square().sum(0).clamp_min(LEAST).sqrt()
        products = (chosen * goals).sum(0) / lengths.sqrt()
        return LossSum(products.sum(), products.numel(), activation.shape[1])

    def value(self, loss_sum: LossSum) -> Tensor:
        """Compute the weighted mean over the places."""
        return self.weight * loss_sum.sum / loss_sum.values


def _at_places(carried: Tensor, size: Size) -> Tensor:
    """Take the pixel in the middle of each place: (h,w) integers."""
    return F.interpolate(carried, size, mode="nearest-exact")[0, 0].round().long()


@dataclass(frozen=True, kw_only=True)
class StatisticsTerm(GuideTerm):
    """How like the guide's the channels' means and the correlations between channels are (Gatys et al. 2015).

    Minus the mean of the two squared distances, each divided by the square of the guide's own length. The places do
    not matter.
    """

    def loss_sum(self, activations: Activations) -> LossSum:
        """Sum the activations, and their products with each other, over the places."""
        activation = activations[self.layer]
        chosen = self.chosen(activation)[0].flatten(1)
        sums = torch.cat([chosen.sum(1, keepdim=True), chosen @ chosen.T], dim=1)
        return LossSum(sums, chosen.shape[1], activation.shape[1])

    def value(self, loss_sum: LossSum) -> Tensor:
        """Compute the weighted likeness, at most 0."""
        guide = self._guide().to(loss_sum.sum.device)
        wanted = torch.cat([guide.mean(1, keepdim=True), guide @ guide.T / guide.shape[1]], dim=1)
        apart = (loss_sum.sum / loss_sum.values - wanted).square()
        squares = wanted.square()
        means = apart[:, 0].sum() / squares[:, 0].sum().clamp_min(LEAST)
        products = apart[:, 1:].sum() / squares[:, 1:].sum().clamp_min(LEAST)
        return -self.weight * (means + products) / 2
