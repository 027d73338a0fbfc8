"""Temporal Blend: what the next dream starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.settings import TemporalSettings
from ..dream_core.temporal.blend import add_residual, blend_frames
from .adapters import host
from .adapters.batches import check_same_size, compute, match
from .adapters.images import alpha_of, from_image, from_mask, to_image
from .adapters.widgets import all_but, settings_from, widgets

NO_WIDGET = all_but(TemporalSettings, "blend")


class TemporalBlend(io.ComfyNode):
    """The new frame with the carried dream."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamTemporalBlend",
            display_name="Temporal Blend",
            category="DeepDream",
            description=(
                "Adds to the new frame what was dreamed before: the warped dream less the warped frame before. "
                "Without warped_frame it mixes the warped dream with the new frame, which blurs the frame. What is "
                "not trusted is the frame's alone, and blend says how much of the rest."
            ),
            search_aliases=["feedback", "mix frames", "carry dream", "blend", "temporal consistency"],
            inputs=[
                io.Image.Input("frame", tooltip="The new frame. Its transparency is kept."),
                io.Image.Input(
                    "warped", tooltip="The dream of the frame before, from Flow Warp, in the frame's size."
                ),
                io.Mask.Input(
                    "reliability", tooltip="From Reliability Mask: 1 where the warped dream is to be trusted."
                ),
                *widgets(TemporalSettings, leave_out=NO_WIDGET),
                io.Image.Input(
                    "warped_frame",
                    optional=True,
                    tooltip="The frame before, from a second Flow Warp with the same flow: what was dreamed is the "
                    "warped dream less this. Without it, images are mixed.",
                ),
            ],
            outputs=[
                io.Image.Output("image", display_name="image", tooltip="What to dream on, for DeepDream.")
            ],
        )

    @classmethod
    def execute(
        cls,
        frame: Tensor,
        warped: Tensor,
        reliability: Tensor,
        warped_frame: Tensor | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        """Add, or mix."""
        with host.working():
            settings = settings_from(TemporalSettings, values, leave_out=NO_WIDGET)
            batches = {
                "frame": from_image(frame, name="frame"),
                "warped": from_image(warped, name="warped"),
                "reliability": from_mask(reliability, name="reliability"),
            }
            join: Callable[..., Tensor] = blend_frames
            if warped_frame is not None:
                batches["warped_frame"] = from_image(warped_frame, name="warped_frame")
                join = add_residual
            check_same_size(**batches)
            count, entries = match(**batches)
            progress = host.Progress(count)
            mixed = torch.empty((count, 3, *entries[0].shape[-2:]), memory_format=torch.channels_last)
            for index in range(count):
                parts = (compute(entry[index : index + 1]) for entry in entries)
                mixed[index] = join(*parts, blend=settings.blend).clamp(0, 1)[0]
                progress.update(index + 1, count)
            alpha = alpha_of(frame)
            return io.NodeOutput(
                to_image(mixed, alpha=None if alpha is None else alpha.expand(count, -1, -1, -1))
            )
