"""Dream models from what their sockets carry."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def test_the_network_of_the_socket_is_loaded(pack: Any, host: Any) -> None:
    services, network = pack("nodes.adapters.host"), torch.nn.Linear(1, 1)
    patcher = services.wrap(services.Wrapped(network))
    assert pack("nodes.adapters.models").model_on_device(patcher) is network
    assert len(host.taken) == 1


def test_another_network_is_refused_by_name(pack: Any) -> None:
    patcher = pack("nodes.adapters.host").wrap(torch.nn.Linear(1, 1))
    with pytest.raises(
        pack("nodes.adapters.require").WireError, match="dream_model from Load Dream Model, got Linear"
    ):
        pack("nodes.adapters.models").model_on_device(patcher)
