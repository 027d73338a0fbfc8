"""Encoding that goes on from its record."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from dream_core.errors import VideoError
from dream_core.settings import OutputSettings
from dream_core.unfinished import Unfinished
from dream_core.video.encoder import SEGMENT, Encoder

from .clips import read

SIZE = (18, 22)
COUNT = SEGMENT + 12
IMAGES = torch.rand(COUNT, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def encoder(path: Path, codec: str | None, **options: Any) -> Encoder:
    # Without loss, so that the images are the same whatever way an encoder takes.
    exact = {"pixel_format": "yuv444p", "quality": 0} if codec in (None, "ffv1") else {"quality": 4}
    settings = OutputSettings(codec=codec, **exact)
    return Encoder(path, size=SIZE, fps=Fraction(25), time_base=Fraction(1, 25), settings=settings, **options)


def write(target: Encoder, start: int, stop: int) -> None:
    for index in range(start, stop):
        target.write(IMAGES[index], time=index / 25, duration=1 / 25)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("out.mp4", None), ("out.mkv", "ffv1"), ("out.avi", "mpeg4"), ("out.gif", "gif"), ("out.webp", "webp")],
)
@pytest.mark.parametrize("saved", [7, SEGMENT, SEGMENT + 5])
def test_a_record_gives_the_same_images_as_no_interruption(
    tmp_path: Path, name: str, codec: str | None, saved: int
) -> None:
    whole = encoder(tmp_path / f"whole_{name}", codec)
    write(whole, 0, COUNT)
    whole.close()
    path = tmp_path / name
    work = Unfinished(path, conditions={})
    work.open()
    killed = encoder(path, codec, work=work)
    write(killed, 0, saved)
    work.commit(killed.state(), files=killed.files)
    write(killed, saved, saved + 3)  # not recorded
    work.close()
    work.open()
    second = encoder(path, codec, work=work, state=work.state)
    write(second, saved, COUNT)
    second.close()
    found, wanted = read(path), read(tmp_path / f"whole_{name}")
    assert [frame.time for frame in found] == [frame.time for frame in wanted]
    assert all(torch.equal(a.image, b.image) for a, b in zip(found, wanted, strict=True))


def test_a_record_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    work = Unfinished(tmp_path / "out.mp4", conditions={})
    work.open()
    target = encoder(tmp_path / "out.mp4", None, work=work)
    write(target, 0, 2)
    for file in work.path.iterdir():
        file.unlink()
    work.path.rmdir()
    with pytest.raises(VideoError, match=r"out\.mp4\.resume cannot be written \(No such file or directory\)"):
        target.state()
    target.close()
