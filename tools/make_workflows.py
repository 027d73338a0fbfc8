"""Write workflows/*.json, for ComfyUI's page, and their twins in workflows/api, for its HTTP API.

    python tools/make_workflows.py

Nodes, widgets and defaults are those of a real ComfyUI, which is started for it. Run it when a node or a default
has changed.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from comfyui_server import Server
from page_format import Definitions, Node, Output, Workflow

FOLDER = Path(__file__).resolve().parents[1] / "workflows"

IMAGE = "example.png"
"""Comes with ComfyUI."""
CLIP = "video.mp4"
"""Stands for the user's own."""
SECONDS = 2.0
MEGAPIXELS = 0.19
"""Of a clip's frames: 512 x 384, for instance."""
SIDE = 512
"""Of an image."""

INPUT, MODELS, MOTION, DREAM, RESULT = "#3f789e", "#8A8", "#b58b2a", "#a1309b", "#b06634"
"""Colors of the groups: what goes in, the networks, what moves, what dreams, what comes out."""
SLOT = 14
"""How far below a node's top its first socket is; each further one is another 20 lower."""
DREAMING = ("#323", "#535")
"""Title and body of the nodes that dream."""
DIFFUSING = ("#223", "#335")
"""The same of the nodes of Stable Diffusion."""

CHECKPOINT = {
    "name": "v1-5-pruned-emaonly-fp16.safetensors",
    "url": "https://huggingface.co/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/"
    "v1-5-pruned-emaonly-fp16.safetensors",
    "directory": "checkpoints",
}
"""Stable Diffusion 1.5, as in ComfyUI's own templates."""
NEEDS_CHECKPOINT = (
    f"**Needs a checkpoint**: `{CHECKPOINT['name']}` (Stable Diffusion 1.5, 2 GB) in ComfyUI's "
    "`models/checkpoints`; the page offers to download it. Any other of Stable Diffusion 1.5 does, too: choose it "
    "in **Load Checkpoint**. And it wants a GPU: a CPU takes a minute and more for each frame.\n\n"
    f"**Choose a clip of your own in Load Video** (or put one into ComfyUI's `input` folder as `{CLIP}`). One "
    "second of it is taken.\n\n"
)

CHOOSE_CLIP = (
    "**Choose a clip of your own in Load Video** (or put one into ComfyUI's `input` folder as "
    f"`{CLIP}`). The first {SECONDS:g} seconds are dreamed, at {MEGAPIXELS:g} megapixels: minutes on a CPU.\n\n"
)
OTHER_NETWORK = (
    "- **Load Dream Model**: `fractal` comes with this pack. `bvlc_googlenet` is the classic of dogs and birds; "
    "it is downloaded once.\n"
)


def deepdream_image(workflow: Workflow) -> None:
    """One image, three layers side by side."""
    image = workflow.add("LoadImage", (-420, 0), (320, 330), image=IMAGE)
    small = workflow.add(
        "ImageScaleToMaxDimension", (0, 0), (320, 90), image=image, upscale_method="area", largest_size=SIDE
    )
    workflow.group("1 · Image", INPUT, image, small)
    dreams, chosen = [], []
    for row, layer in enumerate(("scales", "eyes", "worlds")):
        top = row * 480
        model = workflow.add("DeepDreamLoadDreamModel", (560, top + 80), (300, 90), model="fractal")
        objective = workflow.add("DeepDreamObjective", (560, top + 215), (300, 130), layers=layer)
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
        "One image, dreamed on three layers of the network: fine, middle and coarse. The image itself is top "
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
    model, objective, flow = _networks(workflow, (960, 430))
    dream = workflow.add(
        "DeepDreamVideo",
        (1400, 0),
        (340, 358),
        color=DREAMING,
        images=images,
        dream_model=model,
        flow_model=flow,
        objective=objective,
    )
    workflow.group("3 · Dream", DREAM, dream)
    _save(workflow, (1880, 0), dream, parts, "deepdream", lane=880)
    workflow.note(
        (0, 400),
        (860, 290),
        CHOOSE_CLIP
        + "Each frame goes on with the dream of the one before, carried along by the motion.\n\nTry\n"
        "- **DeepDream Video**: `blend` 0 holds on to the dream for as long as it can, 0.3 lets the clip "
        'through. "Show Advanced" in the node\'s menu: `independent` shows how DeepDream flickers without all '
        "this; `zoom` 2 falls into the image.\n"
        "- **Dream Objective**: `layers` `scales`, `petals`, `blooms`, `worlds`.\n"
        + OTHER_NETWORK
        + "- **Load Flow Model**: `raft_small` sees motion better than `dis`; it is downloaded once.\n",
    )


