"""Schedules of texts, which fade into each other."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from ..errors import SettingsError
from ..text_weights import text_entries
from .schedule import Keyframe, Keyframes, fade, parse_keyframes

Texts = tuple[str, ...]
"""Texts as `settings.TextSettings` has them, each TEXT or TEXT:WEIGHT."""


@dataclass(frozen=True)
class TextSchedule(Keyframes[Texts]):
    """Texts that change along a clip: the weights of the next ones rise as those of the last ones fall."""

    def at(self, frame: int, seconds: float) -> Texts:
        """Return the texts at a frame; those without weight are left out.

        Args:
            frame, seconds: see `Keyframes.around`.
        """
        last, following, share = self.around(frame, seconds)
        if last == following or share == 0:
            return last
        mixed = fade(dict(text_entries(last)), dict(text_entries(following)), share)
        return tuple(f"{text}:{weight!r}" for text, weight in mixed.items())


def parse_text_schedule(text: str) -> TextSchedule:
    """Read a schedule of texts: ``0: a forest, 60: a sea of fire ease``.

    In quotes a text may hold commas, and have others beside it: ``0: "a tall, dark forest" "fog:0.5", 60: a sea``.

    Raises:
        SettingsError: a keyframe, a quote or a weight cannot be read.
    """
    read = parse_keyframes(text)
    keyframes = [Keyframe(one.place, _texts(one.value), one.easing) for one in read.keyframes]
    return TextSchedule(tuple(keyframes), read.unit)


def _texts(value: str) -> Texts:
    try:
        texts = tuple(shlex.split(value)) if value.startswith('"') else (value,)
    except ValueError:
        raise SettingsError(f"expected a closing quote in '{value}', got none; add one") from None
    text_entries(texts)
    return texts
