"""Optical Flow: how the image moved."""

from __future__ import annotations

import math
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.device import is_out_of_memory
from ..dream_core.motion.flow import FlowEstimator
from ..dream_core.motion.flow_image import flow_image
from ..dream_core.settings import FlowSettings
from .adapters import host
from .adapters.estimators import estimator_for
from .adapters.pairs import FRAMES, PREVIOUS, FramePairs
from .adapters.sockets import Flow, FlowModelSocket, FlowSocket
from .adapters.widgets import settings_from, widgets

NO_WIDGET = ("flow", "flow_file")
"""Load Flow Model has these."""


class OpticalFlow(io.ComfyNode):
    """How the image moved from one frame to the next."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamOpticalFlow",
            display_name="Optical Flow",
            category="DeepDream",
            description="Estimates where every pixel of a frame was in the frame before, and back.",
            search_aliases=["raft", "dis", "motion", "motion vectors", "optical flow", "estimate flow"],
            inputs=[
                FlowModelSocket.Input("flow_model", tooltip="From Load Flow Model, or ComfyUI's own loader."),
                io.Image.Input("frames", tooltip=FRAMES),
                io.Image.Input("previous", optional=True, tooltip=PREVIOUS),
                *widgets(FlowSettings, leave_out=NO_WIDGET),
                io.Boolean.Input(
                    "both_ways",
                    default=True,
                    tooltip="Estimate also the flow from the frame before to the frame. Reliability Mask needs it "
                    "to check consistency; without it this node is quicker.",
                    advanced=True,
                ),
            ],
            outputs=[
                FlowSocket.Output(
                    "flow",
                    display_name="flow",
                    tooltip="One flow for each frame, from it to the frame before, in pixels. For Flow Warp, "
                    "Reliability Mask and Flow Image.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, flow_model: Any, frames: Tensor, both_ways: bool, previous: Tensor | None = None, **values: Any
    ) -> io.NodeOutput:
        """Estimate."""
        with host.working():
            pairs = FramePairs(frames, previous)
            settings = settings_from(FlowSettings, values, leave_out=NO_WIDGET)
            return io.NodeOutput(_estimate(flow_model, pairs, settings, both=both_ways))


def _estimate(patcher: Any, pairs: FramePairs, settings: FlowSettings, *, both: bool) -> Flow:
    """The flow of all pairs, part by part. Where memory runs out it goes on pair by pair."""
    size = pairs.frames.shape[-2:]
    directions = [torch.empty(len(pairs), 2, *size) for _ in range(1 + both)]
    progress = host.Progress(len(pairs))
    estimator = estimator_for(patcher, settings)
    step = estimator.pairs_at_once((size[0], size[1]), both=both)
    done = 0
    while done < len(pairs):
        stop = min(done + step, len(pairs))
        flows = _try(estimator, *pairs.part(done, stop), both=both)
        if flows is None:
            _free(step)
            estimator, step = estimator_for(patcher, settings), 1
            continue
        for direction, flow in zip(directions, flows, strict=True):
            direction[done:stop] = flow
        done = stop
        progress.update(done, len(pairs), _preview(directions[0][done - 1 : done]))
    return Flow(*directions)


def _try(
    estimator: FlowEstimator, frames: Tensor, previous: Tensor, *, both: bool
) -> tuple[Tensor, ...] | None:
    """Flows, or None where memory ran out; returned, not raised, so that no traceback keeps what is to be freed."""
    frames, previous = frames.contiguous(), previous.contiguous()
    try:
        return estimator.both_ways(frames, previous) if both else (estimator.flow(frames, previous),)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return None


def _free(pairs_at_once: int) -> None:
    if pairs_at_once == 1:
        raise host.out_of_memory(
            "memory ran out while estimating the flow of a single pair of frames: lower flow_scale, or make the "
            "frames smaller"
        )
    host.free_memory()
    host.tell("memory ran out: going on with one pair of frames at a time")


def _preview(flow: Tensor) -> Tensor:
    every = math.ceil(max(flow.shape[-2:]) / host.PREVIEW_SIDE)
    return flow_image(flow[..., ::every, ::every])
