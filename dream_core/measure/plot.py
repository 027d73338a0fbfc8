"""The figures of dreams, frame by frame, as an image of curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, groupby, pairwise

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .measure import Measured, Report
from .tables import FIGURES, Figure

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of the dreams, one after the other: Okabe and Ito 2008, told apart by color-blind people too."""

INPUT_COLOR = "#707070"
INK, RULE, PAPER = "#202020", "#dddddd", "#ffffff"

FINE = 2
"""The image is drawn this much larger and then shrunk, so that its lines are smooth."""

# Pixels of the finished image.
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 14, 50
TITLE, PANEL, GAP = 30, 128, 14
LEGEND_LINE, SWATCH, LEGEND_GAP = 26, 30, 28
TEXT, SMALL = 17, 14
DASH, SPACE = 7, 5
DOT = 3

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """How a clip is drawn in every panel."""

    clip: Measured
    color: str
    dashed: bool

    def runs(self, figure: Figure) -> list[Points]:
        """(frame, value), in pieces wherever a value is missing."""
        values = [(index, figure.of(figures)) for index, figures in enumerate(self.clip.frames)]
        pieces = groupby(values, key=lambda point: point[1] is not None)
        return [[(x, y) for x, y in points if y is not None] for there, points in pieces if there]


def plot(report: Report, *, width: int = 1200) -> Tensor:
    """A panel for each figure that was measured, over the frames, below a legend.

    Args:
        report: from `measure`.
        width: of the image in pixels.

    Returns:
        (1,3,H,width) float32 in 0..1, in steps of 1/255.
    """
    curves = [Curve(report.input, INPUT_COLOR, dashed=True)]
    colors = cycle(COLORS)
    curves += [Curve(dream, next(colors), dashed=False) for dream in report.dreams]
    shown = [figure for figure in FIGURES if any(curve.runs(figure) for curve in curves[1:])]
    places = list(_legend_places(curves, width))
    top = places[-1][1] + LEGEND_LINE
    canvas = _Canvas(width, top + len(shown) * (TITLE + PANEL + GAP) - GAP + BOTTOM)
    for curve, place in zip(curves, places, strict=True):
        canvas.legend(curve, place)
    for index, figure in enumerate(shown):
        panel = _Panel(canvas, figure, curves, top + index * (TITLE + PANEL + GAP) + TITLE)
        panel.draw(numbers=index == len(shown) - 1)
    return canvas.finished()


def ticks(low: float, high: float, *, most: int, whole: bool = False) -> list[float]:
    """Round numbers from at most `low` to at least `high`, evenly spaced: steps of 1, 2 or 5 (Heckbert 1990).

    Args:
        low, high: the range; an empty one is widened.
        most: about how many steps.
        whole: integers only.
    """
    span = high - low or 1.0
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


class _Canvas:
    """A sheet of paper, in pixels of the finished image."""

    def __init__(self, width: int, height: int) -> None:
        self.size = width, height
        self._image = Image.new("RGB", (width * FINE, height * FINE), PAPER)
        self._pen = ImageDraw.Draw(self._image)

    def text(
        self, place: tuple[float, float], text: str, *, size: int, anchor: str, color: str = INK
    ) -> None:
        """Write, with `anchor` as Pillow names it."""
        self._pen.text(_fine(place), text, fill=color, font=_font(size * FINE), anchor=anchor)

    def rule(self, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
        """A thin line."""
        self._pen.line([_fine(start), _fine(end)], fill=color, width=FINE)

    def line(self, points: Points, curve: Curve) -> None:
        """A piece of a curve; a dot where it is a single point."""
        if len(points) == 1:
            x, y = _fine(points[0])
            radius = DOT * FINE
            self._pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=curve.color)
        for piece in _dashes(points) if curve.dashed else [points]:
            self._pen.line([_fine(point) for point in piece], fill=curve.color, width=2 * FINE, joint="curve")

    def legend(self, curve: Curve, place: tuple[int, int]) -> None:
        """The name of a curve behind a piece of it."""
        x, y = place
        middle = y + LEGEND_LINE / 2
        self.line([(x, middle), (x + SWATCH, middle)], curve)
        self.text((x + SWATCH + 8, middle), curve.clip.name, size=TEXT, anchor="lm")

    def finished(self) -> Tensor:
        """(1,3,H,W) in 0..1."""
        levels = np.array(self._image.resize(self.size, Image.Resampling.BOX))
        return torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255  # HWC -> BCHW


