"""Options of the commands: dataclasses from which tyro makes flags.

Nothing here imports PyTorch, so --help and a mistyped flag are answered at once.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeAlias

import tyro
from docstring_parser import google
from rich.console import Console
from rich.markup import escape
from tyro.conf import HelptextFromCommentsOff, OmitArgPrefixes, Positional, UseAppendAction, arg

from ..checks import Range, choices_of, kinds
from ..errors import SettingsError
from ..looks import load_look, look_names, named_look
from ..settings import (
    AscentSettings,
    AtlasSettings,
    CompareSettings,
    DeviceSettings,
    DreamSettings,
    EnvelopeSettings,
    FlowFileSettings,
    FlowMaskSettings,
    FlowSettings,
    FrameRate,
    Frames,
    ImageSettings,
    InputSettings,
    ListenSettings,
    MaskSettings,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
    OutputSettings,
    PipelineSettings,
    ReliabilitySettings,
    ScheduleSettings,
    Start,
    TemporalSettings,
    TextSettings,
    TileSettings,
    with_guide,
)
from .exit_codes import MISTAKE, MISUSE
from .translate import OPTIONS, THERE, old_option, translate

PROGRAM = "deepdream-video"
"""The command's name."""

MEASURE = "measure"
"""The first argument of the command that measures."""

COMPARE = "compare"
"""The first argument of the command that compares."""

ATLAS = "atlas"
"""The first argument of the command that draws a contact sheet."""

FLOW = "flow"
"""The first argument of the command that saves optical flow."""

CLUSTER = "cluster"
"""The first argument of the command that dreams on several GPUs and hosts."""

TRANSLATE = "translate"
"""The first argument that translates a command of the predecessor."""

REPEATED = ("schedule", "listen")
"""Options that take one value, and may be given again for more."""

EveryStep = Annotated[int, Range(0, 1_000_000)]


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """Console output, and questions that are answered without dreaming.

    Args:
        print_layers: List the network's layers with their channel counts, and exit.
        print_channels: List the channels that the objective chooses in the input's first frame, and exit.
        print_looks: List the looks, each with what it shows and the network that it needs, and exit.
        classify: List this many classes that the network sees in the input's first frame, and exit. 0 = off.
        print_every: Gradient steps from one printed value of the objective to the next. 0 = none.
        save_every: Gradient steps from one saved image of the growing dream to the next, in the subfolder
            steps of `keep`. 0 = none.
        save_look: Write the options of this dream that differ from the defaults to this .json file, for `look`.
        verbose: Print what is loaded and where, and a line per frame.
        quiet: Hide the progress bar and messages. Warnings and errors are still shown.
        version: Print the version, and exit.
    """

    print_layers: bool = False
    print_channels: bool = False
    print_looks: bool = False
    classify: Annotated[int, Range(0, 1000)] = 0
    print_every: EveryStep = 0
    save_every: EveryStep = 0
    save_look: Path | None = None
    verbose: bool = False
    quiet: bool = False
    version: bool = False


