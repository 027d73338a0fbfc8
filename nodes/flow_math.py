"""Flow Math: scale, compose, invert and smooth flow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.errors import ImageError
from ..dream_core.motion.flow_math import compose, invert, smooth
from ..dream_core.motion.warp import warp
from ..dream_core.settings import FlowMathSettings
from .adapters import categories, host
from .adapters.batches import check_same_size, entry_at, map_entries, match
from .adapters.images import from_mask, to_mask
from .adapters.sockets import Flow, FlowSocket, require_flow_socket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working

ALL = 0.999
"""Share of known pixels among those that a vector is computed from, above which it is known."""


class FlowMath(io.ComfyNode):
    """Computes with flow."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamFlowMath",
            display_name="Flow Math",
            category=categories.MOTION,
            description=(
                "Computes with flow: more or less motion, one motion after another, the motion turned around, or "
                "smoothed."
            ),
            search_aliases=[
                "scale flow",
                "compose flow",
                "invert flow",
                "smooth flow",
                "reverse motion",
                "blur flow",
            ],
            inputs=[
                FlowSocket.Input("flow", tooltip="From Optical Flow, Camera Flow or Load Flow."),
                *widgets(FlowMathSettings),
                FlowSocket.Input(
                    "then",
                    optional=True,
                    tooltip="For compose: the flow to follow from where the first one leads, one for each, or "
                    "one for "
                    "all.",
                ),
                io.Mask.Input(
                    "reliability",
                    optional=True,
                    tooltip="From Reliability Mask, for smooth and invert: vectors that are not trusted count "
                    "less.",
                ),
            ],
            outputs=[
                FlowSocket.Output("flow", display_name="flow", tooltip="The result, in pixels."),
                io.Mask.Output(
                    "reliability",
                    display_name="reliability",
                    tooltip="0 where the flow is not known, as in an inverse where no vector leads; else 1.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, flow: Flow, then: Flow | None = None, reliability: Tensor | None = None, **values: Any
    ) -> io.NodeOutput:
        with working():
            settings = settings_from(FlowMathSettings, values)
            flow = require_flow_socket(flow)
            if (then is None) == (settings.operation == "compose"):
                raise ImageError(_about_then(settings.operation))
            if settings.operation == "scale":
                return _result(_scaled(flow, settings.factor))
            if then is not None:
                return _result(_composed(flow, require_flow_socket(then)))
            trust = flow.known(None if reliability is None else _fitting(reliability, flow))
            if settings.operation == "invert":
                return _inverted(flow, trust)
            return _result(_smoothed(flow, settings.smoothing, trust))


def _about_then(operation: str) -> str:
    if operation == "compose":
        return "expected a second flow for compose, got none: connect then"
    return f"expected no second flow for {operation}, got one: choose compose, or disconnect then"


def _result(flow: Flow) -> io.NodeOutput:
    return io.NodeOutput(flow, to_mask(_mask(flow)))


def _scaled(flow: Flow, factor: float) -> Flow:
    forward = None if flow.forward is None else flow.forward * factor
    return replace(flow, backward=flow.backward * factor, forward=forward)


def _composed(flow: Flow, then: Flow) -> Flow:
    check_same_size(flow=flow.backward, then=then.backward)
    count, (first, second) = match(flow=flow.backward, then=then.backward)
    progress = host.Progress(count)
    backward = _each(lambda index: compose(entry_at(first, index), entry_at(second, index)), count, progress)
    known = _known_of_both(flow, then)
    if flow.forward is None or then.forward is None:
        return Flow(backward, None, known)
    _, (back, further) = match(flow=flow.forward, then=then.forward)
    forward = _each(lambda index: compose(entry_at(further, index), entry_at(back, index)), count, progress)
    return Flow(backward, forward, known)


def _known_of_both(flow: Flow, then: Flow) -> Tensor | None:
    """Where two flows, one after the other, are known: (B,1,H,W), 0 or 1; None for 1 everywhere."""
    if flow.reliability is None and then.reliability is None:
        return None
    count, (vectors, first, second) = match(flow=flow.backward, known=_mask(flow), then_known=_mask(then))

    def both(index: int) -> Tensor:
        there = warp(entry_at(second, index), entry_at(vectors, index), mode="bilinear")
        return (torch.minimum(entry_at(first, index), there) > ALL).float()

    return map_entries(both, count)


def _mask(flow: Flow) -> Tensor:
    return torch.ones_like(flow.backward[:, :1]) if flow.reliability is None else flow.reliability


def _inverted(flow: Flow, trust: Tensor | None) -> io.NodeOutput:
    if flow.forward is not None:  # it is known, without any loss
        return _result(Flow(flow.forward, flow.backward))
    count = len(flow.backward)
    progress = host.Progress(count)
    masks = torch.empty_like(flow.backward[:, :1])

    def inverse(index: int) -> Tensor:
        entry, mask = invert(
            entry_at(flow.backward, index), reliability=None if trust is None else entry_at(trust, index)
        )
        if flow.reliability is not None:
            there = warp(entry_at(flow.reliability, index), entry, mode="bilinear")
            mask = mask * (there > ALL)
        masks[index] = mask[0]
        return entry

    return _result(Flow(_each(inverse, count, progress), flow.backward, masks))


def _smoothed(flow: Flow, radius: float, trust: Tensor | None) -> Flow:
    count = len(flow.backward)
    progress = host.Progress(count)

    def smoothed(index: int) -> Tensor:
        mask = None if trust is None else entry_at(trust, index)
        return smooth(entry_at(flow.backward, index), radius, reliability=mask)

    backward = _each(smoothed, count, progress)
    if flow.forward is None:
        return replace(flow, backward=backward)
    forward = flow.forward
    smoother = _each(lambda index: smooth(entry_at(forward, index), radius), count, progress)
    return replace(flow, backward=backward, forward=smoother)


def _fitting(reliability: Tensor, flow: Flow) -> Tensor:
    trust = from_mask(reliability, name="reliability")
    check_same_size(flow=flow.backward, reliability=trust)
    _, (trust, vectors) = match(reliability=trust, flow=flow.backward)
    if len(vectors) != len(flow.backward):
        raise ImageError(
            f"expected one reliability for each of the {len(flow.backward)} flows, got {len(trust)}: connect "
            f"that of "
            "the same flow"
        )
    return trust


def _each(function: Any, count: int, progress: host.Progress) -> Tensor:
    """Compute (count,2,H,W) on the CPU, flow by flow."""
    flows = []
    for index in range(count):
        flows.append(function(index).cpu())
        progress.update(index + 1, count)
    return torch.cat(flows)
