"""The command `deepdream-video`: clip file -> dreamed file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path

from torch import Tensor

from ..checks import in_full, validate
from ..device import backends
from ..dreaming.dream import DreamCallback, DreamStep
from ..dreaming.objectives import Objective, build_objective, choose_channels
from ..dreaming.terms import ChannelTerm
from ..errors import SettingsError
from ..layer_weights import split_list
from ..looks import load_look, save_look
from ..models.dream_model import DreamModel, outline
from ..models.registry import resolve_model
from ..motion.saved_flow import add_saved_flow
from ..pipeline import (
    check_alongside,
    dream_clip,
    load_dreamer,
    load_models,
    open_keep_folder,
    open_output_like,
    open_previous,
)
from ..resume import work_folder
from ..schedules.schedules import Schedules
from ..sound.listen import hear
from ..temporal.dreamer import DreamerState
from ..video import SAMPLE_CLIP, Clip, Output, open_clip
from ..video.containers import require_apart, telling
from ..video.images import is_image, save_image
from ..video.keep import STEPS
from ..video.sample import SAMPLE_CREDIT
from .console import EXPECTED, Teller, exit_code, objective_teller
from .exit_codes import DONE, INTERRUPTED
from .options import Command, as_flags

SUFFIX = "_dream"
"""Added to the input's name if no output is given."""


def main(command: Command) -> int:
    """Run the command and show its progress. Returns the exit code."""
    teller = Teller(quiet=command.console.quiet, verbose=command.console.verbose)
    try:
        with teller.bar(), backends(command.device):
            return run(command, teller)
    except EXPECTED as error:
        return exit_code(
            error,
            teller,
            out_of_memory="dream in pieces with --tile-size 512 or smaller, lower --size, or estimate flow at "
            "--flow-scale 0.5",
            stopped="no frame was done",
        )


def run(command: Command, teller: Teller) -> int:
    """Do what the command says. Returns the exit code.

    Raises:
        DeepDreamError: a file cannot be read or written, or a setting is wrong.
        KeyboardInterrupt: it was stopped before the first frame was done.
    """
    validate(command)
    if command.look:
        load_look(command.look).warn_left_out(command.model.model)
    if command.console.print_layers:
        print_layers(outline(resolve_model(command.model)))
        return DONE
    with open_input(command, teller) as clip:
        if command.console.print_channels or command.console.classify:
            look_into(clip, command, teller)
            return DONE
        return dream_file(clip, command, teller)


def open_input(command: Command, teller: Teller) -> Clip:
    """Open the input, or the sample clip if none is given.

    Raises:
        SettingsError: an option that takes a list has taken the input too.
        VideoError: the input cannot be read.
    """
    if command.input is not None:
        return open_clip(command.input, settings=command.read)
    if lists := command.given_lists:
        raise SettingsError(
            "expected an INPUT, a video, an image or a folder of images: "
            f"put INPUT before options that take lists ({', '.join(lists)})"
        )
    teller.say(f"no INPUT is given: dreaming the sample clip ({SAMPLE_CREDIT})")
    return open_clip(SAMPLE_CLIP, settings=command.read)


def dream_file(clip: Clip, command: Command, teller: Teller) -> int:
    """Dream a clip into a file. Returns the exit code; after ctrl-C, the same command goes on.

    Raises:
        KeyboardInterrupt: ctrl-C came before the first frame was done.
    """
    source = command.input or SAMPLE_CLIP
    target = command.output or default_output(command.input or Path(SAMPLE_CLIP.name))
    if command.input:
        require_apart(target, command.input)
    add_saved_flow(clip, source, command.read)
    work = work_folder(source, target, pipeline=command.pipeline, reading=command.read, writing=command.write)
    goes_on = work.exists()
    previous = open_previous(
        clip, command.temporal, reading=command.read, writing=command.write, goes_on=goes_on
    )
    heard = hear(clip, command.listen, command.envelope, start=command.read.start)
    output = open_output_like(clip, target, settings=command.write, work=work)
    try:
        with output:
            dream_into(output, clip, command, teller, previous=previous, heard=heard, goes_on=goes_on)
    except KeyboardInterrupt:
        if not output.written:
            raise
        if output.finished:
            teller.say(f"stopped: {output.path} has the {frames(output.written)} done so far")
        else:
            teller.say(f"stopped: {as_flags(output.what_is_left())}")
        return INTERRUPTED
    speed = (output.written - output.restored) / teller.elapsed
    teller.say(f"{output.path}: {frames(output.written)}, {speed:.2f} a second")
    return DONE


