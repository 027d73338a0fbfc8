"""Conversion of decoded video frames to images and back, with exact levels, colors and orientation."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeAlias

import av
import numpy as np
import torch
from av.filter import Graph
from torch import Tensor
from torch.nn import functional as F

from ..device import fetch
from ..image import Size, alike, scaled_size, size_of
from ..image import resize as resize_images

# SWS_BICUBIC, SWS_FULL_CHR_H_INT, SWS_FULL_CHR_H_INP and SWS_ACCURATE_RND, because swscale's fast defaults are off
# by several levels. Numbers, because older PyAV does not name them all.
_EXACT = 0x4 | 0x2000 | 0x4000 | 0x40000

BT709 = 1
"""Number of BT.709 among ffmpeg's primaries, transfer curves and matrices."""
LIMITED_RANGE, FULL_RANGE = 1, 2
_UNSPECIFIED = 0

DisplayMatrix: TypeAlias = tuple[int, int, int, int]

# swscale's matrices for AVCOL_SPC_BT709, FCC, BT470BG, SMPTE170M, SMPTE240M, BT2020_NCL and BT2020_CL
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT601 = 5


def fit(height: int, width: int, *, longest: int) -> Size:
    """Height and width scaled so that the longer side is `longest`; 0 keeps the size."""
    return (height, width) if longest == 0 else scaled_size((height, width), longest / max(height, width))


def resize(image: Tensor, size: Size) -> Tensor:
    """Resize an image (3,H,W) in 0..1 to (3,*size) as `image.resize`, clamped to 0..1."""
    if size_of(image) == size:
        return image
    return resize_images(image[None], size)[0].clamp(0, 1)  # bicubic overshoots


def fit_inside(image: Tensor, proportions: Size, size: Size) -> Tensor:
    """Resize an image (3,H,W) to (3,*size); where its proportions are others it gets black bars.

    Args:
        image: in 0..1.
        proportions: height and width at which it is to be shown.
        size: height and width of the result.
    """
    if alike(proportions, size):
        return resize(image, size)
    ratio = min(size[0] / proportions[0], size[1] / proportions[1])
    inner = scaled_size(proportions, ratio)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    bars = (left, size[1] - inner[1] - left, top, size[0] - inner[0] - top)
    return F.pad(resize(image, inner), bars)


def image_from_frame(frame: av.VideoFrame, *, keep_alpha: bool = False) -> Tensor:
    """Convert a decoded frame of any pixel format to an image (3,H,W), RGB float32 in 0..1.

    More than 8 bits are kept; transparency is blended with black, and added as a fourth channel if `keep_alpha`. A
    frame without the name of its color matrix is
    read as BT.709 from 720 lines on and as BT.601 below, as players do.
    """
    deep, alpha = _is_deep(frame.format), has_alpha(frame.format)
    target = ("rgba64le" if alpha else "rgb48le") if deep else ("rgba" if alpha else "rgb24")
    color_range = FULL_RANGE if _is_full_range(frame.format) else frame.color_range
    # The targets are unspecified because old PyAV converts wrongly when source and target have the same tags.
    array = frame.reformat(
        format=target,
        src_colorspace=_matrix(frame),
        dst_colorspace=_UNSPECIFIED,
        src_color_range=color_range,
        dst_color_range=_UNSPECIFIED,
        interpolation=_EXACT,
    ).to_ndarray()
    white = _white(deep=deep, limited=not _is_rgb(frame.format) and color_range != FULL_RANGE)
    colors = torch.from_numpy(array[..., :3].astype(np.float32)).permute(2, 0, 1) / white  # HWC -> CHW
    opacity = torch.ones_like(colors[:1])
    if alpha:
        opacity = torch.from_numpy(array[None, ..., 3].astype(np.float32)) / (65535 if deep else 255)
        colors *= opacity
    return (torch.cat([colors, opacity]) if keep_alpha else colors).clamp(0, 1).contiguous()


def frame_from_image(image: Tensor, *, pixel_format: str) -> av.VideoFrame:
    """Convert an image (3,H,W) in 0..1 to a frame, see `FrameConverter`."""
    return FrameConverter(size_of(image), pixel_format=pixel_format)(image)


