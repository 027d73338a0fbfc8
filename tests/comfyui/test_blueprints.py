"""The subgraph blueprints of the pack: ComfyUI lists them, its page inserts them by their names, and they run."""

from __future__ import annotations

import json
import time
from typing import Any

import av
import pytest
from comfyui_page import Page
from comfyui_server import PACK, ROOT, Server
from PIL import Image

FILES = sorted((ROOT / "subgraphs").glob("*.json"))
NAMES = [file.stem for file in FILES]
COUNT = 3
"""Frames to dream."""

SEARCH = """
async () => {
    window.app.graph.clear();
    await window.app.extensionManager.command.execute("Workspace.SearchBox.Toggle");
    await new Promise(done => setTimeout(done, 800));
}
"""
INSERTED = "() => window.app.graph.nodes.map(node => [node.id, node.title])"
ADD = """
(type, values) => {
    const node = window.LiteGraph.createNode(type);
    window.app.graph.add(node);
    for (const [name, value] of Object.entries(values)) node.widgets.find(one => one.name === name).value = value;
    return node.id;
}
"""
SET = """
(id, values) => {
    const { widgets } = window.app.graph.getNodeById(id);
    for (const [name, value] of Object.entries(values)) {
        const widget = widgets.find(one => one.name === name);
        widget.value = value;
        widget.callback?.(value);
    }
}
"""
CONNECT = """
(from, output, to, input) => {
    const [source, target] = [from, to].map(id => window.app.graph.getNodeById(id));
    const slot = source.outputs.findIndex(one => one.name === output);
    return !!source.connect(slot, target, target.inputs.findIndex(one => one.name === input));
}
"""


def test_comfyui_lists_them(comfyui: Server) -> None:
    listed = comfyui.get("/global_subgraphs").values()
    assert (
        sorted(one["name"] for one in listed if one["info"]["node_pack"] == f"custom_nodes.{PACK}") == NAMES
    )
    assert len(NAMES) == 3
    assert all(name.startswith("DeepDream ") for name in NAMES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_each_is_one_node_with_few_widgets_and_says_what_it_is_for(file: Any) -> None:
    graph = json.loads(file.read_text("utf-8"))
    (host,) = graph["nodes"]
    (inside,) = graph["definitions"]["subgraphs"]
    assert host["type"] == inside["id"]
    assert host["title"] == inside["name"] == file.stem
    assert len(host["widgets_values"]) <= 6
    assert len(graph["extra"]["BlueprintDescription"]) > 40
    assert inside["category"] == "DeepDream"


def insert(page: Page, name: str) -> int:
    """Insert a blueprint as people do, by the search box, and return the node's id."""
    page.call(SEARCH)
    page.send("Input.insertText", text=name)
    time.sleep(1)
    for kind in ("keyDown", "keyUp"):
        page.send("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13)
    time.sleep(1)
    ((node_id, title),) = page.call(INSERTED)
    assert title == name
    return int(node_id)


def connect(page: Page, *wires: tuple[int, str, int, str]) -> None:
    for wire in wires:
        assert page.call(CONNECT, *wire), wire


def shown(comfyui: Server, page: Page) -> dict[str, Any]:
    """Run what the page holds, and return what its one showing node outside of the blueprint shows."""
    run = comfyui.run(page.prompt(), timeout=300)
    assert run.refused is None, run.refused
    assert run.error is None, run.error and run.error["exception_message"]
    assert page.exceptions == []
    (images,) = (out["images"] for key, out in run.outputs.items() if ":" not in key and "images" in out)
    return {
        "run": run,
        "paths": [comfyui.base / one["type"] / one["subfolder"] / one["filename"] for one in images],
    }


def frames(path: Any) -> tuple[int, int]:
    """Frames of a video, and its sound tracks."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0)), len(container.streams.audio)


def test_nodes_between_image_and_result_run_once_for_every_frame(comfyui: Server, page: Page) -> None:
    loop = insert(page, "DeepDream Steady Loop")
    page.call(SET, loop, {"flow_model": "dis"})
    sample, some = (
        page.call(ADD, "DeepDreamSampleClip", {}),
        page.call(ADD, "ImageFromBatch", {"length": COUNT}),
    )
    own, show = page.call(ADD, "ImageInvert", {}), page.call(ADD, "PreviewImage", {})
    connect(
        page,
        (sample, "images", some, "image"),
        (some, "IMAGE", loop, "frames"),
        (loop, "image", own, "image"),
        (own, "IMAGE", loop, "result"),
        (loop, "results", show, "images"),
    )
    found = shown(comfyui, page)
    assert len(found["paths"]) == COUNT
    assert {Image.open(path).size for path in found["paths"]} == {(640, 360)}


def test_a_clip_is_dreamed_with_its_sound(comfyui: Server, page: Page) -> None:
    clip = insert(page, "DeepDream Clip")
    page.call(SET, clip, {"look": "etching", "duration": COUNT / 25, "megapixels": 0.01})
    sample, save = page.call(ADD, "DeepDreamSampleClip", {}), page.call(ADD, "SaveVideo", {})
    connect(page, (sample, "video", clip, "video"), (clip, "video", save, "video"))
    found = shown(comfyui, page)
    dreaming = [node for node in found["run"].graph.values() if node["class_type"] == "DeepDreamVideo"]
    assert [node["inputs"]["look"] for node in dreaming] == ["etching"]
    assert frames(found["paths"][0]) == (COUNT, 1)


def test_one_picture_is_flown_into(comfyui: Server, page: Page) -> None:
    zoom = insert(page, "DeepDream Endless Zoom")
    page.call(SET, zoom, {"frames": COUNT, "layers": "block2", "octave_steps": 1, "megapixels": 0.01})
    sample, one = page.call(ADD, "DeepDreamSampleClip", {}), page.call(ADD, "ImageFromBatch", {})
    save = page.call(ADD, "SaveVideo", {})
    connect(
        page, (sample, "images", one, "image"), (one, "IMAGE", zoom, "image"), (zoom, "video", save, "video")
    )
    assert frames(shown(comfyui, page)["paths"][0]) == (COUNT, 0)
