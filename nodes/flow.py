"""Optical Flow: the motion between frames."""

from __future__ import annotations

import math
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.motion.flow import FlowEstimator
from ..dream_core.motion.flow_image import flow_image
from .adapters import categories, host
from .adapters.estimators import estimator_for, flow_settings, flow_widgets
from .adapters.pairs import FRAMES, PREVIOUS, FramePairs
from .adapters.sockets import Flow, FlowModelSocket, FlowSocket
from .adapters.working import working


class OpticalFlow(io.ComfyNode):
    """Estimates the motion from frame to frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamOpticalFlow",
            display_name="Optical Flow",
            category=categories.MOTION,
            description="Estimates the motion between frames: where every pixel was in the frame before.",
            search_aliases=["raft", "dis", "motion", "motion vectors", "optical flow", "estimate flow"],
            inputs=[
                FlowModelSocket.Input("flow_model", tooltip="From Load Flow Model, or ComfyUI's own loader."),
                io.Image.Input("frames", tooltip=FRAMES),
                io.Image.Input("previous", optional=True, tooltip=PREVIOUS),
                *flow_widgets(),
                io.Boolean.Input(
                    "both_ways",
                    default=True,
                    tooltip="Also estimate the flow from the frame before to the frame. Reliability Mask needs it "
                    "for check_consistency. Off is faster.",
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
        with working():
            pairs = FramePairs(frames, previous)
            estimator = estimator_for(flow_model, flow_settings(values))
            return io.NodeOutput(estimate(estimator, pairs, both=both_ways))


def estimate(estimator: FlowEstimator, pairs: FramePairs, *, both: bool) -> Flow:
    """Estimate the flow of all pairs, part by part; pair by pair, then at a smaller scale, after memory ran out.

    Args:
        estimator: loads its network again if it was evicted.
        pairs: frames of a clip, or each with its previous frame.
        both: also estimate forward flow.

    Raises:
        OutOfMemoryError: there is too little memory for a single pair at the smallest scale.
    """
    size = pairs.frames.shape[-2:]
    directions = [torch.empty(len(pairs), 2, *size) for _ in range(1 + both)]
    progress = host.Progress(len(pairs))
    step = estimator.pairs_at_once((size[0], size[1]), both=both)
    done, freed = 0, False
    while done < len(pairs):
        stop = min(done + step, len(pairs))
        flows = _try(estimator, *pairs.part(done, stop), both=both)
        if isinstance(flows, str):
            host.free_memory()
            if freed:
                estimator = estimator.in_less_memory((size[0], size[1]), both=both, problem=flows)
            elif step > 1:
                host.tell("memory ran out: going on with one pair of frames at a time")
            step, freed = 1, True
            continue
        for direction, flow in zip(directions, flows, strict=True):
            direction[done:stop] = flow
        done = stop
        progress.update(done, len(pairs), _preview(directions[0][done - 1 : done]))
    return Flow(*directions)


def _try(
    estimator: FlowEstimator, frames: Tensor, previous: Tensor, *, both: bool
) -> tuple[Tensor, ...] | str:
    """Return the flows, or what an error said if memory ran out: its traceback would keep the memory in use."""
    frames, previous = frames.contiguous(), previous.contiguous()
    try:
        return estimator.both_ways(frames, previous) if both else (estimator.flow(frames, previous),)
    except Exception as error:
        if not host.is_out_of_memory(error):
            raise
        return str(error).partition("\n")[0]


def _preview(flow: Tensor) -> Tensor:
    every = math.ceil(max(flow.shape[-2:]) / host.PREVIEW_SIDE)
    return flow_image(flow[..., ::every, ::every])
