"""Objectives: numbers, computed from activations and from the image, that a dream raises.

Objectives add and scale: `0.5 * layer("inception_4c_output") + layer("inception_3b_output", channels=(7,))`.

Every loss is a function of a sum over activations and of their number. Both add up over tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import validate
from ..device import kept_on_device
from ..errors import SettingsError
from ..image import resize, scaled_size, size_of
from ..layer_weights import parse_layers, split_list
from ..models.dream_model import DreamModel
from ..models.labels import channel_indices, is_index
from ..settings import COUNTING, ChannelMode, LossMode, ObjectiveSettings

CHOICE_SIDE = 512
"""Longest side in pixels of the image from which channels are chosen; a larger one is shrunk first."""

Activations = Mapping[str, Tensor]


@dataclass(frozen=True)
class Loss:
    """A loss over activations: `value(sum of point(activation), number of activations)`."""

    point: Callable[[Tensor], Tensor]
    value: Callable[[Tensor, int], Tensor]


def _root(total: Tensor, count: int) -> Tensor:
    return total.clamp_min(1e-24).sqrt()  # at 0 the slope is infinite


def _mean(total: Tensor, count: int) -> Tensor:
    return total / count


LOSSES: dict[LossMode, Loss] = {
    "l2": Loss(torch.square, _root),
    "norm": Loss(torch.square, _root),
    "abs_l2": Loss(torch.square, _root),
    "mse": Loss(torch.square, _mean),
    "mean": Loss(lambda x: x, _mean),
    "abs_mean": Loss(torch.abs, _mean),
    # Binary cross entropy of the activations, as logits, against 0.
    "bce": Loss(F.softplus, _mean),
}


class LossSum(NamedTuple):
    """Loss of a term summed over activations; tiles add up.

    Args:
        sum: sum of `Loss.point` over the chosen activations, 0-dimensional float32.
        values: number of the chosen activations.
        channels: number of all channels of the layer.
    """

    sum: Tensor
    values: int
    channels: int


@dataclass(frozen=True)
class LayerTerm:
    """One layer's share of an objective.

    Args:
        layer: the layer's name.
        weight: factor; a negative one suppresses the layer.
        loss: name of the function that turns activations into a number.
        channels: for the modes all and ignore, channel indices; empty means every channel.
            For strong, avg and weak, one entry: the number of channels to choose.
        channel_mode: see `settings.ObjectiveSettings`.
        normalize: divide by the layer's number of channels.
    """

    layer: str
    weight: float = 1.0
    loss: LossMode = "l2"
    channels: tuple[int, ...] = ()
    channel_mode: ChannelMode = "all"
    normalize: bool = False

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise SettingsError(f"expected a loss of {', '.join(LOSSES)}, got '{self.loss}'")
        if self.channel_mode not in get_args(ChannelMode):
            raise SettingsError(
                f"expected a channel mode of {', '.join(get_args(ChannelMode))}, got '{self.channel_mode}'"
            )
        if self.channel_mode in COUNTING and (len(self.channels) != 1 or self.channels[0] < 1):
            raise SettingsError(
                f"expected one number of at least 1 as channels for channel mode '{self.channel_mode}', got "
                f"{', '.join(map(str, self.channels)) or 'none'}"
            )
        # A channel that is listed twice counts once.
        object.__setattr__(self, "channels", tuple(dict.fromkeys(self.channels)))

    def resolve(self, activation: Tensor) -> LayerTerm:
        """Choose the channels by an activation (B,C,H,W) and return the term with these channels, in mode all.

        Raises:
            SettingsError: a channel does not exist, or the layer has fewer channels than are asked for.
        """
        if self.channel_mode == "all" or not self.channels:
            self._check_channels(activation.shape[1])
            return replace(self, channel_mode="all")
        chosen = _choose_channels(activation, self)
        return replace(self, channels=chosen, channel_mode="all")

    def _check_channels(self, available: int) -> None:
        wrong = [channel for channel in self.channels if not 0 <= channel < available]
        if wrong:
            raise SettingsError(
                f"expected channels of layer '{self.layer}' from 0 to {available - 1}, got {wrong[0]}; "
                "`print_layers` lists layers with their channel counts"
            )

    def loss_sum(self, activation: Tensor) -> LossSum:
        """Sum the loss over an activation (B,C,H,W)."""
        channels = activation.shape[1]
        self._check_channels(channels)
        if self.channels and len(set(self.channels)) < channels:
            activation = activation.index_select(1, _on_device(self.channels, activation.device))
        return LossSum(LOSSES[self.loss].point(activation.float()).sum(), activation.numel(), channels)

    def value(self, loss_sum: LossSum) -> Tensor:
        """Compute the weighted loss, 0-dimensional float32."""
        weight = self.weight / loss_sum.channels if self.normalize else self.weight
        return weight * LOSSES[self.loss].value(loss_sum.sum, loss_sum.values)


@kept_on_device
def _on_device(channels: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(channels, device=device)


def _choose_channels(activation: Tensor, term: LayerTerm) -> tuple[int, ...]:
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
class Objective:
    """A number that a dream raises: a weighted sum over layers, minus two penalties of the image itself.

    Args:
        terms: the layers' shares.
        tv_weight: weight of the first penalty, the image's total variation.
        l2_weight: weight of the second, the image's mean squared distance from mid-gray.
    """

    terms: tuple[LayerTerm, ...]
    tv_weight: float = 0.0
    l2_weight: float = 0.0

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of its layers, each once."""
        return tuple(dict.fromkeys(term.layer for term in self.terms))

    def __add__(self, other: Objective) -> Objective:
        """Return the sum of two objectives."""
        return Objective(
            self.terms + other.terms, self.tv_weight + other.tv_weight, self.l2_weight + other.l2_weight
        )

    def __mul__(self, factor: float) -> Objective:
        """Multiply all weights by a number."""
        terms = tuple(replace(term, weight=term.weight * factor) for term in self.terms)
        return Objective(terms, self.tv_weight * factor, self.l2_weight * factor)

    __rmul__ = __mul__

    @property
    def chooses_channels(self) -> bool:
        """True if some channels are still to be chosen by an image."""
        return any(term.channels and term.channel_mode != "all" for term in self.terms)

    def resolve(self, activations: Activations) -> Objective:
        """Choose all channels by an image's activations, (B,C,H,W) by layer."""
        return replace(self, terms=tuple(term.resolve(activations[term.layer]) for term in self.terms))

    def loss_sums(self, activations: Activations) -> list[LossSum]:
        """Sum each term's loss over the activations, (B,C,H,W) by layer."""
        return [term.loss_sum(activations[term.layer]) for term in self.terms]

    def value(self, loss_sums: Sequence[LossSum]) -> Tensor:
        """Compute the layers' part of the objective, 0-dimensional float32."""
        return torch.stack([term.value(one) for term, one in zip(self.terms, loss_sums, strict=True)]).sum()

    def __call__(self, activations: Activations) -> Tensor:
        """Compute the layers' part of the objective from a whole image's activations, 0-dimensional float32."""
        return self.value(self.loss_sums(activations))

    @property
    def has_image_terms(self) -> bool:
        """True if the image itself counts: a penalty has a weight."""
        return self.tv_weight != 0 or self.l2_weight != 0

    def image_value(self, image: Tensor) -> Tensor:
        """Compute the image's part of the objective for (B,3,H,W) in 0..1, 0-dimensional."""
        l2 = (image - 0.5).square().mean()
        return -(self.tv_weight * total_variation(image) + self.l2_weight * l2)


def total_variation(image: Tensor) -> Tensor:
    """Sum of the absolute differences between neighbors, divided by the number of values (Rudin et al. 1992)."""
    down = image.diff(dim=-2).abs().sum()
    right = image.diff(dim=-1).abs().sum()
    return (down + right) / image.numel()


def layer(
    name: str,
    *,
    weight: float = 1.0,
    loss: LossMode = "l2",
    channels: tuple[int, ...] = (),
    channel_mode: ChannelMode = "all",
) -> Objective:
    """Make the objective that excites one layer, or some of its channels."""
    return Objective((LayerTerm(name, weight, loss, channels, channel_mode),))


def build_objective(settings: ObjectiveSettings, model: DreamModel) -> Objective:
    """Build the objective that the settings describe, for a network.

    Raises:
        SettingsError: a layer, channel or label does not exist.
    """
    weights = parse_layers(settings.layers) or {_default_layer(settings, model): 1.0}
    terms = tuple(
        LayerTerm(
            layer=name,
            weight=weight * settings.dream_weight,
            loss=_loss(settings, model, name),
            channels=_channel_indices(settings, model, name),
            channel_mode=settings.channel_mode,
            normalize=settings.normalize_weights,
        )
        for name, weight in weights.items()
    )
    return Objective(terms, settings.tv_weight, settings.l2_weight)


def _default_layer(settings: ObjectiveSettings, model: DreamModel) -> str:
    names_classes = model.labels and any(not is_index(word) for word in split_list(settings.channels))
    return model.spec.classifier if names_classes else model.default_layer


def _loss(settings: ObjectiveSettings, model: DreamModel, layer: str) -> LossMode:
    if settings.loss != "auto":
        return settings.loss
    return "mean" if model.is_classifier(layer) else "l2"


def _channel_indices(settings: ObjectiveSettings, model: DreamModel, layer: str) -> tuple[int, ...]:
    words = split_list(settings.channels)
    if settings.channel_mode in ("all", "ignore"):
        if not words:
            return ()  # counting the network's channels takes a while
        found = channel_indices(words, model.labels, layer=layer, channels=model.channels(layer))
        return tuple(found)
    validate(settings)  # one number
    return (int(words[0]),)


def choose_channels(image: Tensor, objective: Objective, model: DreamModel) -> Objective:
    """Choose an objective's channels by the activations of an image (1,3,H,W)."""
    if not objective.chooses_channels:
        return objective
    factor = min(1.0, CHOICE_SIDE / max(size_of(image)))
    small = resize(image, scaled_size(size_of(image), factor))
    with torch.no_grad():
        return objective.resolve(model.activations(small, objective.layers))
