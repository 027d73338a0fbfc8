"""Flow Math: the core's arithmetic, on whole batches and both directions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

SCALE = {"operation": {"operation": "scale", "factor": 2.0}}
COMPOSE = {"operation": {"operation": "compose"}}
INVERT = {"operation": {"operation": "invert"}}
SMOOTH = {"operation": {"operation": "smooth", "smoothing": 2.0}}


@pytest.fixture
def node(pack: Any) -> Any:
    return pack("nodes.flow_math").FlowMath


@pytest.fixture
def flow(nodes: Any, constant_flow: Any) -> Any:
    return nodes.Flow(constant_flow(3, -2, count=2), constant_flow(-3, 2, count=2))


def mean(flow: Any) -> list[float]:
    return [round(one, 4) for one in flow.mean((0, 2, 3)).tolist()]


def test_each_operation_goes_both_ways(
    run: Any, node: Any, nodes: Any, flow: Any, constant_flow: Any
) -> None:
    doubled, trust = run(node, flow=flow, **SCALE)
    assert (mean(doubled.backward), mean(doubled.forward)) == ([6, -4], [-6, 4])
    assert trust.shape == (2, 48, 64)
    assert trust.all()
    both, _ = run(node, flow=flow, then=nodes.Flow(constant_flow(1, 1), constant_flow(-1, -1)), **COMPOSE)
    assert (mean(both.backward), mean(both.forward)) == ([4, -1], [-4, 1])
    turned, _ = run(node, flow=flow, **INVERT)
    assert torch.equal(turned.backward, flow.forward)
    smoothed, _ = run(node, flow=flow, **SMOOTH)
    assert (mean(smoothed.backward), mean(smoothed.forward)) == ([3, -2], [-3, 2])


def test_an_inverse_that_did_not_come_is_computed(
    run: Any, node: Any, nodes: Any, constant_flow: Any
) -> None:
    one_way = nodes.Flow(constant_flow(3, 0, count=2))
    turned, trust = run(node, flow=one_way, reliability=torch.ones(48, 64), **INVERT)
    assert mean(turned.backward) == [-3, 0]
    assert torch.equal(turned.forward, one_way.backward)
    assert trust.mean().item() == pytest.approx(61 / 64)
    for operation in (SCALE, SMOOTH):
        assert run(node, flow=one_way, **operation)[0].forward is None
    assert run(node, flow=one_way, then=one_way, **COMPOSE)[0].forward is None


def test_what_a_flow_does_not_know_stays_unknown(run: Any, node: Any, nodes: Any, constant_flow: Any) -> None:
    known = torch.ones(2, 1, 48, 64)
    known[..., :32] = 0
    flow = nodes.Flow(constant_flow(-3, 0, count=2), None, known)
    for operation in (SCALE, SMOOTH):
        found, trust = run(node, flow=flow, **operation)
        assert torch.equal(found.reliability, known)
        assert torch.equal(trust, known[:, 0])
    turned, trust = run(node, flow=flow, **INVERT)
    assert torch.equal(turned.reliability[:, 0], trust)
    assert not trust[..., :28].any()  # which nothing known leads to
    assert trust[..., 30:60].all()
    right = nodes.Flow(constant_flow(-3, 0, count=2))
    both, _ = run(node, flow=right, then=flow, **COMPOSE)
    assert not both.reliability[..., :35].any()
    assert both.reliability[..., 35:].all()
    first, _ = run(node, flow=flow, then=right, **COMPOSE)
    assert torch.equal(first.reliability, known)
    assert run(node, flow=right, then=right, **COMPOSE)[0].reliability is None


def test_smoothing_looks_past_what_is_not_trusted(
    run: Any, node: Any, nodes: Any, constant_flow: Any
) -> None:
    wrong, trust = constant_flow(3, 0), torch.ones(1, 48, 64)
    wrong[..., 10:20, 10:20], trust[..., 10:20, 10:20] = 50, 0
    smoothed, _ = run(node, flow=nodes.Flow(wrong), reliability=trust, **SMOOTH)
    assert smoothed.backward[:, 0].max() < 3.01


def test_what_does_not_belong_together_is_refused(
    run: Any, node: Any, nodes: Any, flow: Any, errors: Any
) -> None:
    with pytest.raises(errors.ImageError, match="a second flow for compose, got none: connect then"):
        run(node, flow=flow, **COMPOSE)
    with pytest.raises(errors.ImageError, match="no second flow for scale"):
        run(node, flow=flow, then=flow, **SCALE)
    with pytest.raises(errors.ImageError, match="then in the size of flow"):
        run(node, flow=flow, then=nodes.Flow(torch.zeros(1, 2, 5, 5)), **COMPOSE)
    with pytest.raises(errors.ImageError, match="got 3 in reliability, 2 in flow"):
        run(node, flow=flow, reliability=torch.ones(3, 48, 64), **SMOOTH)
