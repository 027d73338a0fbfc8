"""Stands in for nodes/adapters/host.py without ComfyUI: the same names, on the CPU, and a record of all said."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

DREAM_FOLDER = "deepdream"
FLOW_FOLDER = "optical_flow"
LASTING_FOLDER = ".deepdream"
WEIGHT_SUFFIXES = {".safetensors", ".pth", ".pt"}
PREVIEW_SIDE = 512
PREVIEW_SECONDS = 0.2
MESSAGE_SECONDS = 0.1


class Interrupted(BaseException):
    """Stands for ComfyUI's InterruptProcessingException, which is not an Exception either."""


class Block:
    """Stands for ComfyUI's ExecutionBlocker."""


@dataclass
class Record:
    """Values that a test sets and sees.

    Args:
        folder: holds models/, temp/, input/ and output/.
        interrupted: whether Cancel was pressed.
        cancel_at: the number of the progress update at which Cancel is pressed; 0 never.
        classes: class type -> node class, V1 or V3: the nodes that a graph may name.
        graph: the whole graph of the prompt at work.
        prompt: its id.
        wired: outputs of the running node to which something is connected.
        files_behind: input of the running node -> files of the videos that its images come from.
        errors_at: ids of the nodes at which the page is to show an error.
        told, progress, shown, started, finished: what the nodes said, in order.
        freed: how often memory was freed.
        others: whether other models hold memory; freeing evicts them.
        taken: the memory that each `load` asked for.
    """

    folder: Path = Path("unset")
    interrupted: bool = False
    cancel_at: int = 0
    classes: dict[str, Any] = field(default_factory=dict)
    graph: dict[str, dict[str, Any]] = field(default_factory=dict)
    prompt: str = ""
    wired: set[int] = field(default_factory=set)
    files_behind: dict[str, list[Path]] = field(default_factory=dict)
    errors_at: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    progress: list[tuple[int, int, Tensor | None]] = field(default_factory=list)
    shown: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)
    freed: int = 0
    others: bool = False
    taken: list[float] = field(default_factory=list)


record = Record()


# Folders


def register_folders() -> None:
    for name in (DREAM_FOLDER, FLOW_FOLDER):
        (record.folder / "models" / name).mkdir(parents=True, exist_ok=True)


def weight_files(folder: str) -> list[str]:
    files = (record.folder / "models" / folder).rglob("*")
    return sorted(file.name for file in files if file.suffix in WEIGHT_SUFFIXES)


def weight_path(folder: str, name: str) -> Path:
    path = record.folder / "models" / folder / name
    if not path.is_file():
        raise FileNotFoundError(name)
    return path


def model_folders(folder: str) -> list[Path]:
    path = record.folder / "models" / folder
    return [path] if path.is_dir() else []


def download_folder(folder: str) -> Path:
    return record.folder / "models" / folder


def temporary_file(suffix: str) -> Path:
    folder = record.folder / "temp"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"deepdream_{uuid.uuid4().hex[:12]}{suffix}"


def temporary_folder(name: str) -> Path:
    return record.folder / "temp" / name


def output_folder() -> Path:
    return record.folder / "output"


def input_folder() -> Path:
    return record.folder / "input"


def lasting_folder() -> Path:
    return record.folder / "output" / LASTING_FOLDER


# Devices and memory


def compute_device() -> torch.device:
    return torch.device("cpu")


