from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from clips import FAST, gray, levels, ramp, read, write

from dream_core.errors import Notice, VideoError
from dream_core.settings import OutputSettings
from dream_core.video import open_output
from dream_core.video.encoder import ENCODER_MEMORY, SEGMENT, Encoder
from dream_core.video.pixels import FrameConverter


def test_by_default_it_is_h264_tagged_as_bt709(tmp_path):
    write(tmp_path / "out.mp4", ramp(3), settings=OutputSettings())
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        tags = (context.color_primaries, context.color_trc, context.colorspace, context.color_range)
        assert tags == (1, 1, 1, 1)


@pytest.mark.parametrize(("suffix", "codec"), [("webm", "vp9"), ("mkv", "h264"), ("avi", "h264")])
def test_every_container_has_a_codec_by_default(tmp_path, suffix, codec):
    path = tmp_path / f"out.{suffix}"
    write(path, ramp(3), settings=OutputSettings())
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name.removeprefix("lib") == codec


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody can write")
def test_an_encoder_that_would_damage_memory_is_refused(tmp_path):
    """x265 writes beyond its memory for narrow images: the program aborts, sooner or later."""
    settings = OutputSettings(codec="libx265")
    with pytest.raises(
        VideoError, match=r"^expected images at least 64 pixels wide for codec libx265, got 48; "
    ):
        write(tmp_path / "narrow.mp4", ramp(2, (64, 48)), settings=settings)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "out.mp4", ramp(2, (64, 64)), settings=settings)


def test_a_file_that_cannot_be_made_is_not_the_codecs_fault():
    with pytest.raises(VideoError, match=r"part\.mp4 cannot be written \(.*\): check the folder"):
        write("/proc/out.mp4", ramp(1))


def test_the_finished_mp4_is_not_fragmented_and_starts_at_zero(tmp_path):
    path = tmp_path / "out.mp4"
    write(path, ramp(24), settings=OutputSettings(update_interval=4))
    boxes, data, position = [], path.read_bytes(), 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        length = int.from_bytes(data[position + 8 : position + 16], "big") if length == 1 else length
        boxes.append(data[position + 4 : position + 8])
        position += length
    assert b"moov" in boxes
    assert b"moof" not in boxes
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 24
        assert next(container.decode(video=0)).pts == 0


def test_real_times_are_kept(tmp_path):
    stamps = [0, 40, 50, 250, 1000]
    settings = OutputSettings()
    options = {"size": (48, 64), "fps": Fraction(5), "time_base": Fraction(1, 1000), "settings": settings}
    with open_output(tmp_path / "out.mp4", **options) as output:
        for stamp in stamps:
            output.write(gray(100), time=stamp / 1000, duration=0.3)
    frames = read(tmp_path / "out.mp4")
    assert [frame.time for frame in frames] == pytest.approx([stamp / 1000 for stamp in stamps], abs=1e-9)
    with av.open(str(tmp_path / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("size", "expected"), [((97, 131), (98, 132)), ((1, 1), (2, 2)), ((48, 63), (48, 64))]
)
def test_odd_sides_grow_by_their_last_pixels(tmp_path, size, expected):
    image = torch.zeros(3, *size)
    image[:, -1:, -1:] = 1
    write(tmp_path / "out.mp4", [image] * 2, settings=OutputSettings(quality=0))
    found = read(tmp_path / "out.mp4")[0].image
    assert found.shape == (3, *expected)
    assert found[:, -1, -1].min() > 0.95


def test_odd_sides_stay_where_the_pixel_format_allows_them(tmp_path):
    write(tmp_path / "out.mp4", ramp(2, (97, 131)), settings=OutputSettings(pixel_format="yuv444p"))
    assert read(tmp_path / "out.mp4")[0].image.shape == (3, 97, 131)


def test_quality_changes_the_size_for_every_kind_of_encoder(tmp_path):
    images = [torch.rand(3, 64, 64) for _ in range(3)]
    for codec in ("libx264", "mpeg4"):
        sizes = []
        for quality in (5, 45):
            path = tmp_path / f"{codec}{quality}.mp4"
            write(path, images, settings=OutputSettings(codec=codec, quality=quality))
            sizes.append(path.stat().st_size)
        assert sizes[0] > 1.5 * sizes[1]


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("out.mp4", "libx265", "yuv420p10le"),
        ("out.webm", "libvpx-vp9", "yuv420p"),
        ("out.mov", "prores_ks", "yuv422p10le"),
        ("out.mpg", "mpeg2video", "yuv420p"),
        ("out.mp4", "mpeg4", "yuv420p"),
    ],
)
def test_other_encoders(tmp_path, capfd, name, codec, pixel_format):
    settings = OutputSettings(codec=codec, pixel_format=pixel_format)
    write(tmp_path / name, ramp(6, (64, 96)), settings=settings, fps=25, time_base=Fraction(1, 90000))
    assert levels(read(tmp_path / name)) == pytest.approx([20, 60, 100, 140, 180, 220], abs=3)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "out.mp4",
            OutputSettings(codec="h265"),
            r"codec h265 is not an encoder of this ffmpeg: expected a `codec` such as",
        ),
        ("out.mp4", OutputSettings(codec="aac"), r"codec aac encodes audio: expected a video encoder"),
        (
            "out.mp4",
            OutputSettings(pixel_format="rgb24"),
            r"libx264 does not take pixel format rgb24: expected yuv420p, ",
        ),
        (
            "out.mkv",
            OutputSettings(codec="rawvideo", pixel_format="oops"),
            r"pixel format oops is unknown to ffmpeg",
        ),
        ("out.webm", OutputSettings(codec="libx264"), r"hold no libx264: leave `codec` out for vp9, or"),
        ("out.wav", OutputSettings(), r"wav files hold no libx264: .* choose another suffix"),
        ("out.mp3", OutputSettings(), r"^\.mp3 files hold sound, .*: expected a name such as \.mp4$"),
        ("out.flac", OutputSettings(), r"^\.flac files hold sound"),
        ("out.xyz", OutputSettings(), r"ffmpeg does not write \.xyz files: expected \.mp4"),
        (
            "out.dv",
            OutputSettings(codec="dvvideo"),
            r"dvvideo cannot encode 64x48 yuv420p into \.dv .* choose another `codec`, `pixel_format` or",
        ),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(tmp_path, name, settings, message):
    with pytest.raises(VideoError, match=message):
        open_output(tmp_path / name, size=(48, 64), fps=Fraction(7), settings=settings)
    assert list(tmp_path.iterdir()) == []


