"""Layers of a network with their weights and losses, as the options write them."""

from __future__ import annotations

import math
from typing import NamedTuple

from .errors import SettingsError

FORM = "a layer as NAME, NAME:WEIGHT or NAME:WEIGHT:LOSS"


class LayerEntry(NamedTuple):
    """One layer of a list; `loss` is empty where the loss of all holds."""

    name: str
    weight: float = 1.0
    loss: str = ""


def layer_entries(entries: tuple[str, ...]) -> tuple[LayerEntry, ...]:
    """Parse entries NAME, NAME:WEIGHT or NAME:WEIGHT:LOSS. Of a name and loss that come twice, the last counts.

    Raises:
        SettingsError: a weight is not a finite number.
    """
    parsed: dict[tuple[str, str], LayerEntry] = {}
    for entry in split_list(entries):
        name, *rest = entry.split(":")
        if len(rest) > 2 or rest[1:] == [""]:
            raise SettingsError(f"expected {FORM}, got '{entry}'")
        weight = number(rest[0], FORM, entry) if rest else 1.0
        if not math.isfinite(weight):
            raise SettingsError(f"expected a finite weight for layer '{name}', got '{rest[0]}'")
        loss = "".join(rest[1:])
        parsed[name, loss] = LayerEntry(name, weight, loss)
    return tuple(parsed.values())


def parse_layers(entries: tuple[str, ...]) -> dict[str, float]:
    """Parse entries as `layer_entries`, into weights by layer name.

    Raises:
        SettingsError: a weight is not a finite number.
    """
    return {entry.name: entry.weight for entry in layer_entries(entries)}


def number(text: str, form: str, entry: str) -> float:
    """Parse a number, which is a part of an entry of a form.

    Raises:
        SettingsError: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"expected {form}, got '{entry}'") from None


def split_list(entries: tuple[str, ...]) -> list[str]:
    """Entries separated by spaces (as they come) or by commas."""
    return [part.strip() for entry in entries for part in entry.split(",") if part.strip()]
