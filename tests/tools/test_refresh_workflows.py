"""The refreshing of workflows, on nodes made up for it."""

from __future__ import annotations

from typing import Any

import pytest
from refresh_workflows import defaults_of, move_links, prompt_of, refresh, rename

DREAM: dict[str, Any] = {
    "display_name": "Dream",
    "input": {
        "required": {
            "image": ["IMAGE", {}],
            "steps": ["INT", {"default": 10}],
            "seed": ["INT", {"default": 0, "control_after_generate": True}],
            "mode": [
                "COMFY_DYNAMICCOMBO_V3",
                {
                    "options": [
                        {"key": "normal", "inputs": {"required": {"octaves": ["INT", {"default": 4}]}}},
                        {"key": "manual", "inputs": {"required": {"sizes": ["STRING", {"default": ""}]}}},
                    ]
                },
            ],
        },
        "optional": {"carry": ["COMBO", {"options": ["residual", "image"], "default": "residual"}]},
    },
    "output_name": ["image"],
}
LOAD: dict[str, Any] = {
    "display_name": "Load Image",
    "input": {"required": {"file": [["a.png", "b.png"], {"image_upload": True}]}},
    "output_name": ["image", "mask"],
}
DEFINITIONS = {"Dream": DREAM, "Load": LOAD}


def load() -> dict[str, Any]:
    return {
        "id": 1,
        "type": "Load",
        "mode": 0,
        "inputs": [],
        "outputs": [{"name": "image", "type": "IMAGE", "links": [1]}],
        "widgets_values": ["b.png", "image"],
        "widgets_values_named": {"file": "b.png", "upload": "image"},
    }


def dream(**values: Any) -> dict[str, Any]:
    """A node saved with ten steps by default."""
    saved = {
        "steps": 10,
        "seed": 0,
        "control_after_generate": "fixed",
        "mode": "normal",
        "mode.octaves": 4,
        "carry": "residual",
        **values,
    }
    return {
        "id": 2,
        "type": "Dream",
        "mode": 0,
        "pos": [3, 4],
        "size": [5, 6],
        "title": "Mine",
        "inputs": [
            {"name": "image", "type": "IMAGE", "link": 1},
            {"name": "steps", "type": "INT", "widget": {"name": "steps"}, "link": None},
        ],
        "outputs": [{"name": "image", "type": "IMAGE", "links": []}],
        "widgets_values": list(saved.values()),
        "widgets_values_named": saved,
    }


def test_defaults_are_those_of_all_choices_and_none_of_lists_of_files() -> None:
    expected = {
        "steps": 10,
        "seed": 0,
        "mode": "normal",
        "mode.octaves": 4,
        "mode.sizes": "",
        "carry": "residual",
    }
    assert defaults_of(DREAM) == expected
    assert defaults_of(LOAD) == {}


def test_an_old_default_takes_the_new_one_and_a_chosen_value_stays() -> None:
    node = dream(seed=7)
    refresh(node, DREAM, {**defaults_of(DREAM), "steps": 10, "mode.octaves": 3})
    assert node["widgets_values"] == [10, 7, "fixed", "normal", 4, "residual"]
    refresh(node, changed(steps=12, seed=1), defaults_of(DREAM))
    assert node["widgets_values"] == [12, 7, "fixed", "normal", 4, "residual"]
    assert list(node["widgets_values_named"].values()) == node["widgets_values"]


def test_the_layout_stays() -> None:
    node = dream()
    refresh(node, changed(steps=12), defaults_of(DREAM))
    assert (node["pos"], node["size"], node["title"]) == ([3, 4], [5, 6], "Mine")


def test_a_new_widget_has_its_default_and_the_page_s_own_keep_their_value() -> None:
    node = dream(control_after_generate="randomize")
    del node["widgets_values_named"]["carry"]
    refresh(node, DREAM, {})
    assert node["widgets_values"] == [10, 0, "randomize", "normal", 4, "residual"]


def test_a_chosen_dynamic_choice_keeps_its_widgets() -> None:
    node = dream(mode="manual")
    del node["widgets_values_named"]["mode.octaves"]
    node["widgets_values_named"]["mode.sizes"] = "64x64"
    refresh(node, DREAM, defaults_of(DREAM))
    assert node["widgets_values"] == [10, 0, "fixed", "manual", "64x64", "residual"]


def test_names_and_choices_are_renamed_with_what_they_bring() -> None:
    node = dream(carry="picture", **{"mode.octaves": 6})
    node["inputs"][0]["name"] = "frame"
    node["widgets_values_named"]["octave_mode"] = node["widgets_values_named"].pop("mode")
    node["widgets_values_named"]["octave_mode.octaves"] = node["widgets_values_named"].pop("mode.octaves")
    rename(node, {"frame": "image", "octave_mode": "mode", "carry:picture": "image"})
    refresh(node, DREAM, defaults_of(DREAM))
    assert node["inputs"] == [{"name": "image", "type": "IMAGE", "link": 1}]
    assert node["widgets_values"] == [10, 0, "fixed", "normal", 6, "image"]


