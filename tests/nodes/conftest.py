"""The nodes without ComfyUI: the pack, loaded as ComfyUI loads it, on stand-ins for ComfyUI's API and services.

    def test_a_node(pack, run, host):
        flow = pack("nodes.flow")                          # any module of the pack
        (result,) = run(flow.OpticalFlow, frames=frames)   # in inference mode, as in ComfyUI
        assert host.told == ["a warning on the node"]      # see `Record` in tests/standin/host.py

The pack has its own copy of the library: take classes to compare with, such as errors, from
`pack("dream_core.errors")`, not from `dream_core`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import load_pack
import pytest
import torch


@pytest.fixture(scope="session")
def pack() -> Callable[[str], ModuleType]:
    """`pack("nodes.flow")` imports a module of the pack."""
    load_pack.load()
    return load_pack.pack


@pytest.fixture(autouse=True)
def host(pack: Callable[[str], ModuleType], tmp_path: Path) -> Any:
    """What the nodes said to ComfyUI's stand-in, and what a test tells it: its `Record`, new for each test."""
    module = pack("nodes.adapters.host")
    module.record = module.Record(folder=tmp_path)
    module.register_folders()
    return module.record


class Hidden:
    """Values of the hidden inputs; what is not given is None."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return self._values.get(name)


@pytest.fixture
def run(pack: Callable[[str], ModuleType]) -> Callable[..., tuple[Any, ...]]:
    """`run(NodeClass, name=value, ...)` executes a node in inference mode and returns its outputs.

    `hidden={"unique_id": "7"}` sets hidden inputs; `raw=True` returns the NodeOutput itself.
    """

    def run(node: Any, *, hidden: dict[str, Any] | None = None, raw: bool = False, **inputs: Any) -> Any:
        clone = type(node.__name__, (node,), {"hidden": Hidden(hidden or {})})
        with torch.inference_mode():
            output = clone.execute(**inputs)
            if inspect.iscoroutine(output):
                output = asyncio.run(output)
        return output if raw else output.args

    return run


@pytest.fixture(scope="session")
def defaults() -> Callable[[Any], dict[str, Any]]:
    """`defaults(NodeClass)`: the widgets' values in a graph that names nothing optional."""

    def defaults(node: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for one in node.define_schema().inputs:
            if one.io_type == "COMFY_DYNAMICCOMBO_V3":
                first = one.options[0]
                values[one.id] = {one.id: first.key, **{inner.id: inner.default for inner in first.inputs}}
            elif not one.optional and hasattr(one, "default"):
                values[one.id] = one.default
        return values

    return defaults
