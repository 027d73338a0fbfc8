"""The nodes of schedules: Schedule and Value at Frame."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from comfy_api.latest import io

from ..dream_core.checks import require_valid
from ..dream_core.errors import SettingsError
from ..dream_core.panels import plot_curves
from ..dream_core.schedules.layer_schedule import LayerSchedule
from ..dream_core.schedules.schedule import Keyframe, Schedule, sampled
from ..dream_core.schedules.schedules import PARSERS, AnySchedule, curves_of, parse_schedule_of
from ..dream_core.settings import InputSettings
from .adapters import categories, host
from .adapters.images import to_image
from .adapters.require import WireError
from .adapters.schedules import curve_outputs, fps_input, setting_input
from .adapters.sockets import ScheduleSocket, SettingSchedule, require_schedule_socket
from .adapters.working import working

SOURCE = "source"
"""Name of the choice where the values come from."""

MOST_FRAMES = 100_000
"""Largest number of frames of a curve."""

FAR = 1_000_000.0
"""Largest value of a curve."""


class ScheduleNode(io.ComfyNode):
    """Makes a schedule from keyframes, a curve or numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamSchedule",
            display_name="Schedule",
            category=categories.SCHEDULES,
            description=(
                "Makes a setting of a dream change along the clip: for any node with a schedules socket. With "
                "Value at Frame, for any number of any node in a loop."
            ),
            search_aliases=[
                "keyframes",
                "animate",
                "prompt travel",
                "easing",
                "curve",
                "automation",
                "over time",
            ],
            inputs=[
                setting_input(),
                io.DynamicCombo.Input(
                    SOURCE,
                    options=[
                        io.DynamicCombo.Option("keyframes", [_keyframes_input()]),
                        io.DynamicCombo.Option("curve", _curve_inputs()),
                        io.DynamicCombo.Option("values", _values_inputs()),
                    ],
                    tooltip="keyframes: values at some frames, as text. curve: a line that was drawn, from Curve "
                    "Editor. values: a number for each frame, from another node.",
                ),
                io.Int.Input(
                    "count",
                    default=0,
                    min=0,
                    max=MOST_FRAMES,
                    optional=True,
                    advanced=True,
                    tooltip="Number of frames of values and plot. 0 = up to the last keyframe.",
                ),
                fps_input(optional=True, advanced=True),
            ],
            outputs=[
                ScheduleSocket.Output(
                    "schedule",
                    display_name="schedule",
                    tooltip="For any node with a schedules socket, or for Value at Frame.",
                ),
                *curve_outputs(),
            ],
            is_input_list=True,
        )

    @classmethod
    def execute(
        cls,
        setting: list[str],
        source: Mapping[str, Any],
        count: Sequence[int] = (0,),
        fps: Sequence[float] = (InputSettings.fps,),
    ) -> io.NodeOutput:
        with working():
            name, rate = setting[0], fps[0]
            require_valid(InputSettings, fps=rate)
            kind = source[SOURCE][0]
            if kind != "keyframes" and name in PARSERS:
                raise SettingsError(f"expected keyframes as source for {name}, got {kind}; choose keyframes")
            schedule = _schedule(name, kind, source)
            frames = range(count[0] or min(schedule.length(rate), MOST_FRAMES))
            times = [frame / rate for frame in frames]
            curves = curves_of(name, schedule, times)
            places = frames if schedule.unit == "frames" else times
            image = to_image(plot_curves(places, curves, unit=schedule.unit))
            values = curves.get(name) or host.blocker(f"{name} has no numbers for values; see its plot")
            return io.NodeOutput(SettingSchedule(name, schedule), values, image)


