"""The sizes of a dream, from small to large."""

from __future__ import annotations

import math
import warnings

from ..image import Size, scaled_size
from ..settings import OctaveSettings


def octave_sizes(size: Size, settings: OctaveSettings) -> list[Size]:
    """List all sizes in the order in which they are dreamed.

    Args:
        size: of the image.
        settings: the mode and its numbers; already validated.
    """
    listed, count, scale = settings.octave_sizes, settings.octaves, settings.octave_scale
    if settings.octave_mode == "normal":
        return [scaled_size(size, scale**power) for power in range(count - 1, 0, -1)] + [size]
    if settings.octave_mode == "advanced":
        return [scaled_size(size, number * scale) for number in range(1, count + 1)]
    if settings.octave_mode == "manual":
        return [*zip(listed[::2], listed[1::2], strict=True), size]
    of_sides = max if settings.octave_mode == "manual_max" else min
    return [*(scaled_size(size, side / of_sides(size)) for side in listed), size]


def visible_sizes(size: Size, settings: OctaveSettings, smallest: int) -> list[Size]:
    """List the octave sizes that are large enough for the layers; a warning names those left out.

    The last size, the image's, always stays: small images are padded for the network.

    Args:
        size: of the image.
        settings: see `octave_sizes`.
        smallest: least length of the shorter side for which the layers can be computed, in pixels.
    """
    sizes = octave_sizes(size, settings)
    small = [size for size in sizes[:-1] if min(size) < smallest]
    if small:
        names = ", ".join(f"{height}x{width}" for height, width in small)
        warnings.warn(
            f"octaves left out because the layer needs at least {smallest} pixels a side: {names}",
            stacklevel=2,
        )
    return [size for size in sizes[:-1] if min(size) >= smallest] + sizes[-1:]


def smallest_image(size: Size, settings: OctaveSettings, smallest: int) -> int:
    """Side in pixels that a part of an image needs to be dreamed at as many sizes as the image.

    Args:
        size: of the image.
        settings: see `octave_sizes`.
        smallest: as in `visible_sizes`.
    """
    factors = [min(octave) / min(size) for octave in octave_sizes(size, settings) if min(octave) >= smallest]
    return math.ceil(smallest / min(factors, default=1))


def part_size(part: Size, whole: Size, octave: Size) -> Size:
    """Scale the size of a part of an image as the image is scaled to an octave's size."""
    height, width = (
        max(1, round(side * of / full)) for side, of, full in zip(part, octave, whole, strict=True)
    )
    return height, width
