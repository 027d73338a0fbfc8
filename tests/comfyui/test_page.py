"""The workflows in ComfyUI's own page, in a headless Chromium."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui_page import Page, bounds, find
from comfyui_server import Server
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.fixture(scope="module")
def page(comfyui: Server, inputs: None) -> Iterator[Page]:
    try:
        find()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with Page(f"http://127.0.0.1:{comfyui.port}/") as page:
        yield page


@pytest.mark.parametrize("name", NAMES)
def test_the_page_shows_a_workflow_without_a_red_node(page: Page, name: str) -> None:
    graph = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    loaded = page.load(graph)
    assert sorted(loaded["nodes"]) == sorted(node["type"] for node in graph["nodes"])
    assert loaded["wires"] == len(graph["links"])
    assert loaded["unknown"] == loaded["errors"] == loaded["dialogs"] == []
    assert page.exceptions == []
    screenshot = pixels(page, graph)
    assert screenshot.std() > 10  # something is drawn
    assert not red(screenshot)


def test_a_node_in_error_is_red(page: Page) -> None:
    graph = json.loads((FOLDER / "deepdream_video.json").read_text("utf-8"))
    (load,) = (node for node in graph["nodes"] if node["type"] == "LoadVideo")
    load["widgets_values"][0] = "missing.mp4"
    assert page.load(graph)["errors"] == ["LoadVideo: Load Video"]
    assert red(pixels(page, graph))


def pixels(page: Page, graph: dict[str, Any]) -> np.ndarray:
    """A screenshot of a workflow, (H,W,3) uint8."""
    with Image.open(io.BytesIO(page.screenshot(bounds(graph)))) as screenshot:
        return np.asarray(screenshot.convert("RGB"))


def red(screenshot: np.ndarray) -> bool:
    """Whether there is the red that the page draws around a node in error."""
    red, *others = np.moveaxis(screenshot, -1, 0)
    return bool(((red > 150) & (np.maximum(*others) < 60)).sum() > 100)
