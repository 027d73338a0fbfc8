"""Panels of curves, drawn as images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colors of curves, in order, distinct to color-blind people too (Okabe and Ito 2008)."""

INK, RULE, PAPER = "#202020", "#dddddd", "#ffffff"

DPI = 72
"""Dots per inch. At this number a point is a pixel: the lengths below are in pixels."""

PANEL, NUMBERS = 172, 44
"""Heights of a panel, and of the numbers below the last one."""
EDGE, GAP = 12, 5
TEXT, SMALL = 16, 13
LINE, DOT = 2, 6


@dataclass(frozen=True)
class Line:
    """A curve of a panel.

    Args:
        places: on the horizontal axis.
        values: one for each place, NaN where there is none.
        color: of the line.
        style: solid or dashed.
    """

    places: NDArray[np.float64]
    values: NDArray[np.float64]
    color: str = COLORS[0]
    style: Literal["-", "--"] = "-"


def new_figure(width: int) -> Figure:
    """Make an empty figure of this width in pixels."""
    # Imported here because it takes a second, which only plots need.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=EDGE / DPI, h_pad=GAP / DPI)
    figure = Figure(figsize=(width / DPI, 1), dpi=DPI, facecolor=PAPER, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def add_panels(figure: Figure, count: int, *, above: int = 0) -> list[Axes]:
    """Add panels one below the other, and make the figure as high as they need.

    Args:
        figure: from `new_figure`.
        count: of the panels.
        above: pixels for a legend.
    """
    figure.set_figheight((above + count * PANEL + NUMBERS) / DPI)
    return list(figure.subplots(count, sharex=True, squeeze=False)[:, 0])


def as_image(figure: Figure) -> Tensor:
    """Draw a figure: (1,3,H,W) float32 in 0..1, in steps of 1/255."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()
    levels = torch.from_numpy(np.array(canvas.buffer_rgba())[..., :3])
    return levels.permute(2, 0, 1)[None].float() / 255  # HWC -> BCHW


def plot_curves(
    places: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    *,
    unit: Literal["frames", "seconds"] = "seconds",
    width: int = 1200,
) -> Tensor:
    """Draw curves, one below the other.

    Args:
        places: on the horizontal axis, rising.
        curves: title -> a value for each place.
        unit: of the places.
        width: of the image in pixels.

    Returns:
        (1,3,H,width) float32 in 0..1.
    """
    figure = new_figure(width)
    panels = add_panels(figure, len(curves))
    along = np.asarray(places, dtype=np.float64)
    for panel, (title, values) in zip(panels, curves.items(), strict=True):
        line = Line(along, np.asarray(values, dtype=np.float64))
        draw_panel(panel, title, [line], whole=unit == "frames")
    name_places(panels[-1], unit)
    return as_image(figure)


def draw_panel(panel: Axes, title: str, lines: Sequence[Line], *, whole: bool = True) -> None:
    """Draw curves with their axes.

    Args:
        panel: where.
        title: above it.
        lines: the curves; at least one value is not NaN.
        whole: number whole places only, such as frames.
    """
    for line in lines:
        panel.plot(
            line.places,
            line.values,
            color=line.color,
            linestyle=line.style,
            linewidth=LINE,
            marker="o",
            markersize=DOT,
            markevery=_isolated(line.values),
            clip_on=False,
        )
    panel.set_title(title, loc="left", fontsize=TEXT, color=INK)
    _scale(panel, np.concatenate([line.values for line in lines]), whole=whole)
    last = max(line.places[-1] for line in lines)
    panel.set_xlim(0, max(1, last) if whole else last or 1)
    panel.tick_params(labelsize=SMALL, colors=INK)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="y", color=RULE)
    panel.set_axisbelow(True)
    panel.set_facecolor(PAPER)
    panel.spines[:].set_color(INK)
    panel.spines[["top", "right"]].set_visible(False)


def name_places(panel: Axes, name: str) -> None:
    """Write what the horizontal axis counts below the last panel."""
    panel.set_xlabel(name, fontsize=TEXT, color=INK)


def _scale(panel: Axes, values: NDArray[np.float64], *, whole: bool) -> None:
    """End the vertical axis at round numbers that enclose all values and 0."""
    from matplotlib.ticker import MaxNLocator, ScalarFormatter

    low, high = min(0.0, np.nanmin(values)), max(0.0, np.nanmax(values))
    span = high - low or 1.0
    # A value that passes a round number by very little does not add another one.
    ticks = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low + 0.01 * span, low + 0.99 * span)
    panel.set_yticks(ticks)
    panel.set_ylim(ticks[0], ticks[-1])
    panel.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    panel.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10], integer=whole))


def _isolated(values: NDArray[np.float64]) -> list[int]:
    """List the indices of values without a neighbor, which a line would not show."""
    present = np.pad(np.isfinite(values), 1)
    indices: list[int] = np.flatnonzero(present[1:-1] & ~present[:-2] & ~present[2:]).tolist()
    return indices
