"""Flow Convert: flow of other packs becomes this pack's, and the other way round."""

from __future__ import annotations

from typing import Any

import pytest
import torch

TO_NEXT = {"points_to": "next", "first_missing": True, "flow_unit": "pixels", "flow_layout": "channels_last"}
TO_PREVIOUS = {**TO_NEXT, "points_to": "previous", "first_missing": False, "flow_layout": "arrays"}


@pytest.fixture
def node(pack: Any) -> Any:
    return pack("nodes.flow_convert").FlowConvert


def test_unimatchs_flow_comes_in_and_goes_out_again(run: Any, node: Any) -> None:
    theirs = torch.tensor([2.0, 0]).expand(2, 48, 64, 2)  # of three frames, each to the next
    flow, converted, reliability = run(node, any_flow=theirs, **TO_NEXT)
    assert flow.backward.mean((2, 3)).tolist() == [[0, 0], [-2, 0], [-2, 0]]
    assert torch.equal(converted, theirs)
    assert reliability.mean((1, 2)).tolist() == [1, pytest.approx(62 / 64), pytest.approx(62 / 64)]
    _, again, _ = run(node, any_flow=flow, **TO_NEXT)
    assert torch.equal(again, theirs)


def test_arrays_to_the_frame_before_come_in_and_go_out_again(run: Any, node: Any, nodes: Any) -> None:
    theirs = [torch.randn(48, 64, 2).numpy() for _ in range(2)]
    flow, converted, reliability = run(node, any_flow=theirs, **TO_PREVIOUS)
    assert flow.forward is None
    assert all((one == other).all() for one, other in zip(converted, theirs, strict=True))
    assert reliability.all()


def test_this_packs_flow_is_turned_around_for_others(
    run: Any, node: Any, nodes: Any, constant_flow: Any
) -> None:
    one_way = nodes.Flow(constant_flow(3, 0, count=3))
    same, converted, _ = run(node, any_flow=one_way, **TO_NEXT)
    assert same is one_way
    assert converted.shape == (2, 48, 64, 2)
    assert converted.mean((0, 1, 2)).tolist() == [pytest.approx(-3), 0]


def test_what_this_packs_flow_does_not_know_is_told(
    run: Any, node: Any, nodes: Any, constant_flow: Any
) -> None:
    known = (torch.rand(2, 1, 48, 64) > 0.5).float()
    flow, _, reliability = run(
        node, any_flow=nodes.Flow(constant_flow(1, 0, count=2), None, known), **TO_PREVIOUS
    )
    assert torch.equal(flow.reliability, known)
    assert torch.equal(reliability, known[:, 0])


def test_what_is_no_flow_is_refused(run: Any, node: Any, errors: Any) -> None:
    with pytest.raises(errors.ImageError, match="2 channels"):
        run(node, any_flow=torch.zeros(1, 48, 64, 3), **TO_NEXT)
