from __future__ import annotations

import gc
import struct
import warnings
import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import NATIVE, corners, levels, quadrants, read
from PIL import Image

from dream_core.errors import SettingsError, VideoError
from dream_core.settings import InputSettings
from dream_core.video import open_clip

# --- video ---


def test_frames_come_in_order_with_times_sizes_and_levels(make_clip):
    with open_clip(make_clip(count=12, fps=12), settings=NATIVE) as clip:
        assert (clip.size, clip.fps, clip.frame_count, clip.has_sound) == ((48, 64), 12, 12, False)
        frames = list(clip)
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.time for frame in frames] == pytest.approx([index / 12 for index in range(12)])
    assert [frame.duration for frame in frames] == pytest.approx([1 / 12] * 12)
    expected = [20 + 200 * index // 11 for index in range(12)]
    assert levels(frames) == pytest.approx(expected, abs=1.5)
    assert frames[0].image.shape == (3, 48, 64)
    assert frames[0].image.dtype == torch.float32


@pytest.mark.parametrize(
    ("size", "expected"), [(0, (48, 64)), (32, (24, 32)), (128, (96, 128)), (33, (25, 33)), (1, (1, 1))]
)
def test_the_longest_side_is_set_and_the_other_one_rounded(make_clip, size, expected):
    with open_clip(make_clip(count=2), settings=InputSettings(size=size)) as clip:
        assert clip.size == expected
        assert next(clip).image.shape == (3, *expected)


@pytest.mark.parametrize("size", [(97, 131), (1, 1), (3, 2)])
def test_any_size_can_be_read(make_clip, size):
    path = make_clip("clip.mkv", size=size, count=3, codec="ffv1", pixel_format="yuv444p")
    assert [tuple(frame.image.shape) for frame in read(path)] == [(3, *size)] * 3


def test_variable_frame_rate_keeps_the_real_times(make_clip):
    stamps = [0, 40, 50, 250, 1000, 1010]
    frames = read(make_clip(count=6, stamps=stamps, time_base=Fraction(1, 1000)))
    assert [frame.time for frame in frames] == pytest.approx([stamp / 1000 for stamp in stamps], abs=1e-9)
    assert [frame.duration for frame in frames[:-1]] == pytest.approx([0.04, 0.01, 0.2, 0.75, 0.01], abs=1e-9)


@pytest.mark.parametrize(
    ("matrix", "size", "expected"),
    [
        ((1, 0, 0, 1), (32, 48), ["red", "green", "blue", "white"]),
        ((0, 1, -1, 0), (48, 32), ["blue", "red", "white", "green"]),  # a quarter turn clockwise
        ((-1, 0, 0, -1), (32, 48), ["white", "blue", "green", "red"]),
        ((0, -1, 1, 0), (48, 32), ["green", "white", "red", "blue"]),
        ((-1, 0, 0, 1), (32, 48), ["green", "red", "white", "blue"]),  # mirrored
        ((0, 1, 1, 0), (48, 32), ["red", "blue", "green", "white"]),  # transposed
    ],
)
def test_the_display_matrix_is_honored(make_clip, matrix, size, expected):
    path = make_clip(images=[quadrants()] * 2)
    data = bytearray(path.read_bytes())
    # The matrix of a version 0 track header lies 40 bytes after the start of its fields.
    start = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    with open_clip(path, settings=NATIVE) as clip:
        assert clip.size == size
        assert corners(next(clip).image) == expected


def test_pixels_that_are_not_square_are_stretched(make_clip):
    path = make_clip(count=2, size=(48, 64), pixel_aspect=Fraction(3, 2))
    with open_clip(path, settings=NATIVE) as clip:
        assert clip.size == (48, 96)
        assert next(clip).image.shape == (3, 48, 96)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mpg", "ts"])
@pytest.mark.parametrize("first", [1, 5, 11])
def test_start_begins_at_that_frame_whatever_the_keyframes(make_clip, suffix, first):
    codec = "mpeg2video" if suffix == "mpg" else "libx264"
    path = make_clip(f"clip.{suffix}", count=24, fps=24, gop=8, codec=codec)
    frames = read(path, InputSettings(size=0, start=first / 24))
    assert len(frames) == 24 - first
    assert frames[0].time == 0
    assert levels(frames) == pytest.approx([20 + 200 * index // 23 for index in range(first, 24)], abs=3)


def test_a_start_between_two_frames_begins_at_the_second(make_clip):
    frames = read(make_clip(count=12, fps=12), InputSettings(size=0, start=2.5 / 12))
    assert len(frames) == 9


def test_frames_limits_the_clip(make_clip):
    with open_clip(make_clip(count=12, fps=12), settings=InputSettings(size=0, start=0.5, frames=3)) as clip:
        assert clip.frame_count == 3
        frames = list(clip)
    assert levels(frames) == pytest.approx([20 + 200 * index // 11 for index in (6, 7, 8)], abs=1.5)


def test_frame_count_is_what_start_and_frames_leave(make_clip):
    with open_clip(make_clip(count=12, fps=12), settings=InputSettings(size=0, start=0.75, frames=9)) as clip:
        assert clip.frame_count == len(list(clip)) == 3


def test_sound_is_found_with_the_moment_of_the_first_frame(make_clip):
    path = make_clip(count=12, fps=12, sound="aac")
    with open_clip(path, settings=InputSettings(start=0.5)) as clip:
        assert clip.has_sound
        assert clip.sound.path == path
        assert clip.sound.start == pytest.approx(0.5)


def test_frames_are_not_held(make_clip):
    alive = []
    with open_clip(make_clip(count=12), settings=NATIVE) as clip:
        for frame in clip:
            assert sum(reference() is not None for reference in alive) == 0
            alive.append(weakref.ref(frame.image))
            del frame
    assert len(alive) == 12


def test_decoded_frames_are_not_held_either(make_clip, quick_collection):
    gc.disable()
    try:
        with open_clip(make_clip(count=60), settings=NATIVE) as clip:
            for _ in clip:
                held = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
                assert held <= 12  # the decoder gives its last few at once
    finally:
        gc.enable()


def test_a_closed_clip_yields_nothing(make_clip):
    clip = open_clip(make_clip(), settings=NATIVE)
    clip.close()
    clip.close()
    assert list(clip) == []


def test_a_real_clip(test_data):
    settings = InputSettings(size=64, start=1.0, frames=5)
    with open_clip(test_data / "clips" / "mallard.mp4", settings=settings) as clip:
        assert (clip.size, clip.fps, clip.frame_count) == ((48, 64), Fraction(30000, 1001), 5)
        frames = list(clip)
    assert [frame.time for frame in frames] == pytest.approx([index * 1001 / 30000 for index in range(5)])


# --- damage ---


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("sound", [None, "aac"])
def test_a_truncated_clip_gives_what_it_holds_and_warns(make_clip, suffix, sound):
    noise = np.random.default_rng(0).integers(0, 255, (36, 48, 64, 3), dtype=np.uint8)
    muxer = {"movflags": "faststart"} if suffix == "mp4" else {}
    path = make_clip(f"clip.{suffix}", images=list(noise), fps=12, sound=sound, muxer=muxer)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(
        UserWarning, match=r"breaks off at \d\.\d s of 3\.\d s; what could be decoded was used"
    ):
        frames = read(path)
    assert 6 <= len(frames) < 30


def test_a_whole_clip_does_not_warn(make_clip):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("a.mp4", "b.mkv", "c.avi", "d.ts"):
            assert len(read(make_clip(name, count=24, sound="aac"))) == 24


def test_damage_in_the_middle_is_skipped_and_told(make_clip):
    noise = np.random.default_rng(0).integers(0, 255, (24, 48, 64, 3), dtype=np.uint8)
    path = make_clip("clip.mkv", images=list(noise))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20000] = bytes(20000)
    path.write_bytes(data)
    with pytest.warns(
        UserWarning, match=r"clip.mkv is damaged in \d+ places; what could be decoded was used"
    ):
        frames = read(path)
    assert len(frames) >= 12


def test_a_truncated_header_is_an_error(make_clip):
    path = make_clip(count=12)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(
        VideoError, match=r"clip\.mp4 cannot be read as a video .*damaged, incomplete or of another"
    ):
        open_clip(path, settings=NATIVE)


def test_a_clip_without_any_whole_frame_is_an_error(make_clip):
    path = make_clip(count=12, muxer={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + 8])
    with pytest.raises(VideoError, match=r"no frame of .*clip\.mp4 can be decoded"):
        open_clip(path, settings=NATIVE)


def test_what_is_no_video_is_an_error(tmp_path, make_clip):
    with pytest.raises(VideoError, match=r"missing\.mp4 does not exist: expected a video"):
        open_clip(tmp_path / "missing.mp4", settings=NATIVE)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"text\.mp4 cannot be read as a video"):
        open_clip(tmp_path / "text.mp4", settings=NATIVE)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match=r"empty\.mp4 cannot be read as a video"):
        open_clip(tmp_path / "empty.mp4", settings=NATIVE)
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = np.zeros((1, 800), dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match=r"sound\.wav contains no video stream"):
        open_clip(tmp_path / "sound.wav", settings=NATIVE)


def test_a_start_after_the_end_is_an_error(make_clip):
    with pytest.raises(VideoError, match=r"start is 5 s, but no frame follows in .*which lasts 1\.0 s"):
        open_clip(make_clip(count=12, fps=12), settings=InputSettings(start=5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (InputSettings(size=-1), r"^expected `size` from 0 to 16384, got -1$"),
        (InputSettings(start=float("nan")), r"^expected `start` from 0 to 1000000, got nan$"),
        (InputSettings(frames=-1), r"^expected `frames` from 0 to 10000000, got -1$"),
        (InputSettings(fps=0), r"^expected `fps` from 0.01 to 1000, got 0$"),
    ],
)
def test_settings_out_of_range_are_errors(tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        open_clip(tmp_path, settings=settings)


# --- images and GIFs ---


def save_gray(folder: Path, name: str, level: int, size: tuple[int, int] = (8, 10)) -> None:
    Image.fromarray(np.full((*size, 3), level, dtype=np.uint8)).save(folder / name)


def test_a_folder_is_read_in_natural_order(tmp_path):
    for number in (10, 9, 2, 1):
        save_gray(tmp_path, f"frame {number}.png", number * 10)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._frame 3.png").write_text("left by a Mac")
    with open_clip(tmp_path, settings=InputSettings(size=0, fps=10)) as clip:
        assert (clip.size, clip.fps, clip.frame_count, clip.sound) == ((8, 10), 10, 4, None)
        frames = list(clip)
    assert levels(frames) == pytest.approx([10, 20, 90, 100], abs=1e-3)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_a_part_of_a_folder(tmp_path):
    for number in range(10):
        save_gray(tmp_path, f"{number}.png", number)
    with open_clip(tmp_path, settings=InputSettings(size=0, fps=10, start=0.3, frames=4)) as clip:
        assert clip.frame_count == 4
        assert levels(list(clip)) == pytest.approx([3, 4, 5, 6], abs=1e-3)
    with pytest.raises(VideoError, match=r"start is 2 s, but 10 images at 10 frames per second last 1 s"):
        open_clip(tmp_path, settings=InputSettings(fps=10, start=2))


def test_images_of_other_sizes_are_stretched_to_the_first_with_one_warning(tmp_path):
    save_gray(tmp_path, "1.png", 10)
    save_gray(tmp_path, "2.png", 20, size=(16, 9))
    save_gray(tmp_path, "3.png", 30, size=(7, 9))
    with pytest.warns(UserWarning, match=r"2\.png is 9x16 but 1\.png is 10x8: .*stretched") as caught:
        frames = read(tmp_path)
    assert len(caught) == 1
    assert [tuple(frame.image.shape) for frame in frames] == [(3, 8, 10)] * 3


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(VideoError, match=r"holds no images: expected files ending in \.png, \.jpg"):
        open_clip(tmp_path, settings=NATIVE)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_a_single_image_is_a_clip_of_one_frame(tmp_path, suffix):
    save_gray(tmp_path, f"one.{suffix}", 100)
    frames = read(tmp_path / f"one.{suffix}")
    assert len(frames) == 1
    assert levels(frames) == pytest.approx([100], abs=1)


def test_a_gif_keeps_its_timing(tmp_path):
    images = [Image.new("RGB", (12, 10), (level, level, level)) for level in (0, 100, 200)]
    durations = [50, 200, 100]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=durations)
    frames = read(tmp_path / "a.gif")
    assert levels(frames) == pytest.approx([0, 100, 200], abs=1)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.05, 0.25])
    assert frames[0].image.shape == (3, 10, 12)


def test_shrinking_does_not_alias(tmp_path):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    image = read(tmp_path / "stripes.png", InputSettings(size=16))[0].image
    assert image.shape == (3, 16, 16)
    assert (image - 0.5).abs().max() < 0.05
