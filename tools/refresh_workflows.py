"""Bring workflows/*.json up to date with the nodes, and write their twins for the HTTP API, workflows/api/*.json.

The blueprints, subgraphs/*.json, and subgraphs within workflows are brought up to date too.

    uv run tools/refresh_workflows.py [--check] [--rename NODE.OLD=NEW ...]

Workflows are made in ComfyUI's page: open one, change it, save it over the file, run this. Run it too when a node
or a default has changed. A widget that has its old default takes the new one; a value that somebody chose stays.
The old defaults are in tools/workflow_defaults.json, so that the workflows hold nothing but what the page saves.
Outputs are followed by their place, inputs by their name; new ones are added. So say what was renamed:

    --rename DeepDreamVideo.loop=seamless         an input
    --rename DeepDreamVideo.carry:picture=image   a choice of a combo

Places, sizes, colors, titles, groups and bends of wires stay as the page saved them.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from comfyui_server import ROOT, SHOWN, Server, fetch

FOLDER = ROOT / "workflows"
BLUEPRINTS = ROOT / "subgraphs"
DEFAULTS = Path(__file__).with_name("workflow_defaults.json")

Definition: TypeAlias = Mapping[str, Any]
"""ComfyUI's description of a node, as /object_info gives it."""
Node: TypeAlias = dict[str, Any]
Renames: TypeAlias = Mapping[str, Mapping[str, str]]
"""Node -> old name, or "name:old choice" -> new."""

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "BOUNDING_BOX"}
DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
"""A combo whose choices bring widgets of their own: "octave_mode" brings "octave_mode.octaves"."""
GROWING = "COMFY_AUTOGROW_V3"
"""A socket that brings more of its kind: "initial" brings "initial.carried_0"."""
OPTIONAL, LIST = 7, 6
"""Shapes that the page gives to sockets."""
PAGE_NODES = {"MarkdownNote", "Note", "Reroute", "PrimitiveNode"}
"""Nodes that the page alone knows."""
MUTED, BYPASSED = 2, 4
ENDS = {"DeepDreamLoopOpen": "initial", "DeepDreamLoopClose": "carried"}
"""The ends of a loop, and the groups of their inputs for carried values."""

LOOK, CUSTOM = "look", "custom"
"""The choice of a look, and its choice that is none."""


def inputs_of(definition: Definition) -> Iterator[tuple[str, str, Mapping[str, Any], bool]]:
    """Name, kind and options of each input in the page's order, and whether it is a widget."""
    for group in ("required", "optional"):
        for name, (kind, *rest) in definition["input"].get(group, {}).items():
            options = rest[0] if rest else {}
            if isinstance(kind, list):  # the old way to write a combo
                kind, options = "COMBO", {"options": kind, **options}
            yield name, kind, options, kind in WIDGETS and not options.get("forceInput")


def default_of(kind: str, options: Mapping[str, Any]) -> Any:
    """Return a widget's default; None if it declares none, as a list of files does."""
    return options["options"][0]["key"] if kind == DYNAMIC else options.get("default")


def defaults_of(definition: Definition, prefix: str = "") -> dict[str, Any]:
    """Return the declared default of each widget, including those that choices bring."""
    found = {}
    for name, kind, options, is_widget in inputs_of(definition):
        if is_widget and (default := default_of(kind, options)) is not None:
            found[prefix + name] = default
        for choice in options["options"] if kind == DYNAMIC else ():
            found |= defaults_of({"input": choice["inputs"]}, f"{prefix}{name}.")
    return found


def page_widgets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the widgets that the page adds below one of the node's. They are saved, but not sent to the server."""
    if control := options.get("control_after_generate"):
        return {control if isinstance(control, str) else "control_after_generate": "fixed"}
    if options.get("component") == "ImageCrop":  # a box to draw, and its numbers
        return dict(options["default"])
    return {"upload": "image"} if options.get("image_upload") or options.get("video_upload") else {}


