"""Reliability Mask: the pixels of a warped image that can be trusted."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.errors import ImageError
from ..dream_core.motion.occlusion import reliability_mask
from ..dream_core.settings import ReliabilitySettings
from .adapters import categories
from .adapters.batches import check_same_size, compute, entry_at, map_entries
from .adapters.images import to_mask
from .adapters.pairs import FRAMES, PREVIOUS, FramePairs
from .adapters.sockets import Flow, FlowSocket, require_flow_socket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working


class ReliabilityMask(io.ComfyNode):
    """Finds where the flow can be trusted."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamOcclusionMask",
            display_name="Reliability Mask",
            category=categories.MOTION,
            description=(
                "Finds the parts of a frame that the frame before shows too, so that they can be warped from "
                "there. 1 = trusted, 0 = it was hidden, came into view or cannot be followed."
            ),
            search_aliases=[
                "occlusion mask",
                "occlusion",
                "disocclusion",
                "consistency check",
                "reliable mask",
                "flow mask",
            ],
            inputs=[
                FlowSocket.Input(
                    "flow",
                    tooltip="From Optical Flow, of the same frames. check_consistency needs its both_ways on.",
                ),
                io.Image.Input("frames", tooltip=FRAMES),
                io.Image.Input("previous", optional=True, tooltip=PREVIOUS),
                *widgets(ReliabilitySettings),
            ],
            outputs=[
                io.Mask.Output(
                    "reliability",
                    display_name="reliability",
                    tooltip="One mask for each frame: 1 = trust, 0 = distrust. ComfyUI's inpainting repaints where "
                    "a mask is 1: put Invert Mask in between.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, flow: Flow, frames: Tensor, previous: Tensor | None = None, **values: Any
    ) -> io.NodeOutput:
        with working():
            settings = settings_from(ReliabilitySettings, values)
            flow = require_flow_socket(flow)
            pairs = FramePairs(frames, previous)
            check_same_size(frames=pairs.frames, flow=flow.backward)
            if len(flow.backward) != len(pairs):
                raise ImageError(
                    f"expected one flow for each of the {len(pairs)} frames, got {len(flow.backward)}: connect the "
                    "same frames to Optical Flow"
                )
            return io.NodeOutput(to_mask(_reliability(flow, pairs, settings)))


def _reliability(flow: Flow, pairs: FramePairs, settings: ReliabilitySettings) -> Tensor:
    """(B,1,H,W)."""

    def mask(index: int) -> Tensor:
        frame, previous = (compute(image) for image in pairs.part(index, index + 1))
        return reliability_mask(
            entry_at(flow.backward, index),
            None if flow.forward is None else entry_at(flow.forward, index),
            frame=frame,
            previous=previous,
            settings=settings,
            known=None if flow.reliability is None else entry_at(flow.reliability, index),
        )

    return map_entries(mask, len(pairs))
