"""Make the images of the nodes' help pages, web/docs/images/*.jpg.

    DEEPDREAM_TEST_DATA=FOLDER uv run tools/make_help_images.py [NAME ...]

The library makes them from the sample clip, with the weights in FOLDER/weights.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from colorsys import hsv_to_rgb
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dream_core import dream_image
from dream_core.dreaming.atlas import contact_sheet, make_atlas, title_of
from dream_core.dreaming.dream import dream
from dream_core.dreaming.text_terms import draw_crops
from dream_core.image import resize, size_of
from dream_core.measure.compare import Comparison
from dream_core.measure.measure import LayerEnergy, flow_link, measure
from dream_core.measure.plot import plot
from dream_core.models.dream_model import DreamModel
from dream_core.motion.camera import camera_flow as exact_flow
from dream_core.motion.camera import depth_camera_flow
from dream_core.motion.flow import FlowEstimator
from dream_core.motion.flow_convert import to_layout
from dream_core.motion.flow_file import KITTI_STEPS, KITTI_ZERO
from dream_core.motion.flow_image import draw_arrows, flow_image
from dream_core.motion.flow_mask import flow_mask
from dream_core.motion.flow_math import invert, smooth
from dream_core.motion.warp import warp
from dream_core.panels import plot_curves
from dream_core.pipeline import load_dreamer, load_estimator, load_models
from dream_core.schedules.schedule import parse_schedule
from dream_core.settings import (
    AtlasSettings,
    CameraSettings,
    CompareLayout,
    CompareSettings,
    DeviceSettings,
    DreamSettings,
    EnvelopeSettings,
    FlowMaskSettings,
    FlowName,
    FlowSettings,
    InputSettings,
    ModelName,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
    PipelineSettings,
    ScheduleSettings,
    SoundFeature,
    SoundSettings,
    TemporalSettings,
)
from dream_core.sound.curve import sound_curve
from dream_core.temporal.blend import add_residual
from dream_core.temporal.dreamer import DreamedFrame, TemporalDreamer
from dream_core.video import SAMPLE_CLIP, open_clip
from dream_core.video.samples import Samples

FOLDER = Path(__file__).resolve().parents[1] / "web" / "docs" / "images"
WIDTH = 512
QUALITY, PLOT_QUALITY = 70, 50
"""A plot has many edges: at the lower quality it is as small as the others."""
GAP, TEXT = 4, 20

SIDE = 384
"""Longest side of the dreams."""
MODEL: ModelName = "efficientnet_lite0"
LAYER = "block10"
SHOWN = (1, 30, 70)
"""Frames of the clip."""
AROUND_THE_RABBIT = {
    0: (0.31, 0.55, 0.16, 0.26),
    12: (0.35, 0.58, 0.16, 0.26),
    24: (0.36, 0.44, 0.13, 0.4),
    36: (0.36, 0.5, 0.13, 0.42),
    74: (0.36, 0.5, 0.13, 0.42),
}
"""Frame -> center and radii, x and y, of an ellipse around the rabbit, as fractions of the sides."""
RISING = (2, 24, 36, 42)
"""Frames of a schedule: the rabbit rises, stands, and a little later."""
STANDING = 36
"""Frame in which the rabbit stands."""
FLIGHT = (0, 20, 40)
"""Frames of a flight into a still image."""
PAIR = (26, 29)
"""Two frames so far apart that the motion from one to the other shows at this size."""


def sample_clip() -> Image.Image:
    """Sample Clip: three of its frames."""
    return _rows([{f"frame {index}": frame(index) for index in SHOWN}])


def dreamed_image() -> Image.Image:
    """DeepDream: before and after."""
    return _rows([{"image": frame(STANDING), f"layer {LAYER}": dreamed(STANDING, layer=LAYER)}])


def objectives() -> Image.Image:
    """Dream Objective: the layers of one network."""
    rows = ("block2", "block4", "block6"), ("block8", "block10", "block12")
    return _rows([{layer: dreamed(STANDING, layer=layer) for layer in row} for row in rows])


def dream_models() -> Image.Image:
    """Load Dream Model: one image, two networks."""
    names: tuple[ModelName, ...] = (MODEL, "bvlc_googlenet")
    return _rows([{name: dreamed(STANDING, model=name) for name in names}])


def flow_models() -> Image.Image:
    """Load Flow Model: one motion, two estimators."""
    names: tuple[FlowName, ...] = ("dis", "raft_small")
    flows = {name: flow(name) for name in names}
    longest = max(one.norm(dim=1).max().item() for one in flows.values())
    return _rows([{name: flow_image(one, saturation_length=longest) for name, one in flows.items()}])


def optical_flow() -> Image.Image:
    """Optical Flow: a frame and its flow."""
    return _rows([{"frame": frame(PAIR[1]), f"flow, {PAIR[1] - PAIR[0]} frames back": flow_image(flow())}])


def flow_images() -> Image.Image:
    """Flow Image: the two ways of showing flow."""
    colors = draw_arrows(flow_image(flow()), flow(), spacing=32)
    arrows = draw_arrows(frame(PAIR[1]), flow(), spacing=32)
    return _rows([{"image": colors, "with frames": arrows}])


def mask() -> Image.Image:
    """Reliability Mask: pixels that cannot be followed."""
    step = video()[SHOWN[1]]
    assert step.carried is not None
    reliability = step.carried.reliability.expand(-1, 3, -1, -1)
    return _rows([{"frame": step.frame, "reliability: white is trusted": reliability}])


def flow_masks() -> Image.Image:
    """Flow Mask: what moves between two frames, and the dream in it."""
    mask = flow_mask(flow("dis"), FlowMaskSettings())
    one = frame(PAIR[1])
    dreamed_there = dreamer(TemporalSettings()).step(one, mask=mask).dream
    return _row({"flow": flow_image(flow("dis")), "mask": mask.expand(1, 3, -1, -1), "dream": dreamed_there})


def flow_math() -> Image.Image:
    """Flow Math: the flow, twice, smoothed and turned around."""
    one = flow("dis")
    results = {"flow": one, "scale, factor 2": one * 2, "smooth": smooth(one, 8.0), "invert": invert(one)[0]}
    longest = 2 * one.norm(dim=1).max().item()
    shown = {name: flow_image(result, saturation_length=longest) for name, result in results.items()}
    names = list(shown)
    return _rows([{name: shown[name] for name in names[:2]}, {name: shown[name] for name in names[2:]}])


def flow_files() -> Image.Image:
    """Save Flow and Load Flow: the flow, and the files that hold it, as a viewer shows them."""
    one = flow("dis")
    stmap = to_layout(one, "stmap")
    assert isinstance(stmap, Tensor)
    levels = torch.cat([one * KITTI_STEPS + KITTI_ZERO, torch.full_like(one[:, :1], 65535)], 1) / 65535
    return _row({"flow": flow_image(one), "png of KITTI": levels, "STMap": stmap.movedim(-1, 1)})


def flow_converted() -> Image.Image:
    """Flow Convert: flow to the next frame, its inverse, and where that is known."""
    ahead = estimator("dis").flow(frame(PAIR[0]), frame(PAIR[1]))
    back, reached = invert(ahead)
    longest = ahead.norm(dim=1).max().item()
    drawn = [flow_image(one, saturation_length=longest) for one in (ahead, back)]
    mask = reached.expand(1, 3, -1, -1)
    return _row({"to the next frame": drawn[0], "flow": drawn[1], "reliability": mask})


def compared_videos() -> Image.Image:
    """Compare Videos: its three layouts."""
    layouts: tuple[CompareLayout, ...] = ("side_by_side", "wipe", "difference")
    rows = []
    for layout in layouts:
        settings = CompareSettings(layout=layout, wipe_seconds=2)
        pair = [frame(STANDING), dreamed(STANDING, layer=LAYER)]
        comparison = Comparison(["clip", "dream"], (frame(STANDING).shape[-2], SIDE), settings)
        rows.append(_image(comparison(pair, time=1.0)))
    wide = [row.resize((WIDTH, round(row.height * WIDTH / row.width))) for row in rows[::2]]
    middle = rows[1].resize((WIDTH // 2, round(rows[1].height * WIDTH / 2 / rows[1].width)))
    canvas = Image.new("RGB", (WIDTH, wide[0].height + middle.height + wide[1].height + 2 * GAP))
    canvas.paste(wide[0], (0, 0))
    canvas.paste(middle, (WIDTH // 4, wide[0].height + GAP))
    canvas.paste(wide[1], (0, wide[0].height + middle.height + 2 * GAP))
    return canvas


def dream_atlas() -> Image.Image:
    """Dream Atlas: the most active channels of a layer."""
    settings, model = AtlasSettings(layer=LAYER, count=28), network(MODEL)
    sheet = _image(contact_sheet(make_atlas(model, frame(STANDING), settings), title_of(model, settings, 28)))
    return sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width))) if sheet.width > WIDTH else sheet


def sound_curves() -> Image.Image:
    """Sound Curve: four features of a drum and a cymbal."""
    samples, times = rhythm(seconds=4), [index / 25 for index in range(100)]
    curves: dict[str, list[float]] = {}
    features: tuple[SoundFeature, ...] = ("bass", "treble", "onsets", "beats")
    for feature in features:
        settings = SoundSettings(feature=feature)
        schedule = sound_curve(samples, settings, EnvelopeSettings(), frame=1 / 25)
        curves[feature] = [schedule.at(index, time) for index, time in enumerate(times)]
    return _image(plot_curves(times, curves, width=WIDTH))


def rhythm(*, seconds: int) -> Samples:
    """A drum on every beat, 120 a minute, and a cymbal twice as often, louder in the second half."""
    rate = 22_050
    time = torch.arange(seconds * rate) / rate
    since_drum, since_cymbal = time % 0.5, time % 0.25
    drum = torch.sin(2 * torch.pi * 60 * since_drum) * torch.exp(-12 * since_drum)
    noise = torch.rand(len(time), generator=torch.Generator().manual_seed(0)) * 2 - 1
    cymbal = (
        noise.diff(append=noise[:1])
        * torch.exp(-40 * since_cymbal)
        * torch.where(time < seconds / 2, 0.1, 0.4)
    )
    return Samples(0.7 * drum + 0.5 * cymbal, rate)


def flow_warp() -> Image.Image:
    """Flow Warp: a dream, moved to a later frame."""
    before = dreamed(PAIR[0], layer=LAYER)
    moved = warp(before, flow()).clamp(0, 1)
    return _rows([{"dream of the frame before": before, "output": moved}])


def camera_flow() -> Image.Image:
    """Camera Flow: a flight into a still image."""
    image = dreamed(STANDING, layer=LAYER)
    backward, _ = exact_flow((image.shape[-2], image.shape[-1]), CameraSettings())
    flight = {FLIGHT[0]: image}
    for index in range(1, FLIGHT[-1] + 1):
        moved = warp(image, backward, edges="mirror").clamp(0, 1)
        image = flight[index] = _dream(moved, network(MODEL), LAYER, steps=2)
    return _rows([{f"frame {index}": flight[index] for index in FLIGHT}])


def camera_depth() -> Image.Image:
    """Camera Flow with a depth map: a camera that moves past the rabbit."""
    height, width = frame(STANDING).shape[-2:]
    ground = torch.linspace(0, 0.5, height).view(1, 1, -1, 1).expand(1, 1, height, width)
    depth = torch.maximum(ground, _ellipse(STANDING))
    view = depth_camera_flow(depth, CameraSettings(zoom_factor=1, rotation=0, pan_x=6, depth_range=4))
    moved = warp(frame(STANDING), view.backward, edges="mirror").clamp(0, 1)
    gray = [mask.expand(1, 3, -1, -1) for mask in (depth, view.reliability)]
    return _rows([{"image": frame(STANDING), "depth": gray[0]}, {"warped": moved, "reliability": gray[1]}])


def temporal_blend() -> Image.Image:
    """Temporal Blend: its inputs and the image that the next dream starts from."""
    step = video()[SHOWN[1]]
    assert step.carried is not None
    assert step.carried.warped_frame is not None
    parts = step.carried.warped, step.carried.reliability, step.carried.warped_frame
    start = add_residual(step.frame, *parts, blend=TemporalSettings.blend)
    return _rows(
        [
            {"frame": step.frame, "warped": step.carried.warped},
            {"reliability": step.carried.reliability.expand(-1, 3, -1, -1), "image": start},
        ]
    )


def temporal_loop() -> Image.Image:
    """Temporal Loop Open and Close: frames, previous results and results."""
    return _rows(
        [
            {
                f"frame {index}": video()[index].frame,
                "previous_result": video()[index - 1].dream,
                "result": video()[index].dream,
            }
            for index in (SHOWN[1], SHOWN[1] + 1)
        ]
    )


def dreamed_video() -> Image.Image:
    """DeepDream Video: frames of the clip and of its dream."""
    steps = {index: video()[index] for index in SHOWN}
    return _rows(
        [
            {f"frame {index}": step.frame for index, step in steps.items()},
            {f"dream {index}": step.dream for index, step in steps.items()},
        ]
    )


def masked_video() -> Image.Image:
    """The mask of DeepDream Video: it follows the rabbit."""
    masks = [_ellipse(index) for index in range(SHOWN[-1] + 1)]
    carried = dreamer(TemporalSettings())
    steps = [carried.step(one, mask=mask) for one, mask in zip(frames(), masks, strict=False)]
    return _rows(
        [
            {f"mask {index}": masks[index].expand(1, 3, -1, -1) for index in SHOWN},
            {f"dream {index}": steps[index].dream for index in SHOWN},
        ]
    )


def guides() -> Image.Image:
    """Dream Guide: the rabbit's head grows elsewhere."""
    image = frame(12)
    height, width = image.shape[-2:]
    guide = image[..., int(0.2 * height) : int(0.85 * height), int(0.03 * width) : int(0.45 * width)]
    shown = torch.zeros_like(image)
    shown[..., : guide.shape[-2], : guide.shape[-1]] = guide
    dreams = {
        loss: dream_image(image, guide=guide, model=MODEL, layers=LAYER, loss=loss)
        for loss in ("match", "statistics")
    }
    return _rows([{"frame": image, "guide": shown}, dreams])


