"""The nodes that say what a dream makes more of: Dream Objective and Dream Guide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.checks import kinds
from ..dream_core.settings import SCHEDULABLE, GuideLoss, ObjectiveSettings
from ..dream_core.temporal.scheduled import ObjectivePart
from .adapters.images import from_image, from_mask
from .adapters.objectives import Objectives, ObjectiveSocket, WiredObjective, check_objectives
from .adapters.schedules import schedules_from, schedules_input
from .adapters.widgets import settings_from, widgets
from .adapters.working import working

OF_AN_OBJECTIVE = tuple(name for name in SCHEDULABLE if name in kinds(ObjectiveSettings))
"""Settings of an objective that can change along a clip."""

ON_THE_DREAM = ("channel_capture",)
"""Fields of an objective that hold for a whole dream: their widgets are on DeepDream, not on Dream Objective."""

OF_A_GUIDE = ("layers", "channels", "dream_weight")
"""Fields that have a widget on Dream Guide."""

COMPARE = "compare"


def _socket_inputs() -> list[io.Input]:
    return [
        ObjectiveSocket.Input(
            "objective", optional=True, tooltip="Another objective, to which this one is added."
        ),
        schedules_input(),
        io.Mask.Input(
            "mask",
            optional=True,
            tooltip="Where this objective acts: white. One for all frames or one for each, in their proportions. "
            "Others may act elsewhere; the mask of DeepDream itself says where anything changes. Not connected: "
            "everywhere.",
        ),
    ]


def _output() -> io.Output:
    return ObjectiveSocket.Output(
        display_name="objective", tooltip="What to make more of, for DeepDream or another objective."
    )


def _wired(
    before: Objectives | None,
    settings: ObjectiveSettings,
    schedules: Mapping[str, Any] | None,
    mask: Tensor | None,
    guide: Tensor | None = None,
) -> io.NodeOutput:
    own = schedules_from(schedules, OF_AN_OBJECTIVE, where="connect it to the node of the video")
    own.check(settings)
    wired = WiredObjective(
        ObjectivePart(settings, own), mask=None if mask is None else from_mask(mask), guide=guide
    )
    return io.NodeOutput((*check_objectives(before), wired))


class DreamObjective(io.ComfyNode):
    """Chooses layers and channels to excite."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamObjective",
            display_name="Dream Objective",
            category="DeepDream",
            description="Chooses what a dream makes more of: layers of the network, or some of their channels. "
            "Objectives add up: connect one to the next.",
            search_aliases=["deep dream layers", "dream layer", "dream channels", "excite"],
            inputs=[*_socket_inputs(), *widgets(ObjectiveSettings, leave_out=ON_THE_DREAM)],
            outputs=[_output()],
        )

    @classmethod
    def execute(
        cls,
        objective: Objectives | None = None,
        schedules: Mapping[str, Any] | None = None,
        mask: Tensor | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        with working():
            settings = settings_from(ObjectiveSettings, values, leave_out=ON_THE_DREAM)
            return _wired(objective, settings, schedules, mask)


class DreamGuide(io.ComfyNode):
    """Makes a dream climb toward what other images show."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamGuide",
            display_name="Dream Guide",
            category="DeepDream",
            description="Makes a dream grow what other images show: each place of the dream becomes like the part "
            "of them that it resembles most. Guides and objectives add up: connect one to the next.",
            search_aliases=["guided dream", "reference image", "style reference", "dream of an image"],
            inputs=[
                io.Image.Input(
                    "images",
                    tooltip="What to dream of: one image for all frames, or one for each. Their size does not "
                    "matter, but what they show large grows large.",
                ),
                *_socket_inputs(),
                io.Combo.Input(
                    COMPARE,
                    options=list(get_args(GuideLoss)),
                    default=get_args(GuideLoss)[0],
                    tooltip="match: each place grows the part of the images that it resembles most. statistics: "
                    "textures and colors as a whole, wherever they are.",
                ),
                *widgets(ObjectiveSettings, only=OF_A_GUIDE),
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        compare: GuideLoss,
        objective: Objectives | None = None,
        schedules: Mapping[str, Any] | None = None,
        mask: Tensor | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        with working():
            own = settings_from(ObjectiveSettings, values, only=OF_A_GUIDE)
            settings = ObjectiveSettings(
                layers=own.layers, channels=own.channels, dream_weight=own.dream_weight, loss=compare
            )
            return _wired(objective, settings, schedules, mask, from_image(images, name="images"))
