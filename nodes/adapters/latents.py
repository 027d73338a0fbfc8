"""ComfyUI's LATENT: {"samples": (B,C,h,w) or (B,C,T,h,w), optionally "noise_mask", "batch_index" and more}."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ...dream_core.errors import ImageError

Latent: TypeAlias = dict[str, Any]

SAMPLES = "samples"
NOISE_MASK = "noise_mask"
"""Key of the noise mask, which has any number of rows."""
BATCH_INDEX = "batch_index"
"""Key of the samples' indices in the batch that they were taken from."""


def from_latent(latent: Latent) -> tuple[Tensor, Tensor | None]:
    """Return the entries of a LATENT, and its noise mask.

    Args:
        latent: "samples" (B,C,h,w), or (1,C,T,h,w) whose T latent frames become the entries, and optionally
            a "noise_mask": (R,H,W), (R,1,H,W) or, of a video, (1,1,R,H,W), at any resolution.

    Returns:
        Samples (B,C,h,w) and None or a mask (B,1,H,W) or (1,1,H,W), in their own types. Masks are fitted to the
        samples as ComfyUI's samplers do it.

    Raises:
        ImageError: they have another shape, are empty, or hold NaN or infinite values.
    """
    samples = _entries(latent.get(SAMPLES), "samples of the latent")
    if latent.get(NOISE_MASK) is None:
        return samples, None
    rows = _mask_rows(latent)
    if len(rows) not in (1, len(samples)):
        rows = rows[torch.arange(len(samples)) % len(rows)]
    return samples, _entries(rows, "noise_mask of the latent")


def to_latent(latent: Latent, samples: Tensor, noise_mask: Tensor | None) -> Latent:
    """Replace the entries of a LATENT and keep the rest.

    Args:
        latent: source of the entries.
        samples: (B,C,h,w); one for each entry, or several for the only one.
        noise_mask: (B,1,H,W) or (1,1,H,W).
    """
    changed = {**latent, SAMPLES: _like(latent[SAMPLES], samples)}
    if noise_mask is not None:
        changed[NOISE_MASK] = _like(latent[NOISE_MASK], noise_mask)
    if BATCH_INDEX in latent and len(latent[BATCH_INDEX]) == 1:
        changed[BATCH_INDEX] = list(latent[BATCH_INDEX]) * len(changed[SAMPLES])
    return changed


def is_video(latent: Latent) -> bool:
    """Return True for the latent of one video, (1,C,T,h,w), whose T latent frames are its entries."""
    samples: Tensor = latent[SAMPLES]
    return samples.ndim == 5 and len(samples) == 1


def entry_count(latent: Latent) -> int:
    """Count the samples of a batch, or the latent frames of one video."""
    return int(latent[SAMPLES].shape[2 if is_video(latent) else 0])


def sample_at(latent: Latent, index: int) -> Latent:
    """Copy one entry as a batch of one; a view would keep the whole batch in memory.

    Its noise mask is the one that ComfyUI would use for it: too few masks are repeated, too many cut.
    """
    samples = latent[SAMPLES]
    picked = {name: value for name, value in latent.items() if name != BATCH_INDEX}
    picked[SAMPLES] = (
        samples[:, :, index : index + 1] if is_video(latent) else samples[index : index + 1]
    ).clone()
    if latent.get(NOISE_MASK) is not None:
        picked[NOISE_MASK] = noise_mask_at(latent, index).clone()
    return picked


def noise_mask_at(latent: Latent, index: int) -> Tensor:
    """Return the noise mask of one entry, as ComfyUI's samplers fit masks to samples.

    Args:
        latent: with a noise mask.
        index: of the entry.

    Returns:
        (1,1,H,W); for one of several videos (1,1,T,H,W).

    Raises:
        ImageError: the noise mask is no mask.
    """
    rows = _mask_rows(latent)
    index %= len(rows)
    return rows[index : index + 1]


def _mask_rows(latent: Latent) -> Tensor:
    """Return the noise masks as (R,1,H,W), for a video R = T or 1; those of several videos as (R,1,T,H,W)."""
    mask = latent[NOISE_MASK]
    if not isinstance(mask, Tensor) or mask.ndim < 2 or 0 in mask.shape:
        came = tuple(getattr(mask, "shape", ())) or type(mask).__name__
        raise ImageError(f"expected noise_mask of the latent as (batch, height, width), got {came}")
    size, count = mask.shape[-2:], entry_count(latent)
    if latent[SAMPLES].ndim == 5 and not is_video(latent):
        rows = mask if mask.ndim == 5 else mask.reshape(1, 1, -1, *size)
    else:
        rows = mask.reshape(-1, 1, *size)
    if is_video(latent) and len(rows) not in (1, count):
        stretched = interpolate(rows.movedim(0, 1)[None].float(), size=(count, *size), mode="trilinear")
        rows = stretched[0].movedim(0, 1)  # 1CTHW -> TCHW
    return rows


def rest_of(latent: Latent) -> Latent:
    """Return the items of a LATENT that do not depend on the number of its samples."""
    return {name: value for name, value in latent.items() if name not in (SAMPLES, NOISE_MASK, BATCH_INDEX)}


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
    """Return entries to the layout of the tensor that they came from."""
    if before.ndim == 5:
        return entries.movedim(0, 1)[None].contiguous()  # TCHW -> 1CTHW
    return (entries[:, 0] if before.ndim < 4 else entries).contiguous()
