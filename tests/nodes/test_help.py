"""The help pages of the nodes: one for each, with an image and templates that exist and tables that are true."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from make_help import FOLDER, page
from make_help_images import IMAGES, WIDTH
from PIL import Image
from shown_nodes import ShownNode, shown_nodes

PAGES = sorted(FOLDER.glob("*.md"))
IMAGE = re.compile(r"!\[([^\]]*)\]\((.*?)\)")
MOST_BYTES = 60_000


@pytest.fixture
def nodes(pack: Callable[[str], ModuleType]) -> dict[str, ShownNode]:
    return {node.id: node for node in shown_nodes()}


@pytest.fixture(scope="module")
def templates() -> dict[str, set[str]]:
    """Name of the template -> the types of its nodes."""
    graphs = {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in (FOLDER.parents[1] / "workflows").glob("*.json")
    }
    return {name: {node["type"] for node in graph["nodes"]} for name, graph in graphs.items()}


def test_every_shown_node_has_a_page_and_every_page_a_node(nodes: dict[str, ShownNode]) -> None:
    assert {path.stem for path in PAGES} == nodes.keys()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_tells_of_its_node(nodes: dict[str, ShownNode], path: Path) -> None:
    """If this fails after a node changed: uv run tools/make_help.py."""
    node, text = nodes[path.stem], path.read_text("utf-8")
    assert text.startswith(f"# {node.name}\n")
    assert "**Tips.**" in text
    assert text == page(node, text)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_names_in_the_prose_are_of_inputs_outputs_options_or_templates(
    nodes: dict[str, ShownNode], templates: dict[str, set[str]], path: Path
) -> None:
    """A name of several words, such as carried_steps, is somewhere in the pack."""
    prose = path.read_text("utf-8").partition("<!--")[0]
    known = set(templates)
    for node in nodes.values():
        known |= {one.name for one in (*node.inputs, *node.outputs)}
        known |= {option for one in node.inputs for option in one.options}
    named = {name for name in re.findall(r"`(\w+)`", prose) if "_" in name}
    assert named - known == set()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_has_small_images_with_descriptions(path: Path) -> None:
    images = IMAGE.findall(path.read_text("utf-8"))
    assert images
    for description, name in images:
        assert description
        file = FOLDER / name
        assert file.stat().st_size < MOST_BYTES
        with Image.open(file) as image:
            assert image.format == "JPEG"
            assert image.width == WIDTH


def test_every_image_is_made_by_the_script_and_shown() -> None:
    shown = {name for path in PAGES for _, name in IMAGE.findall(path.read_text("utf-8"))}
    assert shown == {f"images/{make.__name__}.jpg" for make in IMAGES}
    assert shown == {str(path.relative_to(FOLDER)) for path in (FOLDER / "images").iterdir()}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_names_templates_that_show_its_node(path: Path, templates: dict[str, set[str]]) -> None:
    (line,) = re.findall(r"\*\*Templates?\*\* that shows? it: (.*)\.\n", path.read_text("utf-8")) or [""]
    named, having = (
        set(re.findall(r"`(\w+)`", line)),
        {name for name in templates if path.stem in templates[name]},
    )
    assert named <= having
    assert named or not having
