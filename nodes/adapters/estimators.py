"""From an OPTICAL_FLOW socket and the widgets of flow to the core's flow estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from comfy_api.latest import io
from torch import Tensor, nn

from ...dream_core.checks import validate
from ...dream_core.device import choose_dtype
from ...dream_core.errors import WeightsError
from ...dream_core.motion.flow import DisNetwork, FlowEstimator, estimator_of
from ...dream_core.motion.raft import FastRaft, raft_of
from ...dream_core.settings import FlowSettings
from . import host
from .require import require
from .widgets import settings_from, widgets

NO_WIDGET = ("flow", "flow_file")
"""Fields without widgets: Load Flow Model sets them."""

_fast: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
"""Network of a socket -> ComfyUI's ModelPatcher around the `FastRaft` made from it."""


def flow_widgets() -> list[io.Input]:
    """Make the widgets of all nodes that estimate flow."""
    return widgets(FlowSettings, leave_out=NO_WIDGET)


def flow_settings(values: Mapping[str, Any]) -> FlowSettings:
    """Convert the values of `flow_widgets` to settings.

    Raises:
        SettingsError: a value is missing or cannot be read.
    """
    return settings_from(FlowSettings, values, leave_out=NO_WIDGET)


def estimator_for(patcher: Any, settings: FlowSettings, *, beside: Sequence[Any] = ()) -> FlowEstimator:
    """Make the flow estimator of a network, on ComfyUI's device; cheap if the same network was used before.

    Args:
        patcher: ComfyUI's, around DIS or torchvision's RAFT, from Load Flow Model or ComfyUI's own loader. The
            network stays as it is: the estimator computes with a copy, which ComfyUI moves and evicts too.
        settings: how to estimate; `flow` and `flow_file` have no effect.
        beside: ComfyUI's patchers of networks that every estimate leaves on the device.

    Raises:
        SettingsError: a setting is out of range.
        WeightsError: the network is neither DIS nor RAFT.
        WireError: the socket carries no network.
    """
    validate(settings)
    network = require(
        getattr(patcher, "model", patcher),
        nn.Module,
        name="flow_model",
        source="Load Flow Model or ComfyUI's own loader",
    )
    if isinstance(network, DisNetwork):
        return estimator_of(network, settings, device=host.compute_device())
    if network not in _fast:
        _fast[network] = host.wrap(_fast_copy(network))
    patched = _fast[network]
    device = host.compute_device()
    estimator = estimator_of(patched.model, settings, device=device, memory=host.total_memory(device))

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        host.load(patched, beside=beside)  # it may have been evicted
        return estimator.estimate(first, second, both)

    return replace(estimator, estimate=estimate)


def _fast_copy(network: nn.Module) -> FastRaft:
    # A deep copy would also copy the attributes in which ComfyUI keeps where the weights are.
    name = Path(type(network).__name__)
    try:
        copy = raft_of(network.state_dict(), path=name)
    except WeightsError as error:
        raise WeightsError(f"this optical flow model cannot be used here: {error}") from error
    return FastRaft(copy, dtype=choose_dtype("auto", host.compute_device()))
