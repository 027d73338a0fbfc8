"""The types on the wires between the nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from comfy_api.latest import io
from torch import Tensor

from ...dream_core.settings import ObjectiveSettings
from .require import require

FlowSocket = io.Custom("FLOW")
"""Carries a `Flow`."""

FlowModelSocket = io.Custom("OPTICAL_FLOW")
"""Carries ComfyUI's ModelPatcher around an optical flow network, as core's own loader makes it."""

DreamModelSocket = io.Custom("DREAM_MODEL")
"""Carries ComfyUI's ModelPatcher around a `DreamModel`; see `host.wrap`."""

ObjectiveSocket = io.Custom("DREAM_OBJECTIVE")
"""Carries `Objectives`."""

LoopSocket = io.Custom("TEMPORAL_LOOP")
"""Ties a Temporal Loop Close to its Open. It carries nothing."""

Objectives: TypeAlias = tuple[ObjectiveSettings, ...]
"""What to make more of, all of it added up. The network is not known yet, so neither are its layers."""


@dataclass(frozen=True)
class Flow:
    """How a batch of frames moved.

    Args:
        backward: (B,2,H,W) float32 in pixels, x first, on the CPU: from each frame to the one before it.
        forward: the same from the frame before to each frame; None where it was not estimated.
    """

    backward: Tensor
    forward: Tensor | None = None


def require_flow_socket(flow: Any) -> Flow:
    """Raise a WireError unless this is a `Flow`: other packs have a FLOW of their own."""
    return require(flow, Flow, name="flow", source="Optical Flow, Camera Flow or DeepDream Video")
