"""Plot of curves that follow a sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from ..panels import Line, add_panels, as_image, draw_panel, name_places, new_figure


def plot_curves(
    times: Sequence[float], curves: Mapping[str, Sequence[float]], *, width: int = 1200
) -> Tensor:
    """Draw curves over seconds, one below the other.

    Args:
        times: in seconds, rising.
        curves: title -> a value for each time.
        width: of the image in pixels.

    Returns:
        (1,3,H,width) float32 in 0..1.
    """
    figure = new_figure(width)
    panels = add_panels(figure, len(curves))
    places = np.asarray(times, dtype=np.float64)
    for panel, (title, values) in zip(panels, curves.items(), strict=True):
        draw_panel(panel, title, [Line(places, np.asarray(values, dtype=np.float64))], whole=False)
    name_places(panels[-1], "seconds")
    return as_image(figure)
