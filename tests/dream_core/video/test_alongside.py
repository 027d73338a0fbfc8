"""Masks that are read beside a clip."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dream_core.errors import VideoError
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import open_clip, open_output
from dream_core.video.images import save_image

SIZE = (48, 64)


def steps(count: int, size: tuple[int, int] = SIZE) -> list[Tensor]:
    """Images (3,H,W) whose left part, a tenth wider in each, is white."""
    images = []
    for number in range(count):
        image = torch.zeros(3, *size)
        image[..., : (number + 1) * size[1] // 10] = 1
        images.append(image)
    return images


def write(path: Path, images: list[Tensor]) -> Path:
    size = (images[0].shape[-2], images[0].shape[-1])
    settings = (
        OutputSettings(quality=0, pixel_format="yuv444p") if path.suffix == ".mp4" else OutputSettings()
    )
    with open_output(path, size=size, fps=Fraction(25), settings=settings) as output:
        for image in images:
            output.write(image)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "source.mp4", [torch.rand(3, *SIZE) for _ in range(6)])


def masks(source: Path, mask: Path, **options: float) -> list[Tensor]:
    with open_clip(source, settings=InputSettings(**{"size": 0, "mask": mask, **options})) as clip:
        return [frame.mask for frame in clip if frame.mask is not None]


@pytest.mark.parametrize("name", ["mask.mp4", "mask", "mask.gif"])
def test_each_frame_gets_its_own_mask(source: Path, tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, steps(6))
    found = masks(source, path)
    assert [mask.shape for mask in found] == [(1, *SIZE)] * 6
    for mask, image in zip(found, steps(6), strict=True):
        torch.testing.assert_close(mask, image[:1], atol=0.02, rtol=0)


def test_one_image_is_for_all_frames_wherever_the_clip_starts(source: Path, tmp_path: Path) -> None:
    save_image(steps(1)[0], tmp_path / "mask.png")
    found = masks(source, tmp_path / "mask.png", start=0.1)
    assert len(found) == 4
    assert all(torch.equal(mask, steps(1)[0][:1]) for mask in found)


def test_masks_start_with_the_clip_and_are_brought_to_its_size(source: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "mask.mp4", steps(6, (96, 128)))
    found = masks(source, path, start=0.08, frames=2, size=32)
    assert [mask.shape for mask in found] == [(1, 24, 32)] * 2
    assert [round(float(mask.mean()), 1) for mask in found] == [0.3, 0.4]


def test_a_folder_of_masks_keeps_step_with_a_film_of_another_rate(tmp_path: Path) -> None:
    film, size = tmp_path / "film.mp4", (32, 32)
    levels = [torch.full((3, *size), (number + 1) / 10) for number in range(9)]
    with open_output(film, size=size, fps=Fraction(10), settings=OutputSettings(quality=0)) as output:
        for image in levels:
            output.write(image)
    folder = write(tmp_path / "masks", levels)
    options = InputSettings(size=0, start=0.4, frames=3, mask=folder)  # at 25 images a second, the tenth
    with open_clip(film, settings=options) as clip:
        found = [(float(frame.image.mean()), frame.mask) for frame in clip]
    assert [round(level, 1) for level, _ in found] == [0.5, 0.6, 0.7]
    assert [round(float(mask.mean()), 1) for _, mask in found if mask is not None] == [0.5, 0.6, 0.7]


def test_masks_for_all_frames_of_a_varying_rate_are_enough(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    with open_output(film, size=SIZE, fps=Fraction(50), settings=OutputSettings()) as output:
        for number in range(6):
            output.write(torch.zeros(3, *SIZE), time=0.2 * number, duration=0.2)
    with open_clip(film, settings=InputSettings(size=0, mask=write(tmp_path / "six", steps(6)))) as clip:
        assert (clip.frame_count or 0) > 6  # by the rate that the file names
        assert len(list(clip)) == 6
    with pytest.raises(VideoError, match=r"got 5 in .*five for the 6 frames"):
        open_clip(film, settings=InputSettings(mask=write(tmp_path / "five", steps(5))))


def test_a_folder_that_ends_before_the_clip_begins_is_told(source: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "masks", steps(2))
    with pytest.raises(VideoError, match=r"got 2 in .*masks for a clip that begins after 3 frames"):
        open_clip(source, settings=InputSettings(mask=folder, start=0.12))


def test_frames_that_are_skipped_skip_their_masks(source: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "mask", steps(6))
    with open_clip(source, settings=InputSettings(size=0, mask=path)) as clip:
        clip.skip(4)
        means = [round(float(frame.mask.mean()), 1) for frame in clip if frame.mask is not None]
    assert means == [0.5, 0.6]


def test_colors_count_as_bright_as_they_are_and_what_is_transparent_as_black(
    source: Path, tmp_path: Path
) -> None:
    image = torch.zeros(4, *SIZE)
    image[:, :, 32:] = 1
    image[1, :, :32] = 1  # transparent green
    save_image(image, tmp_path / "mask.png")
    (mask, *_) = masks(source, tmp_path / "mask.png")
    assert mask[..., :32].eq(0).all()
    assert mask[..., 32:].eq(1).all()
    green = torch.zeros(3, *SIZE)
    green[1] = 1
    save_image(green, tmp_path / "green.png")
    assert float(masks(source, tmp_path / "green.png")[0].mean()) == pytest.approx(0.7152, abs=1e-3)


def test_too_few_masks_and_other_proportions_are_refused_before_any_work(
    source: Path, tmp_path: Path
) -> None:
    few = write(tmp_path / "few", steps(4))
    with pytest.raises(
        VideoError, match=r"one mask for all frames or one for each, got 4 in .*few for the 6"
    ):
        open_clip(source, settings=InputSettings(mask=few))
    wide = write(tmp_path / "wide", steps(1, (48, 96)))
    with pytest.raises(VideoError, match=r"expected the mask .*wide in the proportions of the image, 64x48"):
        open_clip(source, settings=InputSettings(size=0, mask=wide))
    with pytest.raises(VideoError, match=r"none\.png does not exist"):
        open_clip(source, settings=InputSettings(mask=tmp_path / "none.png"))
