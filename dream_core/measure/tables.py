"""The figures of dreams as text: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import StringIO

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from .figures import Figures, Report

MISSING = "-"
"""Text of a figure that is not defined."""

TEXT_WIDTH = 100
"""Characters in a line of `as_text`."""


@dataclass(frozen=True)
class FigureFormat:
    """Name and format of a figure.

    Args:
        field: name of the field of `Figures`.
        title: name to show.
        meaning: explanation of its values in a few words.
        write: function that formats a value.
    """

    field: str
    title: str
    meaning: str
    write: Callable[[float], str]

    def of(self, figures: Figures) -> float | None:
        """Pick this figure."""
        value: float | None = getattr(figures, self.field)
        return value

    def text(self, figures: Figures) -> str:
        """Pick this figure and format it."""
        value = self.of(figures)
        return MISSING if value is None else self.write(value)


FIGURES = (
    FigureFormat("e_warp", "E_warp", "squared change along the motion", "{:.3e}".format),
    FigureFormat("flicker", "flicker", "0 = dream carried perfectly, 1 = unrelated", "{:.3f}".format),
    FigureFormat("strength", "strength", "activation, times the input's", "x{:.2f}".format),
    FigureFormat("sharpness", "sharpness", "times the input's", "x{:.2f}".format),
    FigureFormat("drift", "drift", "brighter since the first frame, in levels of 255", "{:+.2f}".format),
    FigureFormat("evenness", "evenness", "dream on moving things, times still ones", "{:.2f}".format),
    FigureFormat("coverage", "coverage", "evenness, times the independent dream's", "{:.2f}".format),
)
"""All figures, in the order of tables and plots."""


def overall_table(report: Report) -> Table:
    """Make a table with a row for the input and one for each dream."""
    notes = {"strength by": report.layers, "coverage by": report.independent}
    caption = "\n".join(f"{words} {name}" for words, name in notes.items() if name is not None)
    columns = _columns(report)
    table = _table("clip", columns, caption=caption or None)
    for clip in (report.input, *report.dreams):
        table.add_row(Text(clip.name), *(figure.text(clip.overall) for figure in columns))
    return table


def frame_tables(report: Report) -> Iterator[Table]:
    """Make a table for the input and for each dream, with a row for each frame."""
    columns = _columns(report)
    for clip in (report.input, *report.dreams):
        table = _table("frame", columns, title=clip.name)
        for index, figures in enumerate(clip.frames):
            table.add_row(str(index), *(figure.text(figures) for figure in columns))
        yield table


def as_text(report: Report) -> str:
    """Format `overall_table` as plain text."""
    sink = StringIO()
    Console(file=sink, width=TEXT_WIDTH, color_system=None).print(overall_table(report))
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines() if line.strip())


def as_json(report: Report) -> str:
    """Format the fields of `Report` as JSON; null stands for a figure that is not defined."""
    return json.dumps(asdict(report), indent=1, allow_nan=False)


def _columns(report: Report) -> list[FigureFormat]:
    """List the figures, coverage only if there is an independent dream."""
    return [figure for figure in FIGURES if figure.field != "coverage" or report.independent is not None]


def _table(
    first: str, columns: Sequence[FigureFormat], *, title: str | None = None, caption: str | None = None
) -> Table:
    table = Table(
        Column(first, overflow="fold"),  # names of files are long, and often differ at their ends
        box=SIMPLE,
        padding=0,
        title=None if title is None else Text(title),
        caption=None if caption is None else Text(caption),
        caption_justify="left",
        title_justify="left",
    )
    for figure in columns:
        table.add_column(figure.title, justify="right", no_wrap=True)
    return table
