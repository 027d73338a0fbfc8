"""Write workflows/*.json, for ComfyUI's page, and their twins in workflows/api, for its HTTP API.

    PYTHONPATH=benchmarks python scripts/make_workflows.py

Nodes, widgets and defaults are those of a real ComfyUI, which is started for it. Run it when a node or a default
has changed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from comfyui_server import Server
from page_format import Definitions, Node, Workflow

FOLDER = Path(__file__).resolve().parents[1] / "workflows"

PICTURE = "example.png"
"""Comes with ComfyUI."""
CLIP = "video.mp4"
"""Stands for the user's own."""
SECONDS = 2.0
MEGAPIXELS = 0.19
"""Of a clip's frames: 512 x 384, for instance."""
SIDE = 512
"""Of a picture."""

INPUT, MODELS, MOTION, DREAM, RESULT = "#3f789e", "#8A8", "#b58b2a", "#a1309b", "#b06634"
"""Colours of the groups: what goes in, the networks, what moves, what dreams, what comes out."""
SLOT = 14
"""How far below a node's top its first socket is; each further one is another 20 lower."""
DREAMING = ("#323", "#535")
"""Title and body of the nodes that dream."""

CHOOSE_CLIP = (
    "**Choose a clip of your own in Load Video** (or put one into ComfyUI's `input` folder as "
    f"`{CLIP}`). The first {SECONDS:g} seconds are dreamed, at {MEGAPIXELS:g} megapixels: minutes on a CPU.\n\n"
)
OTHER_NETWORK = (
    "- **Load Dream Model**: `fractal` comes with this pack. `bvlc_googlenet` is the classic of dogs and birds; "
    "it is downloaded once.\n"
)


def deepdream_image(workflow: Workflow) -> None:
    """One picture, three layers side by side."""
    picture = workflow.add("LoadImage", (-420, 0), (320, 330), image=PICTURE)
    small = workflow.add(
        "ImageScaleToMaxDimension", (0, 0), (320, 90), image=picture, upscale_method="area", largest_size=SIDE
    )
    workflow.group("1 · Picture", INPUT, picture, small)
    dreams, chosen = [], []
    for row, layer in enumerate(("scales", "eyes", "worlds")):
        top = row * 480
        model = workflow.add("DeepDreamLoadDreamModel", (560, top + 80), (300, 60), model="fractal")
        objective = workflow.add("DeepDreamObjective", (560, top + 200), (300, 130), layers=layer)
        dream = workflow.add(
            "DeepDreamImage",
            (980, top),
            (320, 334),
            title=f"DeepDream: {layer}",
            color=DREAMING,
            image=small,
            dream_model=model,
            objective=objective,
        )
        workflow.bend(dream, "image", (520, top + SLOT))
        dreams.append(dream)
        chosen += [model, objective]
    workflow.group("2 · Network and layer", MODELS, *chosen)
    workflow.group("3 · Dream", DREAM, *dreams)
    above = workflow.add(
        "ImageStitch", (1420, -80), (280, 150), image1=small, image2=dreams[0], direction="right"
    )
    workflow.bend(above, "image1", (520, -80 + SLOT), (1320, -80 + SLOT))
    below = workflow.add(
        "ImageStitch", (1420, 480), (280, 150), image1=dreams[1], image2=dreams[2], direction="right"
    )
    sheet = workflow.add("ImageStitch", (1780, 200), (280, 150), image1=above, image2=below, direction="down")
    saved = workflow.add("SaveImage", (2140, 200), (520, 560), images=sheet, filename_prefix="deepdream")
    workflow.group("4 · Side by side", RESULT, above, below, sheet, saved)
    workflow.note(
        (-420, 460),
        (740, 340),
        "One picture, dreamed on three layers of the network: fine, middle and coarse. The picture itself is top "
        "left.\n\nTry\n"
        "- **Load Image**: a photo of your own. Clouds, leaves, water and fur dream best.\n"
        "- **Dream Objective**: `layers` may be `grain`, `weave`, `lace`, `scales`, `petals`, `eyes`, `blooms`, "
        "`worlds`, or several: `lace eyes:2`. `channels 3` takes one channel alone: each is a dream of its own.\n"
        "- **DeepDream**: more `octave_steps` or a larger `learning_rate` dream stronger; more `octaves` dream "
        "larger.\n" + OTHER_NETWORK,
    )


