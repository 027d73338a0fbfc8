"""The templates by their files alone, without a ComfyUI."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from layout import NOTE, TEXT_IS_DRAWN, saved_layout
from templates import NAMES, read

HELP = sorted((Path(__file__).parents[1] / "web" / "docs").glob("*.md"))
INPUTS_AT_MOST = 5
LETTERS_AT_MOST = 34
"""Of a description in App mode; the page cuts longer ones."""


@pytest.mark.parametrize("name", NAMES)
def test_nodes_are_apart_in_their_groups_and_large_enough_to_read(name: str) -> None:
    layout = saved_layout(read(name))
    assert layout.faults() == []
    assert layout.zoom >= TEXT_IS_DRAWN


@pytest.mark.parametrize("name", NAMES)
def test_a_note_has_no_code(name: str) -> None:
    """Nodes 2.0 writes it blue on blue."""
    (note,) = (node for node in read(name)["nodes"] if node["type"] == NOTE)
    assert "`" not in note["widgets_values"][0]


@pytest.mark.parametrize("name", NAMES)
def test_as_an_app_it_has_few_inputs_each_in_a_few_words_and_shows_what_comes_out(name: str) -> None:
    graph = read(name)
    nodes = {node["id"]: node for node in graph["nodes"]}
    app = graph["extra"]["linearData"]
    for node_id, widget, about in app["inputs"]:
        assert widget in nodes[node_id]["widgets_values_named"]
        assert 5 < len(about["description"]) <= LETTERS_AT_MOST
    assert 2 < len(app["inputs"]) <= INPUTS_AT_MOST
    assert app["outputs"]
    for node_id in app["outputs"]:
        assert re.match("Save|Preview", nodes[node_id]["type"])


@pytest.mark.parametrize("page", HELP, ids=lambda page: str(page.stem))
def test_a_help_page_names_templates_that_have_its_node(page: Path) -> None:
    (line,) = re.findall(r"^\*\*Templates?\*\* that shows? it: (.*)$", page.read_text("utf-8"), re.MULTILINE)
    for name in re.findall("`(.*?)`", line):
        assert page.stem in {node["type"] for node in read(name)["nodes"]}, name
