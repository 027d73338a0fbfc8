from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import NATIVE, levels, read
from PIL import Image

from dream_core.errors import VideoError
from dream_core.settings import InputSettings
from dream_core.video import open_clip


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
    assert levels(read(tmp_path, InputSettings(size=0, fps=10, start=0.79))) == pytest.approx(
        [7, 8, 9], abs=1e-3
    )
    with pytest.raises(VideoError, match=r"start is 2 s, but 10 images at 10 frames per second last 1 s"):
        open_clip(tmp_path, settings=InputSettings(fps=10, start=2))


def test_images_of_other_sizes_are_fitted_into_the_first_with_one_warning(tmp_path):
    save_gray(tmp_path, "1.png", 10)
    save_gray(tmp_path, "2.png", 20, size=(16, 9))
    save_gray(tmp_path, "3.png", 30, size=(7, 9))
    with pytest.warns(UserWarning, match=r"2\.png is 9x16 but 1\.png is 10x8: .*fitted") as caught:
        frames = read(tmp_path)
    assert len(caught) == 1
    assert [tuple(frame.image.shape) for frame in frames] == [(3, 8, 10)] * 3
    assert [frame.anew for frame in frames] == [False, True, True]
    assert frames[1].image[0, 4].gt(0.05).tolist() == [False] * 3 + [True] * 4 + [False] * 3
    assert frames[2].image[0, :, 5].gt(0.05).all()


def test_images_of_another_resolution_go_on_with_the_dream(tmp_path):
    save_gray(tmp_path, "1.png", 10)
    save_gray(tmp_path, "2.png", 20, size=(16, 20))
    with pytest.warns(UserWarning, match="images of another size"):
        frames = read(tmp_path)
    assert [frame.anew for frame in frames] == [False, False]
    assert levels(frames) == pytest.approx([10, 20], abs=0.1)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(VideoError, match=r"holds no images: expected files ending in \.png, \.jpg"):
        open_clip(tmp_path, settings=NATIVE)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
def test_a_single_image_is_a_clip_of_one_frame(tmp_path, suffix):
    save_gray(tmp_path, f"one.{suffix}", 100)
    frames = read(tmp_path / f"one.{suffix}")
    assert len(frames) == 1
    assert levels(frames) == pytest.approx([100], abs=1)


def test_shrinking_does_not_alias(tmp_path):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    image = read(tmp_path / "stripes.png", InputSettings(size=16))[0].image
    assert image.shape == (3, 16, 16)
    assert (image - 0.5).abs().max() < 0.05


@pytest.mark.parametrize("cut", [True, False])
def test_an_image_that_is_removed_or_cut_while_a_folder_is_read_is_an_error(tmp_path, cut):
    paths = [tmp_path / f"shot_{index}.png" for index in range(4)]
    for path in paths:
        Image.new("RGB", (16, 16), (200, 30, 30)).save(path)
    with open_clip(tmp_path, settings=NATIVE) as clip:
        next(clip)
        if cut:
            paths[2].write_bytes(paths[2].read_bytes()[:40])
        else:
            paths[2].unlink()
        with pytest.raises(VideoError, match=r"shot_2\.png was removed or cut while .*: put it back"):
            list(clip)
