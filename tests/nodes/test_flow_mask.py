"""Flow Mask: the core's masks of what moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

SIZE = (48, 64)


def test_each_flow_is_a_mask(nodes: Any, run: Any, pack: Any, defaults: Any) -> None:
    flow = torch.randn(3, 2, *SIZE) * 2
    node = pack("nodes.flow_mask").FlowMask
    (mask,) = run(node, **{**defaults(node), "flow": nodes.Flow(flow), "min_speed": 2.0})
    settings = pack("dream_core.settings").FlowMaskSettings(min_speed=2)
    expected = pack("dream_core.motion.flow_mask").flow_mask(flow, settings)
    assert mask.shape == (3, *SIZE)
    assert torch.equal(mask, expected[:, 0])
    assert 0 < mask.mean() < 1


def test_another_packs_flow_is_refused_by_name(run: Any, pack: Any, defaults: Any) -> None:
    node, error = pack("nodes.flow_mask").FlowMask, pack("nodes.adapters.require").WireError
    with pytest.raises(error, match="flow from Optical Flow, Camera Flow or DeepDream Video, got Tensor"):
        run(node, **{**defaults(node), "flow": torch.zeros(2, 2, *SIZE)})
