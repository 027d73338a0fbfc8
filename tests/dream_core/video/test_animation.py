from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from clips import copy, gray, levels, ramp, read, write
from PIL import Image

from dream_core.errors import VideoError
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import open_clip
from dream_core.video.animation import is_animated

LEVELS = (20, 120, 220)


def save(path, durations=(50, 200, 100), *, size=(12, 10), **options):
    images = [Image.new("RGB", size, (level,) * 3) for level in LEVELS]
    lossless = {"lossless": True} if path.suffix == ".webp" else {}
    images[0].save(
        path, save_all=True, append_images=images[1:], duration=list(durations), **lossless, **options
    )
    return path


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_an_animation_is_a_clip_with_its_times(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}")
    with open_clip(path, settings=InputSettings(size=0)) as clip:
        assert (clip.size, clip.frame_count, clip.sound) == ((10, 12), 3, None)
        frames = list(clip)
    assert levels(frames) == pytest.approx(LEVELS, abs=1)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.05, 0.25])
    assert frames[-1].duration == pytest.approx(0.1)


@pytest.mark.parametrize("suffix", ["webp", "png"])
def test_a_part_of_an_animation(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}")
    frames = read(path, InputSettings(size=6, start=0.1, frames=2))
    assert levels(frames) == pytest.approx(LEVELS[1:], abs=1)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.15])
    assert frames[0].image.shape == (3, 5, 6)
    with pytest.raises(VideoError, match=r"start is 3 s, but .* lasts 0\.35 s"):
        open_clip(path, settings=InputSettings(start=3))


def test_images_without_a_duration_last_as_long_as_in_browsers(tmp_path):
    frames = read(save(tmp_path / "a.webp", durations=(0, 0, 0)))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2])


def test_the_picture_for_programs_without_animation_is_not_shown(tmp_path):
    path = save(tmp_path / "a.png", durations=(100, 100), default_image=True)
    assert levels(read(path)) == pytest.approx(LEVELS[1:], abs=1)


def test_what_is_left_of_a_damaged_animation_is_used(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (8, 48, 64, 3), dtype=np.uint8)
    images = [Image.fromarray(one) for one in noise]
    path = tmp_path / "a.png"
    images[0].save(path, save_all=True, append_images=images[1:], duration=100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(UserWarning, match=r"a\.png breaks off after \d images; these are used"):
        frames = read(path)
    assert 2 <= len(frames) < 8


@pytest.mark.parametrize(("name", "expected"), [("still.png", False), ("text.png", False), ("a.webp", True)])
def test_animations_are_told_from_images(tmp_path, name, expected):
    Image.new("RGB", (3, 3)).save(tmp_path / "still.png")
    (tmp_path / "text.png").write_text("no image")
    save(tmp_path / "a.webp")
    assert is_animated(tmp_path / name) == expected


@pytest.mark.parametrize("count", [None, 3])
@pytest.mark.parametrize("suffix", ["webp", "png", "apng", "gif"])
def test_several_images_become_an_animation(tmp_path, suffix, count):
    path = tmp_path / f"out.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = write(path, ramp(3), settings=OutputSettings(quality=0), fps=10, frame_count=count)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert output.written == 3
    frames = read(path)
    assert levels(frames) == pytest.approx(LEVELS, abs=2)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.1, 0.2])
    assert frames[-1].duration == pytest.approx(0.1, abs=0.011)
    with Image.open(path) as image:
        assert image.n_frames == 3
        assert image.info.get("loop", 0) == 0  # for ever


@pytest.mark.parametrize("suffix", ["webp", "png"])
@pytest.mark.parametrize("count", [None, 1])
def test_one_image_stays_an_image(tmp_path, suffix, count):
    path = tmp_path / f"out.{suffix}"
    write(path, [gray(100)], frame_count=count)
    assert not is_animated(path)
    assert levels(read(path)) == pytest.approx([100], abs=1)


def test_uneven_times_and_quality_reach_a_webp(tmp_path):
    sizes = []
    for quality in (0, 51):
        path = tmp_path / f"{quality}.webp"
        noise = [torch.rand(3, 48, 64, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
        write(path, noise, settings=OutputSettings(quality=quality))
        sizes.append(path.stat().st_size)
    assert sizes[0] > 1.3 * sizes[1]


def save_transparent(path):
    """A green square on what hides magenta; it moves from the left to the right."""
    images = []
    for index in range(3):
        pixels = np.full((32, 48, 4), (255, 0, 255, 0), dtype=np.uint8)
        pixels[:, 16 * index : 16 * index + 16] = (0, 200, 0, 255)
        images.append(Image.fromarray(pixels))
    options = (
        {"lossless": True} if path.suffix == ".webp" else {"disposal": 2} if path.suffix == ".gif" else {}
    )
    images[0].save(path, save_all=True, append_images=images[1:], duration=100, **options)
    return path


@pytest.mark.parametrize("target", ["out.gif", "out.webp", "out.png", "out.apng", "out"])
@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_transparency_is_kept_on_request(tmp_path, suffix, target):
    path = save_transparent(tmp_path / f"a.{suffix}")
    (tmp_path / "b").mkdir()
    wanted = InputSettings(size=0, transparency=True)
    copy(path, tmp_path / "b" / target, wanted, OutputSettings(quality=0))
    with open_clip(tmp_path / "b" / target, settings=wanted) as clip:
        frames = list(clip)
    assert len(frames) == 3
    for index, frame in enumerate(frames):
        inside = torch.zeros(32, 48, dtype=torch.bool)
        inside[:, 16 * index + 2 : 16 * index + 14] = True
        outside = torch.ones(32, 48, dtype=torch.bool)
        outside[:, max(0, 16 * index - 2) : 16 * index + 18] = False
        assert frame.alpha is not None
        assert frame.alpha[0, inside].min() > 0.98
        assert frame.alpha[0, outside].max() < 0.02
        assert frame.image[1, inside].sub(200 / 255).abs().max() < 0.05
        assert frame.image[:, outside].max() < 0.02


def test_soft_edges_keep_their_color(tmp_path):
    Image.new("RGBA", (8, 8), (200, 100, 0, 128)).save(tmp_path / "a.png")
    copy(tmp_path / "a.png", tmp_path / "b.png", InputSettings(size=0, transparency=True))
    with Image.open(tmp_path / "b.png") as image:
        assert image.getpixel((4, 4)) == pytest.approx((200, 100, 0, 128), abs=1)


def test_without_a_request_and_without_room_it_lies_over_black(tmp_path):
    path = save_transparent(tmp_path / "a.webp")
    copy(path, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode == "RGB"
    with pytest.warns(
        UserWarning, match=r"`transparency` is for GIF, WebP, PNG and folders: .*c\.mp4 is written"
    ):
        copy(path, tmp_path / "c.mp4", InputSettings(size=0, transparency=True))
    assert read(tmp_path / "c.mp4")[0].image[:, :, 24:].max() < 0.05
