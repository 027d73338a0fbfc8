"""The nodes that say what a dream makes more of: Dream Objective, Dream Guide and Dream Text."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, get_args

from comfy_api.latest import io
from torch import Tensor

from ..dream_core.checks import kinds
from ..dream_core.errors import SettingsError
from ..dream_core.schedules.schedules import TEXT, Schedules
from ..dream_core.settings import SCHEDULABLE, GuideLoss, ObjectiveSettings, TextSettings
from ..dream_core.temporal.scheduled import ObjectivePart, TextPart
from ..dream_core.text_weights import text_entries
from .adapters import categories
from .adapters.clips import ClipPair
from .adapters.images import from_image, from_mask
from .adapters.objectives import Objectives, ObjectiveSocket, WiredObjective, check_objectives
from .adapters.schedules import schedules_from, schedules_input
from .adapters.widgets import settings_from, widgets
from .adapters.working import working

OF_AN_OBJECTIVE = tuple(name for name in SCHEDULABLE if name in kinds(ObjectiveSettings))
"""Settings of an objective that can change along a clip."""

OF_A_TEXT = tuple(name for name in SCHEDULABLE if name in kinds(TextSettings))
"""Settings of texts that can change along a clip."""

ON_THE_DREAM = ("channel_capture",)
"""Fields of an objective that hold for a whole dream: their widgets are on DeepDream, not on Dream Objective."""

OF_A_GUIDE = ("layers", "channels", "dream_weight")
"""Fields that have a widget on Dream Guide."""

ON_A_TEXT = ("text_weight", "text_crops", "smallest_crop")
"""Fields of texts that have a widget of their own kind on Dream Text."""

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


def _schedules(
    schedules: Mapping[str, Any] | None, settings: ObjectiveSettings | TextSettings, known: Collection[str]
) -> Schedules:
    """Take the schedules of a node out of its socket, and check their values."""
    own = schedules_from(schedules, known, where="connect it to the node of the video")
    own.check(settings)
    return own


def _wired(
    before: Objectives | None,
    part: ObjectivePart | TextPart,
    mask: Tensor | None,
    guide: Tensor | None = None,
) -> io.NodeOutput:
    wired = WiredObjective(part, mask=None if mask is None else from_mask(mask), guide=guide)
    return io.NodeOutput((*check_objectives(before), wired))


class DreamObjective(io.ComfyNode):
    """Chooses layers and channels to excite."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamObjective",
            display_name="Dream Objective",
            category=categories.OBJECTIVES,
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
            part = ObjectivePart(settings, _schedules(schedules, settings, OF_AN_OBJECTIVE))
            return _wired(objective, part, mask)


class DreamGuide(io.ComfyNode):
    """Makes a dream climb toward what other images show."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamGuide",
            display_name="Dream Guide",
            category=categories.OBJECTIVES,
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
            part = ObjectivePart(settings, _schedules(schedules, settings, OF_AN_OBJECTIVE))
            return _wired(objective, part, mask, from_image(images, name="images"))


class DreamText(io.ComfyNode):
    """Makes a dream climb toward what words say."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamText",
            display_name="Dream Text",
            category=categories.OBJECTIVES,
            description="Makes a dream grow what words say, by a CLIP and a CLIP Vision of one network, such as "
            "clip_g and clip_vision_g. Texts, guides and objectives add up: connect one to the next.",
            search_aliases=["text to dream", "clip guided", "dream prompt", "dream of words"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="Reads the texts: a CLIP of the same network as clip_vision, such as "
                    "clip_g.safetensors by Load CLIP, or that of an SDXL checkpoint.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    tooltip="Looks at the image: a CLIP Vision of the same network as clip, such as "
                    "clip_vision_g.safetensors, by Load CLIP Vision.",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    default="a cathedral of feathers",
                    tooltip="What to dream of, in words. Each line is a text of its own; they add up in the "
                    "proportions of the weights that may follow. Weights of less than 1 in all, as in fire:0.5, "
                    "make a weaker dream; a negative one makes less of its text.",
                ),
                *_socket_inputs(),
                *widgets(TextSettings, only=ON_A_TEXT),
            ],
            outputs=[_output()],
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        clip_vision: Any,
        text: str,
        objective: Objectives | None = None,
        schedules: Mapping[str, Any] | None = None,
        mask: Tensor | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        with working():
            own = settings_from(TextSettings, values, only=ON_A_TEXT)
            lines = tuple(line.strip() for line in text.splitlines() if line.strip())
            settings = replace(own, text=lines)
            part = TextPart(settings, ClipPair(clip, clip_vision), _schedules(schedules, settings, OF_A_TEXT))
            _read(part)
            return _wired(objective, part, mask)


def _read(part: TextPart) -> None:
    """Embed all texts of a part, so that the CLIP is not needed any more.

    Raises:
        SettingsError: there is no text.
    """
    schedule = part.schedules.by_name.get(TEXT)
    every = [part.settings.text] if schedule is None else [*schedule.values]
    entries = [entry for texts in every for entry in text_entries(texts)]
    if not entries:
        raise SettingsError("expected a `text` to dream of, got none; write one")
    for entry in entries:
        part.encoder.embed_text(entry.text)
