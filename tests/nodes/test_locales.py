"""The nodes' texts in other languages: complete, without unused ones, in the same words everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import pytest
from make_locales import FOLDER, menus, node_defs, read, texts
from shown_nodes import ShownNode, shown_nodes

LANGUAGES = {"ja", "zh", "zh-TW"}
"""Names as the page has them."""

FILES = sorted(FOLDER.glob("*.json"))
each_language = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture
def nodes(pack: Callable[[str], ModuleType]) -> list[ShownNode]:
    return shown_nodes()


def test_there_are_languages() -> None:
    assert {path.stem for path in FILES} >= LANGUAGES
    assert {path.name for path in FOLDER.iterdir() if path.is_dir()} == {path.stem for path in FILES}


@each_language
def test_every_text_of_the_nodes_is_translated_and_no_other(nodes: list[ShownNode], path: Path) -> None:
    """If this fails after a tooltip changed: translate what it lists, as tools/make_locales.py tells."""
    translations = read(path)
    wanted = texts(nodes)
    untranslated = [text for text in wanted if not translations.get(text)]
    no_longer_said = [text for text in translations if text not in wanted]
    assert (untranslated, no_longer_said) == ([], [])


@each_language
def test_the_files_for_comfyui_are_those_that_the_script_writes(nodes: list[ShownNode], path: Path) -> None:
    """If this fails: uv run tools/make_locales.py."""
    assert read(FOLDER / path.stem / "nodeDefs.json") == node_defs(nodes, read(path))
    assert read(FOLDER / path.stem / "main.json") == menus(nodes, read(path))


@each_language
def test_a_translation_is_no_copy_and_keeps_numbers(path: Path) -> None:
    for text, translation in read(path).items():
        assert re.search(r"[^\x00-\x7f]", translation), text
        numbers = set(re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])", text))
        assert numbers <= set(re.findall(r"\d+(?:\.\d+)?", translation)), (text, translation)


@each_language
def test_a_translation_holds_no_signs_that_the_page_takes_for_commands(path: Path) -> None:
    """Those of vue-i18n's message syntax: {name}, @:link and one | many."""
    assert [text for text in read(path).values() if re.search(r"[{}@|]", text)] == []


@each_language
def test_a_tooltip_calls_widgets_nodes_and_options_by_their_names(nodes: list[ShownNode], path: Path) -> None:
    """Names of several words: both_ways and Flow Warp in translation, options such as raft_small as they are."""
    translations = read(path)
    slots = [one for node in nodes for one in (*node.inputs, *node.outputs)]
    names = {node.name for node in nodes if " " in node.name} | {one.name for one in slots if "_" in one.name}
    options = {option for node in nodes for one in node.inputs for option in one.options if "_" in option}
    # An option that is the name of a widget, as the settings of a schedule are, is that widget in a tooltip.
    called = {one: one for one in options} | {
        name: translations[name] for name in names & translations.keys()
    }
    wrong = [
        (name, text)
        for text, translation in translations.items()
        if text not in called
        for name in called
        if says(text, name, called) and called[name] not in translation
    ]
    assert wrong == []


def says(text: str, name: str, names: Iterable[str]) -> bool:
    """Return True if a text contains a name, not as a part of a longer one or of a path."""
    for longer in names:
        if name in longer and name != longer:
            text = text.replace(longer, "")
    return re.search(rf"(?<![\w/]){re.escape(name)}(?!\w)", text) is not None
