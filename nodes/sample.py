"""Sample Clip: the clip that comes with the pack."""

from __future__ import annotations

import torch
from comfy_api.latest import InputImpl, io

from ..dream_core.settings import InputSettings
from ..dream_core.video import SAMPLE_CLIP, open_clip
from .adapters import categories
from .adapters.images import to_image
from .adapters.working import working


class SampleClip(io.ComfyNode):
    """Loads the clip that comes with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamSampleClip",
            display_name="Sample Clip",
            category=categories.DREAM,
            description=(
                "A clip to try things with, no file needed: for three seconds a rabbit comes out of its hole and "
                "stretches. From Big Buck Bunny, (c) Blender Foundation, CC BY 3.0."
            ),
            search_aliases=["example video", "demo", "test clip", "rabbit", "big buck bunny", "load video"],
            inputs=[],
            outputs=[
                io.Video.Output(
                    "video",
                    display_name="video",
                    tooltip="The clip with its sound, as Load Video would load it: 640x360 pixels, 25 frames a "
                    "second.",
                ),
                io.Image.Output(
                    "images",
                    display_name="images",
                    tooltip="The 75 frames of the clip. Get Image from Batch takes one of them.",
                ),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        with working(), open_clip(SAMPLE_CLIP, settings=InputSettings(size=0)) as clip:
            images = to_image(torch.stack([frame.image for frame in clip]))
        return io.NodeOutput(InputImpl.VideoFromFile(str(SAMPLE_CLIP)), images)