def test_the_frame_duration_of_a_gif_can_be_set(tmp_path):
    write(tmp_path / "out.gif", ramp(4), settings=OutputSettings(frame_duration=150), fps=25)
    assert [frame.time for frame in read(tmp_path / "out.gif")] == pytest.approx([0, 0.15, 0.3, 0.45])


def test_no_frame_of_a_gif_is_shorter_than_browsers_allow_and_none_is_late(tmp_path):
    with pytest.warns(
        Notice, match=r"\.gif .*0 images are repeated and 3 left out, so that every moment stays"
    ):
        write(tmp_path / "out.gif", ramp(6), fps=100)
    assert [frame.time for frame in read(tmp_path / "out.gif")] == pytest.approx([0, 0.02, 0.04])


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("out.avi", None, 10),
        ("out.mpg", "mpeg2video", 10),
        ("out.mpg", "mpeg1video", 23.976),
        ("out.ts", "mpeg2video", 10),
        ("out.mkv", "mpeg2video", 10),
        ("out.avi", "mpeg4", 10),
        ("out.mp4", "mpeg4", 10),
    ],
)
def test_moments_stay_where_a_container_has_a_constant_rate(tmp_path, name, codec, rate):
    times = [0, 0.1, 0.2, 0.3, 1.3, 1.4, 1.5]
    options = {"fps": Fraction(4), "top_fps": Fraction(10), "time_base": Fraction(1, 90000)}
    output = open_output(
        tmp_path / name, size=(48, 64), settings=OutputSettings(codec=codec, quality=2), **options
    )
    for image, time, following in zip(ramp(7), times, [*times[1:], 2.0], strict=True):
        output.write(image, time=time, duration=following - time)
    with pytest.warns(Notice, match=r"images a second: \d+ images are repeated and 0 left out"):
        output.finish()
    frames = read(tmp_path / name)
    assert frames[-1].time + frames[-1].duration == pytest.approx(2, abs=0.06)
    for level, time in zip(levels(ramp_frames := frames), (frame.time for frame in ramp_frames), strict=True):
        shown = max(index for index, begin in enumerate(times) if begin <= time + 0.5 / rate)
        assert level == pytest.approx(20 + 200 * shown // 6, abs=5)


def test_an_encoder_without_images_closes_a_readable_file(tmp_path):
    path = tmp_path / "empty.mp4"
    options = {"fps": Fraction(10), "time_base": Fraction(1, 10), "settings": FAST}
    Encoder(path, size=(48, 64), **options).close()
    assert len(read(path)) == 1


@pytest.mark.parametrize("name", ["out.mp4", "out.mov", "out.mkv", "out.gif"])
def test_an_image_for_which_memory_runs_out_leaves_nothing_and_does_not_crash(tmp_path, monkeypatch, name):
    """Closing an MP4 without a frame ends in a segmentation fault in ffmpeg 8."""

    def fail(*_: object) -> None:
        raise MemoryError("can't allocate memory")

    monkeypatch.setattr(FrameConverter, "__call__", fail)
    with pytest.raises(MemoryError, match="can't allocate"):
        write(tmp_path / name, ramp(1))
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_an_encoder_ends_with_a_segment(tmp_path):
    clip = {"fps": Fraction(25), "time_base": Fraction(1, 25), "settings": FAST}
    video = Encoder(tmp_path / "out.mp4", size=(47, 63), **clip)
    image = Encoder(tmp_path / "out.gif", size=(47, 63), **clip)
    assert video.memory(10) == 48 * 64 * 10 * ENCODER_MEMORY
    assert video.memory(None) == video.memory(10**6) == 48 * 64 * SEGMENT * ENCODER_MEMORY
    assert image.memory(None) == 0
    for encoder in (video, image):
        encoder.close()
