"""Loops of nodes that call functions, without a graph of ComfyUI's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import torch

Values = list[Any]
OPEN = {
    "loop": 0,
    "frame": 1,
    "previous_frame": 2,
    "previous_result": 3,
    "index": 4,
    "count": 5,
    "time": 6,
    "carried": 7,
}
FRAMES = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 2, 3, 3)


def of(output: str, node_id: str = "open") -> list[Any]:
    return [node_id, OPEN[output]]


class Fake:
    """A node that calls a function and remembers each call. A list is its outputs, a dictionary what it shows."""

    def __init__(
        self, inputs: dict[str, Any], function: Callable[..., Any], lazy: Callable[..., list[str]]
    ) -> None:
        self.name = "Fake"
        self.links = {name: tuple(value) for name, value in inputs.items()}
        self.lazy = {name for name in self.links if name.startswith("lazy")}
        self.calls: list[dict[str, Any]] = []
        self.attributes: dict[str, Any] = {}
        self._function, self._lazy = function, lazy

    async def missing(self, values: Mapping[str, Values]) -> list[str]:
        await asyncio.sleep(0)
        wanted = self._lazy(**{name: value[0] for name, value in values.items()}) if self.lazy else []
        return [name for name in wanted if name not in values]

    async def call(self, values: Mapping[str, Values]) -> tuple[list[Values], dict[str, Any]]:
        await asyncio.sleep(0)
        given = {name: value[0] for name, value in values.items()}
        self.calls.append(given)
        result = self._function(**given)
        if isinstance(result, dict):
            return [], result
        return (result, {}) if isinstance(result, list) else ([[result]], {})


class Loop:
    """A loop of fake nodes: node id -> (inputs, function)."""

    def __init__(self, pack: Any) -> None:
        self.body, self.runner = pack("nodes.loop.body"), pack("nodes.loop.runner")
        self.record, self.lasting = pack("nodes.loop.record"), pack("nodes.adapters.lasting")
        self.open_outputs = pack("nodes.loop.nodes").open_outputs()
        self.nodes: dict[str, Fake] = {}

    def __call__(
        self,
        functions: dict[str, tuple[dict[str, Any], Callable[..., Any]]],
        *,
        frames: Any = FRAMES,
        lazy: Callable[..., list[str]] = lambda **_: [],
        recorded: bool = False,
        made_with: Callable[[], dict[str, Any]] = dict,
        opened: dict[str, Any] | None = None,
        **closed: Any,
    ) -> list[Any]:
        graph = {
            "frames": {"class_type": "Load", "inputs": {}},
            "open": {
                "class_type": "DeepDreamLoopOpen",
                "inputs": {"frames": ["frames", 0], **(opened or {})},
            },
            "close": {
                "class_type": "DeepDreamLoopClose",
                "inputs": {"loop": ["open", 0], "result": ["work", 0], **closed},
            },
        }
        for node_id, (inputs, function) in functions.items():
            kind = function if isinstance(function, str) else "Save" if node_id == "look" else "Fake"
            graph[node_id] = {"class_type": kind, "inputs": inputs}
        body = self.body.collect(graph, "close", lambda kind: kind == "Save")

        def prepare(node_id: str, node: Mapping[str, Any]) -> Fake:
            self.nodes[node_id] = Fake(node["inputs"], functions[node_id][1], lazy)
            self.nodes[node_id].attributes.update(made_with())
            return self.nodes[node_id]

        async def outside(link: tuple[str, int]) -> Values:
            return [frames] if link == ("frames", 0) else [functions[link[0]][1]()]

        record = None
        if recorded:
            path, work = self.lasting.place_for({})
            record = self.record.LoopRecord(body, path, work)
        self.run = self.runner.LoopRun(body, prepare, open_outputs=self.open_outputs, record=record)
        return asyncio.run(self.run.run(outside))
