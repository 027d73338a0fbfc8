"""From what an OPTICAL_FLOW socket carries to the core's flow estimator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from ...dream_core.checks import validate
from ...dream_core.device import choose_dtype
from ...dream_core.errors import WeightsError
from ...dream_core.motion.flow import DisNetwork, FlowEstimator, estimator_of
from ...dream_core.motion.raft import FastRaft, raft_of
from ...dream_core.settings import FlowSettings
from . import host
from .require import require

_fast: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
"""A network on a socket -> ComfyUI's ModelPatcher around the `FastRaft` made from it."""


def estimator_for(patcher: Any, settings: FlowSettings) -> FlowEstimator:
    """The flow estimator of a network, on ComfyUI's device; cheap for a network seen before.

    Args:
        patcher: ComfyUI's, around DIS or a RAFT of torchvision's, loaded here or by ComfyUI's own loader. The
            network is left as it is: the estimator computes with its own copy, which ComfyUI moves and evicts too.
        settings: how to estimate. Which network it names has no effect.

    Raises:
        SettingsError: a setting is out of range.
        WeightsError: the network is no RAFT.
        WireError: there is no network.
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
    held = _fast[network]
    estimator = estimator_of(held.model, settings, device=host.compute_device())

    def estimate(first: Tensor, second: Tensor, both: bool) -> Tensor:
        host.load(held)  # it may have been evicted since
        return estimator.estimate(first, second, both)

    return replace(estimator, estimate=estimate)


def _fast_copy(network: nn.Module) -> FastRaft:
    # Built anew: a deep copy would take along what ComfyUI noted on the network about where its weights are.
    name = Path(type(network).__name__)
    try:
        copy = raft_of(network.state_dict(), path=name)
    except WeightsError as error:
        raise WeightsError(f"this optical flow model cannot be used here: {error}") from error
    return FastRaft(copy, dtype=choose_dtype("auto", host.compute_device()))
