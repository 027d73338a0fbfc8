"""Beats: the regular pulse of music, also where no note begins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import SettingsError
from ..video.samples import Samples
from .onsets import means
from .spectra import Course, flux

_USUAL = 0.5
"""Seconds between beats that are tried first: 120 a minute."""
_SPREAD = 1.0
"""Octaves around it within which a tempo is likely."""
_SHORTEST, _LONGEST = 0.25, 1.5
"""Seconds between beats: 240 to 40 a minute."""
_STEADINESS = 100.0
"""Weight of a steady tempo against loud onsets."""
_SMOOTH = 0.015
"""Seconds by which notes of one beat may be apart."""
_FAINT = 0.3
"""Share of the usual flux below which first and last beats are none."""


def find_beats(samples: Samples) -> NDArray[np.float64]:
    """Find beats by autocorrelation and dynamic programming (Ellis 2007): seconds, increasing.

    The tempo is one for the whole sound; the beats follow small changes of it. There are none without a rhythm.
    """
    novelty = flux(samples)
    strength = _strength(novelty)
    period = _period(Course(strength, novelty.rate))
    if period is None:
        return np.zeros(0)
    return _loud_ones(_chain(strength, period), strength) / novelty.rate


def find_beats_by_network(samples: Samples) -> NDArray[np.float64]:
    """Find beats by the network of Beat This! (Foscarin et al. 2024), which downloads its weights (80 MB) once.

    Raises:
        SettingsError: the package beat-this is not installed, or its weights cannot be loaded.
    """
    try:
        from beat_this.inference import Audio2Beats
    except (ImportError, OSError, RuntimeError) as error:  # torchaudio raises all of them
        raise SettingsError(
            f"expected the package beat-this for `beat_tracker` beat_this, got none that runs ({error}): pip "
            "install beat-this, or choose tempo"
        ) from error
    try:
        tracker = Audio2Beats(device="cpu")
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the weights of beat-this cannot be loaded ({error}): connect to the internet once, or choose tempo "
            "as `beat_tracker`"
        ) from error
    beats, _ = tracker(samples.wave.numpy(), samples.rate)
    return np.asarray(beats, dtype=np.float64)


def _strength(novelty: Course) -> NDArray[np.float64]:
    """What exceeds the mean of a second, smoothed, in units of its deviation."""
    above = np.maximum(0, novelty.values - means(novelty.values, round(0.5 * novelty.rate)))
    reach = 3 * _SMOOTH * novelty.rate
    offsets = np.arange(-round(reach), round(reach) + 1)
    smoothed = np.convolve(above, np.exp(-0.5 * (offsets / (_SMOOTH * novelty.rate)) ** 2), "same")
    return smoothed / (smoothed.std() or 1.0)


def _period(strength: Course) -> int | None:
    """Values from beat to beat, of the highest autocorrelation near the usual tempo; None without a repetition."""
    shortest, longest = (round(seconds * strength.rate) for seconds in (_SHORTEST, _LONGEST))
    values = strength.values - strength.values.mean()
    spectrum = np.fft.rfft(values, 2 * len(values))
    similar = np.fft.irfft(np.abs(spectrum) ** 2)[: min(longest + 1, len(values))]
    if len(similar) <= shortest:
        return None
    lags = np.arange(shortest, len(similar))
    likely = np.exp(-0.5 * (np.log2(lags / (_USUAL * strength.rate)) / _SPREAD) ** 2)
    weighted = similar[shortest:] * likely
    best = int(weighted.argmax())
    return int(lags[best]) if weighted[best] > 0 else None


def _chain(strength: NDArray[np.float64], period: int) -> NDArray[np.int64]:
    """Places of the beats: the chain of strong places whose distances are near the period."""
    offsets = np.arange(-2 * period, -(period // 2) + 1)
    costs = -_STEADINESS * np.log(-offsets / period) ** 2
    scores = np.pad(strength, (2 * period, 0))
    before = np.full(len(scores), -1)
    for place in range(2 * period, len(scores)):
        chains = scores[place + offsets] + costs
        best = int(chains.argmax())
        if chains[best] > 0:
            scores[place] += chains[best]
            before[place] = place + offsets[best]
    place = int(scores.argmax())  # every beat adds to the score: it is that of the last one
    found = []
    while place >= 2 * period:
        found.append(place - 2 * period)
        place = int(before[place])
    return np.array(found[::-1])


def _loud_ones(places: NDArray[np.int64], strength: NDArray[np.float64]) -> NDArray[np.int64]:
    """Leave out the first and last beats in which nothing sounds."""
    loud = np.flatnonzero(strength[places] >= _FAINT * np.sqrt((strength[places] ** 2).mean()))
    return places[loud[0] : loud[-1] + 1]
