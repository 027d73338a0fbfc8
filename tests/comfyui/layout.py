"""Where the nodes, groups and wires of a workflow are: from its file, and as ComfyUI's page draws them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

from comfyui_page import Page

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, width and height, in units of the canvas."""

WINDOW = (1920, 1080)
FILL = 0.75
"""Part of the window that the page fills when it opens a template."""
TEXT_IS_DRAWN = 8 / 14
"""Zoom from which the classic canvas draws text, by its default settings."""
MARGIN = 10
"""Around all nodes, when the page fits them into the window."""
TITLE = 30
"""Height of a node's title, which is above its place."""
BADGE = 22
"""Height of the badge above a node's title on the classic canvas."""
NAME = 34
"""Height of a group's name, which is inside its box."""

NOTE = "MarkdownNote"
GROWING = (
    "DeepDreamImage",
    "DeepDreamVideo",
    "DeepDreamVideoFile",
    "DeepDreamOpticalFlow",
    "DeepDreamConsistencyReport",
)
"""Nodes that show a picture while they run."""
TELLING = {
    "DeepDreamVideo": "estimating flow with DIS; Load Flow Model with raft_small downloads a finer estimator",
    "DeepDreamVideoFile": "estimating flow with DIS; Load Flow Model with raft_small downloads a finer estimator",
}
"""Node -> what it tells while it runs."""
CLIP, IMAGE = "layout.mp4", "layout.png"
"""Files in the server's folder for outputs that stand for results."""
RESULTS = {
    "SaveVideo": CLIP,
    "SaveImage": IMAGE,
    "PreviewImage": IMAGE,
    "MaskPreview": IMAGE,
    "ImageCropV2": IMAGE,
}
"""Node that shows a result -> its file."""

MEASURE = Path(__file__).with_suffix(".js").read_text("utf-8")


@dataclass(frozen=True)
class Layout:
    """Nodes and groups of a workflow.

    Args:
        nodes: name of a node -> its box with its title; without notes.
        notes: the same of notes.
        groups: name of a group -> its box.
    """

    nodes: dict[str, Box]
    notes: dict[str, Box]
    groups: dict[str, Box]

    @property
    def zoom(self) -> float:
        """How large the page shows it when it opens it in a window of WINDOW."""
        boxes = [*self.nodes.values(), *self.notes.values()]
        sides = (
            2 * MARGIN + max(box[axis] + box[axis + 2] for box in boxes) - min(box[axis] for box in boxes)
            for axis in (0, 1)
        )
        return min(FILL * room / side for room, side in zip(WINDOW, sides, strict=True))

    def faults(self) -> list[str]:
        """List nodes that overlap, groups that overlap, and nodes that are not in one group, clear of its name."""
        boxes = {**self.nodes, **self.notes}
        found = [
            f"{one} overlaps {other}"
            for one, other in combinations(boxes, 2)
            if _overlap(boxes[one], boxes[other])
        ]
        found += [
            f"group {one} overlaps {other}"
            for one, other in combinations(self.groups, 2)
            if _overlap(self.groups[one], self.groups[other])
        ]
        for name, box in self.nodes.items():
            touched = [group for group in self.groups.values() if _overlap(box, group)]
            if len(touched) != 1 or not _in_group(box, touched[0]):
                found.append(f"{name} is not in its group")
        found += [
            f"{note} is in group {group}"
            for note, box in self.notes.items()
            for group, place in self.groups.items()
            if _overlap(box, place)
        ]
        return found


def _overlap(one: Box, other: Box) -> bool:
    return all(
        one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2]
        for axis in (0, 1)
    )


def _in_group(box: Box, group: Box) -> bool:
    left, top, width, height = box
    return (
        left >= group[0]
        and top - BADGE >= group[1] + NAME
        and left + width <= group[0] + group[2]
        and top + height <= group[1] + group[3]
    )


def _named(node: dict[str, Any]) -> str:
    return f"{node['id']} {node.get('title') or node['type']}"


def saved_layout(graph: dict[str, Any]) -> Layout:
    """Return the layout that a workflow's file has."""
    boxes = {
        _named(node): (node["pos"][0], node["pos"][1] - TITLE, node["size"][0], node["size"][1] + TITLE)
        for node in graph["nodes"]
    }
    return _layout(graph, boxes, {group["title"]: tuple(group["bounding"]) for group in graph["groups"]})


def _layout(graph: dict[str, Any], boxes: dict[str, Box], groups: dict[str, Box]) -> Layout:
    notes = {_named(node) for node in graph["nodes"] if node["type"] == NOTE}
    return Layout(
        nodes={name: box for name, box in boxes.items() if name not in notes},
        notes={name: box for name, box in boxes.items() if name in notes},
        groups=groups,
    )


@dataclass(frozen=True)
class Drawn:
    """A workflow as the page draws it in a window of WINDOW, opened from the list of templates.

    Args:
        zoom: the page's.
        opened, running: its layout when it is opened, and with all the pictures that its nodes show.
        wires: those that run behind nodes, also while these show pictures, or behind names of groups.
        cut: titles that do not fit their nodes.
        notes: how far down the text of each note reaches, 1 = to the end of its box.
        small: nodes that did not grow as they should while they run.
    """

    zoom: float
    opened: Layout
    running: Layout
    wires: list[str]
    cut: list[str]
    notes: list[float]
    small: list[str]


def drawn_layout(page: Page, graph: dict[str, Any], *, nodes2: bool) -> Drawn:
    """Open a workflow in one of the page's renderers and measure it."""
    found = page.call(MEASURE, graph, nodes2, GROWING, TELLING, RESULTS)
    names = {str(node["id"]): _named(node) for node in graph["nodes"]}
    groups = {name: tuple(box) for name, box in found["groups"]}

    def layout(boxes: dict[str, Any]) -> Layout:
        return _layout(graph, {names[key]: tuple(box) for key, box in boxes.items()}, groups)

    return Drawn(
        zoom=found["zoom"],
        opened=layout(found["places"]),
        running=layout(found["grown"]),
        wires=[*found["wires"], *found["wiresThen"], *found["overNames"]],
        cut=found["titles"],
        notes=found["notes"],
        small=found["small"],
    )
