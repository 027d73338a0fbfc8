"""Between ComfyUI's LATENT and the core: {"samples": (B,C,h,w) or one video (1,C,T,h,w), ...} and (B,C,h,w)."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from ...dream_core.errors import ImageError

Latent: TypeAlias = dict[str, Any]


def from_latent(latent: Latent) -> tuple[Tensor, Tensor | None]:
    """The entries of a LATENT, and its noise mask.

    Args:
        latent: "samples" (B,C,h,w), or (1,C,T,h,w) whose T latent frames become the entries, and perhaps a
            "noise_mask": (B,H,W), (B,1,H,W) or, of a video, (1,1,T,H,W), at any resolution.

    Returns:
        Samples (B,C,h,w) and None or a mask (B,1,H,W) or (1,1,H,W), in their own types.

    Raises:
        ImageError: they have another shape, are empty, or hold NaN or infinite values.
    """
    samples = _entries(latent.get("samples"), "samples of the latent")
    mask: Tensor | None = latent.get("noise_mask")
    if mask is None:
        return samples, None
    mask = mask.unsqueeze(1) if mask.ndim == 3 else mask
    return samples, _entries(mask, "noise_mask of the latent")


def to_latent(latent: Latent, samples: Tensor, noise_mask: Tensor | None) -> Latent:
    """A LATENT with other entries; what else it holds is kept.

    Args:
        latent: where the entries came from.
        samples: (B,C,h,w); one for each entry, or several for the only one.
        noise_mask: (B,1,H,W) or (1,1,H,W).
    """
    changed = {**latent, "samples": _like(latent["samples"], samples)}
    if noise_mask is not None:
        changed["noise_mask"] = _like(latent["noise_mask"], noise_mask)
    if "batch_index" in latent and len(latent["batch_index"]) == 1:
        changed["batch_index"] = list(latent["batch_index"]) * len(changed["samples"])
    return changed


def _entries(tensor: Any, name: str) -> Tensor:
    if not isinstance(tensor, Tensor) or not (tensor.ndim == 4 or (tensor.ndim == 5 and len(tensor) == 1)):
        came = tuple(getattr(tensor, "shape", ())) or type(tensor).__name__
        raise ImageError(
            f"expected {name} as (batch, channels, height, width), or of one video as (1, channels, frames, "
            f"height, width), got {came}"
        )
    if 0 in tensor.shape:
        raise ImageError(f"{name} are empty, {tuple(tensor.shape)}: connect at least one")
    if not torch.isfinite(tensor).all():
        raise ImageError(f"{name} hold NaN or infinite values: check the node that made them")
    return tensor[0].movedim(1, 0) if tensor.ndim == 5 else tensor  # CTHW -> TCHW


def _like(before: Tensor, entries: Tensor) -> Tensor:
    """Entries in the layout of a tensor they came from."""
    if before.ndim == 5:
        return entries.movedim(0, 1)[None].contiguous()  # TCHW -> 1CTHW
    return (entries[:, 0] if before.ndim == 3 else entries).contiguous()
