"""Gradient ascent on an image, at one size."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..device import layout
from ..image import size_of
from ..models.dream_model import DreamModel
from ..settings import AscentSettings, DreamSettings
from .gradients import shape_gradient
from .graphs import StepGraphs
from .objectives import Objective, choose_channels, resized
from .step_plan import StepPlan
from .tiling import objective_gradient
from .transforms import AffineView, View, random_view

LEVEL = 1 / 255
"""One brightness level of an 8-bit image: the unit of the learning rate."""

StepCallback = Callable[[Tensor, Tensor], None]
"""Called after each step with the objective before it, 0-dimensional, and the image after it, (1,3,H,W)."""


class ClassicAscent(torch.optim.Optimizer):
    """Steps along the gradient divided by its mean magnitude (Mordvintsev et al. 2015)."""

    def __init__(self, parameters: list[Tensor], *, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step down the gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                size = parameter.grad.abs().mean().clamp_min(1e-12)
                self._move(parameter, size, group["lr"])

    def _move(self, parameter: Tensor, size: Tensor, lr: float) -> None:
        assert parameter.grad is not None
        parameter.addcdiv_(parameter.grad, size, value=-lr)


class CleanAscent(ClassicAscent):
    """Classic steps that shrink where they near black or white, as film exposes: nothing burns out."""

    SHOULDER = 0.25
    """Distance from black or white, of 1, at which steps begin to shrink. Wider pales the brightest parts."""

    def _move(self, parameter: Tensor, size: Tensor, lr: float) -> None:
        assert parameter.grad is not None
        # A negative gradient brightens.
        room = torch.where(parameter.grad < 0, 1 - parameter, parameter)
        # Squared, because a dream takes so many steps that a linear shoulder ends at black all the same.
        room = room.div_(self.SHOULDER).clamp_(0, 1).square_()
        parameter.add_((parameter.grad / size).mul_(room), alpha=-lr)


class BoundedLBFGS(torch.optim.Optimizer):
    """L-BFGS (Nocedal 1980) whose first step changes a value by `lr` on average, and no later step by more.

    Objectives often curve upwards, and random views make their gradients noisy: plain L-BFGS diverges on them. All
    curvature is therefore made positive before it is stored (Li and Fukushima 2001, "A modified BFGS method and its
    global convergence in nonconvex minimization").
    """

    DAMPING = 0.1
    """Least curvature, in gradients per step. At 1 the steps soon vanish; at 0 some objectives fall."""

    def __init__(self, parameter: Tensor, *, lr: float, history_size: int) -> None:
        super().__init__([parameter], {"lr": lr})
        self._parameter = parameter
        self._last: tuple[Tensor, Tensor] | None = None
        # Steps, the changes of the gradient over them, and the products of both.
        self._pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=history_size)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step down the gradient, corrected by the curvature that earlier steps measured."""
        gradient = self._parameter.grad
        assert gradient is not None
        if self._last:
            self._remember(self._parameter - self._last[0], gradient - self._last[1], gradient.norm())
        self._last = self._parameter.clone(), gradient
        direction = self._newton(gradient)
        longest = self.param_groups[0]["lr"] / direction.abs().mean().clamp_min(1e-12)
        self._parameter.sub_(direction * (longest.clamp(max=1) if self._pairs else longest))

    def _remember(self, step: Tensor, change: Tensor, slope: Tensor) -> None:
        length = step.norm()
        if length == 0:
            return
        upwards = (-(step * change).sum() / length.square()).clamp_min(0)
        change = change + (upwards + self.DAMPING * slope / length) * step
        self._pairs.append((step, change, (step * change).sum()))

    def _newton(self, gradient: Tensor) -> Tensor:
        """Multiply a gradient by the inverse of the stored curvature, by the two-loop recursion."""
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


def make_optimizer(
    image: Tensor, settings: AscentSettings, *, strength: float = 1.0
) -> torch.optim.Optimizer:
    """Make the optimizer that the settings name.

    Args:
        image: (1,3,H,W), which it changes in place.
        settings: its name, and the size of its steps.
        strength: factor of that size.
    """
    lr = settings.learning_rate * strength * LEVEL
    if settings.optimizer == "adam":
        # Other devices have no fused kernel.
        return torch.optim.Adam([image], lr=lr, fused=image.device.type in ("cpu", "cuda"))
    if settings.optimizer == "clean":
        return CleanAscent([image], lr=lr)
    if settings.optimizer == "classic":
        return ClassicAscent([image], lr=lr)
    return BoundedLBFGS(image, lr=lr, history_size=settings.lbfgs_history)


def ascend(
    image: Tensor,
    models: Sequence[DreamModel],
    objective: Objective,
    *,
    settings: DreamSettings,
    plan: StepPlan,
    generator: torch.Generator,
    graphs: StepGraphs | None = None,
    on_step: StepCallback | None = None,
) -> Tensor:
    """Change an image step by step so that its objective rises.

    A step on a part of the image takes the gradient of that part alone, at the strength that the last gradient of
    the whole had there.

    Args:
        image: (1,3,H,W) in 0..1; it is not modified.
        models: the network, once per device; the image is on the first device.
        objective: the number to raise.
        settings: optimizer, random views, gradient filters and tiles; already validated.
        plan: number, size and place of the steps.
        generator: on the CPU; draws the random views.
        graphs: for steps on the whole image on an NVIDIA GPU.
        on_step: called after every step.

    Returns:
        The image after the last step, (1,3,H,W).

    Raises:
        SettingsError: a layer or a channel does not exist.
    """
    capture, size = settings.objective.channel_capture, size_of(image)
    objective = objective.seen(partial(resized, size=size))
    if capture == "octave":
        objective = choose_channels(image, objective, models[0])
    # The networks and their gradients have this layout too: nothing has to be converted.
    parameter = image.detach().clone(memory_format=layout(image.device))
    gradient = torch.zeros_like(parameter)
    optimizer = make_optimizer(parameter, settings.ascent, strength=objective.strength)
    scales = plan.scales(size)
    crop = None if objective.needs_whole else plan.crop(size, models[0].smallest_side(objective.layers))
    for step in range(plan.steps):
        alone = crop if step >= plan.whole else None
        scale = scales[step >= plan.whole]
        seen = parameter if alone is None else alone.crop(parameter)
        value, fresh = step_gradient(
            seen,
            models,
            objective if alone is None else objective.seen(alone.cut),
            settings=settings,
            generator=generator,
            graphs=graphs if alone is None else None,
        )
        if alone is None:
            gradient = fresh
        else:
            stale = alone.crop(gradient)
            stale.copy_(fresh * (stale.abs().mean() / fresh.abs().mean().clamp_min(1e-12)))
        # Adam's fused kernel assumes that gradient and parameter have the same memory layout.
        parameter.grad = torch.empty_like(parameter).copy_(gradient).neg_()
        before = parameter if scale is None else parameter.clone()
        optimizer.step()
        if scale is not None:
            parameter.copy_(torch.lerp(before, parameter, scale))
        if settings.ascent.clamp:
            parameter.clamp_(0, 1)
        if on_step:
            on_step(value, parameter.clone())
    return parameter


def step_gradient(
    image: Tensor,
    models: Sequence[DreamModel],
    objective: Objective,
    *,
    settings: DreamSettings,
    generator: torch.Generator,
    graphs: StepGraphs | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the objective of a random view of an image (1,3,H,W), and its gradient after the filters."""
    view, size = random_view(settings.ascent, generator), size_of(image)
    if settings.objective.channel_capture == "step":
        objective = choose_channels(view.apply(image), objective, models[0])
    compute = partial(
        view_gradient, models=models, objective=objective, settings=settings, generator=generator
    )
    # What is at its place, or in crops, changes from step to step: a graph cannot record it.
    if graphs is None or objective.is_placed or objective.texts or not can_record(image, settings):
        return compute(image, None, view=view)
    # The gradient does not depend on the size of the step, which a schedule may change at every frame.
    key = view.shape, size, objective, replace(settings.ascent, learning_rate=AscentSettings.learning_rate)
    owner = models[0].extractor(objective.layers)
    function = partial(compute, view=view.shape)
    value, gradient = graphs(key, owner, function, image, view.numbers(size, "cpu"))
    return value.clone(), gradient


def can_record(image: Tensor, settings: DreamSettings) -> bool:
    """Return whether a step on an image can be a CUDA graph: in one piece, with channels chosen before."""
    in_one_piece = settings.tile.tile_size == 0 or max(size_of(image)) <= settings.tile.tile_size
    return (
        image.is_cuda
        and in_one_piece
        and settings.objective.channel_capture != "step"
        and not torch.are_deterministic_algorithms_enabled()  # which samples on the CPU
    )


def view_gradient(
    image: Tensor,
    numbers: Tensor | None,
    *,
    view: View | AffineView,
    models: Sequence[DreamModel],
    objective: Objective,
    settings: DreamSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Compute `step_gradient` for a view. In one piece, no value is read on the CPU.

    Args:
        image: (1,3,H,W).
        numbers: replace those of the view.
        view, models, objective, settings, generator: as in `step_gradient`.
    """
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        view_of_leaf = view.apply(leaf) if numbers is None else view.look(leaf, numbers)
    seen = view_of_leaf.detach()
    objective = objective.seen(lambda one, nearest: view.apply(one, nearest=nearest))
    value, gradient = objective_gradient(models, objective, seen, settings=settings.tile, generator=generator)
    gradient = torch.autograd.grad(view_of_leaf, leaf, gradient)[0]
    return value, shape_gradient(gradient, settings.ascent)
