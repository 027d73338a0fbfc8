"""Gradient ascent on a picture: one octave's climb."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor

from .errors import SettingsError
from .gradients import shape_gradient
from .settings import AscentSettings, OptimizerName, RandomTransforms
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


class BoundedLBFGS(torch.optim.Optimizer):
    """L-BFGS (Nocedal 1980) whose first step changes a value by `lr` on average, and no later step by more.

    Objectives often curve upwards and random views make their gradients noisy, where the method as it stands
    runs off. All curvature is therefore made positive before it is remembered (Li and Fukushima 2001, "A modified
    BFGS method and its global convergence in nonconvex minimization").
    """

    DAMPING = 0.1
    """Least curvature, in gradients per step. At 1 the steps soon die out, at 0 some networks fall."""

    def __init__(self, parameter: Tensor, *, lr: float, history_size: int) -> None:
        super().__init__([parameter], {"lr": lr})
        self._parameter = parameter
        self._last: tuple[Tensor, Tensor] | None = None
        # Steps, the changes of the gradient over them, and the products of both.
        self._pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=history_size)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Evaluate the closure, then step down the gradients it left so far."""
        loss, gradient = closure(), self._parameter.grad
        assert gradient is not None
        if self._last:
            self._remember(self._parameter - self._last[0], gradient - self._last[1], gradient.norm())
        self._last = self._parameter.clone(), gradient
        direction = self._newton(gradient)
        longest = self.param_groups[0]["lr"] / direction.abs().mean().clamp_min(1e-12)
        self._parameter.sub_(direction * (longest.clamp(max=1) if self._pairs else longest))
        return loss

    def _remember(self, step: Tensor, change: Tensor, slope: Tensor) -> None:
        length = step.norm()
        if length == 0:
            return
        upwards = (-(step * change).sum() / length.square()).clamp_min(0)
        change = change + (upwards + self.DAMPING * slope / length) * step
        self._pairs.append((step, change, (step * change).sum()))

    def _newton(self, gradient: Tensor) -> Tensor:
        """The inverse of the remembered curvature times a gradient: the two-loop recursion."""
        direction, shares = gradient.clone(), []
        for step, change, product in reversed(self._pairs):
            shares.append((step * direction).sum() / product)
            direction -= shares[-1] * change
        if self._pairs:
            _, change, product = self._pairs[-1]
            direction *= product / change.square().sum()
        for (step, change, product), share in zip(self._pairs, reversed(shares), strict=True):
            direction += (share - (change * direction).sum() / product) * step
        return direction


def check_ascent(settings: AscentSettings) -> None:
    """Raise a SettingsError for settings out of range."""
    for name, value, choices in (
        ("--optimizer", settings.optimizer, get_args(OptimizerName)),
        ("--random-transforms", settings.random_transforms, get_args(RandomTransforms)),
    ):
        if value not in choices:
            raise SettingsError(f"expected {name} to be one of {', '.join(choices)}, got '{value}'")
    if not (settings.learning_rate > 0 and settings.laplacian_sigma > 0 and settings.lbfgs_history > 0):
        raise SettingsError(
            "expected --learning-rate, --laplacian-sigma and --lbfgs-history above 0, got "
            f"{settings.learning_rate:g}, {settings.laplacian_sigma:g} and {settings.lbfgs_history}"
        )
    if settings.jitter < 0:
        raise SettingsError(f"expected --jitter of at least 0 pixels, got {settings.jitter}")
    percents = (settings.norm_percent, settings.abs_percent, settings.mean_percent)
    if not all(0 <= percent <= 100 for percent in percents):
        raise SettingsError(
            "expected --norm-percent, --abs-percent and --mean-percent from 0 to 100, got "
            + ", ".join(f"{percent:g}" for percent in percents)
        )


def _optimizer(picture: Tensor, settings: AscentSettings) -> torch.optim.Optimizer:
    lr = settings.learning_rate * LEVEL
    if settings.optimizer == "adam":
        return torch.optim.Adam([picture], lr=lr, fused=True)
    if settings.optimizer == "classic":
        return ClassicAscent([picture], lr=lr)
    return BoundedLBFGS(picture, lr=lr, history_size=settings.lbfgs_history)


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
        SettingsError: a setting is out of range, or the picture became infinite or not a number.
    """
    check_ascent(settings)
    # The layout that networks compute in: gradients come in it, and nothing has to be turned over.
    parameter = picture.detach().clone(memory_format=torch.channels_last)
    optimizer = _optimizer(parameter, settings)
    for step in range(1, steps + 1):
        view = random_view(settings, generator)

        def loss(view: Any = view) -> Tensor:
            value, slope = gradient(view.apply(parameter))
            # Adam's fused kernel takes for granted that a gradient lies in memory as its parameter does.
            parameter.grad = (
                torch.empty_like(parameter).copy_(shape_gradient(view.undo(slope), settings)).neg_()
            )
            return -value

        value = -torch.as_tensor(optimizer.step(loss))  # type: ignore[arg-type]
        if settings.clamp:
            parameter.clamp_(0, 1)
        if on_step:
            on_step(step, value, parameter.clone())
    if not torch.isfinite(parameter).all():
        raise SettingsError(
            "the dream left the range of numbers: its picture is no longer finite; lower --learning-rate, "
            "check the input for NaN, or use --precision float32"
        )
    return parameter
