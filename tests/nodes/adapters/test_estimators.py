"""Flow estimators from what the sockets of flow models carry."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torchvision.models.optical_flow import raft_small

Pack = Callable[[str], ModuleType]


def frames() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    coarse = torch.rand(1, 3, 18, 22, generator=generator)
    frame = torch.nn.functional.interpolate(coarse, (144, 176), mode="bicubic").clamp(0, 1)
    return frame, frame.roll((2, 3), (2, 3))


def test_a_network_on_the_wire_stays_as_it_is(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A patcher as ComfyUI's own loader makes it, with the attributes that its model manager sets."""
    estimators, host = pack("nodes.adapters.estimators"), pack("nodes.adapters.host")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True}, raising=False)
    patcher = host.wrap(raft_small(weights=None).eval())
    before = {name: weight.clone() for name, weight in patcher.model.state_dict().items()}
    first, second = frames()
    flow = estimators.estimator_for(patcher, pack("dream_core.settings").FlowSettings(flow_updates=1))
    assert flow.flow(first, second).dtype == torch.float32
    for name, weight in patcher.model.state_dict().items():
        assert weight.dtype == before[name].dtype
        assert weight.stride() == before[name].stride()
        assert torch.equal(weight, before[name])


def test_a_loop_copies_a_network_once(pack: Pack) -> None:
    estimators, core = pack("nodes.adapters.estimators"), pack("dream_core.settings")
    patcher = pack("nodes.adapters.host").wrap(raft_small(weights=None).eval())
    copies = []
    for updates in (1, 1, 2):
        estimators.estimator_for(patcher, core.FlowSettings(flow_updates=updates))
        copies.append(estimators._fast[patcher.model])
    assert copies[0] is copies[1] is copies[2]
    kept = len(estimators._fast)
    del patcher
    assert len(estimators._fast) == kept - 1


def test_another_network_is_no_flow_model(pack: Pack) -> None:
    patcher = pack("nodes.adapters.host").wrap(torch.nn.Linear(2, 2))
    with pytest.raises(
        pack("dream_core.errors").WeightsError,
        match=r"cannot be used here: expected weights of RAFT.* in Linear, got weight, bias",
    ):
        pack("nodes.adapters.estimators").estimator_for(patcher, pack("dream_core.settings").FlowSettings())


def test_a_value_that_holds_no_network_is_refused_by_name(pack: Pack) -> None:
    error = pack("nodes.adapters.require").WireError
    with pytest.raises(error, match=r"flow_model from Load Flow Model .*, got dict"):
        pack("nodes.adapters.estimators").estimator_for({}, pack("dream_core.settings").FlowSettings())


def test_the_choice_of_a_network_has_no_widget(pack: Pack) -> None:
    estimators = pack("nodes.adapters.estimators")
    names = [widget.id for widget in estimators.flow_widgets()]
    assert "flow_scale" in names
    assert not {"flow", "flow_file"} & set(names)
    assert estimators.flow_settings({"flow_scale": 0.5}) == pack("dream_core.settings").FlowSettings(
        flow_scale=0.5
    )
