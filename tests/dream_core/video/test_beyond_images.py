"""What a video file holds beside its images."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from dream_core.video import SAMPLE_CLIP
from dream_core.video.beyond_images import beyond_images

Make = Callable[..., Path]
MOMENTS = Fraction(1, 1000)


def test_a_usual_clip_has_nothing(make_clip: Make) -> None:
    assert beyond_images(SAMPLE_CLIP) == []
    assert (
        beyond_images(make_clip("rounded.mkv", stamps=[33, 67, 100, 133, 167], count=5, time_base=MOMENTS))
        == []
    )


@pytest.mark.parametrize("count", [6, 400])
def test_a_rate_that_varies_is_named(make_clip: Make, count: int) -> None:
    stamps = [33 * index + (60 if index > 3 else 0) for index in range(count)]
    path = make_clip(stamps=stamps, count=count, size=(16, 16), time_base=MOMENTS)
    assert beyond_images(path) == ["a frame rate that varies"]


def test_pixels_that_are_not_square_are_named(make_clip: Make) -> None:
    assert beyond_images(make_clip(pixel_aspect=Fraction(16, 15))) == ["pixels that are not square"]


def test_hdr_is_named(make_clip: Make) -> None:
    path = make_clip(options={"x264-params": "transfer=arib-std-b67:colorprim=bt2020:colormatrix=bt2020nc"})
    assert beyond_images(path) == ["HDR colors"]


def test_a_file_that_cannot_be_read_has_nothing(tmp_path: Path) -> None:
    assert beyond_images(tmp_path / "none.mp4") == []
    (tmp_path / "text.mp4").write_text("no video")
    assert beyond_images(tmp_path / "text.mp4") == []
