"""ComfyUI's services, imported only here: devices, model folders, progress, preview, Cancel, running a node."""

from __future__ import annotations

import asyncio
import gc
import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import comfy.model_management as management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import execution
import folder_paths
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker, is_link
from comfy_execution.progress import get_progress_state
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer
from torch import Tensor, nn

import nodes as core_nodes

from ...dream_core.device import is_out_of_memory as is_out_of_memory_error
from ...dream_core.image import antialias, scaled_size, size_of
from .throttle import Throttle

DREAM_FOLDER = "deepdream"
FLOW_FOLDER = "optical_flow"
LASTING_FOLDER = ".deepdream"
WEIGHT_SUFFIXES = {".safetensors", ".pth", ".pt"}

PREVIEW_SIDE = 512
PREVIEW_SECONDS = 0.2
MESSAGE_SECONDS = 0.1

log = logging.getLogger("deepdream")


# Folders


def register_folders() -> None:
    """Make models/deepdream a model folder; ComfyUI itself has models/optical_flow."""
    folder_paths.add_model_folder_path(DREAM_FOLDER, str(Path(folder_paths.models_dir) / DREAM_FOLDER))
    folder_paths.folder_names_and_paths[DREAM_FOLDER][1].update(WEIGHT_SUFFIXES)


def weight_files(folder: str) -> list[str]:
    """List the names of the weight files in the model folders of a kind."""
    return [name for name in folder_paths.get_filename_list(folder) if Path(name).suffix in WEIGHT_SUFFIXES]


def weight_path(folder: str, name: str) -> Path:
    """Return the path of a weight file."""
    return Path(folder_paths.get_full_path_or_raise(folder, name))


def model_folders(folder: str) -> list[Path]:
    """List the existing folders of a kind."""
    return [path for path in map(Path, folder_paths.get_folder_paths(folder)) if path.is_dir()]


def download_folder(folder: str) -> Path:
    """Return the folder for downloads of a kind."""
    return Path(folder_paths.get_folder_paths(folder)[0])


def temporary_file(suffix: str) -> Path:
    """Return an unused path in ComfyUI's folder of temporary files, which is emptied when the server starts.

    The folder is made if it is missing; the file is not created.

    Args:
        suffix: of the file's name, with its dot.
    """
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"deepdream_{uuid.uuid4().hex[:12]}{suffix}"


def output_folder() -> Path:
    """Return ComfyUI's folder of outputs."""
    return Path(folder_paths.get_output_directory())


def input_folder() -> Path:
    """Return ComfyUI's folder of inputs."""
    return Path(folder_paths.get_input_directory())


def temporary_folder(name: str) -> Path:
    """Return a folder in ComfyUI's folder of temporary files. It is not created."""
    return Path(folder_paths.get_temp_directory()) / name


def lasting_folder() -> Path:
    """Return the pack's own folder in ComfyUI's folder of outputs, which outlasts the server.

    It is hidden, so that neither ComfyUI nor galleries list what is in it. It is not created.
    """
    return Path(folder_paths.get_output_directory()) / LASTING_FOLDER


# Devices and memory


def compute_device() -> torch.device:
    """Return the device that ComfyUI computes on."""
    device: torch.device = management.get_torch_device()
    return device


def total_memory(device: torch.device) -> float | None:
    """Return the bytes of a GPU, whose models ComfyUI evicts where others need memory; None for a CPU."""
    return None if device.type == "cpu" else float(management.get_total_memory(device))


class Wrapped(nn.Module):
    """Wrapper of a network on which ComfyUI's model manager can set attributes such as `device`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


def wrap(network: nn.Module) -> Any:
    """Wrap a network in a ModelPatcher, so that ComfyUI's model manager moves and evicts it."""
    return comfy.model_patcher.ModelPatcher(
        network, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )


def load(patcher: Any, *, beside: Sequence[Any] = (), memory: float = 0) -> nn.Module:
    """Load the network of a ModelPatcher onto the compute device, ready for gradients.

    A network that is there costs little, so that it can be loaded again whenever ComfyUI may have evicted it.

    Args:
        patcher: from `wrap`.
        beside: ModelPatchers of other networks to load; one that is not named may be evicted.
        memory: bytes needed in addition to the weights; other models are evicted for them.
    """
    patchers = [patcher, *beside]
    if memory or not all(map(_is_loaded, patchers)):
        with torch.inference_mode(False):
            management.load_models_gpu(patchers, memory_required=memory, force_full_load=True)
            for one in patchers:
                if not _is_loaded(
                    one
                ):  # with --novram ComfyUI moves no weights: its own layers do, one by one
                    one.model.to(one.load_device)
                    _undo_inference(one.model)
    network: nn.Module = patcher.model
    return network


def _is_loaded(patcher: Any) -> bool:
    """Return whether all weights are on the compute device, ready for gradients."""
    device = _with_index(patcher.load_device)
    return all(
        _with_index(weight.device) == device and not weight.is_inference()
        for weights in (patcher.model.parameters(), patcher.model.buffers())
        for weight in weights
    )


def _with_index(device: torch.device) -> tuple[str, int]:
    return device.type, device.index or 0  # a tensor on "mps" says that it is on "mps:0"


def _undo_inference(network: nn.Module) -> None:
    """Replace inference tensors, which ComfyUI leaves when it evicts: gradients cannot pass through them."""
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.is_inference():
                setattr(module, name, nn.Parameter(parameter.clone(), requires_grad=False))
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_inference():
                setattr(module, name, buffer.clone())


def free_memory(*own: Any) -> bool:
    """Evict every model and free cached memory.

    Args:
        own: ModelPatchers of the networks that are at work.

    Returns:
        True if a model was evicted that is not one of these.
    """
    gc.collect()
    others = any(all(patcher is not one for one in own) for patcher in management.loaded_models())
    management.unload_all_models()
    management.soft_empty_cache(True)
    return others


# Images and texts


class Vision(NamedTuple):
    """The image encoder of a CLIP, as a network of one's own.

    Args:
        patcher: ModelPatcher around its copy, ready for gradients.
        width: of its embeddings.
        side: of the square images that it takes.
        mean, std: of its preprocessing, by channel.
    """

    patcher: Any
    width: int
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


_visions: WeakKeyDictionary[Any, Vision | None] = WeakKeyDictionary()
"""CLIP_VISION -> its copy."""


def vision_of(clip_vision: Any) -> Vision | None:
    """Copy the network of a CLIP_VISION, once; None if it does not embed images beside texts.

    A copy, because loaders run in inference mode: gradients cannot pass the weights that they make.
    """
    if clip_vision not in _visions:
        _visions[clip_vision] = _copy_vision(clip_vision)
    return _visions[clip_vision]


def _copy_vision(clip_vision: Any) -> Vision | None:
    weights = clip_vision.get_sd()
    projection = weights.get("visual_projection.weight")
    if projection is None:
        return None
    with torch.inference_mode(False):
        kind, config = type(clip_vision.model), clip_vision.config
        network = kind(config, clip_vision.dtype, torch.device("cpu"), comfy.ops.manual_cast)
        network.load_state_dict(weights, strict=False)
        network.eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, nn.LayerNorm):
                # ComfyUI's layers add to their input in place, which the norm before has saved for the gradient.
                module.register_forward_pre_hook(lambda _, given: (given[0].clone(), *given[1:]))
        patcher = wrap(Wrapped(network))
    mean, std = tuple(clip_vision.image_mean), tuple(clip_vision.image_std)
    return Vision(patcher, len(projection), clip_vision.image_size, mean, std)


def embed_images(vision: Vision, images: Tensor) -> Tensor:
    """Embed images: (N,3,S,S), preprocessed, on any device, to (N,D) on the compute device. Gradients pass it."""
    wrapped: Any = load(vision.patcher)
    found: Tensor = wrapped.network(pixel_values=images.to(vision.patcher.load_device))[2]
    return found


def text_encoders(clip: Any) -> dict[str, int]:
    """Return the widths of a CLIP's text encoders that embed texts beside images, by name."""
    found: dict[str, int] = {}
    for name, encoder in clip.cond_stage_model.named_children():
        projection = getattr(getattr(encoder, "transformer", None), "text_projection", None)
        weight = getattr(projection, "weight", None)
        # Checkpoints may leave it out: ComfyUI then fills in what is no projection.
        if isinstance(weight, Tensor) and _is_trained(weight.detach().float().cpu()):
            found[name] = len(weight)
    return found


