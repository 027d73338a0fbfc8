"""Masks and guides of the objectives of a socket."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

Pack = Callable[[str], ModuleType]


@pytest.fixture
def objectives(pack: Pack) -> Any:
    return pack("nodes.adapters.objectives")


@pytest.fixture
def wired(pack: Pack, objectives: Any) -> Callable[..., Any]:
    """`wired(mask=..., guide=...)`: an objective."""
    settings = pack("dream_core.settings").ObjectiveSettings(layers=("a",))
    part = pack("dream_core.temporal.scheduled").ObjectivePart(settings)
    return lambda **tensors: objectives.WiredObjective(part, **tensors)


def guides(count: int) -> Tensor:
    return torch.arange(count).view(-1, 1, 1, 1).expand(count, 3, 4, 4).float()


def test_each_finds_its_own_mask_and_guide(objectives: Any, wired: Callable[..., Any]) -> None:
    mask = torch.zeros(2, 1, 4, 6)
    mask[1] = 1
    given = (wired(guide=guides(1)), wired(mask=mask), wired(guide=guides(3)))
    parts = objectives.parts_of(given)
    assert [part.region for part in parts] == ["", "objective 2", ""]
    assert [part.guide for part in parts] == [0, 0, 1]
    regions = objectives.regions_at(given, 1, (8, 12))
    assert regions.keys() == {"objective 2"}
    assert torch.equal(regions["objective 2"], torch.ones(1, 8, 12))
    assert [float(one.mean()) for one in objectives.guides_at(given, 2)] == [0, 2]


def test_the_same_objective_twice_has_one_guide_each(objectives: Any, wired: Callable[..., Any]) -> None:
    one, other = wired(guide=guides(1)), wired(guide=guides(1))
    assert [part.guide for part in objectives.parts_of((one, other))] == [0, 1]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            {"guide": guides(2)},
            "expected the guide of objective 1 as one, or one for each frame, got 2 for 3",
        ),
        ({"mask": torch.ones(2, 1, 4, 6)}, "expected the mask of objective 1 as one, or one for each frame"),
        ({"mask": torch.ones(1, 1, 4, 9)}, "mask of objective 1"),
    ],
)
def test_too_few_or_other_proportions_are_refused_before_the_work(
    pack: Pack, objectives: Any, wired: Callable[..., Any], tensors: dict[str, Tensor], message: str
) -> None:
    with pytest.raises(pack("dream_core.errors").ImageError, match=message):
        objectives.check_counts((wired(**tensors),), 3, (8, 12))
