"""The workflows in ComfyUI's own page, in a headless Chromium."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui_page import Page, bounds
from comfyui_server import Server
from make_layers import FILE as LAYER_FILE
from PIL import Image
from refresh_workflows import BYPASSED, ENDS, MUTED, PAGE_NODES, prompt_of, refreshed
from templates import NAMES, read

SAVE = "() => window.app.graph.serialize()"
EXPORT = "async () => (await window.app.graphToPrompt()).workflow"


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_a_workflow_without_a_red_node(page: Page, name: str) -> None:
    graph = read(name)
    loaded = page.load(graph)
    assert sorted(loaded["nodes"]) == sorted(node["type"] for node in graph["nodes"])
    assert loaded["wires"] == len(graph["links"])
    assert loaded["unknown"] == loaded["errors"] == loaded["dialogs"] == []
    assert page.exceptions == []
    screenshot = pixels(page, graph)
    assert screenshot.std() > 10  # something is drawn
    assert not red(screenshot)


def test_a_node_in_error_is_red(page: Page) -> None:
    graph = read("deepdream_video")
    (sample,) = (node for node in graph["nodes"] if node["type"] == "DeepDreamSampleClip")
    sample |= {
        "type": "LoadVideo",
        "outputs": sample["outputs"][:1],
        "widgets_values": ["missing.mp4", "image"],
    }
    assert page.load(graph)["errors"] == ["LoadVideo: Load Video"]
    assert red(pixels(page, graph))


@pytest.mark.parametrize("name", NAMES)
def test_a_twin_is_what_the_page_sends(page: Page, name: str) -> None:
    page.load(read(name))
    assert sent(page) == read(f"api/{name}")


@pytest.mark.parametrize("save", [SAVE, EXPORT], ids=["saved", "exported"])
def test_a_workflow_that_the_page_saves_is_refreshed_to_the_same_file(
    page: Page, comfyui: Server, tmp_path: Path, save: str
) -> None:
    for name in NAMES:
        page.load(read(name))
        (tmp_path / f"{name}.json").write_text(json.dumps(page.call(save)), "utf-8")
    for path, text in refreshed(comfyui.get("/object_info"), {}, tmp_path).items():
        if path.is_relative_to(tmp_path):
            assert laid_out(json.loads(text)) == laid_out(
                read(str(path.relative_to(tmp_path).with_suffix("")))
            )


@pytest.mark.parametrize("mode", [MUTED, BYPASSED])
def test_nodes_that_are_muted_or_bypassed_are_left_out_as_the_page_does(
    page: Page, comfyui: Server, mode: int
) -> None:
    """Each node of a workflow in turn; a bypassed one passes on what it got."""
    graph = read("deepdream_video_loop")
    definitions = comfyui.get("/object_info")
    for node in graph["nodes"]:
        if node["type"] not in PAGE_NODES:
            node["mode"] = mode
            page.load(graph)
            assert sent(page) == prompt_of(graph, definitions), node["type"]
            node["mode"] = 0


def test_a_loop_whose_ends_are_bypassed_passes_the_batch_on(page: Page, comfyui: Server) -> None:
    graph = read("deepdream_video_loop")
    for node in graph["nodes"]:
        if node["type"] in ENDS:
            node["mode"] = BYPASSED
    page.load(graph)
    prompt = sent(page)
    assert prompt == prompt_of(graph, comfyui.get("/object_info"))
    (scaled,) = (key for key, node in prompt.items() if node["class_type"] == "ImageScaleToTotalPixels")
    (flow,) = (node for node in prompt.values() if node["class_type"] == "DeepDreamOpticalFlow")
    assert flow["inputs"]["frames"] == flow["inputs"]["previous"] == [scaled, 0]
    (made,) = (node for node in prompt.values() if node["class_type"] == "CreateVideo")
    assert prompt[made["inputs"]["images"][0]]["class_type"] == "DeepDreamImage"
    assert all(node["mode"] == BYPASSED for node in page.call(SAVE)["nodes"] if node["type"] in ENDS)


WIRE_A_VIDEO = """
async expected => {
    const { graph } = window.app;
    graph.clear();
    const add = type => { const node = window.LiteGraph.createNode(type); graph.add(node); return node; };
    const [load, open, invert, close, save] =
        ["LoadVideo", "DeepDreamLoopOpen", "ImageInvert", "DeepDreamLoopClose", "SaveVideo"].map(add);
    const seen = [];
    const see = async () => {  // the page changes types a little later
        const types = () => [open.outputs[1].type, open.outputs[2].type, close.outputs[0].type];
        const wanted = expected[seen.length].join();
        for (let left = 100; left && types().join() !== wanted; left--)
            await new Promise(done => setTimeout(done, 50));
        seen.push(types());
    };
    await see();
    load.connect(0, open, "frames");
    open.connect(0, close, "loop");
    open.connect(1, invert, "image");
    invert.connect(0, close, "result");
    close.connect(0, save, "video");
    await see();
    load.disconnectOutput(0);
    await see();
    return [seen, graph.links.size];
}
"""


def test_the_ends_of_a_loop_show_what_goes_through(page: Page) -> None:
    frame = "IMAGE,MASK,LATENT"
    expected = [[frame, frame, f"{frame},VIDEO"], ["IMAGE", "IMAGE", "VIDEO"], [frame, frame, "IMAGE"]]
    assert page.call(WIRE_A_VIDEO, expected) == [expected, 4]


def test_a_file_from_before_open_had_time_keeps_its_carried_wires(page: Page) -> None:
    graph = read("endless_zoom")
    (start,) = (node for node in graph["nodes"] if node["type"] == "DeepDreamLoopOpen")
    (end,) = (node for node in graph["nodes"] if node["type"] == "DeepDreamLoopClose")
    start["outputs"][6] = {"name": "carried_0", "type": "*", "links": [900]}
    graph["links"].append([900, start["id"], 6, end["id"], 2, "*"])
    end["inputs"][2]["link"] = 900
    page.load(graph)
    assert page.prompt()[str(end["id"])]["inputs"]["carried.carried_0"] == [str(start["id"]), 7]


def test_reroutes_and_primitives_are_followed_as_the_page_does(page: Page, comfyui: Server) -> None:
    graph = read("deepdream_image")
    save = next(node for node in graph["nodes"] if node["type"] == "SaveImage")
    wire = next(link for link in graph["links"] if link[0] == save["inputs"][0]["link"])
    source = next(node for node in graph["nodes"] if node["id"] == wire[1])
    reroute = {
        "id": 101,
        "type": "Reroute",
        "inputs": [{"name": "", "type": "*", "link": wire[0]}],
        "outputs": [{"name": "", "type": "IMAGE", "links": [201]}],
    }
    primitive = {
        "id": 102,
        "type": "PrimitiveNode",
        "widgets_values": ["name of the file"],
        "inputs": [],
        "outputs": [
            {"name": "STRING", "type": "STRING", "widget": {"name": "filename_prefix"}, "links": [202]}
        ],
    }
    for node in (reroute, primitive):
        place = {"pos": [0, 0], "size": [100, 30], "flags": {}, "order": 0, "mode": 0, "properties": {}}
        graph["nodes"].append({**place, **node})
    graph["links"] += [
        [201, 101, 0, save["id"], 0, "IMAGE"],
        [202, 102, 0, save["id"], 1, "STRING"],
    ]
    wire[3], wire[4] = 101, 0
    save["inputs"][0]["link"] = 201
    widget = {"name": "filename_prefix", "type": "STRING", "widget": {"name": "filename_prefix"}, "link": 202}
    save["inputs"].append(widget)
    page.load(graph)
    prompt = prompt_of(graph, comfyui.get("/object_info"))
    assert sent(page) == prompt
    assert prompt[str(save["id"])]["inputs"] == {
        "filename_prefix": "name of the file",
        "images": [str(source["id"]), 0],
    }


NEW = """
async (type, nodes2, look) => {
    const app = window.app;
    await app.extensionManager.setting.set("Comfy.VueNodes.Enabled", nodes2);
    app.graph.clear();
    await new Promise(done => setTimeout(done, 300));
    const node = window.LiteGraph.createNode(type);
    app.graph.add(node);
    app.canvas.setDirty(true, true);
    await new Promise(done => setTimeout(done, 500));
    return node.size[1];
}
"""
CHOOSE = """
async look => {
    const node = window.app.graph.nodes[0], widget = node.widgets.find(one => one.name === "look");
    widget.value = look;
    widget.callback?.(look, window.app.canvas, node);
    window.app.canvas.setDirty(true, true);
    await new Promise(done => setTimeout(done, 500));
    return node.size[1];
}
"""
ON_THE_CANVAS = """
() => {
    const node = window.app.graph.nodes[0];
    const own = node.widgets.filter(one => !one.name.startsWith("$$"));  // without previews of earlier runs
    return own.filter(one => node.isWidgetVisible(one)).map(one => one.name);
}
"""
IN_NODES_2 = """
() => [...document.querySelectorAll("[data-testid=node-widget]")].map(one => one.innerText.split("\\n")[0])
"""
CONTROL = "() => window.app.graph.nodes[0].widgets.find(one => one.name === 'seed').linkedWidgets[0].name"
TOOLTIP = "() => window.app.graph.nodes[0].widgets[0].tooltip"
BUTTON = "() => document.querySelectorAll('[data-testid=advanced-inputs-button]').length"
BESIDE_A_LOOK = {
    "DeepDreamImage": ["look", "seed"],
    "DeepDreamVideo": ["look", "seed"],
    "DeepDreamVideoFile": ["look", "size", "frames", "seed"],
}


@pytest.mark.parametrize("nodes2", [False, True], ids=["classic", "Nodes 2.0"])
@pytest.mark.parametrize("name", BESIDE_A_LOOK)
def test_a_look_leaves_few_widgets_and_custom_shows_all(page: Page, name: str, nodes2: bool) -> None:
    few = page.call(NEW, name, nodes2)
    looks = page.call("() => window.app.graph.nodes[0].widgets[0].options.values")
    read_widgets = IN_NODES_2 if nodes2 else ON_THE_CANVAS
    beside = list(BESIDE_A_LOOK[name])
    if not nodes2:  # there the choice below a seed has a widget of its own
        beside.append(page.call(CONTROL))
    assert page.call(read_widgets) == beside
    assert page.call(BUTTON) == 0
    alone = page.prompt()["1"]["inputs"]
    assert list(alone) == BESIDE_A_LOOK[name]

    many = page.call(CHOOSE, "custom")
    shown = page.call(read_widgets)
    assert shown[: len(beside)] == beside
    assert {"octave_steps", "learning_rate"} < set(shown)
    assert any(one.endswith("octaves") for one in shown)
    assert "jitter" not in shown  # it is an advanced one
    assert page.call(BUTTON) == nodes2
    assert {"octave_steps", "octave_mode.octaves", "jitter"} < page.prompt()["1"]["inputs"].keys()
    assert many > few + 100

    assert "\n" not in page.call(TOOLTIP)

    assert page.call(CHOOSE, looks[1]) < many - 100
    chosen, _, about = page.call(TOOLTIP).splitlines()
    assert chosen.startswith(f"{looks[1]} (")
    assert about.startswith("Settings that suit each other")
    assert page.call(read_widgets) == beside
    assert page.prompt()["1"]["inputs"] == {**alone, "look": looks[1]}
    page.call("async () => await window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)")


@pytest.mark.parametrize("change", ["a widget is new", "a widget is gone", "another order"])
def test_values_are_restored_by_name_where_widgets_have_changed_since(page: Page, change: str) -> None:
    page.call(NEW, "DeepDreamVideo", False)
    page.call(CHOOSE, "custom")
    page.call(
        """() => {
            const widget = name => window.app.graph.nodes[0].widgets.find(one => one.name === name);
            widget("octave_mode").value = "manual_max";
            widget("octave_mode.octave_sizes").value = "64 128";
            widget("octave_steps").value = 7;
            widget("flow_scale").value = 0.5;
        }"""
    )
    wanted = page.prompt()["1"]["inputs"]
    saved = page.call(SAVE)
    (node,) = saved["nodes"]
    values = node["widgets_values_named"]
    if change == "a widget is new":
        del values["blend"]
    elif change == "a widget is gone":
        values = {"look": values["look"], "old": 3, **values}
    else:
        values = dict(reversed(values.items()))
    node["widgets_values_named"], node["widgets_values"] = values, list(values.values())
    page.load(saved)
    assert page.prompt()["1"]["inputs"] == wanted


def test_a_saved_look_and_the_values_it_hides_are_opened_again(page: Page) -> None:
    page.call(NEW, "DeepDreamVideo", False)
    page.call(CHOOSE, "custom")
    page.call(
        "() => { window.app.graph.nodes[0].widgets.find(one => one.name === 'octave_steps').value = 7; }"
    )
    looks = page.call("() => window.app.graph.nodes[0].widgets[0].options.values")
    page.call(CHOOSE, looks[1])
    saved = page.call(SAVE)
    page.load(saved)
    assert page.prompt()["1"]["inputs"] == {"look": looks[1], "seed": 0}
    page.call(CHOOSE, "custom")
    assert page.prompt()["1"]["inputs"]["octave_steps"] == 7


LAYERS = """
async () => {
    const { graph } = window.app;
    graph.clear();
    const add = type => { const node = window.LiteGraph.createNode(type); graph.add(node); return node; };
    const names = ["LoadDreamModel", "Objective", "Objective", "Image"];
    const [loader, objective, other, dream] = names.map(name => add(`DeepDream${name}`));
    const value = (node, name, to) => { node.widgets.find(one => one.name === name).value = to; };
    const list = objective.widgets.at(-1), seen = [list.options.values()];
    objective.connect(0, other, 0);
    other.connect(0, dream, "objective");
    for (const look of ["dogs", "custom"]) {
        value(dream, "look", look);
        seen.push(list.options.values());
    }
    loader.connect(0, dream, "dream_model");
    for (const model of ["vgg16", "auto"]) {
        value(loader, "model", model);
        seen.push(list.options.values());
    }
    const text = [];
    value(objective, "layers", "mine:2, conv3_1:0.5");
    for (const layer of ["conv4_1", "conv3_1", "…"]) {
        list.callback(layer);
        text.push([objective.widgets[0].value, list.value]);
    }
    return { seen, text, saved: objective.serialize().widgets_values_named };
}
"""


def test_the_layers_of_the_network_that_an_objective_goes_to_are_offered(page: Page) -> None:
    found = page.call(LAYERS)
    known = json.loads(LAYER_FILE.read_text("utf-8"))
    networks = ["efficientnet_lite0", "bvlc_googlenet", "efficientnet_lite0", "vgg16", "efficientnet_lite0"]
    assert found["seen"] == [["…", *known[network]] for network in networks]
    both = "mine:2 conv3_1:0.5 conv4_1"
    assert found["text"] == [[both, "…"], ["mine:2 conv4_1", "…"], ["mine:2 conv4_1", "…"]]
    assert "choose_layer" not in found["saved"]
    assert "choose_layer" not in page.prompt()["2"]["inputs"]


def sent(page: Page) -> dict[str, Any]:
    """Return the page's prompt without the value of the video player, which the server ignores."""
    prompt = page.prompt()
    for node in prompt.values():
        node["inputs"].pop("video-preview", None)
    return prompt


def laid_out(graph: dict[str, Any]) -> dict[str, Any]:
    """A workflow less what the page sets when it opens one: its id, the order of its nodes, and their sizes."""
    nodes = [
        {key: value for key, value in node.items() if key not in ("order", "size")}
        for node in sorted(graph.get("nodes", ()), key=lambda node: int(node["id"]))
    ]
    return {**graph, "nodes": nodes, "id": ""}


def pixels(page: Page, graph: dict[str, Any]) -> np.ndarray:
    """Take a screenshot of a workflow, (H,W,3) uint8."""
    with Image.open(io.BytesIO(page.screenshot(bounds(graph)))) as screenshot:
        return np.asarray(screenshot.convert("RGB"))


def red(screenshot: np.ndarray) -> bool:
    """Return whether the page has drawn red around a node in error."""
    red, *others = np.moveaxis(screenshot, -1, 0)
    return bool(((red > 150) & (np.maximum(*others) < 60)).sum() > 100)
