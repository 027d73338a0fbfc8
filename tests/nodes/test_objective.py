"""Dream Objective and Dream Guide: what they hand on."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

Pack = Callable[[str], ModuleType]
Run = Callable[..., Any]


@pytest.fixture
def make(pack: Pack, run: Run, defaults: Run) -> Run:
    """`make("DreamGuide", images=...)`: the output of a node."""

    def make(name: str, **values: Any) -> Any:
        node = getattr(pack("nodes.objective"), name)
        (made,) = run(node, **{**defaults(node), **values})
        return made

    return make


def test_objectives_add_up_with_their_masks_and_guides(make: Run) -> None:
    first = make("DreamObjective", layers="one:2", mask=torch.ones(1, 4, 6))
    both = make(
        "DreamGuide", layers="two", images=torch.rand(2, 5, 7, 3), objective=first, compare="statistics"
    )
    assert [one.part.settings.layers for one in both] == [("one:2",), ("two",)]
    assert [one.part.settings.loss for one in both] == ["auto", "statistics"]
    assert both[0].mask.shape == (1, 1, 4, 6)
    assert both[0].guide is None
    assert both[1].mask is None
    assert both[1].guide.shape == (2, 3, 5, 7)


def test_a_weight_below_zero_leads_away_from_the_guide(make: Run) -> None:
    (one,) = make("DreamGuide", images=torch.rand(1, 5, 7, 3), dream_weight=-1.5)
    assert one.part.settings.dream_weight == -1.5
    assert one.part.settings.loss == "match"


def test_wrong_images_and_masks_are_refused(pack: Pack, make: Run) -> None:
    error = pack("dream_core.errors").ImageError
    with pytest.raises(error, match="expected images as IMAGE"):
        make("DreamGuide", images=torch.rand(4, 4))
    with pytest.raises(error, match="expected mask as MASK"):
        make("DreamObjective", mask=torch.rand(1, 4, 4, 3))