def deepdream_video(workflow: Workflow) -> None:
    """The whole pipeline in one node."""
    parts, images = _clip(workflow)
    model, objective, flow = _networks(workflow, (960, 260))
    dream = workflow.add(
        "DeepDreamVideo",
        (1400, 0),
        (340, 358),
        color=DREAMING,
        images=images,
        dream_model=model,
        optical_flow=flow,
        objective=objective,
    )
    workflow.group("3 · Dream", DREAM, dream)
    _save(workflow, (1880, 0), dream, parts, "deepdream", lane=720)
    workflow.note(
        (0, 400),
        (860, 290),
        CHOOSE_CLIP
        + "Each frame goes on with the dream of the one before, carried along by the motion.\n\nTry\n"
        "- **DeepDream Video**: `blend` 0 holds on to the dream for as long as it can, 0.3 lets the clip "
        'through. "Show Advanced" in the node\'s menu: `independent` shows how DeepDream flickers without all '
        "this; `zoom` 2 falls into the picture.\n"
        "- **Dream Objective**: `layers` `scales`, `petals`, `blooms`, `worlds`.\n"
        + OTHER_NETWORK
        + "- **Load Flow Model**: `raft_small` sees motion better than `dis`; it is downloaded once.\n",
    )


def deepdream_video_loop(workflow: Workflow) -> None:
    """The whole pipeline from single nodes."""
    parts, images = _clip(workflow)
    start = workflow.add("DeepDreamLoopOpen", (1400, 0), (220, 126), frames=images)
    _, frame, previous_frame, previous_result = (start[slot] for slot in range(4))
    flow_model = workflow.add("DeepDreamLoadFlowModel", (1400, 330), (260, 60), model="dis")
    flow = workflow.add(
        "DeepDreamOpticalFlow",
        (1780, 330),
        (240, 74),
        optical_flow=flow_model,
        frames=frame,
        previous=previous_frame,
    )
    warped = workflow.add(
        "DeepDreamFlowWarp",
        (2160, 150),
        (260, 78),
        title="Flow Warp: the dream",
        input=previous_result,
        flow=flow,
    )
    mask = workflow.add(
        "DeepDreamOcclusionMask", (2160, 330), (260, 74), flow=flow, frames=frame, previous=previous_frame
    )
    warped_frame = workflow.add(
        "DeepDreamFlowWarp",
        (2160, 510),
        (260, 78),
        title="Flow Warp: the frame",
        input=previous_frame,
        flow=flow,
    )
    workflow.group(
        "2 · For every frame: what moved, and what of it to trust",
        MOTION,
        *(start, flow_model, flow, warped, mask, warped_frame),
    )
    blend = workflow.add(
        "DeepDreamTemporalBlend",
        (2560, 20),
        (260, 118),
        frame=frame,
        warped=warped,
        mask=mask,
        warped_frame=warped_frame,
    )
    model = workflow.add("DeepDreamLoadDreamModel", (2560, 240), (280, 60), model="fractal")
    objective = workflow.add("DeepDreamObjective", (2560, 400), (280, 130), layers="eyes")
    dream = workflow.add(
        "DeepDreamImage",
        (2960, 20),
        (320, 334),
        color=DREAMING,
        octave_steps=4,
        image=blend,
        dream_model=model,
        objective=objective,
    )
    end = workflow.add("DeepDreamLoopClose", (3400, -60), (220, 66), loop=start, result=dream)
    workflow.bend(end, "loop", (1690, SLOT - 60), (3310, SLOT - 60))
    workflow.group("3 · Carry the dream on, and dream", DREAM, blend, model, objective, dream, end)
    _save(workflow, (3760, -60), end, parts, "deepdream_loop", lane=680)
    workflow.note(
        (0, 400),
        (860, 400),
        CHOOSE_CLIP
        + "The nodes between **Temporal Loop Open** and **Temporal Loop Close** run once for every "
        "frame. The dream of the frame before is moved along the optical flow, trusted where the mask is white, "
        "added to the new frame, and dreamed on.\n\nTry\n"
        "- Any other nodes between the two: colours, an upscaler, a sampler.\n"
        "- **Preview Image** inside of the loop, on `mask` (through Convert Mask to Image): it shows every "
        "frame.\n"
        "- **Temporal Blend**: `blend` 0.3 lets the clip through.\n"
        "- **DeepDream**: a frame that carries a dream needs few `octave_steps`; the same for all here, while "
        "DeepDream Video chooses them for each frame.\n" + OTHER_NETWORK,
    )


