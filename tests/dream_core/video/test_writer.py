from __future__ import annotations

import math
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from dream_core.errors import SettingsError, VideoError
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import Frame, Sound, open_clip, open_output
from dream_core.video.encoder import Encoder

FAST = OutputSettings(quality=4)
NATIVE = InputSettings(size=0)


def read(path: Path) -> list[Frame]:
    with open_clip(path, settings=NATIVE) as clip:
        return list(clip)


def gray(level: float, size: tuple[int, int] = (48, 64)) -> Tensor:
    return torch.full((3, *size), level / 255)


def write(
    path: Path | str, images: list[Tensor], *, settings: OutputSettings = FAST, fps: int = 12, **options
):
    size = tuple(images[0].shape[-2:])
    with open_output(path, size=size, fps=Fraction(fps), settings=settings, **options) as output:
        for image in images:
            output.write(image)
    return output


def ramp(count: int, size: tuple[int, int] = (48, 64)) -> list[Tensor]:
    return [gray(20 + 200 * index // max(1, count - 1), size) for index in range(count)]


def levels(frames: list[Frame]) -> list[float]:
    return [float(frame.image.mean()) * 255 for frame in frames]


# --- video ---


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "ts"])
def test_images_come_back_as_they_went(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    output = write(path, ramp(12))
    assert output.written == 12
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    frames = read(path)
    assert levels(frames) == pytest.approx([20 + 200 * index // 11 for index in range(12)], abs=1)
    assert [frame.time for frame in frames] == pytest.approx([index / 12 for index in range(12)], abs=1e-3)


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


@pytest.mark.parametrize(
    ("codec", "pixel_format", "tolerance"),
    [
        ("ffv1", "bgr0", 0.51),
        ("libx264", "yuv444p", 1.5),
        ("ffv1", "gbrp16le", 0.01),
        ("ffv1", "yuv444p16le", 0.02),
    ],
)
def test_colors_survive(tmp_path, codec, pixel_format, tolerance):
    colors = torch.rand(3, 6, 8).mul(0.8).add(0.1)
    image = colors.repeat_interleave(8, -1).repeat_interleave(8, -2)
    settings = OutputSettings(codec=codec, pixel_format=pixel_format, quality=0)
    write(tmp_path / "out.mkv", [image], settings=settings)
    found = read(tmp_path / "out.mkv")[0].image
    assert (found - image).abs().max() * 255 <= tolerance
    assert (found - image).mean().abs() * 255 < 0.15


def test_levels_are_rounded_not_cut(tmp_path):
    settings = OutputSettings(codec="ffv1", pixel_format="bgr0")
    write(tmp_path / "out.mkv", [gray(level) for level in (99.6, 100.4, -20, 300)], settings=settings)
    assert levels(read(tmp_path / "out.mkv")) == pytest.approx([100, 100, 0, 255], abs=1e-3)


def test_ten_bits_are_written_and_read(tmp_path):
    settings = OutputSettings(codec="ffv1", pixel_format="yuv420p10le")
    write(
        tmp_path / "out.mkv",
        [torch.full((3, 16, 16), 502 / 1000 + 0.0001 * index) for index in range(20)],
        settings=settings,
    )
    with av.open(str(tmp_path / "out.mkv")) as container:
        lumas = {int(np.frombuffer(frame.planes[0], np.uint16)[0]) for frame in container.decode(video=0)}
    # 0.502 to 0.5039 of 876 steps from 64 on
    assert lumas == {504, 505}


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


def test_a_batch_of_one_is_a_image_and_nothing_else_is(tmp_path):
    with open_output(tmp_path / "out.mp4", size=(48, 64), fps=Fraction(12), settings=FAST) as output:
        output.write(gray(10)[None])
        with pytest.raises(VideoError, match=r"expected an image \(3,48,64\), got \(2, 3, 48, 64\)"):
            output.write(torch.zeros(2, 3, 48, 64))
        with pytest.raises(VideoError, match=r"got \(3, 64, 48\)"):
            output.write(torch.zeros(3, 64, 48))
    assert len(read(tmp_path / "out.mp4")) == 1
    with pytest.raises(VideoError, match=r"out\.mp4 is closed: no image can be added"):
        output.write(gray(10))


# --- growing, finishing, failing ---


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_growing_file_can_be_played(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    settings = OutputSettings(update_interval=5)
    with open_output(path, size=(48, 64), fps=Fraction(12), settings=settings) as output:
        assert output.growing_path.parent == tmp_path
        seen = []
        for _ in range(60):
            output.write(torch.rand(3, 48, 64))
            seen.append(_playable(output.growing_path))
        assert not path.exists()
    assert seen[-1] >= 40
    assert len(set(seen)) >= 5
    assert len(read(path)) == 60


def _playable(path: Path) -> int:
    try:
        with av.open(str(path)) as container:
            return sum(1 for _ in container.decode(video=0))
    except av.FFmpegError:
        return 0


def test_ctrl_c_leaves_a_whole_file_of_what_is_done(tmp_path):
    path = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path, KeyboardInterrupt(), written=7)
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
    assert len(read(path)) == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt, None])
def test_ctrl_c_while_finishing_changes_nothing(tmp_path, monkeypatch, error):
    close, path = Encoder.close, tmp_path / "out.mp4"

    def close_interrupted(self):
        signal.raise_signal(signal.SIGINT)
        close(self)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Encoder, "close", close_interrupted)
    handler = signal.getsignal(signal.SIGINT)
    output = open_output(path, size=(48, 64), fps=Fraction(12), settings=FAST)
    with suppress(KeyboardInterrupt), output:
        output.write(gray(10))
        assert not output.finished
        if error:
            raise error
    assert output.finished
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]
    assert len(read(path)) == 1
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_thread_can_finish_an_output(tmp_path):
    with ThreadPoolExecutor() as pool:
        pool.submit(write, tmp_path / "out.mp4", ramp(2)).result()
    assert len(read(tmp_path / "out.mp4")) == 2