class _Panel:
    """One figure of all clips, with its axes."""

    def __init__(self, canvas: _Canvas, figure: Figure, curves: Sequence[Curve], top: int) -> None:
        self._canvas, self._figure, self._top = canvas, figure, top
        self._lines = [(curve, run) for curve in curves for run in curve.runs(figure)]
        values = [0.0, *(y for _, run in self._lines for _, y in run)]
        self._y_ticks = ticks(min(values), max(values), most=4)
        self._last_frame = max(len(curve.clip.frames) for curve in curves) - 1
        self._right = canvas.size[0] - RIGHT

    def draw(self, *, numbers: bool) -> None:
        """All of it; `numbers` writes the frames' below."""
        canvas, bottom = self._canvas, self._top + PANEL
        title = f"{self._figure.title}: {self._figure.meaning}"
        canvas.text((LEFT, self._top - 9), title, size=TEXT, anchor="ls")
        for value in self._y_ticks:
            y = self._y(value)
            canvas.rule((LEFT, y), (self._right, y), RULE)
            canvas.text((LEFT - 8, y), f"{value:g}", size=SMALL, anchor="rm")
        for frame in ticks(0, self._last_frame, most=10, whole=True):
            if frame > self._last_frame:
                continue
            x = self._x(frame)
            canvas.rule((x, bottom), (x, bottom + 4), INK)
            if numbers:
                canvas.text((x, bottom + 8), f"{frame:g}", size=SMALL, anchor="mt")
        canvas.rule((LEFT, self._top), (LEFT, bottom), INK)
        canvas.rule((LEFT, bottom), (self._right, bottom), INK)
        if numbers:
            canvas.text(((LEFT + self._right) / 2, bottom + 26), "frame", size=TEXT, anchor="mt")
        for curve, run in self._lines:
            canvas.line([(self._x(frame), self._y(value)) for frame, value in run], curve)

    def _x(self, frame: float) -> float:
        return LEFT + frame / max(1, self._last_frame) * (self._right - LEFT)

    def _y(self, value: float) -> float:
        low, high = self._y_ticks[0], self._y_ticks[-1]
        return self._top + (high - value) / (high - low) * PANEL


def _legend_places(curves: Sequence[Curve], width: int) -> Iterator[tuple[int, int]]:
    """Left and top of each entry, line by line."""
    x, y = LEFT, TOP
    for curve in curves:
        needed = SWATCH + 8 + math.ceil(_font(TEXT).getlength(curve.clip.name))
        if x > LEFT and x + needed > width - RIGHT:
            x, y = LEFT, y + LEGEND_LINE
        yield x, y
        x += needed + LEGEND_GAP


def _dashes(points: Points) -> Iterator[Points]:
    """A line in pieces, measured along it."""
    traveled = 0.0
    for (x, y), (to_x, to_y) in pairwise(points):
        length = math.hypot(to_x - x, to_y - y)
        done = 0.0
        while done < length:
            phase = traveled % (DASH + SPACE)
            on = phase < DASH
            step = min((DASH if on else DASH + SPACE) - phase + 1e-6, length - done)
            if on:
                ends = (done / length, (done + step) / length)
                yield [(x + (to_x - x) * part, y + (to_y - y) * part) for part in ends]
            done, traveled = done + step, traveled + step


def _fine(place: tuple[float, float]) -> tuple[float, float]:
    return place[0] * FINE, place[1] * FINE


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # as a size was asked for
    return font