def _is_trained(projection: Tensor) -> bool:
    is_one = torch.equal(projection, torch.eye(*projection.shape))
    return bool(projection.isfinite().all()) and bool(projection.any()) and not is_one


def embed_text(clip: Any, encoder: str, text: str) -> Tensor:
    """Embed a text beside images by one of the `text_encoders` of a CLIP: (1,D) float32 on the CPU."""
    model, device = getattr(clip.cond_stage_model, encoder), clip.patcher.load_device
    tokens = clip.tokenize(text)
    clip.load_model(tokens)
    model.reset_clip_options()
    model.set_clip_options({"projected_pooled": True, "execution_device": device})
    try:
        pooled: Tensor = model.encode_token_weights(tokens[encoder.removeprefix("clip_")])[1]
    finally:
        model.reset_clip_options()
    with torch.inference_mode(False):
        return pooled.detach().float().cpu().clone()


# Speaking with the person


_told: set[tuple[str, str, str]] = set()


def tell(message: str) -> None:
    """Show a message on the node and in the log, each message once per prompt and node."""
    context = get_executing_context()
    prompt_id, node_id = (context.prompt_id, context.node_id) if context else ("", "")
    key = (prompt_id, node_id, message)
    if key in _told:
        return
    if not any(told[0] == prompt_id for told in _told):
        _told.clear()
    _told.add(key)
    log.warning("%s (node %s)", message, node_id)
    server = PromptServer.instance
    if node_id and server.client_id is not None:
        shown_on = get_progress_state().dynprompt.get_display_node_id(
            node_id
        )  # a loop's runner is on no page
        server.send_progress_text(message, shown_on, server.client_id)


class Progress:
    """Progress bar of the running node, with a preview of the image.

    Args:
        total: number of steps, if known.
        node_id: another node to show it on.
    """

    def __init__(self, total: int = 1, *, node_id: str | None = None) -> None:
        self._bar = comfy.utils.ProgressBar(total, node_id)
        self._messages, self._previews = Throttle(MESSAGE_SECONDS), Throttle(PREVIEW_SECONDS)

    def update(self, done: int, total: int, image: Tensor | None = None) -> None:
        """Move the bar, a few times a second and at the end. Raises ComfyUI's interruption if Cancel was pressed.

        Args:
            done, total: steps.
            image: (1,3,H,W) in 0..1; shown a few times a second.
        """
        check_interrupted()
        if done < total and not self._messages.due():
            return  # a GPU takes hundreds of steps a second, and each message holds the state of the whole graph
        preview = None
        if image is not None and self._previews.due():
            preview = ("JPEG", _thumbnail(image), PREVIEW_SIDE)
        self._bar.update_absolute(done, total, preview)


def _thumbnail(image: Tensor) -> Image.Image:
    colors = image[0].detach().float()
    scale = PREVIEW_SIDE / max(colors.shape[-2:])
    if scale < 1:
        size = scaled_size(size_of(colors), scale)
        colors = antialias(colors[None], size, mode="bilinear")[0]
    levels = colors.mul(255).round().clamp(0, 255).to("cpu", torch.uint8)
    return Image.fromarray(levels.movedim(0, -1).numpy())  # CHW -> HWC


def check_interrupted() -> None:
    """Raise ComfyUI's interruption, a BaseException, if Cancel was pressed."""
    management.throw_exception_if_processing_interrupted()


# Running nodes, for the loop


def blocker(reason: str | None = None) -> Any:
    """Make a value that blocks the nodes it is connected to; they show the reason as an error, if there is one."""
    return ExecutionBlocker(reason)


def is_blocker(value: Any) -> bool:
    """Return True if a value is a blocker."""
    return isinstance(value, ExecutionBlocker)


def is_output_node(class_type: str) -> bool:
    """Return True for classes of nodes that run for their effect, such as Save Image."""
    return bool(getattr(core_nodes.NODE_CLASS_MAPPINGS[class_type], "OUTPUT_NODE", False))


def class_of(class_type: str) -> type:
    """Return the class of a node."""
    found: type = core_nodes.NODE_CLASS_MAPPINGS[class_type]
    return found


