"""The five figures of a dreamed clip: formulas for a frame or a pair of frames, and records of the results.

Only pixels with reliable flow count for e_warp and flicker. They are chosen with ``check_brightness`` off: it would
leave out pixels that change in brightness, and so hide flicker.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import kornia
import torch
from torch import Tensor

from ..errors import ImageError
from ..image import describe
from ..motion.warp import warp


@dataclass(frozen=True)
class Figures:
    """Five figures of one frame or of a whole clip; None if a figure is not defined.

    V[t] is the dreamed frame, S[t] the input frame at the same size, R[t] = V[t] - S[t] the residual, F[t] the
    flow of the input from frame t to frame t + 1, and M[t] the reliability of that flow. The figures of frame
    t + 1 come from the pair t, t + 1.

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
    """

    e_warp: float | None
    flicker: float | None
    strength: float | None
    sharpness: float | None
    drift: float | None


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
class Report:
    """Figures of dreams, and of their input for comparison.

    Args:
        input: figures of the input, measured like a dream: flicker is not defined, strength and sharpness are 1.
        dreams: figures of each dream, one or more.
        layers: network and layers of the strength; None if it was not measured.
    """

    input: ClipFigures
    dreams: tuple[ClipFigures, ...]
    layers: str | None


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
    weight = reliability.double().sum() * frame.shape[0]
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


def mean_square(activation: Tensor) -> float:
    """Compute the mean square of an activation of any shape, for `Figures.strength`."""
    return activation.double().square().mean().item()


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
    return float(cv2.Laplacian(_gray(image).double().cpu().numpy(), cv2.CV_64F).var())


def luminance(image: Tensor) -> float:
    """Compute the mean gray, in levels of 255, of an image (3,H,W) in 0..1 or of a residual, for `Figures.drift`.

    Raises:
        ImageError: the image has another shape.
    """
    return _gray(image).double().mean().item()


def _carry(image: Tensor, following: Tensor, flow: Tensor, reliability: Tensor) -> Tensor:
    """Move the following image onto the image."""
    expected = (1, *image.shape[-2:])
    if reliability.shape != expected:
        raise ImageError(f"expected reliability of shape {expected}, got {describe(reliability)}")
    return warp(following[None], flow[None], mode="bilinear")[0]


def _weighted_sum(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum(dtype=torch.float64)


def _gray(image: Tensor) -> Tensor:
    """Convert (3,H,W) in 0..1 to gray (H,W) in levels of 255."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ImageError(f"expected an image as (3,H,W), got {describe(image)}")
    gray: Tensor = kornia.color.rgb_to_grayscale(image[None])
    return gray[0, 0] * 255