class Wrapped(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class Patcher:
    """Stands for ComfyUI's ModelPatcher, which sets attributes on the network too."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.load_device = self.offload_device = torch.device("cpu")
        model.device = self.load_device


def wrap(network: nn.Module) -> Any:
    return Patcher(network)


def load(patcher: Any, *, beside: Sequence[Any] = (), memory: float = 0) -> nn.Module:
    record.taken.append(memory)
    network: nn.Module = patcher.model
    return network


def total_memory(device: torch.device) -> float | None:
    return None


def free_memory(*own: Any) -> bool:
    record.freed += 1
    others, record.others = record.others, False
    return others


# Images and texts


class Vision(NamedTuple):
    patcher: Any
    width: int
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def vision_of(clip_vision: Any) -> Vision | None:
    return clip_vision.vision  # type: ignore[no-any-return]


def embed_images(vision: Vision, images: Tensor) -> Tensor:
    return vision.patcher.model.network(images)  # type: ignore[no-any-return]


def text_encoders(clip: Any) -> dict[str, int]:
    return {name: vectors[""].shape[1] for name, vectors in clip.encoders.items()}


def embed_text(clip: Any, encoder: str, text: str) -> Tensor:
    return clip.encoders[encoder][text]  # type: ignore[no-any-return]


# Speaking with the person


def tell(message: str) -> None:
    if message not in record.told:
        record.told.append(message)


class Progress:
    def __init__(self, total: int = 1, *, node_id: str | None = None) -> None:
        self._node_id = node_id

    def update(self, done: int, total: int, image: Tensor | None = None) -> None:
        record.interrupted |= 0 < record.cancel_at == len(record.progress) + 1
        check_interrupted()
        record.progress.append((done, total, image))


def check_interrupted() -> None:
    if record.interrupted:
        raise Interrupted


# Running nodes, for the loop


def blocker(reason: str | None = None) -> Any:
    return Block()


def is_blocker(value: Any) -> bool:
    return isinstance(value, Block)


def is_output_node(class_type: str) -> bool:
    node_class = record.classes[class_type]
    return (
        _schema(node_class).is_output_node
        if _is_v3(node_class)
        else getattr(node_class, "OUTPUT_NODE", False)
    )


def class_of(class_type: str) -> type:
    found: type = record.classes[class_type]
    return found


def graph_of(dynprompt: Any) -> dict[str, dict[str, Any]]:
    return dict(dynprompt)


def running_graph() -> dict[str, dict[str, Any]]:
    return record.graph


def wired_outputs() -> set[int]:
    return record.wired


def video_files_behind(name: str) -> list[Path]:
    return record.files_behind.get(name, [])


def running_prompt() -> str:
    return record.prompt


class HostedNode:
    """Calls a node once for each set of its values; a shorter list repeats its last, as in ComfyUI."""

    def __init__(self, node_id: str, node: Mapping[str, Any], hidden: Any) -> None:
        self.node_id = node_id
        self._class = record.classes[node["class_type"]]
        self.name = _schema(self._class).display_name if _is_v3(self._class) else node["class_type"]
        self.is_output = is_output_node(node["class_type"])
        self.links = {name: tuple(value) for name, value in node["inputs"].items() if is_graph_link(value)}
        self.lazy = {name for name in self.links if self._options(name).get("lazy")}
        self._widgets = {name: [value] for name, value in node["inputs"].items() if name not in self.links}
        self._instance = self._class()

    def _options(self, name: str) -> dict[str, Any]:
        if _is_v3(self._class):
            inputs = [one for outer in _schema(self._class).inputs for one in outer.get_all()]
            return {"lazy": next((one.lazy for one in inputs if one.id == name), None)}
        declared = {
            name: spec for group in self._class.INPUT_TYPES().values() for name, spec in group.items()
        }
        return declared[name][1] if len(declared.get(name, ())) > 1 else {}

    async def missing(self, values: Mapping[str, list[Any]]) -> list[str]:
        if not self.lazy or not hasattr(self._instance, "check_lazy_status"):
            return []
        absent = {name: [None] for name in self.lazy if name not in values}
        answers = await self._map("check_lazy_status", {**absent, **values})
        wanted = {name for answer in answers for name in answer or []}
        return [name for name in self.links if name in wanted and name not in values]

    async def call(self, values: Mapping[str, list[Any]]) -> tuple[list[list[Any]], dict[str, list[Any]]]:
        function = "execute" if _is_v3(self._class) else self._class.FUNCTION
        results = await self._map(function, values)
        outputs: list[tuple[Any, ...]] = []
        shown: dict[str, list[Any]] = {}
        for result in results:
            ui, expand = getattr(result, "ui", None), getattr(result, "expand", None)
            if expand:
                raise RuntimeError("it expands into other nodes")
            for name, value in (ui or {}).items():
                shown.setdefault(name, []).extend(value)
            outputs.append(tuple(getattr(result, "args", result)))
        return [list(column) for column in zip(*outputs, strict=True)], shown

    @property
    def attributes(self) -> dict[str, Any]:
        return getattr(self._instance, "__dict__", {})

    async def _map(self, function: str, values: Mapping[str, list[Any]]) -> list[Any]:
        lists = {**self._widgets, **values}
        length = max((len(one) for one in lists.values()), default=1)
        results = []
        for index in range(length):
            result = getattr(self._instance, function)(
                **{name: one[min(index, len(one) - 1)] for name, one in lists.items()}
            )
            results.append(await result if asyncio.iscoroutine(result) else result)
        return results


def _is_v3(node_class: Any) -> bool:
    return hasattr(node_class, "define_schema")


def _schema(node_class: Any) -> Any:
    return node_class.define_schema()


async def show_error_at(node_id: str, dynprompt: Any, runner_id: str) -> None:
    record.errors_at.append(node_id)


def name_errors(base: type[Exception]) -> None:
    """Do nothing: only ComfyUI shows the names."""


def is_graph_link(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
    )


def out_of_memory(message: str) -> BaseException:
    return torch.OutOfMemoryError(message)


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError)


def start(node_id: str) -> None:
    record.started.append(node_id)


def finish(node_id: str) -> None:
    record.finished.append(node_id)


def show(node_id: str, shown: Mapping[str, Any]) -> None:
    record.shown.append((node_id, dict(shown)))
