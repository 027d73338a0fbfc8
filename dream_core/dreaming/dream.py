"""The dream of one image: the whole algorithm in one short loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..checks import validate
from ..device import is_out_of_memory, tf32
from ..errors import OutOfMemoryError, SettingsError
from ..free_memory import free_memory
from ..image import (
    Size,
    finish,
    kept_by_zoom,
    noise,
    require_image,
    require_mask,
    resize,
    shift_colors,
    size_of,
    zoom,
)
from ..models.dream_model import DreamModel
from ..settings import DreamSettings, require_tiles
from .ascent import ascend
from .graphs import StepGraphs
from .masks import masked_part
from .memory import MARGIN, fitting_tiles, free_cached, likely_memory, smaller_tiles
from .objectives import Objective, build_objective, choose_channels
from .octaves import part_size, smallest_image, visible_sizes
from .step_plan import plan_steps


@dataclass(frozen=True)
class DreamStep:
    """Progress of a dream after one gradient step.

    Args:
        done, total: steps so far and in all, over all octaves and passes.
        octave, octaves: number of the size, from 1, and number of sizes.
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


class ImageDreamer:
    """Dreams single images (Mordvintsev et al. 2015, "Inceptionism").

    Settings are checked and the objective is built once. If memory runs out, this image and all later ones are
    dreamed in tiles of at most half the size, with a warning; `fit` chooses them before.

    Args:
        models: the network, once per device; the devices share the tiles of each image.
        settings: all settings of the dream.
        objective: the number to raise; by default the one that `settings.objective` describes.
        free: called after each attempt that ran out of memory, once its tensors are gone; returns True if it freed
            what something else held, so that the same attempt is worth another try.
        graphs: records steps on an NVIDIA GPU.

    Raises:
        SettingsError: a setting is out of range, or does not fit another or the network.
    """

    def __init__(
        self,
        models: Sequence[DreamModel],
        *,
        settings: DreamSettings,
        objective: Objective | None = None,
        free: Callable[[], bool] = free_cached,
        graphs: StepGraphs | None = None,
    ) -> None:
        validate(settings)
        require_tiles(settings.tile, devices=len(models))
        self.models = models
        self.settings = settings
        self.objective = objective or build_objective(settings.objective, models[0])
        if self.objective.needs_whole and settings.tile.tile_size:
            raise SettingsError(
                f"expected `tile_size` 0 for a neuron, which is in one tile alone, got {settings.tile.tile_size}"
            )
        self.free = free
        self.graphs = graphs
        self._devices = [model.device for model in models]

    @property
    def device(self) -> torch.device:
        """The device that the dreams are on."""
        return self._devices[0]

    def fits(self, size: Size, *, beside: float) -> bool:
        """Return whether there is memory for the tiles as they are; the arguments are those of `fit`."""
        needed = MARGIN * likely_memory(self.models[0], self.objective, size, self.settings.tile)
        return beside + needed <= free_memory(self.device)

    def fit(self, size: Size, *, beside: float = 0.0, margin: float = MARGIN) -> None:
        """Choose tiles for which there is memory, before the first attempt; smaller ones with a warning.

        Args:
            size: of the images to come, height and width.
            beside: bytes that will be taken besides a step's.
            margin: factor on the estimate of a step.

        Raises:
            OutOfMemoryError: there is too little even for the smallest tiles.
        """
        choose = partial(
            fitting_tiles,
            self.models[0],
            self.objective,
            size,
            self.settings.tile,
            beside=beside,
            margin=margin,
        )
        try:
            tile, told = choose()
        except OutOfMemoryError:
            if not self.free():
                raise
            tile, told = choose()
        if told:
            warnings.warn(told, stacklevel=2)
        self.settings = replace(self.settings, tile=tile)

    def __call__(
        self,
        image: Tensor,
        *,
        settings: DreamSettings | None = None,
        objective: Objective | None = None,
        colors: Tensor | None = None,
        renewal: Tensor | None = None,
        mask: Tensor | None = None,
        means: np.ndarray | None = None,
        wait: bool = True,
        on_step: DreamCallback | None = None,
    ) -> Tensor:
        """Dream on an image. The dream depends on the image and the settings alone, not on earlier calls.

        Args:
            image: (1,3,H,W) RGB in 0..1.
            settings: used instead of the dreamer's own, except for the tiles; not checked again.
            objective: likewise; its layers are among those of the dreamer's own, by which memory is estimated.
            colors: (1,3,H,W), source of the colors for `settings.image.original_colors`, and of the mean colors for
                `settings.image.keep_brightness`; by default the image.
            renewal: (1,1,H,W) in 0..1, share of all steps that is due at each pixel: 0 = the image stays as it is;
                by default 1 everywhere.
            mask: (1,1,H,W) in 0..1, share of each step that is taken, from `prepare_mask`. Where it is 0, the image
                comes back to the last bit; only the part around the rest is computed.
            means: `cell_means` of the renewal without a mask, if they were read already: reading them makes the
                program wait for a GPU.
            wait: False: a dream on a GPU that is not finite is no error, for which the program would have to wait.
                It is NaN everywhere, which `require_finite` tells once the dream has been copied to the CPU.
            on_step: called after every gradient step, including those of failed attempts.

        Returns:
            The dreamed image, (1,3,H,W) float32 RGB in 0..1, on the device of the first model.

        Raises:
            ImageError: the image or the renewal has the wrong shape, type or values.
            OutOfMemoryError: there is too little memory for the smallest tiles.
            RuntimeError: a network was moved to another device.
            SettingsError: the dream is not finite, or a setting does not fit the image.
        """
        require_image(image, batch=1)
        for name, one in (("renewal", renewal), ("mask", mask)):
            if one is not None:
                require_mask(one, like=image, name=name, values=False)
        self._require_devices()
        size, settings = size_of(image), settings or self.settings
        objective = objective or self.objective
        while True:
            try:
                with tf32(not self.models[0].exact):
                    dreamed = self._dream(
                        image,
                        settings=replace(settings, tile=self.settings.tile),
                        objective=objective,
                        colors=colors,
                        renewal=renewal,
                        mask=mask,
                        means=means,
                        on_step=on_step,
                    )
                if wait or dreamed.device.type == "cpu":
                    require_finite(dreamed)
                return dreamed
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                problem = str(error).partition("\n")[0]
            # The traceback held the tensors of the attempt; outside of `except` it is gone.
            if self.graphs:
                self.graphs.clear()
            if self.free():
                continue
            tile = smaller_tiles(self.models[0], self.objective, size, self.settings.tile, problem=problem)
            warnings.warn(
                f"memory ran out: going on with tiles of {tile.tile_size} pixels; set `tile_size` to that or less "
                "to avoid the failed attempt",
                stacklevel=2,
            )
            self.settings = replace(self.settings, tile=tile)

    def _dream(
        self,
        image: Tensor,
        *,
        settings: DreamSettings,
        objective: Objective,
        colors: Tensor | None,
        renewal: Tensor | None,
        mask: Tensor | None,
        means: np.ndarray | None,
        on_step: DreamCallback | None,
    ) -> Tensor:
        """Dream on an image, or on the part of it around a mask. Copies to the device are made here."""
        dream = partial(
            dream_octaves,
            models=self.models,
            settings=settings,
            graphs=self.graphs,
            on_step=on_step,
        )
        if mask is None:
            return dream(image, objective=objective, colors=colors, renewal=renewal, means=means)
        image = image.detach().to(self.device, torch.float32)
        least = self.models[0].smallest_side(objective.layers)
        part = masked_part(mask, smallest=smallest_image(size_of(image), settings.octave, least))
        if part is None:
            return image.clone()
        colors, renewal, mask = (
            None if one is None else part.crop(one.to(image)) for one in (colors, renewal, mask)
        )
        dreamed = image.clone()
        seen = part.crop(image)
        of_part = dream(
            seen,
            objective=objective.seen(part.cut),
            colors=colors,
            renewal=renewal,
            mask=mask,
            whole=size_of(image),
        )
        part.crop(dreamed).copy_(of_part)
        return dreamed

    def _require_devices(self) -> None:
        found = [model.device for model in self.models]
        if found != self._devices:
            raise RuntimeError(
                f"expected the network on {', '.join(map(str, self._devices))}, where this dreamer was made, got "
                f"{', '.join(map(str, found))}; move it back, or make a new dreamer"
            )


