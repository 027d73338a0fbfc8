"""Detection of scene cuts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from ..image import Size, antialias, box_mean, scaled_size, size_of, to_gray, vector_like
from .warp import points_inside, warp

THRESHOLD = 27.0
"""Least mean change of hue, saturation and value of a cut, in levels of 255: PySceneDetect's default."""

UNLIKE, ALIKE = 0.5, 0.8
"""Likeness of the structure of two frames below which a cut lies between them, and from which none does."""

STRUCTURE_SIDE, STRUCTURE_WINDOW = 64, 9
"""Longest side in pixels at which structure is compared, and side of the square whose mean is taken off."""

NO_STRUCTURE = 1 / 255
"""Standard deviation of a frame without structure."""

PAN_SIDE, PAN_WINDOW = 128, 15
"""Longest side in pixels at which a fast pan is searched, and side of the square whose mean is taken off."""

COMPARISON_SIDE = 256
"""Longest side in pixels at which frames are compared, so that grain and the size of the frame do not count."""


def is_cut(
    frame: Tensor, previous: Tensor, backward: Tensor, *, found: Sequence[float] | None = None
) -> bool:
    """Return whether a cut lies between two frames.

    Motion is no cut, however fast, nor is a change of light: what counts is whether the frame has the structure of
    the previous one after the flow has moved that, see `likeness`. Structure also tells dark scenes apart. Where it
    leaves doubt, or neither frame has any, the criterion of PySceneDetect's ContentDetector decides (Castellano,
    scenedetect.com), with its default threshold.

    Args:
        frame, previous: (1,3,H,W) RGB in 0..1, of one size.
        backward: (1,2,H,W), flow from the frame to the previous one, in pixels.
        found: the numbers of `structure`, if they were read already.
    """
    alike = likeness(structure(frame, previous, backward).tolist() if found is None else found)
    if alike is not None and not UNLIKE <= alike < ALIKE:
        return alike < UNLIKE
    moved = warp(previous, backward, mode="bilinear")
    return min(_content_changes(frame, previous, moved)) >= THRESHOLD


def structure(frame: Tensor, previous: Tensor, backward: Tensor) -> Tensor:
    """Compare the structure of two frames: their gray, less its mean around each pixel.

    Args:
        frame, previous: (1,3,H,W) RGB in 0..1, of one size.
        backward: (1,2,H,W), flow from the frame to the previous one, in pixels; points outside do not count.

    Returns:
        (3,): the mean product of both structures, and the mean square of each.
    """
    moved, inside = warp(previous, backward, mode="bilinear"), points_inside(backward)
    size = _comparison_size(size_of(frame), STRUCTURE_SIDE)
    mask = antialias(inside, size, mode="bilinear")
    share = box_mean(mask, STRUCTURE_WINDOW).clamp_min(1e-3)
    one, other = (
        (gray - box_mean(gray * mask, STRUCTURE_WINDOW) / share) * mask
        for gray in (_small_gray(image, size) for image in (frame, moved))
    )
    return torch.stack([(one * other).mean(), one.square().mean(), other.square().mean()])


def likeness(found: Sequence[float]) -> float | None:
    """Compute the correlation of the structure of two frames from the numbers of `structure`.

    Returns:
        -1..1, 1 for frames that differ in light alone; None if neither frame has structure.
    """
    both, energy, other_energy = found
    if max(energy, other_energy) < NO_STRUCTURE**2:
        return None
    return both / math.sqrt(max(energy, NO_STRUCTURE**2 / 4) * max(other_energy, NO_STRUCTURE**2 / 4))


def find_pan(frame: Tensor, previous: Tensor) -> Tensor | None:
    """Find one motion of the whole picture that is too fast for flow estimators, by phase correlation.

    Args:
        frame, previous: (1,3,H,W) RGB in 0..1, of one size.

    Returns:
        (1,2,1,1): the flow from the frame to the previous one, in pixels, within a few pixels; None if no shift by
        up to 0.6 of a side explains the frame.
    """
    height, width = _comparison_size(size_of(frame), PAN_SIDE)
    spectra = []
    for image in (frame, previous):
        gray = _small_gray(image, (height, width))
        # Padded, so that what leaves on one side does not come in on the other.
        spectra.append(torch.fft.rfft2(gray - box_mean(gray, PAN_WINDOW), s=(2 * height, 2 * width)))
    cross = spectra[0].conj() * spectra[1]
    peaks = torch.fft.irfft2(cross / cross.abs().clamp_min(1e-6), s=(2 * height, 2 * width))
    near = [torch.fft.fftfreq(2 * side, device=frame.device).abs() * 2 <= 0.6 for side in (height, width)]
    best = int(torch.where(near[0].unsqueeze(1) & near[1], peaks, -torch.inf).argmax())
    down, across = divmod(best, 2 * width)
    shift = [
        (step - 2 * side if step >= side else step) * full / side
        for step, side, full in ((across, width, frame.shape[-1]), (down, height, frame.shape[-2]))
    ]
    pan = vector_like(frame, shift).view(1, 2, 1, 1)
    flow = pan.expand(1, 2, *size_of(frame))
    alike = likeness(structure(frame, previous, flow).tolist())
    return pan if alike is not None and alike >= UNLIKE else None


def content_change(frame: Tensor, previous: Tensor) -> float:
    """Compute the mean absolute change of hue, saturation and value, each in 8 bits as OpenCV defines them.

    Args:
        frame, previous: (1,3,H,W) RGB in 0..1, of one size.
    """
    return _content_changes(frame, previous)[0]


def _content_changes(frame: Tensor, *others: Tensor) -> list[float]:
    # All frames at once: on a GPU, every transfer makes the program wait.
    levels = torch.cat([frame, *others]).mul(255).round().clamp(0, 255).byte()
    levels = levels.permute(0, 2, 3, 1)  # BCHW -> BHWC
    own, *rest = (_hsv(colors) for colors in levels.cpu().numpy())
    return [float(np.abs(own - other).mean()) for other in rest]


def _small_gray(image: Tensor, size: Size) -> Tensor:
    return antialias(to_gray(image), size, mode="bilinear")


def _comparison_size(size: Size, side: int) -> Size:
    return scaled_size(size, min(1.0, side / max(size)))


def _hsv(colors: np.ndarray) -> np.ndarray:
    """Shrink (H,W,3) 8-bit RGB and convert it to hue in 0..179, saturation and value in 0..255: (h,w,3) int16."""
    scale = COMPARISON_SIDE / max(colors.shape[:2])
    if scale < 1:
        height, width = scaled_size((colors.shape[0], colors.shape[1]), scale)
        colors = cv2.resize(colors, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(colors, cv2.COLOR_RGB2HSV).astype(np.int16)
