"""What comes through DREAM_OBJECTIVE sockets: objectives, each with its schedules, its mask and its guide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from comfy_api.latest import io
from torch import Tensor

from ...dream_core.dreaming.objectives import Objective
from ...dream_core.image import Size, fit_mask
from ...dream_core.models.dream_model import DreamModel
from ...dream_core.schedules.schedules import Moment
from ...dream_core.settings import ObjectiveSettings
from ...dream_core.temporal.scheduled import ObjectivePart, Part, TextPart, part_at, sum_of_parts
from .clips import ClipPair
from .images import of_frame, require_enough
from .require import require

ObjectiveSocket = io.Custom("DREAM_OBJECTIVE")
"""Carries `Objectives`."""

SOURCE = "Dream Objective, Dream Guide or Dream Text"


@dataclass(frozen=True)
class WiredObjective:
    """One objective of a socket.

    Args:
        part: its settings and schedules.
        mask: (B,1,h,w) in 0..1, where it acts, one for all frames or one for each; None for everywhere.
        guide: (B,3,h,w) RGB in 0..1, what it climbs toward, likewise; None without one.
    """

    part: ObjectivePart | TextPart
    mask: Tensor | None = None
    guide: Tensor | None = None


Objectives: TypeAlias = tuple[WiredObjective, ...]
"""Objectives to add up. Their layers are checked later, when the network is known."""


def check_objectives(objectives: Any) -> Objectives:
    """Return the objectives of a socket; none if nothing is connected.

    Raises:
        WireError: something else is connected.
    """
    checked: Objectives = require(objectives or (), tuple, name="objective", source=SOURCE)
    for objective in checked:
        require(objective, WiredObjective, name="objective", source=SOURCE)
    return checked


def parts_of(objectives: Objectives) -> tuple[Part, ...]:
    """Number the objectives, so that each finds its mask and its guide."""
    guides = [one for one in objectives if one.guide is not None]
    return tuple(_part_of(one, number, guides) for number, one in enumerate(objectives))


def _part_of(one: WiredObjective, number: int, guides: Sequence[WiredObjective]) -> Part:
    region = "" if one.mask is None else _region(number)
    if isinstance(one.part, TextPart):
        return one.part._replace(region=region)
    guide = 0 if one.guide is None else next(n for n, other in enumerate(guides) if other is one)
    return one.part._replace(region=region, guide=guide)


def networks_of(objectives: Objectives) -> list[Any]:
    """ModelPatchers of the networks that objectives compare images with."""
    encoders = [one.part.encoder for one in objectives if isinstance(one.part, TextPart)]
    return [one.vision.patcher for one in encoders if isinstance(one, ClipPair)]


def _region(number: int) -> str:
    return f"objective {number + 1}"


def _name(batch: str, number: int) -> str:
    return f"the {batch} of objective {number + 1}"


def build(objectives: Objectives | None, model: DreamModel) -> Objective:
    """Build the sum of all objectives for a network, as they are at frame 0; without any, the network's default.

    Raises:
        SettingsError: the network has no such layer or channel.
        WireError: the socket carries something else.
    """
    parts = parts_of(check_objectives(objectives)) or (ObjectivePart(ObjectiveSettings()),)
    start = Moment(0, 0.0)
    return sum_of_parts([part_at(part, start) for part in parts], model)


def check_counts(objectives: Objectives, count: int, size: Size) -> None:
    """Check, before any work, that there are masks and guides for all frames.

    Raises:
        ImageError: there are fewer than frames, or masks have other proportions.
    """
    for number, one in enumerate(objectives):
        for name, batch in (("mask", one.mask), ("guide", one.guide)):
            if batch is not None:
                require_enough(batch, count, name=_name(name, number))
        if one.mask is not None:
            fit_mask(one.mask[:1], size, name=_name("mask", number))


def regions_at(objectives: Objectives, index: int, size: Size) -> dict[str, Tensor]:
    """Masks of a frame by the names of the objectives' regions, (1,H,W) each, of a size."""
    return {
        _region(number): fit_mask(of_frame(one.mask, index, name=_name("mask", number)), size)[0]
        for number, one in enumerate(objectives)
        if one.mask is not None
    }


def guides_at(objectives: Objectives, index: int) -> tuple[Tensor, ...]:
    """Guides of a frame, (3,h,w) each."""
    return tuple(
        of_frame(one.guide, index, name=_name("guide", number))[0]
        for number, one in enumerate(objectives)
        if one.guide is not None
    )
