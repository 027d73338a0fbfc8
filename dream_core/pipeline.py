"""Dreaming of whole clips: load the networks once, then stream frames through the feedback into an output."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, get_args

import torch

from .beside import Worker, can_compute_beside, has_room_beside
from .checks import validate
from .device import choose_devices, choose_dtype, choose_flow_device
from .dreaming.dream import DreamCallback, ImageDreamer, require_finite
from .dreaming.graphs import StepGraphs
from .dreaming.guide import guide_count
from .dreaming.objectives import Objective, require_region
from .errors import SettingsError, VideoError
from .models.dream_model import DreamModel, load_model
from .models.image_text import ImageTextEncoder
from .models.openclip import load_open_clip
from .models.registry import fast_in_bfloat16, resolve_model
from .models.weights import Progress
from .motion.flow import FlowEstimator, load_flow
from .motion.flow_image import flow_image
from .resume import Keeper
from .schedules.schedules import LAYERS, TEXT, Schedules, join
from .settings import (
    DeviceSettings,
    FlowSettings,
    GuideLoss,
    InputSettings,
    ModelSettings,
    OutputSettings,
    PipelineSettings,
    TemporalSettings,
    TextSettings,
)
from .temporal.dreamer import DreamedFrame, DreamerState, TemporalDreamer
from .temporal.last_dream import load_last_dream, require_fit, require_place, save_last_dream
from .temporal.scheduled import ObjectivePart, Part, PenaltyPart, TextPart, schedule_of, sum_of_parts
from .temporal.seamless import Begun, ShotPart, dream_next, dream_seamless
from .unfinished import Unfinished
from .video import Clip, Frame, KeepFolder, Output, open_output
from .video.ahead import read_ahead, with_next
from .video.alongside import region_files
from .video.behind import write_behind


def load_models(
    settings: ModelSettings, device: DeviceSettings, *, progress: Progress | None = None
) -> list[DreamModel]:
    """Load the network that dreams, once per device.

    Raises:
        SettingsError, WeightsError: see `load_model`.
    """
    name = resolve_model(settings)
    on_cpu = fast_in_bfloat16(name)
    return [
        load_model(
            replace(settings, model=name),
            device=one,
            dtype=choose_dtype(device.precision, one, on_cpu=on_cpu),
            exact=device.precision == "float32",
            progress=progress,
        )
        for one in choose_devices(device)
    ]


def load_estimator(
    settings: FlowSettings,
    device: DeviceSettings,
    *,
    folders: Sequence[Path] = (),
    progress: Progress | None = None,
) -> FlowEstimator:
    """Load the flow estimator onto its device. Its weights are searched for in `folders` first.

    Raises:
        SettingsError, WeightsError: see `load_flow`.
    """
    where = choose_flow_device(device)
    dtype = choose_dtype(device.precision, where)
    return load_flow(settings, device=where, dtype=dtype, folders=folders, progress=progress)


def load_encoder(settings: TextSettings, device: DeviceSettings) -> ImageTextEncoder:
    """Load the network that compares images with texts onto the first device.

    Raises:
        SettingsError, WeightsError: see `load_open_clip`.
    """
    where = choose_devices(device)[0]
    return load_open_clip(settings, device=where, dtype=choose_dtype(device.precision, where))


def load_parts(
    settings: PipelineSettings, schedules: Schedules, encoder: ImageTextEncoder | None = None
) -> list[Part]:
    """Return the parts of the objective: layers, texts or both. Texts act alone where nothing names layers.

    Args:
        settings: all settings.
        schedules: what changes along the clip.
        encoder: for the texts; by default the one that the settings name.

    Raises:
        SettingsError, WeightsError: see `load_open_clip`.
    """
    objective = settings.dream.objective
    if not (settings.text.text or TEXT in schedules.by_name):
        return [ObjectivePart(objective)]
    names_layers = objective.layers or objective.channels or LAYERS in schedules.by_name
    # Only a guide sets the loss where nothing names layers.
    layers = ObjectivePart if names_layers or objective.loss in get_args(GuideLoss) else PenaltyPart
    return [
        layers(objective),
        TextPart(settings.text, encoder or load_encoder(settings.text, settings.device)),
    ]


def load_image_dreamer(
    settings: PipelineSettings,
    *,
    encoder: ImageTextEncoder | None = None,
    progress: Progress | None = None,
) -> ImageDreamer:
    """Load the networks for dreams of single images; see `load_dreamer`."""
    models = load_models(settings.model, settings.device, progress=progress)
    parts = load_parts(settings, Schedules(), encoder)
    return _image_dreamer(models, settings, sum_of_parts(parts, models[0]))


def _image_dreamer(
    models: Sequence[DreamModel], settings: PipelineSettings, objective: Objective
) -> ImageDreamer:
    graphs = StepGraphs() if settings.device.cuda_graphs else None
    return ImageDreamer(models, settings=settings.dream, objective=objective, graphs=graphs)


def load_dreamer(
    settings: PipelineSettings,
    *,
    schedules: Schedules | None = None,
    encoder: ImageTextEncoder | None = None,
    progress: Progress | None = None,
) -> TemporalDreamer:
    """Load the networks for dreams of a clip; weights are found or downloaded.

    Args:
        settings: all settings of the dream, its networks and devices.
        schedules: of settings that change along the clip, beside those of `settings.schedule`; from `hear`, if
            `settings.listen` has entries.
        encoder: compares images with texts; by default the one that `settings.text` names.
        progress: called during downloads with the number of bytes done and in all.

    Raises:
        SettingsError: a setting is out of range or does not fit another.
        WeightsError: weights are missing or wrong.
    """
    validate(settings)
    every = settings.schedule.read()
    if settings.listen.listen and not schedules:
        raise SettingsError("expected the sound of a clip for `listen`, got none; use dream_video")
    if schedules:
        checked = (settings.dream, settings.text, settings.temporal, settings.reliability)
        schedules.check(*checked, option="listen")
        every = join([*every.by_name.items(), *schedules.by_name.items()])
        every.check(*checked)
    models = load_models(settings.model, settings.device, progress=progress)
    parts = load_parts(settings, every, encoder)
    scheduled = schedule_of(every, parts, models[0])
    objective = scheduled.objective.widest if scheduled.objective else sum_of_parts(parts, models[0])
    dream = _image_dreamer(models, settings, objective)
    flow = None
    if not settings.temporal.independent:
        folders = settings.model.model_dirs
        flow = load_estimator(settings.flow, settings.device, folders=folders, progress=progress)
    has_room = settings.device.beside and can_compute_beside(dream.device)
    beside = Worker(dream.device) if has_room else None
    return TemporalDreamer(
        dream,
        flow,
        temporal=settings.temporal,
        reliability=settings.reliability,
        scheduled=scheduled,
        beside=beside,
    )


def dream_frames(
    clip: Iterable[Frame],
    dreamer: TemporalDreamer,
    *,
    begun: Begun | None = None,
    part: ShotPart | None = None,
    on_step: DreamCallback | None = None,
) -> Iterator[tuple[Frame, DreamedFrame]]:
    """Dream the frames of a clip in order, by `dream_seamless` if the settings ask for it.

    Args:
        clip: frames of one size.
        dreamer: without earlier frames, or after those that are done.
        begun: what is done already: the clip begins with the frame after it or, where it is to be seamless, with
            the first one needed.
        part: how the clip continues others, if it is a part of a shot.
        on_step: called after every gradient step.

    Yields:
        Each frame with its dream, in order; those of a run-up are left out.
    """
    run_up = part.run_up if part and not begun else 0
    yield from islice(_dreams(clip, dreamer, begun, part, on_step), run_up, None)


def _dreams(
    clip: Iterable[Frame],
    dreamer: TemporalDreamer,
    begun: Begun | None,
    part: ShotPart | None,
    on_step: DreamCallback | None,
) -> Iterator[tuple[Frame, DreamedFrame]]:
    temporal = dreamer.temporal
    if part and part.fade:
        yield from dream_seamless(clip, dreamer, begun=begun, part=part, on_step=on_step)
        return
    if temporal.seamless and temporal.independent:
        warnings.warn("`seamless` does nothing with `independent`: no frame leads into another", stacklevel=2)
    elif temporal.seamless:
        yield from dream_seamless(clip, dreamer, begun=begun, on_step=on_step)
        return
    for frame, following in with_next(clip) if dreamer.looks_ahead else ((one, None) for one in clip):
        yield frame, dream_next(dreamer, frame, following, on_step)


def open_output_like(
    clip: Clip, target: Path, *, settings: OutputSettings, work: Unfinished | None = None
) -> Output:
    """Open an output with the size and times of a clip, and with its sound if the settings ask for it.

    Args:
        clip: the input.
        target: final name of the output.
        settings: how it is written.
        work: from `work_folder`, to go on where an earlier run was stopped.

    Raises:
        SettingsError, VideoError: see `open_output`.
    """
    return open_output(
        target,
        size=clip.size,
        fps=clip.fps,
        time_base=clip.time_base,
        top_fps=clip.top_fps,
        transparency=clip.transparency,
        frame_count=clip.frame_count,
        sound=clip.sound if settings.sound else None,
        settings=settings,
        work=work,
    )


def open_keep_folder(settings: OutputSettings, *, goes_on: bool = False) -> KeepFolder | None:
    """Open the folder that `keep` names; None if it names none. A run that goes on replaces its own files."""
    return KeepFolder(settings.keep, overwrite=settings.overwrite or goes_on) if settings.keep else None


def open_previous(
    clip: Clip, temporal: TemporalSettings, *, reading: InputSettings, writing: OutputSettings, goes_on: bool
) -> DreamerState | None:
    """Load the end of the dream that a clip continues, and check that its own can be saved.

    Args:
        clip: the input.
        temporal: settings of the feedback.
        reading: its `previous_dream` names the file; None is returned without one.
        writing: its `save_last_dream` names the file to save.
        goes_on: True for a run that goes on where it was stopped, which replaces its own file.

    Raises:
        SettingsError: a file cannot be read or written, or does not fit the clip or the settings.
    """
    if writing.save_last_dream:
        require_place(writing.save_last_dream, temporal, overwrite=writing.overwrite or goes_on)
    if not reading.previous_dream:
        return None
    previous = load_last_dream(reading.previous_dream)
    require_fit(previous, temporal, size=clip.size)
    return previous


def check_alongside(dreamer: TemporalDreamer, reading: InputSettings) -> None:
    """Check that an objective uses what is read beside the frames of a clip, and has what it needs.

    Raises:
        SettingsError: it needs a guide and there is none, or does not use the one that there is; or it has no such
            layer as `regions` names.
    """
    if reading.saved_flow and dreamer.temporal.independent:
        warnings.warn(
            "`saved_flow` does nothing with `independent`: no frame leads into another", stacklevel=2
        )
    objective = dreamer.dream.objective
    if guide_count(objective) and reading.guide is None:
        raise SettingsError(
            "expected a `guide` for `loss` match or statistics, got none; name an image, or choose another `loss`"
        )
    if reading.guide is not None and not guide_count(objective):
        raise SettingsError(
            "expected `loss` match, statistics or auto for a `guide`, got none that uses it; drop one of both"
        )
    for name in region_files(reading.regions):
        require_region(name, objective)


class Done(NamedTuple):
    """A frame that is to be written, its dream, and the dreamer's state after it."""

    frame: Frame
    step: DreamedFrame
    state: DreamerState


