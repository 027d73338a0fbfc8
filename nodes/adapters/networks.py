"""Networks: from weights in ComfyUI's model folders to sockets, and those that a node takes where none is wired."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from ...dream_core.device import choose_dtype
from ...dream_core.errors import Notice
from ...dream_core.models.dream_model import DreamModel, load_model
from ...dream_core.models.outside import is_outside, outside_source
from ...dream_core.models.registry import MODELS, PREFERRED_MODEL, fast_in_bfloat16, resolve_model
from ...dream_core.models.weights import WeightSource, find, locate, read_state_dict
from ...dream_core.motion.flow import PREFERRED_FLOW, DisNetwork, resolve_flow
from ...dream_core.motion.raft import SOURCES, load_raft, raft_of
from ...dream_core.settings import DeviceSettings, FlowChoice, FlowSettings, ModelSettings, Precision
from . import host

AUTO: Literal["auto"] = "auto"
"""Choice of the network whose weights are found, and of weights that are found or else downloaded."""

KEPT = 4
"""Number of networks to keep for nodes that have none wired."""

_kept: OrderedDict[Hashable, Any] = OrderedDict()
"""What a network was made from -> ComfyUI's ModelPatcher around it; the last one used comes last."""

_downloads: dict[Path, float] = {}
"""Files that this server downloaded: path -> time of change."""


def dream_network(
    settings: ModelSettings, *, weights: str = AUTO, precision: Precision = DeviceSettings.precision
) -> DreamModel:
    """Load a network that dreams, onto the CPU.

    Args:
        settings: the network; its files and folders have no effect.
        weights: name of a file in ComfyUI's folder, or auto.
        precision: type of its arithmetic on ComfyUI's device.

    Raises:
        SettingsError, WeightsError: see `load_model`.
    """
    return _load(_located_model(settings, weights), precision)


def default_dream_model(settings: ModelSettings) -> Any:
    """Return a DREAM_MODEL for a node that has none wired; it is kept for the next run.

    Raises:
        SettingsError, WeightsError: see `load_model`.
    """
    located = _located_model(settings, AUTO)
    changed = located.model_file.stat().st_mtime if located.model_file else None
    precision = DeviceSettings.precision
    return _keep((located, changed), lambda: host.wrap(host.Wrapped(_load(located, precision))))


def flow_network(model: str) -> nn.Module:
    """Load a network that estimates motion.

    Args:
        model: a `FlowChoice`, or the name of a file of RAFT weights in ComfyUI's folder.

    Raises:
        WeightsError: weights are missing or wrong.
    """
    name = _flow_name(model)
    if name == "dis":
        return DisNetwork()
    if name in SOURCES:
        known: nn.Module = load_raft(name, _located(SOURCES[name], name, host.FLOW_FOLDER))
        return known
    path = host.weight_path(host.FLOW_FOLDER, name)
    network: nn.Module = raft_of(read_state_dict(path), path=path)
    return network


def default_flow_model() -> Any:
    """Return an OPTICAL_FLOW for a node that has none wired; it is kept for the next run.

    Raises:
        WeightsError: weights are wrong.
    """
    name = _flow_name(FlowSettings.flow)
    return _keep((name, flow_fingerprint(name)), lambda: host.wrap(flow_network(name)))


def auto_model() -> str:
    """Return the network that auto means now, without a word about it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        return resolve_model(ModelSettings(model_dirs=tuple(host.model_folders(host.DREAM_FOLDER))))


def dream_fingerprint(model: str, weights: str = AUTO) -> Any:
    """Return the time of change of a dream network's weight file; ComfyUI runs a node again when it differs.

    It is None without a file, and if this server downloaded the file.
    """
    if weights != AUTO:
        return host.weight_path(host.DREAM_FOLDER, weights).stat().st_mtime
    name = PREFERRED_MODEL if model == AUTO else model
    return _fingerprint(MODELS[name].source, name, host.DREAM_FOLDER) if name in MODELS else None


def flow_fingerprint(model: str) -> Any:
    """Return the same as `dream_fingerprint` for a choice of `flow_network`."""
    name = PREFERRED_FLOW if model == AUTO else model
    if name in SOURCES:
        return _fingerprint(SOURCES[name], name, host.FLOW_FOLDER)
    if name in get_args(FlowChoice):
        return None
    return host.weight_path(host.FLOW_FOLDER, model).stat().st_mtime


def _located_model(settings: ModelSettings, weights: str) -> ModelSettings:
    """Settle the network and its weight file."""
    file = None if weights == AUTO else host.weight_path(host.DREAM_FOLDER, weights)
    folders = tuple(host.model_folders(host.DREAM_FOLDER))
    name = resolve_model(replace(settings, model_file=file, model_dirs=folders))
    source = outside_source(name) if is_outside(name) else MODELS[name].source
    if file is None and source is not None:
        file = _located(source, name.partition(":")[2] or name, host.DREAM_FOLDER)
    return replace(settings, model=name, model_file=file, model_dirs=folders)


def _load(located: ModelSettings, precision: Precision) -> DreamModel:
    on_cpu = fast_in_bfloat16(resolve_model(located))
    dtype = choose_dtype(precision, host.compute_device(), on_cpu=on_cpu)
    return load_model(located, device=torch.device("cpu"), dtype=dtype, exact=precision == "float32")


def _flow_name(model: str) -> str:
    if model != AUTO:
        return model
    return resolve_flow(FlowSettings(flow=AUTO), folders=host.model_folders(host.FLOW_FOLDER))


def _keep(key: Hashable, make: Callable[[], Any]) -> Any:
    """Return what is kept under a key, made if it is missing; the least recently used is dropped."""
    if key not in _kept:
        _kept[key] = make()
    _kept.move_to_end(key)
    if len(_kept) > KEPT:
        _kept.popitem(last=False)
    return _kept[key]


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
