from __future__ import annotations

import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import NATIVE, read, write

from dream_core.errors import Notice
from dream_core.settings import InputSettings, OutputSettings
from dream_core.video.pixels import frame_from_image, image_from_frame


def write_levels(
    path: Path, colors: list[tuple[int, int, int]], *, curve: int, primaries: int, matrix: int
) -> Path:
    """Frames of one color each, of 10 bits in limited range, tagged as said."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx265", rate=10, options={"x265-params": "log-level=error:lossless=1"}
        )
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = 64, 64, "yuv444p10le"
        context.color_trc, context.color_primaries, context.colorspace = curve, primaries, matrix
        context.color_range = 1
        for index, levels in enumerate(colors):
            frame = av.VideoFrame(64, 64, "yuv444p10le")
            for plane, level in zip(frame.planes, levels, strict=True):
                plane.update(np.full(plane.buffer_size // 2, level, dtype=np.uint16).tobytes())
            frame.pts, frame.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def gray_level(value: float) -> tuple[int, int, int]:
    return round(64 + 876 * value), 512, 512


def colors_of(path: Path) -> list[list[float]]:
    return [frame.image[:, 32, 32].tolist() for frame in read(path)]


@pytest.mark.parametrize(
    ("curve", "name", "white"),
    [(18, "HLG", 0.75), (16, "PQ", 0.58)],  # BT.2408: diffuse white, of 203 cd/m2
)
def test_hdr_is_tone_mapped_and_said_once(tmp_path, curve, name, white):
    values = [0, 0.2, white, 0.9 if curve == 18 else 0.75, 1]
    path = write_levels(tmp_path / "hdr.mkv", [*map(gray_level, values)], curve=curve, primaries=9, matrix=9)
    with pytest.warns(
        Notice, match=rf"hdr\.mkv is in HDR \({name}\), BT\.2020: its colors are mapped to"
    ) as told:
        found = colors_of(path)
    assert len(told) == 1
    gray = [color[1] for color in found]
    assert gray == sorted(gray)
    assert gray[0] < 0.01
    assert 0.55 < gray[2] < 0.9  # white paper is bright and leaves room for lights
    assert gray[2] + 0.05 < gray[3] <= 1
    for color in found:
        assert color == pytest.approx([color[1]] * 3, abs=0.01)


@pytest.mark.parametrize(
    ("primaries", "name", "to_xyz"),
    [
        (9, r"BT\.2020", [[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0.0, 0.0281, 1.0610]]),
        (12, "P3", [[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0, 0.0451, 1.0439]]),
    ],
)
def test_wide_colors_become_those_of_bt709(tmp_path, primaries, name, to_xyz):
    rgb = np.array([[0.6, 0.5, 0.5], [0.45, 0.6, 0.5], [0.5, 0.5, 0.5]])
    kr, kb = (0.2627, 0.0593) if primaries == 9 else (0.2126, 0.0722)
    luma = rgb @ np.array([kr, 1 - kr - kb, kb])
    blue, red = (rgb[:, 2] - luma) / (2 - 2 * kb), (rgb[:, 0] - luma) / (2 - 2 * kr)
    levels = np.stack([64 + 876 * luma, 512 + 896 * blue, 512 + 896 * red], -1).round().astype(int)
    matrix = 9 if primaries == 9 else 1
    path = write_levels(tmp_path / "wide.mkv", levels.tolist(), curve=1, primaries=primaries, matrix=matrix)
    from_xyz = np.linalg.inv([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    expected = (rgb**2.4 @ (from_xyz @ np.array(to_xyz)).T) ** (1 / 2.4)
    with pytest.warns(Notice, match=rf"wide\.mkv is in {name}: its colors are mapped to BT\.709"):
        found = colors_of(path)
    np.testing.assert_allclose(found, expected, atol=0.015)


def test_ordinary_video_is_left_alone(make_clip):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(make_clip(count=3))) == 3


def interlaced(path: Path) -> Path:
    """A bright bar that moves by 8 pixels per field over gray; the upper field is first."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "mpeg2video", rate=25, options={"flags": "+ilme+ildct", "qmin": "1", "qmax": "2"}
        )
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.max_b_frames = 128, 64, "yuv420p", 0
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=128, height=64, format=av.VideoFormat("yuv420p"), time_base=Fraction(1, 25)
        )
        graph.link_nodes(source, graph.add("setfield", "tff"), graph.add("buffersink")).configure()
        for index in range(8):
            image = np.full((64, 128, 3), 60, dtype=np.uint8)
            for field in (0, 1):
                left = 8 * (2 * index + field)
                image[field::2, left : left + 16] = 220
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            graph.vpush(frame)
            container.mux(stream.encode(graph.vpull()))
        container.mux(stream.encode(None))
    return path