def test_new_sockets_come_where_the_node_has_them() -> None:
    node = dream()
    sockets = {"renewal": ["MASK", {}], "model": ["MODEL", {}]}
    definition = {
        "input": {"required": {"mask": ["MASK", {}], **DREAM["input"]["required"]}, "optional": sockets},
        "output_name": ["image", "flows"],
        "output": ["IMAGE", "FLOW"],
        "output_is_list": [False, True],
    }
    del node["widgets_values_named"]["carry"]
    refresh(node, definition, defaults_of(DREAM))
    assert [(one["name"], one.get("shape"), one["link"]) for one in node["inputs"]] == [
        ("mask", None, None),
        ("image", None, 1),
        ("renewal", 7, None),
        ("model", 7, None),
    ]
    assert node["outputs"][1:] == [{"name": "flows", "type": "FLOW", "links": None, "shape": 6}]


def test_links_of_subgraphs_end_where_their_inputs_are() -> None:
    nodes = [{"inputs": [{"link": None}, {"link": 5}]}]
    inner = {"nodes": nodes, "links": [{"id": 5, "target_slot": 0}, {"id": 6, "target_slot": 0}]}
    move_links(inner)
    assert [link["target_slot"] for link in inner["links"]] == [1, 0]
    outer = {"nodes": nodes, "links": [[5, 1, 0, 2, 0, "IMAGE"]]}
    move_links(outer)
    assert outer["links"][0][4] == 1


@pytest.mark.parametrize("lost", ["wire", "value"])
def test_a_wire_or_a_chosen_value_that_would_be_lost_is_an_error(lost: str) -> None:
    node, defaults = dream(), defaults_of(DREAM)
    if lost == "wire":
        node["inputs"][0]["name"] = "frame"
    else:
        node["widgets_values_named"]["old"], defaults["old"] = 2, 1
    with pytest.raises(ValueError, match="--rename"):
        refresh(node, DREAM, defaults)


def test_values_without_names_are_an_error() -> None:
    node = dream()
    del node["widgets_values_named"]
    with pytest.raises(ValueError, match="widgets_values_named"):
        refresh(node, DREAM, {})


def test_a_twin_has_the_values_and_wires_and_nothing_of_the_page_s_own() -> None:
    note = {"id": 3, "type": "MarkdownNote", "mode": 0, "inputs": [], "outputs": []}
    graph = {"nodes": [note, dream(), load()], "links": [[1, 1, 0, 2, 0, "IMAGE"]]}
    twin = prompt_of(graph, DEFINITIONS)
    assert list(twin) == ["1", "2"]
    assert twin["1"] == {"class_type": "Load", "inputs": {"file": "b.png"}, "_meta": {"title": "Load Image"}}
    assert twin["2"]["_meta"] == {"title": "Mine"}
    expected = {
        "steps": 10,
        "seed": 0,
        "mode": "normal",
        "mode.octaves": 4,
        "carry": "residual",
        "image": ["1", 0],
    }
    assert twin["2"]["inputs"] == expected


@pytest.mark.parametrize(
    ("look", "sent"),
    [("fur", {"look": "fur", "seed": 0}), ("custom", {"look": "custom", "seed": 0, "steps": 10})],
)
def test_a_twin_has_no_values_that_a_look_gives(look: str, sent: dict[str, Any]) -> None:
    names = {"options": ["fur", "custom"], "default": "fur", "shown_beside_a_look": ["seed"]}
    seed = {"default": 0, "control_after_generate": True}
    inputs = {"look": ["COMBO", names], "seed": ["INT", seed], "steps": ["INT", {"default": 10}]}
    definition = {"display_name": "Dream", "input": {"optional": inputs}, "output_name": ["image"]}
    node = {**dream(), "inputs": []}
    saved = {"look": look, "seed": 0, "control_after_generate": "fixed", "steps": 10}
    node["widgets_values_named"] = saved
    refresh(node, definition, {})
    assert node["widgets_values_named"] == saved  # the page keeps them
    twin = prompt_of({"nodes": [node], "links": []}, {"Dream": definition})
    assert twin["2"]["inputs"] == sent


def changed(**defaults: Any) -> dict[str, Any]:
    """DREAM with other defaults."""
    required = dict(DREAM["input"]["required"])
    for name, default in defaults.items():
        kind, options = required[name]
        required[name] = [kind, {**options, "default": default}]
    return {**DREAM, "input": {**DREAM["input"], "required": required}}
