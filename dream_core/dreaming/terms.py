"""Terms: the shares of an objective, numbers computed from the activations of a network's layers.

A term sums over activations, and makes its number from the sums. The sums add up over the tiles of an image, so
that tiles raise the same number as the whole. `Term.needs_whole` tells of those that do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..device import kept_on_device
from ..errors import SettingsError
from ..image import size_of
from ..settings import COUNTING, ChannelMode, SumLoss

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing since Python 3.11

Activations = Mapping[str, Tensor]
"""Activations (B,C,h,w) by the name of their layer."""

Look = Callable[[Tensor, bool], Tensor]
"""A change of what is seen of an image, such as a crop or a view. It takes what belongs to the image's pixels,
(1,1,H,W), and whether to take the nearest pixel instead of a mean."""

LEAST = 1e-24
"""Least square of which a root is taken: at 0 the slope is infinite."""


class LossSum(NamedTuple):
    """Sums of a term over activations; tiles add up.

    Args:
        sum: any number of sums, float32 of any shape, the same for every image.
        values: number of the activations, or of the places, that were added up.
        channels: number of all channels of the layer.
    """

    sum: Tensor
    values: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class Share(ABC):
    """One share of an objective: a number that a dream raises, in the whole image or in a region.

    It is frozen, and equal to another if it computes the same: graphs and caches are found by it.

    Args:
        region: name of the mask in which it acts, see `Objective.in_regions`; empty for `own_region`.
        mask: that mask, (1,1,H,W) in 0..1, of the image that is seen.
    """

    region: str = ""
    mask: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    @abstractmethod
    def own_region(self) -> str:
        """Name of the mask of those that share one."""

    @abstractmethod
    def weighted(self, factor: float) -> Self:
        """Multiply the weight."""

    def in_region(self, regions: Mapping[str, Tensor]) -> Self:
        """Let it act in its region alone, if there is one of the name; see `Objective.in_regions`."""
        mask = regions.get(self.region or self.own_region)
        return self if mask is None else replace(self, mask=mask)

    @property
    def is_placed(self) -> bool:
        """True if it holds something that belongs to the pixels of the image that is seen."""
        return self.mask is not None

    def seen(self, look: Look) -> Self:
        """Return it for another view of the image."""
        return self if self.mask is None else replace(self, mask=look(self.mask, False))


@dataclass(frozen=True)
class Term(Share):
    """A share that is computed from layers.

    A new kind implements `loss_sum` and `value`.

    Args:
        layer: the layer's name.
        weight: factor; a negative one lowers the number.
    """

    layer: str
    weight: float = 1.0

    @property
    def own_region(self) -> str:
        """Name of its layer."""
        return self.layer

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers whose activations it takes."""
        return (self.layer,)

    @property
    def chooses_channels(self) -> bool:
        """True if channels are still to be chosen by an image."""
        return False

    @property
    def needs_whole(self) -> bool:
        """True if it cannot be computed in tiles, or on a part of the image."""
        return False

    def resolve(self, activations: Activations) -> Term:
        """Choose the channels by an image's activations, and return the term with them."""
        return self

    def weighted(self, factor: float) -> Self:
        """Multiply the weight."""
        return replace(self, weight=self.weight * factor)

    def within(self, activations: Activations) -> Activations:
        """Fade activations out where the mask is black."""
        if self.mask is None:
            return activations
        faded = dict(activations)
        for layer in self.layers:
            one = activations[layer]
            faded[layer] = one * F.adaptive_avg_pool2d(self.mask.to(one), size_of(one))
        return faded

    @abstractmethod
    def loss_sum(self, activations: Activations) -> LossSum:
        """Sum over the activations of an image or of a tile.

        Raises:
            SettingsError: a channel does not exist.
        """

    @abstractmethod
    def value(self, loss_sum: LossSum) -> Tensor:
        """Compute the weighted number from the sums over the whole image, 0-dimensional float32."""


