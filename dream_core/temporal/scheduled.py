"""Settings and objective of each frame, where schedules change them along a clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, NamedTuple, TypeAlias

from ..checks import kinds
from ..dreaming.objectives import Objective, build_objective, text_objective
from ..errors import SettingsError
from ..models.dream_model import DreamModel
from ..models.image_text import ImageTextEncoder
from ..schedules.layer_schedule import LayerSchedule
from ..schedules.schedules import LAYERS, Moment, Schedules
from ..settings import DreamSettings, ObjectiveSettings, ReliabilitySettings, TemporalSettings, TextSettings


@dataclass(frozen=True, kw_only=True)
class FrameSettings:
    """Settings of one frame.

    Args:
        dream, temporal, reliability: see `TemporalDreamer`.
        objective: to raise; None for the dreamer's own.
    """

    dream: DreamSettings
    temporal: TemporalSettings
    reliability: ReliabilitySettings
    objective: Objective | None = None


class ObjectivePart(NamedTuple):
    """A part of an objective: layers to excite.

    Args:
        settings: at the start.
        schedules: of its settings.
        region, guide: see `build_objective`.
    """

    settings: ObjectiveSettings
    schedules: Schedules = Schedules()
    region: str = ""
    guide: int = 0

    def build(self, model: DreamModel) -> Objective:
        """Build it with the settings that it has at the start.

        Raises:
            SettingsError: a layer, channel or label does not exist.
        """
        return build_objective(self.settings, model, region=self.region, guide=self.guide)


class TextPart(NamedTuple):
    """A part of an objective: texts to become like.

    Args:
        settings: at the start.
        encoder: compares images with texts.
        schedules: of its settings.
        region: name of the mask in which it acts; empty for that of all texts.
    """

    settings: TextSettings
    encoder: ImageTextEncoder
    schedules: Schedules = Schedules()
    region: str = ""

    def build(self, model: DreamModel) -> Objective:
        """Build it with the settings that it has at the start."""
        return text_objective(self.settings, self.encoder, region=self.region)


class PenaltyPart(NamedTuple):
    """A part of an objective: the penalties of the image alone.

    Args:
        settings: at the start; only the weights of the penalties count.
        schedules: of its settings.
    """

    settings: ObjectiveSettings
    schedules: Schedules = Schedules()

    def build(self, model: DreamModel) -> Objective:
        """Build it with the settings that it has at the start."""
        return Objective((), self.settings.tv_weight, self.settings.l2_weight)


Part: TypeAlias = ObjectivePart | TextPart | PenaltyPart


class ScheduledObjective:
    """A sum of objectives whose layers and weights change along a clip.

    Args:
        parts: at least one.
        model: the network that dreams.

    Raises:
        SettingsError: a layer, channel or label does not exist.
    """

    def __init__(self, parts: Sequence[Part], model: DreamModel) -> None:
        self._parts = parts
        self._model = model
        self._last: tuple[tuple[Part, ...], Objective] | None = None
        self.widest = sum_of_parts([one for part in parts for one in _all_layers(part)], model)
        """The objective with the layers of all moments at once, for the memory that it needs."""

    @property
    def by_seconds(self) -> bool:
        """True if the seconds of a frame must be known."""
        return any(part.schedules.by_seconds for part in self._parts)

    @property
    def strength_changes(self) -> bool:
        """True if its `strength` may change along the clip."""
        return any(
            isinstance(part, TextPart) and not one.constant
            for part in self._parts
            for one in part.schedules.by_name.values()
        )

    def at(self, moment: Moment) -> Objective:
        """Return the objective at a moment of the clip."""
        parts = tuple(part_at(part, moment) for part in self._parts)
        if self._last is None or self._last[0] != parts:
            self._last = parts, sum_of_parts(parts, self._model)
        return self._last[1]


def part_at(part: Part, moment: Moment) -> Part:
    """Return a part with the settings that it has at a moment."""
    # All kinds have these fields.
    settings: Any = part.schedules.apply(part.settings, moment)
    return part._replace(settings=settings)


def sum_of_parts(parts: Sequence[Part], model: DreamModel) -> Objective:
    """Build the sum of objectives with the settings that they have at the start.

    Raises:
        SettingsError: a layer, channel or label does not exist.
    """
    return reduce(add, (one.build(model) for one in parts))


def _all_layers(part: Part) -> list[Part]:
    layers = part.schedules.by_name.get(LAYERS)
    if not (isinstance(part, ObjectivePart) and isinstance(layers, LayerSchedule)):
        return [part]
    return [part._replace(settings=replace(part.settings, layers=mixture)) for mixture in layers.mixtures]


STRENGTH = ("learning_rate", "octave_steps", "iterations")
"""Settings whose product, by the strength of the objective, says how strong a dream is."""


@dataclass(frozen=True)
class Scheduled:
    """What changes along a clip.

    Args:
        schedules: of all settings but those of the objective.
        objective: the sum of objectives, if it changes.
    """

    schedules: Schedules = field(default_factory=Schedules)
    objective: ScheduledObjective | None = None

    def strength(self, now: FrameSettings) -> float | None:
        """Return how strong the dream of a frame is to be; None if all are to be equally strong.

        A dream that is carried would stay as strong as it was, and follow a schedule only as fast as it is dropped
        and renewed. By the strengths of two frames, the `TemporalDreamer` fades what it carries, and adds steps.

        Args:
            now: settings of the frame.
        """
        of_objective = self.objective is not None and self.objective.strength_changes
        of_steps = any(not one.constant for name, one in self.schedules.by_name.items() if name in STRENGTH)
        if not (of_steps or of_objective):
            return None
        octave, own = now.dream.octave, now.objective.strength if now.objective else 1.0
        return own * now.dream.ascent.learning_rate * octave.octave_steps * octave.iterations

    @property
    def by_seconds(self) -> bool:
        """True if the seconds of a frame must be known."""
        return self.schedules.by_seconds or (self.objective is not None and self.objective.by_seconds)

    def at(self, moment: Moment, settings: FrameSettings) -> FrameSettings:
        """Return the settings at a moment of the clip.

        Raises:
            SettingsError: the seconds must be known, and are not.
        """
        if self.by_seconds and math.isnan(moment.seconds):
            raise SettingsError(
                "expected the seconds of the frame, because a `schedule` is in seconds, got none; pass `seconds`"
            )
        objective = None if self.objective is None else self.objective.at(moment)
        return replace(self.schedules.apply(settings, moment), objective=objective)


def schedule_of(schedules: Schedules, parts: Sequence[Part], model: DreamModel) -> Scheduled:
    """Divide schedules into those of the parts of an objective and those of the other settings.

    Args:
        schedules: of any settings.
        parts: of the objective, without schedules.
        model: the network that dreams.

    Raises:
        SettingsError: a layer, channel or label does not exist.
    """
    own = schedules.only({*kinds(ObjectiveSettings), *kinds(TextSettings)})
    others = schedules.only(schedules.by_name.keys() - own.by_name.keys())
    scheduled = [part._replace(schedules=own.only(kinds(type(part.settings)))) for part in parts]
    return Scheduled(others, ScheduledObjective(scheduled, model) if own else None)
