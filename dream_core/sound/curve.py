"""Curves that follow a sound, as schedules of a setting."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from ..checks import validate
from ..errors import SettingsError
from ..schedules.schedule import Schedule, sampled
from ..settings import EnvelopeSettings, SoundSettings
from ..video.samples import Samples
from .beats import find_beats, find_beats_by_network
from .onsets import find_onsets
from .spectra import band_level, level

RATE = 200
"""Values of a curve per second, before those on straight lines are dropped."""

BANDS = {"bass": (20.0, 250.0), "mid": (250.0, 4000.0), "treble": (4000.0, math.inf)}
"""Feature -> frequencies in Hz."""

_LOUD = 0.99
"""Share of the sound that is not louder than what counts as loudest: a single bang does not."""

Values = NDArray[np.float64]


def sound_curve(
    samples: Samples, settings: SoundSettings, envelope: EnvelopeSettings, *, frame: float = 1 / 24
) -> Schedule:
    """Make a schedule that follows a sound, by seconds, so that frames of any rate keep in step with it.

    Args:
        samples: the sound.
        settings: what to listen for.
        envelope: the shape of the curve.
        frame: seconds that a frame lasts at most. Onsets and beats stay up so long, so that a frame shows them.

    Raises:
        SettingsError: a setting is out of range or does not fit another, the frequencies are above those of the
            sound, or a beat tracker is not installed.
    """
    validate(settings)
    validate(envelope)
    times = np.arange(math.ceil(samples.seconds * RATE) + 1) / RATE
    heights = _heights(samples, settings, envelope, times, frame=frame)
    if not heights.any():
        missed = settings.feature if settings.feature in ("onsets", "beats") else "sound in this range"
        warnings.warn(
            f"no {missed} was found: the curve stays at its least, {settings.least:g}", stacklevel=2
        )
    heights = _follow(heights, attack=envelope.attack, release=envelope.release)
    values = settings.least + heights * (settings.most - settings.least)
    times, values = _corners(times, values)
    times = times + samples.begin + envelope.delay
    return sampled(times.tolist(), values.tolist())


def frequencies(settings: SoundSettings) -> tuple[float, float]:
    """Return the lowest and highest frequency of a band, in Hz.

    Raises:
        SettingsError: the lowest is not below the highest.
    """
    low, high = BANDS.get(settings.feature, (settings.band_low, settings.band_high))
    if low >= high:
        raise SettingsError(f"expected `band_low` below `band_high`, got {low:g} and {high:g} Hz; swap them")
    return low, high


def _heights(
    samples: Samples, settings: SoundSettings, envelope: EnvelopeSettings, times: Values, *, frame: float
) -> Values:
    """The feature in 0..1 at each time."""
    hold = max(frame, envelope.attack)
    if settings.feature == "onsets":
        onsets = find_onsets(samples)
        return _pulses(times, onsets.times, onsets.strengths, hold=hold)
    if settings.feature == "beats":
        find = find_beats if envelope.beat_tracker == "tempo" else find_beats_by_network
        beats = find(samples)
        return _pulses(times, beats, np.ones_like(beats), hold=hold)
    if settings.feature == "level":
        course = level(samples)
    else:
        low, high = frequencies(settings)
        if low >= samples.rate / 2:
            raise SettingsError(
                f"expected a band below {samples.rate / 2:g} Hz, the highest frequency of this sound, got {low:g} "
                "Hz; choose a lower one"
            )
        course = band_level(samples, low, high)
    loudest = np.quantile(course.values, _LOUD) or course.values.max() or 1.0
    places = np.arange(len(course.values)) / course.rate
    return np.interp(times, places, np.minimum(1, course.values / loudest))


def _pulses(times: Values, begins: Values, heights: Values, *, hold: float) -> Values:
    """A curve that is as high as each pulse from its beginning on, for `hold` seconds; the higher one counts."""
    values = np.zeros(len(times))
    for begin, height in zip(begins, heights, strict=True):
        inside = slice(round(begin * RATE), round((begin + hold) * RATE) + 1)
        values[inside] = np.maximum(values[inside], height)
    return values


def _follow(heights: Values, *, attack: float, release: float) -> Values:
    """Limit how fast a curve rises and falls: by 1 in `attack` and `release` seconds."""
    rise, fall = (1 / (RATE * seconds) if seconds else 1.0 for seconds in (attack, release))
    followed, now = [], 0.0 if attack else float(heights[0])
    for height in heights.tolist():
        now = min(max(height, now - fall), now + rise)
        followed.append(now)
    return np.array(followed)


def _corners(times: Values, values: Values) -> tuple[Values, Values]:
    """Drop the values on straight lines between others: the curve is the same."""
    steps = np.diff(values)
    kept = np.ones(len(values), dtype=bool)
    kept[1:-1] = np.abs(np.diff(steps)) > 1e-9 * max(1.0, np.abs(values).max())
    return times[kept], values[kept]
