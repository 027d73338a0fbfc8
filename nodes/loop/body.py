"""Finds the body of a loop: the nodes between an Open and its Close."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ...dream_core.errors import DeepDreamError

OPEN = "DeepDreamLoopOpen"
CLOSE = "DeepDreamLoopClose"

Graph: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Node id -> {"class_type", "inputs"}, as ComfyUI's API format has it."""

Link: TypeAlias = tuple[str, int]
"""The id of a node and the index of one of its outputs."""


class LoopError(DeepDreamError):
    """A loop is connected in a way that cannot run, or a node in it failed."""


@dataclass(frozen=True)
class LoopBody:
    """The part of a graph that a loop repeats.

    Args:
        open_id, close_id: the loop's two ends.
        open_inputs, close_inputs: their inputs, links and constants.
        nodes: the needed nodes in between, by id, with those of inner loops; each comes after its sources.
        outputs: ids of the output nodes among them, such as Preview Image, which run although nothing leads from
            them to Close; without those of inner loops.
        inner: the inner loops, by the id of their Close.
        outside: the links that lead into the body, or to Open, from outside, in a fixed order.
    """

    open_id: str
    close_id: str
    open_inputs: Mapping[str, Any]
    close_inputs: Mapping[str, Any]
    nodes: dict[str, Mapping[str, Any]]
    outputs: tuple[str, ...]
    inner: dict[str, LoopBody] = field(default_factory=dict)
    outside: tuple[Link, ...] = ()

    def own(self) -> dict[str, Mapping[str, Any]]:
        """Return the nodes that this loop calls itself, without inner loops and their nodes."""
        hidden = {node_id for loop in self.inner.values() for node_id in (*loop.nodes, loop.open_id)}
        return {i: node for i, node in self.nodes.items() if i not in hidden and i not in self.inner}