def deepdream_video_file(workflow: Workflow) -> None:
    """From file to file, for long clips."""
    clip = workflow.add("LoadVideo", (0, 0), (300, 300), file=CLIP)
    workflow.group("1 · Clip", INPUT, clip)
    model, objective, flow = _networks(workflow, (420, 100))
    dream = workflow.add(
        "DeepDreamVideoFile",
        (840, 0),
        (340, 406),
        color=DREAMING,
        video=clip,
        dream_model=model,
        optical_flow=flow,
        objective=objective,
        frames=90,
    )
    workflow.group("3 · Dream", DREAM, dream)
    saved = workflow.add(
        "SaveVideo", (1300, 0), (480, 460), video=dream, filename_prefix="video/deepdream_file"
    )
    workflow.group("4 · Result", RESULT, saved)
    workflow.note(
        (0, 640),
        (860, 220),
        "**Choose a clip of your own in Load Video** (or put one into ComfyUI's `input` folder as "
        f"`{CLIP}`). It is read, dreamed and written frame by frame: memory does not grow with its length, and "
        "its sound is kept. Cancel keeps what is done.\n\nTry\n"
        "- **DeepDream Video File**: `frames` 0 dreams the whole clip; `size` 0 in its own size, then with a "
        "`tile_size` of 512 where memory is small.\n" + OTHER_NETWORK,
    )


def flow_and_occlusion(workflow: Workflow) -> None:
    """What the loop sees of the motion, and what of it it trusts."""
    _, images = _clip(workflow, seconds=1.0)
    model = workflow.add("DeepDreamLoadFlowModel", (1400, -140), (260, 60), model="dis")
    flow = workflow.add("DeepDreamOpticalFlow", (1740, 0), (240, 74), optical_flow=model, frames=images)
    workflow.group("2 · Motion", MODELS, model, flow)
    warped = workflow.add(
        "DeepDreamFlowWarp", (2120, -440), (260, 78), input=images, flow=flow, from_previous=True
    )
    error = workflow.add(
        "ImageBlend",
        (2480, -520),
        (260, 130),
        title="Warp error",
        image1=images,
        image2=warped,
        blend_factor=1.0,
        blend_mode="difference",
    )
    workflow.bend(warped, "input", (1340, -440 + SLOT))
    workflow.bend(error, "image1", (1340, -520 + SLOT), (2400, -520 + SLOT))
    wrong = workflow.add(
        "PreviewImage", (2840, -520), (400, 330), title="Warp error: black is right", images=error
    )
    picture = workflow.add("DeepDreamFlowPicture", (2120, -60), (260, 102), flow=flow)
    seen = workflow.add(
        "PreviewImage", (2480, -60), (400, 330), title="Flow: hue is direction", images=picture
    )
    mask = workflow.add("DeepDreamOcclusionMask", (2120, 400), (260, 74), flow=flow, frames=images)
    workflow.bend(mask, "frames", (1340, 400 + SLOT + 20))
    white = workflow.add("MaskToImage", (2480, 400), (220, 30), mask=mask)
    trusted = workflow.add(
        "PreviewImage", (2840, 400), (400, 330), title="Mask: white is trusted", images=white
    )
    workflow.group("3 · The frame before, moved, less the frame", RESULT, warped, error, wrong)
    workflow.group("4 · Flow", MOTION, picture, seen)
    workflow.group("5 · What to trust", DREAM, mask, white, trusted)
    workflow.note(
        (0, 420),
        (860, 300),
        "**Choose a clip of your own in Load Video** (or put one into ComfyUI's `input` folder as "
        f"`{CLIP}`). One second of it is looked at; the arrow keys page through the frames of a preview.\n\n"
        "A good mask is black wherever the warp error is bright, and white elsewhere.\n\nTry\n"
        "- **Load Flow Model**: `raft_small` or `raft_large` against `dis`.\n"
        '- **Occlusion Mask**, "Show Advanced": switch each of the four checks off to see what it finds; a '
        "lower `brightness_threshold` distrusts shadows and glints; `mask_softness` widens the edges.\n"
        "- **Flow Picture**: `saturation_length` 10 makes frames comparable; connect the frames to `frames` for "
        "arrows on the clip.\n",
    )


