"""The command `deepdream-video measure`: figures of dreamed clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from torch import Tensor
from tyro.conf import OmitArgPrefixes, Positional, arg

from .console import Teller
from .device import backends, is_out_of_memory
from .errors import DeepDreamError, SettingsError, VideoError
from .measure import LayerEnergy, Report, flow_link, measure
from .objectives import parse_layers
from .pipeline import load_estimator, load_models
from .plot import plot
from .report import as_json, frame_table, overall_table
from .settings import DeviceSettings, FlowSettings, InputSettings, ModelSettings
from .video import Clip, open_clip
from .video.images import PICTURE_SUFFIXES, is_picture, save_picture

INTERRUPTED = 130
"""Exit code after ctrl-C, as shells expect it."""


@dataclass(frozen=True)
class MeasureSettings:
    """What is measured, and where the figures go.

    Args:
        start: The dreams begin this many seconds into INPUT.
        frames: Measure this many frames only.
        fps: Frame rate of an INPUT that is a folder of pictures, for --start.
        strength: Measure strength, for which the network of --model sees every frame.
        layers: Layers to measure strength by, by default the network's default layer. Of several it is the
            mean; a weight, as in NAME:WEIGHT, has no effect.
        per_frame: Print the figures of every frame, too.
        json: Write all figures, overall and of every frame, into this .json file.
        plot: Draw the figures of every frame into this picture, such as a .png.
        quiet: No progress bar.
    """

    start: float = InputSettings.start
    frames: int | None = InputSettings.frames
    fps: float = InputSettings.fps
    strength: bool = True
    layers: tuple[str, ...] = ()
    per_frame: bool = False
    json: Path | None = None
    plot: Path | None = None
    quiet: bool = False


@dataclass(frozen=True)
class MeasureCommand:
    """Measure how steady, strong and sharp dreams of a clip are.

    E_warp: squared change along the motion (Lai et al. 2018). flicker: what of the dream alone changes along the
    motion, 0 = carried perfectly, 1 = unrelated from frame to frame. strength: mean squared activation of the
    dreamed layer, times the input's. sharpness: variance of the Laplacian, times the input's. drift: how much
    brighter the dream grows, in levels of 255. Motion is that of INPUT, where its flow is reliable.

    The main command reaches an input that is itself called measure as ./measure.

    Args:
        input: Video, GIF, picture or folder of pictures that was dreamed. It is read at the dreams' size.
        dreamed: Dreams of it, one or more, of one size.
    """

    input: Positional[Annotated[Path, arg(metavar="INPUT")]]
    dreamed: Positional[Annotated[tuple[Path, ...], arg(metavar="DREAMED...")]]
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    # Errors of bfloat16 would count as flicker.
    device: DeviceSettings = field(default_factory=lambda: DeviceSettings(precision="float32"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 0, 1 for a mistake that one line explains, 130 after ctrl-C.

    Args:
        arguments: those behind "measure"; those of the process by default.

    Raises:
        SystemExit: with code 2 for options that do not exist, with 0 after --help.
    """
    program = "deepdream-video measure"
    command = tyro.cli(MeasureCommand, args=arguments, prog=program, config=(OmitArgPrefixes,))
    teller = Teller(quiet=command.measure.quiet)
    try:
        check_files(command)
        with teller.bar(), backends(command.device):
            report = measure_files(command, teller)
        write(report, command.measure)
    except DeepDreamError as error:
        teller.fail(str(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        teller.fail(
            "out of memory: estimate flow at --flow-scale 0.5, or leave strength out by --no-strength"
        )
    except KeyboardInterrupt:
        teller.say("stopped: nothing is measured")
        return INTERRUPTED
    else:
        return 0
    return 1


def check_files(command: MeasureCommand) -> None:
    """Find mistakes before the work.

    Raises:
        SettingsError: there is no dream, or a file to write has the wrong kind of name.
        VideoError: there is no folder to write into.
    """
    if not command.dreamed:
        raise SettingsError(
            "expected INPUT and at least one DREAMED clip: put both before options that take lists"
        )
    wanted = command.measure
    if wanted.json and wanted.json.suffix.lower() != ".json":
        raise SettingsError(f"expected --json FILE ending in .json, got {wanted.json}")
    if wanted.plot and not is_picture(wanted.plot):
        raise SettingsError(
            f"expected --plot FILE ending in {', '.join(PICTURE_SUFFIXES)}, got {wanted.plot}"
        )
    for path in (wanted.json, wanted.plot):
        if path and not path.parent.is_dir():
            raise VideoError(
                f"{path} cannot be written: the folder {path.parent} does not exist; make it first"
            )


def measure_files(command: MeasureCommand, teller: Teller) -> Report:
    """Measure the files, frame by frame.

    Raises:
        DeepDreamError: a file or a setting is not as it should be.
    """
    wanted = command.measure
    with ExitStack() as files:
        asis = InputSettings(size=0, frames=wanted.frames)
        dreams = {str(path): files.enter_context(open_clip(path, settings=asis)) for path in command.dreamed}
        size = next(iter(dreams.values())).size
        matching = InputSettings(max(size), wanted.start, wanted.frames, wanted.fps)
        source = files.enter_context(open_clip(command.input, settings=matching))
        check_sizes(source, dreams)
        energy = layer_energy(command, teller) if wanted.strength else None
        estimator = load_estimator(
            command.flow, command.device, folders=command.model.model_dirs, progress=teller.downloaded
        )
        teller.begin(source.frame_count, "measuring")
        return measure(
            pictures(source),
            {name: pictures(dream) for name, dream in dreams.items()},
            flow_link(estimator),
            energy=energy,
            on_frame=teller.frame_done,
        )


def pictures(clip: Clip) -> Iterator[Tensor]:
    """The frames of a clip, (3,H,W)."""
    return (frame.picture for frame in clip)


def check_sizes(source: Clip, dreams: dict[str, Clip]) -> None:
    """Raise a VideoError unless all dreams have the input's proportions and one size."""
    for name, dream in dreams.items():
        if dream.size != source.size:
            raise VideoError(
                f"expected {name} at {_size(source)}, the size of the first dream in the proportions of the input, "
                f"got {_size(dream)}: measure dreams of one size together, and each with its own input"
            )


def _size(clip: Clip) -> str:
    return f"{clip.size[1]}x{clip.size[0]}"


def layer_energy(command: MeasureCommand, teller: Teller) -> LayerEnergy:
    """What strength is measured by.

    Raises:
        SettingsError, WeightsError: see `load_model`; or there is no such layer.
    """
    one_device = replace(command.device, device=command.device.device.split(",")[0])
    model = load_models(command.model, one_device, progress=teller.downloaded)[0]
    layers = tuple(parse_layers(command.measure.layers)) or (model.default_layer,)
    model.extractor(layers)  # raises where there is no such layer
    return LayerEnergy(model, layers)


def write(report: Report, wanted: MeasureSettings) -> None:
    """Print the tables on standard output, and write the files that are wanted.

    Raises:
        VideoError: a file cannot be written.
    """
    console = Console(highlight=False)
    if wanted.per_frame:
        for clip in (report.input, *report.dreams):
            console.print(frame_table(clip))
    console.print(overall_table(report))
    if wanted.json:
        try:
            wanted.json.write_text(as_json(report) + "\n", "utf-8")
        except OSError as error:
            raise VideoError(f"{wanted.json} cannot be written ({error})") from error
    if wanted.plot:
        save_picture(plot(report)[0], wanted.plot)
