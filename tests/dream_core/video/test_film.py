from __future__ import annotations

import gc
import os
import struct
import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import NATIVE, corners, levels, quadrants, read
from PIL import Image

from dream_core.errors import VideoError
from dream_core.settings import InputSettings
from dream_core.video import open_clip


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


@pytest.mark.parametrize("start", [0, 0.25])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")]
)
def test_frames_of_a_varying_rate_are_counted(make_clip, name, codec, start):
    stamps = [index * 20 for index in range(10)] + [200 + index * 200 for index in range(4)]
    path = make_clip(name, codec=codec, count=14, fps=50, stamps=stamps, time_base=Fraction(1, 1000))
    with open_clip(path, settings=InputSettings(size=0, start=start)) as clip:
        assert clip.counted() == len(list(clip)) == (4 if start else 14)


def test_invisible_images_are_not_counted(make_clip):
    path = make_clip("clip.webm", codec="libvpx", count=4)
    with open_clip(path, settings=NATIVE) as clip:
        assert clip.counted() is None


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


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_a_start_within_a_frame_begins_with_that_frame(make_clip, suffix):
    frames = read(make_clip(f"clip.{suffix}", count=12, fps=12), InputSettings(size=0, start=2.5 / 12))
    assert levels(frames) == pytest.approx([20 + 200 * index // 11 for index in range(2, 12)], abs=1.5)
    assert [frame.time for frame in frames] == pytest.approx([index / 12 for index in range(10)], abs=2e-3)


@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("mjpeg", "yuvj420p"), ("mpeg4", "yuv420p"), ("libx264", "yuv420p")]
)
@pytest.mark.filterwarnings("ignore:.*damaged in:UserWarning")
def test_images_after_a_damaged_one_keep_their_places_in_an_avi(make_clip, codec, pixel_format):
    path = make_clip("clip.avi", count=24, fps=24, gop=1, codec=codec, pixel_format=pixel_format)
    data = path.read_bytes()
    with av.open(str(path)) as container:
        pieces = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for piece in (pieces[5], pieces[11]):
        assert data.count(piece) == 1
        data = data.replace(piece, bytes(len(piece)))
    path.write_bytes(data)
    frames = read(path)
    assert len(frames) == 22
    assert [round(24 * frame.time) for frame in frames[-8:]] == list(range(16, 24))
    assert levels(frames[-8:]) == pytest.approx([20 + 200 * index // 23 for index in range(16, 24)], abs=4.3)


def test_a_start_within_a_long_frame_shows_the_rest_of_it(make_clip):
    stamps = [0, 100, 1100, 9000, 9100]
    path = make_clip(count=5, stamps=stamps, time_base=Fraction(1, 1000), sound="aac")
    with open_clip(path, settings=InputSettings(size=0, start=5)) as clip:
        assert clip.frame_count == 3
        assert clip.sound.start == pytest.approx(5)
        frames = list(clip)
    assert levels(frames) == pytest.approx([120, 170, 220], abs=1.5)
    assert [frame.time for frame in frames] == pytest.approx([0, 4, 4.1], abs=1e-6)
    assert frames[0].duration == pytest.approx(4)


def test_the_last_frame_is_on_the_screen_until_it_ends(make_clip):
    path = make_clip(count=12, fps=12)
    assert levels(read(path, InputSettings(size=0, start=11.9 / 12))) == pytest.approx([220], abs=1.5)
    with pytest.raises(VideoError, match=r"start is 1 s, but no frame follows"):
        open_clip(path, settings=InputSettings(start=1))


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "mov"])
@pytest.mark.parametrize(("start", "expected"), [(0, 12), (0.5, 6), (0.55, 6)])
def test_frames_are_counted_by_the_images_and_not_by_longer_sound(tmp_path, suffix, start, expected):
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w") as container:
        image, sound = (
            container.add_stream(codec, rate=rate) for codec, rate in (("libx264", 12), ("aac", 48000))
        )
        image.width, image.height, image.pix_fmt, image.codec_context.max_b_frames = 64, 48, "yuv420p", 0
        container.start_encoding()
        for index in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index, dtype=np.uint8))
            frame.pts = index
            container.mux(image.encode(frame))
        container.mux(image.encode(None))
        for index in range(250):
            piece = av.AudioFrame.from_ndarray(
                np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
            )
            piece.sample_rate, piece.pts, piece.time_base = 48000, index * 1024, Fraction(1, 48000)
            container.mux(sound.encode(piece))
        container.mux(sound.encode(None))
    with open_clip(path, settings=InputSettings(size=0, start=start)) as clip:
        assert clip.frame_count == expected
        assert len(list(clip)) == expected


