"""Settings and objective of each frame, where schedules change them along a clip."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import NamedTuple

from ..checks import kinds
from ..dreaming.objectives import Objective, build_objective
from ..errors import SettingsError
from ..models.dream_model import DreamModel
from ..schedules.layer_schedule import LayerSchedule
from ..schedules.schedules import LAYERS, Moment, Schedules
from ..settings import DreamSettings, ObjectiveSettings, ReliabilitySettings, TemporalSettings


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
    """A part of an objective.

    Args:
        settings: at the start.
        schedules: of its settings.
        region, guide: see `build_objective`.
    """

    settings: ObjectiveSettings
    schedules: Schedules = Schedules()
    region: str = ""
    guide: int = 0


class ScheduledObjective:
    """A sum of objectives whose layers and weights change along a clip.

    Args:
        parts: at least one.
        model: the network that dreams.

    Raises:
        SettingsError: a layer, channel or label does not exist.
    """

    def __init__(self, parts: Sequence[ObjectivePart], model: DreamModel) -> None:
        self._parts = parts
        self._model = model
        self._last: tuple[tuple[ObjectivePart, ...], Objective] | None = None
        self.widest = sum_of_parts([one for part in parts for one in _all_layers(part)], model)
        """The objective with the layers of all moments at once, for the memory that it needs."""

    @property
    def by_seconds(self) -> bool:
        """True if the seconds of a frame must be known."""
        return any(part.schedules.by_seconds for part in self._parts)

    def at(self, moment: Moment) -> Objective:
        """Return the objective at a moment of the clip."""
        parts = tuple(
            part._replace(settings=part.schedules.apply(part.settings, moment)) for part in self._parts
        )
        if self._last is None or self._last[0] != parts:
            self._last = parts, sum_of_parts(parts, self._model)
        return self._last[1]


def sum_of_parts(parts: Sequence[ObjectivePart], model: DreamModel) -> Objective:
    """Build the sum of objectives with the settings that they have at the start.

    Raises:
        SettingsError: a layer, channel or label does not exist.
    """
    return reduce(
        add, (build_objective(one.settings, model, region=one.region, guide=one.guide) for one in parts)
    )


def _all_layers(part: ObjectivePart) -> list[ObjectivePart]:
    layers = part.schedules.by_name.get(LAYERS)
    if not isinstance(layers, LayerSchedule):
        return [part]
    return [part._replace(settings=replace(part.settings, layers=mixture)) for mixture in layers.mixtures]


STRENGTH = ("learning_rate", "octave_steps", "iterations")
"""Settings whose product says how strong a dream is."""


@dataclass(frozen=True)
class Scheduled:
    """What changes along a clip.

    Args:
        schedules: of all settings but those of the objective.
        objective: the sum of objectives, if it changes.
    """

    schedules: Schedules = field(default_factory=Schedules)
    objective: ScheduledObjective | None = None

    def strength(self, settings: DreamSettings) -> float | None:
        """Return how strong the dream of a frame is to be; None if all are to be equally strong.

        A dream that is carried would stay as strong as it was, and follow a schedule only as fast as it is dropped
        and renewed. By the strengths of two frames, the `TemporalDreamer` fades what it carries, and adds steps.

        Args:
            settings: those of the frame.
        """
        if all(one.constant for name, one in self.schedules.by_name.items() if name in STRENGTH):
            return None
        octave = settings.octave
        return settings.ascent.learning_rate * octave.octave_steps * octave.iterations

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


def schedule_of(schedules: Schedules, objective: ObjectiveSettings, model: DreamModel) -> Scheduled:
    """Divide schedules into those of an objective and those of the other settings.

    Args:
        schedules: of any settings.
        objective: settings of the objective.
        model: the network that dreams.

    Raises:
        SettingsError: a layer, channel or label does not exist.
    """
    own = schedules.only(kinds(ObjectiveSettings))
    others = schedules.only(schedules.by_name.keys() - own.by_name.keys())
    return Scheduled(others, ScheduledObjective([ObjectivePart(objective, own)], model) if own else None)
