"""Curves that follow a sound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dream_core.errors import SettingsError
from dream_core.settings import EnvelopeSettings, SoundSettings
from dream_core.sound.curve import sound_curve
from dream_core.video.samples import Samples

AT_ONCE = EnvelopeSettings(release=0)
CLICKS = np.arange(0.25, 8, 0.5)


def varying_times(seconds: float) -> list[float]:
    """Times of frames of 1/60 to 1/15 s."""
    generator = np.random.default_rng(0)
    lengths = generator.choice([1 / 60, 1 / 30, 1 / 24, 1 / 15], round(60 * seconds))
    times = np.concatenate([[0], np.cumsum(lengths)])
    return times[times < seconds].tolist()


FRAMES = {
    "24": [index / 24 for index in range(192)],
    "25": [index / 25 for index in range(200)],
    "29.97": [index * 1001 / 30_000 for index in range(239)],
    "60": [index / 60 for index in range(480)],
    "varying": varying_times(8),
}


@pytest.mark.parametrize("feature", ["onsets", "beats"])
@pytest.mark.parametrize("times", FRAMES.values(), ids=FRAMES)
def test_each_click_is_seen_within_one_frame_and_none_is_invented(click_track, feature, times):
    schedule = sound_curve(
        click_track(CLICKS),
        SoundSettings(feature=feature, least=1, most=4),
        AT_ONCE,
        frame=max(np.diff(times)),
    )
    high = np.array([schedule.at(index, time) for index, time in enumerate(times)]) > 2.5
    begins = np.flatnonzero(high & ~np.roll(high, 1))
    shown = np.searchsorted(times, CLICKS, side="right") - 1
    assert len(begins) == len(CLICKS)
    assert np.abs(begins - shown).max() <= 1


def test_the_level_is_most_at_the_loudest_and_least_in_silence():
    rate = 22_050
    time = torch.arange(4 * rate) / rate
    loud = torch.where(time < 2, 0.2, torch.where(time < 3, 0.4, 0.0))
    samples = Samples(loud * torch.sin(2 * math.pi * 440 * time), rate)
    schedule = sound_curve(samples, SoundSettings(least=3, most=1), AT_ONCE)
    assert [schedule.at(0, moment) for moment in (1, 2.5, 3.5)] == pytest.approx([2, 1, 3], abs=0.01)
    assert schedule.at(0, 100) == schedule.at(0, 4) == pytest.approx(3)


@pytest.mark.parametrize(("feature", "heard"), [("bass", 0), ("mid", 1), ("treble", 2), ("band", 1)])
def test_a_band_follows_its_tone(feature, heard):
    rate = 22_050
    time = torch.arange(rate) / rate
    tones = [torch.sin(2 * math.pi * frequency * time) for frequency in (100, 1000, 6000)]
    schedule = sound_curve(Samples(torch.cat(tones), rate), SoundSettings(feature=feature), AT_ONCE)
    values = [schedule.at(0, index + 0.5) for index in range(3)]
    assert values == pytest.approx([float(index == heard) for index in range(3)], abs=0.01)


def test_attack_and_release_rise_and_fall_in_straight_lines(click_track):
    samples = click_track([1.0], seconds=3)
    envelope = EnvelopeSettings(attack=0.1, release=0.5)
    schedule = sound_curve(samples, SoundSettings(feature="onsets"), envelope)
    values = [schedule.at(0, moment) for moment in (0.98, 1.05, 1.1, 1.35, 1.7)]
    assert values == pytest.approx([0, 0.5, 1, 0.5, 0], abs=0.06)


@pytest.mark.parametrize("delay", [-0.5, 0.75])
def test_a_delay_moves_the_curve(click_track, delay):
    samples, settings = click_track(CLICKS), SoundSettings(feature="onsets")
    plain = sound_curve(samples, settings, EnvelopeSettings())
    moved = sound_curve(samples, settings, EnvelopeSettings(delay=delay))
    for moment in np.arange(1, 6, 0.13):
        assert moved.at(0, moment + delay) == pytest.approx(plain.at(0, moment))


def test_straight_lines_need_no_values_between(click_track):
    schedule = sound_curve(click_track(CLICKS), SoundSettings(feature="onsets"), EnvelopeSettings())
    assert len(schedule.keyframes) < 8 * len(CLICKS)


@pytest.mark.parametrize(("feature", "missed"), [("level", "sound in this range"), ("beats", "beats")])
def test_silence_leaves_the_least_and_says_so(feature, missed):
    silence = Samples(torch.zeros(22_050), 22_050)
    with pytest.warns(UserWarning, match=f"no {missed} was found: the curve stays at its least, 2"):
        schedule = sound_curve(silence, SoundSettings(feature=feature, least=2, most=3), EnvelopeSettings())
    assert schedule.constant
    assert schedule.at(0, 0.5) == 2


def test_a_band_above_the_sound_and_one_without_width_are_told():
    samples = Samples(torch.ones(8000), 8000)
    with pytest.raises(SettingsError, match=r"expected a band below 4000 Hz, .* got 4000 Hz"):
        sound_curve(samples, SoundSettings(feature="treble"), EnvelopeSettings())
    with pytest.raises(SettingsError, match="expected `band_low` below `band_high`, got 500 and 300 Hz"):
        sound_curve(samples, SoundSettings(feature="band", band_low=500, band_high=300), EnvelopeSettings())
