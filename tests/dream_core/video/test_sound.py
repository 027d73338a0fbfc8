from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import FAST, copy, ramp, read, write

from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import Sound, open_output
from dream_core.video.sound import _sheltered


def _sound(path: Path) -> tuple[str, float, float, float]:
    """Codec, first and last second, and loudness of a file's sound."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        samples, times = [], []
        for frame in container.decode(stream):
            times.append(frame.time)
            samples.append(frame.to_ndarray().astype(np.float64).ravel())
            last = frame.time + frame.samples / frame.sample_rate
        flat = np.concatenate(samples)
        peak = 32767 if stream.format.name.startswith("s16") else 1
        return stream.codec_context.name, times[0], last, float(np.sqrt((flat / peak).__pow__(2).mean()))


@pytest.mark.parametrize(
    ("source", "codec", "target", "expected"),
    [
        ("clip.mp4", "aac", "out.mp4", "aac"),
        ("clip.mp4", "aac", "out.mkv", "aac"),
        ("clip.ts", "aac", "out.mp4", "aac"),
        ("clip.mkv", "pcm_s16le", "out.avi", "pcm_s16le"),
        ("clip.mkv", "pcm_s16le", "out.ts", "mp2"),
        ("clip.mkv", "pcm_s16le", "out.mp4", "aac"),
        ("clip.mp4", "aac", "out.webm", "opus"),
    ],
)
def test_sound_is_copied_or_where_it_must_be_encoded_again(
    make_clip, tmp_path, source, codec, target, expected
):
    copy(make_clip(source, count=36, fps=12, sound=codec), tmp_path / target)
    name, first, last, loudness = _sound(tmp_path / target)
    assert name.startswith(expected)
    assert last - first == pytest.approx(3, abs=0.08)
    assert loudness == pytest.approx(0.5 / math.sqrt(2), rel=0.05)
    assert len(read(tmp_path / target)) == 36


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv"])
def test_sound_follows_start_and_frames(tmp_path, target):
    # A second of silence, then a tone. The copied part begins 0.5 s before the tone and ends 0.5 s after its start.
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=12)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("aac", rate=48000, layout="mono")
        for index in range(24):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * index, dtype=np.uint8))
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for position in range(0, 96000, 1000):
            time = position + np.arange(1000)
            wave = np.sin(2 * np.pi * 440 * time / 48000) * (time >= 48000) * 0.5
            sound = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 48000, position, Fraction(1, 48000)
            container.mux(audio.encode(sound))
        container.mux(audio.encode(None))
    copy(path, tmp_path / target, InputSettings(size=0, start=0.5, frames=12))
    with av.open(str(tmp_path / target)) as container:
        start = container.streams.video[0].start_time * container.streams.video[0].time_base
        times, loud = [], []
        for frame in container.decode(audio=0):
            times.append(frame.time - float(start))
            loud.append(np.abs(frame.to_ndarray()).max() > 0.2)
    assert times[0] == pytest.approx(0, abs=0.03)
    assert times[-1] == pytest.approx(1, abs=0.03)
    assert times[loud.index(True)] == pytest.approx(0.5, abs=0.03)


def test_sound_can_be_left_out(make_clip, tmp_path):
    settings = OutputSettings(sound=False)
    write(tmp_path / "out.mp4", ramp(12), settings=settings, sound=Sound(make_clip(sound="aac"), 0))
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio


def test_sound_ends_with_the_images_after_ctrl_c(make_clip, tmp_path):
    sound = Sound(make_clip(count=60, fps=12, sound="aac"), 0)
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        open_output(
            tmp_path / "out.mp4", size=(48, 64), fps=Fraction(12), settings=FAST, sound=sound
        ) as output,
    ):
        for image in ramp(12):
            output.write(image)
        raise KeyboardInterrupt
    assert _sound(tmp_path / "out.mp4")[2] == pytest.approx(1, abs=0.05)


def test_damaged_sound_does_not_stop_the_images():
    def packets():
        yield "first"
        raise av.error.InvalidDataError(1, "damaged")

    with pytest.warns(UserWarning, match=r"the sound of clip\.mp4 breaks off .*; the images go on"):
        assert list(_sheltered(packets(), Sound(Path("clip.mp4"), 0))) == ["first"]
