"""A clip whose motion is known, and a report, for the tests of the figures."""

from __future__ import annotations

import pytest

from dream_core.measure.figures import ClipFigures, Figures, Report
from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip


@pytest.fixture(scope="session")
def clip() -> SyntheticClip:
    scene = Scene(shapes=3, whole_pixels=True, background=(2, -1))
    return synthetic_clip(frames=5, height=60, width=80, scene=scene)


@pytest.fixture
def report() -> Report:
    """Three frames of one dream, whose figures rise; strength was not measured."""
    first = Figures(e_warp=None, flicker=None, strength=None, sharpness=1.0, drift=0.0)
    own = ClipFigures("input", Figures(0.002, None, None, 1.0, 0.0), (first,) * 3)
    quarter, half = (Figures(x, x, None, sharpness=1 + x, drift=x) for x in (0.25, 0.5))
    return Report(own, (ClipFigures("[bold]a.mp4", quarter, (first, quarter, half)),), None)
