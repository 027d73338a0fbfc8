"""The command `deepdream-video`: its options are the fields of the settings' dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import tyro
from torch import Tensor
from tyro.conf import OmitArgPrefixes, Positional, arg

from .console import Teller, objective_teller
from .device import backends, is_out_of_memory
from .dream import DreamCallback, DreamStep, build_objective, look_at
from .errors import DeepDreamError, SettingsError, VideoError
from .models.dream_model import DreamModel, outline
from .models.registry import settle
from .objectives import Objective
from .pipeline import PipelineSettings, dream_clip, load_dreamer, load_models
from .settings import (
    AscentSettings,
    DeviceSettings,
    DreamSettings,
    FlowSettings,
    InputSettings,
    ModelSettings,
    ObjectiveSettings,
    OcclusionSettings,
    OctaveSettings,
    OutputSettings,
    PictureSettings,
    TemporalSettings,
    TileSettings,
)
from .video import Clip, KeepFolder, Output, open_clip, open_output, open_sample
from .video.images import is_picture, save_picture
from .video.keep import STEPS

SUFFIX = "_dream"
"""What an output's name adds to the input's, where none is given."""

SAMPLE_OUTPUT = Path(f"synthetic{SUFFIX}.mp4")
"""Where a dream of the synthetic clip goes."""

INTERRUPTED = 130
"""Exit code after ctrl-C, as shells expect it."""


@dataclass(frozen=True)
class ReportSettings:
    """What is told, and asked, besides the video.

    Args:
        print_layers: List the network's layers with their channel counts, and stop.
        print_channels: List the channels that the objective chooses in the input's first frame, and stop.
        classify: Say which N classes the network sees in the input's first frame, and stop.
        print_every: Print the objective every N gradient steps.
        save_every: Save the growing dream every N gradient steps into the folder of --keep, under steps.
        verbose: Print what is loaded and where, and a line per frame.
        quiet: No progress bar and no closing line.
        version: Print the command's version, and stop.
    """

    print_layers: bool = False
    print_channels: bool = False
    classify: int = 0
    print_every: int = 0
    save_every: int = 0
    verbose: bool = False
    quiet: bool = False
    version: bool = False


@dataclass(frozen=True)
class Command:
    """Turn a video into a DeepDream whose hallucinations stick to what moves.

    Reads any video, GIF, picture or folder of pictures, and writes the same kinds, by the output's name.

    deepdream-video measure tells how steady, strong and sharp dreams are; see deepdream-video measure --help. An
    INPUT that is itself called measure is reached as ./measure.

    Args:
        input: Video, GIF, picture or folder of pictures. Without one, a synthetic clip is dreamed.
        output: Where the dream goes, of any kind that INPUT may be; a name without a suffix is a folder of
            pictures. By default INPUT's name with _dream.
    """

    input: Positional[Annotated[Path | None, arg(metavar="INPUT")]] = None
    output: Positional[Annotated[Path | None, arg(metavar="OUTPUT")]] = None
    read: InputSettings = field(default_factory=InputSettings)
    write: OutputSettings = field(default_factory=OutputSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    octave: OctaveSettings = field(default_factory=OctaveSettings)
    ascent: AscentSettings = field(default_factory=AscentSettings)
    picture: PictureSettings = field(default_factory=PictureSettings)
    tile: TileSettings = field(default_factory=TileSettings)
    temporal: TemporalSettings = field(default_factory=TemporalSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    occlusion: OcclusionSettings = field(default_factory=OcclusionSettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)
    report: ReportSettings = field(default_factory=ReportSettings)

    @property
    def pipeline(self) -> PipelineSettings:
        """The part of the options that the library's pipeline takes."""
        dream = DreamSettings(self.objective, self.octave, self.ascent, self.tile, self.picture)
        return PipelineSettings(self.model, dream, self.temporal, self.flow, self.occlusion, self.device)

    @property
    def given_lists(self) -> list[str]:
        """The options given that take any number of values, and so the INPUT after them too."""
        return [
            "--" + name.replace("_", "-")
            for group in vars(self).values()
            if is_dataclass(group)
            for name, value in vars(group).items()
            if isinstance(value, tuple) and value != getattr(type(group), name, ())
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0, 1 for a mistake that one line explains, 130 after ctrl-C.

    Args:
        arguments: those of the process by default.

    Raises:
        SystemExit: with code 2 for options that do not exist, with 0 after --help.
    """
    command = tyro.cli(Command, args=arguments, prog="deepdream-video", config=(OmitArgPrefixes,))
    teller = Teller(quiet=command.report.quiet, verbose=command.report.verbose)
    try:
        with teller.bar(), backends(command.device):
            return run(command, teller)
    except DeepDreamError as error:
        teller.fail(str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        teller.fail(
            "out of memory: dream in pieces with --tile-size 512 or smaller, lower --size, or estimate flow at "
            "--flow-scale 0.5"
        )
    except KeyboardInterrupt:
        teller.say("stopped before the first frame was done")
        return INTERRUPTED
    return 1


def run(command: Command, teller: Teller) -> int:
    """Do what the command says. Returns the exit code.

    Raises:
        DeepDreamError: what was asked for cannot be done.
        KeyboardInterrupt: nothing was done yet when it came.
    """
    if command.report.version:
        print(installed_version())
        return 0
    if command.report.print_layers:
        print_layers(outline(settle(command.model)))
        return 0
    with open_input(command, teller) as clip:
        if command.report.print_channels or command.report.classify:
            look_into(clip, command, teller)
            return 0
        return dream_file(clip, command, teller)


def open_input(command: Command, teller: Teller) -> Clip:
    """The input, or where none is given a synthetic clip.

    Raises:
        SettingsError: an option that takes a list has taken the input too.
        VideoError: the input cannot be read.
    """
    if command.input is not None:
        return open_clip(command.input, settings=command.read)
    if lists := command.given_lists:
        raise SettingsError(
            "expected an INPUT, a video, a picture or a folder of pictures: "
            f"put INPUT before options that take lists ({', '.join(lists)})"
        )
    teller.say("no INPUT is given: dreaming a synthetic clip")
    return open_sample(command.read)


def dream_file(clip: Clip, command: Command, teller: Teller) -> int:
    """Dream a clip into a file. Returns the exit code; after ctrl-C, what is done is a whole file."""
    target = command.output or (default_output(command.input) if command.input else SAMPLE_OUTPUT)
    if command.input and target.resolve() == command.input.resolve():
        raise VideoError(f"{target} is the input: choose another name for the output")
    output = open_output(
        target,
        size=clip.size,
        fps=clip.fps,
        time_base=clip.time_base,
        frame_count=clip.frame_count,
        sound=clip.sound if command.write.sound else None,
        settings=command.write,
    )
    try:
        with output:
            dream_into(output, clip, command, teller)
    except KeyboardInterrupt:
        if not output.written:
            raise
        place = output.path if output.finished else output.growing_path
        teller.say(f"stopped: {place} has the {frames(output.written)} done so far")
        return INTERRUPTED
    speed = output.written / teller.elapsed
    teller.say(f"{output.path}: {frames(output.written)}, {speed:.2f} a second")
    return 0


def frames(count: int) -> str:
    """A number of frames, in words."""
    return f"{count} frame{'' if count == 1 else 's'}"


def dream_into(output: Output, clip: Clip, command: Command, teller: Teller) -> None:
    """Load the networks and dream the clip."""
    kept = command.write.keep
    callback = step_callback(command, teller, output)
    dreamer = load_dreamer(command.pipeline, progress=teller.downloaded)
    model = dreamer.models[0]
    teller.detail(
        f"{model.spec.name} on {model.device} in {str(model.dtype).removeprefix('torch.')}, frames of "
        f"{clip.size[1]}x{clip.size[0]}; the output grows in {output.growing_path}"
    )
    teller.begin(clip.frame_count)
    dream_clip(
        clip,
        dreamer,
        output,
        keep=KeepFolder(kept, overwrite=command.write.overwrite) if kept else None,
        on_frame=lambda frame, _: teller.frame_done(frame.index),
        on_step=callback,
    )


def step_callback(command: Command, teller: Teller, output: Output) -> DreamCallback | None:
    """What the options want done after gradient steps, if anything.

    Raises:
        SettingsError: there is no folder to save into.
    """
    callbacks: list[DreamCallback] = []
    if command.report.print_every > 0:
        callbacks.append(objective_teller(teller, command.report.print_every))
    if command.report.save_every > 0:
        if command.write.keep is None:
            raise SettingsError("--save-every needs a folder to save into: add --keep FOLDER")
        callbacks.append(step_saver(command.write.keep / STEPS, command.report.save_every, output))

    def call_all(step: DreamStep) -> None:
        for callback in callbacks:
            callback(step)

    return call_all if callbacks else None


def step_saver(folder: Path, every: int, output: Output) -> DreamCallback:
    """A callback that saves the growing picture every so many gradient steps."""

    def save(step: DreamStep) -> None:
        if step.done % every == 0:
            folder.mkdir(parents=True, exist_ok=True)
            name = f"frame_{output.written:06d}_step_{step.done:04d}.png"
            save_picture(step.picture[0].clamp(0, 1).cpu(), folder / name)

    return save


def default_output(source: Path) -> Path:
    """The input's name with _dream; a folder or a picture stays one, other clips become MP4."""
    if source.is_dir():
        return source.with_name(source.name + SUFFIX)
    keeps_its_kind = is_picture(source) or source.suffix.lower() in (".gif", ".mkv", ".mov", ".webm")
    return source.with_name(source.stem + SUFFIX + (source.suffix if keeps_its_kind else ".mp4"))


def look_into(clip: Clip, command: Command, teller: Teller) -> None:
    """Print, on standard output, what the network sees in a clip's first frame."""
    model = load_models(command.model, command.device, progress=teller.downloaded)[0]
    picture = next(clip).picture[None].to(model.device)
    if command.report.classify:
        for label, probability in model.classify(picture, command.report.classify):
            print(f"{probability:8.4f}  {label}")
    if command.report.print_channels:
        print_channels(build_objective(command.objective, model), picture, model)


def installed_version() -> str:
    """The version of the package; a checkout that is not installed has none."""
    try:
        return version("comfyui-deepdream-video")
    except PackageNotFoundError:
        return "not installed"


def print_layers(model: DreamModel) -> None:
    """List the layers, from shallow to deep, with their numbers of channels."""
    layers = model.layers()
    width = max(map(len, layers))
    for name, channels in layers.items():
        default = "  (default)" if name == model.default_layer else ""
        print(f"{name:{width}}  {channels:5d} channels{default}")


def print_channels(objective: Objective, picture: Tensor, model: DreamModel) -> None:
    """List the channels that an objective chooses in a picture."""
    for term in look_at(picture, objective, model).terms:
        chosen = ", ".join(map(str, term.channels)) or f"all {model.channels(term.layer)}"
        print(f"{term.layer}: {chosen}")
