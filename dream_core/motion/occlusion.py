"""Reliability of flow: masks of the pixels of a warped image to trust, 1 = trust, 0 = distrust."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import require_valid, validate
from ..errors import ImageError, SettingsError
from ..image import box_max, box_mean, box_opening, require_image, to_gray
from ..settings import ReliabilitySettings
from .light import match_light
from .warp import points_inside, require_flow, warp


class Disagreement(NamedTuple):
    """How far two flows are from undoing each other.

    Args:
        squared: (B,1,H,W), squared length of their sum.
        lengths: (B,1,H,W), sum of their squared lengths.
    """

    squared: Tensor
    lengths: Tensor


class Tolerance(NamedTuple):
    """Largest squared disagreement of two flows: `share` of the sum of their squared lengths, plus `pixels`."""

    share: float
    pixels: float

    def allows(self, disagreement: Disagreement) -> Tensor:
        """Trust pixels below the largest disagreement: (B,1,H,W), 0 or 1."""
        largest = self.share * disagreement.lengths + self.pixels
        return (disagreement.squared < largest).to(largest.dtype)


STRICT = Tolerance(0.01, 0.5)
"""Constants of Sundaram et al. 2010."""

LOOSE = Tolerance(0.1, 2.0)
"""For pixels that look like where they came from."""

ALIKE = 12 / 255
"""Largest difference, averaged over colors and 3x3 pixels, of neighborhoods that look alike."""


def reliability_mask(
    backward: Tensor,
    forward: Tensor | None,
    *,
    frame: Tensor,
    previous: Tensor,
    settings: ReliabilitySettings,
    known: Tensor | None = None,
) -> Tensor:
    """Compute how reliably each pixel of the current frame was visible in the previous one.

    A pixel is trusted if it passes every check that the settings switch on. Where only consistency and boundaries
    say no, and the flows still agree within `LOOSE`, a pixel is trusted that looks like where it came from. Trust
    then fades towards distrusted pixels, without spreading to them.

    Args:
        backward: (B,2,H,W), flow from the current frame to the previous one, in pixels.
        forward: (B,2,H,W), flow from the previous frame to the current one. None is allowed when
            ``settings.check_consistency`` is off.
        frame: (B,3,H,W), the current frame in 0..1.
        previous: (B,3,H,W), the previous frame in 0..1.
        settings: choice of the checks, and their constants.
        known: (B,1,H,W) in 0..1, 0 where the backward flow is not known; by default it is known everywhere.

    Returns:
        (B,1,H,W) in 0..1, 1 = trust.

    Raises:
        ImageError: the shapes do not fit, or the forward flow is missing.
        SettingsError: the threshold or the softness is out of range.
    """
    validate(settings)
    _check_images(frame, previous)
    require_flow(backward, like=frame, name="backward flow")
    difference = difference_of(frame, warp(previous, backward, mode="bilinear"))
    masks = [_follows_flow(backward, forward, difference.color, settings)]
    if settings.check_brightness:
        masks.append(_below(difference.gray, settings.brightness_threshold / 255))
    if settings.check_leaving:
        masks.append(points_inside(backward))
    if known is not None:
        require_image(known, name="reliability", channels=1, like=backward, values=False)
        masks.append(known)
    mask = torch.stack([mask.to(frame.dtype) for mask in masks]).amin(dim=0)
    return soften_inwards(mask, radius=_softening_radius(frame, settings.mask_softness))


def flows_agree(backward: Tensor, forward: Tensor) -> Tensor:
    """Trust pixels where the two flows undo each other: the forward-backward check of Sundaram et al. 2010.

    With w the backward flow at x and w' the forward flow at x + w, a pixel is trusted where
    ``|w + w'|^2 < 0.01 (|w|^2 + |w'|^2) + 0.5``.

    Args:
        backward: (B,2,H,W) in pixels.
        forward: (B,2,H,W) in pixels.

    Returns:
        (B,1,H,W), 0 or 1.

    Raises:
        ImageError: the flows have the wrong or different shapes.
    """
    require_flow(backward, name="backward flow")
    require_flow(forward, like=backward, name="forward flow")
    return STRICT.allows(_disagreement(backward, forward))


def _disagreement(backward: Tensor, forward: Tensor) -> Disagreement:
    returned = warp(forward, backward, mode="bilinear")
    return Disagreement(_energy(backward + returned), _energy(backward) + _energy(returned))


def flow_is_smooth(flow: Tensor) -> Tensor:
    """Trust pixels where the flow is smooth (Sundaram et al. 2010; constants of Ruder et al. 2016).

    Motion boundaries are the pixels with ``|grad u|^2 + |grad v|^2 > 0.01 |w|^2 + 0.002``, by central differences
    in pixels per pixel.

    Args:
        flow: (B,2,H,W) in pixels.

    Returns:
        (B,1,H,W), 0 or 1.

    Raises:
        ImageError: the flow has the wrong shape or type.
    """
    require_flow(flow)
    padded = F.pad(flow, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return (_energy(dx) + _energy(dy) <= 0.01 * _energy(flow) + 0.002).to(flow.dtype)


class Difference(NamedTuple):
    """How much a frame differs from the warped previous one, apart from its light.

    Args:
        gray: (B,1,H,W), absolute difference of gray in 0..1.
        color: (B,1,H,W), absolute difference in 0..1, averaged over the colors.
    """

    gray: Tensor
    color: Tensor


def difference_of(frame: Tensor, warped: Tensor) -> Difference:
    """Compare a frame with the warped previous one.

    The light of the previous frame is matched first, see `match_light`: exposure that pumps, lamps and shadows are
    no difference.

    Args:
        frame: (B,3,H,W) in 0..1.
        warped: (B,3,H,W), the previous frame warped into this one.

    Raises:
        ImageError: the images are not RGB or differ in shape.
    """
    _check_images(frame, warped)
    gray, before = to_gray(frame), to_gray(warped)
    matched = match_light(before, gray)
    color = (frame - warped - (matched - before)).abs().mean(dim=1, keepdim=True)
    return Difference((gray - matched).abs(), color)


def same_brightness(frame: Tensor, warped: Tensor, *, threshold: float = 30.0) -> Tensor:
    """Trust pixels that are about as bright as the warped previous frame, apart from a change of light.

    Trusted specks smaller than a square of 0.003 sqrt(H W) pixels a side, at least 3, are dropped as coincidences
    (morphological opening).

    Args:
        frame, warped: see `difference_of`.
        threshold: largest trusted difference of gray, in levels of 255.

    Returns:
        (B,1,H,W), 0 or 1.

    Raises:
        ImageError: the images are not RGB or differ in shape.
        SettingsError: the threshold is out of range.
    """
    require_valid(ReliabilitySettings, brightness_threshold=threshold)
    return _below(difference_of(frame, warped).gray, threshold / 255)


def _below(difference: Tensor, threshold: float) -> Tensor:
    trusted = (difference <= threshold).to(difference.dtype)
    return box_opening(trusted, _opening_size(difference))


def _follows_flow(
    backward: Tensor, forward: Tensor | None, difference: Tensor, settings: ReliabilitySettings
) -> Tensor:
    """Trust pixels with certain flow, and those with possible flow that look like where they came from.

    Things that move by themselves bend, and the small ones are all edge: their flow is seldom certain.
    """
    certain = possible = torch.ones_like(difference)
    if settings.check_consistency:
        forward = _required(forward)
        require_flow(forward, like=backward, name="forward flow")
        disagreement = _disagreement(backward, forward)
        certain, possible = STRICT.allows(disagreement), LOOSE.allows(disagreement)
    if settings.check_boundaries:
        certain = certain * flow_is_smooth(backward)
    alike = (box_mean(difference, 3) <= ALIKE).to(difference.dtype)
    return torch.maximum(certain, possible * alike)


def soften_inwards(mask: Tensor, *, radius: int) -> Tensor:
    """Let trust fade towards distrusted pixels.

    The mask is eroded by the radius, then averaged over a square of the same radius. A pixel may lose trust near a
    distrusted one; no pixel gains any.

    Args:
        mask: (B,1,H,W) in 0..1, 1 = trust.
        radius: half the width of the slope in pixels: at 2 * radius + 1 pixels from a distrusted one, trust is
            complete again.

    Returns:
        (B,1,H,W), nowhere more than the mask.

    Raises:
        ImageError: the mask is not (B,1,H,W) in floating point.
        SettingsError: the radius is negative.
    """
    require_image(mask, name="mask", channels=1, values=False)
    if radius < 0:
        raise SettingsError(f"expected a radius of at least 0 pixels, got {radius}")
    if radius == 0:
        return mask
    side = 2 * radius + 1
    eroded = -box_max(-mask, side)
    return torch.minimum(box_mean(eroded, side), mask)


def _energy(vectors: Tensor) -> Tensor:
    """Squared length of each vector: (B,2,H,W) -> (B,1,H,W)."""
    return vectors.square().sum(dim=1, keepdim=True)


def _side(image: Tensor) -> float:
    """Side of the square with the image's area, in pixels."""
    return math.sqrt(image.shape[-2] * image.shape[-1])


def _opening_size(image: Tensor) -> int:
    return max(3, int(0.003 * _side(image))) | 1  # odd, so that the square has a center


def _softening_radius(image: Tensor, softness: float) -> int:
    return math.ceil(softness * _side(image) / 2)  # the slope is two radii wide


def _required(forward: Tensor | None) -> Tensor:
    if forward is None:
        raise ImageError(
            "expected a forward flow for the consistency check, got None; "
            "estimate it too, or switch `check_consistency` off"
        )
    return forward


def _check_images(frame: Tensor, previous: Tensor) -> None:
    require_image(frame, name="frame", values=False)
    require_image(previous, name="previous frame", like=frame, values=False)
