"""The types of the sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...dream_core.schedules.schedules import AnySchedule
from .require import require

FlowSocket = io.Custom("FLOW")
"""Carries a `Flow`."""

FlowModelSocket = io.Custom("OPTICAL_FLOW")
"""Carries ComfyUI's ModelPatcher around an optical flow network, as ComfyUI's own loader does."""

ImagesOrVideoSocket = io.Custom("IMAGE,VIDEO")
"""Carries a clip: a batch of images or a video."""

DepthSocket = io.Custom("IMAGE,MASK")
"""Carries a depth map, white is near: estimators give an IMAGE, Camera Flow a MASK."""

DreamModelSocket = io.Custom("DREAM_MODEL")
"""Carries ComfyUI's ModelPatcher around a `DreamModel`; see `host.wrap`."""

ScheduleSocket = io.Custom("SCHEDULE")
"""Carries a `SettingSchedule`."""

LastDreamSocket = io.Custom("LAST_DREAM")
"""Carries a `DreamerState` on the CPU: the end of a dream, which another clip continues."""

LoopSocket = io.Custom("TEMPORAL_LOOP")
"""Ties a Temporal Loop Close to its Open; carries nothing."""


@dataclass(frozen=True)
class SettingSchedule:
    """A setting that changes along a clip.

    Args:
        setting: name of its field in `dream_core.settings`.
        schedule: its values.
    """

    setting: str
    schedule: AnySchedule


@dataclass(frozen=True)
class Flow:
    """The motion of a batch of frames.

    Args:
        backward: (B,2,H,W) float32 on the CPU, in pixels, x first: from each frame to the one before it.
        forward: the same from the frame before to each frame; None if not estimated.
    """

    backward: Tensor
    forward: Tensor | None = None


def require_schedule_socket(schedule: Any, *, name: str = "schedule") -> SettingSchedule:
    """Return the value of a SCHEDULE socket; raise a WireError if another pack made it."""
    return require(schedule, SettingSchedule, name=name, source="Schedule or Sound Curve")


def require_flow_socket(flow: Any) -> Flow:
    """Return the value of a FLOW socket; raise a WireError if another pack made it."""
    return require(flow, Flow, name="flow", source="Optical Flow, Camera Flow or DeepDream Video")