def deepdream_video_loop(workflow: Workflow) -> None:
    """The whole pipeline from single nodes."""
    parts, images = _clip(workflow)
    start = workflow.add("DeepDreamLoopOpen", (1400, 0), (220, 126), frames=images)
    motion = _motion(workflow, start)
    workflow.group("2 · For every frame: what moved, and what of it to trust", MOTION, start, *motion.nodes)
    blend = workflow.add(
        "DeepDreamTemporalBlend",
        (2560, 20),
        (260, 118),
        frame=start[1],
        warped=motion.warped,
        reliability=motion.mask,
        warped_frame=motion.warped_frame,
    )
    model = workflow.add("DeepDreamLoadDreamModel", (2560, 240), (280, 90), model="fractal")
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
        "- Any other nodes between the two: colors, an upscaler, a sampler.\n"
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
        flow_model=flow,
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
    flow = workflow.add("DeepDreamOpticalFlow", (1740, 0), (240, 74), flow_model=model, frames=images)
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
    image = workflow.add("DeepDreamFlowPicture", (2120, -60), (260, 102), flow=flow)
    seen = workflow.add("PreviewImage", (2480, -60), (400, 330), title="Flow: hue is direction", images=image)
    mask = workflow.add("DeepDreamOcclusionMask", (2120, 400), (260, 74), flow=flow, frames=images)
    workflow.bend(mask, "frames", (1340, 400 + SLOT + 20))
    white = workflow.add("MaskToImage", (2480, 400), (220, 30), mask=mask)
    trusted = workflow.add(
        "PreviewImage", (2840, 400), (400, 330), title="Mask: white is trusted", images=white
    )
    workflow.group("3 · The frame before, moved, less the frame", RESULT, warped, error, wrong)
    workflow.group("4 · Flow", MOTION, image, seen)
    workflow.group("5 · What to trust", DREAM, mask, white, trusted)
    workflow.note(
        (0, 420),
        (860, 300),
        "**Choose a clip of your own in Load Video** (or put one into ComfyUI's `input` folder as "
        f"`{CLIP}`). One second of it is looked at; the arrow keys page through the frames of a preview.\n\n"
        "A good mask is black wherever the warp error is bright, and white elsewhere.\n\nTry\n"
        "- **Load Flow Model**: `raft_small` or `raft_large` against `dis`.\n"
        '- **Reliability Mask**, "Show Advanced": switch each of the four checks off to see what it finds; a '
        "lower `brightness_threshold` distrusts shadows and glints; `mask_softness` widens the edges.\n"
        "- **Flow Image**: `saturation_length` 10 makes frames comparable; connect the frames to `frames` for "
        "arrows on the clip.\n",
    )


