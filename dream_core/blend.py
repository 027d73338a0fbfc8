"""Mixing the carried dream with the new frame."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import PictureError, SettingsError
from .warp import describe


def blend_frames(frame: Tensor, warped: Tensor, mask: Tensor, *, blend: float) -> Tensor:
    """The picture that the next dream starts from.

    ``guided = mask * warped + (1 - mask) * frame``, then ``blend * frame + (1 - blend) * guided``.

    Args:
        frame: (B, 3, H, W), the current frame in 0..1.
        warped: (B, 3, H, W), the previous dream, warped into the current frame.
        mask: (B, 1, H, W) in 0..1, 1 where the warped dream is to be trusted.
        blend: share of the frame, 0..1: 0 keeps the carried dream, 1 keeps the frame.

    Returns:
        (B, 3, H, W). Between the frame and the warped dream at every pixel; exactly the frame where the two are
        equal or its share is 1.

    Raises:
        PictureError: the shapes do not fit, or the mask leaves 0..1.
        SettingsError: blend is outside of 0..1.
    """
    if not 0 <= blend <= 1:
        raise SettingsError(f"expected blend between 0 (the dream) and 1 (the frame), got {blend}")
    _check(frame, warped, mask)
    # The same formula, arranged so that nothing is rounded where there is nothing to mix.
    return torch.lerp(frame, warped.to(frame.dtype), ((1 - blend) * mask).to(frame.dtype))


def _check(frame: Tensor, warped: Tensor, mask: Tensor) -> None:
    if frame.ndim != 4:
        raise PictureError(f"expected frame as (B, 3, H, W), got {describe(frame)}")
    if warped.shape != frame.shape:
        raise PictureError(f"expected warped of shape {tuple(frame.shape)}, got {describe(warped)}")
    expected = (frame.shape[0], 1, *frame.shape[-2:])
    if mask.shape != expected:
        raise PictureError(f"expected mask of shape {expected}, got {describe(mask)}")
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise PictureError("expected mask values between 0 and 1; some lie outside or are not numbers")
