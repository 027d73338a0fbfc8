"""Beats."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from dream_core.errors import SettingsError
from dream_core.sound.beats import find_beats, find_beats_by_network
from dream_core.video.samples import Samples

EXACT = 0.008


@pytest.mark.parametrize("tempo", [60, 90, 120, 140])
@pytest.mark.parametrize("begin", [0, 0.31])
def test_every_click_is_a_beat_and_nothing_else(click_track, tempo, begin):
    times = np.arange(begin, 11.9, 60 / tempo)
    assert find_beats(click_track(times, seconds=12)) == pytest.approx(times, abs=EXACT)


def test_quick_notes_between_beats_are_none(click_track):
    kick = click_track(np.arange(0.1, 11.9, 0.5), seconds=12, tone=60, length=0.15)
    hat = click_track(np.arange(0.1, 11.9, 0.25), seconds=12, tone=7000, length=0.03)
    found = find_beats(Samples(kick.wave + 0.3 * hat.wave, kick.rate))
    assert found == pytest.approx(np.arange(0.1, 11.9, 0.5), abs=EXACT)


def test_beats_follow_a_tempo_that_changes_a_little(click_track):
    times = [0.2]
    while times[-1] < 29:
        times.append(times[-1] + 60 / (118 + 8 * times[-1] / 30))
    assert find_beats(click_track(times, seconds=30)) == pytest.approx(times, abs=EXACT)


def test_beats_go_on_in_a_pause_but_not_before_and_after_the_music(click_track):
    times = np.arange(2, 10, 0.5)
    found = find_beats(click_track(np.delete(times, 8), seconds=14))
    assert found == pytest.approx(times, abs=0.02)


@pytest.mark.parametrize("seconds", [0.001, 0.2, 3])
def test_silence_and_very_short_sound_have_no_beat(seconds):
    assert not len(find_beats(Samples(torch.zeros(round(22_050 * seconds)), 22_050)))


def test_a_missing_network_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "beat_this.inference", None)
    with pytest.raises(
        SettingsError, match=r"expected the package beat-this .*: pip install beat-this, or choose"
    ):
        find_beats_by_network(Samples(torch.zeros(10), 22_050))


def _network(monkeypatch, tracker):
    module = ModuleType("beat_this.inference")
    module.Audio2Beats = tracker
    monkeypatch.setitem(sys.modules, "beat_this", ModuleType("beat_this"))
    monkeypatch.setitem(sys.modules, "beat_this.inference", module)


def test_the_network_hears_the_samples_at_their_rate(monkeypatch):
    class Tracker:
        def __init__(self, device):
            assert device == "cpu"

        def __call__(self, signal, rate):
            return np.array([0, len(signal) / rate]), np.zeros(0)

    _network(monkeypatch, Tracker)
    assert find_beats_by_network(Samples(torch.zeros(100), 50)).tolist() == [0, 2]


def test_weights_that_cannot_be_loaded_are_told(monkeypatch):
    def tracker(device):
        raise ValueError("Could not load the checkpoint")

    _network(monkeypatch, tracker)
    with pytest.raises(SettingsError, match=r"weights of beat-this cannot be loaded .* choose tempo"):
        find_beats_by_network(Samples(torch.zeros(100), 50))
