"""Image -> dreamed image: the whole algorithm in one short loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import torch
from torch import Tensor

from ..image import (
    Size,
    check_image_settings,
    finish,
    kept_by_zoom,
    noise,
    require_image,
    resize,
    shift_brightness,
    size_of,
    zoom,
)
from ..models.dream_model import DreamModel
from ..models.labels import channel_indices
from ..settings import DreamSettings, ObjectiveSettings, OctaveCarry, OctaveSettings
from .ascent import StepCallback, check_ascent, climb
from .objectives import LayerTerm, Objective, check_objective, parse_layers, split_list
from .octaves import check_octaves, leave_out_small, octave_sizes
from .tiling import check_tiles, objective_gradient

LOOK_SIZE = 512
"""Longest side at which an image is looked at to choose channels; the choice needs no more."""


@dataclass(frozen=True)
class DreamStep:
    """What is told after each gradient step.

    Args:
        done, total: steps so far and in all, over all octaves and passes.
        octave, octaves: which size it is, from 1, and how many there are.
        objective: before the step, 0-dimensional.
        image: after the step, (1,3,h,w) in 0..1, at the octave's size.
    """

    done: int
    total: int
    octave: int
    octaves: int
    objective: Tensor
    image: Tensor


DreamCallback = Callable[[DreamStep], None]


def build_objective(settings: ObjectiveSettings, model: DreamModel) -> Objective:
    """The objective that the settings describe, for a network.

    Raises:
        SettingsError: the network has no such layer or channel, or no label has such a word.
    """
    weights = parse_layers(settings.layers) or {model.default_layer: 1.0}
    terms = tuple(
        LayerTerm(
            layer=name,
            weight=weight * settings.dream_weight,
            loss=settings.loss,
            channels=_channels(settings, model, name),
            channel_mode=settings.channel_mode,
            normalize=settings.normalize_weights,
        )
        for name, weight in weights.items()
    )
    return Objective(terms, settings.tv_weight, settings.l2_weight)


def _channels(settings: ObjectiveSettings, model: DreamModel, layer: str) -> tuple[int, ...]:
    words = split_list(settings.channels)
    if settings.channel_mode in ("all", "ignore"):
        if not words:
            return ()  # asking the network how many channels there are takes a while
        found = channel_indices(words, model.labels, layer=layer, channels=model.channels(layer))
        return tuple(found)
    check_objective(settings)  # one number
    return (int(words[0]),)


def choose_channels(image: Tensor, objective: Objective, model: DreamModel) -> Objective:
    """The objective with its channels chosen by what the network sees in an image (1,3,H,W)."""
    if not objective.looks:
        return objective
    factor = min(1.0, LOOK_SIZE / max(size_of(image)))
    small = resize(image, (max(1, round(image.shape[-2] * factor)), max(1, round(image.shape[-1] * factor))))
    with torch.no_grad():
        return objective.resolve(model.activations(small, objective.layers))


def visible_sizes(
    size: Size, settings: OctaveSettings, model: DreamModel, layers: Sequence[str]
) -> list[Size]:
    """The octave sizes of an image that are large enough for the layers; a warning names the others."""
    return leave_out_small(octave_sizes(size, settings), model.smallest_side(layers))


def check_dream(settings: DreamSettings, *, devices: int = 1) -> None:
    """Find mistakes that show without an image or a network.

    Args:
        settings: how to dream.
        devices: how many share the tiles of an image.

    Raises:
        SettingsError: a setting is out of range, or does not fit another.
    """
    check_objective(settings.objective)
    check_octaves(settings.octave)
    check_ascent(settings.ascent)
    check_tiles(settings.tile, devices=devices)
    check_image_settings(settings.image)


def dream_pass(
    image: Tensor, sizes: Sequence[Size], climb_octave: Callable[[Tensor], Tensor], *, carry: OctaveCarry
) -> Tensor:
    """Dream at one size after another.

    Args:
        image: (1,3,H,W).
        sizes: the octaves.
        climb_octave: (1,3,h,w) -> the same, dreamed.
        carry: "residual" hands only what was dreamed on to the next size, so that the image itself is never
            resampled; "image" hands on the whole.
    """
    full = size_of(image)
    if carry == "image":
        for size in sizes:
            image = resize(climb_octave(resize(image, size)), full)
        return image
    residual = torch.zeros_like(image)
    for size in sizes:
        base = resize(image, size)
        residual = climb_octave(base + resize(residual, size)) - base
    return image + resize(residual, full)


def dream(
    image: Tensor,
    models: Sequence[DreamModel],
    *,
    settings: DreamSettings,
    objective: Objective | None = None,
    colors: Tensor | None = None,
    step_scale: Tensor | None = None,
    on_step: DreamCallback | None = None,
) -> Tensor:
    """Dream on an image (Mordvintsev et al. 2015, "Inceptionism").

    The same image and settings give the same dream, whatever was dreamed before.

    Args:
        image: (1,3,H,W) RGB in 0..1.
        models: the network; more than one, on different devices, share the tiles of each image.
        settings: how to dream.
        objective: what to make more of; by default what `settings.objective` says.
        colors: (1,3,H,W), whose colors `settings.image.original_colors` keeps; by default the image.
        pace: (1,1,H,W), how much of each gradient step is taken where; by default all of it everywhere.
        on_step: told about every gradient step.

    Returns:
        The dreamed image, (1,3,H,W) float32 RGB in 0..1, on the device of the first model.

    Raises:
        ImageError: the image has the wrong shape, type or content.
        SettingsError: a setting is out of range or does not fit the network.
    """
    require_image(image)
    check_dream(settings, devices=len(models))
    kept_by_zoom(size_of(image), settings.image.zoom, settings.image.zoom_mode)
    model, look = models[0], settings.objective.channel_capture
    generator = torch.Generator().manual_seed(settings.ascent.seed)
    frame = image.detach().to(model.device, torch.float32)
    current = frame if settings.image.init == "image" else noise(size_of(frame), generator).to(model.device)
    objective = objective or build_objective(settings.objective, model)
    objective = choose_channels(current, objective, model) if look == "once" else objective
    sizes = visible_sizes(size_of(frame), settings.octave, model, objective.layers)
    report = _reporter(on_step, settings.octave, len(sizes))

    def gradient(view: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
        seen = choose_channels(view, objective, model) if look == "step" else objective
        return objective_gradient(models, seen, view, settings=settings.tile, generator=generator)

    def climb_octave(before: Tensor) -> Tensor:
        seen = choose_channels(before, objective, model) if look == "octave" else objective
        return climb(
            before,
            partial(gradient, objective=seen),
            steps=settings.octave.octave_steps,
            settings=settings.ascent,
            generator=generator,
            step_scale=None if step_scale is None else resize(step_scale, size_of(before)),
            on_step=report,
        )

    for iteration in range(settings.octave.iterations):
        if iteration:
            current = zoom(current, settings.image.zoom, settings.image.zoom_mode)
        begun = current
        current = dream_pass(begun, sizes, climb_octave, carry=settings.octave.octave_carry)
        if settings.image.keep_brightness:
            current = shift_brightness(current, begun)
    return finish(current, frame if colors is None else colors.to(frame), settings.image)


def _reporter(on_step: DreamCallback | None, settings: OctaveSettings, octaves: int) -> StepCallback | None:
    if on_step is None:
        return None
    counter, total = count(1), settings.iterations * octaves * settings.octave_steps

    def report(_: int, objective: Tensor, image: Tensor) -> None:
        done = next(counter)
        octave = (done - 1) // settings.octave_steps % octaves + 1
        on_step(DreamStep(done, total, octave, octaves, objective, image))

    return report
