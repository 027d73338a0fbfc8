"""Read from the nodes' schemas what ComfyUI's page shows: names, tooltips, defaults and ranges."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

# The pack loads without ComfyUI on the stand-ins of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "standin"))

import load_pack

NUMBERED = re.compile(r"carried_(\d+)")
"""Names of the outputs that the page adds as they are used."""


@dataclass(frozen=True)
class Input:
    """A socket or a widget.

    Args:
        key: its name in a graph: "octave_mode.octaves" for a widget that the choice "octave_mode" shows.
        name: what the page shows, in English.
        tooltip: its explanation.
        kind: ComfyUI's type; several are separated by commas.
        optional, advanced: as in the schema.
        numbered: True if the page adds more of these sockets as they are connected.
        choices: choices of a combo that show it; empty if it is always shown.
        default: of a widget; None for a socket.
        limits: minimum and maximum of a number.
        options: of a combo.
    """

    key: str
    name: str
    tooltip: str
    kind: str
    optional: bool
    advanced: bool
    numbered: bool = False
    choices: tuple[str, ...] = ()
    default: Any = None
    limits: tuple[float, float] | None = None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Output:
    """An output; the first numbered one stands for all of them.

    Args:
        name: what the page shows, in English.
        tooltip: its explanation.
        kind: ComfyUI's type; several are separated by commas.
        numbered: True if more of its kind follow.
    """

    name: str
    tooltip: str
    kind: str
    numbered: bool


@dataclass(frozen=True)
class ShownNode:
    """A node that people see in ComfyUI's menus, in the folder `menu` below that of the pack; "" is that one."""

    id: str
    name: str
    menu: str
    description: str
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]


def shown_nodes() -> list[ShownNode]:
    """Return the nodes that users see, in the pack's order. Load the pack first."""
    schemas = [node.define_schema() for node in load_pack.pack("nodes").NODES]
    return [_node(schema) for schema in schemas if not schema.is_dev_only]


def _node(schema: Any) -> ShownNode:
    outputs = [_output(one) for one in schema.outputs]
    return ShownNode(
        schema.node_id,
        schema.display_name,
        schema.category.partition("/")[2],
        schema.description,
        tuple(shown for one in schema.inputs for shown in _inputs(one)),
        tuple(one for one in outputs if not one.numbered or NUMBERED.fullmatch(one.name)[1] == "0"),  # type: ignore[index]
    )


def _output(output: Any) -> Output:
    name = output.display_name or output.io_type
    return Output(name, output.tooltip, _kind(output), bool(NUMBERED.fullmatch(name)))


def _inputs(schema: Any) -> Iterator[Input]:
    """Yield an input and those that its choices show, each once."""
    options = getattr(schema, "options", None) or ()
    choices = [option.key if hasattr(option, "key") else str(option) for option in options]
    least, most = getattr(schema, "min", None), getattr(schema, "max", None)
    default = getattr(schema, "default", None)
    grows = hasattr(getattr(schema, "template", None), "prefix")
    yield Input(
        schema.id,
        f"{schema.template.prefix}0" if grows else schema.id,
        schema.tooltip,
        _kind(schema),
        bool(schema.optional),
        bool(schema.advanced),
        numbered=grows,
        default=choices[0] if default is None and choices else default,
        limits=None if least is None or most is None else (least, most),
        options=tuple(choices),
    )
    inner: dict[str, Input] = {}
    for option in options:
        for shown in getattr(option, "inputs", ()):
            (one,) = _inputs(shown)
            key = f"{schema.id}.{one.key}"
            before = inner.get(key, replace(one, key=key))
            inner[key] = replace(before, choices=(*before.choices, option.key))
    yield from inner.values()


def _kind(owner: Any) -> str:
    """Return ComfyUI's type, or the types that a socket accepts, separated by commas."""
    template = getattr(owner, "template", None)
    allowed = getattr(template, "allowed_types", None)
    if allowed:
        return ",".join(one.io_type for one in allowed)
    inner = getattr(template, "input", None)  # sockets that grow
    return str((inner or owner).io_type)
