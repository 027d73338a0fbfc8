"""DeepDream: the node that dreams images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..dream_core.dreaming.dream import DreamStep, ImageDreamer
from ..dream_core.dreaming.guide import Guides
from ..dream_core.dreaming.masks import prepare_mask, within_reach
from ..dream_core.dreaming.memory import step_memory
from ..dream_core.dreaming.objectives import Objective, build_objective
from ..dream_core.errors import ImageError
from ..dream_core.image import Size, size_of
from ..dream_core.settings import (
    AscentSettings,
    DreamSettings,
    ImageSettings,
    MaskSettings,
    ObjectiveSettings,
    OctaveSettings,
    TileSettings,
)
from .adapters import categories, host
from .adapters.images import alpha_of, fit_masks, from_image, from_mask, to_image
from .adapters.looks import Chosen, check_look, with_look
from .adapters.models import model_on_device
from .adapters.objectives import (
    Objectives,
    ObjectiveSocket,
    build,
    check_counts,
    check_objectives,
    guides_at,
    networks_of,
    regions_at,
)
from .adapters.sockets import DreamModelSocket
from .adapters.widgets import widgets
from .adapters.working import working
from .objective import ON_THE_DREAM


def network_inputs() -> list[io.Input]:
    """List the sockets of the network that dreams and of its objective."""
    return [
        DreamModelSocket.Input(
            "dream_model",
            optional=True,
            tooltip="The network that dreams, from Load Dream Model. Not connected: the look's; with custom, auto.",
        ),
        ObjectiveSocket.Input(
            "objective",
            optional=True,
            tooltip="What to make more of, from Dream Objective, Dream Guide or Dream Text. Not connected: the "
            "look's; with custom, the network's default layer.",
        ),
    ]


def mask_input(images: str) -> io.Input:
    """Make the socket of the mask of images, which are called so."""
    return io.Mask.Input(
        "mask",
        optional=True,
        tooltip="Where to dream: white dreams, black stays as it is, to the last bit. Only the part around the "
        f"white is computed. One for all {images} or one for each, in their proportions. Not connected: "
        "everywhere.",
    )


def dream_widgets() -> list[io.Input]:
    """Make the widgets of how to dream an image, without those of its objective."""
    return [
        *widgets(OctaveSettings, AscentSettings, TileSettings, ImageSettings),
        *widgets(ObjectiveSettings, only=ON_THE_DREAM),
    ]


def make_dreamer(
    chosen: Chosen,
    patcher: Any,
    objectives: Objectives | None,
    free: Callable[[], bool],
    *,
    size: Size,
    objective: Objective | None = None,
) -> ImageDreamer:
    """Make a dreamer of images from a look or from the values of `dream_widgets`, and memory for it.

    Args:
        chosen: the settings.
        patcher: from a DREAM_MODEL socket.
        objectives: from an objective socket; without any, the look's or the network's default.
        free: frees memory when it runs out, see `ImageDreamer`.
        size: of the images, height and width.
        objective: in place of the sum of `objectives`.

    Raises:
        SettingsError: a value is out of range or does not fit another, or the network has no such layer or channel.
        WireError: a socket carries something else.
    """
    model = model_on_device(patcher)
    name = model.spec.name
    if chosen.look and not objectives:
        chosen.look.warn_left_out(name)
    own = chosen.settings(ObjectiveSettings, only=ON_THE_DREAM, model=name)
    settings = DreamSettings(
        objective=own,
        octave=chosen.settings(OctaveSettings),
        ascent=chosen.settings(AscentSettings),
        tile=chosen.settings(TileSettings),
        image=chosen.settings(ImageSettings),
        mask=chosen.settings(MaskSettings),
    )
    objective = objective or (build(objectives, model) if objectives else build_objective(own, model))
    dreamer = ImageDreamer([model], settings=settings, objective=objective, free=free)
    beside = networks_of(check_objectives(objectives))
    model_on_device(patcher, beside=beside, memory=step_memory(model, objective, size, settings.tile))
    return dreamer


class Dream(io.ComfyNode):
    """Dreams each image of a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamImage",
            display_name="DeepDream",
            category=categories.DREAM,
            description="Dreams each image: what the chosen layers of the network look for grows in it.",
            search_aliases=["deep dream", "inceptionism", "hallucinate", "dream image", "psychedelic"],
            inputs=[
                io.Image.Input("image", tooltip="The images to dream on. Each is dreamed by itself."),
                *network_inputs(),
                io.Image.Input(
                    "colors",
                    optional=True,
                    tooltip="Images whose mean color the dream keeps, or all their colors if "
                    "original_colors is on: one for all, or one for each, of the same size. In a loop, the "
                    "frame. Not connected: the images themselves.",
                ),
                io.Mask.Input(
                    "renewal",
                    optional=True,
                    tooltip="Where to dream, and how much: 1 = all octave_steps, 0 = none. In a loop, from "
                    "Temporal Blend: most steps go where no dream could be carried. One for all images, or one "
                    "for each, of the same size. Not connected: all steps everywhere.",
                ),
                mask_input("images"),
                *with_look(*dream_widgets(), *widgets(MaskSettings)),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The dreamed images.")],
            accept_all_inputs=True,  # otherwise ComfyUI drops a choice that it does not know
        )

    @classmethod
    def validate_inputs(cls, look: Any = None, octave_mode: Any = None, optimizer: Any = None) -> bool | str:
        """Name the nearest look, where there is none of the name. ComfyUI hands over choices in any case."""
        return check_look(look)

    @classmethod
    def fingerprint_inputs(cls, **values: Any) -> Any:
        """Return the time of change of the weight file, if no network is wired."""
        return Chosen.fingerprint(values, flow=False)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        dream_model: Any = None,
        objective: Objectives | None = None,
        colors: Tensor | None = None,
        renewal: Tensor | None = None,
        mask: Tensor | None = None,
        **values: Any,
    ) -> io.NodeOutput:
        with working():
            dreamed = dream_images(
                from_image(image),
                dream_model,
                objective,
                Chosen(values),
                colors=None if colors is None else from_image(colors, name="colors"),
                renewal=None if renewal is None else from_mask(renewal, name="renewal"),
                mask=None if mask is None else from_mask(mask),
            )
            return io.NodeOutput(to_image(dreamed, alpha=alpha_of(image)))