def test_frame_count_is_what_start_and_frames_leave(make_clip):
    with open_clip(make_clip(count=12, fps=12), settings=InputSettings(size=0, start=0.75, frames=9)) as clip:
        assert clip.frame_count == len(list(clip)) == 3


def test_sound_is_found_with_the_moment_of_the_first_frame(make_clip):
    path = make_clip(count=12, fps=12, sound="aac")
    with open_clip(path, settings=InputSettings(start=0.5)) as clip:
        assert clip.has_sound
        assert clip.sound.path == path
        assert clip.sound.start == pytest.approx(0.5)


def test_decoded_frames_are_not_held_either(make_clip, quick_collection):
    gc.disable()
    try:
        with open_clip(make_clip(count=60), settings=NATIVE) as clip:
            for _ in clip:
                held = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
                assert held <= 12  # the decoder gives its last few at once
    finally:
        gc.enable()


def test_a_real_clip(test_data):
    settings = InputSettings(size=64, start=1.0, frames=5)
    with open_clip(test_data / "clips" / "mallard.mp4", settings=settings) as clip:
        assert (clip.size, clip.fps, clip.frame_count) == ((48, 64), Fraction(30000, 1001), 5)
        frames = list(clip)
    assert [frame.time for frame in frames] == pytest.approx([index * 1001 / 30000 for index in range(5)])


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


def test_a_start_after_the_end_is_an_error(make_clip):
    with pytest.raises(VideoError, match=r"start is 5 s, but no frame follows in .*which lasts 1\.0 s"):
        open_clip(make_clip(count=12, fps=12), settings=InputSettings(start=5))


def test_a_gif_keeps_its_timing(tmp_path):
    images = [Image.new("RGB", (12, 10), (level, level, level)) for level in (0, 100, 200)]
    durations = [50, 200, 100]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=durations)
    frames = read(tmp_path / "a.gif")
    assert levels(frames) == pytest.approx([0, 100, 200], abs=1)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.05, 0.25])
    assert frames[0].image.shape == (3, 10, 12)


# --- what the file says ---


def test_what_lies_under_transparency_does_not_appear(tmp_path):
    path = tmp_path / "alpha.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libvpx-vp9", rate=10, options={"auto-alt-ref": "0", "crf": "4", "b": "0"}
        )
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuva420p"
        stream.metadata["alpha_mode"] = "1"
        for index in range(3):
            image = np.full((64, 64, 4), (255, 0, 255, 0), dtype=np.uint8)
            image[:, 32:] = (0, 200, 0, 255)
            frame = av.VideoFrame.from_ndarray(image, format="rgba").reformat(format="yuva420p")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    frames = read(path)
    assert len(frames) == 3
    for frame in frames:
        assert frame.image[:, :, :28].max() < 0.03
        assert frame.image[1, :, 36:].min() > 0.7


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("flags", "cover_flags"), [(0, 1), (1, 1), (0, 0), (1, 1 << 10 | 1)])
def test_the_film_is_read_and_not_its_cover(tmp_path, first, flags, cover_flags):
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        codecs = ["mjpeg", "libx264"] if first else ["libx264", "mjpeg"]
        streams = {codec: container.add_stream(codec, rate=10) for codec in codecs}
        cover, film = streams["mjpeg"], streams["libx264"]
        cover.width, cover.height, cover.pix_fmt = 200, 200, "yuvj420p"
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        film.disposition, cover.disposition = flags, cover_flags
        container.start_encoding()
        image = av.VideoFrame.from_ndarray(np.full((200, 200, 3), 250, dtype=np.uint8)).reformat(
            format="yuvj420p"
        )
        image.pts = 0
        packets = cover.encode(image) + cover.encode(None)
        for index in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * index, dtype=np.uint8))
            frame.pts = index
            packets += film.encode(frame)
        for packet in packets + film.encode(None):
            container.mux(packet)
    with open_clip(path, settings=NATIVE) as clip:
        assert (clip.size, clip.frame_count) == ((48, 64), 10)
        assert len(list(clip)) == 10


