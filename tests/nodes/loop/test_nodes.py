"""Temporal Loop Open and Close."""

from __future__ import annotations

import asyncio
import inspect
import math
from typing import Any

import pytest
import torch

OPEN, CLOSE, RUNNER = "DeepDreamLoopOpen", "DeepDreamLoopClose", "DeepDreamLoopRunner"


@pytest.fixture
def nodes(pack: Any) -> Any:
    return pack("nodes.loop.nodes")


@pytest.fixture
def graph(host: Any) -> dict[str, Any]:
    """frames -> open -> work -> close, and an output node `look` after `work`."""

    class Plain:
        OUTPUT_NODE = False

    class Save:
        OUTPUT_NODE = True

    host.classes = dict.fromkeys(("Load", "Work", OPEN, CLOSE), Plain) | {"Save": Save}
    host.graph = {
        "frames": {"class_type": "Load", "inputs": {}},
        "open": {"class_type": OPEN, "inputs": {"frames": ["frames", 0]}},
        "work": {"class_type": "Work", "inputs": {"image": ["open", 1], "amount": 1}},
        "look": {"class_type": "Save", "inputs": {"images": ["work", 0]}},
        "close": {"class_type": CLOSE, "inputs": {"loop": ["open", 0], "result": ["work", 0]}},
    }
    found: dict[str, Any] = host.graph
    return found


def hidden(graph: dict[str, Any], node_id: str) -> dict[str, Any]:
    return {"dynprompt": graph, "unique_id": node_id}


def fingerprint(node: Any, node_id: str) -> Any:
    clone = type(node.__name__, (node,), {"hidden": type("Hidden", (), {"unique_id": node_id})})
    said = clone.fingerprint_inputs()
    return asyncio.run(said) if inspect.isawaitable(said) else said


def test_the_outputs_of_open_are_in_the_order_that_workflows_hold(nodes: Any) -> None:
    first = ["loop", "frame", "previous_frame", "previous_result", "index", "count", "time"]
    assert nodes.open_outputs() == first + [f"carried_{number}" for number in range(100)]


def test_open_blocks_the_nodes_that_follow_it(pack: Any, nodes: Any, run: Any, graph: dict[str, Any]) -> None:
    outputs = run(nodes.TemporalLoopOpen, frames=torch.zeros(1, 2, 3, 3), hidden=hidden(graph, "open"))
    assert len(outputs) == len(nodes.open_outputs())
    assert all(map(pack("nodes.adapters.host").is_blocker, outputs))


def test_an_open_without_a_close_is_an_error(pack: Any, nodes: Any, run: Any, graph: dict[str, Any]) -> None:
    del graph["close"]
    with pytest.raises(
        pack("nodes.loop.body").LoopError, match="no Temporal Loop Close is tied to this loop"
    ):
        run(nodes.TemporalLoopOpen, frames=torch.zeros(1, 2, 3, 3), hidden=hidden(graph, "open"))


def test_close_expands_into_a_runner_with_the_body_and_its_links_from_outside(
    nodes: Any, run: Any, graph: dict[str, Any]
) -> None:
    output = run(
        nodes.TemporalLoopClose,
        loop=["open", 0],
        result=["work", 0],
        hidden=hidden(graph, "close"),
        raw=True,
    )
    (runner, made), *others = output.expand.items()
    assert not others
    assert made["class_type"] == RUNNER
    body = made["inputs"].pop("body")
    assert set(body.nodes) == {"work", "look"}
    assert made["inputs"] == {"outside_0": ["frames", 0]}
    assert output.args[:2] == ([runner, 0], [runner, 1])
    assert len(output.args) == 1 + 100


def test_open_runs_again_if_a_close_was_added_or_removed(nodes: Any, graph: dict[str, Any]) -> None:
    before = fingerprint(nodes.TemporalLoopOpen, "open")
    del graph["close"]
    assert fingerprint(nodes.TemporalLoopOpen, "open") != before


def test_close_runs_again_if_an_output_node_inside_or_its_source_changed(
    nodes: Any, graph: dict[str, Any]
) -> None:
    before = fingerprint(nodes.TemporalLoopClose, "close")
    assert fingerprint(nodes.TemporalLoopClose, "close") == before
    graph["work"]["inputs"]["amount"] = 2
    changed = fingerprint(nodes.TemporalLoopClose, "close")
    assert changed != before
    graph["look"]["inputs"]["prefix"] = "a"
    assert fingerprint(nodes.TemporalLoopClose, "close") not in (before, changed)


def test_close_runs_again_if_a_file_that_only_an_output_node_inside_uses_changed(
    nodes: Any, host: Any, graph: dict[str, Any]
) -> None:
    class LoadImage:
        OUTPUT_NODE = False
        INPUT_TYPES = staticmethod(lambda: {"required": {"image": ("COMBO",)}, "hidden": {"me": "UNIQUE_ID"}})
        content: Any = None
        IS_CHANGED = classmethod(lambda cls, image, me: cls.content or [image, me])

    host.classes["LoadImage"] = LoadImage
    graph["brush"] = {"class_type": "LoadImage", "inputs": {"image": "m.png", "upload": "image"}}
    graph["look"]["inputs"]["brush"] = ["brush", 0]
    before = fingerprint(nodes.TemporalLoopClose, "close")
    assert fingerprint(nodes.TemporalLoopClose, "close") == before
    LoadImage.content = "two"
    after = fingerprint(nodes.TemporalLoopClose, "close")
    assert after != before
    LoadImage.content = math.nan  # anew at every queue
    assert fingerprint(nodes.TemporalLoopClose, "close") != fingerprint(nodes.TemporalLoopClose, "close")


def test_the_fingerprint_leaves_a_broken_loop_to_execute(nodes: Any, graph: dict[str, Any]) -> None:
    graph["close"]["inputs"]["loop"] = ["work", 0]
    assert fingerprint(nodes.TemporalLoopClose, "close") is None


def test_an_error_inside_is_shown_at_the_node_that_failed(
    pack: Any, nodes: Any, run: Any, host: Any, graph: dict[str, Any]
) -> None:
    class Work:
        FUNCTION = "work"
        INPUT_TYPES = staticmethod(lambda: {"required": {"image": ("IMAGE",), "amount": ("INT",)}})

        def work(self, image: Any, amount: int) -> Any:
            raise ValueError("no more")

    host.classes["Work"] = Work
    body = pack("nodes.loop.body").collect(graph, "close", lambda kind: False)
    with pytest.raises(pack("nodes.loop.body").LoopError, match=r"^ValueError: no more"):
        run(
            nodes.TemporalLoopRunner,
            body=[body],
            outside_0=[torch.zeros(2, 2, 3, 3)],
            hidden=hidden(graph, "close.runner"),
        )
    assert host.errors_at == ["work"]
