"""Number and size of the gradient steps for a frame that carries a dream."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dream_core.temporal.step_budget import StepBudget, step_budget


def budget(
    reliability: list[float], age: list[float], *, blend: float = 0, all_steps: int = 10, catch_up: float = 1
) -> StepBudget:
    return step_budget(row(reliability), row(age), blend=blend, all_steps=all_steps, catch_up=catch_up)


def row(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def test_nothing_lost_takes_no_step() -> None:
    found = budget([1, 1], [1, 0.5], catch_up=3)
    assert (found.steps, found.step_scale) == (0, None)
    assert torch.equal(found.age, row([1, 0.5]))


def test_all_lost_takes_all_steps() -> None:
    found = budget([0, 0], [1, 0.5])
    assert (found.steps, found.rate, found.step_scale) == (10, 1, None)
    assert torch.equal(found.age, row([1, 1]))


@pytest.mark.parametrize(
    ("reliability", "blend", "steps", "rate"),
    [
        ([1, 1], 0.5, 5, 1),
        ([1, 0], 0, 5, 1),
        ([1, 0], 0.2, 6, 1),
        ([0.5, 0.5], 0, 5, 1),
        ([1, 1], 0.02, 1, 0.2),  # at least one step, of a fifth of the size
        ([1, 1], 0.18, 2, 0.9),
        ([1, 1], 0.24, 2, 1),  # never larger than in a first frame
        ([1, 1], 1, 10, 1),
    ],
)
def test_steps_are_in_proportion_to_the_dream_that_was_lost(
    reliability: list[float], blend: float, steps: int, rate: float
) -> None:
    found = budget(reliability, [1, 1], blend=blend)
    assert found.steps == steps
    assert found.rate == pytest.approx(rate)


def test_the_dream_grows_by_the_steps_and_at_most_to_that_of_a_first_frame() -> None:
    # Half of the second pixel is lost: 2.5 of ten steps, so two whole ones.
    found = budget([1, 0.5], [0.5, 1])
    assert found.steps == 2
    torch.testing.assert_close(found.age, row([0.7, 0.7]))
    torch.testing.assert_close(budget([1, 0.5], [1, 1]).age, row([1, 0.7]))


def test_only_what_is_young_and_reliable_takes_larger_steps() -> None:
    found = budget([1, 1, 0, 0.5], [1, 0.2, 0.2, 0.2], catch_up=3)
    assert found.step_scale is not None
    torch.testing.assert_close(found.step_scale, row([1, 1 + 2 * 0.8, 1, 1 + 2 * 0.5 * 0.8]))
    grown = 4 / 10  # 3.75 of ten steps, rounded, at a rate of 3.75 / 4
    assert (found.steps, found.rate) == (4, pytest.approx(3.75 / 4))
    grown *= found.rate
    torch.testing.assert_close(found.age, row([1, 0.2 + grown * 2.6, grown, 0.1 + grown * 1.8]).clamp_max(1))
