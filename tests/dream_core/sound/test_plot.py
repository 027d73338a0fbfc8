"""The plot of a curve."""

from __future__ import annotations

import torch

from dream_core.panels import COLORS
from dream_core.sound.plot import plot_curves


def test_a_curve_is_drawn_over_seconds():
    image = plot_curves([0, 0.5, 1.0], {"level": [1, 4, 1]}, width=600)
    assert image.shape[:2] == (1, 3)
    assert image.shape[-1] == 600
    color = torch.tensor([int(COLORS[0][at : at + 2], 16) for at in (1, 3, 5)]) / 255
    places = ((image[0] - color[:, None, None]).abs().amax(0) < 1e-3).nonzero()
    highest = places[places[:, 0].argmin()]
    assert 250 < highest[1] < 400  # in the middle


def test_curves_have_panels_below_each_other():
    one, two = (plot_curves([0, 1], {key: [0, 1] for key in names}) for names in ("a", "ab"))
    assert two.shape[-2] > one.shape[-2] + 100