def endless_zoom(workflow: Workflow) -> None:
    """A still, dreamed while a camera flies into it."""
    picture = workflow.add("LoadImage", (0, 0), (320, 330), image=PICTURE)
    still = _small(workflow, (420, 0), picture, megapixels=0.25)
    workflow.group("1 · Picture", INPUT, picture, still)
    frames = workflow.add(
        "RepeatImageBatch", (820, 0), (240, 60), title="How many frames", image=still, amount=120
    )
    camera = workflow.add("DeepDreamCameraFlow", (820, 160), (240, 130), image=still)
    start = workflow.add("DeepDreamLoopOpen", (1160, 0), (220, 126), frames=frames)
    warped = workflow.add(
        "DeepDreamFlowWarp", (1480, 40), (260, 78), input=start[3], flow=camera, edges="mirror"
    )
    workflow.group("2 · For every frame: move the last dream", MOTION, frames, camera, start, warped)
    colors = workflow.add(
        "ColorTransfer",
        (1840, 40),
        (280, 150),
        title="Keep the picture's colors",
        image_target=warped,
        image_ref=still,
        method="mkl_lab",
    )
    workflow.bend(colors, "image_ref", (780, 350), (1740, 350))
    model = workflow.add("DeepDreamLoadDreamModel", (1840, 290), (280, 60), model="fractal")
    objective = workflow.add("DeepDreamObjective", (1840, 450), (280, 130), layers="petals worlds")
    dream = workflow.add(
        "DeepDreamImage",
        (2240, 40),
        (320, 334),
        color=DREAMING,
        octave_steps=2,
        image=colors,
        dream_model=model,
        objective=objective,
    )
    end = workflow.add("DeepDreamLoopClose", (2680, -60), (220, 66), loop=start, result=dream)
    workflow.bend(end, "loop", (1440, SLOT - 60), (2600, SLOT - 60))
    workflow.group("3 · Dream on", DREAM, colors, model, objective, dream, end)
    video = workflow.add("CreateVideo", (3020, -60), (240, 110), images=end, fps=24.0)
    saved = workflow.add(
        "SaveVideo", (3360, -60), (480, 520), video=video, filename_prefix="video/endless_zoom"
    )
    workflow.group("4 · Result", RESULT, video, saved)
    workflow.note(
        (0, 460),
        (1060, 330),
        "A flight into one picture that never ends. **Temporal Loop** hands each dream to the next frame, **Camera "
        "Flow** moves it a little, and DeepDream fills in what the zoom lacks. **Transfer Color** keeps the "
        "picture's colors; without it they would run away within a hundred frames.\n\nTry\n"
        "- **Load Image**: a photo of your own.\n"
        "- **How many frames**: 120 take minutes on a CPU. To fly on, load the last frame as the picture.\n"
        "- **Camera Flow**: `zoom_factor` 1.05 is fast, 0.98 moves out; `rotation` 0 goes straight ahead; `pan_x` "
        "4 drives past. What comes in at the edges is mirrored (**Flow Warp**, `edges`).\n"
        "- **Dream Objective**: `eyes`, `scales blooms`, or `petals` with `channels 3`.\n"
        "- **DeepDream**: more `octave_steps` dream faster than the camera flies.\n" + OTHER_NETWORK,
    )


