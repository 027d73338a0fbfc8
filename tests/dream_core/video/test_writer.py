from __future__ import annotations

import re
import shutil
import signal
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from clips import FAST, copy, gray, levels, ramp, read, write
from PIL import Image

from dream_core.errors import DamagedError, SettingsError, VideoError
from dream_core.settings import InputSettings, OutputSettings
from dream_core.unfinished import Unfinished
from dream_core.video import Output, Sound, open_output
from dream_core.video.encoder import Encoder

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


def test_a_batch_of_one_is_an_image_and_nothing_else_is(tmp_path):
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
def test_ctrl_c_while_finishing_changes_nothing(tmp_path, error):
    class Interrupted(Encoder):
        def close(self):
            signal.raise_signal(signal.SIGINT)
            super().close()
            signal.raise_signal(signal.SIGTERM)

    path, growing = tmp_path / "out.mp4", tmp_path / "out.part.mp4"
    options = {"size": (48, 64), "fps": Fraction(12), "settings": FAST}
    handler = signal.getsignal(signal.SIGINT)
    output = Output(path, growing, Interrupted(growing, time_base=Fraction(1, 12), **options), **options)
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
        pytest.warns(UserWarning, match=r"out\.part\.mp4 has the 7 images done so far"),
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


def test_the_longest_name_is_a_name_for_the_growing_file_too(tmp_path):
    path = tmp_path / ("é" * 125 + ".mp4")
    write(path, ramp(2))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


# --- GIF and images ---


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


def test_a_shorter_dream_leaves_no_image_of_a_longer_one(tmp_path):
    folder = tmp_path / "frames"
    write(folder, ramp(6))
    (folder / "frame_mine.png").touch()
    write(folder, ramp(2), settings=OutputSettings(overwrite=True))
    names = sorted(file.name for file in folder.iterdir())
    assert names == ["frame_000000.png", "frame_000001.png", "frame_mine.png"]


def stopped_folder(tmp_path):
    """A folder of images that was stopped after three of them; call it again to go on."""
    work = Unfinished(tmp_path / "frames", conditions={})
    options = {"size": (48, 64), "fps": Fraction(5), "settings": OutputSettings()}
    return open_output(tmp_path / "frames", **options, work=work)


def test_a_folder_that_lost_an_image_does_not_go_on_and_one_that_is_gone_begins_anew(tmp_path):
    images = [torch.full((3, 48, 64), level / 8) for level in range(4)]
    output = stopped_folder(tmp_path)
    for image in images[:3]:
        output.write(image)
    output.save({})
    output.stop()
    growing = tmp_path / "frames.part"
    (growing / "frame_000001.png").rename(tmp_path / "elsewhere.png")
    with pytest.raises(DamagedError, match=r"frame_000001\.png.*put it back, or add `restart`"):
        stopped_folder(tmp_path)
    (tmp_path / "elsewhere.png").rename(growing / "frame_000001.png")
    output = stopped_folder(tmp_path)
    assert output.restored == 3
    output.stop()
    shutil.rmtree(growing)
    with stopped_folder(tmp_path) as output:
        assert output.restored == 0
        for image in images:
            output.write(image)
    assert len(read(tmp_path / "frames")) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


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
    message = r"out(\.part)?\.jpg holds one image, but the clip has more: write a video or a folder"
    with pytest.raises(VideoError, match=message):
        write(tmp_path / "out.jpg", ramp(2), frame_count=2)
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(VideoError, match=message),
        pytest.warns(UserWarning, match="has the 1 image done so far"),
    ):
        write(tmp_path / "out.jpg", ramp(2))


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


def test_a_kill_right_after_the_end_leaves_nothing_for_long(tmp_path):
    work = Unfinished(tmp_path / "out.mp4", conditions={})
    options = {"size": (48, 64), "fps": Fraction(12), "settings": FAST}
    with open_output(tmp_path / "out.mp4", **options, work=work) as output:
        output.write(gray(10))
        output.save({})
        output.close()
        output.growing_path.rename(output.path)
        work.close()
    with pytest.raises(VideoError, match=r"out\.mp4 exists already"):
        open_output(tmp_path / "out.mp4", **options, work=work)
    assert [file.name for file in tmp_path.iterdir()] == ["out.mp4"]


@pytest.mark.parametrize("name", ["out.mp4", "out.gif", "out"])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_a_folder_that_is_removed_meanwhile_stops_the_run_at_once(tmp_path, name, is_recorded):
    target = tmp_path / "sub" / name
    work = Unfinished(target, conditions={}) if is_recorded else None
    size = gray(100).shape[-2:]
    output = open_output(target, size=size, fps=Fraction(5), settings=OutputSettings(), work=work)

    def lose_it() -> None:
        with output:
            output.write(gray(100))
            shutil.rmtree(target.parent)
            output.write(gray(100))

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(VideoError, match="was removed or moved: put it back"):
            lose_it()
    assert "nothing is left at" in str(told[-1].message)
    assert output.written == 1
    assert not target.parent.exists()


@pytest.mark.parametrize("recorded", [True, False])
def test_a_full_disk_stops_the_run_and_all_that_is_claimed_plays(tmp_path, recorded):
    resource = pytest.importorskip("resource")  # not on Windows
    target = tmp_path / "out.mp4"
    work = Unfinished(target, conditions={}) if recorded else None
    output = open_output(target, size=(96, 128), fps=Fraction(5), settings=OutputSettings(), work=work)

    def fill() -> None:
        with output:
            for _ in range(48):
                output.write(torch.rand(3, 96, 128))
                if recorded:
                    output.save({})

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            with pytest.raises(VideoError, match=r"File too large.*the disk"):
                fill()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    claimed = int(re.search(r"has the (\d+) images?", str(told[-1].message)).group(1))
    assert 0 < claimed <= output.written
    # Of an image whose end is missing the decoder may make one before it unreadable too.
    assert claimed - (not recorded) <= len(read(target.with_name("out.part.mp4"))) <= claimed
