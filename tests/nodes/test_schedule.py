"""Schedule and Value at Frame."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def schedule(run: Any, pack: Any) -> Any:
    """`schedule("blend", "keyframes", keyframes="0: 1")`: what the node makes."""
    node = pack("nodes.schedule").ScheduleNode

    def make(setting: str, source: str, **values: Any) -> Any:
        made, _, _ = run(node, setting=setting, source={"source": source, **values})
        return made

    return make


def test_keyframes_are_read_with_their_setting(schedule: Any, pack: Any) -> None:
    parse = pack("dream_core.schedules.schedules").parse_schedule_of
    made = schedule("zoom", "keyframes", keyframes="0: 1 ease\n2s: 3")
    assert (made.setting, made.schedule) == ("zoom", parse("zoom", "0: 1 ease, 2s: 3"))
    assert schedule("layers", "keyframes", keyframes="0: a, 9: b").schedule.at(9, 0.0) == ("b",)


def test_its_words_name_no_node_alone_of_those_that_take_schedules(pack: Any) -> None:
    schemas = [one.define_schema() for one in pack("nodes").NODES]
    takers = [one.display_name for one in schemas if any(it.id == "schedules" for it in one.inputs)]
    assert {"DeepDream Video", "Dream Text", "Camera Flow"} < set(takers)
    for node in (pack("nodes.schedule").ScheduleNode, pack("nodes.sound").SoundCurve):
        schema = node.define_schema()
        for words in (schema.description, schema.outputs[0].tooltip):
            assert not [name for name in takers if name in words]


def test_the_tooltip_of_keyframes_knows_every_kind_of_value(pack: Any) -> None:
    tooltip = pack("nodes.schedule")._keyframes_input().tooltip
    assert all(name in tooltip for name in pack("dream_core.schedules.schedules").PARSERS)


def test_a_curve_spans_its_frames_between_its_ends(schedule: Any) -> None:
    curve = SimpleNamespace(interp=lambda place: place * place)
    made = schedule("blend", "curve", curve=curve, frames=5, lowest=10.0, highest=26.0).schedule
    assert [made.at(frame, 0.0) for frame in (0, 1, 2, 4, 9)] == [10, 11, 14, 26, 26]


def test_numbers_are_one_for_each_frame_or_so_many_a_second(run: Any, pack: Any, schedule: Any) -> None:
    node = pack("nodes.schedule").ScheduleNode
    lists = {"setting": ["blend"], "source": {"source": ["values"], "values": [0.5, 1, 2.5], "rate": [0.0]}}
    made, numbers, _ = run(node, lists=lists)
    assert numbers == [0.5, 1, 2.5]
    assert [made.schedule.at(frame, 0.0) for frame in (0, 1, 2, 9)] == [0.5, 1, 2.5, 2.5]
    # Some packs hand over a list as one value.
    timed = schedule("blend", "values", values=[0, 4], rate=2.0).schedule
    assert [timed.at(0, seconds) for seconds in (0.0, 0.25, 9.0)] == [0, 2, 4]


@pytest.mark.parametrize(
    ("text", "count", "fps", "expected"),
    [
        ("0: 1, 4: 3", 0, 25.0, [1, 1.5, 2, 2.5, 3]),
        ("0: 1, 4: 3", 2, 25.0, [1, 1.5]),
        ("0: 1, 2s: 3", 0, 1.0, [1, 2, 3]),
        ("0: 1", 3, 25.0, [1, 1, 1]),
    ],
)
def test_its_values_go_out_as_numbers_and_as_a_plot(
    run: Any, pack: Any, text: str, count: int, fps: float, expected: list[float]
) -> None:
    node = pack("nodes.schedule").ScheduleNode
    source = {"source": "keyframes", "keyframes": text}
    _, values, plot = run(node, setting="blend", source=source, count=count, fps=fps)
    assert values == expected
    assert plot.shape[-2:] == (1200, 3)


def test_layers_have_a_plot_of_their_weights_but_no_numbers(run: Any, pack: Any) -> None:
    node = pack("nodes.schedule").ScheduleNode
    one, two = (
        run(node, setting="layers", source={"source": "keyframes", "keyframes": text})
        for text in ("0: block5", "0: block5, 9: block11")
    )
    assert pack("nodes.adapters.host").is_blocker(two[1])
    assert two[2].shape[1] > one[2].shape[1] + 100


@pytest.mark.parametrize(
    ("setting", "source", "values", "message"),
    [
        ("blend", "keyframes", {"keyframes": "0: high"}, "schedule of blend: expected a number"),
        (
            "layers",
            "values",
            {"values": 1.0, "rate": 0.0},
            "expected keyframes as source for layers, got values",
        ),
        ("blend", "values", {"values": "much", "rate": 0.0}, "expected numbers as values, got str"),
        (
            "blend",
            "curve",
            {"curve": [(0, 1)], "frames": 2, "lowest": 0.0, "highest": 1.0},
            "from Curve Editor, got",
        ),
    ],
)
def test_what_makes_no_schedule_is_refused(
    schedule: Any, errors: Any, setting: str, source: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.DeepDreamError, match=message):
        schedule(setting, source, **values)


def test_a_value_is_read_at_a_frame_or_at_its_time(run: Any, pack: Any, schedule: Any, errors: Any) -> None:
    node = pack("nodes.schedule").ValueAtFrame
    by_frame = schedule("blend", "keyframes", keyframes="0: 1, 10: 8")
    by_time = schedule("blend", "keyframes", keyframes="0: 1, 2s: 3")
    assert run(node, schedule=by_frame, index=4) == (pytest.approx(3.8), 4)
    assert run(node, schedule=by_time, index=99, time=0.5) == (1.5, 2)
    for wrong, message in (
        (by_time, "expected time, because the schedule is in seconds"),
        (
            schedule("layers", "keyframes", keyframes="0: a"),
            "expected a schedule of numbers, got one of layers",
        ),
        (0.5, "expected schedule from Schedule or Sound Curve, got float"),
    ):
        with pytest.raises(errors.DeepDreamError, match=message):
            run(node, schedule=wrong, index=0)