def test_another_error_keeps_the_part_and_says_where(tmp_path):
    with (
        pytest.raises(RuntimeError),
        pytest.warns(
            UserWarning, match=r"the images made before the error, up to 7, are in .*out\.part\.mp4"
        ),
    ):
        _interrupted(tmp_path / "out.mp4", RuntimeError("boom"), written=7)
    assert [file.name for file in tmp_path.iterdir()] == ["out.part.mp4"]
    assert len(read(tmp_path / "out.part.mp4")) == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError()])
def test_an_interruption_before_the_first_image_leaves_nothing(tmp_path, error):
    with pytest.raises(type(error)):
        _interrupted(tmp_path / "out.mp4", error, written=0)
    assert list(tmp_path.iterdir()) == []


def _interrupted(path: Path, error: BaseException, *, written: int, sound: Sound | None = None) -> None:
    with open_output(path, size=(48, 64), fps=Fraction(12), settings=FAST, sound=sound) as output:
        for image in ramp(12)[:written]:
            output.write(image)
        raise error


def test_an_output_without_images_is_an_error(tmp_path):
    with pytest.raises(VideoError, match=r"no image was written to .*out\.mp4"):  # noqa: SIM117
        with open_output(tmp_path / "out.mp4", size=(48, 64), fps=Fraction(12), settings=FAST):
            pass
    assert list(tmp_path.iterdir()) == []


def test_discard_removes_only_its_own_file(tmp_path):
    (tmp_path / "out.part.mp4").write_text("from an earlier run")
    output = open_output(tmp_path / "out.mp4", size=(48, 64), fps=Fraction(12), settings=FAST)
    assert output.growing_path.name == "out.part-2.mp4"
    output.write(gray(10))
    output.discard()
    assert [file.name for file in tmp_path.iterdir()] == ["out.part.mp4"]
    assert (tmp_path / "out.part.mp4").read_text() == "from an earlier run"


