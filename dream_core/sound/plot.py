"""Plot of a curve that follows a sound."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..panels import Line, add_panels, as_image, draw_panel, name_places, new_figure


def plot_values(times: Sequence[float], values: Sequence[float], *, title: str, width: int = 1200) -> Tensor:
    """Draw values over seconds.

    Args:
        times: in seconds, rising.
        values: one for each time.
        title: above the curve.
        width: of the image in pixels.

    Returns:
        (1,3,H,width) float32 in 0..1.
    """
    figure = new_figure(width)
    (panel,) = add_panels(figure, 1)
    line = Line(np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64))
    draw_panel(panel, title, [line], whole=False)
    name_places(panel, "seconds")
    return as_image(figure)