def dream_clip(
    clip: Iterable[Frame],
    dreamer: TemporalDreamer,
    output: Output,
    *,
    previous: DreamerState | None = None,
    part: ShotPart | None = None,
    save_last: Path | None = None,
    keep: KeepFolder | None = None,
    on_frame: Callable[[Frame, DreamedFrame], None] | None = None,
    on_step: DreamCallback | None = None,
) -> None:
    """Dream every frame of a clip into an output. Memory does not grow with the clip.

    Where there is time for it, the next frames are read, the motion of the next is found and those before are
    written while a frame is dreamed; the result is the same.

    Where memory is too little, or runs out, it is dreamed in smaller tiles, with a warning. If the output has a
    folder of its unfinished work, the dream goes on where an earlier run was stopped, and what it needs to go on is
    saved there every few seconds; the clip is then from `open_clip`.

    Args:
        clip: from `open_clip`, or any frames of one size.
        dreamer: from `load_dreamer`.
        output: from `open_output`.
        previous: from `open_previous`, the dream that this one continues.
        part: how the clip continues others, if it is a part of a shot; it is then from `open_clip`.
        save_last: file for the last dream, written at the end.
        keep: receives frames, dreams, flow images and masks.
        on_frame: called after every frame is written.
        on_step: called after every gradient step.
    """
    if previous:
        dreamer.go_on_from(previous)
    keeper = Keeper(dreamer, output) if output.work else None
    begun = _go_on(clip, dreamer, keeper, part) if keeper else None
    ahead = part.fade + 1 if part and part.fade else 0
    dreamer.fit(output.size, beside=output.memory, ahead=ahead, goes_on=begun is not None)

    def write(done: Done) -> None:
        frame, step, state = done
        if keeper:
            keeper.begin()
        alpha = {} if frame.alpha is None else {"alpha": frame.alpha}
        require_finite(step.dream)
        output.write(step.dream, time=frame.time, duration=frame.duration, **alpha)
        if keep:
            _keep(keep, frame.index, step)
        if keeper:
            keeper.done(frame, step, state)

    def written(done: Done) -> None:
        if on_frame:
            on_frame(done.frame, done.step)

    device = dreamer.dream.device
    writer = Worker(device) if dreamer.beside else None
    try:
        with reading_ahead(clip, device) as frames, write_behind(write, written, writer) as put:
            for frame, step in dream_frames(frames, dreamer, begun=begun, part=part, on_step=on_step):
                put(Done(frame, step, dreamer.state))
        if save_last:
            save_last_dream(dreamer.state, save_last)
    except BaseException:
        if keeper:
            with suppress(VideoError):  # the first error says more
                keeper.save()
        raise