def test_an_existing_output_is_kept_unless_overwriting_is_allowed(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_text("old")
    with pytest.raises(VideoError, match=r"out\.mp4 exists already: choose another name, or add `overwrite`"):
        write(path, ramp(2))
    assert path.read_text() == "old"
    write(path, ramp(2), settings=OutputSettings(overwrite=True))
    assert len(read(path)) == 2


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "out.mp4"
    output = open_output(path, size=(48, 64), fps=Fraction(12), settings=FAST)
    output.write(gray(10))
    path.write_text("somebody else's")
    with pytest.raises(VideoError, match=r"has appeared meanwhile: the output stays at .*out\.part\.mp4"):
        output.finish()
    assert path.read_text() == "somebody else's"
    assert len(read(output.growing_path)) == 1


def test_the_input_is_never_overwritten(make_clip):
    path = make_clip(sound="aac")
    with pytest.raises(VideoError, match=r"clip\.mp4 is the input: choose another name"):
        write(path, ramp(2), settings=OutputSettings(overwrite=True), sound=Sound(path, 0))


def test_folders_on_the_way_are_made(tmp_path):
    write(tmp_path / "a" / "b" / "out.mp4", ramp(2))
    assert len(read(tmp_path / "a" / "b" / "out.mp4")) == 2


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
        ("out.xyz", OutputSettings(), r"ffmpeg does not write \.xyz files: expected \.mp4"),
        (
            "out.mpg",
            OutputSettings(codec="mpeg1video"),
            r"mpeg1video cannot encode 64x48 yuv420p into \.mpg .* choose another `codec`, `pixel_format` or",
        ),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(tmp_path, name, settings, message):
    with pytest.raises(VideoError, match=message):
        open_output(tmp_path / name, size=(48, 64), fps=Fraction(7), settings=settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (OutputSettings(quality=52), r"^expected `quality` from 0 to 51, got 52$"),
        (OutputSettings(update_interval=-1), r"^expected `update_interval` from 0 to 10000, got -1$"),
        (OutputSettings(frame_duration=0.5), r"^expected `frame_duration` from 1 to 655350, or 0, got 0.5$"),
    ],
)
def test_settings_out_of_range_are_errors(tmp_path, settings, message):
    with pytest.raises(SettingsError, match=message):
        open_output(tmp_path / "out.mp4", size=(48, 64), fps=Fraction(12), settings=settings)


# --- sound ---


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


