"""How much is dreamed anew in a frame that carries a dream."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class StepBudget:
    """What is due in one frame.

    Args:
        steps: gradient steps at each size.
        rate: what their learning rate is multiplied by, 0..1: where less than all these steps is due.
        pace: (1,1,H,W), how much of each step is taken where; None for all of it everywhere.
        maturity: (1,1,H,W) in 0..1, how far the dream has grown when the steps are taken: 1 as in a first frame.
    """

    steps: int
    rate: float
    step_scale: Tensor | None
    age: Tensor


def renewal(reliability: Tensor, age: Tensor, *, blend: float, all_steps: int, catch_up: float) -> StepBudget:
    """Dream as much anew as was given up; what is young, and here to stay, grows faster.

    Args:
        reliable: (1,1,H,W) in 0..1, where the carried dream is trusted.
        maturity: (1,1,H,W) in 0..1, how far the carried dream had grown.
        blend: share of it that is given up even there, 0..1.
        all_steps: gradient steps of a frame that carries nothing.
        catch_up: how many times as large steps are at most, at least 1.

    Returns:
        As many steps as all steps' share that was given up, on average over the image; at least one, with a lower
        rate, unless nothing was given up.
    """
    kept = (1 - blend) * reliability
    due = all_steps * (1 - (1 - blend) * reliability.mean().item())
    if due <= 0:
        return StepBudget(0, 1.0, None, kept * age)
    steps = max(1, round(due))
    rate = min(1.0, due / steps)
    grown = steps * rate / all_steps
    if catch_up == 1:
        return StepBudget(steps, rate, None, (kept * age + grown).clamp_max(1))
    step_scale = 1 + (catch_up - 1) * kept * (1 - age)
    return StepBudget(steps, rate, step_scale, (kept * age + grown * step_scale).clamp_max(1))
