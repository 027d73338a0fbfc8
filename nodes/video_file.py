"""DeepDream Video File: the whole pipeline from file to file, with memory that does not grow with the clip."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io
from torch import Tensor

from ..dream_core.errors import DamagedError
from ..dream_core.pipeline import open_output_like
from ..dream_core.resume import conditions_of
from ..dream_core.settings import SCHEDULABLE, InputSettings, MaskSettings, OutputSettings
from ..dream_core.video import Clip, Output
from .adapters import categories
from .adapters.digests import digest_of_code
from .adapters.images import from_mask
from .adapters.lasting import begin_anew, place_for, remember, times_lost
from .adapters.looks import Chosen, check_look, with_look
from .adapters.objectives import Objectives
from .adapters.schedules import schedules_from, schedules_input
from .adapters.videos import WRITING, finishing, open_video
from .adapters.widgets import widgets
from .adapters.working import working
from .dream import mask_input
from .video import ELSEWHERE, Pipeline, flow_of_frames, pipeline_sockets, pipeline_widgets

READING = ("size", "frames", "deinterlace")
"""Fields of InputSettings that have a widget here."""


class DeepDreamVideoFile(io.ComfyNode):
    """Dreams a video file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamVideoFile",
            display_name="DeepDream Video File",
            category=categories.DREAM,
            description=(
                "Dreams a video of any length, frame by frame from file to file, its sound kept. The clip is never "
                "in memory as a whole."
            ),
            search_aliases=[
                "deep dream",
                "long video",
                "stream",
                "movie",
                "film",
                "video to video",
                "vid2vid",
            ],
            inputs=[
                io.Video.Input("video", tooltip="The video, from Load Video."),
                *pipeline_sockets(),
                mask_input("frames"),
                schedules_input(),
                *with_look(
                    *widgets(InputSettings, only=READING),
                    *pipeline_widgets(),
                    *widgets(MaskSettings),
                    *widgets(OutputSettings, only=WRITING),
                ),
            ],
            outputs=[
                io.Video.Output(
                    "dreamed",
                    display_name="video",
                    tooltip="The dreamed video, H.264 in MP4, among the pack's working files, which go after some "
                    "days: Save Video keeps it.",
                )
            ],
            hidden=[io.Hidden.unique_id],
            accept_all_inputs=True,  # otherwise ComfyUI drops a choice that it does not know
        )

    @classmethod
    def validate_inputs(
        cls, look: Any = None, octave_mode: Any = None, optimizer: Any = None, schedules: Any = None
    ) -> bool | str:
        """Name the nearest look, where there is none of the name. ComfyUI hands over choices and groups too."""
        return check_look(look)

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> Any:
        """Return the times of change of the weight files of networks that are not wired, and of lost results."""
        return Chosen.fingerprint(values, flow=True), times_lost(cls.hidden.unique_id)

    @classmethod
    def execute(
        cls,
        video: Any,
        dream_model: Any = None,
        flow_model: Any = None,
        flow: Any = None,
        objective: Objectives | None = None,
        mask: Tensor | None = None,
        schedules: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        node_id = cls.hidden.unique_id
        with working():
            chosen = Chosen(values)
            wired = dream_model, flow_model, objective
            masks = None if mask is None else from_mask(mask)
            changing = schedules_from(schedules, SCHEDULABLE, where=ELSEWHERE)
            given = {"masks": masks, "schedules": changing}
            path = _dream(video, chosen, wired, given, flow=flow, code=digest_of_code(cls))
        remember(node_id, path)
        return io.NodeOutput(InputImpl.VideoFromFile(str(path)))


def _dream(
    video: Any,
    chosen: Chosen,
    wired: tuple[Any, Any, Objectives | None],
    given: Mapping[str, Any],
    *,
    flow: Any,
    code: str,
) -> Path:
    """Dream a VIDEO into a file, or take up the finished one.

    Args:
        video: the VIDEO.
        chosen: the settings.
        wired: network that dreams, network of flow and objective.
        given: masks and schedules, as in `Pipeline`.
        flow: what its socket carries, or None.
        code: digest of the code that dreams.
    """
    reading = chosen.settings(InputSettings, only=READING)
    writing = chosen.settings(OutputSettings, only=WRITING)
    with open_video(video, settings=reading) as clip:
        flows = None if flow is None else flow_of_frames([flow], [clip.size])
        pipeline = Pipeline(*wired, chosen, count=clip.frame_count or 1, size=clip.size, flows=flows, **given)
        conditions = {**conditions_of(reading, writing), **pipeline.conditions(), "code": code}
        path, work = place_for(conditions, video)
        if path.exists():
            return path
        try:
            _write(clip, pipeline, open_output_like(clip, path, settings=writing, work=work))
        except DamagedError:
            begin_anew(path)
            _write(clip, pipeline, open_output_like(clip, path, settings=writing, work=work))
    return path


def _write(clip: Clip, pipeline: Pipeline, output: Output) -> None:
    with finishing(output):
        pipeline.dream_into(clip, output)
