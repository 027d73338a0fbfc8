"""The growing socket of schedules."""

from __future__ import annotations

from typing import Any

import pytest


def test_what_is_wired_is_put_together_by_name(pack: Any) -> None:
    adapter, sockets = pack("nodes.adapters.schedules"), pack("nodes.adapters.sockets")
    parse = pack("dream_core.schedules.schedule").parse_schedule
    one, other = parse("0: 1"), parse("0: 2")
    group = {"schedule_0": sockets.SettingSchedule("blend", one), "schedule_1": None}
    group["schedule_2"] = sockets.SettingSchedule("zoom", other)
    made = adapter.schedules_from(group, ("blend", "zoom"), where="elsewhere")
    assert dict(made.by_name) == {"blend": one, "zoom": other}
    assert not adapter.schedules_from(None, (), where="elsewhere")


def test_an_unknown_setting_and_another_type_are_refused(pack: Any) -> None:
    adapter, sockets = pack("nodes.adapters.schedules"), pack("nodes.adapters.sockets")
    parse, errors = pack("dream_core.schedules.schedule").parse_schedule, pack("dream_core.errors")
    with pytest.raises(errors.SettingsError, match="got `blent`; did you mean `blend`"):
        adapter.schedules_from({"a": sockets.SettingSchedule("blent", parse("0: 1"))}, ("blend",), where="x")
    with pytest.raises(
        errors.DeepDreamError, match="expected schedule_0 from Schedule or Sound Curve, got float"
    ):
        adapter.schedules_from({"schedule_0": 0.5}, ("blend",), where="x")


def test_its_sockets_grow_from_none(pack: Any) -> None:
    socket = pack("nodes.adapters.schedules").schedules_input()
    assert (socket.optional, socket.template.min, socket.template.input.io_type) == (True, 0, "SCHEDULE")
