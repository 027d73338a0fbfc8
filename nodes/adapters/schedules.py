"""Schedules of settings: their growing socket, and what comes from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from comfy_api.latest import io

from ...dream_core.checks import kinds, require_known, split_range
from ...dream_core.schedules.schedules import Schedules, join
from ...dream_core.settings import CAMERA_SCHEDULABLE, SCHEDULABLE, SCHEDULABLE_NUMBERS, InputSettings
from .sockets import ScheduleSocket, require_schedule_socket

SCHEDULES = "schedules"
"""Name of the growing socket."""

MOST = 20
"""Number of schedules that one node can take."""


def setting_input(*, numbers: bool = False) -> io.Combo.Input:
    """Make the choice of the setting that a schedule changes: any, or one whose values are numbers."""
    return io.Combo.Input(
        "setting",
        options=[*(SCHEDULABLE_NUMBERS if numbers else SCHEDULABLE), *CAMERA_SCHEDULABLE],
        default="learning_rate",
        tooltip="The setting that changes, named as its widget; the last ones are Camera Flow's. Value at Frame "
        "takes no notice of it.",
    )


def fps_input(**options: Any) -> io.Float.Input:
    """Make the widget of a clip's frames per second.

    Args:
        options: more of the input's.
    """
    _, limits = split_range(kinds(InputSettings)["fps"])
    assert limits
    return io.Float.Input(
        "fps",
        default=InputSettings.fps,
        min=limits.least,
        max=limits.most,
        step=limits.step,
        round=0.0001,
        tooltip="Frames per second of the clip, from Get Video Components.",
        **options,
    )


def curve_outputs() -> list[io.Output]:
    """Make the outputs of a schedule's values along a clip: as numbers and as an image."""
    return [
        io.Float.Output(
            "values",
            display_name="values",
            tooltip="The curve as a list of numbers, one for each frame, for nodes of other packs.",
        ),
        io.Image.Output("plot", display_name="plot", tooltip="The curve along the clip, for Preview Image."),
    ]


def schedules_input(*, over: str = "the widget and the look") -> io.Autogrow.Input:
    """Make a socket for schedules, after which another one appears once it is connected.

    Args:
        over: says what a schedule wins over.
    """
    text = (
        "A setting that changes along the clip, from Schedule or Sound Curve, which name it. It wins over "
        f"{over}. Another socket appears once this one is connected."
    )
    one = ScheduleSocket.Input("schedule", optional=True, tooltip=text)
    template = io.Autogrow.TemplatePrefix(one, prefix="schedule_", min=0, max=MOST)
    return io.Autogrow.Input(SCHEDULES, template=template, optional=True, tooltip=text)


def schedules_from(group: Mapping[str, Any] | None, known: Collection[str], *, where: str) -> Schedules:
    """Put together what comes from the growing socket.

    Args:
        group: the values of its sockets, by name; None without any.
        known: names of the settings that can change here.
        where: says where others can.

    Raises:
        SettingsError: a setting cannot change here, or has two schedules.
        WireError: a socket carries something else.
    """
    wired = [
        require_schedule_socket(one, name=name) for name, one in (group or {}).items() if one is not None
    ]
    require_known(
        [one.setting for one in wired], known, what="schedules of settings of this node", where=where
    )
    return join((one.setting, one.schedule) for one in wired)
