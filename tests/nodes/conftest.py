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
from types import ModuleType, SimpleNamespace
from typing import Any

import load_pack
import pytest
import torch
from torch import Tensor

from dream_core.synthetic import synthetic_clip


@pytest.fixture(scope="session")
def pack() -> Callable[[str], ModuleType]:
    """`pack("nodes.flow")` imports a module of the pack."""
    load_pack.load()
    return load_pack.pack


@pytest.fixture(autouse=True)
def host(pack: Callable[[str], ModuleType], tmp_path: Path) -> Any:
    """Record of what the nodes said to ComfyUI's stand-in and of what a test tells it, new for each test."""
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


@pytest.fixture(scope="session")
def nodes(pack: Callable[[str], ModuleType]) -> SimpleNamespace:
    """The nodes of flow, and the `Flow` of their sockets."""
    return SimpleNamespace(
        OpticalFlow=pack("nodes.flow").OpticalFlow,
        CameraFlow=pack("nodes.camera").CameraFlow,
        ReliabilityMask=pack("nodes.reliability").ReliabilityMask,
        FlowWarp=pack("nodes.warp").FlowWarp,
        FlowImage=pack("nodes.flow_image").FlowImage,
        TemporalBlend=pack("nodes.blend").TemporalBlend,
        Flow=pack("nodes.adapters.sockets").Flow,
    )


@pytest.fixture(scope="session")
def errors(pack: Callable[[str], ModuleType]) -> ModuleType:
    """The pack's errors."""
    return pack("dream_core.errors")


@pytest.fixture
def dis(pack: Callable[[str], ModuleType]) -> Any:
    """DIS on a socket."""
    return pack("nodes.adapters.host").wrap(pack("dream_core.motion.flow").DisNetwork())


@pytest.fixture(scope="session")
def clip() -> Callable[[int], Tensor]:
    """`clip(3)`: a moving clip of 3 frames as an IMAGE (3,48,64,3)."""

    def clip(frames: int) -> Tensor:
        images = synthetic_clip(frames=frames, height=48, width=64, seed=3).frames
        return images.movedim(1, -1).contiguous()  # BCHW -> BHWC

    return clip


@pytest.fixture(scope="session")
def planes() -> Callable[[Tensor], Tensor]:
    """`planes(image)`: (B,H,W,C) as (B,C,H,W), in that order in memory."""
    return lambda image: image.movedim(-1, 1).contiguous()


@pytest.fixture(scope="session")
def constant_flow() -> Callable[..., Tensor]:
    """`constant_flow(3, -2, count=2)`: (2,2,48,64)."""

    def constant_flow(x: float, y: float, *, count: int = 1, size: tuple[int, int] = (48, 64)) -> Tensor:
        return torch.tensor([float(x), float(y)]).view(1, 2, 1, 1).repeat(count, 1, *size)

    return constant_flow


@pytest.fixture
def moved(nodes: SimpleNamespace, run: Callable[..., Any]) -> Callable[..., Any]:
    """`moved(image, flow, warp="bilinear")`: the output of Flow Warp."""

    def moved(value: Any, flow: Tensor, **options: Any) -> Any:
        values = {"warp": "bicubic", "from_previous": False, **options}
        (output,) = run(nodes.FlowWarp, input=value, flow=nodes.Flow(flow), **values)
        return output

    return moved
