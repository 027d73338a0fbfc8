"""Scene cuts: where a clip shows something else from one frame to the next."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from ..image import scaled_size
from .warp import warp

THRESHOLD = 27.0
"""Mean change of hue, saturation and value, in levels of 255, from which it is a cut: PySceneDetect's default."""

LOOK_SIDE = 256
"""Longest side at which frames are compared, so that neither grain nor the frame's size counts."""


def is_cut(frame: Tensor, previous: Tensor, backward: Tensor) -> bool:
    """Whether a cut lies between two frames.

    The criterion of PySceneDetect's ContentDetector (Castellano, scenedetect.com), with its default threshold. What
    motion explains is no cut, however fast: the previous frame must differ as much where the flow moves it.

    Args:
        frame, previous: (1,3,H,W) RGB in 0..1, of one size.
        backward: (1,2,H,W), flow from the frame to the previous one, in pixels.
    """
    if content_change(frame, previous) < THRESHOLD:
        return False
    return content_change(frame, warp(previous, backward, mode="bilinear")) >= THRESHOLD


def content_change(frame: Tensor, previous: Tensor) -> float:
    """Mean absolute change of hue, saturation and value, each in 8 bits as OpenCV counts them.

    Args:
        frame, previous: (1,3,H,W) RGB in 0..1, of one size.
    """
    # Both at once: on a GPU, every transfer makes the program wait.
    levels = (
        torch.cat([frame, previous]).mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    )  # BCHW -> BHWC
    one, other = (_hsv(colors) for colors in levels.cpu().numpy())
    return float(np.abs(one - other).mean())


def _hsv(colors: np.ndarray) -> np.ndarray:
    """Hue in 0..179, saturation and value in 0..255 of (H,W,3) RGB in 8 bits, shrunk; (h,w,3) int16."""
    scale = LOOK_SIDE / max(colors.shape[:2])
    if scale < 1:
        height, width = scaled_size((colors.shape[0], colors.shape[1]), scale)
        colors = cv2.resize(colors, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(colors, cv2.COLOR_RGB2HSV).astype(np.int16)
