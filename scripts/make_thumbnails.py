"""Write workflows/*.jpg, the thumbnails in ComfyUI's template browser, from what the workflows make.

    PYTHONPATH=benchmarks python scripts/make_thumbnails.py CLIP [NAME ...]

Runs each workflow, or those named, in a real ComfyUI as its twin in workflows/api says, on a clip of yours and on
the picture that comes with ComfyUI. Takes minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import av
from comfyui_server import Run, Server, find
from PIL import Image

FOLDER = Path(__file__).resolve().parents[1] / "workflows"
SIDE = 512
QUALITY = 88
TIMEOUT = 3600.0

Graph: TypeAlias = dict[str, dict[str, Any]]
Pictures: TypeAlias = dict[str, list[Image.Image]]
"""Title of a node that shows pictures or a video -> what it shows."""


@dataclass(frozen=True)
class Thumbnail:
    """How a thumbnail is made.

    Args:
        compose: it from what the workflow shows.
        prepare: the workflow's graph, in place.
    """

    compose: Callable[[Pictures], Image.Image]
    prepare: Callable[[Graph], None] = lambda graph: None


def last(pictures: Pictures) -> Image.Image:
    """The last picture of the only node."""
    (shown,) = pictures.values()
    return shown[-1]


def flight(pictures: Pictures) -> Image.Image:
    """Four moments of one video."""
    (frames,) = pictures.values()
    return sheet([frames[round(part * (len(frames) - 1))] for part in (0, 0.25, 0.5, 1)])


def one_moment(pictures: Pictures) -> Image.Image:
    """All that is shown of one frame."""
    return sheet([shown[len(shown) // 2] for shown in pictures.values()])


def with_frames(graph: Graph) -> None:
    """Show the frames, too."""
    show(graph, "Frames", only(graph, "ImageScaleToTotalPixels"))


THUMBNAILS = {
    "deepdream_image": Thumbnail(last),
    "deepdream_video": Thumbnail(last),
    "deepdream_video_loop": Thumbnail(last),
    "deepdream_video_file": Thumbnail(last),
    "flow_and_occlusion": Thumbnail(one_moment, with_frames),
    "endless_zoom": Thumbnail(flight),
}


def only(graph: Graph, class_type: str) -> str:
    """The id of the one node of a class."""
    (found,) = (node_id for node_id, node in graph.items() if node["class_type"] == class_type)
    return found


def show(graph: Graph, title: str, node_id: str) -> None:
    """Preview a node's first output, before all else."""
    rest = dict(graph)
    graph.clear()
    graph[title] = {
        "class_type": "PreviewImage",
        "inputs": {"images": [node_id, 0]},
        "_meta": {"title": title},
    }
    graph.update(rest)


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size, two in a row."""
    width, height = pictures[0].size
    whole = Image.new("RGB", (2 * width, -(-len(pictures) // 2) * height))
    for number, picture in enumerate(pictures):
        whole.paste(picture, (number % 2 * width, number // 2 * height))
    return whole


def pictures_of(run: Run, base: Path) -> Pictures:
    """All that a run shows, in the order of the graph."""
    shown: Pictures = {}
    for node_id, node in run.graph.items():
        for file in run.outputs.get(node_id, {}).get("images", []):
            path = base / file["type"] / file["subfolder"] / file["filename"]
            shown.setdefault(node["_meta"]["title"], []).extend(read(path))
    return shown


def read(path: Path) -> list[Image.Image]:
    """The frames of a video, or the one of a picture."""
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
    picture = thumbnail.compose(pictures_of(run, server.base))
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.convert("RGB").save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)


def main() -> None:
    """Read the command line, start a ComfyUI, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", type=Path, metavar="CLIP", help="a video")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of workflows; all by default")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - THUMBNAILS.keys()):
        parser.error(f"expected names of {', '.join(THUMBNAILS)}, got {', '.join(unknown)}")
    root, _ = find()
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "comfyui") as server:
        shutil.copy(arguments.clip, server.base / "input" / "video.mp4")
        shutil.copy(root / "input" / "example.png", server.base / "input")
        for name in arguments.names or THUMBNAILS:
            make(server, name)


if __name__ == "__main__":
    main()