def graph_of(dynprompt: Any) -> dict[str, dict[str, Any]]:
    """Return the whole graph: node id -> {"class_type", "inputs", "_meta"}."""
    return {node_id: dynprompt.get_node(node_id) for node_id in dynprompt.all_node_ids()}


def running_graph() -> dict[str, dict[str, Any]]:
    """Return the whole graph of the running prompt, also while ComfyUI decides which nodes to run."""
    return graph_of(get_progress_state().dynprompt)


def wired_outputs() -> set[int]:
    """Return the indices of the running node's outputs to which something is connected."""
    context = get_executing_context()
    graph = running_graph() if context else {}
    links = (value for node in graph.values() for value in node["inputs"].values() if is_link(value))
    return {slot for source, slot in links if context and source == context.node_id}


def video_files_behind(name: str) -> list[Path]:
    """Return the files of Load Video whose images come to an input of the running node, by Get Video Components.

    Args:
        name: of the input.
    """
    context = get_executing_context()
    graph = running_graph() if context else {}
    links = [graph[context.node_id]["inputs"].get(name)] if context and context.node_id in graph else []
    taken = [one for one in _nodes_behind(links, graph) if one["class_type"] == "GetVideoComponents"]
    videos = [one["inputs"].get("video") for one in taken]
    names = [
        one["inputs"].get("file") for one in _nodes_behind(videos, graph) if one["class_type"] == "LoadVideo"
    ]
    paths = [Path(folder_paths.get_annotated_filepath(one)) for one in names if isinstance(one, str)]
    return [path for path in paths if path.is_file()]


