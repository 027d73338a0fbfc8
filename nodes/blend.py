"""Temporal Blend: what the next dream starts from."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.blend import blend_frames
from ..dream_core.settings import TemporalSettings
from . import host
from .batches import check_same_size, compute, match
from .pictures import alpha_of, from_image, from_mask, to_image
from .widgets import settings_from, widgets

NO_WIDGET = ("independent", "warp")


class TemporalBlend(io.ComfyNode):
    """The carried dream, mixed with the new frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamTemporalBlend",
            display_name="Temporal Blend",
            category="DeepDream",
            description=(
                "Mixes the warped dream with the new frame: what is not trusted is taken from the frame, and blend "
                "says how much of the rest."
            ),
            search_aliases=["feedback", "mix frames", "carry dream", "blend", "temporal consistency"],
            inputs=[
                io.Image.Input("frame", tooltip="The new frame. Its transparency is kept."),
                io.Image.Input(
                    "warped", tooltip="The dream of the frame before, from Flow Warp, in the frame's size."
                ),
                io.Mask.Input(
                    "mask", tooltip="From Occlusion Mask: 1 where the warped dream is to be trusted."
                ),
                *widgets(TemporalSettings, leave_out=NO_WIDGET),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="What to dream on, for DeepDream.")
            ],
        )

    @classmethod
    def execute(cls, frame: Tensor, warped: Tensor, mask: Tensor, **values: Any) -> io.NodeOutput:
        """Mix."""
        with host.working():
            settings = settings_from(TemporalSettings, values, leave_out=NO_WIDGET)
            batches = {
                "frame": from_image(frame, name="frame"),
                "warped": from_image(warped, name="warped"),
                "mask": from_mask(mask),
            }
            check_same_size(**batches)
            count, entries = match(**batches)
            progress = host.Progress(count)
            mixed = torch.empty((count, 3, *entries[0].shape[-2:]), memory_format=torch.channels_last)
            for index in range(count):
                parts = (compute(entry[index : index + 1]) for entry in entries)
                mixed[index] = blend_frames(*parts, blend=settings.blend).clamp(0, 1)[0]
                progress.update(index + 1, count)
            alpha = alpha_of(frame)
            return io.NodeOutput(
                to_image(mixed, alpha=None if alpha is None else alpha.expand(count, -1, -1, -1))
            )
