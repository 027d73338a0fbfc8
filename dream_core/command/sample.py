"""A synthetic clip, for a first try without an input."""

from __future__ import annotations

from fractions import Fraction

from ..checks import validate
from ..settings import InputSettings
from ..synthetic import synthetic_frames
from ..video.reader import Clip

FRAMES = 60


def open_sample(settings: InputSettings) -> Clip:
    """Open a synthetic clip of moving shapes, 4:3, with its longest side at `settings.size`.

    Args:
        settings: size (0 means the default), number of frames (0 means 60) and frame rate; `start` has no effect.

    Raises:
        SettingsError: a setting is out of range.
    """
    validate(settings)
    width = settings.size or InputSettings.size
    height = max(2, width * 3 // 4 // 2 * 2)
    count, fps = settings.frames or FRAMES, Fraction(settings.fps).limit_denominator(1001)
    drawn = synthetic_frames(frames=count, height=height, width=width)
    return Clip(
        ((one.frame[0], index / fps) for index, one in enumerate(drawn)),
        load=lambda frame: frame,
        size=(height, width),
        fps=fps,
        time_base=1 / fps,
        frame_count=count,
        limit=count,
        sound=None,
    )
