"""Gradient ascent on a picture: one octave's climb."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .errors import SettingsError
from .gradients import shape_gradient
from .settings import AscentSettings
from .transforms import random_view

LEVEL = 1 / 255
"""One brightness level of an 8-bit picture: the unit of the learning rate."""

GradientFunction = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Picture (1,3,H,W) -> (objective, 0-dimensional; its gradient, (1,3,H,W))."""

StepCallback = Callable[[int, Tensor, Tensor], None]
"""Called after each step with its number from 1, the objective before it and the picture after it."""


class ClassicAscent(torch.optim.Optimizer):
    """Steps along the gradient divided by its mean magnitude (Mordvintsev et al. 2015)."""

    def __init__(self, parameters: list[Tensor], *, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate the closure, then step down the gradient it left."""
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            for parameter in group["params"]:
                size = parameter.grad.abs().mean().clamp_min(1e-12)
                parameter.addcdiv_(parameter.grad, size, value=-group["lr"])
        return loss


def _optimizer(picture: Tensor, settings: AscentSettings) -> tuple[torch.optim.Optimizer, float]:
    """An optimiser for the parameter `picture / unit`, and that unit."""
    if settings.optimizer == "adam":
        return torch.optim.Adam([picture], lr=settings.learning_rate * LEVEL, fused=True), 1.0
    if settings.optimizer == "classic":
        return ClassicAscent([picture], lr=settings.learning_rate * LEVEL), 1.0
    # L-BFGS begins with a step of L1 length lr, whatever the gradient. Counted in this unit that is
    # `learning_rate` levels for the average value.
    unit = picture.numel() * LEVEL
    parameter = picture.div_(unit)
    history = settings.lbfgs_history
    return torch.optim.LBFGS([parameter], lr=settings.learning_rate, max_iter=1, history_size=history), unit


def climb(
    picture: Tensor,
    gradient: GradientFunction,
    *,
    steps: int,
    settings: AscentSettings,
    generator: torch.Generator,
    on_step: StepCallback | None = None,
) -> Tensor:
    """Change a picture step by step so that its objective rises.

    Args:
        picture: (1,3,H,W) in 0..1; it is left as it is.
        gradient: the objective and its gradient.
        steps: number of steps.
        settings: optimiser, random views, gradient filters.
        generator: on the CPU; decides the random views.
        on_step: told about every step.

    Returns:
        The picture after the last step, (1,3,H,W).

    Raises:
        SettingsError: the objective became infinite or not a number.
    """
    parameter = picture.detach().clone()
    optimizer, unit = _optimizer(parameter, settings)
    for step in range(1, steps + 1):
        view = random_view(settings, generator)

        def loss(view: Any = view) -> Tensor:
            value, slope = gradient(view.apply(parameter * unit if unit != 1 else parameter))
            parameter.grad = shape_gradient(view.undo(slope), settings).mul(-unit)
            return -value

        value = -torch.as_tensor(optimizer.step(loss))  # type: ignore[arg-type]
        if settings.clamp:
            parameter.clamp_(0, 1 / unit)
        if on_step:
            on_step(step, value, parameter * unit)
    result = parameter * unit
    if not torch.isfinite(result).all():
        raise SettingsError(
            "the dream left the range of numbers: its picture is no longer finite; lower --learning-rate, "
            "check the input for NaN, or use --precision float32"
        )
    return result
