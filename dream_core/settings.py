"""Every default of the package, once.

The command line is derived from these dataclasses, and so are the widgets of the ComfyUI nodes: what stands
under Args is the help of a flag and the tooltip of a widget; in it a field's name stands in backticks. Field names
are unique across the classes, because they become flat flags (`octave_scale` is `--octave-scale`).

Beside its default each number has its range, which holds for the library, the command and the widgets alike.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, get_args

from .checks import Choices, Range, kinds, split_range
from .errors import SettingsError
from .layer_weights import split_list
from .schedules.schedules import LAYERS, PARSERS, TEXT, Schedules, parse_schedule_of, parse_schedules
from .text_weights import text_entries

FlowName: TypeAlias = Literal["raft_large", "raft_small", "dis"]
ModelName: TypeAlias = Literal[
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "bvlc_googlenet",
    "googlenet_places205",
    "googlenet_places365",
    "googlenet_sos",
    "googlenet",
    "inception_v3",
    "vgg16",
    "vgg19",
    "vgg16_caffe",
    "vgg19_caffe",
    "resnet50",
    "squeezenet1_1",
    "squeezenet1_1_caffe",
]
FlowChoice: TypeAlias = Literal["auto", FlowName]
ModelChoice: TypeAlias = Literal["auto", ModelName]
OUTSIDE = ("timm:", "torchvision:")
"""Beginnings of the names of networks that come from other libraries."""
SumLoss: TypeAlias = Literal["l2", "norm", "mse", "mean", "bce", "abs_mean", "abs_l2"]
DirectionLoss: TypeAlias = Literal["direction", "cosine", "neuron"]
GuideLoss: TypeAlias = Literal["match", "statistics"]
LossMode: TypeAlias = Literal[SumLoss, DirectionLoss, "diversity", "difference", GuideLoss]
LossChoice: TypeAlias = Literal["auto", LossMode]
ChannelMode: TypeAlias = Literal["all", "strong", "avg", "weak", "ignore"]
ChannelCapture: TypeAlias = Literal["once", "octave", "step"]
OptimizerName: TypeAlias = Literal["clean", "classic", "adam", "lbfgs"]
RandomTransforms: TypeAlias = Literal["none", "flip", "rotate", "all"]
OctaveMode: TypeAlias = Literal["normal", "advanced", "manual", "manual_max", "manual_min"]
OctaveCarry: TypeAlias = Literal["residual", "image"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
DreamCarry: TypeAlias = Literal["residual", "image"]
WarpMode: TypeAlias = Literal["bilinear", "bicubic"]
WarpEdges: TypeAlias = Literal["border", "mirror"]
FlowOperation: TypeAlias = Literal["scale", "compose", "invert", "smooth"]
FlowFormat: TypeAlias = Literal["flo", "png", "exr"]
FlowUnit: TypeAlias = Literal["pixels", "fraction", "grid"]
FlowLayout: TypeAlias = Literal["channels_last", "channels_first", "arrays", "stmap"]
FrameBeside: TypeAlias = Literal["next", "previous"]
CompareLayout: TypeAlias = Literal["side_by_side", "wipe", "difference"]
ZoomMode: TypeAlias = Literal["percent", "pixel"]
SoundFeature: TypeAlias = Literal["level", "bass", "mid", "treble", "band", "onsets", "beats"]
BeatTracker: TypeAlias = Literal["tempo", "beat_this"]

SMALLEST_TILE = 64
"""Smaller tiles would mostly see their own edges, and there would be very many."""

COUNTING = ("strong", "avg", "weak")
"""Channel modes for which `channels` is a number of channels."""

# Where nothing sets an end to a number, its range ends far beyond use: widgets want ends.
Percent: TypeAlias = Annotated[float, Range(0, 100)]
Weight: TypeAlias = Annotated[float, Range(-1_000_000, 1_000_000, step=0.1)]
Mean: TypeAlias = Annotated[float, Range(-1000, 1000)]
Shift: TypeAlias = Annotated[float, Range(-10_000, 10_000)]
Hertz: TypeAlias = Annotated[float, Range(0, 100_000)]
Seconds: TypeAlias = Annotated[float, Range(0, 60, step=0.05)]
Delay: TypeAlias = Annotated[float, Range(-60, 60, step=0.05)]
Start: TypeAlias = Annotated[float, Range(0, 1_000_000)]
Frames: TypeAlias = Annotated[int, Range(0, 10_000_000)]
FrameRate: TypeAlias = Annotated[float, Range(0.01, 1000)]


@dataclass(frozen=True, kw_only=True)
class DeviceSettings:
    """Devices and numerical precision of the networks.

    Args:
        device: Processor to compute on: cpu, mps, cuda or cuda:N. auto is the fastest that is found. Several,
            such as cuda:0,cuda:1, share the tiles of each image and need a `tile_size`.
        flow_device: Device for optical flow, by default the first of `device`. dis always runs on the CPU.
        precision: Number format inside the networks: float32 is more exact, bfloat16 faster where the
            processor supports it. auto is bfloat16 there, else float32; on a CPU it is float32 for
            EfficientNet-Lite too, which bfloat16 makes hardly faster. float16 is for NVIDIA's GPUs without bfloat16
            (GTX 16, RTX 20 and older). The image itself is always float32.
        cudnn: Use cuDNN, NVIDIA's library of fast network operations.
        cudnn_autotune: Let cuDNN time its algorithms first: a slower start, then a faster run.
        cuda_graphs: Record gradient steps as CUDA graphs, which an NVIDIA GPU starts faster. Not yet run on a GPU.
        beside: Find the motion of the next frame and write the last ones while a frame is dreamed, where there is
            room: beside an NVIDIA GPU, or if OMP_NUM_THREADS leaves half of the cores. The result is the same.
        deterministic: Dream exactly the same in every run on a GPU; slower there. On a CPU it always is so.
        mkldnn: Use oneDNN (MKL-DNN), a library of fast network operations for CPUs.
    """

    device: str = "auto"
    flow_device: str | None = None
    precision: Precision = "auto"
    cudnn: bool = True
    cudnn_autotune: bool = False
    cuda_graphs: bool = False
    beside: bool = True
    deterministic: bool = False
    mkldnn: bool = True

    def check_together(self) -> None:
        """Raise a SettingsError where cuDNN would choose by its timing, which no two runs share."""
        if self.deterministic and self.cudnn_autotune:
            raise SettingsError(
                "expected `cudnn_autotune` off with `deterministic`, because timing leaves it to chance; drop one"
            )


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The network that dreams.

    Args:
        model: Network that dreams; each one sees other things. auto is bvlc_googlenet if its weights are
            found, else efficientnet_lite0, which is installed with this package. timm:NAME and torchvision:NAME are
            those libraries' networks, such as timm:convnext_tiny.
        model_file: Weights file of the network, .safetensors or .pth, which may be your own. By default the model
            folders are searched for it, then it is downloaded.
        model_dirs: Folders to search for the weights of the network and of RAFT before downloading them; the
            folders in the environment variable DEEPDREAM_MODELS come next. A file may have its original name
            or the network's, such as vgg16.safetensors or vgg16.pth.
        model_mean: Mean color to subtract instead of the network's own, in the network's channel order and
            scale. For weights that were trained with another mean.
        pooling: Pooling inside the network. max is the original; avg makes smoother, paler patterns.
        label_file: Text file with one class name per line, for names in `channels` and `classify`. By default
            ImageNet's names, for networks trained on it.
    """

    model: Annotated[str, Choices(get_args(ModelChoice), OUTSIDE)] = "auto"
    model_file: Path | None = None
    model_dirs: tuple[Path, ...] = ()
    model_mean: tuple[Mean, Mean, Mean] | None = None
    pooling: Literal["max", "avg"] = "max"
    label_file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class FlowSettings:
    """Optical flow: the motion of every pixel from one frame to the next.

    Args:
        flow: Method: raft_large (most accurate), raft_small (several times faster) or dis (OpenCV, needs no
            weights). auto is raft_small if its weights are found, else dis.
        flow_file: Weights file of RAFT, .safetensors or .pth, from torchvision or from RAFT's
            authors (princeton-vl).
        flow_scale: Size at which flow is estimated, as a fraction of the image's size. Smaller is faster and
            needs less memory, but misses fine motion.
        flow_updates: Refinements of each RAFT estimate. More is more accurate and slower. dis ignores this.
        flow_batch: Frame pairs to estimate at once, where many frames come together. More can be faster but
            needs more memory. 0 = as many as fit in about 1 GiB.
    """

    flow: FlowChoice = "auto"
    flow_file: Path | None = None
    flow_scale: Annotated[float, Range(0.01, 1, step=0.05)] = 1.0
    flow_updates: Annotated[int, Range(1, 1000)] = 6
    flow_batch: Annotated[int, Range(0, 10_000)] = 0


