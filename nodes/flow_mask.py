"""Flow Mask: where something moves, by speed and direction."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..dream_core.motion.flow_mask import flow_mask
from ..dream_core.settings import FlowMaskSettings
from .adapters import categories
from .adapters.batches import entry_at, map_entries
from .adapters.images import to_mask
from .adapters.sockets import Flow, FlowSocket, require_flow_socket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working


class FlowMask(io.ComfyNode):
    """Makes masks of what moves."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamFlowMask",
            display_name="Flow Mask",
            category=categories.MOTION,
            description=(
                "Makes a mask of what moves, by its speed and its direction: for the mask of DeepDream Video, or "
                "any other node."
            ),
            search_aliases=["motion mask", "moving object", "speed mask", "flow to mask", "movement"],
            inputs=[
                FlowSocket.Input("flow", tooltip="From Optical Flow, of the frames that the mask is for."),
                *widgets(FlowMaskSettings),
            ],
            outputs=[
                io.Mask.Output(
                    "mask",
                    display_name="mask",
                    tooltip="One mask for each flow: white where it moves as asked. That of a clip's first frame "
                    "is black, because nothing has moved yet.",
                )
            ],
        )

    @classmethod
    def execute(cls, flow: Flow, **values: Any) -> io.NodeOutput:
        with working():
            settings = settings_from(FlowMaskSettings, values)
            backward = require_flow_socket(flow).backward
            masks = map_entries(lambda index: flow_mask(entry_at(backward, index), settings), len(backward))
            return io.NodeOutput(to_mask(masks))