@dataclass(frozen=True, kw_only=True)
class DreamOptions:
    """Options of a dream, whoever dreams it."""

    read: InputSettings = field(default_factory=InputSettings)
    write: OutputSettings = field(default_factory=OutputSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    text: TextSettings = field(default_factory=TextSettings)
    octave: OctaveSettings = field(default_factory=OctaveSettings)
    ascent: AscentSettings = field(default_factory=AscentSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    tile: TileSettings = field(default_factory=TileSettings)
    mask: MaskSettings = field(default_factory=MaskSettings)
    temporal: TemporalSettings = field(default_factory=TemporalSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    envelope: EnvelopeSettings = field(default_factory=EnvelopeSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    reliability: ReliabilitySettings = field(default_factory=ReliabilitySettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)

    @property
    def pipeline(self) -> PipelineSettings:
        """Options of the library's pipeline."""
        dream = DreamSettings(
            objective=self.objective,
            octave=self.octave,
            ascent=self.ascent,
            tile=self.tile,
            image=self.image,
            mask=self.mask,
        )
        pipeline = PipelineSettings(
            model=self.model,
            dream=dream,
            text=self.text,
            temporal=self.temporal,
            flow=self.flow,
            reliability=self.reliability,
            device=self.device,
            schedule=self.schedule,
            listen=self.listen,
            envelope=self.envelope,
        )
        return with_guide(pipeline) if self.read.guide else pipeline

    def check_together(self) -> None:
        """Raise a SettingsError where settings of different groups do not fit together."""
        self.pipeline.check_together()


@dataclass(frozen=True, kw_only=True)
class Command(DreamOptions):
    """Turn a video into a DeepDream that moves with what is filmed.

    The input is a video, a GIF, an image or a folder of images; so is the output, as its name says.

    To measure how steady, strong and sharp a dream is, see deepdream-video measure --help; to show clips together,
    deepdream-video compare --help; to see what each layer or channel dreams, deepdream-video atlas --help; to save
    the motion of a clip, deepdream-video flow --help; to dream on several GPUs or hosts, deepdream-video cluster
    --help. To translate a command of deepdream-video-pytorch: deepdream-video translate "python video_dream.py
    ...". An INPUT that is itself called measure, compare, atlas, flow, cluster or translate is written ./measure.

    Args:
        input: Video, GIF, image or folder of images. Without one, the sample clip is dreamed: three seconds of a
            rabbit that stretches.
        output: File to write, of any kind that INPUT may be; a name without a suffix is a folder of images. By
            default INPUT's name with _dream.
        look: Options that suit each other, by the name of their look or by a .json file; `print_looks` lists the
            names. Options beside it win. With `help` after it, the defaults are the look's.
    """

    input: Positional[Annotated[Path | None, arg(metavar="INPUT")]] = None
    output: Positional[Annotated[Path | None, arg(metavar="OUTPUT")]] = None
    look: str | None = None
    console: ConsoleSettings = field(default_factory=ConsoleSettings)

    @property
    def given_lists(self) -> list[str]:
        """Given options that take any number of values, and therefore also an INPUT that follows."""
        looks = load_look(self.look).options_for(self.model.model) if self.look else {}
        return [
            as_flag(name)
            for group in vars(self).values()
            if is_dataclass(group)
            for name, value in vars(group).items()
            if isinstance(value, tuple) and name not in REPEATED
            if value != looks.get(name, getattr(type(group), name, ()))
        ]


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """Choice of the frames and figures to measure, and of the files to write them to.

    Args:
        start: Seconds into INPUT at which the dreams begin.
        skip: Leave out this many first frames, to measure how the dreams end up.
        frames: Measure only this many frames; 0 measures all.
        fps: Frame rate of INPUT if it is a folder of images, for `start`.
        strength: Measure strength, which runs the network of `model` on every frame.
        layers: Layers to measure strength by; without any, the network's default layer. Several give the mean
            of their strengths; a weight, as in NAME:WEIGHT, has no effect.
        independent: A dream of INPUT that was made with the main command's `independent`, to measure coverage by.
        per_frame: Print the figures of every frame, too.
        listen: Draw a feature of INPUT's sound below the figures, with its correlation with strength: level, bass,
            mid, treble, a range such as 200-2000Hz, onsets or beats.
        listen_to: Another file to listen to, as in the main command.
        json: Write all figures, overall and of every frame, to this .json file.
        plot: Draw the figures of every frame to this image file, such as a .png.
        quiet: No progress bar.
    """

    start: Start = InputSettings.start
    skip: Frames = 0
    frames: Frames = InputSettings.frames
    fps: FrameRate = InputSettings.fps
    strength: bool = True
    layers: tuple[str, ...] = ()
    independent: Path | None = None
    per_frame: bool = False
    listen: str | None = None
    listen_to: Path | None = None
    json: Path | None = None
    plot: Path | None = None
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class MeasureCommand:
    """Measure how steady, strong and sharp dreams of a clip are.

    E_warp: squared change along the motion (Lai et al. 2018). flicker: change of the dream itself along the
    motion, 0 = carried perfectly, 1 = unrelated from frame to frame. strength: mean squared activation of the
    dreamed layer, times the input's. sharpness: variance of the Laplacian, times the input's. drift: how much
    brighter the dream grows, in levels of 255. evenness: how strong the dream is on what moves by itself, times
    that on what is still. coverage: evenness, times that of an independent dream, in which nothing fades: 1 = what
    moves wears its full share of the dream. Motion is that of INPUT; E_warp and flicker count where its flow is
    reliable.

    The main command reaches an input that is itself called measure as ./measure.

    Args:
        input: Video, GIF, image or folder of images that was dreamed. It is read at the dreams' size.
        dreamed: Dreams of it, one or more, of one size.
    """

    input: Positional[Annotated[Path, arg(metavar="INPUT")]]
    dreamed: Positional[Annotated[tuple[Path, ...], arg(metavar="DREAMED...")]]
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    # Errors of the flow, and of bfloat16, would count as flicker.
    flow: FlowSettings = field(default_factory=lambda: FlowSettings(flow_updates=12))
    device: DeviceSettings = field(default_factory=lambda: DeviceSettings(precision="float32"))


@dataclass(frozen=True, kw_only=True)
class CompareFileSettings:
    """The part of the clips to compare, and the file to write.

    Args:
        size: Longest side of each clip in pixels. 0 = that of the first one; the others are scaled to it.
        start: Seconds to skip at the beginning of each clip.
        frames: Number of frames to compare. 0 = all, which have to be as many in each clip.
        fps: Frame rate of a folder of images.
        quality: Constant rate factor of the encoder. Lower looks better and makes a larger file.
        sound: Copy the sound of the first clip.
        overwrite: Replace a file that already exists.
        quiet: No progress bar.
    """

    size: Annotated[int, Range(0, 16_384, step=32)] = 0
    start: Start = InputSettings.start
    frames: Frames = InputSettings.frames
    fps: FrameRate = InputSettings.fps
    quality: Annotated[int, Range(0, 51)] = OutputSettings.quality
    sound: bool = True
    overwrite: bool = False
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class CompareCommand:
    """Show clips together in one video, frame by frame: a clip and its dream, or two to four dreams.

    All have to have as many frames and the same proportions. Times and sound are those of the first one. The main
    command reaches an input that is itself called compare as ./compare.

    Args:
        files: Two to four videos, GIFs, images or folders of images, then the file to write, of any of these kinds.
    """

    files: Positional[Annotated[tuple[Path, ...], arg(metavar="A B [C D] OUTPUT")]]
    compare: CompareSettings = field(default_factory=CompareSettings)
    file: CompareFileSettings = field(default_factory=CompareFileSettings)


@dataclass(frozen=True, kw_only=True)
class AtlasFileSettings:
    """The frame to dream on, and the file to write.

    Args:
        start: Seconds into INPUT at which the frame is.
        overwrite: Replace a file that already exists.
        quiet: No progress bar.
    """

    start: Start = InputSettings.start
    overwrite: bool = False
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class AtlasCommand:
    """Draw a contact sheet of what the layers of a network dream in a frame, or the channels of one layer.

    The most active ones in the frame come first. Each channel is shown where it is most active. What is done is
    kept in the user's cache, so that the same sheet comes at once and a stopped one goes on. The main command
    reaches an input that is itself called atlas as ./atlas.

    Args:
        input: Video, GIF, image or folder of images. Without one, the sample clip.
        output: Image to write. By default INPUT's name with _atlas.png, in the current folder.
    """

    input: Positional[Annotated[Path | None, arg(metavar="INPUT")]] = None
    output: Positional[Annotated[Path | None, arg(metavar="OUTPUT")]] = None
    atlas: AtlasSettings = field(default_factory=AtlasSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)
    file: AtlasFileSettings = field(default_factory=AtlasFileSettings)


@dataclass(frozen=True, kw_only=True)
class FlowSaveSettings:
    """The part of the clip whose motion is estimated, and how.

    Args:
        size: Longest side of the frames in pixels. 0 = the input's own size.
        start: Seconds to skip at the beginning of the clip.
        frames: Number of frames. 0 = the whole clip.
        fps: Frame rate of a folder of images, for `start`.
        both_ways: Save the flow from the frame before to the frame, too, and with it, in png and exr, where flow is
            reliable.
        masks: Write masks of what moves, too, into OUTPUT/masks: `mask` of the main command takes that folder.
        model_dirs: Folders to search for the weights of RAFT before downloading them.
        quiet: No progress bar.
    """

    size: Annotated[int, Range(0, 16_384, step=32)] = 0
    start: Start = InputSettings.start
    frames: Frames = InputSettings.frames
    fps: FrameRate = InputSettings.fps
    both_ways: bool = True
    masks: bool = False
    model_dirs: tuple[Path, ...] = ()
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class FlowCommand:
    """Save the optical flow of a clip in files, one for each frame.

    OUTPUT/backward has the flow from each frame to the one before it, in pixels; OUTPUT/forward the other way. Load
    Flow reads them in ComfyUI. The main command reaches an input that is itself called flow as ./flow.

    Args:
        input: Video, GIF or folder of images.
        output: Folder to write, without flow of another clip.
    """

    input: Positional[Annotated[Path, arg(metavar="INPUT")]]
    output: Positional[Annotated[Path, arg(metavar="OUTPUT")]]
    save: FlowSaveSettings = field(default_factory=FlowSaveSettings)
    file: FlowFileSettings = field(default_factory=FlowFileSettings)
    moving: FlowMaskSettings = field(default_factory=FlowMaskSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """The workers, and the division of the clips among them.

    Args:
        address: The Ray cluster: local for one of this machine alone, which starts and ends with the run, auto for
            the one that this host belongs to, or HOST:PORT.
        cpus: CPU cores of a worker, or fewer where a host has fewer, or GPUs would be idle. A worker gets a GPU
            where the cluster has some. Without, as many workers run as there are cores for.
        shortest: Least number of frames of a segment. Shots that are shorter are dreamed by one worker with their
            neighbors.
        split: Split long shots, too: the dream of each part fades into that of the next one, which is another dream
            than that of one worker. auto splits while workers would be idle, off never does, and a number splits
            into parts of at most as many frames.
        overlap: Frames before such a seam over which one part fades into the next, whose dream has grown over them.
            More makes the change gentler; each is dreamed three times more.
        quiet: No progress bar.
    """

    address: str = "local"
    cpus: Annotated[int, Range(1, 1024)] = 4
    shortest: Annotated[int, Range(10, 1_000_000)] = 100
    split: str = "auto"
    overlap: Annotated[int, Range(1, 1000)] = 24
    quiet: bool = False

    def check_together(self) -> None:
        """Raise a SettingsError for a division of shots that cannot be."""
        least = 4 * self.overlap  # so that even the halves of a longer shot are longer than what overlaps
        if self.split not in ("auto", "off") and not (self.split.isdecimal() and int(self.split) >= least):
            raise SettingsError(
                f"expected `split` auto, off or a number of at least {least}, 4 times `overlap`, got {self.split}"
            )


@dataclass(frozen=True, kw_only=True)
class ClusterCommand(DreamOptions):
    """Dream clips on several GPUs and hosts, with the package ray: `pip install ray`.

    Clips, and the shots of each clip, are dreamed in parallel and joined with their sound. On devices of one kind
    the result is the same as that of one worker, unless a shot is split. All hosts need this program, and the files
    under the same names, as on a shared disk. A worker that dies is replaced, and the same command goes on after a
    stop or a kill. The main command reaches an input that is itself called cluster as ./cluster.

    Args:
        files: One video or folder of images and the file to write; or several and the folder to write into, where
            each gets its name with _dream.
        look: Options that suit each other, as in the main command.
    """

    files: Positional[Annotated[tuple[Path, ...], arg(metavar="INPUT... OUTPUT")]] = ()
    look: str | None = None
    cluster: ClusterSettings = field(default_factory=ClusterSettings)


AnyCommand: TypeAlias = (
    Command | MeasureCommand | CompareCommand | AtlasCommand | FlowCommand | ClusterCommand
)

BESIDE: Mapping[str, type[Any]] = {
    MEASURE: MeasureCommand,
    COMPARE: CompareCommand,
    ATLAS: AtlasCommand,
    FLOW: FlowCommand,
    CLUSTER: ClusterCommand,
}
"""First argument -> the command that it names; all else dreams."""


def parse(arguments: Sequence[str]) -> AnyCommand:
    """Read the command line.

    Args:
        arguments: the words after the program's name.

    Raises:
        SystemExit: with code 2 for options that do not exist, with 1 for a look that does not exist or is wrong,
            with 0 after --help, --version, --print-looks and a translation.
    """
    config = (OmitArgPrefixes, HelptextFromCommentsOff)
    if arguments[:1] == [TRANSLATE]:
        print_translation(arguments[1:])
    refuse_old_options(arguments)
    prog, cls, words = PROGRAM, Command, arguments
    if arguments and arguments[0] in BESIDE:
        prog, cls, words = f"{PROGRAM} {arguments[0]}", BESIDE[arguments[0]], arguments[1:]

    def read(defaults: Mapping[str, Any]) -> Any:
        return _original(tyro.cli(with_flags(cls, defaults), args=words, prog=prog, config=config))

    try:
        name = look_in(words) if issubclass(cls, DreamOptions) else None
        look = load_look(name) if name else None
        command = read(look.options if look else {})
        if look and look.options != (fitting := look.options_for(command.model.model)):
            command = read(fitting)
        if not isinstance(command, Command):
            beside: AnyCommand = command
            return beside
        if command.console.print_looks:
            print(table_of_looks())
            raise SystemExit(0)
    except SettingsError as error:
        _print_error(error)
        raise SystemExit(MISTAKE) from None
    if command.console.version:
        print(installed_version())
        raise SystemExit(0)
    return command


def print_translation(arguments: Sequence[str]) -> NoReturn:
    """Print what a command of the predecessor is here, and what replaces the options that it cannot say.

    Raises:
        SystemExit: with code 0, or with 2 if the command cannot be translated.
    """
    try:
        # One argument is a whole command in quotes.
        text = arguments[0] if len(arguments) == 1 else shlex.join(arguments)
        translation = translate(text, program=PROGRAM)
    except SettingsError as error:
        _print_error(error)
        raise SystemExit(MISUSE) from None
    print(translation.command)
    for answer in translation.answers:
        Console(stderr=True, highlight=False, soft_wrap=True).print(escape(answer))
    raise SystemExit(0)


def refuse_old_options(arguments: Sequence[str]) -> None:
    """Name what replaces an option of the predecessor, such as -image_size.

    Raises:
        SystemExit: with code 2, if there is one.
    """
    for name in filter(None, map(old_option, arguments)):
        _print_error(
            f"-{name} is an option of {THERE}: here it is {OPTIONS[name].here}; "
            f'{PROGRAM} {TRANSLATE} "python video_dream.py ..." translates a whole command'
        )
        raise SystemExit(MISUSE)


def _print_error(error: Exception | str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(error_line(error))


def look_in(arguments: Sequence[str]) -> str | None:
    """Return the last value of --look among the arguments; its options are the defaults of the others."""
    flag, look = as_flag("look"), None
    for word, following in zip_longest(arguments, arguments[1:]):
        if word == flag:
            look = following
        elif word.startswith(f"{flag}="):
            look = word.partition("=")[2]
    return look


def table_of_looks() -> str:
    """List the looks of the package, one a line: name, description and network."""
    looks = [named_look(name) for name in look_names()]
    wide = max(len(one.name) for one in looks)
    long = max(len(one.description) for one in looks)
    return "\n".join(f"{one.name:{wide}}  {one.description:{long}}  {one.model}" for one in looks)


def as_flag(name: str) -> str:
    """Spell a field's name as a flag: octave_scale -> --octave-scale."""
    return "--" + name.replace("_", "-")


def error_line(error: Exception | str) -> str:
    """Write an error as a line for a rich console, with flags for the names of fields."""
    return f"[red]error:[/red] {escape(as_flags(str(error)))}"


def as_flags(text: str) -> str:
    """Replace the names of fields, which the library's texts write in backticks, by flags."""
    return re.sub(r"`([a-z]\w*)`", lambda name: as_flag(name[1]), text)


def with_flags(cls: Any, defaults: Mapping[str, Any] | None = None) -> type[Any]:
    """Return a subclass of a dataclass of settings for the command line.

    Its help texts say --octave-scale where the original says `octave_scale` in backticks. Dataclasses among its
    fields are replaced likewise.

    Args:
        cls: the dataclass.
        defaults: of fields of the nested dataclasses, by name, in place of their own.
    """
    text = as_flags(cls.__doc__ or "")
    help_of = {one.arg_name: " ".join((one.description or "").split()) for one in google.parse(text).params}
    members: list[Any] = []
    for one in fields(cls):
        kind: Any = kinds(cls)[one.name]
        if is_dataclass(kind):
            kind = with_flags(kind)
            default = partial(_with_flags, one.default_factory, kind, defaults or {})
            members.append((one.name, kind, field(default_factory=default)))
        else:
            kind = Annotated[kind, UseAppendAction] if one.name in REPEATED else kind
            if choices := choices_of(kind):
                kind = Annotated[kind, arg(metavar=str(choices).replace(", ", "|"))]
            members.append((one.name, kind, field(default=one.default, metadata={"help": help_of[one.name]})))
    return make_dataclass(cls.__name__, members, bases=(cls,), namespace={"__doc__": text}, frozen=True)


def _with_flags(default: Any, cls: Any, defaults: Mapping[str, Any]) -> Any:
    values = vars(default())
    return cls(**{name: defaults.get(name, value) for name, value in values.items()})


def _original(parsed: Any) -> Any:
    """Convert an instance of a class from `with_flags` to the class it was made from."""
    values = {
        name: _original(value) if is_dataclass(value) else value for name, value in vars(parsed).items()
    }
    cls: Any = type(parsed).__base__
    return cls(**values)


def installed_version() -> str:
    """Return the version of the package, or "not installed" for a mere checkout."""
    try:
        return version("deepdream-video")
    except PackageNotFoundError:
        return "not installed"
