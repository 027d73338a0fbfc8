"""DeepDream Video File: the whole pipeline from file to file, with memory that does not grow with the clip."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Any

from comfy_api.latest import InputImpl, io
from torch.nn.functional import pad

from ..dream_core.pipeline import open_output_like
from ..dream_core.settings import InputSettings, OutputSettings
from ..dream_core.video import Output, open_clip
from .adapters import host
from .adapters.looks import Chosen, with_look
from .adapters.sockets import Objectives
from .adapters.widgets import widgets
from .adapters.working import working
from .video import Pipeline, pipeline_sockets, pipeline_widgets

QUALITY_IN_BETWEEN = 10
"""Constant rate factor for an input that is not a file; its quality is better than that of the result."""

READING = ("size", "frames")
WRITING = ("quality", "sound")
"""Fields of InputSettings and of OutputSettings that have a widget here."""


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
        start, seconds = video.get_active_trim_window()
        with working():
            chosen = Chosen(values)
            reading = replace(chosen.settings(InputSettings, only=READING), start=start)
            writing = chosen.settings(OutputSettings, only=WRITING)
            with _as_file(video) as source, open_clip(source, settings=reading) as clip:
                count = clip.frame_count or 1
                if seconds:
                    count = min(count, max(1, round(seconds * float(clip.fps))))
                pipeline = Pipeline(dream_model, flow_model, objective, chosen, count=count, size=clip.size)
                output = open_output_like(clip, target, settings=writing)
                try:
                    wanted = takewhile(lambda frame: not seconds or frame.time < seconds, clip)
                    for frame, dreamed in pipeline.dream(wanted):
                        output.write(dreamed.dream.cpu(), time=frame.time, duration=frame.duration)
                    output.finish()
                except BaseException:  # Cancel is not an Exception
                    _keep_what_is_done(output)
                    raise
        return io.NodeOutput(InputImpl.VideoFromFile(str(target)))


def _keep_what_is_done(output: Output) -> None:
    if not output.written:
        output.discard()
        return
    output.finish()
    host.tell(
        f"stopped: the {output.written} frames that are done are in {output.path} until ComfyUI starts again"
    )


@contextmanager
def _as_file(video: Any) -> Iterator[Path]:
    """Return the file of a VIDEO; one in memory is first written to a temporary file."""
    source = video.get_stream_source() if isinstance(video, InputImpl.VideoFromFile) else None
    if isinstance(source, str):
        yield Path(source)
        return
    path = host.temporary_file(".mp4")
    try:
        if isinstance(source, BytesIO):
            path.write_bytes(source.getbuffer())
        else:
            _encodable(video).save_to(str(path), crf=QUALITY_IN_BETWEEN)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _encodable(video: Any) -> Any:
    """Prepare a VIDEO for H.264: drop alpha, and pad odd sides as `Encoder` does."""
    if not isinstance(video, InputImpl.VideoFromComponents):
        return video
    components = video.get_components()
    frames = components.images[..., :3]
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        images = frames.movedim(-1, 1)  # BHWC -> BCHW
        frames = pad(images, (0, width % 2, 0, height % 2), mode="replicate").movedim(1, -1)
    return InputImpl.VideoFromComponents(replace(components, images=frames))