@dataclass(frozen=True, kw_only=True)
class FlowImageSettings:
    """Colors and arrows that show optical flow.

    Args:
        saturation_length: Motion in pixels that gets the full color and the longest arrows. Set it to compare
            images; 0 = the largest motion in each image.
        arrow_spacing: Pixels from one arrow to the next, and length of the longest arrows. 0 = no arrows.
    """

    saturation_length: Annotated[float, Range(0, 10_000)] = 0.0
    arrow_spacing: Annotated[int, Range(0, 10_000)] = 32


@dataclass(frozen=True, kw_only=True)
class FlowMaskSettings:
    """What moves, as a mask.

    Args:
        min_speed: Pixels from one frame to the next from which the mask is white.
        speed_fade: Range of speeds below that over which it fades to black.
        direction: Direction of motion to take, in degrees: 0 is to the right, 90 down, 180 to the left, 270 up.
        direction_range: Range of directions around it that counts, in degrees. 360 = all.
        still_camera: Take the camera's motion off first: the median of the image. What moves with the camera then
            stands still.
    """

    min_speed: Annotated[float, Range(0, 10_000, step=0.1)] = 1.0
    speed_fade: Annotated[float, Range(0, 10_000, step=0.1)] = 0.5
    direction: Annotated[float, Range(-360, 360, step=1)] = 0.0
    direction_range: Annotated[float, Range(1, 360, step=1)] = 360.0
    still_camera: bool = True