def dream(
    image: Tensor,
    models: Sequence[DreamModel],
    *,
    settings: DreamSettings,
    objective: Objective | None = None,
    colors: Tensor | None = None,
    on_step: DreamCallback | None = None,
) -> Tensor:
    """Dream on one image. For several images, `ImageDreamer` checks the settings only once.

    Args:
        image: (1,3,H,W) RGB in 0..1.
        models, settings, objective: see `ImageDreamer`.
        colors, on_step: see `ImageDreamer.__call__`.

    Returns:
        The dreamed image, (1,3,H,W) float32 RGB in 0..1, on the device of the first model.

    Raises:
        ImageError: the image has the wrong shape, type or content.
        OutOfMemoryError: there is too little memory for the smallest tiles.
        SettingsError: a setting is out of range or does not fit the network.
    """
    return ImageDreamer(models, settings=settings, objective=objective)(image, colors=colors, on_step=on_step)


def dream_octaves(
    image: Tensor,
    models: Sequence[DreamModel],
    *,
    settings: DreamSettings,
    objective: Objective,
    colors: Tensor | None = None,
    renewal: Tensor | None = None,
    mask: Tensor | None = None,
    whole: Size | None = None,
    means: np.ndarray | None = None,
    graphs: StepGraphs | None = None,
    on_step: DreamCallback | None = None,
) -> Tensor:
    """Dream at one size after another: the loop of `ImageDreamer`, without its checks.

    A dream that is not finite is NaN everywhere. If the image is a part of another, `whole` is the size of that,
    whose octaves are taken.
    """
    size, image_settings = size_of(image), settings.image
    kept_by_zoom(size, image_settings.zoom, image_settings.zoom_mode)
    generator = torch.Generator().manual_seed(settings.ascent.seed)
    frame = image.detach().to(models[0].device, torch.float32)
    own_colors = frame if colors is None else colors.to(frame)
    current = frame if image_settings.init == "image" else noise(size, generator).to(frame.device)
    if mask is not None:
        current = torch.lerp(frame, current, mask)
        renewal = mask if renewal is None else renewal * mask
    if settings.objective.channel_capture == "once":
        objective = choose_channels(current, objective, models[0])
    sizes = visible_sizes(whole or size, settings.octave, models[0].smallest_side(objective.layers))
    if whole is not None:
        sizes = [part_size(size, whole, octave) for octave in sizes]
    plan = plan_steps(renewal, settings.octave.octave_steps, means=means)
    reporter = on_step and StepReporter(
        on_step, steps=plan.steps, octaves=len(sizes), iterations=settings.octave.iterations
    )
    climb = partial(
        ascend,
        models=models,
        objective=objective,
        settings=settings,
        generator=generator,
        plan=plan,
        graphs=graphs,
        on_step=reporter,
    )
    for iteration in range(settings.octave.iterations):
        if iteration:
            current = zoom(current, image_settings.zoom, image_settings.zoom_mode)
        start = current
        if settings.octave.octave_carry == "image":
            for octave in sizes:
                current = resize(climb(resize(current, octave)), size)
        else:
            # Only the residual is resized from one octave to the next: the image itself is never resampled.
            residual = torch.zeros_like(start)
            for octave in sizes:
                base = resize(start, octave)
                residual = climb(base + resize(residual, octave)) - base
            current = start + resize(residual, size)
        if image_settings.keep_brightness:
            current = shift_colors(current, own_colors, mask)
    finished = finish(current, own_colors, image_settings)
    if mask is not None:
        finished = torch.where(mask > 0, torch.lerp(current, finished, mask), frame)
    # Once for the whole dream, and without reading a value, for which the program would wait for a GPU.
    return torch.where(torch.isfinite(current).all(), finished, torch.nan)


def require_finite(dreamed: Tensor) -> None:
    """Raise a SettingsError if a dream of `dream_octaves` was not finite; on a GPU, the program waits for it."""
    if dreamed.flatten()[0].isnan():
        raise SettingsError(
            "expected a finite dream, got NaN or infinite values; lower `learning_rate`, check the input for NaN, "
            "or use `precision` float32"
        )


class StepReporter:
    """Reports the steps of single octaves as the progress of the whole dream.

    Args:
        on_step: called with a `DreamStep`.
        steps: number at each size.
        octaves: number of sizes.
        iterations: number of passes over them.
    """

    def __init__(self, on_step: DreamCallback, *, steps: int, octaves: int, iterations: int) -> None:
        self._on_step = on_step
        self._steps, self._octaves = steps, octaves
        self._done, self._total = 0, iterations * octaves * steps

    def __call__(self, objective: Tensor, image: Tensor) -> None:
        """Report one step: the objective before it and the image (1,3,h,w) after it."""
        octave = self._done // self._steps % self._octaves + 1
        self._done += 1
        self._on_step(DreamStep(self._done, self._total, octave, self._octaves, objective, image))
