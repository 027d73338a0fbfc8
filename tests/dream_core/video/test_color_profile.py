from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from dream_core.video.images import load_image

P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
"""Red, green and blue of P3 as XYZ under D50, which profiles use."""
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
GAMMA = 2.2


def profile(colors: tuple[tuple[float, ...], ...] | None) -> bytes:
    """An ICC profile of three colors, or of gray, with a curve of 2.2."""

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(GAMMA * 256)) + bytes(2)
    name = b"desc" + bytes(4) + struct.pack(">I", 5) + b"Test\0" + bytes(80)
    tags = {b"desc": name, b"cprt": b"text" + bytes(4) + b"none\0\0\0\0", b"wtpt": xyz((0.9642, 1, 0.8249))}
    if colors is None:
        tags[b"kTRC"] = curve
    else:
        tags |= {b"rXYZ": xyz(colors[0]), b"gXYZ": xyz(colors[1]), b"bXYZ": xyz(colors[2])}
        tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, data = struct.pack(">I", len(tags)), b""
    begin = 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", begin + len(data), len(content))
        data += content
    space = b"GRAY" if colors is None else b"RGB "
    header = struct.pack(">I4sI4s4s4s", begin + len(data), b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061) + bytes(48)
    return header + table + data


def expected(rgb: tuple[int, int, int]) -> list[float]:
    linear = (np.array(rgb) / 255) ** GAMMA @ np.array(P3) @ np.linalg.inv(SRGB)
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055).tolist()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("color", [(180, 120, 110), (90, 160, 100), (128, 128, 128)])
def test_colors_of_a_profile_become_srgb(tmp_path, suffix, color):
    path = tmp_path / f"p3.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {"quality": 100} if suffix == "jpg" else {}
    Image.new("RGB", (16, 16), color).save(path, icc_profile=profile(P3), **options)
    assert load_image(path)[:, 8, 8].tolist() == pytest.approx(expected(color), abs=0.015)


def test_palettes_transparency_and_gray_have_profiles_too(tmp_path):
    color = (180, 120, 110)
    Image.new("RGB", (4, 4), color).quantize(4).save(tmp_path / "palette.png", icc_profile=profile(P3))
    Image.new("RGBA", (4, 4), (*color, 51)).save(tmp_path / "alpha.png", icc_profile=profile(P3))
    Image.new("L", (4, 4), 128).save(tmp_path / "gray.png", icc_profile=profile(None))
    assert load_image(tmp_path / "palette.png")[:, 0, 0].tolist() == pytest.approx(expected(color), abs=0.015)
    found = load_image(tmp_path / "alpha.png")[:, 0, 0].tolist()
    assert found == pytest.approx([value * 0.2 for value in expected(color)], abs=0.01)
    gray = load_image(tmp_path / "gray.png")[:, 0, 0].tolist()
    assert gray == pytest.approx(expected((128, 128, 128)), abs=0.02)


def test_sixteen_bits_are_kept_on_the_way(tmp_path):
    pixels = np.full((8, 256, 3), 0, dtype=np.uint16)
    pixels[:] = np.linspace(30000, 31000, 256)[None, :, None].astype(np.uint16)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format="rgb48be")
    codec = av.CodecContext.create("png", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 256, 8, "rgb48be", Fraction(1, 25)
    data = b"".join(bytes(packet) for packet in codec.encode(frame) + codec.encode(None))
    path = tmp_path / "deep.png"
    path.write_bytes(with_profile(data, profile(P3)))
    found = load_image(path)[:, 4]
    assert len(found[0].unique()) > 100  # 8 bits have 4 levels here
    assert found[:, 128].tolist() == pytest.approx(expected((30500 / 257,) * 3), abs=0.01)


def with_profile(png: bytes, data: bytes) -> bytes:
    import zlib

    content = b"iCCP" + b"test\0\0" + zlib.compress(data)
    chunk = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return png[:33] + chunk + png[33:]


def test_srgb_itself_changes_nothing(tmp_path):
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "srgb.png", icc_profile=data)
    np.testing.assert_array_equal(load_image(tmp_path / "srgb.png").mul(255).round().permute(1, 2, 0), pixels)


@pytest.mark.parametrize("data", [b"not a profile", profile(P3)[:200], profile(None)])
def test_a_profile_that_cannot_be_used_is_told(tmp_path, data):
    path = Path(tmp_path / "bad.png")
    Image.new("RGB", (4, 4), (180, 120, 110)).save(path, icc_profile=data)
    with pytest.warns(UserWarning, match=r"the color profile of .*bad\.png cannot be used"):
        found = load_image(path)
    assert found[:, 0, 0].tolist() == pytest.approx([180 / 255, 120 / 255, 110 / 255], abs=1e-3)
