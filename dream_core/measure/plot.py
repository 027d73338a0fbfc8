"""Plots of the figures of dreams over the frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..panels import COLORS, INK, LINE, TEXT, Line, add_panels, as_image, draw_panel, name_places, new_figure
from .figures import ClipFigures, Heard, Report
from .tables import FIGURES, FigureFormat

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INPUT_COLOR = "#707070"


@dataclass(frozen=True)
class Curve:
    """A clip with its color and line style in every panel."""

    clip: ClipFigures
    color: str
    style: Literal["-", "--"]

    def values(self, figure: FigureFormat) -> NDArray[np.float64]:
        """List the figure of every frame, NaN where it is not defined."""
        found = [figure.of(figures) for figures in self.clip.frames]
        return np.array([math.nan if value is None else value for value in found])

    def line(self, figure: FigureFormat) -> Line:
        """Return the figure of every frame as a curve."""
        values = self.values(figure)
        return Line(np.arange(len(values), dtype=np.float64), values, self.color, self.style)


def plot(report: Report, *, width: int = 1200) -> Tensor:
    """Draw a legend, and below it a panel over the frames for each figure that was measured.

    Args:
        report: from `measure`.
        width: of the image in pixels.

    Returns:
        (1,3,H,width) float32 in 0..1, in steps of 1/255.
    """
    curves = _curves(report)
    shown = [
        figure for figure in FIGURES if any(np.isfinite(curve.values(figure)).any() for curve in curves[1:])
    ]
    plot_figure = new_figure(width)
    count = len(shown) + (report.heard is not None)
    panels = add_panels(plot_figure, count, above=_draw_legend(plot_figure, curves))
    for panel, figure in zip(panels, shown, strict=False):
        draw_panel(panel, f"{figure.title}: {figure.meaning}", [curve.line(figure) for curve in curves])
    if report.heard:
        values = np.array(report.heard.values)
        line = Line(np.arange(len(values), dtype=np.float64), values, INK)
        draw_panel(panels[-1], _heard_title(report.heard, report.dreams), [line])
    name_places(panels[-1], "frame")
    return as_image(plot_figure)


def _heard_title(heard: Heard, dreams: Sequence[ClipFigures]) -> str:
    found = [heard.correlation(dream) for dream in dreams]
    told = ", ".join("-" if one is None else f"{one:.2f}" for one in found)
    return f"{heard.feature} of the sound: correlation with strength {told}"


def _curves(report: Report) -> list[Curve]:
    colors = cycle(COLORS)
    dreams = [Curve(dream, next(colors), "-") for dream in report.dreams]
    return [Curve(report.input, INPUT_COLOR, "--"), *dreams]


def _draw_legend(plot_figure: Figure, curves: Sequence[Curve]) -> int:
    """Draw the names of the clips in as many columns as fit, and return the legend's height in pixels."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=curve.color, linestyle=curve.style, linewidth=LINE) for curve in curves]
    for columns in range(len(curves), 0, -1):
        legend = plot_figure.legend(
            handles,
            ["name"] * len(curves),
            loc="outside upper left",
            ncols=columns,
            fontsize=TEXT,
            labelcolor=INK,
            frameon=False,
        )
        for text, curve in zip(legend.get_texts(), curves, strict=True):
            text.set_parse_math(False)  # a name may hold dollar signs
            text.set_text(curve.clip.name)
        box = legend.get_window_extent()
        if box.width <= plot_figure.bbox.width or columns == 1:
            break
        legend.remove()
    return math.ceil(box.height)