@dataclass(frozen=True, kw_only=True)
class SoundSettings:
    """What to listen for in a sound, as a curve of numbers.

    Args:
        feature: What the curve follows. level: how loud it is. bass, mid, treble: how loud it is up to 250 Hz, up
            to 4000 Hz and above. band: from `band_low` to `band_high`. onsets: when notes and noises begin, as high
            as they are strong. beats: the regular pulse of music.
        band_low: Lowest frequency of the band, in Hz.
        band_high: Highest frequency of the band, in Hz.
        least: Value in silence, and between onsets and beats.
        most: Value where it is loudest, and at the strongest onsets and beats. It may be smaller than the least.
    """

    feature: SoundFeature = "level"
    band_low: Hertz = 200.0
    band_high: Hertz = 2000.0
    least: Weight = 0.0
    most: Weight = 1.0


@dataclass(frozen=True, kw_only=True)
class EnvelopeSettings:
    """The shape of a curve that follows a sound.

    Args:
        attack: Seconds in which the curve rises by its whole range, at most as fast. Longer is calmer; 0 = at once.
        release: Seconds in which it falls by its whole range, at most as fast. Longer lets onsets and beats fade;
            0 = at once.
        delay: Seconds by which the curve comes after the sound; negative comes before it.
        beat_tracker: How beats are found. tempo: by the tempo of the whole sound. beat_this: by a network, which
            follows music whose tempo changes; it needs pip install beat-this.
    """

    attack: Seconds = 0.0
    release: Seconds = 0.3
    delay: Delay = 0.0
    beat_tracker: BeatTracker = "tempo"


@dataclass(frozen=True, kw_only=True)
class FlowMathSettings:
    """Arithmetic of optical flow.

    Args:
        operation: scale multiplies the motion. compose follows the flow, then a second one. invert turns it around.
            smooth blurs it; vectors without reliability become those around them.
        factor: Number to multiply the motion by. 0.5 halves it, -1 lets everything go the other way.
        smoothing: Standard deviation of the blur in pixels.
    """

    operation: FlowOperation = "scale"
    factor: Annotated[float, Range(-1000, 1000, step=0.1)] = 1.0
    smoothing: Annotated[float, Range(0, 1000, step=0.5)] = 4.0


@dataclass(frozen=True, kw_only=True)
class FlowFileSettings:
    """Files of optical flow.

    Args:
        file_format: flo is Middlebury's, exact. png is KITTI's, with 16 bits in steps of 1/64 pixel and the
            reliability as valid or not. exr is an STMap for compositing, with the reliability as alpha; it needs
            the package OpenEXR.
    """

    file_format: FlowFormat = "flo"