@pytest.mark.parametrize("pixel_aspect", [Fraction(1), Fraction(4, 3)])
def test_frames_that_turn_within_a_clip_are_fitted_and_begin_anew_with_one_warning(
    make_clip, tmp_path, pixel_aspect
):
    options = {"fps": 25, "options": {"bf": "0"}}
    first = make_clip("1.ts", images=[flat_with_a_mark(48, 64)] * 4, **options)
    second = make_clip("2.ts", images=[flat_with_a_mark(64, 48)] * 4, pixel_aspect=pixel_aspect, **options)
    path = tmp_path / "turn.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes() + first.read_bytes())
    with pytest.warns(
        UserWarning, match=r"turn\.ts changes from 64x48 to \d\dx64 at 0\.2 s: .*fitted"
    ) as told:
        frames = read(path)
    assert len(told) == 1
    assert [tuple(frame.image.shape) for frame in frames] == [(3, 48, 64)] * 12
    anew = [frame.index for frame in frames if frame.anew]
    assert anew == [4, 8]
    turned = frames[5].image.mean(0)
    lit = (turned[24] > 0.15).nonzero()
    wide = round(48 * 48 / 64 * pixel_aspect)
    assert (int(lit.min()), int(lit.max())) == pytest.approx(((64 - wide) // 2, (64 + wide) // 2 - 1), abs=1)
    assert frames[9].image.mean() == pytest.approx(float(frames[1].image.mean()), abs=0.02)


def flat_with_a_mark(height: int, width: int) -> np.ndarray:
    image = np.full((height, width, 3), 100, dtype=np.uint8)
    image[height // 4 : height // 2, width // 4 : width // 2] = 200
    return image


def test_another_resolution_of_the_same_film_goes_on(make_clip, tmp_path):
    parts = [
        make_clip(f"{height}.ts", size=(height, height * 4 // 3), count=4, fps=25) for height in (48, 96)
    ]
    path = tmp_path / "adaptive.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.warns(UserWarning, match=r"changes from 64x48 to 128x96"):
        frames = read(path)
    assert [tuple(frame.image.shape) for frame in frames] == [(3, 48, 64)] * 8
    assert not any(frame.anew for frame in frames)


@pytest.mark.parametrize("tag", [b"00:00:0[.5000", b"no:ti:me.0000", b"00:00:1..0000"])
def test_a_length_that_cannot_be_read_does_not_matter(make_clip, tag):
    path = make_clip("clip.mkv", count=12, fps=12)
    data = path.read_bytes()
    place = data.rindex(b"00:00:01")
    path.write_bytes(data[:place] + tag + data[place + len(tag) :])
    with open_clip(path, settings=NATIVE) as clip:
        assert clip.frame_count == 12
        assert len(list(clip)) == 12


def test_a_clip_that_is_cut_while_it_is_read_is_an_error_at_the_next_frame(make_clip):
    path = make_clip(count=24)
    size = path.stat().st_size
    with open_clip(path, settings=NATIVE) as clip:
        next(clip)
        with path.open("r+b") as file:
            file.truncate(size - 10)
        with pytest.raises(
            VideoError, match=rf"became shorter .* {size - 10} bytes instead of {size}: put the whole"
        ):
            list(clip)


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no open file")
def test_a_clip_that_is_removed_while_it_is_read_is_read_to_its_end(make_clip):
    path = make_clip(count=24)
    with open_clip(path, settings=NATIVE) as clip:
        first = next(clip)
        path.unlink()
        assert len([first, *clip]) == 24
