"""Conversion of images with a color profile to sRGB (ICC.1, by LittleCMS, which comes with Pillow)."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor
from torch.nn import functional as F

_GRID = 33
"""Points per color at which a profile is sampled for images of 16 bits, which LittleCMS would round to 8."""


def to_srgb(image: Image.Image, path: Path) -> Image.Image:
    """Convert an image with a profile of another color space to RGB or RGBA; others are returned as they are."""
    profile = _profile(image, path)
    if profile is None or image.mode in ("1", "F", "I") or image.mode.startswith("I;"):
        return image
    alpha = None
    if image.mode in ("P", "PA", "LA", "La", "RGBa", "RGBA", "RGBX"):
        with_alpha = image.convert("RGBA")
        alpha = with_alpha.getchannel("A")
        # A gray profile takes gray.
        image = with_alpha.convert("L" if image.mode in ("LA", "La") else "RGB")
    converted = _converted(image, profile, path)
    if alpha is not None:
        converted = converted.convert("RGB")
        converted.putalpha(alpha)
    return converted


def deep_to_srgb(colors: Tensor, image: Image.Image, path: Path) -> Tensor:
    """Convert colors (3,H,W) of 16 bits as the profile of their image says, interpolated between 33 levels each."""
    profile = _profile(image, path)
    if profile is None:
        return colors
    levels = np.rint(np.linspace(0, 255, _GRID)).astype(np.uint8)
    red, green, blue = np.meshgrid(levels, levels, levels, indexing="ij")
    samples = np.stack([red, green, blue], -1).reshape(1, -1, 3)
    table = _converted(Image.fromarray(samples), profile, path).convert("RGB")
    grid = torch.from_numpy(np.asarray(table).astype(np.float32) / 255).view(_GRID, _GRID, _GRID, 3)
    # grid_sample reads the last axis of the table, blue, by the first coordinate.
    places = colors.flip(0).permute(1, 2, 0)[None, None] * 2 - 1
    found = F.grid_sample(grid.permute(3, 0, 1, 2)[None], places, align_corners=True)
    return found[0, :, 0]


def _profile(image: Image.Image, path: Path) -> ImageCms.ImageCmsProfile | None:
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(data))
        return None if "srgb" in ImageCms.getProfileDescription(profile).lower() else profile
    except (OSError, ImageCms.PyCMSError) as error:
        _warn(path, error)
        return None


def _converted(image: Image.Image, profile: ImageCms.ImageCmsProfile, path: Path) -> Image.Image:
    try:
        converted = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (OSError, ValueError, ImageCms.PyCMSError) as error:  # such as a profile of CMYK in an RGB image
        _warn(path, error)
        return image
    return image if converted is None else converted


def _warn(path: Path, error: Exception) -> None:
    warnings.warn(
        f"the color profile of {path} cannot be used ({error}): its colors are taken for sRGB", stacklevel=3
    )
