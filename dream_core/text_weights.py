"""Texts with their weights, as the options write them."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import NamedTuple

from .errors import SettingsError


class TextEntry(NamedTuple):
    """One text of a list."""

    text: str
    weight: float = 1.0


def text_entries(entries: tuple[str, ...]) -> tuple[TextEntry, ...]:
    """Parse entries TEXT or TEXT:WEIGHT. What follows the last colon is a weight if it is a number.

    Raises:
        SettingsError: a text is empty, or a weight is not finite.
    """
    return tuple(map(_entry, entries))


def total_weight(entries: tuple[TextEntry, ...]) -> float:
    """Add up the magnitudes of the weights."""
    return sum(abs(one.weight) for one in entries)


def _entry(entry: str) -> TextEntry:
    text, colon, last = entry.rpartition(":")
    parsed = TextEntry(entry.strip())
    if colon:
        with suppress(ValueError):
            parsed = TextEntry(text.strip(), float(last))
    if not parsed.text or not math.isfinite(parsed.weight):
        raise SettingsError(f"expected a text as TEXT or TEXT:WEIGHT in `text`, got '{entry}'")
    return parsed
