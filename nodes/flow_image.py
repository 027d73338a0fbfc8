"""Flow Image: flow drawn as colors and arrows."""

from __future__ import annotations

from functools import partial
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.image import size_of
from ..dream_core.motion.flow_image import draw_arrows, flow_image
from ..dream_core.motion.warp import resize_flow
from ..dream_core.settings import FlowImageSettings
from .adapters import categories
from .adapters.batches import entry_at, map_entries, match
from .adapters.images import from_image, to_image
from .adapters.sockets import Flow, FlowSocket, require_flow_socket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working


class FlowImage(io.ComfyNode):
    """Draws flow as colors and arrows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamFlowPicture",
            display_name="Flow Image",
            category=categories.MOTION,
            description=(
                "Draws the flow from each frame to the one before: hue is its direction, saturation its length, "
                "and arrows point along it."
            ),
            search_aliases=["visualize flow", "flow to image", "color wheel", "arrows", "motion vectors"],
            inputs=[
                FlowSocket.Input("flow", tooltip="From Optical Flow."),
                io.Image.Input(
                    "frames",
                    optional=True,
                    tooltip="Draw the arrows on these frames instead of on the colors. The flow is scaled to "
                    "their size.",
                ),
                *widgets(FlowImageSettings),
            ],
            outputs=[io.Image.Output("image", display_name="image", tooltip="One image for each flow.")],
        )

    @classmethod
    def execute(cls, flow: Flow, frames: Tensor | None = None, **values: Any) -> io.NodeOutput:
        with working():
            settings = settings_from(FlowImageSettings, values)
            flow = require_flow_socket(flow)
            if frames is None:
                count, (flows,) = match(flow=flow.backward)
                return io.NodeOutput(to_image(map_entries(partial(_colors, flows, settings), count)))
            count, (flows, images) = match(flow=flow.backward, frames=from_image(frames, name="frames"))
            return io.NodeOutput(to_image(map_entries(partial(_arrows, flows, settings, images), count)))


def _colors(flows: Tensor, settings: FlowImageSettings, index: int) -> Tensor:
    flow = entry_at(flows, index)
    colors = flow_image(flow, saturation_length=settings.saturation_length)
    return _with_arrows(colors, flow, settings) if settings.arrow_spacing else colors


def _arrows(flows: Tensor, settings: FlowImageSettings, images: Tensor, index: int) -> Tensor:
    image = entry_at(images, index)
    return _with_arrows(image, resize_flow(entry_at(flows, index), size_of(image)), settings)


def _with_arrows(image: Tensor, flow: Tensor, settings: FlowImageSettings) -> Tensor:
    return draw_arrows(
        image, flow, spacing=settings.arrow_spacing, saturation_length=settings.saturation_length
    )
