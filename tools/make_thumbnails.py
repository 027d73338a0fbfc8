"""Write workflows/*.jpg, the thumbnails in ComfyUI's template browser, from the images that the workflows make.

    uv run tools/make_thumbnails.py [NAME ...]

Runs workflows/api/*.json, or those named, in a real ComfyUI. Takes minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import av
from comfyui_server import Run, Server
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "workflows"
SIDE = 512
FOUR = ("Frames", "Mask", "Warped", "Result")
QUALITY = 88
TIMEOUT = 3600.0

Graph: TypeAlias = dict[str, dict[str, Any]]
Images: TypeAlias = dict[str, list[Image.Image]]
"""Title of a node that shows images or a video -> its images."""


@dataclass(frozen=True)
class Thumbnail:
    """Recipe of a thumbnail.

    Args:
        compose: makes it from the images that the workflow shows.
        prepare: changes the workflow's graph, in place.
    """

    compose: Callable[[Images], Image.Image]
    prepare: Callable[[Graph], None] = lambda graph: None


def last(images: Images) -> Image.Image:
    """Return the last image of the only node."""
    (shown,) = images.values()
    return shown[-1]


def flight(images: Images) -> Image.Image:
    """Show four frames of one video, from first to last."""
    (frames,) = images.values()
    return sheet([frames[round(part * (len(frames) - 1))] for part in (0, 0.25, 0.5, 1)])


def two_frames(images: Images) -> Image.Image:
    """Show two frames of the longest video, one below the other."""
    frames = max(images.values(), key=len)
    half = len(frames) // 2
    whole = Image.new("RGB", (frames[0].width, 2 * frames[0].height))
    for row in range(2):
        whole.paste(frames[half + row], (0, row * frames[0].height))
    return whole


def one_moment(images: Images) -> Image.Image:
    """Show the middle frame of every node, or of FOUR where the workflow has those."""
    chosen = [images[title] for title in FOUR] if set(FOUR) <= images.keys() else images.values()
    return sheet([shown[len(shown) // 2] for shown in chosen])


def with_frames(graph: Graph) -> None:
    """Add a node that shows the frames."""
    show(graph, "Frames", only(graph, "ImageScaleToTotalPixels"))


def without_diffusion(graph: Graph) -> None:
    """Take Stable Diffusion out of stable_diffusion_loop: it needs a checkpoint."""
    for class_type, name in (("VAEEncode", "pixels"), ("KSampler", "latent_image"), ("VAEDecode", "samples")):
        bypass(graph, only(graph, class_type), name)
    for node_id in [node_id for node_id, node in graph.items() if node["class_type"] in DIFFUSION]:
        del graph[node_id]
    del graph[only(graph, "SaveVideo")]
    warped = graph[only(graph, "DeepDreamTemporalBlend")]["inputs"]["warped"][0]
    mask = add(graph, "MaskToImage", mask=[only(graph, "DeepDreamOcclusionMask"), 0])
    show(graph, "Result", only(graph, "DeepDreamLoopClose"))
    show(graph, "Warped", warped)
    show(graph, "Mask", mask)
    with_frames(graph)


def parts_of_latent_warp(graph: Graph) -> None:
    """Replace latent_warp, which needs a checkpoint, by its motion: frames as small as latents are moved."""
    frames = only(graph, "ImageScaleToTotalPixels")
    flow_model = only(graph, "DeepDreamLoadFlowModel")
    kept = (
        "DeepDreamSampleClip",
        "Video Slice",
        "GetVideoComponents",
        "ImageScaleToTotalPixels",
        "DeepDreamLoadFlowModel",
    )
    for node_id in [node_id for node_id, node in graph.items() if node["class_type"] not in kept]:
        del graph[node_id]
    flow = add(graph, "DeepDreamOpticalFlow", flow_model=[flow_model, 0], frames=[frames, 0])
    small = add(graph, "ImageScaleBy", image=[frames, 0], upscale_method="area", scale_by=1 / 8)
    moved = add(graph, "DeepDreamFlowWarp", input=[small, 0], flow=[flow, 0], from_previous=True)
    mask = add(graph, "DeepDreamOcclusionMask", flow=[flow, 0], frames=[frames, 0])
    show(
        graph,
        "Moved",
        add(graph, "ImageScaleBy", image=[moved, 0], upscale_method="nearest-exact", scale_by=8.0),
    )
    show(graph, "Mask", add(graph, "MaskToImage", mask=[mask, 0]))
    show(graph, "Flow", add(graph, "DeepDreamFlowPicture", flow=[flow, 0]))
    show(graph, "Frames", frames)


THUMBNAILS = {
    "deepdream_image": Thumbnail(last),
    "deepdream_video": Thumbnail(last),
    "deepdream_video_loop": Thumbnail(last),
    "deepdream_video_file": Thumbnail(last),
    "flow_and_occlusion": Thumbnail(one_moment, with_frames),
    "endless_zoom": Thumbnail(flight),
    "independent_vs_temporal": Thumbnail(two_frames),
    "stable_diffusion_loop": Thumbnail(one_moment, without_diffusion),
    "latent_warp": Thumbnail(one_moment, parts_of_latent_warp),
}

DIFFUSION = ("CheckpointLoaderSimple", "CLIPTextEncode")


def only(graph: Graph, class_type: str) -> str:
    """Return the id of the only node of a class."""
    (found,) = (node_id for node_id, node in graph.items() if node["class_type"] == class_type)
    return found


def bypass(graph: Graph, node_id: str, name: str) -> None:
    """Take a node out and connect the source of its input `name` to the nodes that used its output."""
    source = graph.pop(node_id)["inputs"][name]
    for node in graph.values():
        for key, value in node["inputs"].items():
            if value == [node_id, 0]:
                node["inputs"][key] = source


def add(graph: Graph, class_type: str, **inputs: Any) -> str:
    """Place a node and return its id."""
    node_id = f"{class_type} {len(graph)}"
    graph[node_id] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": node_id}}
    return node_id


def show(graph: Graph, title: str, node_id: str) -> None:
    """Add a node in first place that saves a node's first output under a title."""
    rest = dict(graph)
    graph.clear()
    graph[title] = {
        "class_type": "SaveImage",
        "inputs": {"images": [node_id, 0], "filename_prefix": title},
        "_meta": {"title": title},
    }
    graph.update(rest)