@dataclass(frozen=True, kw_only=True)
class OtherFlowSettings:
    """Flow as another program or pack has it.

    Args:
        first_missing: It has one flow fewer than there are frames, because it leaves out the first, which has no
            frame before it.
        flow_unit: Unit of its vectors: pixels, a fraction of width and height, or grid, as PyTorch's grid_sample
            counts, where 2 is the whole width.
        flow_layout: What `converted` is to be. channels_last: a tensor (frames, height, width, 2), as UniMatch's.
            channels_first: (frames, 2, height, width), as torchvision's. arrays: a list of arrays. stmap: an IMAGE
            of the place that each pixel samples.
    """

    first_missing: bool = True
    flow_unit: FlowUnit = "pixels"
    flow_layout: FlowLayout = "channels_last"


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Picture that compares clips.

    Args:
        layout: side_by_side shows two or three clips beside each other, four in two rows. wipe uncovers one clip
            after the other behind a line that moves to the right. difference shows the first clip, and how far each
            of the others is from it: black where they are equal.
        amplify: Number to multiply differences by.
        wipe_seconds: Seconds that the line takes from left to right.
        labels: Names of the clips in the picture, in order; quotes keep one of several words together. Empty = the
            names of their files, or A, B, C, D.
        show_labels: Write the names into the picture.
    """

    layout: CompareLayout = "side_by_side"
    amplify: Annotated[float, Range(0.1, 1000, step=1)] = 4.0
    wipe_seconds: Annotated[float, Range(0.1, 10_000, step=0.5)] = 2.0
    labels: tuple[str, ...] = ()
    show_labels: bool = True


@dataclass(frozen=True, kw_only=True)
class AtlasSettings:
    """Contact sheet of what a network dreams in one frame.

    Args:
        layer: Layer whose channels are shown, such as inception_4c_output; `print_layers` lists them. Empty = all
            layers, one picture each.
        count: Number of pictures, the most active ones in the frame first. 0 = all.
        thumbnail: Side of a channel's picture in pixels; that of a layer is twice as wide. Larger shows more and
            takes longer.
        thumbnail_steps: Gradient steps for each picture, at each of two sizes. More makes the dreams stronger and
            takes longer.
    """

    layer: str = ""
    count: Annotated[int, Range(0, 100_000)] = 0
    thumbnail: Annotated[int, Range(32, 1024, step=16)] = 96
    thumbnail_steps: Annotated[int, Range(1, 1000)] = 8


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """Movement of a camera from one frame to the next.

    Args:
        zoom_factor: Magnification about the image's center: above 1 moves in, below 1 out.
        rotation: Degrees to turn the image about its center, counter-clockwise. Negative turns clockwise.
        pan_x: Pixels to shift the image to the right. Negative shifts it left.
        pan_y: Pixels to shift the image down. Negative shifts it up.
        yaw: Degrees that the camera turns to the right, so that the image moves to the left.
        pitch: Degrees that the camera turns up, so that the image moves down.
        field_of_view: Angle in degrees that the width of the image covers, for `yaw` and `pitch`.
        depth_range: How many times as far what is black in the depth map is as what is white. Larger lets what is
            near move faster than what is far; 1 is flat.
    """

    zoom_factor: Annotated[float, Range(0.01, 100, step=0.01)] = 1.02
    rotation: Annotated[float, Range(-360, 360, step=0.1)] = 0.5
    pan_x: Shift = 0.0
    pan_y: Shift = 0.0
    yaw: Annotated[float, Range(-80, 80, step=0.1)] = 0.0
    pitch: Annotated[float, Range(-80, 80, step=0.1)] = 0.0
    field_of_view: Annotated[float, Range(1, 170)] = 50.0
    depth_range: Annotated[float, Range(1, 1000)] = 5.0


CAMERA_SCHEDULABLE = tuple(kinds(CameraSettings))
"""Settings of a camera that can change from frame to frame: all of them."""


@dataclass(frozen=True, kw_only=True)
class CameraScheduleSettings:
    """Movement of a camera that changes along the clip.

    Args:
        zoom_schedule: Values of `zoom_factor` by frames, such as 0: 1, 30: 1.05 ease. Empty = always `zoom_factor`.
        rotation_schedule: Values of `rotation` by frames, such as 0: 0.5, 30: -0.5. Empty = always `rotation`.
        pan_x_schedule: Values of `pan_x` by frames. Empty = always `pan_x`.
        pan_y_schedule: Values of `pan_y` by frames. Empty = always `pan_y`.
    """

    zoom_schedule: str = ""
    rotation_schedule: str = ""
    pan_x_schedule: str = ""
    pan_y_schedule: str = ""

    def check_together(self) -> None:
        """Raise a SettingsError for a schedule that cannot be read."""
        self.read()

    def read(self) -> Schedules:
        """Read the schedules, by the names of the fields of CameraSettings.

        Raises:
            SettingsError: a keyframe cannot be read.
        """
        texts = {
            "zoom_factor": self.zoom_schedule,
            "rotation": self.rotation_schedule,
            "pan_x": self.pan_x_schedule,
            "pan_y": self.pan_y_schedule,
        }
        return Schedules(
            {name: parse_schedule_of(name, text) for name, text in texts.items() if text.strip()}
        )


@dataclass(frozen=True, kw_only=True)
class WarpSettings:
    """Pixels that a warp needs from outside the image.

    Args:
        edges: Fill for what comes from outside the image. border repeats the nearest pixel, which leaves
            streaks if the camera keeps panning or moving out. mirror reflects the image at its edges.
    """

    edges: WarpEdges = "border"


@dataclass(frozen=True, kw_only=True)
class ReliabilitySettings:
    """Choice of the pixels of the carried dream to trust.

    Args:
        check_consistency: Distrust pixels whose forward and backward flow disagree, mostly because they were
            hidden before (Sundaram et al. 2010). Those that disagree a little are trusted where they look like
            where they came from.
        check_boundaries: Distrust pixels at the edges of moving things, where flow is uncertain (Ruder et
            al. 2016), unless they look like where they came from.
        check_brightness: Distrust pixels that are brighter or darker than where they came from, apart from
            changes of light.
        check_leaving: Distrust pixels that came from outside the frame.
        brightness_threshold: Largest change of brightness that is still trusted, in 8-bit levels (1/255).
            Higher trusts more.
        mask_softness: Width over which trust fades next to a distrusted pixel, as a fraction of sqrt(height *
            width). Larger trusts less; 0 = no fade.
    """

    check_consistency: bool = True
    check_boundaries: bool = True
    check_brightness: bool = True
    check_leaving: bool = True
    brightness_threshold: Annotated[float, Range(0, 255)] = 30.0
    mask_softness: Annotated[float, Range(0, 1, step=0.001)] = 0.003


@dataclass(frozen=True, kw_only=True)
class TemporalSettings:
    """Feedback: the dream is carried from frame to frame.

    Args:
        blend: Share of the carried dream that is dropped for the new frame, at every frame. Lower flickers
            less: 0 keeps the whole dream, 1 only the frame.
        carried_steps: Gradient steps at each size for a frame that carries a dream. More makes the dream
            stronger and takes longer. 0 = as needed, in each place: `octave_steps` where nothing is carried, few
            where nearly all is.
        carry: Part of the dream that is carried. residual adds only what was dreamed to the new frame, which
            stays sharp. image mixes the whole last dream with the new frame, which blurs it.
        cuts: Start a new dream where the clip cuts to another scene.
        independent: Dream every frame by itself, without flow and feedback. The result flickers.
        references: Number of earlier frames to carry the dream from: 1, 2, 4, ... frames back. With more,
            what was hidden for a moment gets its old dream back; each needs another flow estimate.
        warp: Resampling of what is moved along the flow. bicubic stays sharper, bilinear is softer.
        seamless: Let the last frame lead into the first, for a clip that plays in a circle. The
            last `seamless_frames` fade into a dream that is carried backward from the first frame.
        seamless_frames: Number of last frames over which `seamless` fades. More makes the change gentler, but
            each is dreamed twice. A shorter clip fades over all but its first frame.
    """

    blend: Annotated[float, Range(0, 1, step=0.05)] = 0.05
    carried_steps: Annotated[int, Range(0, 10_000)] = 0
    carry: DreamCarry = "residual"
    cuts: bool = True
    independent: bool = False
    references: Annotated[int, Range(1, 6)] = 1  # the sixth is 32 frames back, and 32 frames are kept
    warp: WarpMode = "bicubic"
    seamless: bool = False
    seamless_frames: Annotated[int, Range(1, 10_000)] = 12


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """Objective of the dream: the layers and channels to make stronger.

    Args:
        layers: Layers of the network to excite, each NAME, NAME:WEIGHT or NAME:WEIGHT:LOSS, separated by spaces
            or commas. Empty = the network's default layer, or that of its classes if `channels` names some;
            `print_layers` lists them.
        channels: Channels of those layers, by index, or classes by name, such as tabby. Empty = all. For
            strong, avg and weak, the number of channels. For direction, cosine and neuron, also with a strength,
            such as 12:0.5.
        channel_mode: Choice of channels. all: the listed ones. strong, avg, weak: the N most, medium or least
            active ones in the image. ignore: all but the listed ones.
        channel_capture: Time at which strong, avg and weak choose their channels. once: at the start. octave:
            at each size. step: at every step.
        loss: Formula that turns activations into one number to raise. l2, norm, abs_l2: root of the sum of
            squares. mse: mean square. mean: mean. abs_mean: mean magnitude. bce: mean softplus. direction: how far
            activations point toward the channels; cosine: the same, whatever their strength; neuron: the same in
            the middle of the image alone. diversity: how different its quarters are. difference: how differently
            two layers respond. match: how well each place matches that of a guide that is most like it; statistics:
            how like the guide's the layer is on the whole. auto: match with a guide; mean for classes,
            whose squares also rise as they become less likely; else l2.
        dream_weight: Weight of all layers together, compared with `tv_weight` and `l2_weight`.
        normalize_weights: Divide each layer's weight by its number of channels, so that layers with many
            channels do not dominate.
        tv_weight: Weight of a pull toward smoothness: it lowers the mean difference of neighboring
            pixels (total variation). Higher is smoother; 0 = off.
        l2_weight: Weight of a pull toward gray: it lowers the mean squared distance from mid-gray. Higher has
            less contrast; 0 = off.
    """

    layers: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    channel_mode: ChannelMode = "all"
    channel_capture: ChannelCapture = "once"
    loss: LossChoice = "auto"
    dream_weight: Weight = 1.0
    normalize_weights: bool = False
    tv_weight: Weight = 0.0
    l2_weight: Weight = 0.0

    def check_together(self) -> None:
        """Raise a SettingsError where channels do not fit their mode; warn where the mode does nothing."""
        words = split_list(self.channels)
        if self.channel_mode == "ignore" and not words:
            warnings.warn(
                "`channel_mode` ignore does nothing without `channels`: name those to ignore", stacklevel=2
            )
        if self.channel_mode in COUNTING and (len(words) != 1 or not words[0].isdigit()):
            raise SettingsError(
                f"expected one number in `channels` for `channel_mode` {self.channel_mode}, how many channels, "
                f"got {', '.join(words) or 'none'}"
            )


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """Texts: what to dream of, in words.

    Args:
        text: What to dream of, in words in quotes, such as "a cathedral of feathers". Several add up, in
            the proportions of the weights that may follow them. Weights of less than 1 in all, as in "fire:0.5",
            make a weaker dream; a negative one makes less of its text. Named `layers` dream beside it; without,
            the text alone.
        text_weight: Weight of all texts together, compared with that of a layer. Without layers, less than 1 makes
            a weaker dream.
        text_crops: Random crops of the image that each step compares with the text. More is steadier and takes
            longer.
        smallest_crop: Side of the smallest crops, as a share of the image's shorter side. Smaller shows the text
            smaller and in more places; 1 shows it once, as large as the image.
        text_model: Network of open_clip that compares images with texts, such as ViT-B-32 or the slower and better
            ViT-L-14.
        text_pretrained: Its weights: a file, or their name in open_clip, which downloads them once. By default
            those that were trained on laion2b, such as laion2b_s34b_b79k. A `text_model` that begins with hf-hub:
            or local-dir: brings its own.
    """

    text: tuple[str, ...] = ()
    text_weight: Weight = 1.0
    text_crops: Annotated[int, Range(1, 1000)] = 8
    smallest_crop: Annotated[float, Range(0.01, 1, step=0.05)] = 0.4
    text_model: str = "ViT-B-32"
    text_pretrained: str | None = None

    def check_together(self) -> None:
        """Raise a SettingsError for a text that cannot be read."""
        text_entries(self.text)


@dataclass(frozen=True, kw_only=True)
class AscentSettings:
    """Gradient ascent: the steps that change the image at each size.

    Args:
        optimizer: Rule that turns gradients into steps. clean gives the dream the colors and the smoothness of
            photographs, as if it had been filmed. classic is the first DeepDream's, with rainbow colors and fine
            grain (Mordvintsev et al. 2015); adam and lbfgs also use the steps before.
        natural_colors: For the clean optimizer: share of the gradient that follows the colors of photographs,
            which mostly vary in brightness together. 0 = each color by itself, in rainbow patterns.
        spectrum: For the clean optimizer: weight of coarse patterns over fine ones. The gradient's frequencies f
            are weighed by f^-spectrum, as those of photographs are at 1. 0 = as they come, full of fine grain.
        turn: For the clean optimizer: largest random turn of the image before each step, in degrees.
        stretch: For the clean optimizer: largest random change of the image's size before each step, in percent.
        learning_rate: Size of a step in 8-bit levels (1/255), about how much it changes a pixel. Higher makes
            a stronger dream. lbfgs begins with it and never takes a larger step.
        lbfgs_history: Number of past steps that lbfgs remembers. More needs more memory.
        jitter: Largest random shift of the image before each step, in pixels. It keeps the network's grid out
            of the dream. 0 = off.
        random_transforms: Random flips (flip), quarter turns (rotate) or both (all) before each step, besides
            the `jitter`.
        gradient_blur: Blur of the gradient, as the sigma of a Gaussian in pixels. Larger makes softer
            patterns with less flickering grain. 0 = off.
        laplacian_levels: Number of bands, from fine to coarse, into which the gradient is split to give all
            the same strength. More brings out larger patterns. 0 = off.
        laplacian_sigma: Sigma in pixels of the blur that splits off the finest of the `laplacian_levels`.
            Larger makes every band coarser.
        fft_block: Remove the lowest frequencies from the gradient, up to this many cycles per image, so that
            large areas keep their color. 0 = off.
        norm_percent: Percentage of pixels whose gradient is dropped: the weakest by the norm over the colors.
            Higher dreams in fewer places; 0 = off.
        abs_percent: Like `norm_percent`, but by the sum of absolute values over the colors.
        mean_percent: Like `norm_percent`, but by the absolute value of the mean over the colors.
        clamp: Keep pixels between black and white after each step, not only at the end.
        seed: Seed of all random choices. The same seed repeats them on any device; another one gives another
            dream.
    """

    optimizer: OptimizerName = "clean"
    natural_colors: Annotated[float, Range(0, 1, step=0.05)] = 1.0
    spectrum: Annotated[float, Range(0, 3, step=0.1)] = 0.7
    turn: Annotated[float, Range(0, 180)] = 5.0
    stretch: Annotated[float, Range(0, 50)] = 5.0
    learning_rate: Annotated[float, Range(0.001, 1000, step=0.05)] = 2.4
    lbfgs_history: Annotated[int, Range(1, 10_000)] = 100
    jitter: Annotated[int, Range(0, 10_000)] = 32
    random_transforms: RandomTransforms = "none"
    gradient_blur: Annotated[float, Range(0, 1000, step=0.1)] = 0.8
    laplacian_levels: Annotated[int, Range(0, 100)] = 0
    laplacian_sigma: Annotated[float, Range(0.01, 1000, step=0.1)] = 1.0
    fft_block: Annotated[int, Range(0, 10_000)] = 0
    norm_percent: Percent = 0.0
    abs_percent: Percent = 0.0
    mean_percent: Percent = 0.0
    clamp: bool = True
    seed: Annotated[int, Range(0, 2**64 - 1)] = 0


@dataclass(frozen=True, kw_only=True)
class OctaveSettings:
    """Octaves: the sizes at which an image is dreamed, from small to large.

    Args:
        octaves: Number of sizes. More takes longer and, in normal mode, adds larger patterns. The manual
            modes count their list instead.
        octave_scale: Ratio of one size to the next. Lower reaches smaller sizes, whose patterns are larger in
            the image.
        octave_steps: Gradient steps at each size. More makes the dream stronger and takes longer.
        octave_mode: Choice of the sizes. normal: the full size, shrunk by `octave_scale` again and again.
            advanced: `octave_scale` times 1, 2, 3, ... of the full size. manual: listed heights and widths.
            manual_max, manual_min: listed longest or shortest sides. The manual modes end with the full size.
        octave_sizes: List for the manual modes, in pixels: HEIGHT WIDTH HEIGHT WIDTH ... for manual, else
            SIDE SIDE ...
        octave_carry: Part of the image that is carried to the next size. residual: only what was dreamed, so
            that the image stays sharp. image: the whole image, which blurs as it is resampled.
        iterations: Passes over all sizes, each on the result of the one before. More makes the dream stronger
            and takes longer.
    """

    octaves: Annotated[int, Range(1, 100)] = 4
    octave_scale: Annotated[float, Range(0.01, 10, step=0.05)] = 0.7
    octave_steps: Annotated[int, Range(0, 10_000)] = 10
    octave_mode: OctaveMode = "normal"
    octave_sizes: tuple[Annotated[int, Range(1, 16_384)], ...] = ()
    octave_carry: OctaveCarry = "residual"
    iterations: Annotated[int, Range(1, 10_000)] = 1

    def check_together(self) -> None:
        """Raise a SettingsError where the list does not fit the mode; warn where the mode takes none."""
        mode, listed = self.octave_mode, list(self.octave_sizes)
        if mode in ("normal", "advanced"):
            if listed:
                warnings.warn(
                    f"`octave_sizes` does nothing in `octave_mode` {mode}: choose one of the manual modes",
                    stacklevel=2,
                )
        elif not listed:
            raise SettingsError(f"expected `octave_sizes` for `octave_mode` {mode}, got none")
        elif mode == "manual" and len(listed) % 2:
            raise SettingsError(
                f"expected `octave_sizes` in pairs of height and width for `octave_mode` manual, got {listed}"
            )


@dataclass(frozen=True, kw_only=True)
class TileSettings:
    """Tiles: a large image is dreamed in pieces to save memory.

    Args:
        tile_size: Longest side of a tile in pixels. Smaller tiles need less memory. 0 = no tiles.
        tile_overlap: Share of a tile that overlaps the next one. More hides the seams better and takes
            longer.
        tile_roll: Shift the tiles at random before every step, so that no seams build up.
    """

    tile_size: Annotated[int, Range(SMALLEST_TILE, 16_384, step=64, or_zero=True)] = 0
    tile_overlap: Annotated[float, Range(0, 0.5, step=0.05)] = 0.25
    tile_roll: bool = True


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Changes to the image before and after the dream.

    Args:
        init: Start of the dream: the image, or gray noise (random). In a video, frames that carry a dream
            start from it instead.
        original_colors: Keep the colors of the input and take only the brightness from the dream.
        keep_brightness: Keep the mean color of the input, so that a clip grows neither brighter nor darker and
            takes on no tint.
        contrast: Scale the result so that this percentile of its values becomes white, such as 99.98. Lower
            is brighter; 0 = off.
        zoom: Zoom in by this much: the carried dream at each frame and, with several `iterations`, the image
            at each pass. Negative zooms out; 0 = off.
        zoom_mode: Unit of `zoom`: percent of each side, or pixels.
    """

    init: Literal["image", "random"] = "image"
    original_colors: bool = False
    keep_brightness: bool = True
    contrast: Annotated[float, Range(0, 100, step=0.01)] = 0.0
    zoom: Annotated[float, Range(-10_000, 10_000, step=0.5)] = 0.0
    zoom_mode: ZoomMode = "percent"

    def check_together(self) -> None:
        """Raise a SettingsError for a zoom that leaves nothing of any image."""
        if self.zoom_mode == "percent" and self.zoom >= 100:
            raise SettingsError(f"expected `zoom` below 100 percent, got {self.zoom:g}")


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """The mask that says where to dream; without one they have no effect.

    Args:
        mask_strength: How much of the steps is taken where the mask is white. Gray takes its share of that, and
            black stays as filmed.
        mask_feather: Width in pixels over which the dream fades in, inwards from the edge of the mask.
        mask_invert: Dream where the mask is black.
    """

    mask_strength: Annotated[float, Range(0, 1, step=0.05)] = 1.0
    mask_feather: Annotated[int, Range(0, 10_000)] = 8
    mask_invert: bool = False


