"""Reliability Mask: what of a warped image is to be trusted."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.errors import ImageError
from ..dream_core.motion.occlusion import reliability_mask
from ..dream_core.settings import ReliabilitySettings
from .adapters import host
from .adapters.batches import check_same_size, compute
from .adapters.images import to_mask
from .adapters.pairs import FRAMES, PREVIOUS, FramePairs
from .adapters.sockets import Flow, FlowSocket, require_flow_socket
from .adapters.widgets import settings_from, widgets


class ReliabilityMask(io.ComfyNode):
    """Where the flow can be trusted."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamOcclusionMask",
            display_name="Reliability Mask",
            category="DeepDream",
            description=(
                "Finds what was seen in the frame before, too, and so can be warped from there: 1 is to be "
                "trusted; 0 was hidden, came into the frame or cannot be followed."
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
                    tooltip="From Optical Flow, of the same frames. Its both_ways must be on to check consistency.",
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
        """Check."""
        with host.working():
            settings = settings_from(ReliabilitySettings, values)
            flow = require_flow_socket(flow)
            pairs = FramePairs(frames, previous)
            check_same_size(frames=pairs.frames, flow=flow.backward)
            if len(flow.backward) != len(pairs):
                raise ImageError(
                    f"expected one flow for each of the {len(pairs)} frames, got {len(flow.backward)}: connect the "
                    "same frames to Optical Flow"
                )
            return io.NodeOutput(to_mask(_masks(flow, pairs, settings)))


def _masks(flow: Flow, pairs: FramePairs, settings: ReliabilitySettings) -> Tensor:
    progress = host.Progress(len(pairs))
    masks = torch.empty(len(pairs), 1, *pairs.frames.shape[-2:])
    for index in range(len(pairs)):
        entry = slice(index, index + 1)
        frame, before = (compute(image) for image in pairs.part(index, index + 1))
        masks[entry] = reliability_mask(
            compute(flow.backward[entry]),
            None if flow.forward is None else compute(flow.forward[entry]),
            frame=frame,
            previous=before,
            settings=settings,
        )
        progress.update(index + 1, len(pairs))
    return masks