def copy(
    source: Path, target: Path, settings: InputSettings = NATIVE, output_settings: OutputSettings = FAST
) -> None:
    with (
        open_clip(source, settings=settings) as clip,
        open_output(
            target,
            size=clip.size,
            fps=clip.fps,
            time_base=clip.time_base,
            sound=clip.sound,
            settings=output_settings,
        ) as output,
    ):
        for frame in clip:
            output.write(frame.image, time=frame.time, duration=frame.duration)


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
def test_sound_is_copied_or_where_it_must_be_encoded_anew(
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
    # Silence for a second, then a tone: the cut begins 0.5 s before the tone and ends 0.5 s behind its start.
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
    with pytest.raises(KeyboardInterrupt):
        _interrupted(tmp_path / "out.mp4", KeyboardInterrupt(), written=12, sound=sound)
    assert _sound(tmp_path / "out.mp4")[2] == pytest.approx(1, abs=0.05)


# --- GIF and images ---


def test_a_gif_keeps_the_times_and_close_colors(tmp_path):
    y, x = torch.meshgrid(torch.linspace(0, 1, 48), torch.linspace(0, 1, 64), indexing="ij")
    images = [torch.stack([x, y, torch.full_like(x, level)]) for level in (0.0, 0.5, 1.0)]
    options = {"size": (48, 64), "fps": Fraction(10), "settings": OutputSettings()}
    with open_output(tmp_path / "out.gif", **options) as output:
        for image, time in zip(images, (0, 0.05, 0.5), strict=True):
            output.write(image, time=time, duration=0.1)
    frames = read(tmp_path / "out.gif")
    assert [frame.time for frame in frames] == pytest.approx([0, 0.05, 0.5])
    for frame, image in zip(frames, images, strict=True):
        assert (frame.image - image).abs().mean() < 0.04
        assert (frame.image.mean((1, 2)) - image.mean((1, 2))).abs().max() < 0.01


def test_the_frame_duration_of_a_gif_can_be_set(tmp_path):
    write(tmp_path / "out.gif", ramp(4), settings=OutputSettings(frame_duration=150), fps=25)
    assert [frame.time for frame in read(tmp_path / "out.gif")] == pytest.approx([0, 0.15, 0.3, 0.45])


def test_no_frame_of_a_gif_is_shorter_than_browsers_allow(tmp_path):
    write(tmp_path / "out.gif", ramp(4), fps=100)
    assert [frame.time for frame in read(tmp_path / "out.gif")] == pytest.approx([0, 0.02, 0.04, 0.06])


@pytest.mark.parametrize("name", ["frames", "frames.v2/"])
def test_a_folder_takes_numbered_images(tmp_path, name):
    output = write(f"{tmp_path}/{name}", ramp(3))
    folder = tmp_path / name
    assert output.path == folder
    assert sorted(file.name for file in folder.iterdir()) == [f"frame_00000{index}.png" for index in range(3)]
    assert levels(read(folder)) == pytest.approx([20, 120, 220], abs=1e-3)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_with_content_is_kept_unless_overwriting_is_allowed(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(VideoError, match="frames exists already"):
        write(folder, ramp(2))
    write(folder, ramp(2), settings=OutputSettings(overwrite=True))
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["frame_000000.png", "frame_000001.png", "mine.txt"]
    assert list(tmp_path.iterdir()) == [folder]


def test_an_empty_folder_can_be_used(tmp_path):
    (tmp_path / "frames").mkdir()
    write(tmp_path / "frames", ramp(2))
    assert len(read(tmp_path / "frames")) == 2


def test_a_file_cannot_be_a_folder(tmp_path):
    (tmp_path / "frames").touch()
    with pytest.raises(VideoError, match="frames is a file: expected a folder"):
        write(tmp_path / "frames", ramp(2), settings=OutputSettings(overwrite=True))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
def test_a_single_image(tmp_path, suffix):
    write(tmp_path / f"out.{suffix}", [gray(99.6, (3, 5))])
    with Image.open(tmp_path / f"out.{suffix}") as image:
        assert (image.size, image.getpixel((0, 0))) == ((5, 3), (100, 100, 100))


def test_a_single_image_cannot_hold_a_clip(tmp_path):
    message = r"out(\.part)?\.png holds one image, but the clip has more: write a video or a folder"
    with pytest.raises(VideoError, match=message):
        write(tmp_path / "out.png", ramp(2), frame_count=2)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VideoError, match=message), pytest.warns(UserWarning, match="up to 1, are in"):
        write(tmp_path / "out.png", ramp(2))


def test_the_real_clip_goes_through(test_data, tmp_path):
    copy(
        test_data / "clips" / "mallard.mp4", tmp_path / "out.mp4", InputSettings(size=160, start=2, frames=40)
    )
    frames = read(tmp_path / "out.mp4")
    assert [frame.time for frame in frames] == pytest.approx([index * 1001 / 30000 for index in range(40)])
    assert frames[0].image.shape == (3, 120, 160)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "out.mp4",
            OutputSettings(frame_duration=50),
            r"`frame_duration` is for GIFs only: .*out\.mp4 keeps",
        ),
        ("out", OutputSettings(frame_duration=50), r"`frame_duration` is for GIFs only"),
        (
            "out.gif",
            OutputSettings(codec="ffv1"),
            r"`codec` is for videos only: .*out\.gif is written without",
        ),
        ("out.png", OutputSettings(pixel_format="bgr0"), r"`pixel_format` is for videos only"),
        ("out", OutputSettings(codec="libx265"), r"`codec` is for videos only"),
    ],
)
def test_options_without_effect_are_told(tmp_path, name, settings, message):
    with pytest.warns(UserWarning, match=message) as warned:
        write(tmp_path / name, ramp(1), settings=settings)
    assert len(warned) == 1
