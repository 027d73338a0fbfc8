from __future__ import annotations

import math
import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import FAST, copy, ramp, read, write

from dream_core.errors import Notice
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import Sound, open_clip, open_output
from dream_core.video.containers import flag_number


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


# --- in step with the images ---


def _flash_and_tone(
    path: Path, *, codec: str, rate: int = 48000, seconds: float = 2.0, gap: bool = False
) -> Path:
    """Black and silent until 0.5 s, then white, and a tone. With a gap, no samples of sound come before."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=20)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.max_b_frames = 0
        audio = container.add_stream(codec, rate=rate, layout="mono")
        packets = []
        for index in range(round(seconds * 20)):
            level = 235 if index >= 10 else 10
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, dtype=np.uint8))
            frame.pts = index
            packets += video.encode(frame)
        packets += video.encode(None)
        for position in range(0, round(seconds * rate), 500):
            if gap and position < rate // 2:
                continue
            time = position + np.arange(500)
            wave = np.sin(2 * np.pi * 1000 * time / rate) * (time >= rate // 2) * 0.5
            sound = av.AudioFrame.from_ndarray(
                (wave * 32767).astype(np.int16)[None], format="s16", layout="mono"
            )
            sound.sample_rate, sound.pts, sound.time_base = rate, position, Fraction(1, rate)
            packets += audio.encode(sound)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _moments(path: Path) -> tuple[float, float, float]:
    """First image, flash and tone, in seconds of the file."""
    with av.open(str(path)) as container:
        frames = [(frame.time, frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]
    if path.suffix == ".avi":  # ffmpeg delays its images, which have no times
        frames = [(time - frames[0][0], level) for time, level in frames]
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray().astype(np.float64))
            wave = wave / 32768 if frame.format.name.startswith("s16") else wave
            if wave.max() > 0.2:
                tone = frame.time + int(np.argmax(wave.max(0) > 0.2)) / frame.sample_rate
                break
    return frames[0][0], next(time for time, level in frames if level > 100), tone


@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.mkv", "out.webm", "out.ts", "out.avi"])
@pytest.mark.parametrize(
    ("source", "codec", "rate"),
    [
        ("clip.mov", "pcm_s16le", 48000),
        ("clip.mov", "pcm_s16le", 8000),
        ("clip.mkv", "flac", 44100),
        ("clip.mp4", "aac", 48000),
        ("clip.ts", "mp2", 48000),
    ],
)
def test_images_and_sound_stay_in_step(tmp_path, source, codec, rate, target):
    path = _flash_and_tone(tmp_path / source, codec=codec, rate=rate)
    begin, flash, tone = _moments(path)
    copy(path, tmp_path / target)
    began, flashed, sounded = _moments(tmp_path / target)
    assert flashed - began == pytest.approx(flash - begin, abs=1e-3)
    # Half a packet where the container has no times below 0, and such a packet can begin there.
    close = 0.025 if target.endswith(("ts", "avi")) else 0.012
    assert sounded - flashed == pytest.approx(tone - flash, abs=close)
    if target.endswith(("mp4", "mov", "mkv", "webm")):
        assert began == 0


@pytest.mark.parametrize("target", ["out.mp4", "out.avi", "out.webm"])
def test_sound_that_begins_late_stays_late(tmp_path, target):
    path = _flash_and_tone(tmp_path / "clip.mkv", codec="pcm_s16le", gap=True)
    copy(path, tmp_path / target)
    began, flashed, sounded = _moments(tmp_path / target)
    assert (flashed - began, sounded - began) == pytest.approx((0.5, 0.5), abs=0.025)


def test_a_start_moves_images_and_sound_alike(tmp_path):
    path = _flash_and_tone(tmp_path / "clip.mov", codec="pcm_s16le")
    copy(path, tmp_path / "out.mp4", InputSettings(size=0, start=0.25))
    assert _moments(tmp_path / "out.mp4") == pytest.approx((0, 0.25, 0.25), abs=0.002)


@pytest.mark.parametrize("pause", [200, 10**7])
def test_a_long_pause_is_silent_and_fits_into_memory(tmp_path, pause):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=1)
        video.width, video.height, video.pix_fmt, video.codec_context.max_b_frames = 64, 48, "yuv420p", 0
        audio = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        container.start_encoding()
        for index in range(210):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index, dtype=np.uint8))
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for begin in (0, pause):
            wave = np.full((1, 8000), 16000, dtype=np.int16)
            sound = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 8000, begin * 8000, Fraction(1, 8000)
            container.mux(audio.encode(sound))
    copy(path, tmp_path / "out.avi")
    expected = [0, 200] if pause == 200 else [0]
    assert _tones(tmp_path / "out.avi") == pytest.approx(expected, abs=0.05)


# --- times that jump ---


@pytest.fixture
def joined(tmp_path: Path) -> Path:
    """Two recordings one after the other: each begins at its own time, and black and silent until 0.5 s."""
    parts = [
        _flash_and_tone(tmp_path / f"{index}.ts", codec="mp2", seconds=seconds).read_bytes()
        for index, seconds in enumerate((2, 1.5))
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.webm", "out.ts", "out.avi"])
def test_nothing_is_lost_where_times_jump_back(tmp_path, joined, target):
    copy(joined, tmp_path / target)
    frames = read(tmp_path / target)
    assert len(frames) == 70
    assert [frame.time for frame in frames] == pytest.approx([index / 20 for index in range(70)], abs=0.03)
    white = [frame.time for frame in frames if frame.image.mean() > 0.5]
    assert white[30] == pytest.approx(2.5, abs=0.03)
    assert _tones(tmp_path / target) == pytest.approx([0.5, 2.5], abs=0.06)


def test_a_start_behind_a_jump_is_found(tmp_path, joined):
    copy(joined, tmp_path / "out.mp4", InputSettings(size=0, start=2.27))
    frames = read(tmp_path / "out.mp4")
    assert len(frames) == 25
    assert next(frame.time for frame in frames if frame.image.mean() > 0.5) == pytest.approx(0.25, abs=0.01)
    assert _tones(tmp_path / "out.mp4") == pytest.approx([0.25], abs=0.06)
    with open_clip(joined, settings=InputSettings(start=2.27)) as clip:
        assert clip.frame_count == 25


def _tones(path: Path) -> list[float]:
    """Seconds at which a tone begins after at least 0.2 s of silence, counted from the first image."""
    with av.open(str(path)) as container:
        first = 0 if path.suffix == ".avi" else next(container.decode(video=0)).time
    tones, quiet = [], True
    last = -1.0
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            wave = np.abs(frame.to_ndarray().astype(np.float64))
            wave = (wave / 32768 if frame.format.name.startswith("s16") else wave).max(0)
            for index in np.flatnonzero(wave > 0.2):
                time = frame.time + index / frame.sample_rate
                if quiet or time - last > 0.2:
                    tones.append(time - first)
                quiet, last = False, time
    return tones


# --- several tracks ---


def _tracks(path: Path) -> list[tuple[str, str | None, bool]]:
    with av.open(str(path)) as container:
        return [
            (
                track.codec_context.name,
                track.metadata.get("language"),
                bool(flag_number(track.disposition) & 1),
            )
            for track in container.streams.audio
        ]


@pytest.fixture
def two_languages(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=12)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        tracks = [container.add_stream(codec, rate=48000, layout="mono") for codec in ("aac", "ac3")]
        for track, language in zip(tracks, ("eng", "deu"), strict=True):
            track.metadata["language"] = language
            track.disposition = av.stream.Disposition.default.value
        for index in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * index, dtype=np.uint8))
            frame.pts = index
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for track in tracks:
            for position in range(0, 96000, 1000):
                sound = av.AudioFrame.from_ndarray(
                    np.zeros((1, 1000), dtype=np.float32), format="fltp", layout="mono"
                )
                sound.sample_rate, sound.pts, sound.time_base = 48000, position, Fraction(1, 48000)
                container.mux(track.encode(sound))
            container.mux(track.encode(None))
    return path


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.ts"])
def test_all_tracks_are_kept_with_their_languages_and_one_default(tmp_path, two_languages, target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        copy(two_languages, tmp_path / target)
    default = not target.endswith("ts")  # transport streams have no such flag
    assert _tracks(tmp_path / target) == [("aac", "eng", default), ("ac3", "deu", False)]
    with av.open(str(tmp_path / target)) as container:
        assert len(list(container.decode(video=0))) == 12
    assert _sound(tmp_path / target)[2] == pytest.approx(1, abs=0.06)


def test_what_cannot_be_copied_is_left_out_and_told(tmp_path, two_languages):
    two_languages.write_bytes(two_languages.read_bytes().replace(b"A_AC3", b"A_XYZ"))
    with pytest.warns(
        Notice, match=r"left out of the output, .*: track 2 \(deu, unknown codec\) of the input's"
    ):
        copy(two_languages, tmp_path / "out.mp4")
    assert [track[0] for track in _tracks(tmp_path / "out.mp4")] == ["aac"]
    assert len(read(tmp_path / "out.mp4")) == 12


@pytest.mark.parametrize("target", ["out.gif", "out.v2/", "frames"])
def test_what_holds_no_sound_says_so(make_clip, tmp_path, target):
    path = make_clip(count=3, sound="aac")
    with pytest.warns(Notice, match=r"left out of the output, .*: track 1 \(und, aac\) of the input's"):
        copy(path, f"{tmp_path}/{target}")


# --- damage ---


def test_sound_that_cannot_be_read_does_not_stop_the_images(make_clip, tmp_path):
    path = make_clip("clip.mkv", count=24, sound="aac")
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(audio=0) if packet.size]
    data = bytearray(path.read_bytes())
    for place in places[10:]:
        data[place + 20 : place + 60] = bytes(range(40))
    path.write_bytes(bytes(data))
    for target in ("out.mp4", "out.webm"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            copy(path, tmp_path / target)
        assert len(read(tmp_path / target)) >= 23


def test_sound_that_the_container_refuses_breaks_off_alone(make_clip, tmp_path, monkeypatch):
    def refuse(self, packet):
        raise av.error.classes[22](22, "Invalid argument")  # another name in each PyAV

    path = make_clip(count=12, sound="aac")
    monkeypatch.setattr("dream_core.video.sound.SoundCopy._write", refuse)
    with pytest.warns(UserWarning, match=r"the sound of .*clip\.mp4 breaks off .*; the images go on"):
        copy(path, tmp_path / "out.mp4")
    assert len(read(tmp_path / "out.mp4")) == 12
