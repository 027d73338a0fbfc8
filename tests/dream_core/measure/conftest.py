"""A clip whose motion is known, and a report, for the tests of the figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dream_core.measure.figures import ClipFigures, Figures, Report
from dream_core.synthetic import Scene, SyntheticClip, synthetic_clip


@pytest.fixture(scope="session")
def clip() -> SyntheticClip:
    scene = Scene(shapes=3, whole_pixels=True, background=(2, -1))
    return synthetic_clip(frames=5, height=60, width=80, scene=scene)


@pytest.fixture
def report() -> Report:
    """Three frames of one dream, whose figures rise; strength and coverage were not measured."""
    first = Figures(None, None, None, sharpness=1.0, drift=0.0, evenness=None, coverage=None)
    own = ClipFigures("input", replace(first, e_warp=0.002), (first,) * 3)
    quarter, half = (
        Figures(x, x, None, sharpness=1 + x, drift=x, evenness=3 * x, coverage=None) for x in (0.25, 0.5)
    )
    return Report(own, (ClipFigures("[bold]a.mp4", quarter, (first, quarter, half)),), None, None)