@dataclass(frozen=True)
class ChannelTerm(Term):
    """A term of one layer, or of some of its channels.

    Args:
        channels: for the modes all and ignore, channel indices; empty means every channel.
            For strong, avg and weak, one entry: the number of channels to choose.
        channel_mode: see `settings.ObjectiveSettings`.
    """

    channels: tuple[int, ...] = ()
    channel_mode: ChannelMode = "all"

    def __post_init__(self) -> None:
        if self.channel_mode not in get_args(ChannelMode):
            raise SettingsError(
                f"expected a channel mode of {', '.join(get_args(ChannelMode))}, got '{self.channel_mode}'"
            )
        if self.channel_mode in COUNTING and (len(self.channels) != 1 or self.channels[0] < 1):
            raise SettingsError(
                f"expected one number of at least 1 as channels for channel mode '{self.channel_mode}', got "
                f"{', '.join(map(str, self.channels)) or 'none'}"
            )

    @property
    def chooses_channels(self) -> bool:
        """True if channels are still to be chosen by an image."""
        return bool(self.channels) and self.channel_mode != "all"

    def resolve(self, activations: Activations) -> ChannelTerm:
        """Choose the channels by an image's activations, and return the term with these channels, in mode all.

        Raises:
            SettingsError: a channel does not exist, or the layer has fewer channels than are asked for.
        """
        activation = activations[self.layer]
        if not self.chooses_channels:
            self._check_channels(activation.shape[1])
            return replace(self, channel_mode="all")
        return replace(self, channels=_choose_channels(activation, self), channel_mode="all")

    def _check_channels(self, available: int) -> None:
        wrong = [channel for channel in self.channels if not 0 <= channel < available]
        if wrong:
            raise SettingsError(
                f"expected channels of layer '{self.layer}' from 0 to {available - 1}, got {wrong[0]}; "
                "`print_layers` lists layers with their channel counts"
            )

    def chosen(self, activation: Tensor) -> Tensor:
        """Take the chosen channels out of an activation (B,C,h,w), in float32."""
        available = activation.shape[1]
        self._check_channels(available)
        if self.channels and self.channels != tuple(range(available)):
            activation = activation.index_select(1, _indices_on(self.channels, activation.device))
        return activation.float()


