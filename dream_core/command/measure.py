"""The command `deepdream-video measure`: figures of dreamed clips."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice

from rich.console import Console
from torch import Tensor

from ..checks import kind_of, validate
from ..device import backends
from ..errors import SettingsError, VideoError
from ..layer_weights import parse_layers
from ..measure.figures import Heard, Report
from ..measure.measure import LayerEnergy, flow_link, measure
from ..measure.plot import plot
from ..measure.tables import as_json, frame_tables, overall_table
from ..pipeline import load_estimator, load_models
from ..schedules.schedule import Schedule
from ..settings import EnvelopeSettings, InputSettings
from ..sound.curve import sound_curve
from ..sound.listen import parse_feature, samples_for
from ..video import Clip, open_clip
from ..video.containers import require_path
from ..video.images import IMAGE_SUFFIXES, is_image, save_image
from .console import EXPECTED, Teller, exit_code
from .exit_codes import DONE
from .options import MeasureCommand, MeasureSettings


def main(command: MeasureCommand) -> int:
    """Run the command and show its progress. Returns the exit code."""
    teller = Teller(quiet=command.measure.quiet)
    try:
        check_files(command)
        with teller.bar(), backends(command.device):
            report = measure_files(command, teller)
        write(report, command.measure)
    except EXPECTED as error:
        return exit_code(
            error,
            teller,
            out_of_memory="estimate flow at --flow-scale 0.5, or leave strength out by --no-strength",
            stopped="nothing was measured",
        )
    return DONE


def check_files(command: MeasureCommand) -> None:
    """Check all settings and the names of the files before any work.

    Raises:
        SettingsError: a setting is out of range or does not fit another, no dream is given, or the name of a file
            to write has the wrong suffix.
        VideoError: the folder to write into does not exist.
    """
    validate(command)
    if not command.dreamed:
        raise SettingsError(
            "expected INPUT and at least one DREAMED clip: put both before options that take lists"
        )
    wanted = command.measure
    if wanted.listen:
        parse_feature(wanted.listen)
    if wanted.json and wanted.json.suffix.lower() != ".json":
        raise SettingsError(f"expected --json FILE ending in .json, got {wanted.json}")
    if wanted.plot and not is_image(wanted.plot):
        raise SettingsError(f"expected --plot FILE ending in {', '.join(IMAGE_SUFFIXES)}, got {wanted.plot}")
    for path in (wanted.json, wanted.plot):
        if path is None:
            continue
        if kind_of(path.parent) != "folder":
            raise VideoError(
                f"{path} cannot be written: the folder {path.parent} does not exist or may not be opened; "
                "make it first"
            )
        require_path(path, what="file to write")


def measure_files(command: MeasureCommand, teller: Teller) -> Report:
    """Measure the files, frame by frame.

    Raises:
        DeepDreamError: a file cannot be read, or a setting is wrong.
    """
    wanted = command.measure
    with ExitStack() as files:
        last = wanted.skip + wanted.frames if wanted.frames else 0
        unscaled = InputSettings(size=0, frames=last)
        independent = (wanted.independent,) if wanted.independent else ()
        dreams = {
            str(path): files.enter_context(open_clip(path, settings=unscaled))
            for path in dict.fromkeys((*command.dreamed, *independent))
        }
        size = next(iter(dreams.values())).size
        matching = InputSettings(size=max(size), start=wanted.start, frames=last, fps=wanted.fps)
        source = files.enter_context(open_clip(command.input, settings=matching))
        check_sizes(source, dreams)
        energy = layer_energy(command, teller) if wanted.strength else None
        estimator = load_estimator(
            command.flow, command.device, folders=command.model.model_dirs, progress=teller.downloaded
        )
        count = None if source.frame_count is None else max(0, source.frame_count - wanted.skip)
        schedule = listened(source, wanted) if wanted.listen else None
        times: list[float] = []
        teller.begin(count, "measuring")
        report = measure(
            images(source, skip=wanted.skip, times=times),
            {name: images(dream, skip=wanted.skip) for name, dream in dreams.items()},
            flow_link(estimator),
            energy=energy,
            independent=str(wanted.independent) if wanted.independent else None,
            on_frame=teller.frame_done,
        )
    if schedule is None:
        return report
    values = tuple(schedule.at(index, time) for index, time in enumerate(times))
    return replace(report, heard=Heard(wanted.listen or "", values))


def images(clip: Clip, *, skip: int, times: list[float] | None = None) -> Iterator[Tensor]:
    """Iterate over the frames of a clip after the first ones, (3,H,W) each; add their seconds to `times`."""
    for frame in islice(clip, skip, None):
        if times is not None:
            times.append(frame.time)
        yield frame.image


def listened(source: Clip, wanted: MeasureSettings) -> Schedule:
    """Make the curve of a sound that `listen` asks for.

    Raises:
        SettingsError: the feature cannot be read.
        VideoError: there is no sound, or it cannot be read.
    """
    samples = samples_for(source, wanted.listen_to, start=wanted.start)
    sound = parse_feature(wanted.listen or "")
    return sound_curve(samples, sound, EnvelopeSettings(), frame=1 / float(source.fps))


def check_sizes(source: Clip, dreams: dict[str, Clip]) -> None:
    """Check that all dreams have one size and the input's proportions.

    Raises:
        VideoError: sizes or proportions differ.
    """
    for name, dream in dreams.items():
        if dream.size != source.size:
            raise VideoError(
                f"expected {name} at {_size(source)}, the size of the first dream in the proportions of the input, "
                f"got {_size(dream)}: measure dreams of one size together, and each with its own input"
            )


def _size(clip: Clip) -> str:
    return f"{clip.size[1]}x{clip.size[0]}"


def layer_energy(command: MeasureCommand, teller: Teller) -> LayerEnergy:
    """Load the network to measure strength with.

    Raises:
        SettingsError, WeightsError: see `load_model`; or the network has no such layer.
    """
    one_device = replace(command.device, device=command.device.device.split(",")[0])
    model = load_models(command.model, one_device, progress=teller.downloaded)[0]
    layers = tuple(parse_layers(command.measure.layers)) or (model.default_layer,)
    model.extractor(layers)  # raises if a layer does not exist
    return LayerEnergy(model, layers)


def write(report: Report, wanted: MeasureSettings) -> None:
    """Print the tables on standard output, and write the files asked for.

    Raises:
        VideoError: a file cannot be written.
    """
    console = Console(highlight=False)
    if wanted.per_frame:
        for table in frame_tables(report):
            console.print(table)
    console.print(overall_table(report))
    if wanted.json:
        try:
            wanted.json.write_text(as_json(report) + "\n", "utf-8")
        except OSError as error:
            raise VideoError(f"{wanted.json} cannot be written ({error})") from error
    if wanted.plot:
        save_image(plot(report)[0], wanted.plot)
