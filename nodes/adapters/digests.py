"""Digests of what a node gets, by which the same work is known again after ComfyUI was started anew."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import torch
from comfy_api.latest import InputImpl, io
from torch import Tensor, nn

from ...dream_core.models.dream_model import DreamModel
from ...dream_core.unfinished import digest_of
from . import host
from .clips import ClipPair
from .working import PACK

CODE = ("nodes", "dream_core")
"""Folders of this pack's code."""


class Unknown(Exception):  # noqa: N818, it is no error
    """Nothing tells whether a value is the same as in an earlier run; the message names it."""


def digest(value: Any) -> str:
    """Digest of a value: numbers, texts, tensors, VIDEO, settings, and lists and dictionaries of them.

    Raises:
        Unknown: it is or holds something else.
    """
    found = sha256()
    _add(found, value)
    return found.hexdigest()


def digest_of_network(network: Any) -> str:
    """Digest of a network with its weights.

    Args:
        network: the network, or ComfyUI's ModelPatcher around it.
    """
    network = getattr(network, "model", network)
    network = network.network if isinstance(network, host.Wrapped) else network
    found = sha256(type(network).__name__.encode())
    if isinstance(network, DreamModel):
        kind = (network.spec.name, network.preprocessing, network.pooling, network.dtype, network.exact)
        found.update(repr(kind).encode())
    if isinstance(network, nn.Module):
        _add(found, network.state_dict())
    return found.hexdigest()


def ancestry(graph: Mapping[str, Mapping[str, Any]], node_id: str) -> list[Any]:
    """Describe a node with all that it depends on, without ids: for values that have no digest, such as a MODEL.

    Args:
        graph: the whole graph, after ComfyUI has noted what IS_CHANGED of its nodes returned.
        node_id: the node.

    Raises:
        Unknown: one of them runs anew at every queue.
    """
    numbers: dict[str, int] = {}
    rows: list[Any] = []

    def number_of(one: str) -> int:
        if one not in numbers:
            numbers[one] = len(numbers)
            node = graph[one]
            changed = node.get("is_changed")
            if is_never_same(changed):
                raise Unknown(node["class_type"])
            inputs = {
                name: ["link", number_of(value[0]), value[1]]
                if host.is_graph_link(value) and value[0] in graph
                else ["value", repr(value)]
                for name, value in sorted(node["inputs"].items())
            }
            rows.append([numbers[one], node["class_type"], repr(changed), inputs])
        return numbers[one]

    number_of(node_id)
    return rows


def is_never_same(changed: Any) -> bool:
    """Return True if this, from IS_CHANGED, is NaN: the node is to run at every queue."""
    values = changed if isinstance(changed, list) else [changed]
    return any(isinstance(value, float) and value != value for value in values)


async def change_of(graph: Mapping[str, Mapping[str, Any]], node_id: str) -> Any:
    """Return what IS_CHANGED of a node says, asked as ComfyUI asks it: with its constants alone.

    ComfyUI notes the answer in the graph, but a node may need those of others before they are there.

    Returns:
        The answer; None if the node has no IS_CHANGED, or it fails, which ComfyUI says when it asks itself.
    """
    inputs = {
        name: None if host.is_graph_link(value) else value for name, value in graph[node_id]["inputs"].items()
    }
    kind: Any = host.class_of(graph[node_id]["class_type"])
    with suppress(Exception):  # code of any pack
        if issubclass(kind, io.ComfyNode):
            kind = kind.PREPARE_CLASS_CLONE({"hidden_inputs": {io.Hidden.unique_id: node_id}})
            answer = kind.fingerprint_inputs(**inputs)
        else:
            declared = kind.INPUT_TYPES()
            known = {**declared.get("required", {}), **declared.get("optional", {})}
            inputs = {name: value for name, value in inputs.items() if name in known}
            for name, what in declared.get("hidden", {}).items():
                inputs[name] = {"UNIQUE_ID": node_id, "PROMPT": {}}.get(what)
            answer = kind.IS_CHANGED(**inputs)
        return await answer if inspect.isawaitable(answer) else answer
    return None


def digest_of_code(node: type) -> str:
    """Digest of the file that defines a node; of a node of this pack, of the whole pack."""
    try:
        file = Path(inspect.getfile(node))
    except (TypeError, OSError):
        return ""
    own = any(PACK / folder in file.parents for folder in CODE)
    return _digest_of_pack() if own else _digest_of_file(file)


def key_of(conditions: Mapping[str, Any]) -> str:
    """Name for what is made under these conditions, values that JSON can hold: 32 digits."""
    return sha256(json.dumps(conditions, sort_keys=True, default=str).encode()).hexdigest()[:32]


@cache
def _digest_of_pack() -> str:
    found = sha256()
    for folder in CODE:
        for file in sorted((PACK / folder).rglob("*.py")):
            found.update(file.read_bytes())
    return found.hexdigest()


@cache
def _digest_of_file(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest() if file.is_file() else ""


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...


def _add(found: _Hash, value: Any) -> None:
    found.update(f"{type(value).__name__} ".encode())
    if isinstance(value, InputImpl.VideoFromFile | InputImpl.VideoFromComponents):
        _add_video(found, value)
    elif isinstance(value, Tensor):
        found.update(f"{value.dtype} {tuple(value.shape)} ".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, ClipPair):
        _add(found, [digest_of_network(value.vision.patcher), value.known])
    elif isinstance(value, Mapping):
        found.update(f"{len(value)} ".encode())
        for name in sorted(value, key=str):
            _add(found, name)
            _add(found, value[name])
    elif isinstance(value, list | tuple):
        found.update(f"{len(value)} ".encode())
        for one in value:
            _add(found, one)
    elif is_dataclass(value) and not isinstance(value, type):
        _add(found, vars(value))
    elif value is None or isinstance(value, bool | int | float | str | bytes | Path):
        found.update(f"{value!r} ".encode(errors="surrogateescape"))
    else:
        raise Unknown(type(value).__name__)


def _add_video(found: _Hash, video: Any) -> None:
    _add(found, video.get_active_trim_window())
    if isinstance(video, InputImpl.VideoFromComponents):
        components = video.get_components()
        _add(found, [components.images, str(components.frame_rate), components.audio])
        return
    source = video.get_stream_source()
    try:
        _add(found, source.getvalue() if isinstance(source, BytesIO) else _digest_of_clip(Path(source)))
    except OSError as error:  # whoever opens it says so
        raise Unknown(str(source)) from error


def _digest_of_clip(path: Path) -> list[Any]:
    """Digest of a video file: of its size, of samples of its bytes, and of its date.

    A clip rendered again may have the same size and the same samples. The date of what nodes made says nothing: it
    is made again after a start, or touched where it is asked for again.
    """
    made = any(folder in path.parents for folder in (host.lasting_folder(), host.temporary_folder("")))
    return [digest_of(path), None if made else path.stat().st_mtime_ns]
