"""From a DREAM_MODEL socket to the core's network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...dream_core.models.dream_model import DreamModel
from . import host
from .require import require


def model_on_device(patcher: Any, *, beside: Sequence[Any] = (), memory: float = 0) -> DreamModel:
    """Load the network of a DREAM_MODEL socket onto the compute device, ready for gradients.

    Args:
        patcher: from the socket.
        beside: ModelPatchers of other networks to load with it.
        memory: bytes needed besides its weights; other models are evicted for them.

    Raises:
        WireError: the socket carries something else.
    """
    require(getattr(patcher, "model", patcher), host.Wrapped, name="dream_model", source="Load Dream Model")
    wrapped: Any = host.load(patcher, beside=beside, memory=memory)
    model: DreamModel = wrapped.network
    return model
