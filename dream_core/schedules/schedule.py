"""Schedules: values that change along a clip, between keyframes."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, Literal, TypeAlias, TypeVar, get_args

from ..errors import SettingsError

Easing: TypeAlias = Literal["linear", "ease", "ease-in", "ease-out", "hold"]
Unit: TypeAlias = Literal["frames", "seconds"]

Value = TypeVar("Value")
Key = TypeVar("Key")

EASINGS: Mapping[Easing, Callable[[float], float]] = {
    "linear": lambda way: way,
    "ease": lambda way: way * way * (3 - 2 * way),
    "ease-in": lambda way: way * way,
    "ease-out": lambda way: way * (2 - way),
    "hold": lambda way: 0.0,
}
"""Easing -> share of the way to the next value, by the share of the time."""

_KEYFRAME = re.compile(r"(?P<place>[^:]*):(?P<value>.*)", re.DOTALL)
_BETWEEN = re.compile(r'[,;\n](?=(?:[^"]*"[^"]*")*[^"]*$)')  # not between quotes
_QUOTED = re.compile(r'(?<![^\s:,;])"[^"]*"(?![^\s:,;])')  # whole words
_PLACE = re.compile(r"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<seconds>s?)")


@dataclass(frozen=True)
class Keyframe(Generic[Value]):
    """A value at a place of a clip.

    Args:
        place: frame, counted from 0, or seconds from the first frame.
        value: there.
        easing: of the way from it to the next keyframe, as in CSS and Blender.
    """

    place: float
    value: Value
    easing: Easing = "linear"


@dataclass(frozen=True)
class Keyframes(Generic[Value]):
    """Keyframes of any values, in order.

    Args:
        keyframes: at least one; their places rise.
        unit: of the places.
    """

    keyframes: tuple[Keyframe[Value], ...]
    unit: Unit = "frames"

    def __post_init__(self) -> None:
        if not self.keyframes:
            raise SettingsError("expected at least one keyframe, such as 0: 1, got none")
        for one, following in pairwise(self.keyframes):
            if following.place <= one.place:
                raise SettingsError(
                    f"expected keyframes in order, each at a place of its own, got {following.place:g} after "
                    f"{one.place:g}; put them in order"
                )

    @property
    def values(self) -> tuple[Value, ...]:
        """The values of all keyframes."""
        return tuple(one.value for one in self.keyframes)

    @property
    def constant(self) -> bool:
        """True if all values are the same."""
        return all(value == self.values[0] for value in self.values)

    def length(self, fps: float) -> int:
        """Return the number of frames up to the last keyframe, at so many a second."""
        last = self.keyframes[-1].place * (1 if self.unit == "frames" else fps)
        return 1 + math.ceil(last - 1e-6)  # 0.1 s at 30 frames a second is a little more than frame 3

    def around(self, frame: int, seconds: float) -> tuple[Value, Value, float]:
        """Return the values before and after a moment, and the share of the second, from 0 to 1.

        Before the first keyframe and after the last both are its value.

        Args:
            frame: index of the frame in the clip, from 0.
            seconds: of its time, from the clip's first frame.
        """
        place = frame if self.unit == "frames" else seconds
        number = bisect_right(self.keyframes, place, key=lambda one: one.place)
        last = self.keyframes[max(0, number - 1)]
        following = self.keyframes[min(number, len(self.keyframes) - 1)]
        if last is following:
            return last.value, last.value, 0.0
        way = (place - last.place) / (following.place - last.place)
        return last.value, following.value, EASINGS[last.easing](way)


@dataclass(frozen=True)
class Schedule(Keyframes[float]):
    """A number that changes along a clip."""

    def at(self, frame: int, seconds: float) -> float:
        """Return the value at a frame; see `around`. A constant schedule gives its value exactly."""
        value, following, share = self.around(frame, seconds)
        return value + share * (following - value)

    @property
    def lowest(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def highest(self) -> float:
        """The largest value."""
        return max(self.values)


def fade(before: Mapping[Key, float], after: Mapping[Key, float], share: float) -> dict[Key, float]:
    """Mix weights: those of `after` by their share, those of `before` by the rest.

    Those that are 0 are left out, unless all are: nothing would be named, which elsewhere means a default.
    """
    mixed = {
        key: (1 - share) * before.get(key, 0.0) + share * after.get(key, 0.0) for key in (*before, *after)
    }
    return {key: weight for key, weight in mixed.items() if weight} or mixed


def sampled(times: Sequence[float], values: Sequence[float]) -> Schedule:
    """Make a schedule that goes straight from sample to sample.

    Args:
        times: of the samples, in rising seconds from the clip's first frame.
        values: the samples.

    Raises:
        SettingsError: there are no samples, or not as many as times, or one is not finite.
    """
    if len(times) != len(values):
        raise SettingsError(f"expected a time for each sample, got {len(times)} for {len(values)}")
    wrong = next((value for value in (*times, *values) if not math.isfinite(value)), None)
    if wrong is not None:
        raise SettingsError(f"expected finite samples, got {wrong}")
    keyframes = zip(map(float, times), map(float, values), strict=True)
    return Schedule(tuple(Keyframe(time, value) for time, value in keyframes), "seconds")


def parse_schedule(text: str) -> Schedule:
    """Read a schedule from text: ``0: 0.2, 30: 0.9 ease, 60: 0.4`` by frames, ``0: 0.2, 2.5s: 1`` by seconds.

    A value may stand in parentheses, as in Deforum's schedules.

    Raises:
        SettingsError: a keyframe cannot be read, or comes before an earlier one.
    """
    read = parse_keyframes(text)
    return Schedule(
        tuple(Keyframe(one.place, _number(one.value), one.easing) for one in read.keyframes), read.unit
    )


def parse_keyframes(text: str) -> Keyframes[str]:
    """Read keyframes whose values are texts; see `parse_schedule`.

    Raises:
        SettingsError: a keyframe cannot be read, or comes before an earlier one, or a quote does not close.
    """
    if '"' in _QUOTED.sub("", text):
        raise SettingsError(
            f"expected a closing quote for each that opens before a word, got '{text.strip()}'; add one, or leave "
            'out a " that is no quote'
        )
    entries = [entry.strip() for entry in _BETWEEN.split(text) if entry.strip()]
    read = [_keyframe(entry) for entry in entries]
    units = {unit for _, unit in read if unit}
    if len(units) > 1:
        raise SettingsError(
            f"expected all keyframes in frames, or all in seconds, got both in '{text.strip()}'"
        )
    keyframes = Keyframes(tuple(one for one, _ in read), units.pop() if units else "frames")
    last = keyframes.keyframes[-1]
    if last.easing not in ("linear", "hold"):
        raise SettingsError(
            f"expected no easing at the last keyframe, got '{entries[-1]}': an easing shapes the way to the next "
            "keyframe; put it at the one before"
        )
    return keyframes


def _keyframe(entry: str) -> tuple[Keyframe[str], Unit | None]:
    """Read a keyframe and the unit of its place; 0 has none."""
    parts = _KEYFRAME.fullmatch(entry)
    place = parts and _PLACE.fullmatch(parts["place"].strip())
    value, easing = _split_easing(parts["value"].strip()) if parts else ("", "linear")
    if not place or not value:
        raise SettingsError(f"expected a keyframe such as 30: 0.9, or 2.5s: 0.9 ease, got '{entry}'")
    number = float(place["number"])
    unit: Unit | None = "seconds" if place["seconds"] else "frames" if number else None
    if unit == "frames" and not number.is_integer():
        raise SettingsError(
            f"expected a whole frame, or seconds as in 2.5s, got '{entry}'; add s for seconds"
        )
    return Keyframe(number, value, easing), unit


def _split_easing(text: str) -> tuple[str, Easing]:
    words = text.rsplit(maxsplit=1)
    for easing in get_args(Easing):
        if len(words) == 2 and words[1] == easing:
            return words[0], easing
    return text, "linear"


def _number(text: str) -> float:
    inner = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    try:
        value = float(inner)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(
            f"expected a number, with one of {', '.join(get_args(Easing))} after it or nothing, got '{text}'"
        )
    return value
