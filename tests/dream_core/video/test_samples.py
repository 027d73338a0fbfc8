"""Sound of a clip as samples."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from dream_core.errors import VideoError
from dream_core.settings import InputSettings
from dream_core.video import Sound, open_clip
from dream_core.video.samples import RATE, read_samples, sound_of


def write_sound(
    path: Path, waves: dict[float, np.ndarray], *, layout: str = "mono", codec: str = "pcm_s16le"
) -> Path:
    """Write sound that begins at given seconds, 48000 samples a second, channels first."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=48000, layout=layout)
        for begin, wave in waves.items():
            packed = (wave * 32767).astype(np.int16).T.reshape(1, -1)
            sound = av.AudioFrame.from_ndarray(packed, format="s16", layout=layout)
            sound.sample_rate, sound.pts, sound.time_base = 48000, round(begin * 48000), Fraction(1, 48000)
            container.mux(track.encode(sound))
        container.mux(track.encode(None))
    return path


def tone(seconds: float, *, channels: int = 1) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(48000 * seconds)) / 48000)
    return np.tile(wave, (channels, 1))


def loud(samples) -> list[float]:
    """First and last second with sound."""
    places = torch.nonzero(samples.wave.abs() > 0.1)[:, 0] / samples.rate
    return [float(places[0]), float(places[-1])]


def test_channels_are_mixed_and_the_rate_is_one(tmp_path):
    path = write_sound(tmp_path / "a.mkv", {0: np.concatenate([tone(1), 0 * tone(1)])}, layout="stereo")
    samples = read_samples(Sound(path, 0))
    assert samples.rate == RATE
    assert samples.seconds == pytest.approx(1, abs=0.01)
    assert float(samples.wave.abs().max()) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


def test_gaps_and_a_late_beginning_are_silent(tmp_path):
    path = write_sound(tmp_path / "a.mkv", {0.5: tone(0.5), 2: tone(1)})
    samples = read_samples(Sound(path, 0))
    assert loud(samples) == pytest.approx([0.5, 3], abs=0.01)
    assert float(samples.wave[round(1.1 * RATE) : round(1.9 * RATE)].abs().max()) < 0.01


@pytest.mark.parametrize("start", [0.25, 0.75])
def test_it_begins_with_the_first_frame(tmp_path, start):
    path = write_sound(tmp_path / "a.mkv", {0.5: tone(2)})
    samples = read_samples(Sound(path, start))
    assert samples.seconds == pytest.approx(2.5 - start, abs=0.01)
    assert loud(samples) == pytest.approx([max(0, 0.5 - start), 2.5 - start], abs=0.01)


def test_a_clip_knows_where_its_sound_begins(make_clip):
    path = make_clip("clip.mkv", count=36, fps=12, sound="aac")
    with open_clip(path, settings=InputSettings(start=1.0)) as clip:
        assert clip.sound
        samples = read_samples(clip.sound)
    assert samples.seconds == pytest.approx(2, abs=0.08)


def test_a_late_start_is_sought(tmp_path):
    path = write_sound(tmp_path / "a.mkv", {0: 0 * tone(15), 15: tone(1)})
    assert loud(read_samples(Sound(path, 14.5))) == pytest.approx([0.5, 1.5], abs=0.01)


def test_a_file_without_sound_or_without_samples_is_told(make_clip, tmp_path):
    with pytest.raises(VideoError, match=r"expected sound in .*clip\.mp4, got a file without"):
        read_samples(Sound(make_clip(), 0))
    path = write_sound(tmp_path / "a.mkv", {0: tone(1)})
    with pytest.raises(VideoError, match="has no samples from 5 s on: choose another file or start"):
        read_samples(Sound(path, 5))
    path.write_bytes(b"no sound at all")
    with pytest.raises(VideoError, match=r"cannot be read .*: expected a whole file"):
        read_samples(Sound(path, 0))


def test_another_file_begins_with_the_input(tmp_path):
    path = write_sound(tmp_path / "a.mkv", {0.5: tone(2)})
    begin = sound_of(path, start=0).start
    assert loud(read_samples(sound_of(path, start=1)))[0] == pytest.approx(0, abs=0.01)
    assert sound_of(path, start=1).start == begin + 1


@pytest.mark.parametrize(
    ("name", "message"),
    [("no.wav", "does not exist: expected a file with sound"), ("text.wav", "cannot be read")],
)
def test_another_file_that_cannot_be_read_is_told(tmp_path, name, message):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(VideoError, match=message):
        sound_of(tmp_path / name, start=0)
