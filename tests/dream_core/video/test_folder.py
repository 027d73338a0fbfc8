from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from clips import levels, read
from PIL import Image

from dream_core.errors import Notice, VideoError
from dream_core.video.folder import whole_images


def save(folder: Path, *names: str) -> None:
    for index, name in enumerate(names):
        Image.new("RGB", (64, 48), (10 * (index + 1),) * 3).save(folder / name)


def names_of(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_a_whole_folder_says_nothing(tmp_path):
    save(tmp_path, "shot_1.png", "shot_2.jpg", "shot_3.webp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names_of(whole_images(tmp_path)) == ["shot_1.png", "shot_2.jpg", "shot_3.webp"]


@pytest.mark.parametrize("keep", [0, 20, 0.6])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_an_unfinished_last_image_costs_itself(tmp_path, suffix, keep):
    save(tmp_path, "1.png", "2.png", f"3.{suffix}")
    path = tmp_path / f"3.{suffix}"
    data = path.read_bytes()
    path.write_bytes(data[: round(keep * len(data)) if keep < 1 else keep])
    with pytest.warns(UserWarning, match=rf"3\.{suffix}.*left out"):
        frames = read(tmp_path)
    assert levels(frames) == pytest.approx([10, 20], abs=1)


def test_a_folder_named_like_an_image_is_left_out(tmp_path):
    save(tmp_path, "1.png", "2.png")
    (tmp_path / "sub.png").mkdir()
    with pytest.warns(Notice, match=r"sub\.png in .*: a folder named like an image, left out"):
        assert len(read(tmp_path)) == 2


@pytest.mark.parametrize(
    ("numbers", "gaps"),
    [
        ((1, 2, 3, 4, 7, 8), r"shot_4\.png and shot_7\.png:"),
        ((1, 2, 4, 5, 9, 10, 11), r"shot_2\.png and shot_4\.png, shot_5\.png and shot_9\.png:"),
        ((0, 10, 20, 40, 50), r"shot_20\.png and shot_40\.png:"),
    ],
)
def test_a_gap_in_the_numbers_is_told(tmp_path, numbers, gaps):
    save(tmp_path, *(f"shot_{number}.png" for number in numbers))
    with pytest.warns(UserWarning, match=rf"numbers are missing in .*, between {gaps} its images follow"):
        assert len(read(tmp_path)) == len(numbers)


@pytest.mark.parametrize("names", [("1.png", "3.png", "5.png"), ("a1.png", "b7.png"), ("x.png", "y.png")])
def test_a_steady_step_and_other_names_are_no_gap(tmp_path, names):
    save(tmp_path, *names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(whole_images(tmp_path)) == len(names)


def test_a_folder_without_a_whole_image_is_an_error(tmp_path):
    (tmp_path / "1.png").touch()
    with pytest.raises(
        VideoError, match=r"no image of .* can be read: expected whole image files, got 1\.png"
    ):
        whole_images(tmp_path)


def test_damage_inside_an_image_costs_itself_and_the_one_before_stays(tmp_path):
    save(tmp_path, "1.png", "2.png", "3.png")
    data = bytearray((tmp_path / "2.png").read_bytes())
    start = data.index(b"IDAT") + 6
    data[start : start + 20] = bytes(20)
    (tmp_path / "2.png").write_bytes(data)
    with pytest.warns(UserWarning, match=r"2\.png cannot be read as an image .*: left out"):
        frames = read(tmp_path)
    assert levels(frames) == pytest.approx([10, 30], abs=1)
    assert [frame.time for frame in frames] == pytest.approx([0, 2 / 25])
