"""Camera Flow: the flow of a camera that zooms, turns and pans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.errors import ImageError
from ..dream_core.image import luma
from ..dream_core.motion.camera import CameraView, camera_flow, depth_camera_flow
from ..dream_core.schedules.schedules import Moment, Schedules
from ..dream_core.settings import CAMERA_SCHEDULABLE, CameraScheduleSettings, CameraSettings
from .adapters import categories, host
from .adapters.batches import check_same_size
from .adapters.images import from_image, from_mask, to_mask
from .adapters.schedules import schedules_from, schedules_input
from .adapters.sockets import DepthSocket, Flow, FlowSocket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working

RATE = 25
"""Frames a second of a batch, as in Temporal Loop Open."""


ELSEWHERE = "connect it to the node that has such a widget"
"""Told of a schedule of another setting."""


class CameraFlow(io.ComfyNode):
    """Computes the flow of a camera."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamCameraFlow",
            display_name="Camera Flow",
            category=categories.MOTION,
            description=(
                "The flow of a camera that zooms, turns and pans, always the same or by schedules, over a flat "
                "image "
                "or, with a depth map, through a scene. With Flow Warp, in a Temporal Loop, it flies into a still "
                "image."
            ),
            search_aliases=[
                "zoom",
                "rotate",
                "pan",
                "camera motion",
                "infinite zoom",
                "deforum",
                "feedback",
                "depth",
                "parallax",
                "3d camera",
                "camera schedule",
            ],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Only its size and the number of images matter.",
                ),
                *widgets(CameraSettings),
                *widgets(CameraScheduleSettings),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=10_000_000,
                    step=1,
                    tooltip="Number of the first image in its clip, for the schedules: in a loop, the index of "
                    "Temporal "
                    "Loop Open.",
                    optional=True,
                    advanced=True,
                ),
                schedules_input(over="the widget and its text"),
                DepthSocket.Input(
                    "depth",
                    optional=True,
                    tooltip="Depth map of the image before the camera's step, white is near: from a depth "
                    "estimator, as "
                    "IMAGE or MASK. One for each image; one alone goes on from image to image.",
                ),
                io.Float.Input(
                    "time",
                    optional=True,
                    force_input=True,
                    tooltip="Seconds of the first image in its clip, for schedules in seconds: in a loop, the time "
                    "of Temporal Loop Open. Not connected: 25 images a second.",
                ),
            ],
            outputs=[
                FlowSocket.Output(
                    "flow",
                    display_name="flow",
                    tooltip="The flow of each image. For Flow Warp; set its edges to mirror if the camera pans or "
                    "moves out.",
                ),
                io.Mask.Output(
                    "reliability",
                    display_name="reliability",
                    tooltip="0 where something comes into view that was hidden behind what is nearer or outside "
                    "of the "
                    "image; 1 everywhere without a depth map.",
                ),
                io.Mask.Output(
                    "depth",
                    display_name="depth",
                    tooltip="Depth map after the camera's last step, to carry to the next frame of a loop. White "
                    "without one.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        index: int = 0,
        depth: Tensor | None = None,
        schedules: Mapping[str, Any] | None = None,
        time: float | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        with working():
            images = from_image(image)
            first = index / RATE if time is None else time
            camera = settings_from(CameraSettings, values)
            written = settings_from(CameraScheduleSettings, values).read()
            wired = schedules_from(schedules, CAMERA_SCHEDULABLE, where=ELSEWHERE)
            changing = Schedules({**written.by_name, **wired.by_name})
            changing.check(camera)
            steps = [
                changing.apply(camera, Moment(index + one, first + one / RATE)) for one in range(len(images))
            ]
            if depth is None:
                return _flat(images, steps)
            return _through(images, _depths(depth, images), steps)


def _flat(images: Tensor, steps: list[CameraSettings]) -> io.NodeOutput:
    count, _, height, width = images.shape
    if all(step == steps[0] for step in steps):
        backward, forward = (
            flow.expand(count, -1, -1, -1) for flow in camera_flow((height, width), steps[0])
        )
    else:
        pairs = [camera_flow((height, width), step) for step in steps]
        backward, forward = (torch.cat(flows) for flows in zip(*pairs, strict=True))
    white = torch.ones(1, height, width)
    return io.NodeOutput(Flow(backward, forward), white.expand(count, -1, -1), white)


def _through(images: Tensor, depths: Tensor, steps: list[CameraSettings]) -> io.NodeOutput:
    """Fly through a scene; a single depth map moves along with the camera."""
    progress = host.Progress(len(steps))
    views: list[CameraView] = []
    for number, step in enumerate(steps):
        before = depths[number : number + 1] if len(depths) > 1 or not views else views[-1].depth
        views.append(depth_camera_flow(before, step))
        progress.update(number + 1, len(steps), views[-1].depth.expand(-1, 3, -1, -1))
    flow = Flow(torch.cat([view.backward for view in views]), torch.cat([view.forward for view in views]))
    return io.NodeOutput(
        flow, to_mask(torch.cat([view.reliability for view in views])), to_mask(views[-1].depth)
    )


def _depths(depth: Tensor, images: Tensor) -> Tensor:
    """Read depth maps (1,1,H,W) or (B,1,H,W) from an IMAGE or a MASK."""
    if isinstance(depth, Tensor) and depth.ndim == 4:
        depths = luma(from_image(depth, name="depth"))
    else:
        depths = from_mask(depth, name="depth")
    check_same_size(image=images, depth=depths)
    if len(depths) not in (1, len(images)):
        raise ImageError(
            f"expected depth as one map, or one for each of {len(images)} images, got {len(depths)}: connect "
            f"that of "
            "the same images"
        )
    return depths
