"""The templates open readable in ComfyUI's page, in both of its renderers, and as apps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from comfyui_page import Page
from comfyui_server import Server
from layout import CLIP, IMAGE, TEXT_IS_DRAWN, WINDOW, drawn_layout
from PIL import Image
from templates import NAMES, read, write_checkpoints

from dream_core.video import SAMPLE_CLIP


@pytest.fixture(scope="module")
def page(comfyui: Server, chromium: None) -> Iterator[Page]:
    write_checkpoints(comfyui)
    shutil.copy(SAMPLE_CLIP, comfyui.base / "output" / CLIP)
    Image.fromarray(np.zeros((288, 512, 3), np.uint8)).save(comfyui.base / "output" / IMAGE)
    with Page(f"http://127.0.0.1:{comfyui.port}/", size=WINDOW) as page:
        yield page
        page.call(
            "async () => await window.app.extensionManager.setting.set('Comfy.VueNodes.Enabled', false)"
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("nodes2", [False, True], ids=["classic", "Nodes 2.0"])
def test_a_template_can_be_read_and_its_nodes_have_room_for_what_they_show(
    page: Page, name: str, nodes2: bool
) -> None:
    drawn = drawn_layout(page, read(name), nodes2=nodes2)
    assert drawn.zoom >= TEXT_IS_DRAWN
    assert drawn.small == []
    assert drawn.opened.faults() == drawn.running.faults() == drawn.wires == drawn.cut == []
    (fill,) = drawn.notes
    assert 0.5 < fill <= 1
    assert page.exceptions == []


APP_MODE = """
async graph => {
    const app = window.app;
    await app.extensionManager.setting.set("Comfy.VueNodes.Enabled", false);
    await app.loadGraphData(graph, true, true);
    await app.extensionManager.command.execute("Comfy.ToggleLinear");
    const all = id => [...document.querySelectorAll(`[data-testid=${id}]`)];
    const runs = () => all("linear-run-button").length;
    let shown = [];
    for (let tries = 0, same = 0; tries < 50 && same < 3; tries++) {
        await new Promise(done => setTimeout(done, 100));
        const now = all("app-mode-widget-item").map(one => one.innerText);
        [same, shown] = [runs() && now.length && String(now) === String(shown) ? same + 1 : 0, now];
    }
    const run = runs();
    await app.extensionManager.command.execute("Comfy.ToggleLinear");
    return [shown.map(text => text.split("\\n").slice(0, 2)), run];
}
"""


@pytest.mark.parametrize("name", NAMES)
def test_app_mode_shows_the_inputs_that_a_template_names(page: Page, name: str) -> None:
    graph = read(name)
    shown, run = page.call(APP_MODE, graph)
    # The page calls a widget that a choice brings, such as source.keyframes, by its own name.
    assert shown == [
        [widget.rpartition(".")[2], about["description"]]
        for _, widget, about in graph["extra"]["linearData"]["inputs"]
    ]
    assert run == 1
