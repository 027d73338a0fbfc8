"""Files of optical flow: Middlebury's .flo, KITTI's 16-bit .png, and STMaps in .exr."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..checks import remedy
from ..errors import VideoError
from ..image import Size, describe, size_of

FLO_MAGIC = b"PIEH"
"""The float 202021.25, little-endian, with which a .flo file begins."""
FLO_UNKNOWN = 1e9
"""Magnitude above which a component of a .flo file is unknown."""
FLO_HEADER = struct.Struct("<4sii")

KITTI_STEPS = 64.0
"""Levels of a pixel of motion."""
KITTI_ZERO = 2**15
"""Level of no motion."""
KITTI_MOST = (2**16 - 1 - KITTI_ZERO) / KITTI_STEPS
"""Largest motion that fits, in pixels."""


class FlowFile(NamedTuple):
    """Content of a file of flow.

    Args:
        flow: (1,2,H,W) float32 in pixels, x first; 0 where it is not known.
        reliability: (1,1,H,W) in 0..1, 0 where the flow is not known; 1 everywhere if the file does not say.
    """

    flow: Tensor
    reliability: Tensor


def write_flow(path: Path, flow: Tensor, *, reliability: Tensor | None = None) -> None:
    """Write flow in the format of the file's suffix.

    .flo keeps every float32 (Baker et al. 2007). .png is KITTI's (Geiger et al. 2012): 16 bits, steps of 1/64
    pixel,
    up to 511 pixels. .exr is an STMap in float32: red and green are where each pixel samples, as a fraction of
    width
    and height from the lower left corner, blue is 0; it needs the package OpenEXR.

    Args:
        path: ends in .flo, .png or .exr; its folder exists. A file of that name is replaced.
        flow: (2,H,W) or (1,2,H,W), finite, in pixels, x first.
        reliability: (1,H,W) or (1,1,H,W) in 0..1. A .png keeps whether it is at least 0.5, an .exr keeps it as
            alpha,
            a .flo has no place for it.

    Raises:
        VideoError: the suffix is another one, the flow has another shape, is not finite or too large for the
            format,
            or the file cannot be written.
    """
    write, _, _ = _format_of(path)
    vectors = flow.detach().to("cpu", torch.float32)
    if vectors.numel() == 0 or vectors.shape != (*([1] if vectors.ndim == 4 else []), 2, *size_of(vectors)):
        raise VideoError(f"expected a flow (2,H,W) for {path}, got {describe(flow)}; write one at a time")
    if not bool(vectors.isfinite().all()):
        raise VideoError(f"expected finite flow for {path}, got NaN or infinite values; check its source")
    size = size_of(vectors)
    known = torch.ones(size) if reliability is None else reliability.detach().to("cpu", torch.float32)
    if size_of(known) != size or known.numel() != known.shape[-1] * known.shape[-2]:
        raise VideoError(
            f"expected reliability in the size of the flow, {_worded(size)}, got {describe(known)}: resize it"
        )
    write(path, vectors.reshape(2, *size).numpy(), known.reshape(size).numpy())


def read_flow(path: Path) -> FlowFile:
    """Read a file of flow: .flo, KITTI's .png or an STMap in .exr; see `write_flow`.

    Raises:
        VideoError: the file cannot be read, is cut off or no flow.
    """
    _, read, _ = _format_of(path)
    flow, known = read(path)
    lost = ~np.isfinite(flow).all(axis=0)
    if lost.any():
        flow, known = np.where(lost, 0, flow), np.where(lost, 0, known)
    return FlowFile(
        torch.from_numpy(np.ascontiguousarray(flow, np.float32))[None],
        torch.from_numpy(np.ascontiguousarray(known, np.float32))[None, None],
    )


def flow_size(path: Path) -> Size:
    """Read the height and width of a file of flow, and no more of it.

    Raises:
        VideoError: the file cannot be read or is no flow.
    """
    _, _, size = _format_of(path)
    return size(path)


def is_flow(path: Path) -> bool:
    """Return True if the name ends in a suffix of flow."""
    return path.suffix.lower() in FORMATS


def require_format(suffix: str) -> None:
    """Raise a VideoError if files of a suffix cannot be written on this machine."""
    if suffix == ".exr":
        _openexr()


def _write_flo(path: Path, flow: np.ndarray, known: np.ndarray) -> None:
    height, width = known.shape
    content = FLO_HEADER.pack(FLO_MAGIC, width, height) + flow.transpose(1, 2, 0).astype("<f4").tobytes()
    _save(path, content)


def _read_flo(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = _bytes_of(path)
    height, width = _flo_header(path, content)
    length = FLO_HEADER.size + 8 * height * width
    if len(content) != length:
        raise VideoError(
            f"expected {length} bytes in {path} for {width}x{height} pixels, got {len(content)}: it is cut off "
            f"or damaged"
        )
    values = np.frombuffer(content, "<f4", offset=FLO_HEADER.size)
    flow = values.reshape(height, width, 2).transpose(2, 0, 1)
    known = (np.abs(flow) <= FLO_UNKNOWN).all(axis=0)
    return np.where(known, flow, 0), known


def _size_of_flo(path: Path) -> Size:
    return _flo_header(path, _bytes_of(path, FLO_HEADER.size))


def _flo_header(path: Path, content: bytes) -> Size:
    if len(content) < FLO_HEADER.size or content[:4] != FLO_MAGIC:
        raise VideoError(f"{path} is no .flo file: expected it to begin with PIEH; check where it comes from")
    _, width, height = FLO_HEADER.unpack_from(content)
    if not (0 < width < 100_000 and 0 < height < 100_000):
        raise VideoError(f"{path} says that it is {width}x{height} pixels large: it is damaged")
    return height, width


def _write_kitti(path: Path, flow: np.ndarray, known: np.ndarray) -> None:
    longest = float(np.abs(flow).max())
    if longest > KITTI_MOST:
        raise VideoError(
            f"expected motion within {KITTI_MOST:.0f} pixels for a .png of flow, got {longest:.0f}: write .flo"
        )
    levels = np.rint(flow * KITTI_STEPS + KITTI_ZERO)
    # OpenCV has blue first: validity, then y, then x.
    image = np.stack([known >= 0.5, levels[1], levels[0]], axis=-1).astype(np.uint16)
    done, content = cv2.imencode(".png", image)
    if not done:
        raise VideoError(f"{path} cannot be encoded as a .png: write .flo")
    _save(path, bytes(content))


def _read_kitti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = cv2.imdecode(np.frombuffer(_bytes_of(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 3 or image.shape[2] != 3:
        raise VideoError(
            f"{path} is no flow: expected KITTI's .png of three channels with 16 bits; an image of flow in colors "
            "cannot be read back"
        )
    known, y, x = (image[..., channel].astype(np.float32) for channel in range(3))
    flow = (np.stack([x, y]) - KITTI_ZERO) / KITTI_STEPS
    return flow, (known > 0).astype(np.float32)


def _size_of_png(path: Path) -> Size:
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError) as error:
        raise VideoError(
            f"{path} cannot be read as a .png ({error}): it is damaged or of another kind"
        ) from error


def _write_stmap(path: Path, flow: np.ndarray, known: np.ndarray) -> None:
    openexr = _openexr()
    height, width = known.shape
    x, y = _centers(height, width)
    channels = {
        "R": ((flow[0] + x) / width).astype(np.float32),
        "G": (1 - (flow[1] + y) / height).astype(np.float32),
        "B": np.zeros_like(known, np.float32),
        "A": known.astype(np.float32),
    }
    header = {"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}
    try:
        openexr.File(header, channels).write(str(path))
    except (OSError, RuntimeError) as error:
        raise VideoError(f"{path} cannot be written ({error}): check its folder") from error


def _read_stmap(path: Path) -> tuple[np.ndarray, np.ndarray]:
    openexr = _openexr()
    _bytes_of(path, 1)  # says why it cannot be read
    try:
        with openexr.File(str(path), separate_channels=True) as file:
            found = {name: channel.pixels.astype(np.float64) for name, channel in file.channels().items()}
    except (OSError, RuntimeError, ValueError) as error:
        raise VideoError(f"{path} cannot be read as an .exr ({error}): it is damaged") from error
    if not {"R", "G"} <= set(found):
        raise VideoError(f"{path} is no STMap: expected the channels R and G, got {', '.join(sorted(found))}")
    height, width = found["R"].shape
    x, y = _centers(height, width)
    flow = np.stack([found["R"] * width - x, (1 - found["G"]) * height - y])
    return flow, found.get("A", np.ones((height, width)))


def _size_of_exr(path: Path) -> Size:
    openexr = _openexr()
    try:
        with openexr.File(str(path), header_only=True) as file:
            (left, top), (right, bottom) = file.header()["dataWindow"]
    except (OSError, RuntimeError, ValueError) as error:
        raise VideoError(f"{path} cannot be read as an .exr ({error}): it is damaged") from error
    return int(bottom - top + 1), int(right - left + 1)


def _centers(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the centers of pixels from the upper left corner: x (W,) and y (H,1)."""
    return np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]


