"""Write workflows/*.jpg, the thumbnails in ComfyUI's template browser.

    uv run tools/make_thumbnails.py [NAME ...]

Runs workflows/api/*.json, or those named, in a real ComfyUI, and composes what they show. Those that need a
checkpoint are not run: a drawing says what they do, and what they need. Takes minutes.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import av
from comfyui_server import Run, Server
from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parents[1] / "workflows"
SIDE = 512
QUALITY = 88
TIMEOUT = 3600.0

Graph: TypeAlias = dict[str, dict[str, Any]]
Images: TypeAlias = dict[str, list[Image.Image]]
"""Title of a node that shows images or a video -> its images."""


SIZE = (512, 288)
"""Of a drawing."""
INK, PLAIN, DIFFUSING, DREAMING = "#f0f0f0", "#3f5a78", "#3a6a3a", "#7a3a7a"


@dataclass(frozen=True)
class Thumbnail:
    """Recipe of a thumbnail from real images.

    Args:
        compose: makes it from the images that the workflow shows.
        prepare: changes the workflow's graph, in place.
    """

    compose: Callable[[Images], Image.Image]
    prepare: Callable[[Graph], None] = lambda graph: None


@dataclass(frozen=True)
class Drawing:
    """Boxes with text, and arrows between places.

    Args:
        boxes: left, top, width, height, text and color of each.
        arrows: places that each goes through.
        paper: color behind them.
        needs: a line below them.
    """

    boxes: tuple[tuple[int, int, int, int, str, str], ...]
    arrows: tuple[tuple[tuple[int, int], ...], ...]
    paper: str
    needs: str = "needs a Stable Diffusion checkpoint"

    def draw(self) -> Image.Image:
        """Draw it, with what it needs below."""
        image = Image.new("RGB", SIZE, self.paper)
        pen = ImageDraw.Draw(image)
        for places in self.arrows:
            pen.line(places, fill=INK, width=3)
            (x0, y0), (x, y) = places[-2:]
            along = ((x > x0) - (x < x0), (y > y0) - (y < y0))
            back = (x - 10 * along[0], y - 10 * along[1])
            sides = [(back[0] + side * along[1], back[1] + side * along[0]) for side in (-6, 6)]
            pen.polygon([(x, y), *sides], fill=INK)
        for left, top, width, height, text, color in self.boxes:
            pen.rounded_rectangle((left, top, left + width, top + height), 8, fill=color)
            middle = (left + width / 2, top + height / 2)
            font = ImageFont.load_default(17)
            pen.multiline_text(middle, text, fill=INK, font=font, anchor="mm", align="center")
        font = ImageFont.load_default(22)
        pen.text((SIZE[0] / 2, SIZE[1] - 22), self.needs, fill="#ffd27a", font=font, anchor="mm")
        return image


def last(images: Images) -> Image.Image:
    """Return the last image of the only node."""
    (shown,) = images.values()
    return shown[-1]


def all_images(images: Images) -> Image.Image:
    """Show all images of the only node."""
    (shown,) = images.values()
    return sheet(shown)


def flight(images: Images) -> Image.Image:
    """Show four frames of one video, from first to last."""
    (frames,) = images.values()
    return sheet([frames[round(part * (len(frames) - 1))] for part in (0, 0.25, 0.5, 1)])


def moments(images: Images) -> Image.Image:
    """Show three frames of one video below each other, later and later."""
    (frames,) = images.values()
    return column([frames[round(part * (len(frames) - 1))] for part in (0.2, 0.6, 1)])


def one_below_the_other(images: Images) -> Image.Image:
    """Show the middle frame of every node, below each other."""
    return column([shown[len(shown) // 2] for shown in images.values()])


def film(images: Images) -> Image.Image:
    """Show three frames of one video as a strip of film."""
    (frames,) = images.values()
    width, height = frames[0].size
    edge, gap = width // 8, height // 16
    strip = Image.new("RGB", (width + 2 * edge, 3 * height + 4 * gap), "black")
    for row, part in enumerate((0.2, 0.6, 1)):
        strip.paste(frames[round(part * (len(frames) - 1))], (edge, gap + row * (height + gap)))
    pen = ImageDraw.Draw(strip)
    hole = edge // 3
    for top in range(hole, strip.height - hole, 2 * hole):
        for left in (hole, strip.width - 2 * hole):
            pen.rounded_rectangle((left, top, left + hole, top + hole), hole // 4, fill="white")
    return strip


def frames_and_curve(images: Images) -> Image.Image:
    """Show the first and the middle frame of the longest video side by side, and below them the other image."""
    longest = max(images, key=lambda title: len(images[title]))
    frames = images[longest]
    whole = sheet([frames[0], frames[len(frames) // 2]])
    ((curve,),) = (shown for title, shown in images.items() if title != longest)
    height = curve.height * whole.width // curve.width
    result = Image.new("RGB", (whole.width, whole.height + height))
    result.paste(whole, (0, 0))
    result.paste(curve.resize((whole.width, height)), (0, whole.height))
    return result


def before_and_after(images: Images) -> Image.Image:
    """Show the left of a frame, and the rest of its dream."""
    frames, dreams = images["Frames"], images[next(title for title in images if title.startswith("Save"))]
    middle = len(dreams) // 2
    whole, edge = dreams[middle].copy(), round(0.31 * dreams[middle].width)
    whole.paste(frames[middle].resize(whole.size).crop((0, 0, edge, whole.height)), (0, 0))
    ImageDraw.Draw(whole).line([(edge, 0), (edge, whole.height)], fill="white", width=3)
    return whole


def both_and_curves(images: Images) -> Image.Image:
    """Show a frame of the longest video, and below it the other images side by side."""
    longest = max(images, key=lambda title: len(images[title]))
    frame = images[longest][len(images[longest]) // 2]
    curves = sheet([shown[0] for title, shown in images.items() if title != longest])
    curves = curves.resize((frame.width, curves.height * frame.width // curves.width))
    whole = Image.new("RGB", (frame.width, frame.height + curves.height))
    whole.paste(frame, (0, 0))
    whole.paste(curves, (0, frame.height))
    return whole


def one_moment(images: Images) -> Image.Image:
    """Show the middle frame of every node."""
    return sheet([shown[len(shown) // 2] for shown in images.values()])


def with_frames(graph: Graph) -> None:
    """Add a node that shows the frames."""
    show(graph, "Frames", only(graph, "ImageScaleToTotalPixels"))


def with_upscaled(graph: Graph) -> None:
    """Add a node in the first loop that shows the frames as they are upscaled."""
    show(graph, "Frames", only(graph, "ImageScaleBy"))


STABLE_DIFFUSION_LOOP = Drawing(
    boxes=(
        (20, 60, 84, 60, "frame", PLAIN),
        (128, 60, 84, 60, "blend", PLAIN),
        (236, 60, 120, 60, "Stable\nDiffusion", DIFFUSING),
        (380, 60, 112, 60, "DeepDream", DREAMING),
        (150, 166, 212, 44, "moved along the flow", PLAIN),
    ),
    arrows=(
        ((104, 90), (128, 90)),
        ((212, 90), (236, 90)),
        ((356, 90), (380, 90)),
        ((436, 120), (436, 188), (362, 188)),
        ((170, 166), (170, 120)),
    ),
    paper="#2a1c2e",
)
LATENT_WARP = Drawing(
    boxes=(
        (20, 16, 150, 52, "first frame", PLAIN),
        (200, 16, 150, 52, "sampler", DIFFUSING),
        (20, 160, 150, 52, "last latent,\nmoved", DREAMING),
        (200, 160, 150, 52, "sampler", DIFFUSING),
        (20, 88, 150, 52, "new frame where\nnot trusted", PLAIN),
        (380, 86, 112, 52, "latents", PLAIN),
    ),
    arrows=(
        ((170, 42), (200, 42)),
        ((350, 42), (436, 42), (436, 86)),
        ((170, 186), (200, 186)),
        ((170, 114), (275, 114), (275, 160)),
        ((350, 186), (436, 186), (436, 138)),
        ((466, 138), (466, 236), (95, 236), (95, 212)),
    ),
    paper="#12262c",
)


def sheet_of_channels(images: Images) -> Image.Image:
    """Return the upper left of the sheet of channels, where it can be read."""
    (sheet,) = images["Sheet of channels"]
    return sheet.crop((0, 0, SIDE, round(SIDE * 0.75)))


DREAM_ON_ONE_THING = Drawing(
    boxes=(
        (20, 60, 84, 60, "frames", PLAIN),
        (20, 160, 84, 52, "\u201crabbit\u201d", PLAIN),
        (150, 60, 120, 60, "SAM 3", DIFFUSING),
        (150, 160, 120, 52, "mask of it", PLAIN),
        (340, 60, 150, 152, "DeepDream\non it alone", DREAMING),
    ),
    arrows=(
        ((104, 90), (150, 90)),
        ((104, 186), (127, 186), (127, 110), (150, 110)),
        ((210, 120), (210, 160)),
        ((270, 186), (340, 186)),
        ((62, 60), (62, 30), (415, 30), (415, 60)),
    ),
    paper="#2a1c2e",
    needs="needs a SAM 3 checkpoint",
)

TEXT_DREAM = Drawing(
    boxes=(
        (20, 60, 84, 60, "frames", PLAIN),
        (20, 160, 150, 52, "\u201ca cathedral\nof feathers\u201d", PLAIN),
        (215, 60, 110, 152, "CLIP and\nits CLIP\nVision\ncompare", DIFFUSING),
        (370, 60, 122, 152, "DeepDream\nof the words", DREAMING),
    ),
    arrows=(
        ((104, 90), (215, 90)),
        ((170, 186), (215, 186)),
        ((325, 136), (370, 136)),
        ((62, 60), (62, 30), (431, 30), (431, 60)),
    ),
    paper="#1c2a2e",
    needs="needs a CLIP and its CLIP Vision",
)

THUMBNAILS: dict[str, Thumbnail | Drawing] = {
    "deepdream_image": Thumbnail(all_images),
    "dream_atlas": Thumbnail(sheet_of_channels),
    "deepdream_video": Thumbnail(last),
    "deepdream_video_loop": Thumbnail(before_and_after, with_frames),
    "deepdream_video_file": Thumbnail(film),
    "long_video_loop": Thumbnail(before_and_after, with_upscaled),
    "flow_and_occlusion": Thumbnail(one_moment, with_frames),
    "endless_zoom": Thumbnail(flight),
    "depth_flight": Thumbnail(flight),
    "scheduled_dream": Thumbnail(film),
    "scheduled_loop": Thumbnail(frames_and_curve),
    "flow_transfer": Thumbnail(moments),
    "saved_flow": Thumbnail(one_below_the_other, with_frames),
    "sound_dream": Thumbnail(frames_and_curve),
    "independent_vs_temporal": Thumbnail(both_and_curves),
    "masked_dream": Thumbnail(before_and_after, with_frames),
    "guided_dream": Thumbnail(before_and_after, with_frames),
    "dream_on_one_thing": DREAM_ON_ONE_THING,
    "text_dream": TEXT_DREAM,
    "stable_diffusion_loop": STABLE_DIFFUSION_LOOP,
    "latent_warp": LATENT_WARP,
}


def only(graph: Graph, class_type: str) -> str:
    """Return the id of the only node of a class."""
    (found,) = (node_id for node_id, node in graph.items() if node["class_type"] == class_type)
    return found


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


def column(images: list[Image.Image]) -> Image.Image:
    """Put images of one size below each other."""
    width, height = images[0].size
    whole = Image.new("RGB", (width, len(images) * height))
    for row, one in enumerate(images):
        whole.paste(one, (0, row * height))
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


def compose(server: Server, name: str, thumbnail: Thumbnail) -> Image.Image:
    """Run a workflow and compose its thumbnail.

    Raises:
        RuntimeError: ComfyUI refused the workflow, or it failed.
    """
    graph: Graph = json.loads((FOLDER / "api" / f"{name}.json").read_text("utf-8"))
    thumbnail.prepare(graph)
    run = server.run(graph, timeout=TIMEOUT)
    if problem := run.refused or run.error:
        raise RuntimeError(f"{name}: {problem}")
    return thumbnail.compose(images_of(run, server.base))


def main() -> None:
    """Read the command line, start a ComfyUI where one is needed, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of workflows; all by default")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - THUMBNAILS.keys()):
        parser.error(f"expected names of {', '.join(THUMBNAILS)}, got {', '.join(unknown)}")
    with ExitStack() as stack:
        server = None
        for name in arguments.names or THUMBNAILS:
            thumbnail = THUMBNAILS[name]
            if isinstance(thumbnail, Drawing):
                image = thumbnail.draw()
            else:
                if server is None:
                    folder = stack.enter_context(tempfile.TemporaryDirectory())
                    server = stack.enter_context(Server(Path(folder) / "comfyui"))
                image = compose(server, name, thumbnail)
            image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            image.convert("RGB").save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
