"""Number and size of the gradient steps for a frame that carries a dream."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StepBudget:
    """The gradient steps of one frame.

    Args:
        steps: at each size.
        rate: factor of the learning rate, 0..1: below 1 where less than all these steps is needed.
        step_scale: (1,1,H,W), factor of each step at each pixel; None for 1 everywhere.
        age: (1,1,H,W) in 0..1, growth of the dream once the steps are taken: 1 as after a first frame.
    """

    steps: int
    rate: float = 1.0
    step_scale: Tensor | None = None
    age: Tensor


def step_budget(
    reliability: Tensor, age: Tensor, *, blend: float, all_steps: int, catch_up: float
) -> StepBudget:
    """Take steps in proportion to the dream that was lost; larger ones where it is newly visible.

    Args:
        reliability: (1,1,H,W) in 0..1, 1 where the carried dream is trusted.
        age: (1,1,H,W) in 0..1, growth of the carried dream.
        blend: share of the carried dream that is given up everywhere, 0..1.
        all_steps: gradient steps of a frame that carries nothing.
        catch_up: largest factor of a step, at least 1.

    Returns:
        The share of all steps that was given up, on average over the image; at least one step, with a lower rate,
        unless nothing was given up.
    """
    kept = (1 - blend) * reliability
    # The number of steps is a decision: here, and once, the program waits for the device.
    lost = all_steps * (1 - (1 - blend) * reliability.mean().item())
    if lost <= 0:
        return StepBudget(steps=0, age=kept * age)
    steps = max(1, round(lost))
    rate = min(1.0, lost / steps)
    grown = steps * rate / all_steps
    if catch_up == 1:
        return StepBudget(steps=steps, rate=rate, age=(kept * age + grown).clamp_max(1))
    scale = 1 + (catch_up - 1) * kept * (1 - age)
    return StepBudget(steps=steps, rate=rate, step_scale=scale, age=(kept * age + grown * scale).clamp_max(1))