def dream_images(
    images: Tensor,
    dream_model: Any,
    objectives: Objectives | None,
    chosen: Chosen,
    *,
    colors: Tensor | None,
    renewal: Tensor | None,
    mask: Tensor | None,
) -> Tensor:
    """Dream each image of a batch by itself; after memory ran out, in smaller tiles.

    Args:
        images: (B,3,H,W) in 0..1.
        dream_model: from a DREAM_MODEL socket, or None for the look's.
        objectives: from an objective socket, or None for the look's.
        chosen: how to dream.
        colors: (1,3,H,W) or (B,3,H,W), see `dream`.
        renewal: (1,1,H,W) or (B,1,H,W) in 0..1, see `ImageDreamer.__call__`.
        mask: (1,1,h,w) or (B,1,h,w) in 0..1, before the settings of the mask.

    Returns:
        (B,3,H,W) float32 on the CPU.

    Raises:
        ImageError, SettingsError: see `dream`.
        OutOfMemoryError: there is too little memory for the smallest tiles.
    """
    _check_size("colors", colors, images)
    _check_size("renewal", renewal, images)
    masks = fit_masks(mask, len(images), size_of(images))
    if masks is not None:
        masks = prepare_mask(masks, chosen.settings(MaskSettings))
    patcher = chosen.dream_model(dream_model)

    def free() -> bool:
        others = host.free_memory(patcher, *networks_of(wired))
        model_on_device(patcher)  # it was evicted too
        return others

    wired = check_objectives(objectives)
    check_counts(wired, len(images), size_of(images))
    if any(one.part.schedules for one in wired):
        host.tell("the schedules of the objective give an image their values at frame 0")
    dream = make_dreamer(chosen, patcher, objectives, free, size=size_of(images))
    dream.fit(size_of(images))
    report, look_at = _reporter(len(images)), Guides()
    dreams = torch.empty(images.shape)
    for index in range(len(images)):
        # A copy is not an inference tensor, so gradients can pass it.
        image = images[index, None].clone(memory_format=torch.contiguous_format)
        guides = [one[None] for one in guides_at(wired, index)]
        regions = {name: one[None] for name, one in regions_at(wired, index, size_of(images)).items()}
        objective = look_at(guides, dream.objective, dream.models[0]).in_regions(regions)
        dreams[index] = dream(
            image,
            objective=objective,
            colors=_at(colors, index),
            renewal=_at(renewal, index),
            mask=within_reach(_at(masks, index), objective, dream.settings.mask),
            on_step=partial(report, index),
        )[0]
    return dreams


def _check_size(name: str, batch: Tensor | None, images: Tensor) -> None:
    """Raise an ImageError unless a batch has one entry, or one for each image, of the images' size."""
    if batch is None:
        return
    if batch.shape[2:] != images.shape[2:] or len(batch) not in (1, len(images)):
        raise ImageError(
            f"expected {name} as one image, or one for each, of {_sizes(images)}, got {_sizes(batch)}; resize it"
        )


def _at(batch: Tensor | None, index: int) -> Tensor | None:
    return None if batch is None else batch[min(index, len(batch) - 1), None].clone()


def _sizes(images: Tensor) -> str:
    count, _, height, width = images.shape
    return f"{count} x {width}x{height} pixels"


def _reporter(images: int) -> Callable[[int, DreamStep], None]:
    """Make a callback (index of an image, its step) that moves the progress bar of the whole batch."""
    progress = host.Progress()

    def report(index: int, step: DreamStep) -> None:
        progress.update(index * step.total + step.done, images * step.total, step.image)

    return report