def independent_vs_temporal(workflow: Workflow) -> None:
    """What the feedback buys: frames dreamed one by one, beside a dream that is carried."""
    parts, images = _clip(workflow)
    model = workflow.add("DeepDreamLoadDreamModel", (1400, -120), (300, 90), model="fractal")
    objective = workflow.add("DeepDreamObjective", (1400, 20), (300, 130), layers="eyes")
    flow = workflow.add("DeepDreamLoadFlowModel", (1780, 330), (280, 60), model="dis")
    workflow.group("2 · The same networks for both", MODELS, model, objective, flow)
    alone, carried = (
        workflow.add(
            "DeepDreamVideo",
            (2180, top),
            (340, 358),
            title=title,
            color=DREAMING,
            images=images,
            dream_model=model,
            objective=objective,
            **others,
        )
        for top, title, others in (
            (-420, "Each frame by itself", {"independent": True}),
            (240, "Each frame goes on with the last dream", {"flow_model": flow}),
        )
    )
    workflow.bend(alone, "images", (1340, -420 + SLOT))
    workflow.bend(carried, "images", (1340, 240 + SLOT))
    workflow.bend(carried, "objective", (1740, 430), (2100, 430))
    workflow.group("3 · Dream", DREAM, alone, carried)
    both = workflow.add(
        "ImageStitch", (3040, -60), (280, 150), image1=alone, image2=carried, direction="right"
    )
    workflow.bend(both, "image1", (2600, -60 + SLOT))
    reports = []
    for dreams, top, curves_top, lanes, loader in (
        (alone, -440, -760, [(1340, -500), (2600, -500)], -300),
        (carried, 560, 560, [(1340, 240 + SLOT), (1760, 180), (2560, 180)], 700),
    ):
        measure = workflow.add("DeepDreamLoadFlowModel", (2660, loader), (280, 60), model="dis")
        report = workflow.add(
            "DeepDreamConsistencyReport",
            (3040, top),
            (280, 200),
            images=images,
            dreams=dreams,
            flow_model=measure,
        )
        workflow.bend(report, "images", *lanes)
        curves = workflow.add("PreviewImage", (3420, curves_top), (420, 520), title="Curves", images=report)
        reports += [measure, report, curves]
    video = workflow.add("CreateVideo", (3420, -60), (240, 110), images=both, fps=parts[2])
    workflow.bend(video, "fps", (930, -100), (930, -880), (3370, -880), (3370, -180))
    saved = workflow.add(
        "SaveVideo",
        (3720, -60),
        (640, 400),
        video=video,
        filename_prefix="video/independent_vs_temporal",
    )
    workflow.group("4 · Left: each by itself. Right: carried", RESULT, both, video, saved)
    workflow.group("5 · How steady: flicker 0 is carried perfectly, 1 unrelated", MOTION, *reports[:3])
    workflow.group("5 · The same of the carried dream", MOTION, *reports[3:])
    workflow.note(
        (0, 400),
        (860, 300),
        CHOOSE_CLIP
        + "The same clip twice, by the same networks. Left, every frame is dreamed by itself: similar frames dream "
        "differently, and the dream boils. Right, each frame goes on with the dream of the one before, where it "
        "can be trusted, and needs fewer steps. Watch the water.\n\n"
        "In the curves **flicker** is what changes of the dream beyond the motion: 0 is carried perfectly, 1 is "
        "unrelated from frame to frame.\n\nTry\n"
        "- **Dream Objective**: `layers` `scales`, `petals`, `blooms`, `worlds`.\n"
        "- **DeepDream Video**, on the right: `blend` 0.3 lets the clip through, 0 holds on to the dream.\n"
        "- **Load Flow Model**: `raft_small` sees motion better than `dis`; it is downloaded once.\n",
    )


def endless_zoom(workflow: Workflow) -> None:
    """A still, dreamed while a camera flies into it."""
    image = workflow.add("LoadImage", (0, 0), (320, 330), image=IMAGE)
    still = _small(workflow, (420, 0), image, megapixels=0.25)
    workflow.group("1 · Image", INPUT, image, still)
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
        title="Keep the image's colors",
        image_target=warped,
        image_ref=still,
        method="mkl_lab",
    )
    workflow.bend(colors, "image_ref", (780, 350), (1740, 350))
    model = workflow.add("DeepDreamLoadDreamModel", (1840, 290), (280, 90), model="fractal")
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
        "A flight into one image that never ends. **Temporal Loop** hands each dream to the next frame, **Camera "
        "Flow** moves it a little, and DeepDream fills in what the zoom lacks. **Transfer Color** keeps the "
        "image's colors; without it they would run away within a hundred frames.\n\nTry\n"
        "- **Load Image**: a photo of your own.\n"
        "- **How many frames**: 120 take minutes on a CPU. To fly on, load the last frame as the image.\n"
        "- **Camera Flow**: `zoom_factor` 1.05 is fast, 0.98 moves out; `rotation` 0 goes straight ahead; `pan_x` "
        "4 drives past. What comes in at the edges is mirrored (**Flow Warp**, `edges`).\n"
        "- **Dream Objective**: `eyes`, `scales blooms`, or `petals` with `channels 3`.\n"
        "- **DeepDream**: more `octave_steps` dream faster than the camera flies.\n" + OTHER_NETWORK,
    )


