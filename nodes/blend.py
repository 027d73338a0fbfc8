"""Temporal Blend: the image that the next dream starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.image import require_shares
from ..dream_core.settings import TemporalSettings
from ..dream_core.temporal.blend import add_residual, blend_frames, share_to_renew
from .adapters import categories
from .adapters.batches import check_same_size, entry_at, map_entries, match
from .adapters.images import alpha_of, from_image, from_mask, to_image, to_mask
from .adapters.widgets import settings_from, widgets
from .adapters.working import working


class TemporalBlend(io.ComfyNode):
    """Puts the carried dream onto the new frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamTemporalBlend",
            display_name="Temporal Blend",
            category=categories.LOOP,
            description=(
                "Adds to the new frame what was dreamed before: the warped dream minus the warped frame before. "
                "Without warped_frame it mixes the warped dream with the new frame, which blurs the frame. Where "
                "reliability is 0, the new frame stays as it is."
            ),
            search_aliases=["feedback", "mix frames", "carry dream", "blend", "temporal consistency"],
            inputs=[
                io.Image.Input("frame", tooltip="The new frame. Its transparency is kept."),
                io.Image.Input(
                    "warped", tooltip="The dream of the frame before, from Flow Warp, in the frame's size."
                ),
                io.Mask.Input(
                    "reliability", tooltip="From Reliability Mask: 1 where the warped dream can be trusted."
                ),
                *widgets(TemporalSettings, only=("blend",)),
                io.Image.Input(
                    "warped_frame",
                    optional=True,
                    tooltip="The frame before, from a second Flow Warp with the same flow. What was dreamed is the "
                    "warped dream minus this. Not connected: the warped dream is mixed with the new frame.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "image", display_name="image", tooltip="The image to dream on, for DeepDream."
                ),
                io.Mask.Output(
                    "renewal",
                    display_name="renewal",
                    tooltip="Where the dream is to be made anew, for DeepDream: 1 where none could be carried.",
                ),
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
        with working():
            blend = settings_from(TemporalSettings, values, only=("blend",)).blend
            batches = {
                "frame": from_image(frame, name="frame"),
                "warped": from_image(warped, name="warped"),
                "reliability": from_mask(reliability, name="reliability"),
            }
            require_shares(batches["reliability"])  # here, on the CPU, it makes no GPU wait
            join: Callable[..., Tensor] = blend_frames
            if warped_frame is not None:
                batches["warped_frame"] = from_image(warped_frame, name="warped_frame")
                join = add_residual
            check_same_size(**batches)
            count, matched = match(**batches)

            def blended(index: int) -> Tensor:
                return join(*(entry_at(batch, index) for batch in matched), blend=blend).clamp(0, 1)

            def renewal(index: int) -> Tensor:
                image, moved, mask, *before = (entry_at(batch, index) for batch in matched)
                return share_to_renew(mask, moved - (before[0] if before else image), blend=blend)

            alpha = alpha_of(frame)
            return io.NodeOutput(
                to_image(
                    map_entries(blended, count),
                    alpha=None if alpha is None else alpha.expand(count, -1, -1, -1),
                ),
                to_mask(map_entries(renewal, count)),
            )
