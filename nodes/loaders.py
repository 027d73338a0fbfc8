"""The nodes that load networks: Load Dream Model and Load Flow Model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from comfy_api.latest import io
from torch import nn

from ..dream_core.device import choose_dtype
from ..dream_core.models.dream_model import DreamModel, load_model
from ..dream_core.models.registry import MODELS, PREFERRED_MODEL, resolve_model
from ..dream_core.models.weights import WeightSource, find, locate, read_state_dict
from ..dream_core.motion.flow import PREFERRED_FLOW, DisNetwork, resolve_flow
from ..dream_core.motion.raft import SOURCES, load_raft, raft_of
from ..dream_core.settings import DeviceSettings, FlowChoice, FlowSettings, ModelChoice, ModelSettings
from .adapters import host
from .adapters.sockets import DreamModelSocket, FlowModelSocket
from .adapters.widgets import settings_from, tooltip, widgets
from .adapters.working import working

AUTO: Literal["auto"] = "auto"
"""Choice of the network whose weights are found, and of weights that are found or else downloaded."""

FILES = ("model_file", "model_dirs", "label_file")
"""Fields of ModelSettings without widgets: ComfyUI's model folders replace them."""

_downloads: dict[Path, float] = {}
"""Files that this server downloaded: path -> time of change."""


class LoadDreamModel(io.ComfyNode):
    """Loads a network that dreams, from a model folder or a download."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamLoadDreamModel",
            display_name="Load Dream Model",
            category="DeepDream",
            description="Loads the network that dreams. Each sees the world its own way: GoogLeNet dreams eyes "
            "and dogs, the places networks dream buildings.",
            search_aliases=["deep dream model", "googlenet", "inception", "vgg", "caffe", "load network"],
            inputs=[
                *widgets(ModelSettings, leave_out=(*FILES, "pooling", "model_mean")),
                io.Combo.Input(
                    "weights",
                    options=[AUTO, *host.weight_files(host.DREAM_FOLDER)],
                    default=AUTO,
                    tooltip="auto looks for the network's own weights in models/deepdream and downloads them "
                    "there if they are missing. Or a file from that folder, of the network chosen.",
                    advanced=True,
                ),
                *widgets(ModelSettings, leave_out=(*FILES, "model")),
                *widgets(DeviceSettings, only=("precision",)),  # ComfyUI chooses the rest
            ],
            outputs=[
                DreamModelSocket.Output(display_name="dream_model", tooltip="The network that dreams."),
                io.String.Output(
                    display_name="layers",
                    tooltip="The network's layers, from shallow to deep, each with its number of channels.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model: ModelChoice, weights: str, **_: Any) -> Any:
        """Return the time of change of the weight file; ComfyUI loads again when it differs.

        It is None without a file, and if this server downloaded the file.
        """
        if weights != AUTO:
            return host.weight_path(host.DREAM_FOLDER, weights).stat().st_mtime
        name = PREFERRED_MODEL if model == "auto" else model
        return _fingerprint(MODELS[name].source, name, host.DREAM_FOLDER) if name in MODELS else None

    @classmethod
    def execute(cls, weights: str, **values: Any) -> io.NodeOutput:
        with working():
            settings = settings_from(ModelSettings, values, leave_out=FILES)
            precision = settings_from(DeviceSettings, values, only=("precision",)).precision
            file = None if weights == AUTO else host.weight_path(host.DREAM_FOLDER, weights)
            folders = tuple(host.model_folders(host.DREAM_FOLDER))
            name = resolve_model(replace(settings, model_file=file, model_dirs=folders))
            file = file or _located(MODELS[name].source, name, host.DREAM_FOLDER)
            network = load_model(
                replace(settings, model=name, model_file=file),
                device=torch.device("cpu"),
                dtype=choose_dtype(precision, host.compute_device()),
            )
            return io.NodeOutput(host.wrap(host.Wrapped(network)), layer_list(network))


def layer_list(model: DreamModel) -> str:
    """List the layers of a network, one a line from shallow to deep, with their numbers of channels."""
    return "\n".join(
        f"{name}: {channels} channels{' (default)' if name == model.default_layer else ''}"
        for name, channels in model.layers().items()
    )


class LoadFlowModel(io.ComfyNode):
    """Loads an optical flow network, from a model folder or a download."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DeepDreamLoadFlowModel",
            display_name="Load Flow Model",
            category="DeepDream",
            description="Loads a network that estimates motion. RAFT large also works with ComfyUI's own nodes for "
            "optical flow.",
            search_aliases=["optical flow", "raft", "dis", "motion", "load raft"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[*get_args(FlowChoice), *host.weight_files(host.FLOW_FOLDER)],
                    default=FlowSettings.flow,
                    tooltip=f"{tooltip(FlowSettings, 'flow')} Weights are looked for in models/optical_flow and "
                    "downloaded there if they are missing. Or a file of RAFT weights from that folder.",
                )
            ],
            outputs=[
                FlowModelSocket.Output(
                    display_name="flow_model", tooltip="The network that estimates motion."
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, model: str, **_: Any) -> Any:
        """Return the time of change of the weight file; ComfyUI loads again when it differs.

        It is None without a file, and if this server downloaded the file.
        """
        name = PREFERRED_FLOW if model == AUTO else model
        if name in SOURCES:
            return _fingerprint(SOURCES[name], name, host.FLOW_FOLDER)
        if name in get_args(FlowChoice):
            return None
        return host.weight_path(host.FLOW_FOLDER, model).stat().st_mtime

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        with working():
            return io.NodeOutput(host.wrap(_flow_network(model)))


def _flow_network(model: str) -> nn.Module:
    name = model
    if model == AUTO:
        name = resolve_flow(FlowSettings(flow=AUTO), folders=host.model_folders(host.FLOW_FOLDER))
    if name == "dis":
        return DisNetwork()
    if name in SOURCES:
        known: nn.Module = load_raft(name, _located(SOURCES[name], name, host.FLOW_FOLDER))
        return known
    path = host.weight_path(host.FLOW_FOLDER, name)
    network: nn.Module = raft_of(read_state_dict(path), path=path)
    return network


def _located(source: WeightSource, name: str, folder: str) -> Path:
    """Find weights, or download them into ComfyUI's folder for this kind."""
    folders = host.model_folders(folder)
    found = find(source, name=name, folders=folders)
    if found is not None:
        return found
    progress = host.Progress()
    path = locate(
        source,
        name=name,
        folders=folders,
        download_dir=host.download_folder(folder),
        progress=lambda done, total: progress.update(done, total or done),
    )
    _downloads[path] = path.stat().st_mtime
    return path


def _fingerprint(source: WeightSource, name: str, folder: str) -> float | None:
    """Return the time of change of weights; None if they are missing or this server downloaded them."""
    path = find(source, name=name, folders=host.model_folders(folder))
    changed = path.stat().st_mtime if path else None
    # The download by a first run must not make a second, identical run load again.
    return None if path in _downloads and _downloads[path] == changed else changed
