"""Spectra of sound over time: loudness, loudness of a range of frequencies, and what is new in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..video.samples import Samples

BLOCK = 60
"""Seconds of sound whose spectra are in memory at once."""

_STEADY = 0.046
_QUICK = 0.023
"""Seconds that a spectrum looks at: enough to tell low tones apart, and short enough to tell when."""

_LOWEST, _BANDS_PER_OCTAVE = 40.0, 6
_COMPRESSION = 100.0
_BACK = 0.010
"""Seconds between the spectra that are compared."""


@dataclass(frozen=True)
class Course:
    """A quantity over time.

    Args:
        values: (N,) float64, the first one at 0 s.
        rate: values per second.
    """

    values: NDArray[np.float64]
    rate: float


def level(samples: Samples) -> Course:
    """Loudness: the root mean square, 0 at silence, about 0.7 for a full sine. 100 values per second."""
    hop, window = round(samples.rate / 100), _window(_STEADY, samples.rate)
    weights = window / window.sum()
    parts = [
        (block.unfold(0, len(window), hop).square() @ weights).sqrt()
        for block in _blocks(samples, len(window), hop)
    ]
    return _course(parts, samples, hop)


def band_level(samples: Samples, low: float, high: float) -> Course:
    """Loudness of the frequencies from `low` to `high`, in Hz; all together make `level`. 100 values per second."""
    hop, window = round(samples.rate / 100), _window(_STEADY, samples.rate)
    frequencies = _frequencies(window, samples.rate)
    inside = (frequencies >= low) & (frequencies <= high)
    if not inside.any():  # narrower than the spectrum is fine
        inside[(frequencies - (low + high) / 2).abs().argmin()] = True
    # By Parseval's theorem; each frequency but 0 stands for a negative one too.
    scale = 2 / (len(window) * window.square().sum())
    parts = [
        (_powers(block, window, hop)[inside].sum(0) * scale).sqrt()
        for block in _blocks(samples, len(window), hop)
    ]
    return _course(parts, samples, hop)


def flux(samples: Samples) -> Course:
    """How much comes new into the sound: half-wave rectified logarithmic spectral flux. 200 values per second.

    A tone that only moves a little does not count as new (Boeck and Widmer 2013, SuperFlux).
    """
    hop, window = round(samples.rate / 200), _window(_QUICK, samples.rate)
    filters = _filters(_frequencies(window, samples.rate))
    back = max(1, round(_BACK * samples.rate / hop))
    loudest = float(samples.wave.abs().max()) or 1.0
    scale = _COMPRESSION * 2 / (float(window.sum()) * loudest)
    parts: list[Tensor] = []
    before: Tensor | None = None
    for block in _blocks(samples, len(window), hop):
        bands = torch.log1p(scale * filters @ _powers(block, window, hop).sqrt())  # (bands, spectra)
        before = bands.new_zeros(len(bands), back) if before is None else before
        both = torch.cat([before, bands], 1)
        widened = F.max_pool2d(both[None, None, :, :-back], (3, 1), stride=1, padding=(1, 0))[0, 0]
        parts.append((bands - widened).clamp_min(0).mean(0))
        before = both[:, -back:]
    course = _course(parts, samples, hop)
    # Where the sound ends its spectra are those of a click.
    course.values[max(0, len(course.values) - len(window) // (2 * hop) - 1) :] = 0
    return course


def _course(parts: list[Tensor], samples: Samples, hop: int) -> Course:
    return Course(torch.cat(parts).double().numpy(), samples.rate / hop)


def _window(seconds: float, rate: int) -> Tensor:
    """A Hann window of about that length, a power of two."""
    return torch.hann_window(2 ** max(4, round(np.log2(seconds * rate))))


def _frequencies(window: Tensor, rate: int) -> Tensor:
    frequencies: Tensor = torch.fft.rfftfreq(len(window), 1 / rate)
    return frequencies


def _blocks(samples: Samples, window: int, hop: int) -> Iterator[Tensor]:
    """Cut the sound into blocks whose windows follow each other; the first is centered at the first sample."""
    count = -(-len(samples.wave) // hop)
    many = max(1, BLOCK * samples.rate // hop)
    for first in range(0, count, many):
        begin = first * hop - window // 2
        end = begin + (min(many, count - first) - 1) * hop + window
        inner = samples.wave[max(0, begin) : end]
        yield F.pad(inner, (max(0, -begin), end - max(0, begin) - len(inner)))


def _powers(block: Tensor, window: Tensor, hop: int) -> Tensor:
    """Squared magnitudes, (frequencies, spectra)."""
    spectra = torch.stft(block, len(window), hop, window=window, center=False, return_complex=True)
    powers: Tensor = torch.view_as_real(spectra).square().sum(-1)
    return powers


def _filters(frequencies: Tensor) -> Tensor:
    """Triangles over a logarithmic scale of frequencies, (bands, frequencies); each sums to 1."""
    highest = float(frequencies[-1])
    count = int(np.log2(highest / _LOWEST) * _BANDS_PER_OCTAVE)
    bins = torch.tensor([_LOWEST * 2 ** (step / _BANDS_PER_OCTAVE) for step in range(count + 1)])
    # Low bands that fall onto one frequency become one.
    centers = torch.unique(torch.round(bins / frequencies[1]))
    places = torch.arange(len(frequencies), dtype=torch.float32)
    low, middle, high = centers[:-2, None], centers[1:-1, None], centers[2:, None]
    rising, falling = (places - low) / (middle - low), (high - places) / (high - middle)
    triangles = torch.minimum(rising, falling).clamp_min(0)
    return triangles / triangles.sum(1, keepdim=True)