@dataclass(frozen=True, kw_only=True)
class DreamSettings:
    """Settings for dreaming one image."""

    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    octave: OctaveSettings = field(default_factory=OctaveSettings)
    ascent: AscentSettings = field(default_factory=AscentSettings)
    tile: TileSettings = field(default_factory=TileSettings)
    image: ImageSettings = field(default_factory=ImageSettings)
    mask: MaskSettings = field(default_factory=MaskSettings)


PER_CLIP = ("references", "seamless_frames")
"""Numbers of the classes below that hold for a whole clip: they say what is kept of it."""

SCHEDULABLE = (
    LAYERS,
    TEXT,
    *(
        name
        for cls in (
            AscentSettings,
            OctaveSettings,
            ObjectiveSettings,
            TextSettings,
            ImageSettings,
            MaskSettings,
            TemporalSettings,
            ReliabilitySettings,
        )
        for name, kind in kinds(cls).items()
        if split_range(kind)[1] and name not in PER_CLIP
    ),
)
"""Settings that can change from frame to frame. Memory, tiles, flow and files hold for a whole clip."""

SCHEDULABLE_NUMBERS = tuple(name for name in SCHEDULABLE if name not in PARSERS)
"""Those of them that are numbers, which can follow a sound or a curve."""


@dataclass(frozen=True, kw_only=True)
class ScheduleSettings:
    """Settings that change along the clip.

    Args:
        schedule: Values of a setting along the clip, NAME="FRAME: VALUE, ...", such as
            learning_rate="0: 1, 30: 3", or in seconds, zoom="0: 0, 2.5s: 2". Between keyframes the value changes
            evenly; after a value, ease, ease-in, ease-out or hold changes that. Layers and texts fade into each
            other: layers="0: NAME, 60: OTHER", text="0: a forest, 60: a sea of fire". Give it again for another
            setting.
    """

    schedule: tuple[str, ...] = ()

    def check_together(self) -> None:
        """Raise a SettingsError for an entry that cannot be read."""
        self.read()

    def read(self) -> Schedules:
        """Read the schedules.

        Raises:
            SettingsError: an entry cannot be read, or its setting is unknown or holds for a whole clip.
        """
        return parse_schedules(self.schedule, SCHEDULABLE)


