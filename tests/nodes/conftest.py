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
import json
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import load_pack
import pytest
import torch
from safetensors.torch import save_file
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
    # A worker of pytest-xdist reports warnings by the module of their class, which is found in that worker alone.
    warnings.simplefilter("ignore", pack("dream_core.errors").Notice)
    return module.record


class Hidden:
    """Values of the hidden inputs; what is not given is None."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return self._values.get(name)


def in_lists(values: dict[str, Any]) -> dict[str, Any]:
    """Put each value in a list, also those that a choice shows."""
    return {name: in_lists(one) if isinstance(one, dict) else [one] for name, one in values.items()}


@pytest.fixture
def run(pack: Callable[[str], ModuleType]) -> Callable[..., tuple[Any, ...]]:
    """`run(NodeClass, name=value, ...)` executes a node in inference mode and returns its outputs.

    `hidden={"unique_id": "7"}` sets hidden inputs; `raw=True` returns the NodeOutput itself. DeepDream Video and
    Schedule get a list of each value, as from ComfyUI, and the lists of `lists={"images": [a, b]}`.
    """

    def run(
        node: Any,
        *,
        hidden: dict[str, Any] | None = None,
        raw: bool = False,
        lists: dict[str, list[Any]] | None = None,
        **inputs: Any,
    ) -> Any:
        if lists is not None or node.__name__ in ("DeepDreamVideo", "ScheduleNode"):
            inputs = {**in_lists(inputs), **(lists or {})}
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


@pytest.fixture
def networks(pack: Callable[[str], ModuleType], dis: Any) -> dict[str, Any]:
    """SqueezeNet with random weights and DIS, on sockets."""
    spec = pack("dream_core.models.registry").MODELS["squeezenet1_1"]
    torch.manual_seed(3)
    host = pack("nodes.adapters.host")
    network = pack("dream_core.models.dream_model").DreamModel(spec.build(), spec)
    return {"dream_model": host.wrap(host.Wrapped(network)), "flow_model": dis}


@pytest.fixture
def looks(
    pack: Callable[[str], ModuleType], host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, dict[str, Any]]:
    """The looks in place of the package's: name -> options. Their network is in ComfyUI's folder."""
    torch.manual_seed(3)
    network = pack("dream_core.models.registry").MODELS["squeezenet1_1"].build()
    save_file(network.state_dict(), host.folder / "models" / "deepdream" / "squeezenet1_1.safetensors")
    squeezed = {"model": "squeezenet1_1", "layers": ["features.6"], "jitter": 4, "carried_steps": 2}
    quick = {"octaves": 1, "octave_steps": 4}
    looks = {
        "embers": {**squeezed, **quick, "learning_rate": 3.0},
        "ashes": {**squeezed, **quick, "pooling": "avg", "original_colors": True},
    }
    folder = tmp_path / "looks"
    folder.mkdir()
    for name, options in looks.items():
        content = {"description": f"Like {name}.", "options": options}
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")
    module = pack("dream_core.looks")
    monkeypatch.setattr(module, "FOLDER", folder)
    monkeypatch.setattr(pack("nodes.adapters.looks"), "FIRST", "embers")
    monkeypatch.setattr(module, "FIRST", "embers")
    monkeypatch.delenv("DEEPDREAM_MODELS", raising=False)
    pack("nodes.adapters.networks")._kept.clear()
    return looks


@pytest.fixture
def swinging(pack: Callable[[str], ModuleType]) -> Tensor:
    """(6,3,64,80): shapes that move to and fro."""
    synthetic = pack("dream_core.synthetic")
    scene = synthetic.Scene(speed=2)
    there = synthetic.synthetic_clip(frames=4, height=64, width=80, seed=3, scene=scene).frames
    return torch.cat([there, there[1:3].flip(0)])


@pytest.fixture
def video(pack: Callable[[str], ModuleType], swinging: Tensor, tmp_path: Path) -> Path:
    """The frames of `swinging` as a file, ten a second."""
    settings = pack("dream_core.settings").OutputSettings(quality=0, pixel_format="yuv444p")
    path, size = tmp_path / "clip.mp4", (64, 80)
    with pack("dream_core.video").open_output(path, size=size, fps=Fraction(10), settings=settings) as output:
        for frame in swinging:
            output.write(frame)
    return path


@pytest.fixture(scope="session")
def read(pack: Callable[[str], ModuleType]) -> Callable[[Path], Tensor]:
    """`read(path)`: the frames of a video, (B,3,H,W)."""

    def read(path: Path) -> Tensor:
        settings = pack("dream_core.settings").InputSettings(size=0)
        with pack("dream_core.video").open_clip(path, settings=settings) as clip:
            return torch.stack([frame.image for frame in clip])

    return read


@pytest.fixture
def dream_video(
    pack: Callable[[str], ModuleType],
    run: Callable[..., Any],
    defaults: Callable[..., Any],
    read: Callable[[Path], Tensor],
    networks: dict[str, Any],
    swinging: Tensor,
    video: Path,
) -> Callable[..., Tensor]:
    """`dream_video("DeepDreamVideo", seamless=True)`: dreams of `swinging` or `video`, (B,3,H,W)."""
    batch, streamed = pack("nodes.video").DeepDreamVideo, pack("nodes.video_file").DeepDreamVideoFile
    quick = {
        "octave_mode": {"octave_mode": "normal", "octaves": 1, "octave_scale": 0.7},
        "octave_steps": 4,
        "carried_steps": 2,
        "jitter": 4,
    }

    def dream(name: str, **changed: Any) -> Tensor:
        node = batch if name == "DeepDreamVideo" else streamed
        values = {**defaults(node), **networks, **quick}
        if node is batch:
            (images,), *_ = run(node, **{**values, "images": swinging.movedim(1, -1), **changed})
            return images.movedim(-1, 1)
        source = pack("nodes.video_file").InputImpl.VideoFromFile(str(video))
        (dreamed,) = run(node, **{**values, "video": source, "size": 0, **changed})
        return read(Path(dreamed.get_stream_source()))

    return dream


@pytest.fixture
def dream_by_the_library(
    pack: Callable[[str], ModuleType], networks: dict[str, Any]
) -> Callable[..., Tensor]:
    """`dream_by_the_library(frames, seamless=True)`: dreams without a node, in the settings of `dream_video`."""
    core = pack("dream_core.settings")
    settings = core.DreamSettings(
        octave=core.OctaveSettings(octaves=1, octave_steps=4), ascent=core.AscentSettings(jitter=4)
    )

    def dream(frames: Tensor, **temporal: Any) -> Tensor:
        model = networks["dream_model"].model.network
        dreamer = pack("dream_core.temporal.dreamer").TemporalDreamer(
            pack("dream_core.dreaming.dream").ImageDreamer([model], settings=settings),
            pack("nodes.adapters.estimators").estimator_for(networks["flow_model"], core.FlowSettings()),
            temporal=core.TemporalSettings(carried_steps=2, **temporal),
            reliability=core.ReliabilitySettings(),
        )
        make = pack("dream_core.video").Frame
        source = [make(image, index, 1, index) for index, image in enumerate(frames.clone())]
        return torch.cat(
            [step.dream for _, step in pack("dream_core.pipeline").dream_frames(source, dreamer)]
        )

    return dream
