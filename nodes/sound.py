"""Sound Curve: a schedule that follows a sound."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from comfy_api.latest import io

from ..dream_core.checks import require_valid
from ..dream_core.errors import VideoError
from ..dream_core.panels import plot_curves
from ..dream_core.schedules.schedules import curves_of
from ..dream_core.settings import EnvelopeSettings, InputSettings, SoundSettings
from ..dream_core.sound.curve import sound_curve
from .adapters import categories
from .adapters.audio import from_audio
from .adapters.images import to_image
from .adapters.schedules import curve_outputs, fps_input, setting_input
from .adapters.sockets import ScheduleSocket, SettingSchedule
from .adapters.videos import open_video
from .adapters.widgets import settings_from, widgets
from .adapters.working import working


class SoundCurve(io.ComfyNode):
    """Turns a sound into a curve of numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamSoundCurve",
            display_name="Sound Curve",
            category=categories.SCHEDULES,
            description=(
                "Listens to a sound: how loud it is, when notes begin, where the beats are. A setting of a dream "
                "follows the curve, or any other node by its numbers."
            ),
            search_aliases=[
                "audio reactive",
                "audioreactive",
                "music",
                "beat detection",
                "onset",
                "sound to schedule",
                "audio weights",
            ],
            inputs=[
                io.Audio.Input(
                    "audio",
                    tooltip="The sound from the clip's first frame on, from Get Video Components or Load Audio.",
                ),
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="The clip, if its frames do not all last equally long: then their own times count, "
                    "not fps.",
                ),
                setting_input(numbers=True),
                *widgets(SoundSettings),
                fps_input(),
                *widgets(EnvelopeSettings),
            ],
            outputs=[
                ScheduleSocket.Output(
                    "schedule",
                    display_name="schedule",
                    tooltip="The curve, for any node with a schedules socket, or for Value at Frame.",
                ),
                *curve_outputs(),
            ],
        )

    @classmethod
    def execute(cls, audio: Any, setting: str, fps: float, video: Any = None, **values: Any) -> io.NodeOutput:
        with working():
            settings = settings_from(SoundSettings, values)
            envelope = settings_from(EnvelopeSettings, values)
            require_valid(InputSettings, fps=fps)
            samples = from_audio(audio)
            times = _times_at(fps, samples.seconds) if video is None else _times_of(video)
            longest = max((after - one for one, after in pairwise(times)), default=1 / fps)
            schedule = sound_curve(samples, settings, envelope, frame=longest)
            curve = curves_of(settings.feature, schedule, times)
            image = to_image(plot_curves(times, curve))
            return io.NodeOutput(SettingSchedule(setting, schedule), curve[settings.feature], image)


def _times_at(fps: float, seconds: float) -> list[float]:
    """Times of the frames that begin in a sound."""
    return [index / fps for index in range(max(1, int(seconds * fps + 0.5)))]


def _times_of(video: Any) -> list[float]:
    """Times of the frames of a VIDEO."""
    with open_video(video, settings=InputSettings(size=0)) as clip:
        times = list(clip.times())
    if not times:
        raise VideoError("the video has no frames: connect another one")
    return times
