"""Onsets: when notes, beats and noises begin."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..video.samples import Samples
from .spectra import Course, flux

_NEAR = 0.03
"""Seconds around an onset in which nothing else is one."""
_AROUND = 0.1
"""Seconds around it whose mean it exceeds."""
_LEAST = 0.15
"""Flux by which it does so: more than that of steady noise."""
_RISE = 0.01
"""Seconds before and after an onset over which its flux adds up to its strength."""


class Onsets(NamedTuple):
    """Moments at which something begins.

    Args:
        times: (N,) seconds, increasing.
        strengths: (N,) in 0..1; the strongest tenth is 1.
    """

    times: NDArray[np.float64]
    strengths: NDArray[np.float64]


def find_onsets(samples: Samples) -> Onsets:
    """Find onsets: peaks of the flux (Boeck, Krebs and Schedl 2012)."""
    return peaks(flux(samples))


def peaks(novelty: Course) -> Onsets:
    """Pick the peaks of a flux."""
    values, near = novelty.values, max(1, round(_NEAR * novelty.rate))
    above = values - means(values, round(_AROUND * novelty.rate))
    highest = np.lib.stride_tricks.sliding_window_view(np.pad(values, near), 2 * near + 1).max(1)
    places = np.flatnonzero((values == highest) & (above > _LEAST))
    # Of equal values side by side the first one counts.
    places = places[np.diff(places, prepend=-1 - near) > near]
    heights = means(values, round(_RISE * novelty.rate))[places]
    top = np.quantile(heights, 0.9) if len(heights) else 1.0
    return Onsets(places / novelty.rate, np.minimum(1, heights / top))


def means(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Compute the mean around each value, `reach` to both sides."""
    sums = np.cumsum(np.pad(values, (reach + 1, reach)))
    means: NDArray[np.float64] = (sums[2 * reach + 1 :] - sums[: -2 * reach - 1]) / (2 * reach + 1)
    return means
