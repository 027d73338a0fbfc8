"""Compare Videos: clips together in one video or batch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from comfy_api.latest import InputImpl, io
from torch import Tensor

from ..dream_core.errors import ImageError
from ..dream_core.image import Size
from ..dream_core.measure.compare import Comparison, compared, require_comparable
from ..dream_core.settings import CompareSettings, InputSettings, OutputSettings
from ..dream_core.video import Clip, open_output
from .adapters import categories, host
from .adapters.images import to_image
from .adapters.lasting import remember, times_lost
from .adapters.sockets import ImagesOrVideoSocket
from .adapters.videos import clip_of_images, finishing, is_video, open_video
from .adapters.widgets import settings_from, widgets
from .adapters.working import working

MOST = 4
LETTERS = "ABCD"
"""Names of the clips, if none are given."""


class CompareVideos(io.ComfyNode):
    """Shows clips together."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        tooltip = "A clip, as a batch of images or a video: a clip and its dream, or two to four dreams."
        template = io.Autogrow.TemplatePrefix(
            ImagesOrVideoSocket.Input("clip", tooltip=tooltip), prefix="clip_", min=2, max=MOST
        )
        return io.Schema(
            node_id="DeepDreamCompareVideos",
            display_name="Compare Videos",
            category=categories.MEASURE,
            description=(
                "Shows two to four clips together, frame by frame: side by side, by a wipe, or by their amplified "
                "difference, with their names."
            ),
            search_aliases=[
                "side by side",
                "before after",
                "wipe",
                "split screen",
                "difference",
                "concatenate videos",
            ],
            inputs=[
                io.Autogrow.Input("clips", template=template, tooltip=tooltip),
                *widgets(CompareSettings),
            ],
            outputs=[
                ImagesOrVideoSocket.Output(
                    "comparison",
                    display_name="comparison",
                    tooltip="A batch of images or, if one of the clips is a video, a video with its times and its "
                    "sound, among ComfyUI's temporary files: Save Video keeps it.",
                )
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        """Run again if the video it made is gone."""
        return times_lost(cls.hidden.unique_id)

    @classmethod
    def execute(cls, clips: Mapping[str, Any], **values: Any) -> io.NodeOutput:
        with working(), ExitStack() as stack:
            settings = settings_from(CompareSettings, values)
            given = [clip for clip in clips.values() if clip is not None]
            if len(given) < 2:
                raise ImageError(f"expected two to {MOST} clips to compare, got {len(given)}: connect more")
            opened = {name: _open(stack, clip) for name, clip in zip(LETTERS, given, strict=False)}
            require_comparable(opened)
            size = opened[LETTERS[0]].size
            comparison = Comparison(list(opened), size, settings)
            timed = next((name for name, clip in zip(LETTERS, given, strict=False) if is_video(clip)), None)
            if timed is None:
                return io.NodeOutput(_batch(opened, comparison, size))
            return io.NodeOutput(_video(opened, comparison, size, timed, node_id=cls.hidden.unique_id))


def _open(stack: ExitStack, clip: Any) -> Clip:
    if is_video(clip):
        return stack.enter_context(open_video(clip, settings=InputSettings(size=0)))
    return clip_of_images(clip)


def _batch(clips: Mapping[str, Clip], comparison: Comparison, size: Size) -> Tensor:
    count = clips[LETTERS[0]].frame_count or 0
    progress = host.Progress(count)
    pictures = torch.empty(count, 3, *comparison.size, memory_format=torch.channels_last)
    for frame, picture in compared(clips, comparison, size=size):
        pictures[frame.index] = picture[0]
        progress.update(frame.index + 1, count, picture)
    return to_image(pictures)


def _video(clips: Mapping[str, Clip], comparison: Comparison, size: Size, timed: str, *, node_id: str) -> Any:
    clip = clips[timed]
    count = clip.frame_count or 1
    progress = host.Progress(count)
    output = open_output(
        host.temporary_file(".mp4"),
        size=comparison.size,
        fps=clip.fps,
        time_base=clip.time_base,
        top_fps=clip.top_fps,
        frame_count=clip.frame_count,
        sound=clip.sound,
        settings=OutputSettings(),
    )
    with finishing(output):
        for frame, picture in compared(clips, comparison, size=size, timed=timed):
            output.write(picture, time=frame.time, duration=frame.duration)
            progress.update(frame.index + 1, max(count, frame.index + 1), picture)
    remember(node_id, output.path)
    return InputImpl.VideoFromFile(str(output.path))