def sheet(images: list[Image.Image]) -> Image.Image:
    """Put images of one size side by side, two in a row."""
    width, height = images[0].size
    whole = Image.new("RGB", (2 * width, -(-len(images) // 2) * height))
    for number, image in enumerate(images):
        whole.paste(image, (number % 2 * width, number // 2 * height))
    return whole


def images_of(run: Run, base: Path) -> Images:
    """Return the images that a run shows: in the graph's order, then those saved inside of a loop."""
    shown: Images = {}
    for node_id in sorted(run.outputs, key=[*run.graph, *run.outputs].index):
        for file in run.outputs[node_id].get("images", []):
            path = base / file["type"] / file["subfolder"] / file["filename"]
            node = run.graph.get(node_id)
            title = node["_meta"]["title"] if node else file["filename"].split("_")[0]
            shown.setdefault(title, []).extend(read(path))
    return shown


def read(path: Path) -> list[Image.Image]:
    """Read the frames of a video, or the one of an image."""
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def make(server: Server, name: str) -> None:
    """Run a workflow and write its thumbnail.

    Raises:
        RuntimeError: ComfyUI refused the workflow, or it failed.
    """
    thumbnail = THUMBNAILS[name]
    graph: Graph = json.loads((FOLDER / "api" / f"{name}.json").read_text("utf-8"))
    thumbnail.prepare(graph)
    run = server.run(graph, timeout=TIMEOUT)
    if problem := run.refused or run.error:
        raise RuntimeError(f"{name}: {problem}")
    image = thumbnail.compose(images_of(run, server.base))
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    image.convert("RGB").save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)


def main() -> None:
    """Read the command line, start a ComfyUI, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of workflows; all by default")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - THUMBNAILS.keys()):
        parser.error(f"expected names of {', '.join(THUMBNAILS)}, got {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "comfyui") as server:
        for name in arguments.names or THUMBNAILS:
            make(server, name)


if __name__ == "__main__":
    main()
