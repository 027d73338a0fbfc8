"""Loudness, and what is new in a sound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dream_core.sound import spectra
from dream_core.sound.spectra import band_level, flux, level
from dream_core.video.samples import Samples


def tone(frequency: float, *, rate: int, amplitude: Tensor | float = 0.5, seconds: float = 3) -> Samples:
    time = torch.arange(round(seconds * rate)) / rate
    return Samples(amplitude * torch.sin(2 * math.pi * frequency * time), rate)


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_the_level_of_a_sine_is_its_root_mean_square(rate):
    course = level(tone(440, rate=rate))
    assert course.rate == pytest.approx(100, rel=0.01)
    assert course.values[10:-10] == pytest.approx(0.5 / math.sqrt(2), rel=1e-3)


def test_the_level_follows_the_amplitude_without_lag():
    rate = 22_050
    slow = 0.5 + 0.4 * torch.sin(2 * math.pi * torch.arange(3 * rate) / rate)
    course = level(tone(440, rate=rate, amplitude=slow))
    times = np.arange(len(course.values)) / course.rate
    expected = (0.5 + 0.4 * np.sin(2 * np.pi * times)) / math.sqrt(2)
    assert course.values[10:-10] == pytest.approx(expected[10:-10], abs=0.01)


def test_a_band_hears_its_frequencies_alone():
    rate = 22_050
    low, high = tone(100, rate=rate, amplitude=0.4), tone(3000, rate=rate, amplitude=0.2)
    both = Samples(low.wave + high.wave, rate)
    inner = slice(10, -10)
    assert band_level(both, 20, 250).values[inner] == pytest.approx(0.4 / math.sqrt(2), rel=1e-3)
    assert band_level(both, 2000, 4000).values[inner] == pytest.approx(0.2 / math.sqrt(2), rel=1e-3)
    assert band_level(both, 500, 1500).values[inner].max() < 1e-3
    every = band_level(both, 0, rate / 2).values[inner]
    assert every == pytest.approx(level(both).values[inner], rel=0.01)
    assert band_level(both, 98, 99).values[inner].min() > 0.05  # between two frequencies of the spectrum


def test_long_sound_is_read_in_blocks_without_seams(monkeypatch):
    wave = torch.randn(3 * 8000, generator=torch.Generator().manual_seed(0))
    features = (level, flux, lambda samples: band_level(samples, 100, 1000))
    whole = [feature(Samples(wave, 8000)).values for feature in features]
    monkeypatch.setattr(spectra, "BLOCK", 1)
    for feature, expected in zip(features, whole, strict=True):
        assert feature(Samples(wave, 8000)).values == pytest.approx(expected, abs=1e-6)


def test_nothing_is_new_in_a_steady_tone_and_in_one_that_trembles():
    rate = 22_050
    time = torch.arange(2 * rate) / rate
    trembling = 0.5 * torch.sin(2 * math.pi * 440 * time + 5 * torch.sin(2 * math.pi * 6 * time))
    for samples in (tone(440, rate=rate, seconds=2), Samples(trembling, rate)):
        assert flux(samples).values[10:].max() < 0.15


@pytest.mark.parametrize("count", [1, 10, 100])
def test_very_short_sound_has_spectra_too(count):
    for feature in (level, flux, lambda samples: band_level(samples, 100, 1000)):
        assert np.isfinite(feature(Samples(torch.ones(count), 8000)).values).all()
