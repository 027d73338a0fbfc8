"""Number and size of the gradient steps for a frame that carries a dream."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StepBudget:
    """The gradient steps of one frame.

    Args:
        steps: number at each size.
        rate: factor of the learning rate, 0..1: below 1 if less than this number of full steps is needed.
        step_scale: (1,1,H,W), factor of each step at each pixel; None for 1 everywhere.
        age: (1,1,H,W) in 0..1, growth of the dream after these steps: 1 = as after a first frame.
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
        reliability: (1,1,H,W) in 0..1 of the carried dream, 1 = trust.
        age: (1,1,H,W) in 0..1, growth of the carried dream.
        blend: share of the carried dream that is given up everywhere, 0..1.
        all_steps: number of gradient steps of a first frame.
        catch_up: largest factor of a step, at least 1.

    Returns:
        A share of all steps, equal to the share of the dream that was lost on average over the image. A fraction of
        a step is one step with a lower rate. No step is taken if nothing was lost.
    """
    kept = (1 - blend) * reliability
    # The number of steps must be known on the CPU: the program waits for the device once.
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