@kept_on_device
def _indices_on(channels: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(channels, device=device)


def _choose_channels(activation: Tensor, term: ChannelTerm) -> tuple[int, ...]:
    """Choose channel indices for the modes ignore, strong, avg and weak; the last three rank by mean activation."""
    available = activation.shape[1]
    if term.channel_mode == "ignore":
        term._check_channels(available)
        chosen = tuple(channel for channel in range(available) if channel not in term.channels)
        if not chosen:
            raise SettingsError(
                f"expected a channel of layer '{term.layer}' to excite, got all {available} to ignore; ignore fewer"
            )
        return chosen
    count = term.channels[0]
    if count > available:
        raise SettingsError(
            f"expected a number from 1 to {available} in `channels` for layer '{term.layer}', got {count}"
        )
    weakest_first = activation.float().mean(dim=(0, 2, 3)).argsort(stable=True).tolist()
    first = {"weak": 0, "avg": (available - count) // 2, "strong": available - count}[term.channel_mode]
    return tuple(sorted(weakest_first[first : first + count]))


@dataclass(frozen=True)
class Loss:
    """A loss over activations: `value(sum of point(activation), number of activations)`."""

    point: Callable[[Tensor], Tensor]
    value: Callable[[Tensor, int], Tensor]


def _root(total: Tensor, count: int) -> Tensor:
    return total.clamp_min(LEAST).sqrt()


def _mean(total: Tensor, count: int) -> Tensor:
    return total / count


LOSSES: dict[SumLoss, Loss] = {
    "l2": Loss(torch.square, _root),
    "norm": Loss(torch.square, _root),
    "abs_l2": Loss(torch.square, _root),
    "mse": Loss(torch.square, _mean),
    "mean": Loss(lambda x: x, _mean),
    "abs_mean": Loss(torch.abs, _mean),
    # Binary cross entropy of the activations, as logits, against 0.
    "bce": Loss(F.softplus, _mean),
}


@dataclass(frozen=True)
class LayerTerm(ChannelTerm):
    """How active a layer is, or some of its channels.

    Args:
        loss: name of the function that turns activations into a number.
        normalize: divide by the layer's number of channels.
    """

    loss: SumLoss = "l2"
    normalize: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss not in LOSSES:
            raise SettingsError(f"expected a loss of {', '.join(LOSSES)}, got '{self.loss}'")
        # A channel that is listed twice counts once.
        object.__setattr__(self, "channels", tuple(dict.fromkeys(self.channels)))

    def loss_sum(self, activations: Activations) -> LossSum:
        """Sum the loss over the chosen activations."""
        chosen = self.chosen(activations[self.layer])
        total = LOSSES[self.loss].point(chosen).sum()
        return LossSum(total, chosen.numel(), activations[self.layer].shape[1])

    def value(self, loss_sum: LossSum) -> Tensor:
        """Compute the weighted loss."""
        weight = self.weight / loss_sum.channels if self.normalize else self.weight
        return weight * LOSSES[self.loss].value(loss_sum.sum, loss_sum.values)


@dataclass(frozen=True)
class DirectionTerm(ChannelTerm):
    """How far activations point along a direction in the space of a layer's channels, on the mean over places.

    It is lucent's `direction_neuron`, `channel` and `neuron`, and lucid's `direction` (Olah et al. 2017, "Feature
    Visualization").

    Args:
        strengths: the direction's value at each of the channels; empty for 1 at each.
        cosine: measure the cosine of the angle, not the product: what else is active counts against it.
        place: down and across as fractions of the image's sides, for the neuron there; None for every place.
    """

    strengths: tuple[float, ...] = ()
    cosine: bool = False
    place: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strengths and (len(self.strengths) != len(self.channels) or self.channel_mode != "all"):
            raise SettingsError(
                f"expected a strength for each channel of layer '{self.layer}', got {len(self.strengths)} for "
                f"{len(self.channels)} in channel mode '{self.channel_mode}'"
            )
        if self.strengths and not any(self.strengths):
            raise SettingsError(f"expected a direction in layer '{self.layer}', got 0 in every channel")
        if self.place is not None and not all(0 <= part <= 1 for part in self.place):
            raise SettingsError(f"expected the place of a neuron from 0 to 1, got {self.place}")

    @property
    def needs_whole(self) -> bool:
        """True for a neuron: a tile does not have its place."""
        return self.place is not None

    def loss_sum(self, activations: Activations) -> LossSum:
        """Sum the products, or the cosines, over the places."""
        activation = activations[self.layer]
        if self.place is not None:
            row, column = (
                min(int(part * side), side - 1)
                for part, side in zip(self.place, activation.shape[-2:], strict=True)
            )
            activation = activation[..., row : row + 1, column : column + 1]
        chosen = self.chosen(activation)
        length = float(chosen.shape[1]) ** 0.5
        if self.strengths:
            chosen = chosen * _strengths_on(self.strengths, chosen.device)
            length = sum(strength**2 for strength in self.strengths) ** 0.5
        along = chosen.sum(1, keepdim=True)
        if self.cosine:
            size = activation.float().square().sum(1, keepdim=True).clamp_min(LEAST).sqrt()
            along = along / (size * length)
        return LossSum(along.sum(), along.numel(), activation.shape[1])

    def value(self, loss_sum: LossSum) -> Tensor:
        """Compute the weighted mean over the places."""
        return self.weight * loss_sum.sum / loss_sum.values


@kept_on_device
def _strengths_on(strengths: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(strengths, dtype=torch.float32, device=device)[:, None, None]


@dataclass(frozen=True)
class DiversityTerm(ChannelTerm):
    """How different the textures of an image's four quarters are, or of a batch's images, as in lucent.

    A texture is the correlations between channels (Gatys et al. 2015); the number is minus the mean cosine between
    those of two parts, times the number of the others. In tiles, each tile has quarters of its own, and the mean
    over the tiles is raised.
    """

    def loss_sum(self, activations: Activations) -> LossSum:
        """Compare the parts; counted as often as there are activations, so that large tiles weigh more."""
        activation = activations[self.layer]
        chosen = self.chosen(activation)
        parts = [one.flatten(1) for one in (chosen if len(chosen) > 1 else _quarters(chosen[0]))]
        textures = [F.normalize((part @ part.T).flatten(), dim=0) for part in parts]
        alike = torch.stack(textures) @ torch.stack(textures).T
        others = (alike.sum() - alike.diagonal().sum()) / len(parts)
        return LossSum(-others * chosen.numel(), chosen.numel(), activation.shape[1])

    def value(self, loss_sum: LossSum) -> Tensor:
        """Compute the weighted mean over the tiles."""
        return self.weight * loss_sum.sum / loss_sum.values


def _quarters(activation: Tensor) -> list[Tensor]:
    """Halve (C,h,w) along each side that has two places."""
    halves = activation.chunk(2, dim=1)
    return [quarter for half in halves for quarter in half.chunk(2, dim=2)]


@dataclass(frozen=True)
class DifferenceTerm(Term):
    """How differently two layers respond: the mean over places of the square of the difference.

    A layer's response at a place is the root of the mean square of its channels. What one layer sees and the other
    does not grows.

    Args:
        other: the other layer's name; the finer of both maps is averaged to the places of the coarser.
        factors: of the two responses.
    """

    other: str = ""
    factors: tuple[float, float] = (1.0, 1.0)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of both layers."""
        return self.layer, self.other

    def loss_sum(self, activations: Activations) -> LossSum:
        """Sum the squares of the differences over the places of the coarser map."""
        responses = [
            factor * activations[name].float().square().mean(1, keepdim=True).clamp_min(LEAST).sqrt()
            for name, factor in zip(self.layers, self.factors, strict=True)
        ]
        size = min((tuple(one.shape[-2:]) for one in responses), key=lambda size: size[0] * size[1])
        first, second = (
            one if tuple(one.shape[-2:]) == size else F.interpolate(one, size, mode="bilinear")
            for one in responses
        )
        squares = (first - second).square()
        return LossSum(squares.sum(), squares.numel(), activations[self.layer].shape[1])

    def value(self, loss_sum: LossSum) -> Tensor:
        """Compute the weighted mean over the places."""
        return self.weight * loss_sum.sum / loss_sum.values