def _go_on(
    clip: Iterable[Frame], dreamer: TemporalDreamer, keeper: Keeper, part: ShotPart | None
) -> Begun | None:
    begun = keeper.restore()
    if begun is None:
        return None
    assert isinstance(clip, Clip)
    run_up = part.run_up if part else 0
    temporal = dreamer.temporal
    around = temporal.seamless and not temporal.independent
    fade = part.fade if part else temporal.seamless_frames if around else 0
    # The last of those that are done may lie in the fade; the first never does.
    clip.skip(run_up + (max(1, begun.done - fade) if fade else begun.done))
    return replace(begun, done=clip.first + run_up + begun.done)


def reading_ahead(clip: Iterable[Frame], device: torch.device) -> AbstractContextManager[Iterable[Frame]]:
    """Read a clip ahead in a thread, if there is time for that beside the dream.

    The clip can be closed once the block is left.
    """
    return read_ahead(clip) if has_room_beside(device) else nullcontext(clip)


def _keep(keep: KeepFolder, index: int, step: DreamedFrame) -> None:
    carried = step.carried
    # Nothing is carried into a first frame: keep it without motion, and trusted.
    flow = carried.flow if carried else torch.zeros_like(step.frame[:, :2])
    mask = carried.reliability if carried else torch.ones_like(step.frame[:, :1])
    keep.save(index, frame=step.frame, dream=step.dream, flow=flow_image(flow), mask=mask)
