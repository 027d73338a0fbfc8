"""Panels of curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dream_core.panels import (
    COLORS,
    PANEL,
    Line,
    add_panels,
    as_image,
    draw_panel,
    name_places,
    new_figure,
    plot_curves,
)


def draw(panel: Axes, values: Sequence[float], *, whole: bool = True) -> None:
    draw_panel(panel, "title", [Line(np.arange(len(values)) / 1.0, np.array(values))], whole=whole)


def test_panels_are_drawn_below_each_other_at_the_width_asked() -> None:
    images = []
    for count in (1, 3):
        figure = new_figure(401)
        panels = add_panels(figure, count)
        for panel in panels:
            draw(panel, [0, 1, 0.5])
        name_places(panels[-1], "frame")
        images.append(as_image(figure))
    one, three = images
    assert one.shape[:2] == (1, 3)
    assert one.shape[-1] == three.shape[-1] == 401
    assert three.shape[-2] - one.shape[-2] == 2 * PANEL
    torch.testing.assert_close(one * 255, (one * 255).round(), atol=1e-4, rtol=0)


def test_seconds_are_numbered_by_parts_too() -> None:
    panel = Figure().subplots()
    draw_panel(panel, "title", [Line(np.array([0, 0.5]), np.array([0.0, 1]))], whole=False)
    assert panel.get_xlim() == pytest.approx((0, 0.5))
    assert 0.1 in [pytest.approx(tick) for tick in panel.get_xticks()]


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ([0.0, 10.0], (0, 10)),
        ([0.0, 0.0021], (0, 0.003)),
        ([-3.0, 2.0], (-4, 2)),
        ([-7.0, -3.0], (-8, 0)),
        ([1.0, 1.2], (0, 1.5)),
        ([0.0, 0.0], (0, 1)),
        ([math.nan, 5.0], (0, 6)),
        ([0.5, 1.004], (0, 1)),  # by very little above a round number
    ],
)
def test_an_axis_ends_at_round_numbers_that_enclose_0_and_all_values(
    values: list[float], ends: tuple[float, float]
) -> None:
    panel = Figure().subplots()
    draw(panel, values)
    assert panel.get_ylim() == pytest.approx(ends)
    assert panel.get_yticks()[[0, -1]] == pytest.approx(ends)


@pytest.mark.parametrize("seed", range(20))
def test_an_axis_encloses_any_values(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(random.normal(), 1, 9) * 10 ** random.uniform(-4, 4)
    panel = Figure().subplots()
    draw(panel, values)
    low, high = panel.get_ylim()
    span = max(0, values.max()) - min(0, values.min())
    assert low - 0.01 * span <= min(0, values.min())
    assert max(0, values.max()) <= high + 0.01 * span
    assert high - low < 3 * span  # and the curve is not flat


def test_frames_are_numbered_by_whole_numbers() -> None:
    panel = Figure().subplots()
    draw(panel, [0.0, 1.0, 0.0, 1.0])
    assert [tick for tick in panel.get_xticks() if 0 <= tick <= 3] == [0, 1, 2, 3]


@pytest.mark.parametrize(("unit", "places"), [("seconds", [0, 0.5, 1.0]), ("frames", [0, 1, 2])])
def test_a_curve_is_drawn_over_its_places(unit: Any, places: list[float]) -> None:
    image = plot_curves(places, {"level": [1, 4, 1]}, unit=unit, width=600)
    assert image.shape[:2] == (1, 3)
    assert image.shape[-1] == 600
    color = torch.tensor([int(COLORS[0][at : at + 2], 16) for at in (1, 3, 5)]) / 255
    drawn = ((image[0] - color[:, None, None]).abs().amax(0) < 1e-3).nonzero()
    highest = drawn[drawn[:, 0].argmin()]
    assert 250 < highest[1] < 400  # in the middle


def test_curves_have_panels_below_each_other() -> None:
    one, two = (plot_curves([0, 1], {key: [0, 1] for key in names}) for names in ("a", "ab"))
    assert two.shape[-2] - one.shape[-2] == PANEL
