"""Write the tables of inputs and outputs into web/docs/*.md, the help pages of the nodes.

    uv run tools/make_help.py

The rest of a page is written by hand. Run it when a node, a tooltip or a default has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from shown_nodes import Input, Output, ShownNode, load_pack, shown_nodes

FOLDER = Path(__file__).resolve().parents[1] / "web" / "docs"

BEGIN, END = "<!-- Written by tools/make_help.py. -->", "<!-- Written by hand again. -->"

FAR = 10_000
"""A limit this large means none; ComfyUI requires limits for every number."""


def page(node: ShownNode, text: str) -> str:
    """Return a page with new tables.

    Raises:
        ValueError: the page lacks one of the two marks around its tables.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"expected {BEGIN} and {END} in {node.id}.md, got not both: put them in")
    return f"{before}{BEGIN}\n\n{tables(node)}\n{END}{after}"


def tables(node: ShownNode) -> str:
    """Return the tables of inputs, of advanced inputs (folded) and of outputs, in Markdown.

    Each is a table of one column: ComfyUI's panel is too narrow for more.
    """
    usual = [one for one in node.inputs if not one.advanced]
    rare = [one for one in node.inputs if one.advanced]
    parts = [_table("Inputs", map(_input_row, usual))] if usual else []
    if rare:
        table = _table('"Show Advanced" in the node\'s menu unfolds these.', map(_input_row, rare))
        parts += ["<details>", "<summary>Advanced inputs</summary>", table, "</details>"]
    parts += [_table("Outputs", map(_output_row, node.outputs))]
    return "\n\n".join(parts) + "\n"


def _table(head: str, rows: Iterable[str]) -> str:
    return "\n".join(f"| {row} |" for row in (head, ":---", *rows))


def _input_row(one: Input) -> str:
    choice = one.key.rpartition(".")[0]
    only = f" Only with {choice} {_one_of(one.choices)}." if choice else ""
    return f"{_name(one)} {_value(one)}<br>{_escaped(one.tooltip + only)}"


def _output_row(one: Output) -> str:
    return f"{_name(one)} {_kinds(one.kind)}<br>{_escaped(one.tooltip)}"


def _name(one: Input | Output) -> str:
    return f"`{one.name}`" + (", ..." if one.numbered else "")


def _value(one: Input) -> str:
    """Return default and range of a widget, or the type of a socket."""
    if one.default is None:
        return _kinds(one.kind) + (", optional" if one.optional else "")
    if one.options:
        others = [option for option in one.options if option != one.default]
        return f"**{one.default}**" + "".join(f", {option}" for option in others)
    if isinstance(one.default, bool):
        return "**on**, off" if one.default else "**off**, on"
    if one.limits is None:
        return f"**{one.default}**" if one.default else "text, **empty**"
    least, most = one.limits
    if most < FAR:
        return f"**{one.default:g}**, {least:g} to {most:g}"
    return f"**{one.default:g}**" + (f", at least {least:g}" if least > -FAR else "")


def _kinds(kind: str) -> str:
    return "anything" if kind == "*" else _one_of(kind.split(","))


def _one_of(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _escaped(text: str) -> str:
    """Escape what would end a cell or begin emphasis or a tag, and break lines by tags."""
    return re.sub(r"([|*<])", r"\\\1", text).replace("\n", "<br>")


def main() -> None:
    """Write the tables of all pages."""
    load_pack.load()
    for node in shown_nodes():
        path = FOLDER / f"{node.id}.md"
        path.write_text(page(node, path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
