"""Write the nodes' names and tooltips, and the folders of their menu, in other languages: locales/*/*.json.

    uv run tools/make_locales.py

Translations are written by hand into locales/LANGUAGE.json: English text -> translation, once for all nodes that
use the text; a text of several lines is translated line by line. Run this when a node or a tooltip has changed: it
adds new texts with an empty translation and prints those that are no longer used. To add a language, start with a
file that holds {}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shown_nodes import Input, Output, ShownNode, load_pack, shown_nodes

FOLDER = Path(__file__).resolve().parents[1] / "locales"

APART = {
    ("DeepDreamVideoFile", "frames"): "frames (how many)",
    ("DeepDreamSchedule", "frames"): "frames (how many)",
}
"""Node and name -> text to translate instead, for a name that means something else on this node."""

Translations = Mapping[str, str]


def texts(nodes: Sequence[ShownNode]) -> list[str]:
    """Return the texts to translate, in the order of the nodes, each once."""
    found = []
    for node in nodes:
        found += [node.name, node.description]
        found += [node.menu] if node.menu else []
        found += [text for one in _named(node) for text in (_name(node, one), *one.tooltip.splitlines())]
    return list(dict.fromkeys(found))


def node_defs(nodes: Sequence[ShownNode], translations: Translations) -> dict[str, Any]:
    """Return the translated texts in ComfyUI's format. Texts without a translation stay English."""

    def translated(**texts: str) -> dict[str, str]:
        """Translate texts line by line, where every line has a translation."""
        lines = {kind: [translations.get(line) for line in text.splitlines()] for kind, text in texts.items()}
        return {kind: "\n".join(own) for kind, own in lines.items() if all(own)}  # type: ignore[arg-type]

    def both(node: ShownNode, one: Input | Output) -> dict[str, str]:
        return translated(name=_name(node, one), tooltip=one.tooltip)

    found = {}
    for node in nodes:
        inputs = {one.key.replace(".", "_"): both(node, one) for one in node.inputs if not one.numbered}
        outputs = {str(slot): both(node, one) for slot, one in enumerate(node.outputs) if not one.numbered}
        own = translated(display_name=node.name, description=node.description)
        found[node.id] = {**own, "inputs": inputs, "outputs": outputs}
    return found


def menus(nodes: Sequence[ShownNode], translations: Translations) -> dict[str, Any]:
    """Return the translated names of the folders of ComfyUI's node menu, in ComfyUI's format."""
    names = {node.menu: translations[node.menu] for node in nodes if translations.get(node.menu)}
    return {"nodeCategories": names}


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file."""
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


def _named(node: ShownNode) -> Iterator[Input | Output]:
    """Yield the inputs and outputs to translate: numbered sockets keep their names and show no tooltips."""
    return (one for one in (*node.inputs, *node.outputs) if not one.numbered)


def _name(node: ShownNode, one: Input | Output) -> str:
    return APART.get((node.id, one.name), one.name)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


def main() -> None:
    """Write the nodes' texts in every language and print those that are left to translate."""
    load_pack.load()
    nodes = shown_nodes()
    wanted = texts(nodes)
    for path in sorted(FOLDER.glob("*.json")):
        before = read(path)
        gone = {text: before[text] for text in before if text not in wanted}
        now = {text: before.get(text, "") for text in wanted}
        _write(path, now | gone)
        _write(FOLDER / path.stem / "nodeDefs.json", node_defs(nodes, now))
        _write(FOLDER / path.stem / "main.json", menus(nodes, now))
        for text in (text for text in wanted if not now[text]):
            print(f"{path.name}: translate {text!r}")
        for text in gone:
            print(f"{path.name}: no longer said, take what still fits and delete it: {text!r}")


if __name__ == "__main__":
    main()
