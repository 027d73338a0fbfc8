"""The pack as ComfyUI has loaded it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from comfyui_server import PACK, Server, find

HERE = Path(__file__).parent
OURS = "DeepDream"


@pytest.fixture(scope="module")
def nodes(comfyui: Server) -> dict[str, Any]:
    found = {name: info for name, info in comfyui.get("/object_info").items() if name.startswith(OURS)}
    assert found
    return found


def shown(nodes: dict[str, Any]) -> dict[str, Any]:
    """The nodes that users see."""
    return {name: info for name, info in nodes.items() if not info["dev_only"]}


def inputs_of(group: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every input, including those that a choice or a growing socket brings."""
    for kind in ("required", "optional"):
        for name, spec in group.get(kind, {}).items():
            options = spec[1] if len(spec) > 1 else {}
            yield name, options
            if isinstance(spec[0], str) and spec[0].startswith("COMFY_DYNAMIC"):
                for option in options["options"]:
                    yield from inputs_of(option["inputs"])


def test_it_loads_and_the_log_holds_no_complaint(comfyui: Server, nodes: dict[str, Any]) -> None:
    log = comfyui.log.read_text("utf-8", "replace")
    assert "IMPORT FAILED" not in log
    assert "Traceback" not in log.split("To see the GUI")[0]
    seconds = re.search(rf"([0-9.]+) seconds:.*{PACK}", log)
    assert seconds is not None
    print(f"ComfyUI imported the pack in {seconds[1]} s")


def test_every_node_is_in_our_category_with_a_name_a_description_and_aliases(nodes: dict[str, Any]) -> None:
    for name, info in nodes.items():
        assert info["category"].split("/")[0] == "DeepDream", name
        assert info["display_name"] not in ("", name), name
        assert info["description"], name
        assert info["search_aliases"], name


def test_every_input_and_output_has_a_tooltip(nodes: dict[str, Any]) -> None:
    bare = [
        f"{name}.{input_name}"
        for name, info in nodes.items()
        for input_name, options in inputs_of(info["input"])
        if not options.get("tooltip")
    ]
    bare += [
        f"{name} -> {output}"
        for name, info in nodes.items()
        for output, tooltip in zip(info["output_name"], info["output_tooltips"] or [None] * 99, strict=False)
        if not tooltip
    ]
    assert bare == []


def test_translations_are_served_under_the_names_that_the_page_asks_for(
    comfyui: Server, nodes: dict[str, Any]
) -> None:
    """Inputs by name, with underscores for dots; outputs by number; growing sockets are left out."""
    served = comfyui.get("/i18n")
    for language in ("ja", "zh", "zh-TW"):
        translated = served[language]["nodeCategories"]
        for name, info in shown(nodes).items():
            assert set(info["category"].split("/")[1:]) <= translated.keys(), name
            told = served[language]["nodeDefs"][name]
            assert {"display_name", "description"} <= told.keys()
            assert told["inputs"].keys() == set(keys_of(info["input"])), name
            outputs = {str(slot): output for slot, output in enumerate(info["output_name"])}
            fixed = {slot for slot, output in outputs.items() if not output.startswith("carried_")}
            assert told["outputs"].keys() == fixed, name


def keys_of(group: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for kind in ("required", "optional"):
        for name, (io_type, *rest) in group.get(kind, {}).items():
            if io_type != "COMFY_AUTOGROW_V3":
                yield prefix + name
            if io_type == "COMFY_DYNAMICCOMBO_V3":
                for option in rest[0]["options"]:
                    yield from keys_of(option["inputs"], f"{prefix}{name}_")


def test_every_shown_node_has_a_help_page_and_its_images(comfyui: Server, nodes: dict[str, Any]) -> None:
    """The page's nodeHelpService asks for them there."""
    folder = f"http://127.0.0.1:{comfyui.port}/extensions/{PACK}/docs"
    for name in shown(nodes):
        with urlopen(f"{folder}/{name}.md") as answer:
            text = answer.read().decode()
        images = re.findall(r"!\[.*\]\((.*)\)", text)
        assert images
        for image in images:
            with urlopen(f"{folder}/{image}") as answer:
                assert answer.headers.get_content_type() == "image/jpeg"


def test_the_standin_promises_nothing_that_comfyui_does_not_hold(comfyui: Server) -> None:
    root, python = find()
    command = [str(python), str(HERE / "compare_standin.py"), str(root), str(HERE.parent / "standin")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == []
