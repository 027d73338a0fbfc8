"""Objectives: numbers, computed from activations and from the image, that a dream raises.

Objectives add and scale: `0.5 * layer("inception_4c_output") + neuron("inception_3b_output", 7)`. They are sums of
terms (`terms.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import validate
from ..errors import SettingsError
from ..image import Size, resize, scaled_size, size_of
from ..layer_weights import LayerEntry, layer_entries, number, split_list
from ..models.dream_model import DreamModel
from ..models.image_text import ImageTextEncoder
from ..models.labels import channel_indices, is_index
from ..settings import (
    ChannelMode,
    DirectionLoss,
    GuideLoss,
    LossMode,
    ObjectiveSettings,
    SumLoss,
    TextSettings,
)
from ..text_weights import text_entries
from .guide_terms import GuideTerm, MatchTerm, StatisticsTerm
from .terms import (
    Activations,
    DifferenceTerm,
    DirectionTerm,
    DiversityTerm,
    LayerTerm,
    Look,
    LossSum,
    Share,
    Term,
)
from .text_terms import TextTerm

CHOICE_SIDE = 512
"""Longest side in pixels of the image from which channels are chosen; a larger one is shrunk first."""


@dataclass(frozen=True)
class Objective:
    """A number that a dream raises: a sum of terms over layers, and of texts, minus two penalties of the image.

    Args:
        terms: the layers' shares, weighted.
        tv_weight: weight of the first penalty, the image's total variation.
        l2_weight: weight of the second, the image's mean squared distance from mid-gray.
        texts: what the image itself is to be like. A text pulls as strongly as a layer of the same weight.
    """

    terms: tuple[Term, ...]
    tv_weight: float = 0.0
    l2_weight: float = 0.0
    texts: tuple[TextTerm, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of its layers, each once."""
        return tuple(dict.fromkeys(layer for term in self.terms for layer in term.layers))

    def __add__(self, other: Objective) -> Objective:
        """Return the sum of two objectives."""
        return Objective(
            self.terms + other.terms,
            self.tv_weight + other.tv_weight,
            self.l2_weight + other.l2_weight,
            self.texts + other.texts,
        )

    def __mul__(self, factor: float) -> Objective:
        """Multiply all weights by a number."""
        terms = tuple(term.weighted(factor) for term in self.terms)
        texts = tuple(text.weighted(factor) for text in self.texts)
        return Objective(terms, self.tv_weight * factor, self.l2_weight * factor, texts)

    __rmul__ = __mul__

    @property
    def shares(self) -> tuple[Share, ...]:
        """Its terms and texts."""
        return (*self.terms, *self.texts)

    @property
    def strength(self) -> float:
        """Factor of the size of steps toward it, in 0..1: less than 1 where texts are alone and pull weakly.

        The weights of layers have units of their own, so that only their proportions count.
        """
        if not self.texts or any(term.weight for term in self.terms):
            return 1.0
        return min(1.0, sum(text.pull for text in self.texts))

    @property
    def chooses_channels(self) -> bool:
        """True if some channels are still to be chosen by an image."""
        return any(term.chooses_channels for term in self.terms)

    @property
    def needs_whole(self) -> bool:
        """True if it cannot be computed in tiles, or on a part of the image."""
        return any(term.needs_whole for term in self.terms)

    def resolve(self, activations: Activations) -> Objective:
        """Choose all channels by an image's activations, (B,C,H,W) by layer."""
        return replace(self, terms=tuple(term.resolve(activations) for term in self.terms))

    @property
    def is_placed(self) -> bool:
        """True if it differs from place to place of the image that is seen: it has regions, or a guide's places."""
        return any(one.is_placed for one in self.shares)

    def in_regions(self, regions: Mapping[str, Tensor]) -> Objective:
        """Let terms act in parts of an image alone.

        Args:
            regions: masks (1,1,H,W) in 0..1 by the terms' `region` or, of those without, by their layer, or by
                `TEXT_REGION`. Terms that are not named act everywhere.
        """
        if not regions:
            return self
        texts = tuple(one.in_region(regions) for one in self.texts)
        return replace(self.with_terms(lambda one: one.in_region(regions)), texts=texts)

    @property
    def reach(self) -> Tensor | None:
        """Where any of its terms acts, (1,1,H,W) in 0..1; None for everywhere."""
        masks = [one.mask for one in self.shares if one.mask is not None]
        if self.has_penalties or not masks or len(masks) < len(self.shares):
            return None
        return torch.stack(masks).amax(0)

    def seen(self, look: Look) -> Objective:
        """Return the objective for another view of the image: what belongs to its pixels is moved with them."""
        if not self.is_placed:
            return self
        texts = tuple(one.seen(look) for one in self.texts)
        return replace(self.with_terms(lambda one: one.seen(look)), texts=texts)

    def with_terms(self, change: Callable[[Term], Term]) -> Objective:
        """Change every term."""
        return replace(self, terms=tuple(map(change, self.terms)))

    def loss_sums(self, activations: Activations) -> list[LossSum]:
        """Sum each term over the activations, (B,C,H,W) by layer."""
        return [term.loss_sum(term.within(activations)) for term in self.terms]

    def value(self, loss_sums: Sequence[LossSum]) -> Tensor:
        """Compute the layers' part of the objective, 0-dimensional float32."""
        return torch.stack([term.value(one) for term, one in zip(self.terms, loss_sums, strict=True)]).sum()

    def __call__(self, activations: Activations) -> Tensor:
        """Compute the layers' part of the objective from a whole image's activations, 0-dimensional float32."""
        return self.value(self.loss_sums(activations))

    @property
    def has_penalties(self) -> bool:
        """True if a penalty has a weight."""
        return self.tv_weight != 0 or self.l2_weight != 0

    def penalty_value(self, image: Tensor) -> Tensor:
        """Compute the penalties' part of the objective for (B,3,H,W) in 0..1, 0-dimensional."""
        l2 = (image - 0.5).square().mean()
        return -(self.tv_weight * total_variation(image) + self.l2_weight * l2)


def require_region(name: str, objective: Objective) -> None:
    """Raise a SettingsError unless a region is that of one of an objective's layers, or of its texts."""
    known = [*objective.layers, *({one.own_region for one in objective.texts})]
    if name not in known:
        raise SettingsError(f"expected `regions` of what is excited, {', '.join(known)}, got '{name}'")


def resized(field: Tensor, nearest: bool, *, size: Size) -> Tensor:
    """Scale what belongs to an image's pixels, (1,1,H,W), to another size of the image: a `Look`."""
    if size_of(field) == size:
        return field
    return F.interpolate(field, size, mode="nearest-exact") if nearest else resize(field, size).clamp(0, 1)


def total_variation(image: Tensor) -> Tensor:
    """Sum of the absolute differences between neighbors, divided by the number of values (Rudin et al. 1992)."""
    down = image.diff(dim=-2).abs().sum()
    right = image.diff(dim=-1).abs().sum()
    return (down + right) / image.numel()


def layer(
    name: str,
    *,
    weight: float = 1.0,
    loss: SumLoss = "l2",
    channels: tuple[int, ...] = (),
    channel_mode: ChannelMode = "all",
) -> Objective:
    """Make the objective that excites one layer, or some of its channels."""
    return Objective((LayerTerm(name, weight, channels, channel_mode, loss),))


def channel(layer: str, index: int, *, weight: float = 1.0) -> Objective:
    """Make the objective that raises the mean of one channel of a layer."""
    return Objective((DirectionTerm(layer, weight, (index,)),))


def neuron(layer: str, index: int, *, x: float = 0.5, y: float = 0.5, weight: float = 1.0) -> Objective:
    """Make the objective that raises one channel at one place; it needs the whole image.

    Args:
        layer: the layer's name.
        index: the channel.
        x, y: the place in 0..1, from the left and from the top of the image that is computed: with a mask, of the
            part around it.
        weight: factor.
    """
    return Objective((DirectionTerm(layer, weight, (index,), place=(y, x)),))


def direction(layer: str, vector: Sequence[float], *, weight: float = 1.0) -> Objective:
    """Make the objective that raises the mean product of a layer with a vector."""
    return Objective((_along(layer, vector, weight=weight),))


def cosine(layer: str, vector: Sequence[float], *, weight: float = 1.0) -> Objective:
    """Make the objective that turns a layer toward a direction: the mean cosine to a vector over its channels."""
    return Objective((_along(layer, vector, weight=weight, cosine=True),))


def direction_neuron(
    layer: str, vector: Sequence[float], *, x: float = 0.5, y: float = 0.5, weight: float = 1.0
) -> Objective:
    """Make the objective `cosine` at one place, which is that of `neuron`."""
    return Objective((_along(layer, vector, weight=weight, cosine=True, place=(y, x)),))


def _along(
    layer: str,
    vector: Sequence[float],
    *,
    weight: float,
    cosine: bool = False,
    place: tuple[float, float] | None = None,
) -> DirectionTerm:
    strengths = tuple(map(float, vector))
    return DirectionTerm(
        layer,
        weight,
        channels=tuple(range(len(strengths))),
        strengths=strengths,
        cosine=cosine,
        place=place,
    )


def diversity(layer: str, *, weight: float = 1.0) -> Objective:
    """Make the objective that makes the quarters of an image, or the images of a batch, different."""
    return Objective((DiversityTerm(layer, weight),))


def layer_difference(first: str, second: str, *, weight: float = 1.0) -> Objective:
    """Make the objective that makes two layers respond differently, place by place."""
    return Objective((DifferenceTerm(first, weight, second),))


def class_logit(label: str, model: DreamModel, *, weight: float = 1.0) -> Objective:
    """Make the objective that raises the score of a class, or of all classes whose names have a word in them.

    Raises:
        SettingsError: no class has the name; see `channel_indices`.
    """
    name = model.spec.classifier
    found = channel_indices([label], model.labels, layer=name, channels=model.channels(name))
    return layer(name, weight=weight, loss="mean", channels=tuple(found))


def build_objective(
    settings: ObjectiveSettings, model: DreamModel, *, region: str = "", guide: int = 0
) -> Objective:
    """Build the objective that the settings describe, for a network.

    Args:
        settings: layers, channels and losses.
        model: the network.
        region: name of the mask in which all of it acts; empty for one of each layer, see `Objective.in_regions`.
        guide: number of the guide of the losses match and statistics.

    Raises:
        SettingsError: a layer, channel or label does not exist, or they do not fit the loss.
    """
    entries = layer_entries(settings.layers) or (LayerEntry(_default_layer(settings, model)),)
    terms: list[Term] = []
    compared: list[LayerEntry] = []
    for entry in entries:
        loss = _loss(settings, model, entry)
        if loss == "difference":
            compared.append(entry)
        else:
            terms.append(_term(settings, model, entry, loss))
    if compared:
        terms.append(_difference(settings, compared))
    placed = (replace(one, guide=guide) if isinstance(one, GuideTerm) else one for one in terms)
    return Objective(
        tuple(replace(one, region=region) for one in placed), settings.tv_weight, settings.l2_weight
    )


def text_objective(settings: TextSettings, encoder: ImageTextEncoder, *, region: str = "") -> Objective:
    """Build the objective of becoming like texts.

    Args:
        settings: the texts, their weight and the crops that are compared.
        encoder: compares images with texts.
        region: name of the mask in which it acts; empty for that of all texts.
    """
    term = TextTerm(
        encoder=encoder,
        texts=text_entries(settings.text),
        weight=settings.text_weight,
        crops=settings.text_crops,
        smallest=settings.smallest_crop,
        region=region,
    )
    return Objective((), texts=(term,))


def _default_layer(settings: ObjectiveSettings, model: DreamModel) -> str:
    names_classes = model.labels and any(not is_index(name) for name, _ in _words(settings))
    return model.spec.classifier if names_classes else model.default_layer


