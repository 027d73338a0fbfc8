"""Flow Image: the core's colors and arrows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

SIZE = (48, 64)
SHOWN = {"saturation_length": 0.0, "arrow_spacing": 0}


def test_each_flow_is_an_image(nodes: Any, run: Any, pack: Any, planes: Any) -> None:
    flow = torch.randn(3, 2, *SIZE) * 4
    (image,) = run(nodes.FlowImage, flow=nodes.Flow(flow), **SHOWN)
    wheel = pack("dream_core.motion.flow_image").flow_image(flow)
    assert torch.equal(planes(image), wheel)
    settings = {"saturation_length": 20.0, "arrow_spacing": 16}
    (image,) = run(nodes.FlowImage, flow=nodes.Flow(flow), **settings)
    wheel = pack("dream_core.motion.flow_image").flow_image(flow, saturation_length=20)
    assert torch.equal(
        planes(image),
        pack("dream_core.motion.flow_image").draw_arrows(wheel, flow, spacing=16, saturation_length=20),
    )


def test_arrows_on_a_frame_of_another_size_are_scaled(
    nodes: Any, run: Any, pack: Any, errors: Any, planes: Any, constant_flow: Any
) -> None:
    frame = torch.full((1, 96, 128, 4), 0.5)
    flow = nodes.Flow(constant_flow(5, 0, count=2))
    settings = {"saturation_length": 20.0, "arrow_spacing": 64}
    (image,) = run(nodes.FlowImage, flow=flow, frames=frame, **settings)
    draw = pack("dream_core.motion.flow_image").draw_arrows
    expected = draw(
        torch.full((2, 3, 96, 128), 0.5),
        constant_flow(10, 0, count=2, size=(96, 128)),
        spacing=64,
        saturation_length=20,
    )
    assert torch.equal(planes(image), expected)
    with pytest.raises(errors.SettingsError, match="expected arrow_spacing of at least 1, got 0"):
        run(nodes.FlowImage, flow=flow, frames=frame, **SHOWN)


def test_another_packs_flow_is_refused_by_name(nodes: Any, run: Any, pack: Any) -> None:
    error = pack("nodes.adapters.require").WireError
    with pytest.raises(error, match="flow from Optical Flow, Camera Flow or DeepDream Video, got Tensor"):
        run(nodes.FlowImage, flow=torch.zeros(2, 2, *SIZE), **SHOWN)