def stable_diffusion_loop(workflow: Workflow) -> None:
    """Generative nodes in the loop: img2img on the moved last result, then DeepDream."""
    parts, images = _clip(workflow, seconds=1.0)
    start = workflow.add("DeepDreamLoopOpen", (1400, 0), (220, 126), frames=images)
    motion = _motion(workflow, start)
    workflow.group("2 · For every frame: what moved, and what of it to trust", MOTION, start, *motion.nodes)
    blend = workflow.add(
        "DeepDreamTemporalBlend",
        (2560, 120),
        (260, 118),
        blend=0.2,
        frame=start[1],
        warped=motion.warped,
        reliability=motion.mask,
        warped_frame=motion.warped_frame,
    )
    diffusion = _stable_diffusion(workflow, (2560, -600))
    encoded = workflow.add(
        "VAEEncode", (2980, 120), (220, 50), color=DIFFUSING, pixels=blend, vae=diffusion.vae
    )
    workflow.bend(encoded, "vae", (2920, 60))
    sampled = workflow.add(
        "KSampler",
        (3420, 60),
        (300, 262),
        color=DIFFUSING,
        model=diffusion.model,
        positive=diffusion.positive,
        negative=diffusion.negative,
        latent_image=encoded,
        seed=start[4],
        steps=20,
        cfg=7.0,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        denoise=0.4,
    )
    workflow.bend(sampled, "model", (2920, -650), (3380, -650))
    workflow.bend(sampled, "seed", (1690, 660), (3320, 660))
    decoded = workflow.add(
        "VAEDecode", (3840, 60), (220, 50), color=DIFFUSING, samples=sampled, vae=diffusion.vae
    )
    workflow.bend(decoded, "vae", (2920, 60), (2920, 400), (3760, 400))
    model = workflow.add("DeepDreamLoadDreamModel", (3840, 220), (280, 90), model="fractal")
    objective = workflow.add("DeepDreamObjective", (3840, 360), (280, 130), layers="eyes")
    dream = workflow.add(
        "DeepDreamImage",
        (4220, 60),
        (320, 334),
        color=DREAMING,
        octave_steps=2,
        image=decoded,
        dream_model=model,
        objective=objective,
    )
    end = workflow.add("DeepDreamLoopClose", (4660, 0), (220, 66), loop=start, result=dream)
    workflow.bend(end, "loop", (1690, -720), (4580, -720))
    workflow.group("3 · Carry the last result on, and repaint it", DREAM, blend, encoded, sampled)
    workflow.group("4 · Dream on", DREAM, decoded, model, objective, dream, end)
    _save(workflow, (5020, 0), end, parts, "stable_diffusion_loop", lane=740)
    workflow.note(
        (0, 400),
        (860, 440),
        NEEDS_CHECKPOINT
        + "Any nodes may stand in a **Temporal Loop**, samplers too. What the last frame became is moved "
        "along the optical flow, trusted where the mask is white, and repainted by **KSampler** as much as "
        "`denoise` says; then DeepDream dreams on it. The loop's `index` is the seed: the same noise for every "
        "frame would burn in.\n\nTry\n"
        "- **KSampler**: `denoise` 0.3 holds on to the clip, 0.6 invents.\n"
        "- **Temporal Blend**: `blend` 0 flickers least, 0.5 lets the clip through.\n"
        "- **DeepDream**: right-click, Bypass, and Stable Diffusion is alone in the loop. Or the other way round: "
        "bypass VAE Encode, KSampler and VAE Decode.\n"
        "- Another checkpoint, a LoRA, a ControlNet on `frame`: all that ComfyUI has fits in.\n",
    )


DIFFUSION_LANES = {
    "model": [(1440, -770)],
    "positive": [(1900, -640)],
    "negative": [(1900, -450)],
}
"""Where the wires into the samplers of latent_warp run, above all that is in between."""