class ValueAtFrame(io.ComfyNode):
    """Reads a schedule at a frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamValueAtFrame",
            display_name="Value at Frame",
            category=categories.SCHEDULES,
            description=(
                "Gives the value of a schedule at a frame: in a Temporal Loop, for a number of any node between "
                "Open and Close."
            ),
            search_aliases=["schedule value", "keyframe value", "animate value", "sample schedule"],
            inputs=[
                ScheduleSocket.Input(
                    "schedule", tooltip="From Schedule or Sound Curve; its setting does not matter."
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=10_000_000,
                    tooltip="Number of the frame, from 0: index of Temporal Loop Open.",
                ),
                io.Float.Input(
                    "time",
                    optional=True,
                    force_input=True,
                    tooltip="Seconds of the frame, for schedules in seconds: time of Temporal Loop Open.",
                ),
            ],
            outputs=[
                io.Float.Output("value", display_name="value", tooltip="The value there."),
                io.Int.Output("rounded", display_name="rounded", tooltip="The same as a whole number."),
            ],
        )

    @classmethod
    def execute(cls, schedule: Any, index: int, time: float | None = None) -> io.NodeOutput:
        with working():
            found = require_schedule_socket(schedule).schedule
            if not isinstance(found, Schedule):
                kind = "layers" if isinstance(found, LayerSchedule) else "texts"
                raise SettingsError(
                    f"expected a schedule of numbers, got one of {kind}; choose another setting"
                )
            if found.unit == "seconds" and time is None:
                raise SettingsError(
                    "expected time, because the schedule is in seconds, got none; connect it to that of the loop"
                )
            value = found.at(index, math.nan if time is None else time)
            return io.NodeOutput(value, round(value))


def _keyframes_input() -> io.Input:
    return io.String.Input(
        "keyframes",
        default="0: 1, 60: 4",
        multiline=True,
        tooltip="FRAME: VALUE, or in seconds, 3s: VALUE, with commas or lines between. ease, ease-in, ease-out "
        "or hold after a value shapes the way to the next one. For layers, names instead of numbers, which fade "
        "into each other; for text, words, as in 0: a forest, 60: a sea of fire. Quotes hold a text that has "
        "commas or ends with such a word, and stand around each of several.",
    )


def _curve_inputs() -> list[io.Input]:
    return [
        io.Custom("CURVE").Input("curve", tooltip="From Curve Editor."),
        io.Int.Input(
            "frames",
            default=60,
            min=2,
            max=MOST_FRAMES,
            tooltip="Number of frames that the curve spans. After them its last value stays.",
        ),
        io.Float.Input(
            "lowest", default=0.0, min=-FAR, max=FAR, step=0.1, tooltip="Value at the bottom of the curve."
        ),
        io.Float.Input("highest", default=1.0, min=-FAR, max=FAR, step=0.1, tooltip="Value at its top."),
    ]


def _values_inputs() -> list[io.Input]:
    return [
        io.Float.Input(
            "values",
            force_input=True,
            tooltip="A list of numbers, the first for the first frame. A single number stays all the time.",
        ),
        io.Float.Input(
            "rate",
            default=0.0,
            min=0.0,
            max=1000.0,
            tooltip="Numbers a second, where they are not one for each frame. 0 = one for each frame.",
        ),
    ]


def _schedule(name: str, kind: str, source: Mapping[str, Any]) -> AnySchedule:
    if kind == "keyframes":
        return parse_schedule_of(name, source["keyframes"][0])
    if kind == "curve":
        return _from_curve(
            source["curve"][0], source["frames"][0], lowest=source["lowest"][0], highest=source["highest"][0]
        )
    return _from_values(source["values"], source["rate"][0])


def _from_curve(curve: Any, frames: int, *, lowest: float, highest: float) -> Schedule:
    """Make a schedule of a curve over 0..1, with a keyframe at each frame."""
    if not hasattr(curve, "interp"):
        raise WireError(f"expected curve from Curve Editor, got {type(curve).__name__}: connect one")
    heights = (float(curve.interp(frame / (frames - 1))) for frame in range(frames))
    return Schedule(
        tuple(Keyframe(frame, lowest + height * (highest - lowest)) for frame, height in enumerate(heights))
    )


def _from_values(values: list[Any], rate: float) -> Schedule:
    """Make a schedule of numbers, which other packs hand over as a list of ComfyUI's or as one value."""
    flat = [number for value in values for number in (value if isinstance(value, list | tuple) else [value])]
    wrong = next((one for one in flat if isinstance(one, bool) or not isinstance(one, int | float)), None)
    if wrong is not None:
        raise WireError(f"expected numbers as values, got {type(wrong).__name__}: connect a list of FLOATs")
    if rate:
        return sampled([number / rate for number in range(len(flat))], flat)
    checked = sampled(range(len(flat)), flat)
    return Schedule(checked.keyframes, "frames")