def text_crops() -> Image.Image:
    """Dream Text: the crops that one step compares with a text."""
    image = frame(STANDING)
    shown, parts = _image(image), []
    for number, crop in enumerate(draw_crops(size_of(image), 8, 0.4, torch.Generator().manual_seed(4))):
        color = tuple(round(255 * part) for part in hsv_to_rgb(number / 8, 0.6, 1))
        box = (crop.left, crop.top, crop.left + crop.side - 1, crop.top + crop.side - 1)
        ImageDraw.Draw(shown).rectangle(box, outline=color, width=3)
        part = _image(resize(crop.of(image), (120, 120)))
        ImageDraw.Draw(part).rectangle((0, 0, 119, 119), outline=color, width=3)
        parts.append(part)
    width = (WIDTH - 3 * GAP) // 4
    shown = shown.resize((WIDTH, round(WIDTH * shown.height / shown.width)), Image.Resampling.LANCZOS)
    canvas = Image.new("RGB", (WIDTH, shown.height + 2 * (width + GAP)))
    canvas.paste(shown, (0, 0))
    for number, part in enumerate(parts):
        place = (number % 4 * (width + GAP), shown.height + GAP + number // 4 * (width + GAP))
        canvas.paste(part.resize((width, width), Image.Resampling.LANCZOS), place)
    return canvas


def scheduled_video() -> Image.Image:
    """Schedule: a dream that grows as the rabbit rises."""
    text = "0: 0.3, 36: 5 hold, 40: 0.3"
    carried = dreamer(TemporalSettings(), schedule=f"learning_rate={text}")
    steps = [carried.step(one) for one in frames()[: RISING[-1] + 1]]
    schedule = parse_schedule(text)
    return _row({f"frame {index}: {schedule.at(index, 0.0):.2g}": steps[index].dream for index in RISING})


def report() -> Image.Image:
    """Consistency Report: the plot of a dream."""
    steps = video()[:24]
    alone = dreamer(TemporalSettings(independent=True))
    figures = measure(
        (step.frame[0] for step in steps),
        {
            "dreams": (step.dream[0] for step in steps),
            "independent": (alone.step(step.frame).dream[0] for step in steps),
        },
        flow_link(estimator("dis")),
        energy=LayerEnergy(network(MODEL), (LAYER,)),
        independent="independent",
    )
    return _image(plot(figures, width=WIDTH))


IMAGES: tuple[Callable[[], Image.Image], ...] = (
    sample_clip,
    dreamed_image,
    objectives,
    dream_models,
    flow_models,
    optical_flow,
    flow_images,
    mask,
    flow_masks,
    flow_math,
    flow_files,
    flow_converted,
    sound_curves,
    flow_warp,
    camera_flow,
    camera_depth,
    temporal_blend,
    temporal_loop,
    dreamed_video,
    masked_video,
    guides,
    text_crops,
    scheduled_video,
    report,
    compared_videos,
    dream_atlas,
)


def _data() -> Path:
    folder = os.environ.get("DEEPDREAM_TEST_DATA")
    if not folder:
        raise SystemExit("expected DEEPDREAM_TEST_DATA to name the folder that holds weights/ and clips/")
    return Path(folder)


@cache
def frames() -> list[Tensor]:
    """Read the clip up to the last frame that is shown, each (1,3,H,W)."""
    settings = InputSettings(size=SIDE, frames=SHOWN[-1] + 1)
    with open_clip(SAMPLE_CLIP, settings=settings) as clip:
        return [one.image[None] for one in clip]


def frame(index: int) -> Tensor:
    """Return a frame of the clip, (1,3,H,W)."""
    return frames()[index]


@cache
def network(name: ModelName) -> DreamModel:
    """Load a network on the CPU."""
    settings = ModelSettings(model=name, model_dirs=(_data() / "weights",))
    return load_models(settings, DeviceSettings(device="cpu"))[0]


@cache
def estimator(name: FlowName) -> FlowEstimator:
    """Load an estimator on the CPU."""
    return load_estimator(
        FlowSettings(flow=name), DeviceSettings(device="cpu"), folders=[_data() / "weights"]
    )


@cache
def dreamed(index: int, *, model: ModelName = MODEL, layer: str = "") -> Tensor:
    """Dream a frame by itself, on a layer or on the network's default."""
    return _dream(frame(index), network(model), layer)


def _dream(image: Tensor, model: DreamModel, layer: str, steps: int = OctaveSettings.octave_steps) -> Tensor:
    objective = ObjectiveSettings(layers=(layer,) if layer else ())
    settings = DreamSettings(objective=objective, octave=OctaveSettings(octave_steps=steps))
    return dream(image, [model], settings=settings)


@cache
def flow(name: FlowName = "raft_small") -> Tensor:
    """Estimate flow from the later frame of the pair back to the earlier one."""
    return estimator(name).flow(frame(PAIR[1]), frame(PAIR[0]))


@cache
def video() -> list[DreamedFrame]:
    """Dream the clip frame by frame."""
    carried = dreamer(TemporalSettings())
    return [carried.step(one) for one in frames()]


def dreamer(temporal: TemporalSettings, *, schedule: str = "") -> TemporalDreamer:
    """Make a dreamer for the clip, with a schedule or without."""
    settings = PipelineSettings(
        model=ModelSettings(model=MODEL),
        dream=DreamSettings(objective=ObjectiveSettings(layers=(LAYER,))),
        temporal=temporal,
        schedule=ScheduleSettings(schedule=(schedule,) if schedule else ()),
        flow=FlowSettings(flow="dis"),
        device=DeviceSettings(device="cpu"),
    )
    return load_dreamer(settings)


def _ellipse(index: int) -> Tensor:
    """Draw the mask (1,1,H,W) of a frame, between the ones of `AROUND_THE_RABBIT`."""
    height, width = frame(index).shape[-2:]
    keys = list(AROUND_THE_RABBIT.items())
    (before, one), (after, other) = next(pair for pair in pairwise(keys) if index <= pair[1][0])
    share = (index - before) / (after - before)
    x, y, across, down = ((1 - share) * a + share * b for a, b in zip(one, other, strict=True))
    rows, columns = torch.arange(height).view(-1, 1) / height, torch.arange(width) / width
    return (((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1).float()[None, None]


def _image(image: Tensor) -> Image.Image:
    """Convert (1,3,H,W) or (3,H,W) in 0..1."""
    levels = image.reshape(-1, *image.shape[-2:]).detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).numpy())  # CHW -> HWC


def _rows(rows: list[dict[str, Tensor]]) -> Image.Image:
    """Put images in rows, each below its name; a row is as wide as the page's image."""
    strips = [_row(row) for row in rows]
    canvas = Image.new("RGB", (WIDTH, sum(strip.height for strip in strips) + GAP * (len(strips) - 1)))
    top = 0
    for strip in strips:
        canvas.paste(strip, (0, top))
        top += strip.height + GAP
    return canvas


def _row(images: dict[str, Tensor]) -> Image.Image:
    width = (WIDTH - GAP * (len(images) - 1)) // len(images)
    font = ImageFont.load_default(TEXT)
    shown = [_image(one) for one in images.values()]
    height = round(width * shown[0].height / shown[0].width)
    strip = Image.new("RGB", (WIDTH, height + TEXT + 6))
    for column, (name, image) in enumerate(zip(images, shown, strict=True)):
        left = column * (width + GAP)
        strip.paste(image.resize((width, height), Image.Resampling.LANCZOS), (left, TEXT + 6))
        ImageDraw.Draw(strip).text((left + 3, 1), name, fill="white", font=font)
    return strip


def main() -> None:
    """Make all images, or those named."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for make in IMAGES:
        if not sys.argv[1:] or make.__name__ in sys.argv[1:]:
            quality = PLOT_QUALITY if make in (report, sound_curves) else QUALITY
            make().save(FOLDER / f"{make.__name__}.jpg", quality=quality, optimize=True)


if __name__ == "__main__":
    main()
