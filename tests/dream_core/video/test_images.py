from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import NATIVE, corners, quadrants, read
from PIL import Image

from dream_core.errors import VideoError
from dream_core.video import open_clip
from dream_core.video.images import is_image, list_images, load_image, save_image


def test_gray_alpha_palette_and_deep_images(tmp_path):
    Image.new("L", (4, 3), 51).save(tmp_path / "1.png")
    Image.new("RGBA", (4, 3), (255, 255, 255, 51)).save(tmp_path / "2.png")
    Image.new("LA", (4, 3), (102, 128)).save(tmp_path / "3.png")
    Image.new("RGB", (4, 3), (51, 51, 51)).quantize(4).save(tmp_path / "4.png")
    Image.fromarray(np.full((3, 4), 12345, dtype=np.uint16)).save(tmp_path / "5.png")
    expected = [0.2, 0.2, 0.4 * 128 / 255, 0.2, 12345 / 65535]
    assert [float(frame.image.mean()) for frame in read(tmp_path)] == pytest.approx(expected, abs=1e-5)


def test_sixteen_bits_per_color_are_kept(tmp_path):
    frame = av.VideoFrame.from_ndarray(np.full((4, 6, 3), 12345, dtype=np.uint16), format="rgb48le")
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 6, 4, "rgb48be", Fraction(1, 25)
    packets = codec.encode(frame.reformat(format="rgb48be")) + codec.encode(None)
    (tmp_path / "deep.png").write_bytes(b"".join(bytes(packet) for packet in packets))
    assert float(read(tmp_path / "deep.png")[0].image.mean()) == pytest.approx(12345 / 65535, abs=1e-6)


def test_exif_orientation_is_honored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.fromarray(quadrants()).save(tmp_path / "turned.png", exif=exif)
    frames = read(tmp_path / "turned.png")
    assert corners(frames[0].image) == ["blue", "red", "white", "green"]


def test_a_damaged_image_is_an_error(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"\x89PNG not really")
    with pytest.raises(VideoError, match=r"bad\.png cannot be read as an image"):
        open_clip(tmp_path / "bad.png", settings=NATIVE)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.png", True), ("a.JPG", True), ("a.gif", False), ("a.mp4", False), ("png", False)],
)
def test_images_are_told_by_their_suffix(name, expected):
    assert is_image(Path(name)) == expected


def test_a_folder_is_listed_as_people_count(tmp_path):
    for name in ("b 10.png", "b 9.png", "a.png", "notes.txt", ".hidden.png"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "empty").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b 9.png", "b 10.png"]
    with pytest.raises(VideoError, match=r"holds no images: expected files ending in \.png"):
        list_images(tmp_path / "empty")


@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_image_is_rounded_and_comes_back(tmp_path, channels):
    levels = torch.tensor([99.6, 100.4, -20.0, 300.0]).view(1, 1, 4).expand(channels, 2, 4)
    save_image(levels / 255, tmp_path / "saved.png")
    expected = torch.tensor([100.0, 100.0, 0.0, 255.0]) / 255
    torch.testing.assert_close(load_image(tmp_path / "saved.png"), expected.expand(3, 2, 4))


def test_a_missing_image_and_a_missing_folder_are_errors(tmp_path):
    with pytest.raises(VideoError, match=r"gone\.png does not exist"):
        load_image(tmp_path / "gone.png")
    with pytest.raises(VideoError, match=r"saved\.png cannot be written"):
        save_image(torch.zeros(3, 2, 2), tmp_path / "gone" / "saved.png")


@pytest.mark.parametrize(
    "error", [TypeError("Missing dimensions"), KeyError(3), IndexError(), OverflowError()]
)
def test_whatever_a_decoder_raises_for_damage_is_one_error(tmp_path, monkeypatch, error):
    Image.new("RGB", (4, 4)).save(tmp_path / "bad.png")

    def fail(_):
        raise error

    monkeypatch.setattr("dream_core.video.images.ImageOps.exif_transpose", fail)
    with pytest.raises(VideoError, match=r"bad\.png cannot be read as an image"):
        load_image(tmp_path / "bad.png")