def _nodes_behind(links: list[Any], graph: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the nodes that links come from, directly or through others."""
    found: dict[str, Mapping[str, Any]] = {}
    while links:
        link = links.pop()
        if is_link(link) and link[0] in graph and link[0] not in found:
            found[link[0]] = graph[link[0]]
            links.extend(graph[link[0]]["inputs"].values())
    return list(found.values())


def running_prompt() -> str:
    """Return the id of the running prompt, "" outside of one."""
    context = get_executing_context()
    return context.prompt_id if context else ""


class HostedNode:
    """One node of a graph, prepared to be called many times, as ComfyUI itself calls it.

    Args:
        node_id: in the graph.
        node: {"class_type", "inputs"}.
        hidden: the hidden inputs of the node that runs the loop.
    """

    def __init__(self, node_id: str, node: Mapping[str, Any], hidden: Any) -> None:
        self.node_id = node_id
        node_class = core_nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
        self.name = core_nodes.NODE_DISPLAY_NAME_MAPPINGS.get(node["class_type"], node["class_type"])
        self.is_output = is_output_node(node["class_type"])
        self._instance = node_class()
        self._prompt_id = running_prompt()
        extra = {
            "extra_pnginfo": hidden.extra_pnginfo,
            "auth_token_comfy_org": hidden.auth_token_comfy_org,
            "api_key_comfy_org": hidden.api_key_comfy_org,
            "comfy_usage_source": hidden.comfy_usage_source,
        }
        self._data, missing, self._v3 = execution.get_input_data(
            node["inputs"], node_class, node_id, None, hidden.dynprompt, extra
        )
        self.links = {name: tuple(node["inputs"][name]) for name in missing}
        """The inputs that are values of other nodes, without raw links: name -> (node id, output)."""
        options = _options(node_class, node["inputs"])
        self.lazy = {name for name in self.links if options.get(name, {}).get("lazy")}
        self._asks = self._asks_for_lazy(node_class)

    def _asks_for_lazy(self, node_class: Any) -> bool:
        if not _is_v3(node_class):
            return hasattr(self._instance, "check_lazy_status")
        override: Any = execution.first_real_override(node_class, "check_lazy_status")
        return override is not None

    async def missing(self, values: Mapping[str, list[Any]]) -> list[str]:
        """Return the names of the lazy inputs that the node needs, given the values it has."""
        if not (self.lazy and self._asks):
            return []
        v3 = {**self._v3, "create_dynamic_tuple": True}
        wanted = await self._map("check_lazy_status", values, v3)
        names = {name for answer in wanted if isinstance(answer, list) for name in answer}
        return [name for name in self.links if name in names and name not in values]

    async def call(self, values: Mapping[str, list[Any]]) -> tuple[list[list[Any]], dict[str, list[Any]]]:
        """Run the node.

        Args:
            values: name -> the values of a linked input, a list as between ComfyUI's nodes.

        Returns:
            The values of each output, and what the node shows.

        Raises:
            RuntimeError: the node expands into others, which a loop cannot repeat.
        """
        results = await self._map(self._instance.FUNCTION, values, self._v3)
        outputs, shown, expands = execution.get_output_from_returns(results, self._instance)
        if expands:
            raise RuntimeError(
                "it expands into other nodes, which a Temporal Loop cannot repeat: move it out of the loop"
            )
        return outputs, shown

    @property
    def attributes(self) -> dict[str, Any]:
        """What the node itself keeps from one call to the next, by name; to be changed in place."""
        return getattr(self._instance, "__dict__", {})

    async def _map(self, function: str, values: Mapping[str, list[Any]], v3: Any) -> list[Any]:
        data = {**self._data, **values}
        results = await execution._async_map_node_over_list(
            self._prompt_id,
            self.node_id,
            self._instance,
            data,
            function,
            allow_interrupt=True,
            execution_block_cb=_unblock_message,
            v3_data=v3,
        )
        return [await one if isinstance(one, asyncio.Task) else one for one in results]


def _options(node_class: Any, inputs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    valid = node_class.INPUT_TYPES()
    if _is_v3(node_class):
        valid, _, _ = execution._io.get_finalized_class_inputs(valid, inputs)
    declared = {**valid.get("required", {}), **valid.get("optional", {})}
    return {name: spec[1] for name, spec in declared.items() if len(spec) > 1}


def _is_v3(node_class: Any) -> bool:
    return issubclass(node_class, io.ComfyNode)


def _unblock_message(block: Any) -> Any:
    """Show a blocker's message once; the following nodes are blocked silently, as in ComfyUI."""
    if block.message is not None:
        tell(f"blocked: {block.message}")
    return blocker()


def is_graph_link(value: Any) -> bool:
    """Return True if an input is a link [node id, output]."""
    return bool(is_link(value))


async def show_error_at(node_id: str, dynprompt: Any, runner_id: str) -> None:
    """Let the page show the error that the running node is about to raise at another node.

    ComfyUI shows the error of an expanded node at the node of the page that it descends from. It looks that up when
    it starts a node or returns to one that was waiting: so wait once, and descend from the other node.

    Args:
        node_id: the node to show it at.
        dynprompt: the running prompt.
        runner_id: the running node, an async and expanded one.
    """
    display_id = dynprompt.get_display_node_id(runner_id)
    await asyncio.sleep(0)
    dynprompt.add_ephemeral_node(runner_id, dynprompt.get_node(runner_id), node_id, display_id)


def name_errors(base: type[Exception]) -> None:
    """Let ComfyUI name a class of errors and all that derive from it without their module.

    It puts the module before the name, which for a pack is the path of its folder.
    """
    base.__module__ = "builtins"
    for derived in base.__subclasses__():
        name_errors(derived)


def out_of_memory(message: str) -> BaseException:
    """Make an error with this message that ComfyUI handles as its own out-of-memory error."""
    error: BaseException = torch.OutOfMemoryError(message)
    return error


def is_out_of_memory(error: BaseException) -> bool:
    """Return True for errors that say that memory ran out, to ComfyUI or to the library."""
    # ComfyUI's clears what CUDA would raise once more.
    return bool(management.is_oom(error)) or is_out_of_memory_error(error)


def start(node_id: str) -> None:
    """Show a node as running."""
    get_progress_state().start_progress(node_id)


def finish(node_id: str) -> None:
    """Show a node as done."""
    get_progress_state().finish_progress(node_id)


def show(node_id: str, shown: Mapping[str, Any]) -> None:
    """Show a node's results on it, such as the images of Preview Image."""
    server = PromptServer.instance
    if server.client_id is not None:
        message = {
            "node": node_id,
            "display_node": node_id,
            "output": dict(shown),
            "prompt_id": running_prompt(),
        }
        server.send_sync("executed", message, server.client_id)