def _loss(settings: ObjectiveSettings, model: DreamModel, entry: LayerEntry) -> LossMode:
    if entry.loss:
        if entry.loss not in get_args(LossMode):
            raise SettingsError(
                f"expected a loss of {', '.join(get_args(LossMode))} for layer '{entry.name}', got '{entry.loss}'"
            )
        return cast(LossMode, entry.loss)
    if settings.loss != "auto":
        return settings.loss
    return "mean" if model.is_classifier(entry.name) else "l2"


def _term(settings: ObjectiveSettings, model: DreamModel, entry: LayerEntry, loss: LossMode) -> Term:
    weight = entry.weight * settings.dream_weight
    channels, strengths = _channels(settings, model, entry.name)
    if loss in get_args(DirectionLoss):
        if not channels:
            raise SettingsError(
                f"expected `channels` for `loss` {loss}, got none; list some, such as 12 or 12:1,40:-0.5"
            )
        return DirectionTerm(
            entry.name,
            weight,
            channels,
            settings.channel_mode,
            strengths,
            cosine=loss == "cosine",
            place=(0.5, 0.5) if loss == "neuron" else None,
        )
    if strengths:
        raise SettingsError(
            f"expected `channels` without strengths for `loss` {loss}, got {', '.join(settings.channels)}; "
            f"take {', '.join(get_args(DirectionLoss))}"
        )
    if loss == "diversity":
        return DiversityTerm(entry.name, weight, channels, settings.channel_mode)
    if loss in get_args(GuideLoss):
        kind = MatchTerm if loss == "match" else StatisticsTerm
        return kind(layer=entry.name, weight=weight, channels=channels, channel_mode=settings.channel_mode)
    return LayerTerm(
        entry.name, weight, channels, settings.channel_mode, cast(SumLoss, loss), settings.normalize_weights
    )


def _difference(settings: ObjectiveSettings, entries: Sequence[LayerEntry]) -> Term:
    if len(entries) != 2:
        names = ", ".join(entry.name for entry in entries)
        raise SettingsError(f"expected two `layers` for `loss` difference, got {names}")
    first, second = entries
    if split_list(settings.channels):
        raise SettingsError("expected no `channels` for `loss` difference, which compares whole layers")
    return DifferenceTerm(first.name, settings.dream_weight, second.name, (first.weight, second.weight))


def _words(settings: ObjectiveSettings) -> list[tuple[str, float | None]]:
    """Split `channels` into names and strengths, which are None where none is given."""
    words: list[tuple[str, float | None]] = []
    for word in split_list(settings.channels):
        name, colon, strength = word.rpartition(":")
        if colon:
            words.append((name, number(strength, "a channel as CHANNEL or CHANNEL:STRENGTH", word)))
        else:
            words.append((word, None))
    return words


def _channels(
    settings: ObjectiveSettings, model: DreamModel, layer: str
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Find the channels of a layer and their strengths, which are empty where none is given."""
    words = _words(settings)
    with_strengths = any(strength is not None for _, strength in words)
    if with_strengths and settings.channel_mode != "all":
        raise SettingsError(
            f"expected `channel_mode` all for channels with strengths, got {settings.channel_mode}"
        )
    if settings.channel_mode not in ("all", "ignore"):
        validate(settings)  # one number
        return (int(words[0][0]),), ()
    if not words:
        return (), ()  # counting the network's channels takes a while
    available = model.channels(layer)
    strengths: dict[int, float] = {}
    for name, strength in words:
        for index in channel_indices([name], model.labels, layer=layer, channels=available):
            strengths[index] = 1.0 if strength is None else strength
    return tuple(strengths), tuple(strengths.values()) if with_strengths else ()


def choose_channels(image: Tensor, objective: Objective, model: DreamModel) -> Objective:
    """Choose an objective's channels by the activations of an image (1,3,H,W)."""
    if not objective.chooses_channels:
        return objective
    factor = min(1.0, CHOICE_SIDE / max(size_of(image)))
    small = resize(image, scaled_size(size_of(image), factor))
    with torch.no_grad():
        return objective.resolve(model.activations(small, objective.layers))
