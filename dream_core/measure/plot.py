"""Plots of the figures of dreams over the frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from .figures import ClipFigures, Report
from .tables import FIGURES, FigureFormat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colors of the dreams, in order, distinct to color-blind people too (Okabe and Ito 2008)."""

INPUT_COLOR = "#707070"
INK, RULE, PAPER = "#202020", "#dddddd", "#ffffff"

DPI = 72
"""Dots per inch. At this number a point is a pixel: the lengths below are in pixels."""

PANEL, FRAME_NUMBERS = 172, 44
EDGE, GAP = 12, 5
TEXT, SMALL = 16, 13
LINE, DOT = 2, 6


@dataclass(frozen=True)
class Curve:
    """A clip with its color and line style in every panel."""

    clip: ClipFigures
    color: str
    line: Literal["-", "--"]

    def values(self, figure: FigureFormat) -> list[float]:
        """List the figure of every frame, NaN where it is not defined."""
        found = [figure.of(figures) for figures in self.clip.frames]
        return [math.nan if value is None else value for value in found]


def plot(report: Report, *, width: int = 1200) -> Tensor:
    """Draw a legend, and below it a panel over the frames for each figure that was measured.

    Args:
        report: from `measure`.
        width: of the image in pixels.

    Returns:
        (1,3,H,width) float32 in 0..1, in steps of 1/255.
    """
    # Imported here because it takes a second, which only plots need.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    curves = _curves(report)
    shown = [
        figure for figure in FIGURES if any(np.isfinite(curve.values(figure)).any() for curve in curves[1:])
    ]
    layout = ConstrainedLayoutEngine(w_pad=EDGE / DPI, h_pad=GAP / DPI)
    plot_figure = Figure(figsize=(width / DPI, 1), dpi=DPI, facecolor=PAPER, layout=layout)
    canvas = FigureCanvasAgg(plot_figure)
    height = _draw_legend(plot_figure, curves) + len(shown) * PANEL + FRAME_NUMBERS
    plot_figure.set_figheight(height / DPI)
    panels = plot_figure.subplots(len(shown), sharex=True, squeeze=False)[:, 0]
    for panel, figure in zip(panels, shown, strict=True):
        _draw_panel(panel, figure, curves)
    panels[-1].set_xlabel("frame", fontsize=TEXT, color=INK)
    canvas.draw()
    levels = torch.from_numpy(np.array(canvas.buffer_rgba())[..., :3])
    return levels.permute(2, 0, 1)[None].float() / 255  # HWC -> BCHW


def _curves(report: Report) -> list[Curve]:
    colors = cycle(COLORS)
    dreams = [Curve(dream, next(colors), "-") for dream in report.dreams]
    return [Curve(report.input, INPUT_COLOR, "--"), *dreams]


def _draw_legend(plot_figure: Figure, curves: Sequence[Curve]) -> int:
    """Draw the names of the clips in as many columns as fit, and return the legend's height in pixels."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=curve.color, linestyle=curve.line, linewidth=LINE) for curve in curves]
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


def _draw_panel(panel: Axes, figure: FigureFormat, curves: Sequence[Curve]) -> None:
    """Draw one figure of all clips, with its axes."""
    for curve in curves:
        values = np.array(curve.values(figure))
        panel.plot(
            values,
            color=curve.color,
            linestyle=curve.line,
            linewidth=LINE,
            marker="o",
            markersize=DOT,
            markevery=_isolated(values),
            clip_on=False,
        )
    panel.set_title(f"{figure.title}: {figure.meaning}", loc="left", fontsize=TEXT, color=INK)
    _scale(panel, np.concatenate([curve.values(figure) for curve in curves]))
    panel.set_xlim(0, max(1, *(len(curve.clip.frames) - 1 for curve in curves)))
    panel.tick_params(labelsize=SMALL, colors=INK)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", color=RULE)
    panel.set_axisbelow(True)
    panel.set_facecolor(PAPER)
    panel.spines[:].set_color(INK)
    panel.spines[["top", "right"]].set_visible(False)


def _scale(panel: Axes, values: np.ndarray) -> None:
    """End the vertical axis at round numbers that enclose all values and 0; number whole frames."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    low, high = min(0.0, np.nanmin(values)), max(0.0, np.nanmax(values))
    span = high - low or 1.0
    # A value that passes a round number by very little does not add another one.
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low + 0.01 * span, low + 0.99 * span)
    panel.set_yticks(ticks)
    panel.set_ylim(ticks[0], ticks[-1])
    panel.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    panel.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10], integer=True))


def _isolated(values: np.ndarray) -> list[int]:
    """List the indices of values without a neighbor, which a line would not show."""
    present = np.pad(np.isfinite(values), 1)
    indices: list[int] = np.flatnonzero(present[1:-1] & ~present[:-2] & ~present[2:]).tolist()
    return indices
