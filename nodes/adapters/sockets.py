"""The types of the sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ...dream_core.schedules.schedules import AnySchedule
from ...dream_core.video.clip import FrameFlow
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
        reliability: (B,1,H,W) in 0..1, 0 where a file or an inverse leaves the backward flow unknown; None for 1
            everywhere.
    """

    backward: Tensor
    forward: Tensor | None = None
    reliability: Tensor | None = None

    def known(self, given: Tensor | None = None) -> Tensor | None:
        """Return where it is known, and another mask trusts it too: (B,1,H,W) in 0..1; None for 1 everywhere."""
        if self.reliability is None or given is None:
            return given if self.reliability is None else self.reliability
        return torch.minimum(self.reliability, given)

    @property
    def frames(self) -> list[FrameFlow | None]:
        """The flow of each frame; None for the first, which has none before it."""
        return [None, *map(self._at, range(1, len(self.backward)))]

    def _at(self, index: int) -> FrameFlow:
        def one(batch: Tensor | None) -> Tensor | None:
            return None if batch is None else batch[index : index + 1]

        return FrameFlow(self.backward[index : index + 1], one(self.forward), one(self.reliability))


def require_schedule_socket(schedule: Any, *, name: str = "schedule") -> SettingSchedule:
    """Return the value of a SCHEDULE socket; raise a WireError if another pack made it."""
    return require(schedule, SettingSchedule, name=name, source="Schedule or Sound Curve")


def require_flow_socket(flow: Any) -> Flow:
    """Return the value of a FLOW socket; raise a WireError if another pack made it."""
    return require(flow, Flow, name="flow", source="Optical Flow, Camera Flow or DeepDream Video")
