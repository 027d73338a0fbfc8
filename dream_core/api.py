"""Main functions: dream a video or an image, with every option as a flat keyword."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from torch import Tensor

from .device import backends
from .dreaming.dream import DreamCallback
from .dreaming.guide import Guides
from .dreaming.masks import prepare_mask, within_reach
from .dreaming.objectives import Objective, require_region
from .errors import ImageError, Notice, SettingsError
from .flat_options import fill_settings
from .image import Size, describe, fit_mask, luma, require_image, size_of
from .looks import with_look
from .models.image_text import ImageTextEncoder
from .models.weights import Progress
from .motion.saved_flow import add_saved_flow
from .pipeline import (
    check_alongside,
    dream_clip,
    load_dreamer,
    load_image_dreamer,
    open_keep_folder,
    open_output_like,
    open_previous,
)
from .resume import work_folder
from .schedules.schedules import Moment
from .settings import DreamSettings, InputSettings, OutputSettings, PipelineSettings, with_guide
from .sound.listen import hear
from .temporal.dreamer import DreamedFrame
from .video import Frame, open_clip
from .video.clip import FrameFlow
from .video.containers import require_apart
from .video.images import load_image


def dream_video(
    source: str | Path,
    target: str | Path,
    *,
    look: str | Path | None = None,
    encoder: ImageTextEncoder | None = None,
    on_frame: Callable[[Frame, DreamedFrame], None] | None = None,
    on_step: DreamCallback | None = None,
    on_download: Progress | None = None,
    **options: Any,
) -> Path:
    """Dream a video into a file. The sound is kept.

    A run that was stopped or killed goes on, if it is called again with the same source and options.

        dream_video("in.mp4", "out.mp4", look="creatures", size=512)

    Args:
        source: video, GIF, image or folder of images.
        target: video, GIF, image or folder of images; a name without a suffix is a folder.
        look: name of a look (`dream_core.looks.look_names`) or a .json file of one: options to start from.
        encoder: compares images with `text`; by default the network of open_clip that `text_model` names.
        on_frame: called after each frame is written.
        on_step: called after each gradient step.
        on_download: called while weights are downloaded, with the number of bytes done and in all.
        options: any fields of the classes in `dream_core.settings`, such as `octave_steps` or `model`; the
            others are the look's, or have the command's defaults.

    Returns:
        The path of the dreamed file.

    Raises:
        SettingsError: the look or an option is unknown, or an option is out of range, or differs from those of the
            run that it would go on.
        VideoError: the source cannot be read, or the target cannot be written.
        WeightsError: weights are missing or wrong.
    """
    pipeline, reading, writing = fill_settings(
        with_look(look, options), PipelineSettings, InputSettings, OutputSettings
    )
    require_apart(Path(target), Path(source))
    pipeline = with_guide(pipeline) if reading.guide else pipeline
    with backends(pipeline.device), open_clip(Path(source), settings=reading) as clip:
        add_saved_flow(clip, Path(source), reading)
        work = work_folder(Path(source), Path(target), pipeline=pipeline, reading=reading, writing=writing)
        goes_on = work.exists()
        previous = open_previous(clip, pipeline.temporal, reading=reading, writing=writing, goes_on=goes_on)
        heard = hear(clip, pipeline.listen, pipeline.envelope, start=reading.start)
        dreamer = load_dreamer(pipeline, schedules=heard, encoder=encoder, progress=on_download)
        check_alongside(dreamer, reading)
        with open_output_like(clip, Path(target), settings=writing, work=work) as output:
            dream_clip(
                clip,
                dreamer,
                output,
                previous=previous,
                save_last=writing.save_last_dream,
                keep=open_keep_folder(writing, goes_on=goes_on),
                on_frame=on_frame,
                on_step=on_step,
            )
    return output.path


def dream_image(
    image: Tensor | str | Path,
    *,
    mask: Tensor | str | Path | None = None,
    regions: Mapping[str, Tensor | str | Path] | None = None,
    guide: Tensor | str | Path | None = None,
    encoder: ImageTextEncoder | None = None,
    look: str | Path | None = None,
    on_step: DreamCallback | None = None,
    on_download: Progress | None = None,
    **options: Any,
) -> Tensor:
    """Dream on one image.

        dream_image("photo.jpg", model="bvlc_googlenet", layers="inception_4c_output")

    Args:
        image: (3,H,W) or (1,3,H,W) RGB in 0..1, or an image file.
        mask: where to dream, (H,W), (1,H,W) or (1,1,H,W) in 0..1, or an image file, in the image's proportions.
        regions: likewise, where single layers act, by the names of the layers.
        guide: what to dream of, an image as above, of any size: the layers match it, unless `loss` says otherwise.
        encoder, look, on_step, on_download, options: see `dream_video`; without the options of reading and
            writing. The options of motion have no effect, and of a `schedule` the values at frame 0 count.

    Returns:
        The dream, float32 RGB in 0..1 on the CPU, in the shape of the tensor; (3,H,W) for a file.

    Raises:
        ImageError: a tensor has the wrong shape, type or content, or the mask other proportions.
        SettingsError, VideoError, WeightsError: see `dream_video`.
    """
    (pipeline,) = fill_settings(with_look(look, options), PipelineSettings)
    if pipeline.schedule.schedule:
        warnings.warn("`schedule` gives an image its values at frame 0", Notice, stacklevel=2)
        pipeline = pipeline.schedule.read().apply(pipeline, Moment(0, 0.0))
    if pipeline.listen.listen:
        raise SettingsError(
            "expected a video for `listen`, got an image, which has no sound; use dream_video"
        )
    tensor, batch = _image(image)
    pipeline = pipeline if guide is None else with_guide(pipeline)
    with backends(pipeline.device):
        dreamer = load_image_dreamer(pipeline, encoder=encoder, progress=on_download)
        dreamer.fit(size_of(batch))
        masks = None if mask is None else prepare_mask(_mask(mask, batch), dreamer.settings.mask)
        guides = [] if guide is None else [_image(guide, name="guide")[1]]
        objective = Guides()(guides, dreamer.objective, dreamer.models[0])
        objective = objective.in_regions(_regions(regions, batch, objective))
        masks = within_reach(masks, objective, dreamer.settings.mask)
        dreamed = dreamer(batch, objective=objective, mask=masks, on_step=on_step).cpu()
    return dreamed.reshape(tensor.shape)


def _image(image: Tensor | str | Path, *, name: str = "image") -> tuple[Tensor, Tensor]:
    """Load an image, or take a tensor: as it is, and (1,3,H,W)."""
    tensor = image if isinstance(image, Tensor) else load_image(Path(image))
    batch = tensor if tensor.ndim == 4 else tensor[None]
    require_image(batch, name=name, batch=1, values=True)
    return tensor, batch


def _regions(
    regions: Mapping[str, Tensor | str | Path] | None, image: Tensor, objective: Objective
) -> dict[str, Tensor]:
    for name in regions or ():
        require_region(name, objective)
    return {name: _mask(one, image) for name, one in (regions or {}).items()}


def _mask(mask: Tensor | str | Path, image: Tensor) -> Tensor:
    """Load a mask, or take a tensor, and scale it to an image: (1,1,H,W)."""
    tensor = mask if isinstance(mask, Tensor) else luma(load_image(Path(mask))[None])
    if tensor.ndim < 2 or tensor.numel() != prod(tensor.shape[-2:]):
        raise ImageError(f"expected one mask (H,W), got {describe(tensor)}; take one of them")
    return fit_mask(tensor.reshape(1, 1, *tensor.shape[-2:]), size_of(image))


def _flow(flow: Tensor | tuple[Tensor, Tensor] | None) -> FrameFlow | None:
    if flow is None:
        return None
    ways = [flow] if isinstance(flow, Tensor) else flow
    return FrameFlow(*(one if one.ndim == 4 else one[None] for one in ways))


class Dreamer:
    """Dreams a clip frame by frame; the networks are loaded once.

        dreamer = Dreamer(octave_steps=4)
        dreams = [dreamer.step(frame) for frame in frames]

    Args:
        guide: what to dream of, as in `dream_image`.
        encoder, look, on_download, options: see `dream_video`; without the options of reading and writing.

    Raises:
        SettingsError, WeightsError: see `dream_video`.
    """

    def __init__(
        self,
        *,
        guide: Tensor | str | Path | None = None,
        encoder: ImageTextEncoder | None = None,
        look: str | Path | None = None,
        on_download: Progress | None = None,
        **options: Any,
    ) -> None:
        (pipeline,) = fill_settings(with_look(look, options), PipelineSettings)
        pipeline = pipeline if guide is None else with_guide(pipeline)
        self._guides = [] if guide is None else [_image(guide, name="guide")[1]]
        self._device = pipeline.device
        with backends(self._device):
            self._temporal = load_dreamer(pipeline, encoder=encoder, progress=on_download)
        self._size: Size | None = None
        """Size of the frames for which there is memory."""
        self._number = 0
        """Number of frames of the clip so far."""

    @property
    def settings(self) -> DreamSettings:
        """The settings of a first frame."""
        return self._temporal.settings

    def step(
        self,
        frame: Tensor,
        *,
        mask: Tensor | str | Path | None = None,
        regions: Mapping[str, Tensor | str | Path] | None = None,
        guide: Tensor | str | Path | None = None,
        flow: Tensor | tuple[Tensor, Tensor] | None = None,
        seconds: float | None = None,
        on_step: DreamCallback | None = None,
    ) -> Tensor:
        """Dream the next frame of a clip, continuing the dream of the one before.

        Args:
            frame: (3,H,W) or (1,3,H,W) RGB in 0..1, of the same size as the one before.
            mask, regions: where to dream, as in `dream_image`.
            guide: replaces that of the dreamer for this frame.
            flow: (2,H,W) or (1,2,H,W) in pixels, x first, from the frame to the one before, as a renderer knows it;
                or a pair of that and of the flow from the one before, by which more is known to be hidden. By
                default it is estimated.
            seconds: time of the frame in the clip, for a `schedule` in seconds.
            on_step: called after each gradient step.

        Returns:
            The dream, float32 RGB in 0..1 on the CPU, in the shape of the frame.

        Raises:
            ImageError: the frame, mask or flow has the wrong shape, dtype or values; the state is unchanged.
            SettingsError: a schedule needs the seconds, and there are none.
        """
        batch = _image(frame, name="frame")[1]
        with backends(self._device):
            if self._size != size_of(batch):
                self._temporal.fit(size_of(batch))
                self._size = size_of(batch)
            masks = None if mask is None else _mask(mask, batch)
            places = _regions(regions, batch, self._temporal.dream.objective)
            guides = self._guides if guide is None else [_image(guide, name="guide")[1]]
            moment = Moment(self._number) if seconds is None else Moment(self._number, seconds)
            dream = self._temporal.step(
                batch,
                moment=moment,
                mask=masks,
                regions=places,
                guides=guides,
                flow=_flow(flow),
                on_step=on_step,
            ).read()
        self._number += 1
        return dream.reshape(frame.shape)

    def reset(self) -> None:
        """Forget all frames, to start another clip."""
        self._temporal.reset()
        self._number = 0
