"""Schedules of several settings, by the names of their fields."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ..checks import kinds, require_known, split_range, validate
from ..errors import SettingsError
from ..layer_weights import layer_entries
from ..text_weights import text_entries
from .layer_schedule import LayerSchedule, parse_layer_schedule
from .schedule import Schedule, parse_schedule
from .text_schedule import TextSchedule, parse_text_schedule

Settings = TypeVar("Settings")
AnySchedule: TypeAlias = Schedule | LayerSchedule | TextSchedule

LAYERS = "layers"
"""The setting whose values are layers instead of numbers."""

TEXT = "text"
"""The setting whose values are texts."""


class Moment(NamedTuple):
    """A moment of a clip.

    Args:
        frame: index of the frame, from 0.
        seconds: of its time, from the clip's first frame; NaN = not known.
    """

    frame: int
    seconds: float = math.nan


@dataclass(frozen=True)
class Schedules:
    """Schedules by the names of the settings that they change.

    Args:
        by_name: a `LayerSchedule` for `layers`, a `TextSchedule` for `text`, else a `Schedule`.
    """

    by_name: Mapping[str, AnySchedule] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_name)

    @property
    def by_seconds(self) -> bool:
        """True if one needs the seconds of a frame."""
        return any(one.unit == "seconds" for one in self.by_name.values())

    def only(self, names: Collection[str]) -> Schedules:
        """Return those of some settings."""
        return Schedules({name: one for name, one in self.by_name.items() if name in names})

    def apply(self, settings: Settings, moment: Moment) -> Settings:
        """Return settings with their values at a moment; whole numbers are rounded.

        Args:
            settings: a dataclass of settings, with others nested in it or not. Fields without a schedule stay.
            moment: of the clip.
        """
        values = {name: one.at(*moment) for name, one in self.by_name.items()}
        changed: Settings = _with_values(settings, values)
        return changed

    def check(self, *settings: Any, option: str = "schedule") -> None:
        """Check settings with the smallest and with the largest values of all schedules.

        Args:
            settings: the others.
            option: to correct, for the message.

        Raises:
            SettingsError: a value is out of range, or does not fit another setting.
        """
        numbers = {name: one for name, one in self.by_name.items() if isinstance(one, Schedule)}
        for values in (
            {name: one.lowest for name, one in numbers.items()},
            {name: one.highest for name, one in numbers.items()},
        ):
            for one in settings:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # the settings themselves were checked before
                        validate(_with_values(one, values))
                except SettingsError as error:
                    raise SettingsError(f"{error}; correct its `{option}`") from error


def parse_schedules(entries: Sequence[str], known: Collection[str]) -> Schedules:
    """Read schedules from texts, each ``NAME=KEYFRAMES``; the last one of a name counts.

    Args:
        entries: such as ``learning_rate=0: 1, 30: 3``.
        known: names of the settings that can change.

    Raises:
        SettingsError: an entry cannot be read, or its setting is not known.
    """
    return Schedules(dict(_read(entry, known) for entry in entries))


def join(schedules: Iterable[tuple[str, AnySchedule]]) -> Schedules:
    """Put schedules together.

    Raises:
        SettingsError: two are of the same setting.
    """
    by_name: dict[str, AnySchedule] = {}
    for name, one in schedules:
        if name in by_name:
            raise SettingsError(f"expected one schedule of each setting, got two of `{name}`; drop one")
        by_name[name] = one
    return Schedules(by_name)


PARSERS: Mapping[str, Callable[[str], AnySchedule]] = {
    LAYERS: parse_layer_schedule,
    TEXT: parse_text_schedule,
}
"""Readers of the schedules whose values are not numbers, by setting."""


def parse_schedule_of(name: str, text: str) -> AnySchedule:
    """Read the schedule of a setting.

    Raises:
        SettingsError: a keyframe cannot be read; the message names the setting.
    """
    try:
        return PARSERS.get(name, parse_schedule)(text)
    except SettingsError as error:
        raise SettingsError(f"`schedule` of {name}: {error}") from error


def curves_of(name: str, schedule: AnySchedule, times: Sequence[float]) -> dict[str, list[float]]:
    """Return a schedule's values at frames, by the name of its setting; of layers and texts, the weight of each.

    Args:
        name: of the setting.
        schedule: of it.
        times: seconds of each frame, from the clip's first one.
    """
    if isinstance(schedule, Schedule):
        return {name: [schedule.at(frame, seconds) for frame, seconds in enumerate(times)]}
    weights_of = _text_weights if isinstance(schedule, TextSchedule) else _layer_weights
    weights = [weights_of(schedule.at(frame, seconds)) for frame, seconds in enumerate(times)]
    parts = dict.fromkeys(part for value in schedule.values for part in weights_of(value))
    return {part: [one.get(part, 0.0) for one in weights] for part in parts}


def _layer_weights(layers: tuple[str, ...]) -> dict[str, float]:
    return {f"{one.name}:{one.loss}".rstrip(":"): one.weight for one in layer_entries(layers)}


def _text_weights(texts: tuple[str, ...]) -> dict[str, float]:
    return dict(text_entries(texts))


def _read(entry: str, known: Collection[str]) -> tuple[str, AnySchedule]:
    name, equals, text = entry.partition("=")
    if not equals:
        raise SettingsError(
            f"expected a `schedule` as NAME=KEYFRAMES, such as learning_rate=0: 1, 30: 3, got '{entry}'"
        )
    name = name.strip().lstrip("-").replace("-", "_")
    require_known(
        [name], known, what="a setting that can have a `schedule`", where=f"choose one of {', '.join(known)}"
    )
    return name, parse_schedule_of(name, text)


def _with_values(settings: Any, values: Mapping[str, Any]) -> Any:
    changed: dict[str, Any] = {}
    for name, kind in kinds(type(settings)).items():
        own = getattr(settings, name)
        if is_dataclass(own):
            nested = _with_values(own, values)
            if nested is not own:
                changed[name] = nested
        elif name in values:
            changed[name] = round(values[name]) if split_range(kind)[0] is int else values[name]
    return replace(settings, **changed) if changed else settings
