"""The sizes of a dream, from small to large."""

from __future__ import annotations

from typing import get_args

from ..checks import check_choice, check_number, warn_once
from ..errors import SettingsError
from ..image import Size
from ..settings import OctaveCarry, OctaveMode, OctaveSettings


def _scaled(size: Size, factor: float) -> Size:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def check_octaves(settings: OctaveSettings) -> None:
    """Raise a SettingsError for settings that are out of range or do not fit the mode."""
    mode, listed = settings.octave_mode, settings.octave_sizes
    check_choice("--octave-mode", mode, get_args(OctaveMode))
    check_choice("--octave-carry", settings.octave_carry, get_args(OctaveCarry))
    check_number("--octave-steps", settings.octave_steps, least=0)
    check_number("--iterations", settings.iterations, least=1)
    check_number("--octaves", settings.octaves, least=1, most=100)
    check_number("--octave-scale", settings.octave_scale, least=0, most=10, above=True)
    if mode in ("normal", "advanced"):
        if listed:
            warn_once(f"--octave-sizes does nothing in --octave-mode {mode}: choose one of the manual modes")
        return
    if not listed or min(listed) < 1:
        raise SettingsError(
            f"expected --octave-sizes for --octave-mode {mode}, all at least 1, got {list(listed) or 'none'}"
        )
    if mode == "manual" and len(listed) % 2:
        raise SettingsError(
            f"expected --octave-sizes in pairs of height and width for --octave-mode manual, got {list(listed)}"
        )


def octave_sizes(size: Size, settings: OctaveSettings) -> list[Size]:
    """All sizes, in the order they are dreamed in.

    Args:
        size: of the image.
        settings: the mode, and what it needs; such as `check_octaves` passes.
    """
    listed, count, scale = settings.octave_sizes, settings.octaves, settings.octave_scale
    if settings.octave_mode == "normal":
        return [_scaled(size, scale**power) for power in range(count - 1, 0, -1)] + [size]
    if settings.octave_mode == "advanced":
        return [_scaled(size, number * scale) for number in range(1, count + 1)]
    if settings.octave_mode == "manual":
        return [*zip(listed[::2], listed[1::2], strict=True), size]
    of_sides = max if settings.octave_mode == "manual_max" else min
    return [*(_scaled(size, side / of_sides(size)) for side in listed), size]


def visible_sizes(size: Size, settings: OctaveSettings, smallest: int) -> list[Size]:
    """List the octave sizes that a network can see; a warning names those left out.

    The last size stays in any case: small images are padded for the network.

    Args:
        size: of the image.
        settings: see `octave_sizes`.
        smallest: shortest side from which the layers can be computed, in pixels.
    """
    sizes = octave_sizes(size, settings)
    small = [size for size in sizes[:-1] if min(size) < smallest]
    if small:
        names = ", ".join(f"{height}x{width}" for height, width in small)
        warn_once(f"octaves left out because the layer needs at least {smallest} pixels a side: {names}")
    return [size for size in sizes[:-1] if min(size) >= smallest] + sizes[-1:]
