"""The option listen."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dream_core.errors import SettingsError, VideoError
from dream_core.schedules.schedules import Schedules
from dream_core.settings import (
    EnvelopeSettings,
    InputSettings,
    ListenSettings,
    OutputSettings,
    SoundSettings,
)
from dream_core.sound.listen import Listening, hear, parse_listening
from dream_core.video import SAMPLE_CLIP, open_clip, open_output
from dream_core.video.clip import Sound


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


@pytest.fixture
def click(tmp_path: Path) -> Path:
    """A second of sound with a click after 0.5 s."""
    wave = np.zeros(8000)
    wave[4000:4080] = 20_000 * np.sin(np.arange(80))
    return save_wave(tmp_path / "click.wav", wave)


def save_wave(path: Path, wave: np.ndarray) -> Path:
    """Save 8000 samples a second as 16 bits."""
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(wave.astype(np.int16)[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 8000, 0, Fraction(1, 8000)
        container.mux(track.encode(sound))
        container.mux(track.encode(None))
    return path


@pytest.fixture
def film(click: Path, tmp_path: Path) -> Path:
    """Ten gray frames in a second, with that sound."""
    path, settings = tmp_path / "film.mov", OutputSettings(quality=0)
    with open_output(
        path, size=(48, 64), fps=Fraction(10), settings=settings, sound=Sound(click, 0)
    ) as output:
        for _ in range(10):
            output.write(torch.full((3, 48, 64), 0.5))
    return path


def heard(path: Path, *entries: str, start: float = 0, frames: int = 0, to: Path | None = None) -> Schedules:
    envelope = EnvelopeSettings(release=0.1)
    with open_clip(path, settings=InputSettings(size=0, start=start, frames=frames)) as clip:
        return hear(clip, ListenSettings(listen=entries, listen_to=to), envelope, start=start)


@pytest.mark.parametrize("start", [0, 0.3])
@pytest.mark.parametrize("other", [False, True])
def test_settings_follow_the_sound_from_the_first_frame_on(film, click, start, other):
    entries = ("learning_rate=onsets:1..4", "blend=onsets:0.5..0.1")
    found = heard(film, *entries, start=start, to=click if other else None)
    rate, blend = found.by_name["learning_rate"], found.by_name["blend"]
    values = [rate.at(index, index / 10) for index in range(10)]
    shown = 5 - round(10 * start)
    assert values[shown] == pytest.approx(4, abs=0.01)
    assert values[:shown] == [1] * shown
    assert values[shown + 3] == 1
    assert blend.at(0, shown / 10) == pytest.approx(0.1, abs=0.01)


def test_a_file_that_nothing_follows_is_told(tmp_path):
    settings = ListenSettings(listen_to=tmp_path / "nothing.wav")
    says = r"`listen_to` .*nothing\.wav does nothing without `listen`"
    with open_clip(SAMPLE_CLIP, settings=InputSettings()) as clip, pytest.warns(UserWarning, match=says):
        heard = hear(clip, settings, EnvelopeSettings(), start=0)
    assert not heard.by_name


@pytest.mark.parametrize(("start", "frames"), [(0, 3), (0.2, 3), (0.2, 0)])
@pytest.mark.parametrize("feature", ["level", "onsets"])
@pytest.mark.parametrize("other", [False, True])
def test_a_part_follows_the_sound_as_the_whole_does(tmp_path, start, frames, feature, other):
    wave = np.zeros(16_000)
    for time, height in ((0.15, 2000), (0.35, 4000), (1.2, 20_000), (1.5, 20_000)):
        begin = round(8000 * time)
        wave[begin : begin + 400] = height * np.sin(np.arange(400))
    song, path = save_wave(tmp_path / "song.wav", wave), tmp_path / "film.mov"
    sound, settings = Sound(song, 0), OutputSettings(quality=0)
    with open_output(path, size=(32, 32), fps=Fraction(10), settings=settings, sound=sound) as output:
        for _ in range(20):
            output.write(torch.zeros(3, 32, 32))
    entry, to = f"blend={feature}:0..1", song if other else None
    whole = heard(path, entry, to=to).by_name["blend"]
    part = heard(path, entry, start=start, frames=frames, to=to).by_name["blend"]
    times = np.arange(0, 0.6, 0.05)
    expected = [whole.at(0, time + start) for time in times]
    assert 0 < max(expected) < 0.6
    assert [part.at(0, time) for time in times] == pytest.approx(expected, abs=1e-6)


def test_frames_of_a_varying_rate_hear_to_their_end(tmp_path):
    wave = np.zeros(20_000)
    wave[15_200:15_600] = 20_000 * np.sin(np.arange(400))  # at 1.9 s
    song, path = save_wave(tmp_path / "song.wav", wave), tmp_path / "film.mkv"
    with open_output(path, size=(32, 32), fps=Fraction(50), settings=OutputSettings()) as output:
        for number in range(11):
            output.write(torch.zeros(3, 32, 32), time=0.2 * number, duration=0.2)
    found = heard(path, "blend=level:0..1", frames=10, to=song).by_name["blend"]
    assert found.at(0, 1.7) == 0
    assert found.at(0, 1.92) > 0.9


def test_a_start_after_the_end_of_the_sound_is_told(film, tmp_path):
    song = save_wave(tmp_path / "song.wav", np.ones(2000))
    with pytest.raises(VideoError, match=r"song\.wav has no samples from 0\.3 s on"):
        heard(film, "blend=level:0..1", start=0.3, to=song)


def test_nothing_is_read_where_nothing_listens(silent):
    assert not heard(silent)


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """A clip without sound."""
    path = tmp_path / "silent.mp4"
    with open_output(path, size=(48, 64), fps=Fraction(10), settings=OutputSettings()) as output:
        output.write(torch.full((3, 48, 64), 0.5))
    return path


def test_an_input_without_sound_is_told(silent):
    with pytest.raises(VideoError, match=r"expected an input with sound for `listen`, .* by `listen_to`"):
        heard(silent, "blend=level:0..1")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["learnin_rate=level:0..1"], "got `learnin_rate`; did you mean `learning_rate`"),
        (["layers=level:0..1"], "expected a setting that can follow a sound in `listen`, got `layers`"),
        (["text=level:0..1"], r"in `listen`, got `text`; .*choose one of natural_colors, "),
        (
            ["blend=level:0..1", "blend=bass:0..1"],
            "expected one schedule of each setting, got two of `blend`",
        ),
    ],
)
def test_settings_that_cannot_follow_are_told(film, entries, message):
    with pytest.raises(SettingsError, match=message):
        heard(film, *entries)