def _openexr() -> ModuleType:
    # OpenCV's own reader is left out of its wheels.
    try:
        import OpenEXR
    except ImportError as error:
        raise VideoError(
            "expected the package OpenEXR for .exr files, which is not installed: pip install OpenEXR, or "
            "choose .flo"
        ) from error
    module: ModuleType = OpenEXR
    return module


def _save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise VideoError(f"{path} cannot be written ({error.strerror}): {remedy(error)}") from error


def _bytes_of(path: Path, count: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise VideoError(f"{path} cannot be read ({error.strerror}): {remedy(error, 'read')}") from error


_Write = Callable[[Path, np.ndarray, np.ndarray], None]
_Read = Callable[[Path], tuple[np.ndarray, np.ndarray]]
_Measure = Callable[[Path], Size]

FORMATS: dict[str, tuple[_Write, _Read, _Measure]] = {
    ".flo": (_write_flo, _read_flo, _size_of_flo),
    ".png": (_write_kitti, _read_kitti, _size_of_png),
    ".exr": (_write_stmap, _read_stmap, _size_of_exr),
}
"""Suffix -> writes, reads, and tells the size."""


def _format_of(path: Path) -> tuple[_Write, _Read, _Measure]:
    if not is_flow(path):
        raise VideoError(f"expected a file of flow, ending in {', '.join(FORMATS)}, got {path}")
    return FORMATS[path.suffix.lower()]


def _worded(size: Size) -> str:
    return f"{size[1]}x{size[0]}"