class FrameConverter:
    """Converts images to frames, rounded to the pixel format's levels.

    YUV is BT.709 in limited range, or full range for the yuvj formats. The colors of 4:2:0 and 4:2:2 are taken at
    the left of each pair of pixels, where players and ffmpeg expect them in all video but JPEG's (ITU-T H.264,
    figure E-1).
    """

    def __init__(self, size: Size, *, pixel_format: str, alpha: bool = False, matrix: str = "bt709") -> None:
        """Build the conversion for images of this size, which have four channels if `alpha`.

        Args:
            size: height and width.
            pixel_format: of the frames.
            alpha: the images have four channels, and the format has transparency.
            matrix: of YUV, by its name in ffmpeg.
        """
        self._matrix = matrix
        self._pixel_format = target = av.VideoFormat(pixel_format)
        self._deep = _is_deep(target)
        self._white = _white(deep=self._deep, limited=not _is_rgb(target) and not _is_full_range(target))
        self._source = ("rgba64le" if alpha else "rgb48le") if self._deep else "rgba" if alpha else "rgb24"
        self._graph = None if _is_rgb(target) else self._conversion(size)

    def __call__(self, image: Tensor) -> av.VideoFrame:
        """Convert an image (3,H,W), or (4,H,W) with alpha, in 0..1."""
        levels = image.detach().clamp(0, 1).mul(self._white).round().permute(1, 2, 0)  # CHW -> HWC
        # A GPU rounds them, and less is copied. PyTorch does not compute with 16 bits without a sign.
        levels = fetch(levels.to(torch.int32 if self._deep else torch.uint8).contiguous())
        array = levels.numpy().astype(np.uint16 if self._deep else np.uint8, copy=False)
        frame = av.VideoFrame.from_ndarray(array, format=self._source)
        if self._graph is None:
            return frame.reformat(format=self._pixel_format.name, interpolation=_EXACT)
        self._graph.vpush(frame)
        return self._graph.vpull()

    def _conversion(self, size: Size) -> Graph:
        graph, target = Graph(), self._pixel_format
        full = _is_full_range(target)
        options = [
            f"flags={_EXACT}",
            "in_range=full",
            f"out_color_matrix={self._matrix}",
            f"out_range={'full' if full else 'limited'}",
        ]
        if target.chroma_width(8) < 8 and not full:
            options += ["out_h_chr_pos=0", "out_v_chr_pos=128"][: 2 if target.chroma_height(8) < 8 else 1]
        source = graph.add_buffer(
            width=size[1], height=size[0], format=av.VideoFormat(self._source), time_base=Fraction(1, 1)
        )
        scale, wanted = graph.add("scale", ":".join(options)), graph.add("format", target.name)
        graph.link_nodes(source, scale, wanted, graph.add("buffersink")).configure()
        return graph


def display_matrix(frame: av.VideoFrame) -> DisplayMatrix:
    """Rotation and mirroring of the frame: (a, b, c, d) of x' = a x + c y and y' = b x + d y.

    Call it once per clip: it makes the frame and PyAV's view of its side data refer to each other, so that only the
    garbage collector frees them.
    """
    side_data: Mapping[str, Any] = frame.side_data  # PyAV's stub declares other keys
    if "DISPLAYMATRIX" not in side_data:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack("=5i", bytes(side_data["DISPLAYMATRIX"])[:20])
    return a, b, c, d


def turn_upright(image: Tensor, matrix: DisplayMatrix) -> Tensor:
    """Rotate an image (3,H,W) by right angles and mirror it, as a display matrix says."""
    a, b, c, d = matrix
    if abs(b) > abs(a):
        image, a, d = image.transpose(-2, -1), c, b
    mirrored = [dim for dim, sign in ((-1, a), (-2, d)) if sign < 0]
    return image.flip(mirrored).contiguous() if mirrored else image.contiguous()


def color_tags(pixel_format: str) -> tuple[int, int]:
    """Color matrix and range, as ffmpeg's numbers, of the frames that `frame_from_image` makes."""
    target = av.VideoFormat(pixel_format)
    if _is_rgb(target):
        return 0, FULL_RANGE
    return BT709, FULL_RANGE if _is_full_range(target) else LIMITED_RANGE


def _white(*, deep: bool, limited: bool) -> int:
    # From limited range to 16 bits swscale shifts instead of scaling: white becomes 255 << 8.
    return 255 if not deep else 65280 if limited else 65535


def _matrix(frame: av.VideoFrame) -> int:
    return _MATRICES.get(frame.colorspace, BT709 if frame.height >= 720 else _BT601)


def _is_deep(pixel_format: av.VideoFormat) -> bool:
    return any(component.bits > 8 for component in pixel_format.components)


def has_alpha(pixel_format: av.VideoFormat) -> bool:
    """True if a pixel format has transparency."""
    return pixel_format.has_palette or any(component.is_alpha for component in pixel_format.components)


def _is_rgb(pixel_format: av.VideoFormat) -> bool:
    # A gray image has no color matrix either, and swscale reads it as full range.
    return (
        pixel_format.is_rgb
        or pixel_format.has_palette
        or pixel_format.name.startswith(("gray", "ya", "mono"))
    )


def _is_full_range(pixel_format: av.VideoFormat) -> bool:
    return pixel_format.name.startswith("yuvj")
