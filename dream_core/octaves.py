"""The sizes of a dream, from small to large."""

from __future__ import annotations

import warnings
from typing import get_args

from .errors import SettingsError
from .picture import Size
from .settings import OctaveMode, OctaveSettings


def _scaled(size: Size, factor: float) -> Size:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def octave_sizes(size: Size, settings: OctaveSettings) -> list[Size]:
    """All sizes, in the order they are dreamed in.

    Args:
        size: of the picture.
        settings: the mode, and what it needs.

    Raises:
        SettingsError: the settings do not fit the mode.
    """
    listed = settings.octave_sizes
    if settings.octave_mode not in get_args(OctaveMode):
        raise SettingsError(
            f"expected an octave mode of {', '.join(get_args(OctaveMode))}, got '{settings.octave_mode}'"
        )
    if settings.octave_mode in ("normal", "advanced"):
        return _scaled_sizes(size, settings)
    if not listed or any(side < 1 for side in listed):
        raise SettingsError(
            f"octave mode '{settings.octave_mode}' needs --octave-sizes, all at least 1, got {list(listed)}"
        )
    if settings.octave_mode == "manual":
        if len(listed) % 2:
            raise SettingsError(
                f"octave mode 'manual' takes pairs of height and width, got {len(listed)} numbers: {list(listed)}"
            )
        return [*zip(listed[::2], listed[1::2], strict=True), size]
    of_sides = max if settings.octave_mode == "manual_max" else min
    return [*(_scaled(size, side / of_sides(size)) for side in listed), size]


def _scaled_sizes(size: Size, settings: OctaveSettings) -> list[Size]:
    count, scale = settings.octaves, settings.octave_scale
    if count < 1 or scale <= 0:
        raise SettingsError(
            f"expected --octaves of at least 1 and a positive --octave-scale, got {count} and {scale}"
        )
    if settings.octave_mode == "advanced":
        return [_scaled(size, number * scale) for number in range(1, count + 1)]
    return [_scaled(size, scale**power) for power in range(count - 1, 0, -1)] + [size]


def leave_out_small(sizes: list[Size], smallest: int) -> list[Size]:
    """The sizes that a network can see, with a warning that names those left out.

    The last size stays in any case: small pictures are padded for the network.
    """
    small = [size for size in sizes[:-1] if min(size) < smallest]
    if small:
        names = ", ".join(f"{height}x{width}" for height, width in small)
        warnings.warn(
            f"octaves left out because the layer needs at least {smallest} pixels a side: {names}",
            stacklevel=2,
        )
    return [size for size in sizes[:-1] if min(size) >= smallest] + sizes[-1:]