def latent_warp(workflow: Workflow) -> None:
    """Latents, warped from frame to frame between two samplers."""
    parts, images = _clip(workflow, seconds=1.0)
    diffusion = _stable_diffusion(workflow, (1080, -720))
    first = workflow.add("ImageFromBatch", (1400, 60), (240, 90), title="The first frame", image=images)
    key = workflow.add("VAEEncode", (1720, 60), (220, 50), color=DIFFUSING, pixels=first, vae=diffusion.vae)
    workflow.bend(key, "vae", (1440, -200), (1680, -20))
    painted = workflow.add(
        "KSampler",
        (2040, 0),
        (300, 262),
        title="KSampler: paint the first frame",
        color=DIFFUSING,
        model=diffusion.model,
        positive=diffusion.positive,
        negative=diffusion.negative,
        latent_image=key,
        steps=20,
        cfg=7.0,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        denoise=0.7,
    )
    for name, lane in DIFFUSION_LANES.items():
        workflow.bend(painted, name, *lane, (1980, lane[-1][1]))
    workflow.group("2 · Paint the first frame", DREAM, first, key, painted)
    start = workflow.add("DeepDreamLoopOpen", (2480, 0), (220, 126), frames=images, initial_result=painted)
    workflow.bend(start, "frames", (1340, 330), (2400, 330))
    frame, previous_frame, previous_result = (start[slot] for slot in (1, 2, 3))
    flow_model = workflow.add("DeepDreamLoadFlowModel", (2480, 330), (260, 60), model="dis")
    flow = workflow.add(
        "DeepDreamOpticalFlow",
        (2860, 330),
        (240, 74),
        flow_model=flow_model,
        frames=frame,
        previous=previous_frame,
    )
    warped = workflow.add(
        "DeepDreamFlowWarp",
        (3220, 180),
        (260, 78),
        title="Flow Warp: the latent",
        input=previous_result,
        flow=flow,
    )
    mask = workflow.add(
        "DeepDreamOcclusionMask", (3220, 360), (260, 74), flow=flow, frames=frame, previous=previous_frame
    )
    encoded = workflow.add(
        "VAEEncode", (3220, 0), (220, 50), color=DIFFUSING, pixels=frame, vae=diffusion.vae
    )
    workflow.bend(encoded, "vae", (1440, -200), (3140, -200))
    workflow.group(
        "3 · For every frame: move the last latent", MOTION, *(start, flow_model, flow, warped, mask, encoded)
    )
    mixed = workflow.add(
        "LatentCompositeMasked",
        (3600, 60),
        (280, 150),
        title="Trusted: moved. Else: the frame",
        destination=encoded,
        source=warped,
        mask=mask,
    )
    sampled = workflow.add(
        "KSampler",
        (4000, 0),
        (300, 262),
        title="KSampler: paint on",
        color=DIFFUSING,
        model=diffusion.model,
        positive=diffusion.positive,
        negative=diffusion.negative,
        latent_image=mixed,
        seed=start[4],
        steps=20,
        cfg=7.0,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        denoise=0.35,
    )
    for number, (name, lane) in enumerate(DIFFUSION_LANES.items()):
        workflow.bend(sampled, name, *lane, (3940 - 30 * number, lane[-1][1]))
    workflow.bend(sampled, "seed", (2770, 560), (3920, 560))
    end = workflow.add("DeepDreamLoopClose", (4420, -60), (220, 66), loop=start, result=sampled)
    workflow.bend(end, "loop", (2770, SLOT - 120), (4340, SLOT - 120))
    decoded = workflow.add(
        "VAEDecode", (4760, -60), (220, 50), color=DIFFUSING, samples=end, vae=diffusion.vae
    )
    workflow.bend(decoded, "vae", (1440, -200), (4690, -200))
    workflow.group("4 · Paint on, and see", DREAM, mixed, sampled, end, decoded)
    _save(workflow, (5100, -60), decoded, parts, "latent_warp", lane=660)
    workflow.note(
        (0, 400),
        (860, 400),
        NEEDS_CHECKPOINT
        + "Latents are warped like images. One sampler paints the first frame; from then on the "
        "latent of the frame before is moved along the optical flow, takes what cannot be trusted from the new "
        "frame, and a second sampler paints on. Nothing is decoded until the end, so that no detail is "
        "lost by going to and fro.\n\nTry\n"
        "- **KSampler: paint the first frame**: `denoise` 0.5 keeps near the clip, 0.9 invents.\n"
        "- **KSampler: paint on**: `denoise` 0.2 moves the first painting, 0.5 finds new things.\n"
        '- **Reliability Mask**, "Show Advanced": a larger `mask_softness` hides where new things come in.\n',
    )


