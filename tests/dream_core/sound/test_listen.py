"""Entries of the option listen."""

from __future__ import annotations

import pytest

from dream_core.errors import SettingsError
from dream_core.settings import SoundSettings
from dream_core.sound.listen import Listening, parse_listening


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "learning_rate=onsets:1..4",
            Listening("learning_rate", SoundSettings(feature="onsets", least=1, most=4)),
        ),
        ("mask-strength = level : 0 .. 1", Listening("mask_strength", SoundSettings(least=0, most=1))),
        (
            "blend=200-2500.5Hz:0.3..5e-2",
            Listening(
                "blend",
                SoundSettings(feature="band", band_low=200, band_high=2500.5, least=0.3, most=0.05),
            ),
        ),
        ("zoom=bass:-.5...5", Listening("zoom", SoundSettings(feature="bass", least=-0.5, most=0.5))),
    ],
)
def test_entries_say_what_to_listen_for(text, expected):
    assert parse_listening(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onsets", r"expected SETTING=FEATURE:LEAST\.\.MOST in `listen`, such as .*, got 'onsets'"),
        ("zoom=onsets", "expected SETTING=FEATURE"),
        ("zoom=drums:0..1", "expected one of level, .*beats in `listen`, or a range .* got 'drums'"),
        ("zoom=band:0..1", "expected one of level"),
        ("zoom=bass:0..loud", "expected two numbers such as 1..4 in `listen`, got 'loud' in"),
        ("zoom=bass:nan..1", "expected `least` from"),
        ("zoom=2000-200Hz:0..1", "expected `band_low` below `band_high`, got 2000 and 200 Hz"),
    ],
)
def test_what_cannot_be_read_is_told(text, message):
    with pytest.raises(SettingsError, match=message):
        parse_listening(text)
