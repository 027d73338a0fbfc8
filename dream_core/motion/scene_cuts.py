"""Detection of scene cuts."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ..image import scaled_size
from .warp import warp

THRESHOLD = 27.0
"""Least mean change of hue, saturation and value of a cut, in levels of 255: PySceneDetect's default."""

COMPARISON_SIDE = 256
"""Longest side in pixels at which frames are compared, so that grain and the size of the frame do not count."""


def is_cut(frame: Tensor, previous: Tensor, backward: Tensor) -> bool:
    """Return whether a cut lies between two frames.

    The criterion of PySceneDetect's ContentDetector (Castellano, scenedetect.com), with its default threshold.
    Fast motion is not taken for a cut: the previous frame must still differ after the flow has moved it.

    Args:
        frame, previous: (1,3,H,W) RGB in 0..1, of one size.
        backward: (1,2,H,W), flow from the frame to the previous one, in pixels.
    """
    if content_change(frame, previous) < THRESHOLD:
        return False
    return content_change(frame, warp(previous, backward, mode="bilinear")) >= THRESHOLD


def content_change(frame: Tensor, previous: Tensor) -> float:
    """Compute the mean absolute change of hue, saturation and value, each in 8 bits as OpenCV defines them.

    Args:
        frame, previous: (1,3,H,W) RGB in 0..1, of one size.
    """
    # Both frames at once: on a GPU, every transfer makes the program wait.
    levels = torch.cat([frame, previous]).mul(255).round().clamp(0, 255).byte()
    levels = levels.permute(0, 2, 3, 1)  # BCHW -> BHWC
    one, other = (_hsv(colors) for colors in levels.cpu().numpy())
    return float(np.abs(one - other).mean())


def _hsv(colors: np.ndarray) -> np.ndarray:
    """Shrink (H,W,3) 8-bit RGB and convert it to hue in 0..179, saturation and value in 0..255: (h,w,3) int16."""
    scale = COMPARISON_SIDE / max(colors.shape[:2])
    if scale < 1:
        height, width = scaled_size((colors.shape[0], colors.shape[1]), scale)
        colors = cv2.resize(colors, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(colors, cv2.COLOR_RGB2HSV).astype(np.int16)
