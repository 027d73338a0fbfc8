"""Camera Flow: the flow of a camera that zooms, turns and pans."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.motion.camera import camera_flow
from ..dream_core.settings import CameraSettings
from .adapters.images import from_image
from .adapters.sockets import Flow, FlowSocket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working


class CameraFlow(io.ComfyNode):
    """Computes the flow of a camera."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamCameraFlow",
            display_name="Camera Flow",
            category="DeepDream",
            description=(
                "The flow of a camera that zooms, turns and pans by the same amount from frame to frame. With Flow "
                "Warp, in a Temporal Loop, it flies into a still image."
            ),
            search_aliases=["zoom", "rotate", "pan", "camera motion", "infinite zoom", "deforum", "feedback"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Only its size and the number of images matter.",
                ),
                *widgets(CameraSettings),
            ],
            outputs=[
                FlowSocket.Output(
                    "flow",
                    display_name="flow",
                    tooltip="The same flow for each image, exact in both directions. For Flow Warp; set its edges "
                    "to mirror if the camera pans or moves out.",
                )
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, **values: Any) -> io.NodeOutput:
        with working():
            count, _, height, width = from_image(image).shape
            backward, forward = camera_flow((height, width), settings_from(CameraSettings, values))
            shape = (count, 2, height, width)
            return io.NodeOutput(Flow(backward.expand(shape), forward.expand(shape)))
