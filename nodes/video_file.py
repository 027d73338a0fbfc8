"""DeepDream Video File: the whole pipeline from file to file, with memory that does not grow with the clip."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import InputImpl, io

from ..dream_core.pipeline import open_output_like, reading_ahead
from ..dream_core.settings import InputSettings, OutputSettings
from .adapters import host
from .adapters.looks import Chosen, check_look, with_look
from .adapters.sockets import Objectives
from .adapters.videos import WRITING, keep_what_is_done, open_video
from .adapters.widgets import widgets
from .adapters.working import working
from .video import Pipeline, pipeline_sockets, pipeline_widgets

READING = ("size", "frames", "deinterlace")
"""Fields of InputSettings that have a widget here."""


class DeepDreamVideoFile(io.ComfyNode):
    """Dreams a video file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamVideoFile",
            display_name="DeepDream Video File",
            category="DeepDream",
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
                *with_look(
                    *widgets(InputSettings, only=READING),
                    *pipeline_widgets(),
                    *widgets(OutputSettings, only=WRITING),
                ),
            ],
            outputs=[
                io.Video.Output(
                    "dreamed",
                    display_name="video",
                    tooltip="The dreamed video, H.264 in MP4, among ComfyUI's temporary files until Save Video "
                    "keeps it.",
                )
            ],
            accept_all_inputs=True,  # otherwise ComfyUI drops a choice that it does not know
        )

    @classmethod
    def validate_inputs(cls, look: Any = None, octave_mode: Any = None, optimizer: Any = None) -> bool | str:
        """Name the nearest look, where there is none of the name. ComfyUI hands over choices in any case."""
        return check_look(look)

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> Any:
        """Return the times of change of the weight files of networks that are not wired."""
        return Chosen(values).fingerprint(flow=True)

    @classmethod
    def execute(
        cls,
        video: Any,
        dream_model: Any = None,
        flow_model: Any = None,
        objective: Objectives | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        target = host.temporary_file(".mp4")
        with working():
            chosen = Chosen(values)
            reading = chosen.settings(InputSettings, only=READING)
            writing = chosen.settings(OutputSettings, only=WRITING)
            with open_video(video, settings=reading) as (clip, wanted, count):
                pipeline = Pipeline(dream_model, flow_model, objective, chosen, count=count, size=clip.size)
                output = open_output_like(clip, target, settings=writing)
                try:
                    with reading_ahead(wanted, host.compute_device()) as frames:
                        for frame, dreamed in pipeline.dream(frames):
                            output.write(dreamed.read(), time=frame.time, duration=frame.duration)
                    output.finish()
                except BaseException:  # Cancel is not an Exception
                    keep_what_is_done(output)
                    raise
        return io.NodeOutput(InputImpl.VideoFromFile(str(target)))
