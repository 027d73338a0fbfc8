"""The start of the next dream: the new frame mixed with the carried dream."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import require_valid
from ..image import box_mean, require_image, require_mask
from ..settings import TemporalSettings


def add_residual(
    frame: Tensor, warped: Tensor, mask: Tensor, warped_frame: Tensor, *, blend: float
) -> Tensor:
    """Add the carried residual to the frame: the image that the next dream starts from.

    ``frame + (1 - blend) * mask * (warped - warped_frame)``, clamped to 0..1. The frame itself is never
    resampled.

    Args:
        frame: (B,3,H,W), the current frame in 0..1.
        warped: (B,3,H,W), the previous dream, warped into the current frame.
        mask: (B,1,H,W) in 0..1, reliability of the residual: 1 = trust.
        warped_frame: (B,3,H,W), the previous frame, warped in the same way.
        blend: share of the residual that is given up, 0..1: 0 keeps all of it, 1 keeps the frame alone.

    Returns:
        (B,3,H,W) in 0..1; exactly the frame where the residual is 0, and everywhere if `blend` is 1.

    Raises:
        ImageError: the shapes do not fit, or the mask leaves 0..1.
        SettingsError: blend is outside of 0..1.
    """
    require_valid(TemporalSettings, blend=blend)
    _check(frame, warped, mask)
    require_image(warped_frame, name="warped_frame", like=frame, values=False)
    residual = (warped - warped_frame).to(frame.dtype)
    return (frame + ((1 - blend) * mask).to(frame.dtype) * residual).clamp(0, 1)


def blend_frames(frame: Tensor, warped: Tensor, mask: Tensor, *, blend: float) -> Tensor:
    """Mix the frame with the previous dream: the image that the next dream starts from.

    ``guided = mask * warped + (1 - mask) * frame``, then ``blend * frame + (1 - blend) * guided``.

    Args:
        frame: (B,3,H,W), the current frame in 0..1.
        warped: (B,3,H,W), the previous dream, warped into the current frame.
        mask: (B,1,H,W) in 0..1, reliability of the warped dream: 1 = trust.
        blend: share of the frame, 0..1: 0 keeps the carried dream, 1 keeps the frame.

    Returns:
        (B,3,H,W), between the frame and the warped dream at every pixel; exactly the frame where the two are
        equal, and everywhere if `blend` is 1.

    Raises:
        ImageError: the shapes do not fit, or the mask leaves 0..1.
        SettingsError: blend is outside of 0..1.
    """
    require_valid(TemporalSettings, blend=blend)
    _check(frame, warped, mask)
    # The same formula, arranged so that equal images are not changed by rounding.
    return torch.lerp(frame, warped.to(frame.dtype), ((1 - blend) * mask).to(frame.dtype))


RENEWAL_POWER = 2.5
"""At 2 it is the energy of the dream that is renewed. A little more, because the old pattern is also blurred."""

SMOOTHING = 3
"""Side in pixels of the square over which the share to renew is averaged, twice. Single pixels would be specks."""


def share_to_renew(mask: Tensor, residual: Tensor, *, blend: float) -> Tensor:
    """Compute the share of a first frame's steps that makes up for what is lost of the carried dream.

    ``1 - ((1 - blend) * mask)^2.5``, smoothed. It is about the energy that is lost, because steps where a dream
    was lost begin another pattern, and of two unrelated patterns the energies add up. If there is no dream at all,
    as in the first frame of a loop, all steps are due.

    Args:
        mask: (B,1,H,W) in 0..1, reliability of the carried dream: 1 = trust.
        residual: (B,3,H,W), the carried dream less its frame.
        blend: share of the residual that is given up everywhere, 0..1.

    Returns:
        (B,1,H,W) in 0..1: 1 where a new dream begins.
    """
    share = 1 - ((1 - blend) * mask).pow(RENEWAL_POWER)
    share = box_mean(box_mean(share, SMOOTHING), SMOOTHING).clamp(0, 1)
    dreamed = (residual != 0).flatten(1).any(dim=1).view(-1, 1, 1, 1)
    return torch.where(dreamed, share, torch.ones_like(share))


def _check(frame: Tensor, warped: Tensor, mask: Tensor) -> None:
    require_image(frame, name="frame", values=False)
    require_image(warped, name="warped", like=frame, values=False)
    require_mask(mask, like=frame, values=False)
