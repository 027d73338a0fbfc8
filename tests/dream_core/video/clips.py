"""Small clips of flat gray frames, written and read back."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dream_core.settings import InputSettings, OutputSettings
from dream_core.video import Frame, Output, open_clip, open_output

FAST = OutputSettings(quality=4)
NATIVE = InputSettings(size=0)


def read(path: Path, settings: InputSettings = NATIVE) -> list[Frame]:
    with open_clip(path, settings=settings) as clip:
        return list(clip)


def gray(level: float, size: tuple[int, int] = (48, 64)) -> Tensor:
    return torch.full((3, *size), level / 255)


def write(
    path: Path | str, images: list[Tensor], *, settings: OutputSettings = FAST, fps: int = 12, **options: Any
) -> Output:
    size = tuple(images[0].shape[-2:])
    with open_output(path, size=size, fps=Fraction(fps), settings=settings, **options) as output:
        for image in images:
            output.write(image)
    return output


def ramp(count: int, size: tuple[int, int] = (48, 64)) -> list[Tensor]:
    return [gray(20 + 200 * index // max(1, count - 1), size) for index in range(count)]


def levels(frames: list[Frame]) -> list[float]:
    return [float(frame.image.mean()) * 255 for frame in frames]


def quadrants(*, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """Red, green / blue, white: every way of turning shows."""
    height, width = size
    image = np.zeros((*size, 3), dtype=np.uint8)
    image[: height // 2, : width // 2] = (200, 0, 0)
    image[: height // 2, width // 2 :] = (0, 200, 0)
    image[height // 2 :, : width // 2] = (0, 0, 200)
    image[height // 2 :, width // 2 :] = (200, 200, 200)
    return image


def corners(image: Tensor) -> list[str]:
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white"}
    found = [image[:, y, x] > 0.4 for y in (6, -6) for x in (6, -6)]
    return [names[tuple(corner.int().tolist())] for corner in found]


def copy(
    source: Path, target: Path | str, settings: InputSettings = NATIVE, output_settings: OutputSettings = FAST
) -> None:
    """Decode a clip and encode it again, its sound copied."""
    with (
        open_clip(source, settings=settings) as clip,
        open_output(
            target,
            size=clip.size,
            fps=clip.fps,
            time_base=clip.time_base,
            top_fps=clip.top_fps,
            transparency=clip.transparency,
            sound=clip.sound,
            settings=output_settings,
        ) as output,
    ):
        for frame in clip:
            output.write(frame.image, time=frame.time, duration=frame.duration, alpha=frame.alpha)