@dataclass(frozen=True, kw_only=True)
class ListenSettings:
    """Settings that follow a sound.

    Args:
        listen: A setting that follows the input's sound, NAME=FEATURE:LEAST..MOST, such as
            learning_rate=onsets:1..4. The feature is level, bass, mid, treble or a range such as 200-2000Hz (how
            loud it is there), onsets (when notes and noises begin) or beats. Give it again for another setting.
        listen_to: Another file to listen to, such as a song. It begins with the input; `start` skips as much of
            it.
    """

    listen: tuple[str, ...] = ()
    listen_to: Path | None = None


@dataclass(frozen=True, kw_only=True)
class InputSettings:
    """Part of the input to read, its size, and the dream that it continues.

    Args:
        size: Longest side of the dream in pixels. Larger takes longer. 0 = the input's own size.
        start: Seconds to skip at the beginning of the clip. The image that is shown then comes first.
        frames: Number of frames to dream. 0 = the whole clip.
        fps: Frame rate for a folder of images, which has none of its own.
        deinterlace: Make whole frames of those of interlaced video, whose lines are of two moments. Otherwise its
            combs are dreamed on.
        mask: Where to dream: an image, a folder of images or a video. White dreams, black stays as filmed. One for
            all frames, or one for each, in the proportions of the input; `start` and `frames` hold for it too.
        guide: What to dream of: an image, a folder of images or a video. The layers make more of what looks like
            it to them. One image for all frames, or one for each. A negative weight of a layer makes less of it.
        regions: Where single layers act, each LAYER=FILE: an image, a folder of images or a video, white where the
            layer dreams. One for all frames, or one for each, in the proportions of the input. Other layers act
            everywhere.
        saved_flow: Folder with the flow of the input, which is then not estimated: from deepdream-video flow, Save
            Flow or another program, such as a renderer. One file for each frame of the input, or of the part that
            is dreamed.
        points_to: Frame that the vectors of another program lead to. next: from each frame to the one after it, as
            is usual; the flow to the frame before is then its inverse. previous: to the frame before, as in this
            pack.
        transparency: Keep the transparency of the input in a GIF, WebP or PNG and in a folder of images. Otherwise
            what is transparent becomes black.
        previous_dream: File that `save_last_dream` wrote for an earlier clip, whose dream goes on in this one
            without a seam. The other options may differ, such as the look.
    """

    size: Annotated[int, Range(0, 16_384, step=32)] = 512
    start: Start = 0.0
    frames: Frames = 0
    fps: FrameRate = 25.0
    deinterlace: bool = True
    mask: Path | None = None
    guide: Path | None = None
    regions: tuple[str, ...] = ()
    saved_flow: Path | None = None
    points_to: FrameBeside = "next"
    transparency: bool = False
    previous_dream: Path | None = None


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """The files to write.

    Args:
        codec: Video encoder by its name in ffmpeg, such as libx265. By default libx264 or, where that does
            not fit, the file type's own, such as VP9 for WebM.
        quality: Constant rate factor of the encoder. Lower looks better and makes a larger file.
        pixel_format: Pixel format of the video, such as yuv420p (plays everywhere), yuv444p (full color
            detail) or yuv420p10le (10 bits).
        sound: Copy the sound of the input.
        update_interval: Number of frames after which the growing file is updated, so that it can be played
            meanwhile, 48 at most. 0 = 48.
        keep: Folder to save every frame, dream, flow image and reliability mask in.
        frame_duration: Milliseconds per frame of a GIF. 0 = the input's timing.
        overwrite: Replace files that already exist.
        restart: Begin anew where an earlier run was stopped. By default it goes on from there.
        save_last_dream: Write the end of the dream to this .safetensors file, for `previous_dream` of the clip that
            follows.
    """

    codec: str | None = None
    quality: Annotated[int, Range(0, 51)] = 16
    pixel_format: str = "yuv420p"
    sound: bool = True
    update_interval: Annotated[int, Range(0, 10_000)] = 0
    keep: Path | None = None
    frame_duration: Annotated[float, Range(1, 655_350, step=10, or_zero=True)] = 0
    overwrite: bool = False
    restart: bool = False
    save_last_dream: Path | None = None


