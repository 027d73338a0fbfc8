"""Layers with their weights, as options name them."""

from __future__ import annotations

import math

from .errors import SettingsError


def split_list(entries: tuple[str, ...]) -> list[str]:
    """Entries separated by spaces (as they come) or by commas."""
    return [part.strip() for entry in entries for part in entry.split(",") if part.strip()]


def parse_layers(entries: tuple[str, ...]) -> dict[str, float]:
    """Parse entries NAME or NAME:WEIGHT into weights by layer name.

    Raises:
        SettingsError: a weight is not a finite number.
    """
    weights: dict[str, float] = {}
    for entry in split_list(entries):
        name, colon, weight = entry.partition(":")
        try:
            weights[name] = float(weight) if colon else 1.0
        except ValueError:
            raise SettingsError(f"expected a layer as NAME or NAME:WEIGHT, got '{entry}'") from None
        if not math.isfinite(weights[name]):
            raise SettingsError(f"expected a finite weight for layer '{name}', got '{weight}'")
    return weights
