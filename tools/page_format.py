"""Graphs in the two formats of ComfyUI: the one that its page saves, and the one that its HTTP API takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Definitions: TypeAlias = Mapping[str, Mapping[str, Any]]
"""What ComfyUI's /object_info tells of each node."""

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
UPLOADS = ("image_upload", "video_upload")
SHOWN_OUTPUTS = {"DeepDreamLoopOpen": 6, "DeepDreamLoopClose": 1}
"""Outputs of nodes whose further ones the page shows only as they are used."""

NOTE_COLORS = {"color": "#432", "bgcolor": "#653"}
GROUP_MARGIN, GROUP_TITLE, NODE_TITLE = 20, 45, 30


@dataclass(frozen=True)
class Output:
    """One output of a node."""

    node: int
    slot: int


@dataclass
class Node:
    """A node on the canvas.

    Args:
        id: its number.
        definition: ComfyUI's.
        links: name of the socket -> the output that it is connected to.
        values: name of the widget -> its value, in the page's order.
        saved: the values as the page saves them: with those that only the page has.
        title: shown instead of the display name.
        place: left, top, width, height in the page's pixels, without the title bar.
        color: "#rgb" of title and body.
        models: files that the page offers to download where they are missing, as it saves them.
    """

    id: int
    definition: Mapping[str, Any]
    links: dict[str, Output]
    values: dict[str, Any]
    saved: list[Any]
    title: str
    place: tuple[int, int, int, int]
    color: tuple[str, str] | None
    models: Sequence[Mapping[str, str]] = ()

    def __getitem__(self, slot: int) -> Output:
        return Output(self.id, slot)


@dataclass
class Workflow:
    """A graph with its looks.

    Args:
        definitions: of all nodes that it uses.
    """

    definitions: Definitions
    nodes: list[Node] = field(default_factory=list)
    notes: list[tuple[int, str, tuple[int, int, int, int]]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    bends: dict[tuple[int, str], list[tuple[int, int]]] = field(default_factory=dict)
    _last: int = 0

    def add(
        self,
        class_type: str,
        at: tuple[int, int],
        size: tuple[int, int],
        *,
        title: str = "",
        color: tuple[str, str] | None = None,
        models: Sequence[Mapping[str, str]] = (),
        **inputs: Any,
    ) -> Node:
        """Place a node. Inputs are outputs of nodes, nodes (their first output) or values; "." is "__" in a name.

        Raises:
            KeyError: ComfyUI has no such node.
            ValueError: the node has no such input, or a widget without a default got no value.
        """
        definition = self.definitions[class_type]
        given = {name.replace("__", "."): value for name, value in inputs.items()}
        links = {}
        for name, value in list(given.items()):
            if isinstance(value, (Node, Output)):
                links[name] = value if isinstance(value, Output) else value[0]
                del given[name]
        values: dict[str, Any] = {}
        saved: list[Any] = []
        for name, (kind, options) in _widgets(definition, given):
            if name in given:
                value = given.pop(name)
            elif (value := _default(kind, options)) is None:
                raise ValueError(f"expected a value for {name} of {class_type}, which has no default")
            saved.append(value)
            if name not in links:
                values[name] = value
            if options.get("control_after_generate"):
                saved.append("fixed")
            if any(options.get(upload) for upload in UPLOADS):
                saved.append("image")
        sockets = {name for name, _ in _sockets(definition, links)} | {
            name for name, _ in _widgets(definition, values)
        }
        if unknown := {*given, *links} - sockets:
            raise ValueError(f"expected inputs of {class_type}, got {', '.join(sorted(unknown))}")
        node = Node(self._next(), definition, links, values, saved, title, (*at, *size), color, models)
        self.nodes.append(node)
        return node

    def note(self, at: tuple[int, int], size: tuple[int, int], text: str) -> None:
        """Place a note, in Markdown."""
        self.notes.append((self._next(), text, (*at, *size)))

    def bend(self, node: Node, name: str, *points: tuple[int, int]) -> None:
        """Lead the wire into a node's input through points, from left to right."""
        self.bends[node.id, name] = list(points)

    def group(self, title: str, color: str, *nodes: Node) -> None:
        """Draw a frame around nodes."""
        left = min(node.place[0] for node in nodes) - GROUP_MARGIN
        top = min(node.place[1] for node in nodes) - NODE_TITLE - GROUP_TITLE
        right = max(node.place[0] + node.place[2] for node in nodes) + GROUP_MARGIN
        bottom = max(node.place[1] + node.place[3] for node in nodes) + GROUP_MARGIN
        self.groups.append(
            {
                "id": len(self.groups) + 1,
                "title": title,
                "bounding": [left, top, right - left, bottom - top],
                "color": color,
                "font_size": 24,
                "flags": {},
            }
        )

    def api(self) -> dict[str, Any]:
        """The graph as POST /prompt takes it."""
        return {
            str(node.id): {
                "class_type": node.definition["name"],
                "inputs": {
                    **node.values,
                    **{name: [str(source.node), source.slot] for name, source in node.links.items()},
                },
                "_meta": {"title": node.title or node.definition["display_name"]},
            }
            for node in self.nodes
        }

    def page(self) -> dict[str, Any]:
        """The graph as the page saves it."""
        links: list[list[Any]] = []
        outgoing: dict[Output, list[int]] = {}
        sockets: dict[int, list[dict[str, Any]]] = {}
        bends = _Bends()
        for node in self.nodes:
            sockets[node.id] = []
            for slot, (name, socket) in enumerate(_inputs(node)):
                source = node.links.get(name)
                if source is not None:
                    kind = self._kind(source, socket["type"])
                    links.append([len(links) + 1, source.node, source.slot, node.id, slot, kind])
                    outgoing.setdefault(source, []).append(len(links))
                    bends.add(len(links), self.bends.get((node.id, name), []))
                sockets[node.id].append({**socket, "link": len(links) if source else None})
        drawn = [
            self._drawn(order, node, sockets[node.id], outgoing) for order, node in enumerate(self.nodes)
        ]
        drawn += [_note(len(drawn) + order, *note) for order, note in enumerate(self.notes)]
        return {
            "revision": 0,
            "last_node_id": self._last,
            "last_link_id": len(links),
            "nodes": drawn,
            "links": links,
            "groups": self.groups,
            "config": {},
            "extra": {"reroutes": bends.points, "linkExtensions": bends.links},
            "version": 0.4,
        }

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _kind(self, source: Output, wanted: str) -> str:
        node = next(node for node in self.nodes if node.id == source.node)
        kind = node.definition["output"][source.slot]
        return str(wanted.split(",")[0] if kind == "COMFY_MATCHTYPE_V3" else kind)

    def _drawn(
        self, order: int, node: Node, inputs: list[dict[str, Any]], outgoing: Mapping[Output, list[int]]
    ) -> dict[str, Any]:
        definition = node.definition
        count = SHOWN_OUTPUTS.get(definition["name"], len(definition["output"]))
        outputs = [
            {
                "name": definition["output_name"][slot],
                "type": self._kind(node[slot], "IMAGE"),
                "links": outgoing.get(node[slot]),
            }
            for slot in range(count)
        ]
        left, top, width, height = node.place
        drawn: dict[str, Any] = {
            "id": node.id,
            "type": definition["name"],
            "pos": [left, top],
            "size": [width, height],
            "flags": {},
            "order": order,
            "mode": 0,
            "inputs": inputs,
            "outputs": outputs,
            "properties": {"Node name for S&R": definition["name"]},
            "widgets_values": node.saved,
        }
        if node.title:
            drawn["title"] = node.title
        if node.color:
            drawn["color"], drawn["bgcolor"] = node.color
        if node.models:
            drawn["properties"]["models"] = [dict(model) for model in node.models]
        return drawn


@dataclass
class _Bends:
    """Points on wires, as the page saves them: each knows the one before it, and each wire its last one."""

    points: list[dict[str, Any]] = field(default_factory=list)
    links: list[dict[str, int]] = field(default_factory=list)

    def add(self, link: int, places: list[tuple[int, int]]) -> None:
        parent: dict[str, int] = {}
        for place in places:
            number = len(self.points) + 1
            self.points.append({"id": number, **parent, "pos": list(place), "linkIds": [link]})
            parent = {"parentId": number}
        if parent:
            self.links.append({"id": link, **parent})


def _groups(definition: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], bool]]:
    """(name, kind, options, whether it is optional) of each input."""
    for group in ("required", "optional"):
        for name, (kind, *rest) in definition["input"].get(group, {}).items():
            options = rest[0] if rest else {}
            if not isinstance(kind, str):  # the old way to write a list of choices
                kind, options = "COMBO", {"options": kind, **options}
            yield name, kind, options, group == "optional"