def _clip(workflow: Workflow, *, seconds: float = SECONDS) -> tuple[Node, Node]:
    """The clip's parts, and its frames in a small size."""
    clip = workflow.add("LoadVideo", (0, 0), (300, 300), file=CLIP)
    short = workflow.add("Video Slice", (360, 0), (260, 110), video=clip, duration=seconds)
    parts = workflow.add("GetVideoComponents", (680, 0), (220, 110), video=short)
    images = _small(workflow, (960, 0), parts)
    workflow.group("1 · Clip", INPUT, clip, short, parts, images)
    return parts, images


@dataclass(frozen=True)
class Motion:
    """What the nodes of motion give, inside of a loop.

    Args:
        warped: the last result, moved.
        mask: where to trust it.
        warped_frame: the frame before, moved alike.
        nodes: all of them, for a group.
    """

    warped: Node
    mask: Node
    warped_frame: Node
    nodes: tuple[Node, ...]


def _motion(workflow: Workflow, start: Node) -> Motion:
    """The nodes of motion of a loop that begins at (1400, 0)."""
    _, frame, previous_frame, previous_result = (start[slot] for slot in range(4))
    flow_model = workflow.add("DeepDreamLoadFlowModel", (1400, 330), (260, 60), model="dis")
    flow = workflow.add(
        "DeepDreamOpticalFlow",
        (1780, 330),
        (240, 74),
        flow_model=flow_model,
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
    # Around Optical Flow, not behind it.
    workflow.bend(mask, "frames", (2060, 265))
    workflow.bend(mask, "previous", (2060, 285))
    workflow.bend(warped_frame, "input", (1740, 470), (2060, 470))
    return Motion(warped, mask, warped_frame, (flow_model, flow, warped, mask, warped_frame))


@dataclass(frozen=True)
class Diffusion:
    """What a checkpoint of Stable Diffusion and two prompts give."""

    model: Output
    positive: Node
    negative: Node
    vae: Output


def _stable_diffusion(workflow: Workflow, at: tuple[int, int]) -> Diffusion:
    """The checkpoint, and what is wished for."""
    left, top = at
    loader = workflow.add(
        "CheckpointLoaderSimple",
        (left, top),
        (340, 100),
        color=DIFFUSING,
        models=[CHECKPOINT],
        ckpt_name=CHECKPOINT["name"],
    )
    positive, negative = (
        workflow.add(
            "CLIPTextEncode", (left + 420, top + down), (360, 130), title=title, clip=loader[1], text=text
        )
        for down, title, text in (
            (60, "Prompt", "a coral reef under water, glowing sea creatures, intricate, oil painting"),
            (250, "Not wanted", "blurry, text, watermark"),
        )
    )
    workflow.group("Stable Diffusion", MODELS, loader, positive, negative)
    return Diffusion(loader[0], positive, negative, loader[2])


def _small(workflow: Workflow, at: tuple[int, int], images: Node, *, megapixels: float = MEGAPIXELS) -> Node:
    """Images in a small size that videos can have: some encoders refuse odd sides."""
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
    model = workflow.add("DeepDreamLoadDreamModel", (left, top), (300, 90), model="fractal")
    flow = workflow.add("DeepDreamLoadFlowModel", (left, top + 140), (300, 60), model="dis")
    objective = workflow.add("DeepDreamObjective", (left, top + 250), (300, 130), layers="eyes")
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
    independent_vs_temporal,
    stable_diffusion_loop,
    latent_warp,
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
