"""Image files: listing, reading and writing."""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..device import fetch
from ..errors import VideoError
from .color_profile import deep_to_srgb, to_srgb
from .containers import open_to_read
from .pixels import image_from_frame

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
ANIMATED_SUFFIXES = (".png", ".webp")
"""Suffixes of files that hold one image or an animation."""
UNREADABLE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,  # UnidentifiedImageError is one, too
    SyntaxError,
    TypeError,
    ValueError,
    av.FFmpegError,
    Image.DecompressionBombError,
    struct.error,
    zlib.error,
)
"""Errors that Pillow's decoders and ffmpeg raise for damaged files."""
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 95, "subsampling": 0},
    ".jpeg": {"quality": 95, "subsampling": 0},
    ".webp": {"quality": 95},
    ".png": {"compress_level": 4},
}


def is_image(path: Path) -> bool:
    """True if the name ends in an image's suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def images_in(folder: Path) -> list[Path]:
    """Return the image files of a folder, in no order and maybe none. Hidden files are left out."""
    files = [path for path in folder.iterdir() if is_image(path) and not path.name.startswith(".")]
    return [path for path in files if not path.is_dir()]


def list_images(folder: Path) -> list[Path]:
    """List the image files of a folder in natural order: frame 2 before frame 10. Hidden files are left out.

    Raises:
        VideoError: the folder contains no image.
    """
    files = images_in(folder)
    if not files:
        raise VideoError(
            f"{folder} holds no images: expected files ending in {', '.join(IMAGE_SUFFIXES)}; "
            "name the folder that holds the frames itself"
        )
    return sorted(files, key=_natural_order)


def load_image(path: Path, *, keep_alpha: bool = False) -> Tensor:
    """Read an image file as (3,H,W), RGB float32 in 0..1, turned upright by its EXIF orientation.

    Gray becomes RGB, colors of a profile become sRGB, transparency is blended with black, and added as a fourth
    channel if `keep_alpha`; 16 bits per channel are kept.

    Raises:
        VideoError: the file is missing or cannot be read as an image.
    """
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                warnings.warn(f"{path} holds {image.n_frames} images; the first is used", stacklevel=2)
            if _loses_bits(image):
                deep = _decode_deep(path)
                colors = deep_to_srgb(deep[:3], image, path)
                return torch.cat([colors, deep[3:]]) if keep_alpha else colors
            return image_to_tensor(to_srgb(ImageOps.exif_transpose(image), path), keep_alpha=keep_alpha)
    except FileNotFoundError as error:
        raise VideoError(f"{path} does not exist: check the path") from error
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, av.FFmpegError):
            raise VideoError(f"{path} cannot be opened ({error.strerror}): check its permissions") from error
        raise VideoError(
            f"{path} cannot be read as an image ({error}): the file is damaged or of another kind"
        ) from error


def save_image(image: Tensor, path: Path) -> None:
    """Write an image (3,H,W), one with alpha (4,H,W) or a mask (1,H,W) in the format of the suffix.

    Values in 0..1 are rounded to 8 bits.

    Raises:
        VideoError: the file cannot be written.
    """
    levels = image.detach().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0)  # CHW -> HWC
    array = fetch(levels).numpy()
    file = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    try:
        file.save(path, **_SAVE_OPTIONS.get(path.suffix.lower(), {}))
    except OSError as error:
        raise VideoError(f"{path} cannot be written ({error})") from error


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part.lower()) for part in parts]


def _loses_bits(image: Image.Image) -> bool:
    # Pillow reads 16-bit RGB files into 8 bits; only the raw mode of its decoder shows that.
    return image.mode in ("RGB", "RGBA", "LA") and any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", [])
    )


def _decode_deep(path: Path) -> Tensor:
    with open_to_read(path) as container:
        return image_from_frame(next(container.decode(video=0)), keep_alpha=True)


def image_to_tensor(image: Image.Image, *, keep_alpha: bool = False) -> Tensor:
    """Convert an image of any mode to (3,H,W), RGB float32 in 0..1.

    Transparency is blended with black, and added as a fourth channel if `keep_alpha`.
    """
    image_and_alpha = _with_alpha(image)
    return image_and_alpha if keep_alpha else image_and_alpha[:3]


def _with_alpha(image: Image.Image) -> Tensor:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        white = 1 if image.mode == "F" else 65535
        gray = torch.from_numpy(np.asarray(image).astype(np.float32)) / white
        return torch.cat([gray.clamp(0, 1).expand(3, -1, -1), torch.ones_like(gray)[None]])
    rgba = (
        torch.from_numpy(np.asarray(image.convert("RGBA")).astype(np.float32)).permute(2, 0, 1) / 255
    )  # HWC -> CHW
    return torch.cat([rgba[:3] * rgba[3:], rgba[3:]])
