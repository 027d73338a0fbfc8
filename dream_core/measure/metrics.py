"""How good a dreamed clip is, in numbers.

Masks for these figures come from the checks of the flow (`reliability_mask` of the forward flow with
``check_brightness`` off): a mask that leaves out what changed in brightness hides the error to be measured.

Every function takes its clips, flows and masks as iterables of single frames (C,H,W), so that a tensor
(T,C,H,W) serves as well as a generator; a generator is read frame by frame, in constant memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise, zip_longest
from typing import Any

import cv2
import kornia
import torch
from torch import Tensor

from ..errors import ImageError
from ..motion.warp import describe, warp


def e_warp(clip: Iterable[Tensor], flows: Iterable[Tensor], masks: Iterable[Tensor]) -> float:
    """Warping error of Lai et al. 2018: how much a clip changes along the motion.

    ``mean over t of  sum(M[t] * (warp(V[t+1], F[t]) - V[t])^2) / sum(M[t])``, the square
    averaged over colors. It contains the clip's own noise and rewards blur: read it beside
    ``strength`` and ``sharpness``.

    Args:
        clip: T frames V, (3,H,W) in 0..1.
        flows: T-1 flows F, (2,H,W) in pixels, of the *input* clip from frame t to frame t + 1.
        masks: T-1 masks M, (1,H,W) in 0..1, 1 where F[t] is reliable.

    Returns:
        The error, 0 = carried perfectly. Pairs without a reliable pixel are left out.

    Raises:
        ImageError: fewer than two frames, numbers or shapes that do not fit, or nothing reliable.
    """
    pairs = _pairs(clip, flows, masks)
    errors = [error for pair in pairs if (error := pair_error(*pair)) is not None]
    if not errors:
        raise ImageError("expected a reliable pixel in some mask to measure e_warp by, got none")
    return sum(errors) / len(errors)


def flicker(
    dreamed: Iterable[Tensor], source: Iterable[Tensor], flows: Iterable[Tensor], masks: Iterable[Tensor]
) -> float:
    """Warping error of the dream alone, R = dreamed - source, over R's own energy.

    ``sum M (warp(R[t+1], F[t]) - R[t])^2 / sum M (warp(R[t+1], F[t])^2 + R[t]^2)``, sums over pixels and t.

    Args:
        dreamed: T frames, (3,H,W) in 0..1.
        source: T frames, (3,H,W) in 0..1: the input at the dream's size.
        flows: T-1 flows F, (2,H,W) in pixels, of the source from frame t to frame t + 1.
        masks: T-1 masks M, (1,H,W) in 0..1, 1 where F[t] is reliable.

    Returns:
        0 = carried perfectly, 1 = unrelated from frame to frame, up to 2 = inverted each time.

    Raises:
        ImageError: fewer than two frames, numbers or shapes that do not fit, or no dream to measure.
    """
    change = energy = 0.0
    for pair in _pairs(_residuals(dreamed, source), flows, masks):
        changed, held = pair_flicker(*pair)
        change, energy = change + changed, energy + held
    if energy == 0:
        raise ImageError("expected a dream that differs from its source where it is reliable, got none")
    return change / energy


def strength(dreamed: Tensor, source: Tensor) -> float:
    """Mean squared activation of a layer, dreamed over source.

    Args:
        dreamed: activation of the dreamed image, any shape.
        source: activation of the input image, any shape.

    Returns:
        The ratio, 1 = no dream.

    Raises:
        ImageError: the source's activation is zero everywhere.
    """
    reference = mean_square(source)
    if not reference > 0:
        raise ImageError("expected an activation of the source that is not zero everywhere, got zero")
    return mean_square(dreamed) / reference


def sharpness(clip: Iterable[Tensor]) -> float:
    """Variance of the Laplacian of the gray image in levels of 255, mean over the frames.

    As ``cv2.Laplacian(gray, cv2.CV_64F).var()`` (Pech-Pacheco et al. 2000), without rounding to 8 bits.

    Args:
        clip: T frames, (3,H,W) in 0..1.

    Returns:
        The variance; 0 = flat. Compare with the same clip undreamed.

    Raises:
        ImageError: the clip is empty, or a frame is not (3,H,W).
    """
    variances = [laplacian_variance(frame) for frame in clip]
    if not variances:
        raise ImageError("expected at least 1 frame to measure sharpness by, got none")
    return sum(variances) / len(variances)


def drift(dreamed: Iterable[Tensor], source: Iterable[Tensor]) -> float:
    """Mean luminance of the last minus the first dreamed frame, less the source's own change.

    Args:
        dreamed: T frames, (3,H,W) in 0..1.
        source: T frames, (3,H,W) in 0..1.

    Returns:
        Levels of 255: positive = the dream grows brighter.

    Raises:
        ImageError: the clip is empty, or numbers or shapes do not fit.
    """
    excess = [luminance(residual) for residual in _residuals(dreamed, source)]
    if not excess:
        raise ImageError("expected at least 1 frame to measure drift by, got none")
    return excess[-1] - excess[0]


def pair_error(frame: Tensor, following: Tensor, flow: Tensor, mask: Tensor) -> float | None:
    """The share of one pair of frames in `e_warp`.

    Args:
        frame, following: (3,H,W) in 0..1.
        flow: (2,H,W) in pixels, of the input clip from the frame to the following one.
        mask: (1,H,W) in 0..1, 1 where the flow is reliable.

    Returns:
        The error; None where nothing is reliable.

    Raises:
        ImageError: the shapes do not fit.
    """
    carried = _carry(frame, following, flow, mask)
    if not mask.any():
        return None
    weight = mask.double().sum() * frame.shape[0]
    return (_masked_sum((carried - frame).square(), mask) / weight).item()


def pair_flicker(residual: Tensor, following: Tensor, flow: Tensor, mask: Tensor) -> tuple[float, float]:
    """The share of one pair of frames in `flicker`: its change and its energy, whose ratio that is.

    Args:
        residual, following: (3,H,W), dream minus source of both frames.
        flow, mask: as for `pair_error`.

    Raises:
        ImageError: the shapes do not fit.
    """
    carried = _carry(residual, following, flow, mask)
    change = _masked_sum((carried - residual).square(), mask)
    return change.item(), _masked_sum(carried.square() + residual.square(), mask).item()


def laplacian_variance(frame: Tensor) -> float:
    """The share of one frame (3,H,W) in 0..1 in `sharpness`."""
    return float(cv2.Laplacian(_gray(frame).double().cpu().numpy(), cv2.CV_64F).var())


def luminance(frame: Tensor) -> float:
    """Mean gray level of a frame (3,H,W), or of a difference of two; 1 is 255 levels."""
    return _gray(frame).double().mean().item()


def mean_square(activation: Tensor) -> float:
    """Mean of the squares of an activation of any shape."""
    return activation.double().square().mean().item()


def _carry(frame: Tensor, following: Tensor, flow: Tensor, mask: Tensor) -> Tensor:
    """The following frame moved onto the frame."""
    expected = (1, *frame.shape[-2:])
    if mask.shape != expected:
        raise ImageError(f"expected mask of shape {expected}, got {describe(mask)}")
    return warp(following[None], flow[None], mode="bilinear")[0]


def _pairs(
    clip: Iterable[Tensor], flows: Iterable[Tensor], masks: Iterable[Tensor]
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """For each t: frame t, frame t + 1, flow and mask."""
    pairs = 0
    links = _zip_equally(pairwise(clip), flows, masks, names="pairs of frames, flows and masks")
    for (frame, following), flow, mask in links:
        pairs += 1
        yield frame, following, flow, mask
    if pairs == 0:
        raise ImageError("expected at least 2 frames to compare, got fewer")


def _residuals(dreamed: Iterable[Tensor], source: Iterable[Tensor]) -> Iterator[Tensor]:
    for dream, frame in _zip_equally(dreamed, source, names="dreamed and source frames"):
        if dream.shape != frame.shape:
            raise ImageError(f"expected a dream of shape {tuple(frame.shape)}, got {describe(dream)}")
        yield dream - frame


def _zip_equally(*iterables: Iterable[Any], names: str) -> Iterator[tuple[Any, ...]]:
    missing = object()
    for items in zip_longest(*iterables, fillvalue=missing):
        if any(item is missing for item in items):
            raise ImageError(f"expected equally many {names}; one of them ended before the others")
        yield items


def _masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(dtype=torch.float64)


def _gray(frame: Tensor) -> Tensor:
    """(3,H,W) in 0..1 -> (H,W) in levels of 255."""
    if frame.ndim != 3 or frame.shape[0] != 3:
        raise ImageError(f"expected a frame as (3, H, W), got {describe(frame)}")
    gray: Tensor = kornia.color.rgb_to_grayscale(frame[None])
    return gray[0, 0] * 255