@dataclass(frozen=True, kw_only=True)
class PipelineSettings:
    """Settings of the whole pipeline, from input frames to dreamed frames."""

    model: ModelSettings = field(default_factory=ModelSettings)
    dream: DreamSettings = field(default_factory=DreamSettings)
    text: TextSettings = field(default_factory=TextSettings)
    temporal: TemporalSettings = field(default_factory=TemporalSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    reliability: ReliabilitySettings = field(default_factory=ReliabilitySettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    listen: ListenSettings = field(default_factory=ListenSettings)
    envelope: EnvelopeSettings = field(default_factory=EnvelopeSettings)

    def check_together(self) -> None:
        """Raise a SettingsError for several devices without tiles, or a value of a schedule out of range."""
        require_tiles(self.dream.tile, devices=self.device.device.count(",") + 1)
        self.schedule.read().check(self.dream, self.text, self.temporal, self.reliability)


def with_guide(settings: PipelineSettings) -> PipelineSettings:
    """Let the layers match a guide where `loss` is auto."""
    objective = settings.dream.objective
    if objective.loss != "auto":
        return settings
    return replace(settings, dream=replace(settings.dream, objective=replace(objective, loss="match")))


def require_tiles(settings: TileSettings, *, devices: int) -> None:
    """Raise a SettingsError for several devices without tiles to share out."""
    if devices > 1 and settings.tile_size == 0:
        raise SettingsError(
            "expected a `tile_size`, got 0: several devices share out the tiles of an image; choose 512, say"
        )
