"""Schedules of layers, which fade into each other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ..layer_weights import layer_entries
from .schedule import Keyframe, Keyframes, fade, parse_keyframes

Layers = tuple[str, ...]
"""Layers as `settings.ObjectiveSettings` has them, each NAME, NAME:WEIGHT or NAME:WEIGHT:LOSS."""


@dataclass(frozen=True)
class LayerSchedule(Keyframes[Layers]):
    """Layers that change along a clip: the weights of the next ones rise as those of the last ones fall."""

    def at(self, frame: int, seconds: float) -> Layers:
        """Return the layers at a frame; those without weight are left out.

        Args:
            frame, seconds: see `Keyframes.around`.
        """
        return _mix(*self.around(frame, seconds))

    @property
    def mixtures(self) -> tuple[Layers, ...]:
        """The layers of all keyframes, and those of all fades between them, each once."""
        halfway = (_mix(one, following, 0.5) for one, following in pairwise(self.values))
        return tuple(dict.fromkeys((*self.values, *halfway)))


def parse_layer_schedule(text: str) -> LayerSchedule:
    """Read a schedule of layers from text: ``0: NAME, 60: OTHER:2 THIRD ease, 90: NAME``.

    Raises:
        SettingsError: a keyframe or the weight of a layer cannot be read.
    """
    read = parse_keyframes(text)
    keyframes = [Keyframe(one.place, tuple(one.value.split()), one.easing) for one in read.keyframes]
    for one in keyframes:
        layer_entries(one.value)
    return LayerSchedule(tuple(keyframes), read.unit)


def _mix(last: Layers, following: Layers, share: float) -> Layers:
    if last == following or share == 0:
        return last
    mixed = fade(_weights(last), _weights(following), share)
    return tuple(
        f"{name}:{weight!r}" + (f":{loss}" if loss else "") for (name, loss), weight in mixed.items()
    )


def _weights(layers: Layers) -> dict[tuple[str, str], float]:
    """Weights by name and loss."""
    return {(one.name, one.loss): one.weight for one in layer_entries(layers)}