def _clip(workflow: Workflow, *, seconds: float = SECONDS) -> tuple[Node, Node]:
    """The clip's parts, and its frames in a small size."""
    clip = workflow.add("LoadVideo", (0, 0), (300, 300), file=CLIP)
    short = workflow.add("Video Slice", (360, 0), (260, 110), video=clip, duration=seconds)
    parts = workflow.add("GetVideoComponents", (680, 0), (220, 110), video=short)
    images = _small(workflow, (960, 0), parts)
    workflow.group("1 · Clip", INPUT, clip, short, parts, images)
    return parts, images


def _small(workflow: Workflow, at: tuple[int, int], images: Node, *, megapixels: float = MEGAPIXELS) -> Node:
    """Pictures in a small size that videos can have: some encoders refuse odd sides."""
    return workflow.add(
        "ImageScaleToTotalPixels",
        at,
        (300, 110),
        image=images,
        upscale_method="area",
        megapixels=megapixels,
        resolution_steps=8,
    )


def _networks(workflow: Workflow, at: tuple[int, int]) -> tuple[Node, Node, Node]:
    """Network, flow and objective, in the order in which the dreaming nodes take them."""
    left, top = at
    model = workflow.add("DeepDreamLoadDreamModel", (left, top), (300, 60), model="fractal")
    flow = workflow.add("DeepDreamLoadFlowModel", (left, top + 120), (300, 60), model="dis")
    objective = workflow.add("DeepDreamObjective", (left, top + 240), (300, 130), layers="eyes")
    workflow.group("2 · Networks, and what to dream of", MODELS, model, flow, objective)
    return model, objective, flow


def _save(
    workflow: Workflow, at: tuple[int, int], images: Node, parts: Node, prefix: str, *, lane: int
) -> None:
    """The video and its file. Sound and speed come along a lane below all that is in between."""
    left, top = at
    video = workflow.add("CreateVideo", (left, top), (240, 110), images=images, audio=parts[1], fps=parts[2])
    for row, name in enumerate(("audio", "fps")):
        workflow.bend(video, name, (930, lane + 20 * row), (left - 90, lane + 20 * row))
    saved = workflow.add(
        "SaveVideo", (left + 300, top), (480, 460), video=video, filename_prefix=f"video/{prefix}"
    )
    workflow.group("4 · Result, with the clip's sound", RESULT, video, saved)


WORKFLOWS: tuple[Callable[[Workflow], None], ...] = (
    deepdream_image,
    deepdream_video,
    deepdream_video_loop,
    deepdream_video_file,
    flow_and_occlusion,
    endless_zoom,
)


def write(definitions: Definitions, folder: Path) -> None:
    """Write all workflows and their twins."""
    (folder / "api").mkdir(parents=True, exist_ok=True)
    for make in WORKFLOWS:
        workflow = Workflow(definitions)
        make(workflow)
        for path, graph in (
            (folder / f"{make.__name__}.json", workflow.page()),
            (folder / "api" / f"{make.__name__}.json", workflow.api()),
        ):
            path.write_text(json.dumps(graph, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    """Start a ComfyUI, ask it for its nodes, and write."""
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "comfyui") as server:
        write(server.get("/object_info"), FOLDER)


if __name__ == "__main__":
    main()
