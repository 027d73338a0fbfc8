"""Flow Convert: flow from other packs, and for them."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.motion.flow_convert import both_directions, to_layout, vectors_from
from ..dream_core.motion.flow_math import invert
from ..dream_core.settings import InputSettings, OtherFlowSettings
from .adapters import categories
from .adapters.images import to_mask
from .adapters.sockets import Flow, FlowSocket
from .adapters.widgets import settings_from, widgets
from .adapters.working import working

DIRECTION = ("points_to",)
"""Field of InputSettings that has a widget here."""


class FlowConvert(io.ComfyNode):
    """Converts flow from and for other packs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamFlowConvert",
            display_name="Flow Convert",
            category=categories.MOTION,
            description=(
                "Takes the optical flow of other packs into this one, and gives this pack's to others: other "
                "orders "
                "of dimensions, other units, and the other direction."
            ),
            search_aliases=[
                "unimatch",
                "raft",
                "OPTICAL_FLOW",
                "stmap",
                "convert flow",
                "flow tensor",
                "motion transfer",
            ],
            inputs=[
                io.AnyType.Input(
                    "any_flow",
                    tooltip="The flow of another pack, a tensor, an array or a list of them; or this pack's.",
                ),
                *widgets(InputSettings, only=DIRECTION),
                *widgets(OtherFlowSettings),
            ],
            outputs=[
                FlowSocket.Output(
                    "flow",
                    display_name="flow",
                    tooltip="One flow for each frame, for the nodes of this pack.",
                ),
                io.AnyType.Output(
                    "converted",
                    display_name="converted",
                    tooltip="The flow for another pack, in flow_layout.",
                ),
                io.Mask.Output(
                    "reliability",
                    display_name="reliability",
                    tooltip="0 where the flow is not known, as in an inverse where no vector leads; else 1.",
                ),
            ],
        )

    @classmethod
    def execute(cls, any_flow: Any, **values: Any) -> io.NodeOutput:
        with working():
            settings = settings_from(OtherFlowSettings, values)
            to_next = settings_from(InputSettings, values, only=DIRECTION).points_to == "next"
            if isinstance(any_flow, Flow):
                flow, known = any_flow, any_flow.known()
                trust = torch.ones_like(flow.backward[:, :1]) if known is None else known
            else:
                vectors = vectors_from(any_flow, unit=settings.flow_unit)
                backward, forward, trust = both_directions(
                    vectors, to_next=to_next, first_missing=settings.first_missing
                )
                flow = Flow(backward, forward, trust)
            given = _to_next(flow) if to_next else flow.backward
            if settings.first_missing and len(given) > 1:
                given = given[1:]
            converted = to_layout(given, settings.flow_layout, unit=settings.flow_unit)
            return io.NodeOutput(flow, converted, to_mask(trust))


def _to_next(flow: Flow) -> Tensor:
    if flow.forward is not None:
        return flow.forward
    return torch.cat([invert(one[None])[0] for one in flow.backward])
