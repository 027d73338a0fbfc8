"""Onsets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dream_core.sound.onsets import find_onsets
from dream_core.video.samples import Samples

EXACT = 0.006
"""Seconds by which an onset may be off: a third of a frame at 60 fps."""


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000])
@pytest.mark.parametrize(
    ("times", "tone", "length"),
    [
        (np.arange(0, 8, 0.5), 1000, 0.01),
        (np.arange(0.25, 8, 0.5), 60, 0.15),
        (np.arange(0.1, 7.9, 0.125), 440, 0.1),
    ],
)
@pytest.mark.parametrize("noise", [0, 0.01])
def test_every_click_is_an_onset_and_nothing_else(click_track, rate, times, tone, length, noise):
    found = find_onsets(click_track(times, rate=rate, tone=tone, length=length, noise=noise))
    # Where there is noise it begins, too.
    begun = found.times if times[0] == 0 or not noise else found.times[found.times > 0.05]
    assert begun == pytest.approx(times, abs=EXACT)
    assert found.strengths.min() > 0.7


def test_louder_onsets_are_stronger(click_track):
    loud, faint = click_track([0.5, 2.5]), click_track([1.5, 3.5])
    found = find_onsets(Samples(loud.wave + 0.1 * faint.wave, loud.rate))
    assert found.times == pytest.approx([0.5, 1.5, 2.5, 3.5], abs=EXACT)
    assert found.strengths[::2] == pytest.approx(1, abs=0.1)
    assert (found.strengths[1::2] < 0.8).all()


def test_steady_sound_begins_once():
    rate = 22_050
    time = torch.arange(4 * rate) / rate
    noise = 0.3 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    trembling = (1 + 0.5 * torch.sin(2 * math.pi * 4 * time)) * torch.sin(2 * math.pi * 440 * time)
    for wave in (noise, trembling):
        assert find_onsets(Samples(wave, rate)).times == pytest.approx([0], abs=EXACT)


def test_silence_has_no_onset():
    assert not len(find_onsets(Samples(torch.zeros(22_050), 22_050)).times)
