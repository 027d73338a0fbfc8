"""Sounds that the tests make for themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from dream_core.video.samples import Samples

ClickTrack = Callable[..., Samples]


@pytest.fixture
def click_track() -> ClickTrack:
    """Make short tones at given times."""

    def make(
        times: Sequence[float],
        *,
        seconds: float = 8.0,
        rate: int = 22_050,
        tone: float = 1000.0,
        length: float = 0.01,
        noise: float = 0.0,
    ) -> Samples:
        wave = noise * torch.randn(round(seconds * rate), generator=torch.Generator().manual_seed(0))
        since = torch.arange(round(length * rate)) / rate
        click = 0.8 * torch.sin(2 * np.pi * tone * since) * torch.exp(-3 * since / length)
        for time in times:
            place = wave[round(time * rate) :][: len(click)]
            place += click[: len(place)]
        return Samples(wave, rate)

    return make
