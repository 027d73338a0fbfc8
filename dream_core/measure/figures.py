"""The figures of a dreamed clip: formulas for a frame or a pair of frames, and records of the results.

Only pixels with reliable flow count for e_warp and flicker. They are chosen with ``check_brightness`` off: it would
leave out pixels that change in brightness, and so hide flicker.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ImageError
from ..image import describe, to_gray
from ..motion.warp import warp

MOVING, STILL = 2.0, 0.5
"""Pixels per frame, relative to most of the picture: above the first a pixel moves, below the other it is still."""

DETAIL, DETAIL_SIGMA = 4.0, 6.0
"""There is detail where the Laplacian's magnitude, in levels of 255, blurred by this sigma in pixels, is larger."""


@dataclass(frozen=True)
class Figures:
    """Figures of one frame or of a whole clip; None if a figure is not defined.

    V[t] is the dreamed frame, S[t] the input frame at the same size, R[t] = V[t] - S[t] the residual, F[t] the
    flow of the input from frame t to frame t + 1, and M[t] the reliability of that flow. E_warp and flicker of
    frame t + 1 come from the pair t, t + 1, and the first frame has none. Evenness of frame t comes from F[t], and
    the last frame has none.

    Args:
        e_warp: warping error (Lai et al. 2018), 0 = the clip moves along with the input:
            ``mean over t of  sum(M[t] * (warp(V[t+1], F[t]) - V[t])^2) / sum(M[t])``, the square averaged over
            colors. Pairs without a reliable pixel are left out. It contains the clip's own noise and rewards
            blur: read it beside strength and sharpness.
        flicker: warping error of the residual, over its energy. 0 = carried perfectly, 1 = unrelated from frame
            to frame, 2 = inverted each time; None where there is no dream:
            ``sum M[t] (warp(R[t+1], F[t]) - R[t])^2 / sum M[t] (warp(R[t+1], F[t])^2 + R[t]^2)``, sums over
            pixels and t.
        strength: mean squared activation of a layer for V over that for S, 1 = no dream; the mean of these
            ratios for several layers. None without a network.
        sharpness: variance of the Laplacian (Pech-Pacheco et al. 2000) of V over that of S; None where S is flat.
        drift: mean luminance of R[t] minus that of R[0], in levels of 255: positive = the dream grows brighter.
            Of a clip: that of its last frame.
        evenness: root of the mean squared R[t] on what moves by itself, over that on what is still; see
            `moving_and_still`. Below 1 the dream is weaker on what moves. It depends on the clip too: what moves
            may have more to dream on. ``sqrt(sum over t of n[t] * mean of R[t]^2 on what moves / sum over t of
            n[t] * mean of R[t]^2 on what is still)``, n[t] the number of pixels that move: each of them counts the
            same. Frames where nothing moves or nothing is still are left out.
        coverage: evenness over that of an independent dream of the clip, in which nothing fades because every
            frame was dreamed by itself. 1 = what moves wears its full share of the dream, 0 = it is bare. Of a
            clip: the ratio of both clips' evenness. None without an independent dream.
    """

    e_warp: float | None
    flicker: float | None
    strength: float | None
    sharpness: float | None
    drift: float | None
    evenness: float | None
    coverage: float | None


@dataclass(frozen=True)
class ClipFigures:
    """Figures of a clip.

    Args:
        name: of the clip.
        overall: of the clip as a whole.
        frames: of each frame, in order.
    """

    name: str
    overall: Figures
    frames: tuple[Figures, ...]


@dataclass(frozen=True)
class Heard:
    """A feature of a sound along the frames.

    Args:
        feature: its name.
        values: in 0..1, one for each frame.
    """

    feature: str
    values: tuple[float, ...]

    def correlation(self, clip: ClipFigures) -> float | None:
        """Correlate it with the strength of a dream at the same frames; None where one of them never changes."""
        strengths = np.array([figures.strength for figures in clip.frames], dtype=np.float64)
        values = np.array(self.values)
        if not (np.isfinite(strengths).all() and strengths.std() > 0 and values.std() > 0):
            return None
        return float(np.corrcoef(values, strengths)[0, 1])


@dataclass(frozen=True)
class Report:
    """Figures of dreams, and of their input for comparison.

    Args:
        input: figures of the input, measured like a dream: flicker is not defined, strength and sharpness are 1.
        dreams: figures of each dream, one or more.
        layers: network and layers of the strength; None if it was not measured.
        independent: name of the dream that coverage compares with; None if it was not measured.
        heard: curve of a sound beside the figures; None without one.
    """

    input: ClipFigures
    dreams: tuple[ClipFigures, ...]
    layers: str | None
    independent: str | None
    heard: Heard | None = None


def warp_error(frame: Tensor, following: Tensor, flow: Tensor, reliability: Tensor) -> float | None:
    """Compute `Figures.e_warp` of one pair of frames.

    Args:
        frame, following: (3,H,W) in 0..1.
        flow: (2,H,W) in pixels, of the input from the frame to the following one.
        reliability: (1,H,W) in 0..1, 1 where the flow is reliable.

    Returns:
        The error; None if no pixel is reliable.

    Raises:
        ImageError: the shapes do not fit.
    """
    carried = _carry(frame, following, flow, reliability)
    if not reliability.any():
        return None
    weight = _exact(reliability).sum() * frame.shape[0]
    return (_weighted_sum((carried - frame).square(), reliability) / weight).item()


