from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from clips import gray, levels, read, write
from pretended import Pretended

from dream_core.settings import OutputSettings
from dream_core.video.pixels import (
    FrameConverter,
    color_tags,
    fit,
    frame_from_image,
    image_from_frame,
    resize,
    turn_upright,
)


def test_ten_bit_video_keeps_levels_between_those_of_eight_bits(tmp_path):
    path = tmp_path / "deep.mkv"
    # Luma 502 of limited range is (502 - 64) / 876: exactly 0.5, which 8 bits cannot say.
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p10le"
        for index, luma in enumerate((64, 502, 503, 940)):
            frame = av.VideoFrame(16, 16, "yuv420p10le")
            for plane, level in zip(frame.planes, (luma, 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, level, dtype=np.uint16).tobytes())
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = [float(frame.image.mean()) for frame in read(path)]
    assert found == pytest.approx([0, 0.5, 439 / 876, 1], abs=1e-4)


@pytest.mark.parametrize(
    ("tag", "kr", "kb"),
    [("bt709", 0.2126, 0.0722), ("smpte170m", 0.299, 0.114), ("bt2020nc", 0.2627, 0.0593)],
)
def test_the_color_matrix_of_the_file_is_used(tmp_path, tag, kr, kb):
    numbers = {"bt709": 1, "smpte170m": 6, "bt2020nc": 9}
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv444p"
        stream.codec_context.colorspace = numbers[tag]
        stream.codec_context.color_range = 1
        frame = av.VideoFrame(16, 16, "yuv444p")
        for plane, level in zip(frame.planes, (120, 110, 150), strict=True):
            plane.update(np.full(plane.buffer_size, level, dtype=np.uint8).tobytes())
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    y, u, v = (120 - 16) / 219, (110 - 128) / 224, (150 - 128) / 224
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    found = read(path)[0].image.mean((1, 2)).tolist()
    assert found == pytest.approx([red, green, blue], abs=0.51 / 255)


def test_transparent_video_lies_over_black(tmp_path):
    path = tmp_path / "alpha.mov"
    image = np.full((16, 16, 4), 200, dtype=np.uint8)
    image[..., 3] = 255
    image[:8, :, 3] = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "argb"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgba")))
        container.mux(stream.encode(None))
    found = read(path)[0].image
    assert found[:, :8].max() == 0
    assert found[:, 8:].min() == pytest.approx(200 / 255)


def test_gray_video_becomes_rgb(make_clip):
    path = make_clip("gray.mkv", count=3, codec="ffv1", pixel_format="gray")
    assert levels(read(path)) == pytest.approx([20, 120, 220], abs=1.01)
    assert read(path)[0].image.shape == (3, 48, 64)


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


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [((1080, 1920), 0, (1080, 1920)), ((1080, 1920), 960, (540, 960)), ((4, 1000), 100, (1, 100))],
)
def test_sizes_fit_the_longest_side(size, longest, expected):
    assert fit(*size, longest=longest) == expected


def test_resized_images_stay_in_range():
    edge = torch.zeros(3, 4, 8)
    edge[..., 4:] = 1
    larger = resize(edge, (8, 16))
    assert larger.shape == (3, 8, 16)
    assert (larger.min(), larger.max()) == (0, 1)  # bicubic alone overshoots
    assert resize(edge, (4, 8)) is edge


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), [[1, 2], [3, 4]]),
        ((0, 1, -1, 0), [[3, 1], [4, 2]]),  # a quarter turn clockwise
        ((-1, 0, 0, -1), [[4, 3], [2, 1]]),
        ((-1, 0, 0, 1), [[2, 1], [4, 3]]),  # mirrored
        ((0, 1, 1, 0), [[1, 3], [2, 4]]),  # transposed
    ],
)
def test_images_are_turned_by_right_angles(matrix, expected):
    image = torch.tensor([[[1, 2], [3, 4]]])
    assert turn_upright(image, matrix)[0].tolist() == expected


@pytest.mark.parametrize(
    ("pixel_format", "tags"), [("yuv420p", (1, 1)), ("yuvj420p", (1, 2)), ("rgb24", (0, 2)), ("gbrp", (0, 2))]
)
def test_formats_have_their_matrix_and_range(pixel_format, tags):
    assert color_tags(pixel_format) == tags


@pytest.mark.parametrize("pixel_format", ["rgb24", "rgb48le"])
def test_rgb_frames_and_images_convert_exactly(pixel_format):
    steps = 255 if pixel_format == "rgb24" else 65535
    image = torch.randint(0, steps + 1, (3, 6, 8)) / steps
    frame = frame_from_image(image, pixel_format=pixel_format)
    assert frame.format.name == pixel_format
    torch.testing.assert_close(image_from_frame(frame), image, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("pixel_format", "alpha"), [("yuv420p", False), ("yuv420p10le", False), ("rgba", True)]
)
def test_images_on_a_gpu_are_rounded_there_and_copied_once(pixel_format: str, alpha: bool) -> None:
    image = torch.rand(4 if alpha else 3, 16, 18)
    convert = FrameConverter((16, 18), pixel_format=pixel_format, alpha=alpha)
    expected = [bytes(plane) for plane in convert(image).planes]
    with Pretended("cuda") as gpu:
        there = image.to(gpu.device)
        gpu.waits.clear()
        found = [bytes(plane) for plane in convert(there).planes]
        assert gpu.waits == ["cpu"]
    assert found == expected
