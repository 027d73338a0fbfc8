"""Finds the record of a loop over a video: the same input, settings and body have the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..adapters import host
from ..adapters.digests import Unknown, ancestry, digest, digest_of_code
from ..adapters.lasting import place_for
from ..adapters.videos import is_video
from .body import Graph, Link, LoopBody, is_link
from .carried import INITIAL
from .packing import Packer, Unsavable
from .record import LoopRecord

NOT_RECORDED = "if it is stopped it begins anew, and its video is among ComfyUI's temporary files"


def record_of(body: LoopBody, values: Mapping[Link, list[Any]], graph: Graph) -> LoopRecord | None:
    """Return the record of a loop over a video.

    Args:
        body: the loop.
        values: of the links that lead into it from outside.
        graph: the whole graph.

    Returns:
        The record; None for a loop over a batch, and where the loop cannot be recorded, which is said on the node.
    """
    frames = values[_link(body.open_inputs["frames"])] if is_link(body.open_inputs["frames"]) else []
    if not all(map(is_video, frames)) or not frames:
        return None
    try:
        _check_initial(body, values)
        sources = [_digest_of_source(values[link], graph, link) for link in body.outside]
        path, work = place_for({**_conditions(body), "outside": sources})
    except Unsavable as named:
        host.tell(f"the loop carries {named}, which cannot be saved: {NOT_RECORDED}")
        return None
    except Unknown as named:
        host.tell(f"the loop uses {named}, which may differ in every run: {NOT_RECORDED}")
        return None
    assert work
    return LoopRecord(body, path, work)


def _check_initial(body: LoopBody, values: Mapping[Link, list[Any]]) -> None:
    """Raise Unsavable if a carried value cannot be saved."""
    for name, value in body.open_inputs.items():
        if name.startswith(f"{INITIAL}."):
            for one in values[_link(value)] if is_link(value) else [value]:
                try:
                    Packer().pack(one)
                except Unsavable as kind:
                    raise Unsavable(f"{kind} ({name.removeprefix(f'{INITIAL}.')})") from None


def _digest_of_source(values: list[Any], graph: Graph, link: Link) -> Any:
    """Digest of the values of a link or, where they have none, its nodes up to there."""
    try:
        return digest(values)
    except Unknown:
        return [ancestry(graph, link[0]), link[1]]


def _conditions(body: LoopBody) -> dict[str, Any]:
    numbers = {link: number for number, link in enumerate(body.outside)}

    def named(inputs: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: ["outside", numbers[_link(value)]]
            if is_link(value) and _link(value) in numbers
            else repr(value)
            for name, value in sorted(inputs.items())
        }

    nodes = {
        node_id: (
            node["class_type"],
            named(node["inputs"]),
            repr(node.get("is_changed")),
            digest_of_code(host.class_of(node["class_type"])),
        )
        for node_id, node in body.nodes.items()
    }
    ends = [body.open_id, named(body.open_inputs), named(body.close_inputs)]
    return {"nodes": nodes, "ends": ends, "device": str(host.compute_device())}


def _link(value: Any) -> Link:
    return value[0], value[1]