def _widgets(
    definition: Mapping[str, Any], values: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, tuple[str, Mapping[str, Any]]]]:
    """The widgets in the page's order, with those that a choice shows behind it."""
    for short, kind, options, _ in _groups(definition):
        if kind not in WIDGETS or options.get("forceInput"):
            continue
        name = prefix + short
        yield name, (kind, options)
        if kind == "COMFY_DYNAMICCOMBO_V3":
            chosen = values.get(name, _default(kind, options))
            (option,) = (option for option in options["options"] if option["key"] == chosen)
            yield from _widgets({"input": option["inputs"]}, values, f"{name}.")


def _default(kind: str, options: Mapping[str, Any]) -> Any:
    if kind == "COMFY_DYNAMICCOMBO_V3":
        return options["options"][0]["key"]
    if kind == "COMBO" and "default" not in options and not any(options.get(upload) for upload in UPLOADS):
        return options["options"][0]
    return options.get("default")


def _sockets(
    definition: Mapping[str, Any], links: Mapping[str, Output]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The inputs that are no widgets, in the page's order; groups that grow with one socket more than is used."""
    for name, kind, options, optional in _groups(definition):
        if kind in WIDGETS and not options.get("forceInput"):
            continue
        shape = {"shape": 7} if optional else {}
        if kind == "COMFY_AUTOGROW_V3":
            prefix = options["template"]["prefix"]
            used = sum(link.startswith(f"{name}.") for link in links)
            (one,) = (kind for _, kind, _, _ in _groups(options["template"]))
            for number in range(used + 1):
                short = f"{prefix}{number}"
                grown = f"{name}.{short}"
                yield grown, {"name": grown, "label": short, "type": one, "shape": 7}
        elif kind == "COMFY_MATCHTYPE_V3":
            yield name, {"name": name, "type": options["template"]["allowed_types"], **shape}
        else:
            yield name, {"name": name, "type": kind, **shape}


def _inputs(node: Node) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from _sockets(node.definition, node.links)
    for name, (kind, _) in _widgets(node.definition, node.values):
        yield name, {"name": name, "type": kind, "widget": {"name": name}}


def _note(order: int, number: int, text: str, place: tuple[int, int, int, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": list(place[:2]),
        "size": list(place[2:]),
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "Try this",
        "properties": {},
        "widgets_values": [text],
        **NOTE_COLORS,
    }
