"""The types of the sockets."""

from __future__ import annotations

from typing import Any

import pytest
import torch


def test_a_flow_of_another_pack_is_refused_by_name(pack: Any) -> None:
    sockets = pack("nodes.adapters.sockets")
    flow = sockets.Flow(torch.zeros(1, 2, 4, 5))
    assert sockets.require_flow_socket(flow) is flow
    error = pack("nodes.adapters.require").WireError
    with pytest.raises(error, match=r"expected flow from Optical Flow, .*, got Tensor"):
        sockets.require_flow_socket(flow.backward)


def test_flow_models_go_to_and_from_comfyuis_own_nodes(pack: Any) -> None:
    assert pack("nodes.adapters.sockets").FlowModelSocket.io_type == "OPTICAL_FLOW"
