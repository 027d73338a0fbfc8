"""The figures of dreams as tables and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO

from rich.console import Console

from dream_core.measure.figures import Report
from dream_core.measure.tables import as_json, as_text, frame_tables


def test_the_table_names_every_figure_and_leaves_out_what_is_none(report: Report) -> None:
    head, _, own, dream = as_text(report).splitlines()
    assert head.split() == ["clip", "E_warp", "flicker", "strength", "sharpness", "drift", "evenness"]
    assert own.split() == ["input", "2.000e-03", "-", "-", "x1.00", "+0.00", "-"]
    assert dream.split() == ["[bold]a.mp4", "2.500e-01", "0.250", "-", "x1.25", "+0.25", "0.75"]


def test_json_holds_every_frame(report: Report) -> None:
    found = json.loads(as_json(report))
    assert found["input"]["overall"]["flicker"] is None
    assert [frame["flicker"] for frame in found["dreams"][0]["frames"]] == [None, 0.25, 0.5]
    assert found["dreams"][0]["overall"]["sharpness"] == 1.25


def test_the_table_of_a_clip_has_a_row_for_each_frame(report: Report) -> None:
    sink = StringIO()
    Console(file=sink, width=100, color_system=None).print(list(frame_tables(report))[1])
    lines = [line.split() for line in sink.getvalue().splitlines() if line.strip()]
    assert lines[0] == ["[bold]a.mp4"]
    assert lines[1] == ["frame", "E_warp", "flicker", "strength", "sharpness", "drift", "evenness"]
    assert lines[3:] == [
        ["0", "-", "-", "-", "x1.00", "+0.00", "-"],
        ["1", "2.500e-01", "0.250", "-", "x1.25", "+0.25", "0.75"],
        ["2", "5.000e-01", "0.500", "-", "x1.50", "+0.50", "1.50"],
    ]


def test_the_text_names_the_network_and_layers_of_strength(report: Report) -> None:
    assert "strength by" not in as_text(report)
    by_layer = replace(report, layers="efficientnet_lite0 block9")
    assert as_text(by_layer).splitlines()[-1].strip() == "strength by efficientnet_lite0 block9"


def test_coverage_has_a_column_and_names_its_independent_dream(report: Report) -> None:
    (dream,) = report.dreams
    covered = replace(dream, overall=replace(dream.overall, coverage=0.28))
    head, _, own, row, note = as_text(
        replace(report, dreams=(covered,), independent="[b]by itself")
    ).splitlines()
    assert head.split()[-2:] == ["evenness", "coverage"]
    assert own.split()[-2:] == ["-", "-"]
    assert row.split()[-2:] == ["0.75", "0.28"]
    assert note.strip() == "coverage by [b]by itself"
