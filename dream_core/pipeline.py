"""Clip -> dreamed clip: networks are loaded once, frames stream through the feedback into an output."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch

from .checks import validate
from .device import choose_devices, choose_dtype, choose_flow_device
from .dreaming.dream import DreamCallback, ImageDreamer
from .models.dream_model import DreamModel, load_model
from .models.weights import Progress
from .motion.flow import FlowEstimator, load_flow
from .motion.flow_image import flow_image
from .settings import DeviceSettings, FlowSettings, ModelSettings, OutputSettings, PipelineSettings
from .temporal.dreamer import DreamedFrame, TemporalDreamer
from .temporal.seamless import dream_seamless
from .video import Clip, Frame, KeepFolder, Output, open_output


def load_models(
    settings: ModelSettings, device: DeviceSettings, *, progress: Progress | None = None
) -> list[DreamModel]:
    """Load the network that dreams, once per device.

    Raises:
        SettingsError, WeightsError: see `load_model`.
    """
    return [
        load_model(settings, device=one, dtype=choose_dtype(device.precision, one), progress=progress)
        for one in choose_devices(device)
    ]


def load_estimator(
    settings: FlowSettings,
    device: DeviceSettings,
    *,
    folders: Sequence[Path] = (),
    progress: Progress | None = None,
) -> FlowEstimator:
    """Load the flow estimator onto its device; folders are searched for its weights first.

    Raises:
        SettingsError, WeightsError: see `load_flow`.
    """
    where = choose_flow_device(device)
    dtype = choose_dtype(device.precision, where)
    return load_flow(settings, device=where, dtype=dtype, folders=folders, progress=progress)


def load_image_dreamer(settings: PipelineSettings, *, progress: Progress | None = None) -> ImageDreamer:
    """Load what dreams single images; see `load_dreamer`."""
    models = load_models(settings.model, settings.device, progress=progress)
    return ImageDreamer(models, settings=settings.dream)


def load_dreamer(settings: PipelineSettings, *, progress: Progress | None = None) -> TemporalDreamer:
    """Load all that dreams a clip; weights are found or downloaded.

    Args:
        settings: all of them.
        progress: told how downloads go, in bytes done and in all.

    Raises:
        SettingsError, WeightsError: a setting or a weight file is not as it should be.
    """
    validate(settings)
    dream = load_image_dreamer(settings, progress=progress)
    flow = None
    if not settings.temporal.independent:
        folders = settings.model.model_dirs
        flow = load_estimator(settings.flow, settings.device, folders=folders, progress=progress)
    return TemporalDreamer(dream, flow, temporal=settings.temporal, reliability=settings.reliability)


def dream_frames(
    clip: Iterable[Frame], dreamer: TemporalDreamer, *, on_step: DreamCallback | None = None
) -> Iterator[tuple[Frame, DreamedFrame]]:
    """Dream the frames of a clip one after the other, or as `dream_seamless` where the settings ask for it.

    Args:
        clip: frames of one size.
        dreamer: at the clip's beginning.
        on_step: called after every gradient step.

    Yields:
        Each frame with its dream, in order.
    """
    temporal = dreamer.temporal
    if temporal.seamless and temporal.independent:
        warnings.warn("`seamless` does nothing with `independent`: no frame leads into another", stacklevel=2)
    elif temporal.seamless:
        yield from dream_seamless(clip, dreamer, on_step=on_step)
        return
    for frame in clip:
        yield frame, dreamer.step(frame.image[None], on_step=on_step)


def open_output_like(clip: Clip, target: Path, *, settings: OutputSettings) -> Output:
    """Open an output of a clip's size, times and sound.

    Raises:
        SettingsError, VideoError: see `open_output`.
    """
    return open_output(
        target,
        size=clip.size,
        fps=clip.fps,
        time_base=clip.time_base,
        frame_count=clip.frame_count,
        sound=clip.sound if settings.sound else None,
        settings=settings,
    )


def dream_clip(
    clip: Iterable[Frame],
    dreamer: TemporalDreamer,
    output: Output,
    *,
    keep: KeepFolder | None = None,
    on_frame: Callable[[Frame, DreamedFrame], None] | None = None,
    on_step: DreamCallback | None = None,
) -> None:
    """Dream every frame of a clip into an output. Memory does not grow with the clip.

    Where it runs out, dreaming goes on with smaller tiles, and a warning says so.

    Args:
        clip: from `open_clip`, or any frames of one size.
        dreamer: from `load_dreamer`.
        output: from `open_output`.
        keep: receives frames, dreams, flow images and masks.
        on_frame: told about every frame once it is written.
        on_step: told about every gradient step.
    """
    for frame, step in dream_frames(clip, dreamer, on_step=on_step):
        output.write(step.dream.cpu(), time=frame.time, duration=frame.duration)
        if keep:
            _keep(keep, frame.index, step)
        if on_frame:
            on_frame(frame, step)


def _keep(keep: KeepFolder, index: int, step: DreamedFrame) -> None:
    carried = step.carried
    # Nothing was carried into a first frame: it is kept as standing still, and trusted.
    flow = carried.flow if carried else torch.zeros_like(step.frame[:, :2])
    mask = carried.reliability if carried else torch.ones_like(step.frame[:, :1])
    keep.save(index, frame=step.frame, dream=step.dream, flow=flow_image(flow), mask=mask)