def flicker_terms(
    residual: Tensor, following: Tensor, flow: Tensor, reliability: Tensor
) -> tuple[float, float]:
    """Compute numerator and denominator of `Figures.flicker` for one pair of frames.

    Args:
        residual, following: (3,H,W), dream minus input for each frame of the pair.
        flow, reliability: as for `warp_error`.

    Returns:
        Change and energy. The sums of both over all pairs give the flicker of a clip.

    Raises:
        ImageError: the shapes do not fit.
    """
    carried = _carry(residual, following, flow, reliability)
    change = _weighted_sum((carried - residual).square(), reliability)
    energy = _weighted_sum(carried.square() + residual.square(), reliability)
    return change.item(), energy.item()


def mean_square(values: Tensor) -> float:
    """Compute the mean square of a tensor of any shape."""
    return _exact(values).square().mean().item()


def laplacian_variance(image: Tensor) -> float:
    """Compute the variance of the Laplacian of the gray image in levels of 255, for `Figures.sharpness`.

    The same as ``cv2.Laplacian(gray, cv2.CV_64F).var()``, without rounding to 8 bits.

    Args:
        image: (3,H,W) in 0..1.

    Returns:
        The variance; 0 = flat.

    Raises:
        ImageError: the image has another shape.
    """
    return float(_laplacian(image).var())


def moving_and_still(frame: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Find what moves by itself and what moves with most of the picture, for `Figures.evenness`.

    Motion is taken relative to the flow's median over the picture, of x and of y. A pixel moves by itself if it
    and its 8 neighbors move by more than `MOVING`; it is still if it moves by less than `STILL`. Both count only
    where the frame has detail: there flow can be trusted, and a dream has something to ride on.

    Args:
        frame: (3,H,W) in 0..1, of the input.
        flow: (2,H,W) in pixels, of the input from this frame to a neighboring one.

    Returns:
        Two masks (1,H,W) bool, moving and still, on the flow's device.

    Raises:
        ImageError: the shapes do not fit.
    """
    expected = (2, *frame.shape[-2:])
    if flow.shape != expected:
        raise ImageError(f"expected flow of shape {expected}, got {describe(flow)}")
    magnitude = np.abs(_laplacian(frame))
    detail = torch.from_numpy(cv2.GaussianBlur(magnitude, (0, 0), DETAIL_SIGMA) > DETAIL).to(flow.device)
    own = flow - flow.flatten(1).median(dim=1).values[:, None, None]
    speed = own.square().sum(0, keepdim=True).sqrt()
    inside = 1 - F.max_pool2d((speed <= MOVING).float(), 3, stride=1, padding=1)  # eroded by a square of 3x3
    return (inside > 0) & detail, (speed < STILL) & detail


def evenness_terms(residual: Tensor, moving: Tensor, still: Tensor) -> tuple[float, float] | None:
    """Compute the terms of `Figures.evenness` for one frame.

    Args:
        residual: (3,H,W), dream minus input.
        moving, still: (1,H,W) bool, see `moving_and_still`.

    Returns:
        Mean square of the residual on what moves and on what is still, each times the number of pixels that move.
        The sums of both over all frames give the evenness of a clip. None if nothing moves, or nothing is still.

    Raises:
        ImageError: the shapes do not fit.
    """
    expected = (1, *residual.shape[-2:])
    for name, mask in (("moving", moving), ("still", still)):
        if mask.shape != expected:
            raise ImageError(f"expected {name} of shape {expected}, got {describe(mask)}")
    if not (moving.any() and still.any()):
        return None
    count = int(moving.sum())
    return count * mean_square(residual[:, moving[0]]), count * mean_square(residual[:, still[0]])


def luminance(image: Tensor) -> float:
    """Compute the mean gray, in levels of 255, of an image (3,H,W) in 0..1 or of a residual, for `Figures.drift`.

    Raises:
        ImageError: the image has another shape.
    """
    return _exact(_gray(image)).mean().item()


def _carry(image: Tensor, following: Tensor, flow: Tensor, reliability: Tensor) -> Tensor:
    """Move the following image onto the image."""
    expected = (1, *image.shape[-2:])
    if reliability.shape != expected:
        raise ImageError(f"expected reliability of shape {expected}, got {describe(reliability)}")
    return warp(following[None], flow[None], mode="bilinear")[0]


def _weighted_sum(values: Tensor, weight: Tensor) -> Tensor:
    return _exact(values * weight).sum()


def _exact(values: Tensor) -> Tensor:
    """Convert to float64, on the CPU where Apple's GPUs have none."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def _laplacian(image: Tensor) -> np.ndarray:
    """Compute the Laplacian (H,W) of the gray image in levels of 255."""
    return cv2.Laplacian(_exact(_gray(image)).cpu().numpy(), cv2.CV_64F)


def _gray(image: Tensor) -> Tensor:
    """Convert (3,H,W) in 0..1 to gray (H,W) in levels of 255."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ImageError(f"expected an image as (3,H,W), got {describe(image)}")
    return to_gray(image[None])[0, 0] * 255
