"""Schedules of layers, which fade into each other."""

from __future__ import annotations

from dataclasses import dataclass

from ..layer_weights import parse_layers
from .schedule import Keyframe, Keyframes, parse_keyframes


@dataclass(frozen=True)
class LayerSchedule(Keyframes[tuple[str, ...]]):
    """Layers that change along a clip: the weights of the next ones rise as those of the last ones fall."""

    def at(self, frame: int, seconds: float) -> tuple[str, ...]:
        """Return the layers at a frame, each NAME:WEIGHT; those without weight are left out.

        Args:
            frame, seconds: see `Keyframes.around`.
        """
        last, following, share = self.around(frame, seconds)
        if last == following or share == 0:
            return last
        before, after = parse_layers(last), parse_layers(following)
        weights = {
            name: before.get(name, 0.0) + share * (after.get(name, 0.0) - before.get(name, 0.0))
            for name in (before | after)
        }
        return tuple(f"{name}:{weight!r}" for name, weight in weights.items() if weight)


def parse_layer_schedule(text: str) -> LayerSchedule:
    """Read a schedule of layers from text: ``0: NAME, 60: OTHER:2 THIRD ease, 90: NAME``.

    Raises:
        SettingsError: a keyframe or the weight of a layer cannot be read.
    """
    read = parse_keyframes(text)
    keyframes = [Keyframe(one.place, tuple(one.value.split()), one.easing) for one in read.keyframes]
    for one in keyframes:
        parse_layers(one.value)
    return LayerSchedule(tuple(keyframes), read.unit)