def combs(path: Path, settings: InputSettings) -> float:
    """Difference of neighboring lines, where that of every second line is small."""
    images = [frame.image.mean(0) for frame in read(path, settings)[1:-1]]
    return max(float((image[1:] - image[:-1]).abs().mean()) for image in images)


def test_interlaced_video_is_made_whole_unless_that_is_switched_off(tmp_path):
    path = interlaced(tmp_path / "tape.mpg")
    with pytest.warns(Notice, match=r"tape\.mpg is interlaced: .* unless `deinterlace` is off"):
        whole = combs(path, NATIVE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        combed = combs(path, InputSettings(size=0, deinterlace=False))
    assert combed > 0.05
    assert whole < combed / 5
    with pytest.warns(Notice):
        frames = read(path)
    assert [frame.time for frame in frames] == pytest.approx([index / 25 for index in range(8)], abs=1e-3)


def color_shift(image: torch.Tensor, found: torch.Tensor) -> tuple[float, float]:
    """Pixels by which red against blue has moved, to the right and down."""
    signals = [(one[0] - one[2]).numpy() for one in (image, found)]
    return tuple(_shift(*(signal.mean(axis) for signal in signals)) for axis in (0, 1))


def _shift(before: np.ndarray, after: np.ndarray) -> float:
    places = np.arange(len(before), dtype=np.float64)
    tried = np.arange(-2, 2.05, 0.05)
    errors = [np.square(np.interp(places - shift, places, before) - after)[4:-4].mean() for shift in tried]
    return float(tried[int(np.argmin(errors))])


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("out.mp4", "libx264", "yuv420p"),
        ("out.mkv", "ffv1", "yuv420p"),
        ("out.webm", "libvpx-vp9", "yuv420p"),
        ("out.mp4", "libx265", "yuv420p10le"),
        ("out.mov", "prores_ks", "yuv422p10le"),
        ("out.mpg", "mpeg2video", "yuv420p"),
        ("out.mkv", "ffv1", "yuv444p"),
    ],
)
def test_colors_do_not_move_from_generation_to_generation(tmp_path, name, codec, pixel_format):
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    wave = 0.2 * torch.sin(x / 6) + 0.2 * torch.sin(y / 6)
    image = current = torch.stack([0.5 + wave, torch.full_like(wave, 0.5), 0.5 - wave])
    settings = OutputSettings(codec=codec, pixel_format=pixel_format, quality=2)
    for generation in range(4):
        path = tmp_path / f"{generation}{name}"
        write(path, [current], settings=settings, fps=25)
        current = read(path)[0].image
    assert color_shift(image, current) == pytest.approx((0, 0), abs=0.21)


def test_colors_lie_at_the_left_of_a_pair_as_players_expect():
    x = torch.arange(64.0)
    wave = (0.3 * torch.sin(x / 5)).expand(32, 64)
    image = torch.stack([0.5 + wave, torch.full_like(wave, 0.5), 0.5 - wave])
    planes = frame_from_image(image, pixel_format="yuv420p").to_ndarray()[32:].reshape(2, 16, 32)
    red = planes[1][8].astype(np.float64) - 128
    at_left, in_the_middle = np.sin(x[::2].numpy() / 5), np.sin((x[::2].numpy() + 0.5) / 5)
    scale = red.std() / at_left.std()
    assert np.abs(red - scale * at_left)[2:-2].mean() < 1
    assert np.abs(red - scale * in_the_middle)[2:-2].mean() > 2
    assert image_from_frame(frame_from_image(image, pixel_format="yuv444p")).sub(image).abs().max() < 0.02
