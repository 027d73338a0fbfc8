"""Every default of the package, once.

The command line is derived from these dataclasses, and so are the widgets of the ComfyUI nodes: what stands
under Args is the help of a flag and the tooltip of a widget. Field names are unique across the classes,
because they become flat flags (`octave_scale` is `--octave-scale`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

FlowName: TypeAlias = Literal["raft_large", "raft_small", "dis"]
ModelName: TypeAlias = Literal[
    "fractal",
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
LossMode: TypeAlias = Literal["l2", "norm", "mse", "mean", "bce", "abs_mean", "abs_l2"]
ChannelMode: TypeAlias = Literal["all", "strong", "avg", "weak", "ignore"]
ChannelCapture: TypeAlias = Literal["once", "octave", "step"]
OptimizerName: TypeAlias = Literal["adam", "lbfgs", "classic"]
RandomTransforms: TypeAlias = Literal["none", "flip", "rotate", "all"]
OctaveMode: TypeAlias = Literal["normal", "advanced", "manual", "manual_max", "manual_min"]
OctaveCarry: TypeAlias = Literal["residual", "image"]
Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
DreamCarry: TypeAlias = Literal["residual", "image"]
WarpMode: TypeAlias = Literal["bilinear", "bicubic"]
WarpEdges: TypeAlias = Literal["border", "mirror"]
ZoomMode: TypeAlias = Literal["percent", "pixel"]


@dataclass(frozen=True)
class DeviceSettings:
    """Where and how exactly the networks compute.

    Args:
        device: auto, cpu, mps, cuda or cuda:N. Several, as cuda:0,cuda:1, share out the tiles of each
            image.
        flow_device: Compute optical flow on this device instead; by default it is the dream's (the first of
            several).
        precision: Arithmetic inside the networks. auto takes bfloat16 where the processor computes it
            natively, else float32. The image itself is always float32.
        cudnn: Use cuDNN on NVIDIA devices.
        cudnn_autotune: Let cuDNN try its algorithms first: a slower start and, at one image size, a
            faster run.
        mkldnn: Use oneDNN (MKL-DNN) on the CPU.
    """

    device: str = "auto"
    flow_device: str | None = None
    precision: Precision = "auto"
    cudnn: bool = True
    cudnn_autotune: bool = False
    mkldnn: bool = True


@dataclass(frozen=True)
class ModelSettings:
    """The network that dreams.

    Args:
        model: Name of the network. auto is bvlc_googlenet where its weights are at hand, else fractal, the small
            network that the package brings along.
        model_file: Weights, .safetensors or .pth. By default they are looked for in the model folders, then,
            if the network is named, downloaded.
        model_dirs: Folders searched for the network's and RAFT's weights before anything is downloaded, under
            their original names or as <model>.safetensors or .pth; after them, those that the environment
            variable DEEPDREAM_MODELS lists.
        model_mean: Subtract this mean instead of the network's own, in the network's own channel order and
            scale.
        pooling: Replace every max pooling by average pooling: smoother, paler patterns.
        label_file: One class name per line, so that channels and --classify can speak in words.
    """

    model: ModelChoice = "auto"
    model_file: Path | None = None
    model_dirs: tuple[Path, ...] = ()
    model_mean: tuple[float, float, float] | None = None
    pooling: Literal["max", "avg"] = "max"
    label_file: Path | None = None


@dataclass(frozen=True)
class FlowSettings:
    """Optical flow: how the image moved from one frame to the next.

    Args:
        flow: Estimator: raft_large (most exact), raft_small (several times faster), dis (OpenCV, needs no
            weights). auto is raft_small where its weights are at hand, else dis.
        flow_file: RAFT weights, .safetensors or .pth, in torchvision's or princeton-vl's key names.
        flow_scale: Estimate at this fraction of the image's size and scale the flow back up, 0 <
            scale <= 1.
        flow_updates: Refinements per RAFT estimate. Fewer are faster and less exact.
        flow_batch: Frame pairs estimated at once; 0 chooses as many as fit in about 1 GiB.
    """

    flow: FlowChoice = "auto"
    flow_file: Path | None = None
    flow_scale: float = 1.0
    flow_updates: int = 6
    flow_batch: int = 0


@dataclass(frozen=True)
class FlowImageSettings:
    """How optical flow is shown.

    Args:
        saturation_length: Motion in pixels that is shown in full color and by the longest arrows, so that
            images can be compared. 0 takes the longest of each image.
        arrow_spacing: Pixels from one arrow to the next, and length of the longest arrows. 0 draws none.
    """

    saturation_length: float = 0.0
    arrow_spacing: int = 32


@dataclass(frozen=True)
class CameraSettings:
    """How a camera moves from one frame to the next.

    Args:
        zoom_factor: The image grows by this factor about its center: above 1 goes in, below 1 out.
        rotation: Degrees that the image turns about its center, counter-clockwise.
        pan_x: Pixels that the image shifts to the right.
        pan_y: Pixels that the image shifts down.
    """

    zoom_factor: float = 1.02
    rotation: float = 0.5
    pan_x: float = 0.0
    pan_y: float = 0.0


@dataclass(frozen=True)
class WarpSettings:
    """What a warp shows where the flow points out of the image.

    Args:
        edges: border: the color of the nearest pixel, which draws streaks where a camera pans or moves out again
            and again. mirror: the image, mirrored at its edges.
    """

    edges: WarpEdges = "border"


@dataclass(frozen=True)
class ReliabilitySettings:
    """What of the carried dream is to be trusted.

    Args:
        check_consistency: Distrust pixels whose forward and backward flow disagree (Sundaram et al. 2010).
        check_boundaries: Distrust motion boundaries, where the flow itself is uncertain (Ruder et
            al. 2016).
        check_brightness: Distrust pixels whose brightness differs from where they came from.
        check_leaving: Distrust what came from outside the frame.
        brightness_threshold: Largest brightness difference that is still trusted, in levels of 255.
        mask_softness: Width over which trust fades next to a distrusted pixel, as a fraction of
            sqrt(height * width). It fades inwards only: a distrusted pixel never gains trust.
    """

    check_consistency: bool = True
    check_boundaries: bool = True
    check_brightness: bool = True
    check_leaving: bool = True
    brightness_threshold: float = 30.0
    mask_softness: float = 0.003


@dataclass(frozen=True)
class TemporalSettings:
    """How the dream is carried from frame to frame.

    Args:
        blend: Share of the carried dream that is given up for the new frame, at every frame: 0 keeps the dream,
            1 keeps the frame alone.
        carried_steps: Gradient steps at each size for a frame that carries a dream. 0 takes a share of the steps
            of a frame without one: as much as was given up of the dream, blended away or not to be trusted.
            A loop of single nodes takes as many for every frame.
        catch_up: Where the view has opened on something new, steps are up to this many times as large, until its
            dream has caught up with the rest. 1 switches this off, and so does a number of --carried-steps.
        carry: residual: what was dreamed is added to the new frame, which stays sharp. image: the last
            dream is mixed with the new frame, as the predecessor did.
        cuts: Start afresh where the clip cuts to another scene.
        independent: Dream every frame by itself: no flow, no feedback, flickering.
        references: How many earlier frames the dream comes over from: those 1, 2, 4, ... frames back. Each pixel
            takes the nearest that is reliable there, so that what was hidden for a moment gets its dream back.
            Each costs a flow.
        warp: How the carried dream is resampled: bicubic stays sharper than bilinear.
        seamless: Let the last frame lead into the first, for clips that are played over and over. The last frames
            are also dreamed backwards from the first one, and the dream fades over from the one to the other.
        seamless_frames: How many of the last frames --seamless fades over, at least 1. More change less at a time;
            a clip with fewer fades over all but its first.
    """

    blend: float = 0.05
    carried_steps: int = 0
    catch_up: float = 3.0
    carry: DreamCarry = "residual"
    cuts: bool = True
    independent: bool = False
    references: int = 1
    warp: WarpMode = "bicubic"
    seamless: bool = False
    seamless_frames: int = 12


@dataclass(frozen=True)
class ObjectiveSettings:
    """What the dream makes more of.

    Args:
        layers: Layers to excite, each NAME or NAME:WEIGHT, separated by spaces or commas. Empty takes the
            network's own default; --print-layers lists them.
        channels: Channels of those layers, by index or, with a label file, by words of their labels. Empty
            takes all. For the modes strong, avg and weak: how many.
        channel_mode: all: the channels listed. strong, avg, weak: the N most, middling or least active ones
            in the image. ignore: all but the channels listed.
        channel_capture: When strong, avg and weak look at the image: once per image, per octave or per
            step.
        loss: How activations become one number. l2, norm, abs_l2: root of the sum of squares. mse: mean
            square. mean, abs_mean: mean (magnitude). bce: mean softplus.
        dream_weight: Weight of all layers together, against --tv-weight and --l2-weight.
        normalize_weights: Divide each layer's weight by its number of channels.
        tv_weight: Weight of total variation, which is lowered: smooths. Mean |difference| of neighbors,
            in 0..1.
        l2_weight: Weight of contrast, which is lowered: mean squared distance from mid-gray, in 0..1.
    """

    layers: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    channel_mode: ChannelMode = "all"
    channel_capture: ChannelCapture = "once"
    loss: LossMode = "l2"
    dream_weight: float = 1.0
    normalize_weights: bool = False
    tv_weight: float = 0.0
    l2_weight: float = 0.0


@dataclass(frozen=True)
class AscentSettings:
    """How one octave climbs its objective.

    Args:
        optimizer: adam, lbfgs, or classic: the gradient divided by its mean magnitude (Mordvintsev et
            al. 2015).
        learning_rate: Step size in levels of 255; for lbfgs its first step and the most of any.
        lbfgs_history: Corrections that lbfgs remembers.
        jitter: Roll the image by up to this many pixels at random before each step.
        random_transforms: Also flip, rotate by right angles, or both, at random before each step.
        gradient_blur: Sigma in pixels of a Gaussian blur of the gradient: softer patterns, without the grain that
            flickers. 0 is off.
        laplacian_levels: Split the gradient into this many octaves of detail and give all the same
            strength, at most as many as the image has. 0 is off.
        laplacian_sigma: Sigma in pixels of the blur that separates those levels.
        fft_block: Take the lowest spatial frequencies, up to this many cycles per image, out of the
            gradient. 0 is off.
        norm_percent: Drop this percentage of the pixels: those whose gradient is weakest by its norm over
            the colors.
        abs_percent: The same by the sum of absolute values over the colors.
        mean_percent: The same by the absolute value of the mean over the colors.
        clamp: Keep every pixel in 0..1 after each step.
        seed: Seed of all random choices. The same seed means the same choices on every device.
    """

    optimizer: OptimizerName = "classic"
    learning_rate: float = 1.75
    lbfgs_history: int = 100
    jitter: int = 32
    random_transforms: RandomTransforms = "none"
    gradient_blur: float = 0.8
    laplacian_levels: int = 0
    laplacian_sigma: float = 1.0
    fft_block: int = 0
    norm_percent: float = 0.0
    abs_percent: float = 0.0
    mean_percent: float = 0.0
    clamp: bool = True
    seed: int = 0


@dataclass(frozen=True)
class OctaveSettings:
    """The sizes at which an image is dreamed, from small to large.

    Args:
        octaves: Number of sizes. The manual modes take it from their list instead.
        octave_scale: Ratio of one size to the next.
        octave_steps: Gradient steps at each size.
        octave_mode: normal: the full size, shrunk by the ratio again and again. advanced: the ratio
            times 1, 2, 3, ... of the full size. manual: listed heights and widths. manual_max, manual_min:
            listed longest, or shortest, sides. The manual modes end with the full size.
        octave_sizes: The list for the manual modes: HEIGHT WIDTH HEIGHT WIDTH ..., or SIDE SIDE ...
        octave_carry: What goes from one size to the next. residual: only what was dreamed, so that the
            image stays sharp. image: the whole image, resampled, as the predecessor did.
        iterations: Passes over all sizes.
    """

    octaves: int = 4
    octave_scale: float = 0.7
    octave_steps: int = 10
    octave_mode: OctaveMode = "normal"
    octave_sizes: tuple[int, ...] = ()
    octave_carry: OctaveCarry = "residual"
    iterations: int = 1


@dataclass(frozen=True)
class TileSettings:
    """Dreaming a large image piece by piece, in bounded memory.

    Args:
        tile_size: Longest side of a tile in pixels, at least 64. 0 dreams each size whole.
        tile_overlap: Part of a tile that overlaps with the next one, 0 to 0.5.
        tile_roll: Shift the grid of tiles at random before every step, so that no seam can build up.
    """

    tile_size: int = 0
    tile_overlap: float = 0.25
    tile_roll: bool = True


@dataclass(frozen=True)
class ImageSettings:
    """What happens to the image before and after the dream.

    Args:
        init: Dream on the image, or on noise.
        original_colors: Take the brightness from the dream and the colors from the frame.
        keep_brightness: Keep the dream as bright, on the whole, as the image it began with, so that a clip grows
            neither brighter nor darker.
        contrast: Stretch the result so that this percentile of its values becomes white, such as 99.98. 0
            is off.
        zoom: Move into the image: each frame (or, with several --iterations, each pass) crops this much
            away and fills the frame with the rest. Negative moves out.
        zoom_mode: Unit of --zoom: percent of each side, or pixels.
    """

    init: Literal["image", "random"] = "image"
    original_colors: bool = False
    keep_brightness: bool = True
    contrast: float = 0.0
    zoom: float = 0.0
    zoom_mode: ZoomMode = "percent"


@dataclass(frozen=True)
class DreamSettings:
    """Everything that decides how one image is dreamed."""

    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    octave: OctaveSettings = field(default_factory=OctaveSettings)
    ascent: AscentSettings = field(default_factory=AscentSettings)
    tile: TileSettings = field(default_factory=TileSettings)
    image: ImageSettings = field(default_factory=ImageSettings)


@dataclass(frozen=True)
class InputSettings:
    """Which part of the input is read, and how large.

    Args:
        size: Longest side of the dream in pixels. 0 keeps the input's own size.
        start: Begin this many seconds into the clip.
        frames: Stop after this many frames.
        fps: Frame rate given to folders of images, which have none of their own.
    """

    size: int = 512
    start: float = 0.0
    frames: int | None = None
    fps: float = 25.0


@dataclass(frozen=True)
class OutputSettings:
    """The file that is written.

    Args:
        codec: Video encoder, by ffmpeg's name. By default libx264, or the container's own, such as VP9 in
            WebM.
        quality: Constant rate factor of the encoder: lower is better and larger.
        pixel_format: Pixel format of the encoder, such as yuv420p, yuv444p or yuv420p10le.
        sound: Copy the sound of the input.
        update_interval: Every this many frames, flush the growing output so that it can be played. 0 leaves
            that to ffmpeg.
        keep: Also write frames, flow images and masks into this folder.
        frame_duration: Milliseconds per frame of a GIF. By default the input's timing.
        overwrite: Replace an output that already exists.
    """

    codec: str | None = None
    quality: int = 16
    pixel_format: str = "yuv420p"
    sound: bool = True
    update_interval: int = 0
    keep: Path | None = None
    frame_duration: float | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class PipelineSettings:
    """Everything between the frames that come in and those that go out."""

    model: ModelSettings = field(default_factory=ModelSettings)
    dream: DreamSettings = field(default_factory=DreamSettings)
    temporal: TemporalSettings = field(default_factory=TemporalSettings)
    flow: FlowSettings = field(default_factory=FlowSettings)
    reliability: ReliabilitySettings = field(default_factory=ReliabilitySettings)
    device: DeviceSettings = field(default_factory=DeviceSettings)
