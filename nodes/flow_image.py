"""Flow Image: flow to look at."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.motion.flow_image import draw_arrows, flow_image
from ..dream_core.motion.warp import resize_flow
from ..dream_core.settings import FlowImageSettings
from .adapters import host
from .adapters.batches import compute, match
from .adapters.images import from_image, to_image
from .adapters.sockets import Flow, FlowSocket, require_flow_socket
from .adapters.widgets import settings_from, widgets


class FlowImage(io.ComfyNode):
    """Flow as colors and arrows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamFlowPicture",
            display_name="Flow Image",
            category="DeepDream",
            description=(
                "Shows the way from a frame back to the one before: hue is its direction, saturation its length, "
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
        """Draw."""
        with host.working():
            settings = settings_from(FlowImageSettings, values)
            flow = require_flow_socket(flow)
            if frames is None:
                count, (flows,) = match(flow=flow.backward)
                canvases, size = None, flows.shape[-2:]
            else:
                count, (flows, canvases) = match(flow=flow.backward, frames=from_image(frames, name="frames"))
                size = canvases.shape[-2:]
            progress = host.Progress(count)
            images = torch.empty((count, 3, *size), memory_format=torch.channels_last)
            for index in range(count):
                one = compute(flows[index : index + 1])
                if canvases is None:
                    image = flow_image(one, saturation_length=settings.saturation_length)
                else:
                    image = compute(canvases[index : index + 1])
                    one = resize_flow(one, (size[0], size[1]))
                if canvases is not None or settings.arrow_spacing:
                    image = draw_arrows(
                        image,
                        one,
                        spacing=settings.arrow_spacing,
                        saturation_length=settings.saturation_length,
                    )
                images[index] = image[0]
                progress.update(index + 1, count)
            return io.NodeOutput(to_image(images))