def is_link(value: Any) -> bool:
    """Return True if an input is a link [node id, output]."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int


def links_of(node: Mapping[str, Any]) -> dict[str, Link]:
    """Return the links among the inputs of a node: name -> link."""
    return {name: (value[0], value[1]) for name, value in node["inputs"].items() if is_link(value)}


def title(node: Mapping[str, Any], node_id: str) -> str:
    """Name a node in messages: its title on the page or else its class, and its id."""
    name = node.get("_meta", {}).get("title") or node["class_type"]
    return f"'{name}' (node {node_id})"


def collect(graph: Graph, close_id: str, is_output: Callable[[str], bool]) -> LoopBody:
    """Find the body of the loop that ends in a Close.

    Args:
        graph: all nodes.
        close_id: the Close.
        is_output: tells classes of output nodes.

    Raises:
        LoopError: the Close is not connected to an Open, or a node outside of the loop uses values from inside.
    """
    return _collect(graph, _consumers(graph), close_id, is_output)


def watched(graph: Graph, close_id: str, is_output: Callable[[str], bool]) -> dict[str, Mapping[str, Any]]:
    """Find the output nodes in a loop and all nodes that they depend on.

    They need not lead to Close, so ComfyUI itself would not run the loop again when one of them changes.

    Args:
        graph, close_id, is_output: see `collect`.

    Returns:
        Node id -> node, sorted.

    Raises:
        LoopError: see `collect`.
    """
    outputs = collect(graph, close_id, is_output).outputs
    needed = _reach_all(outputs, lambda node_id: _sources(graph, node_id))
    return {node_id: graph[node_id] for node_id in sorted(needed)}


def closes_of(graph: Graph, open_id: str) -> list[str]:
    """Return the ids of the Closes that are connected to an Open; a working loop has one."""
    return sorted(
        node_id
        for node_id, node in graph.items()
        if node["class_type"] == CLOSE and links_of(node).get("loop", ("", 0))[0] == open_id
    )


def _collect(
    graph: Graph, consumers: Mapping[str, set[str]], close_id: str, is_output: Callable[[str], bool]
) -> LoopBody:
    open_id = _open_of(graph, close_id)
    inside = _reach(open_id, consumers.__getitem__, stop=close_id) - {open_id, close_id}
    after = _reach(close_id, consumers.__getitem__)
    roots = [node_id for node_id in sorted(inside) if is_output(graph[node_id]["class_type"])]
    for node_id in roots:
        if node_id in after:
            raise LoopError(
                f"{title(graph[node_id], node_id)} uses values from inside of the loop together with its result: "
                f"values leave a loop through {title(graph[close_id], close_id)} only; carry them there"
            )
    ends = {source for source, _ in links_of(graph[close_id]).values()}
    needed = _reach_all([*ends, *roots], lambda node_id: _sources(graph, node_id)) & inside
    closed = {
        node_id: _collect(graph, consumers, node_id, is_output)
        for node_id in sorted(needed)
        if graph[node_id]["class_type"] == CLOSE
    }
    deeper = {node_id for loop in closed.values() for node_id in loop.nodes}
    inner = {node_id: loop for node_id, loop in closed.items() if node_id not in deeper}
    for loop in inner.values():
        needed |= set(loop.nodes) | {loop.open_id}
    hidden = {node_id for loop in inner.values() for node_id in (*loop.nodes, loop.open_id)}
    _check_inner(graph, sorted(needed - hidden), inner)
    nodes = {node_id: graph[node_id] for node_id in _in_order(graph, needed)}
    outside = [
        link
        for node_id in (open_id, *nodes, close_id)
        for link in links_of(graph[node_id]).values()
        if link[0] not in nodes and link[0] != open_id
    ]
    return LoopBody(
        open_id,
        close_id,
        graph[open_id]["inputs"],
        graph[close_id]["inputs"],
        nodes,
        tuple(node_id for node_id in roots if node_id not in hidden),
        inner,
        tuple(dict.fromkeys(outside)),
    )


def _open_of(graph: Graph, close_id: str) -> str:
    link = links_of(graph[close_id]).get("loop")
    if link is None or graph.get(link[0], {}).get("class_type") != OPEN:
        raise LoopError(
            f"{title(graph[close_id], close_id)} is not tied to a Temporal Loop Open: connect the two 'loop' "
            "sockets directly; to run the nodes in between on the whole batch, bypass both ends"
        )
    closes = closes_of(graph, link[0])
    if len(closes) > 1:
        raise LoopError(
            f"{title(graph[link[0]], link[0])} is closed by {' and '.join(title(graph[i], i) for i in closes)}: "
            "a loop has one Close; carry further values there, or give each Close an Open of its own"
        )
    return link[0]


def _check_inner(graph: Graph, visible: Iterable[str], inner: Mapping[str, LoopBody]) -> None:
    """Raise a LoopError if a node outside of an inner loop uses values from inside of it."""
    owner = {node_id: loop for loop in inner.values() for node_id in (loop.open_id, *loop.nodes)}
    for node_id in visible:
        for source in sorted(_sources(graph, node_id) & owner.keys()):
            close_id = owner[source].close_id
            if close_id != node_id:
                raise LoopError(
                    f"{title(graph[node_id], node_id)} uses {title(graph[source], source)}, which is inside of a "
                    f"loop: values leave it through {title(graph[close_id], close_id)} only"
                )


def _consumers(graph: Graph) -> dict[str, set[str]]:
    consumers: dict[str, set[str]] = {node_id: set() for node_id in graph}
    for node_id in graph:
        for source in _sources(graph, node_id):
            consumers[source].add(node_id)
    return consumers


def _sources(graph: Graph, node_id: str) -> set[str]:
    return {source for source, _ in links_of(graph[node_id]).values() if source in graph}


def _reach(start: str, following: Callable[[str], Iterable[str]], stop: str | None = None) -> set[str]:
    """Return all nodes that can be reached from one, including itself, without going on from `stop`."""
    return _reach_all([start], following, stop)


def _reach_all(
    starts: Iterable[str], following: Callable[[str], Iterable[str]], stop: str | None = None
) -> set[str]:
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        node_id = waiting.pop()
        if node_id in seen:
            continue
        seen.add(node_id)
        if node_id != stop:
            waiting.extend(following(node_id))
    return seen


def _in_order(graph: Graph, needed: set[str]) -> list[str]:
    """Sort nodes, each after its sources; the same graph gives the same order."""
    order: dict[str, None] = {}
    waiting = [(node_id, False) for node_id in sorted(needed, reverse=True)]
    while waiting:
        node_id, sources_done = waiting.pop()
        if node_id in order:
            continue
        if sources_done:
            order[node_id] = None
            continue
        waiting.append((node_id, True))
        waiting.extend((source, False) for source in sorted(_sources(graph, node_id) & needed, reverse=True))
    return list(order)