def values_of(
    definition: Definition, saved: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    """Return the value of each widget, in the page's order.

    Args:
        definition: the node as it is now.
        saved: name -> value in the workflow.
        defaults: name -> default when the workflow was saved.
        prefix: of the names of the widgets that a choice brings.
    """
    values: dict[str, Any] = {}
    for short, kind, options, is_widget in inputs_of(definition):
        if not is_widget:
            continue
        name, value = prefix + short, default_of(kind, options)
        if name in saved and (value is None or name not in defaults or saved[name] != defaults[name]):
            value = saved[name]
        elif value is None and options.get("options"):
            value = options["options"][0]
        values[name] = value
        if kind == DYNAMIC:
            inner = {choice["key"]: choice["inputs"] for choice in options["options"]}
            if value not in inner:
                raise ValueError(f"expected one of {', '.join(inner)} for {name}, got {value}; use --rename")
            values |= values_of({"input": inner[value]}, saved, defaults, f"{name}.")
        values |= {own: saved.get(own, fixed) for own, fixed in page_widgets(options).items()}
    return values


def rename(node: Node, names: Mapping[str, str]) -> None:
    """Give a node's inputs and choices their new names, in place."""
    for one in node.get("inputs", ()):
        one["name"] = _renamed(one["name"], names)
        if "widget" in one:
            one["widget"] = {"name": one["name"]}
    if "widgets_values_named" in node:
        node["widgets_values_named"] = _renamed_values(node["widgets_values_named"], names)


def _renamed(name: str, names: Mapping[str, str]) -> str:
    head, dot, rest = name.partition(".")
    return names.get(name) or names.get(head, head) + dot + rest


def _renamed_values(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {_renamed(name, names): names.get(f"{name}:{value}", value) for name, value in values.items()}


def refresh(node: Node, definition: Definition, defaults: Mapping[str, Any]) -> None:
    """Bring a node of a workflow up to date, in place.

    Args:
        node: in the page's format, everything renamed.
        definition: the node as it is now.
        defaults: name of a widget -> its default when the workflow was saved.

    Raises:
        ValueError: the input of a wire or of a chosen value no longer exists, or the page that saved the node was
            too old to name values.
    """
    saved = node.get("widgets_values_named", {})
    if node.get("widgets_values") and not saved:
        raise ValueError(
            "expected widgets_values_named, got none; save it with the page of ComfyUI 0.33 or later"
        )
    values = values_of(definition, saved, defaults)
    names = {name for name, *_ in inputs_of(definition)} | values.keys()
    growing = tuple(f"{name}." for name, kind, *_ in inputs_of(definition) if kind == GROWING)
    names |= {one["name"] for one in node["inputs"] if one["name"].startswith(growing)}
    wired = {one["name"] for one in node["inputs"] if one["link"] is not None}
    chosen = {name for name in defaults.keys() & saved.keys() if saved[name] != defaults[name]}
    if lost := (wired | chosen) - names:
        raise ValueError(
            f"expected inputs {', '.join(sorted(lost))}, got none; use --rename or change it in the page"
        )
    if values:
        node["widgets_values"], node["widgets_values_named"] = list(values.values()), values
    inputs = [one for one in node["inputs"] if one["name"] in names]
    # As the page exports them: a widget is an input only where it has a wire or a name of its own.
    node["inputs"] = [one for one in inputs if one["name"] in wired or "label" in one or "widget" not in one]
    add_sockets(node, definition)
    for one, name in zip(node["outputs"], definition["output_name"], strict=False):
        one["name"] = name
    node.pop("showAdvanced", None)
    for one in (*node["inputs"], *node["outputs"]):
        one.pop("localized_name", None)  # in the language of the page that saved it


def add_sockets(node: Node, definition: Definition) -> None:
    """Add the sockets that a node has and its file lacks, in place.

    An input comes after the one that it follows in the definition, an output at the end.
    """
    before = -1
    for name, kind, _, is_widget in inputs_of(definition):
        places = [place for place, one in enumerate(node["inputs"]) if one["name"] == name]
        if is_widget or kind == GROWING:
            continue
        if not places:
            shape = {} if name in definition["input"].get("required", {}) else {"shape": OPTIONAL}
            node["inputs"].insert(before + 1, {"name": name, **shape, "type": kind, "link": None})
            places = [before + 1]
        before = max(before, *places)
    names, lists = definition["output_name"], definition.get("output_is_list", ())
    for slot, name in enumerate(names):
        if slot == len(node["outputs"]) and node["type"] not in ENDS:  # theirs come as they are wired
            kind = definition["output"][slot]
            kind = "COMBO" if isinstance(kind, list) else kind
            node["outputs"].append({"name": name, "type": kind, "links": None})
    for one, is_list in zip(node["outputs"], lists, strict=False):
        if is_list:
            one["shape"] = LIST


def given_by_look(definition: Definition, values: Mapping[str, Any]) -> set[str]:
    """Return the names of the widgets that a node's look replaces. They are saved, but not sent to the server."""
    _, options = definition["input"].get("optional", {}).get(LOOK, ("", {}))
    if SHOWN not in options or values.get(LOOK) == CUSTOM:
        return set()
    return values.keys() - {LOOK, *options[SHOWN]}


def prompt_of(graph: Mapping[str, Any], definitions: Mapping[str, Definition]) -> dict[str, Any]:
    """Convert a workflow to the format of POST /prompt, as the page does when it queues it."""
    nodes = {node["id"]: node for node in graph["nodes"]}
    links = {link[0]: link for link in graph["links"]}
    prompt = {}
    for number, node in sorted(nodes.items()):
        if node["type"] in PAGE_NODES or node["mode"] in (MUTED, BYPASSED):
            continue
        definition = definitions[node["type"]]
        own = {name for _, _, options, _ in inputs_of(definition) for name in page_widgets(options)}
        values = node.get("widgets_values_named", {})
        own |= given_by_look(definition, values)
        inputs = {name: value for name, value in values.items() if name not in own}
        sources = {one["name"]: _source(one, nodes, links) for one in node["inputs"]}
        inputs |= {name: source for name, source in sources.items() if source is not None}
        title = node.get("title") or definition["display_name"]
        prompt[str(number)] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    return prompt


def _source(socket: Node, nodes: Mapping[int, Node], links: Mapping[int, list[Any]], kind: str = "") -> Any:
    """Return [node id, slot] of the output that feeds an input, the value of a primitive, or None."""
    if socket["link"] is None:
        return None
    _, origin, slot, *_ = links[socket["link"]]
    node, kind = nodes[origin], kind or socket["type"]
    if node["mode"] == MUTED:
        return None
    if node["mode"] == BYPASSED and node["type"] in ENDS:
        through = _pass_on(node, slot)
        return _source(through, nodes, links) if isinstance(through, dict) else through
    if node["mode"] == BYPASSED:
        through = _bypass(node, slot, kind)
        return through and _source(through, nodes, links)
    if node["type"] == "Reroute":
        return _source(node["inputs"][0], nodes, links, kind)
    if node["type"] == "PrimitiveNode":
        return node["widgets_values"][0]
    return [str(origin), slot]


def _bypass(node: Node, slot: int, kind: str) -> Node | None:
    """Return the input that a bypassed node passes on as an output: the one in the same place where it fits."""
    here: list[Node] = node["inputs"][slot : slot + 1]
    if kind == "*":
        return next(iter(here or node["inputs"]), None)
    same = [one for one in node["inputs"] if one["type"] == kind]
    own = node["outputs"][slot]["type"]
    fitting = [one for one in node["inputs"] if _fits(one["type"], own) and _fits(one["type"], kind)]
    return next(iter([one for one in here if one in fitting] + same + fitting), None)


def _pass_on(node: Node, slot: int) -> Node | int | None:
    """Return the input or the constant that a bypassed end of a loop passes on, as web/temporal_loop.js has it."""
    name = re.sub("^carried_", f"{ENDS[node['type']]}.carried_", node["outputs"][slot]["name"])
    constants = {"loop": False, "index": 0, "count": 1, "time": 0}
    if name in constants:
        return constants[name]
    wired = {one["name"]: one for one in node["inputs"] if one["link"] is not None}
    names = {"frame": "frames", "previous_frame": "frames", "results": "result"}
    if name == "previous_result":
        return wired.get("initial_result", wired.get("frames"))
    return wired.get(names.get(name, name))


def _fits(one: str, other: str) -> bool:
    return "*" in (one, other) or not set(one.split(",")).isdisjoint(other.split(","))


def refreshed(
    definitions: Mapping[str, Definition],
    renames: Renames,
    folder: Path = FOLDER,
    blueprints: Path = BLUEPRINTS,
) -> dict[Path, str]:
    """Return path -> text as it should be, of workflows, their twins, blueprints, and of the file of defaults."""
    old: dict[str, dict[str, Any]] = json.loads(DEFAULTS.read_text("utf-8"))
    old = {kind: _renamed_values(values, renames.get(kind, {})) for kind, values in old.items()}
    new, texts = {}, {}
    for path in sorted([*folder.glob("*.json"), *blueprints.glob("*.json")]):
        graph = json.loads(path.read_text("utf-8"))
        for one in ("ds", "frontendVersion"):  # where the page was scrolled to, and which page it was
            graph["extra"].pop(one, None)
        subgraphs = graph.get("definitions", {}).get("subgraphs", [])
        other = PAGE_NODES | {one["id"] for one in subgraphs}
        for part in (graph, *subgraphs):
            nodes = [node for node in part["nodes"] if node["type"] not in other]
            for node in nodes:
                kind = node["type"]
                if kind not in definitions:
                    raise SystemExit(
                        f"{path.name}: expected nodes that ComfyUI has, got {kind}; replace it in the page"
                    )
                rename(node, renames.get(kind, {}))
                try:
                    refresh(node, definitions[kind], old.get(kind, {}))
                except ValueError as error:
                    raise SystemExit(f"{path.name}: node {node['id']}, {kind}: {error}") from None
                new[kind] = defaults_of(definitions[kind])
            move_links(part)
        texts[path] = _text(graph)
        if path.parent == folder:
            texts[folder / "api" / path.name] = _text(prompt_of(graph, definitions))
    return {**texts, DEFAULTS: _text(dict(sorted(new.items())))}


def move_links(graph: Node) -> None:
    """Let the links of a graph or subgraph end at the inputs that name them, in place."""
    slots = {one["link"]: slot for node in graph["nodes"] for slot, one in enumerate(node["inputs"])}
    for link in graph["links"]:
        if isinstance(link, list):
            link[4] = slots[link[0]]
        elif link["id"] in slots:  # others end at the subgraph's outputs
            link["target_slot"] = slots[link["id"]]


def _text(content: Any) -> str:
    return json.dumps(_numbers(content), indent=2, ensure_ascii=False) + "\n"


def _numbers(value: Any) -> Any:
    """Write whole numbers without a point, as the page does."""
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def main() -> None:
    """Read the command line, ask a ComfyUI for its nodes, and write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="name what is out of date and exit with 1")
    parser.add_argument("--rename", nargs="+", default=[], action="extend", metavar="NODE.OLD=NEW")
    parser.add_argument("--server", metavar="URL", help="of a running ComfyUI; by default one is started")
    arguments = parser.parse_args()
    renames: dict[str, dict[str, str]] = {}
    for text in arguments.rename:
        old, _, new = text.partition("=")
        node, _, name = old.partition(".")
        if not (name and new):
            parser.error(f"expected --rename NODE.OLD=NEW, got {text}")
        renames.setdefault(node, {})[name] = new
    with ExitStack() as stack:
        if arguments.server is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            definitions = stack.enter_context(Server(Path(folder))).get("/object_info")
        else:
            definitions = json.loads(fetch(f"{arguments.server}/object_info"))
    texts = refreshed(definitions, renames)
    changed = [path for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in changed:
        print(f"{path.relative_to(ROOT)} {'is out of date' if arguments.check else 'written'}")
        if not arguments.check:
            path.write_text(texts[path], "utf-8")
    raise SystemExit(bool(arguments.check and changed))


if __name__ == "__main__":
    main()