def save_look_of(command: Command, model: DreamModel) -> None:
    """Write the options of a command as a look.

    Args:
        command: its `save_look` names the file.
        model: the network that dreams.

    Raises:
        SettingsError: see `save_look`.
    """
    named = [*command.text.text, *split_list(command.objective.layers)]
    groups = [value for value in vars(command).values() if is_dataclass(value)]
    save_look(
        Path(command.console.save_look or ""),
        f"{model.spec.name}, {', '.join(named) or model.default_layer}",
        *groups,
        model=model.spec.name,
        overwrite=command.write.overwrite,
    )


def frames(count: int) -> str:
    """Write a number of frames: 1 frame, 2 frames."""
    return f"{count} frame{'' if count == 1 else 's'}"


def dream_into(
    output: Output,
    clip: Clip,
    command: Command,
    teller: Teller,
    *,
    previous: DreamerState | None,
    heard: Schedules,
    goes_on: bool,
) -> None:
    """Load the networks and dream the clip, with the schedules that were heard in its sound.

    With `goes_on`, an earlier run was stopped, maybe before its first record.
    """
    callback = step_callback(command, teller, lambda: dreamer.state.count)
    keep = open_keep_folder(command.write, goes_on=goes_on)
    dreamer = load_dreamer(command.pipeline, schedules=heard, progress=teller.downloaded)
    check_alongside(dreamer, command.read)
    model = dreamer.model
    teller.detail(
        f"{model.spec.name} on {model.device} in {str(model.dtype).removeprefix('torch.')}, frames of "
        f"{clip.size[1]}x{clip.size[0]}; the output grows in {output.growing_path}"
    )
    if command.console.save_look:
        save_look_of(command, model)
        teller.say(f"this look is in {command.console.save_look}: use it by --look")
    if output.restored:
        teller.say(f"going on after frame {output.restored}, where an earlier run was stopped")
    teller.begin(clip.frame_count)
    dream_clip(
        clip,
        dreamer,
        output,
        previous=previous,
        save_last=command.write.save_last_dream,
        keep=keep,
        on_frame=lambda frame, _: teller.frame_done(frame.index),
        on_step=callback,
    )


def step_callback(command: Command, teller: Teller, number: Callable[[], int]) -> DreamCallback | None:
    """Callback for gradient steps that the options ask for, or None.

    Raises:
        SettingsError: images are to be saved, but no folder is given.
    """
    callbacks: list[DreamCallback] = []
    if command.console.print_every > 0:
        callbacks.append(objective_teller(teller, command.console.print_every))
    if command.console.save_every > 0:
        if command.write.keep is None:
            raise SettingsError("--save-every needs a folder to save into: add --keep FOLDER")
        callbacks.append(step_saver(command.write.keep / STEPS, command.console.save_every, number))

    def call_all(step: DreamStep) -> None:
        for callback in callbacks:
            callback(step)

    return call_all if callbacks else None


def step_saver(folder: Path, every: int, number: Callable[[], int]) -> DreamCallback:
    """Callback that saves the growing image every `every` gradient steps.

    `number` gives that of the frame which is dreamed; frames may be written later.
    """

    def save(step: DreamStep) -> None:
        if step.done % every == 0:
            with telling(folder, "made"):
                folder.mkdir(parents=True, exist_ok=True)
            name = f"frame_{number():06d}_step_{step.done:04d}.png"
            save_image(step.image[0].clamp(0, 1).cpu(), folder / name)

    return save


def default_output(source: Path) -> Path:
    """Return the input's name with _dream; folders, images and most videos keep their kind, others become MP4."""
    source = in_full(source)
    if source.is_dir():
        return source.with_name(source.name + SUFFIX)
    keeps_its_kind = is_image(source) or source.suffix.lower() in (".gif", ".mkv", ".mov", ".webm")
    return source.with_name(source.stem + SUFFIX + (source.suffix if keeps_its_kind else ".mp4"))


def look_into(clip: Clip, command: Command, teller: Teller) -> None:
    """Print, on standard output, what the network sees in a clip's first frame."""
    model = load_models(command.model, command.device, progress=teller.downloaded)[0]
    image = next(clip).image[None].to(model.device)
    if command.console.classify:
        for label, probability in model.classify(image, command.console.classify):
            print(f"{probability:8.4f}  {label}")
    if command.console.print_channels:
        print_channels(build_objective(command.objective, model), image, model)


def print_layers(model: DreamModel) -> None:
    """Print the layers, from shallow to deep, with their numbers of channels; the default one is marked."""
    layers = model.layers()
    width = max(map(len, layers))
    for name, channels in layers.items():
        default = "  (default)" if name == model.default_layer else ""
        print(f"{name:{width}}  {channels:5d} channels{default}")


def print_channels(objective: Objective, image: Tensor, model: DreamModel) -> None:
    """Print the channels that an objective chooses in an image."""
    for term in choose_channels(image, objective, model).terms:
        channels = term.channels if isinstance(term, ChannelTerm) else ()
        for layer in term.layers:
            print(f"{layer}: {', '.join(map(str, channels)) or f'all {model.channels(layer)}'}")
