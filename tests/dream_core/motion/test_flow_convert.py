"""Flow of other packs: their orders of dimensions, their units, and their direction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from dream_core.errors import ImageError
from dream_core.motion.flow_convert import both_directions, to_layout, vectors_from
from dream_core.settings import FlowLayout, FlowUnit

FLOW = torch.randn(3, 2, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", ["channels_last", "channels_first", "arrays"])
@pytest.mark.parametrize("unit", ["pixels", "fraction", "grid"])
def test_what_is_given_to_another_pack_comes_back(layout: FlowLayout, unit: FlowUnit) -> None:
    found = vectors_from(to_layout(FLOW, layout, unit=unit), unit=unit)
    torch.testing.assert_close(found, FLOW)


def test_the_layouts_are_those_of_other_packs() -> None:
    last, first, arrays = (
        to_layout(FLOW, layout) for layout in ("channels_last", "channels_first", "arrays")
    )
    assert torch.equal(last, FLOW.movedim(1, -1))  # type: ignore[arg-type]
    assert torch.equal(first, FLOW)  # type: ignore[arg-type]
    assert [one.shape for one in arrays] == [(6, 8, 2)] * 3


def test_units_are_counted_as_their_programs_do() -> None:
    half = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1).expand(1, 2, 5, 9)
    assert vectors_from(half, unit="fraction")[0, :, 0, 0].tolist() == [4.5, 2.5]
    assert vectors_from(half, unit="grid")[0, :, 0, 0].tolist() == [2, 1]  # between centers: 8 and 4 pixels


def test_an_stmap_is_where_each_pixel_samples() -> None:
    stmap = to_layout(torch.zeros(1, 2, 2, 4), "stmap")
    assert isinstance(stmap, torch.Tensor)
    assert stmap[0, :, :, 0].tolist() == [[0.125, 0.375, 0.625, 0.875]] * 2
    assert stmap[0, :, 0, 1].tolist() == [0.75, 0.25]


def test_one_flow_needs_no_batch_and_may_be_an_array() -> None:
    assert vectors_from(FLOW[0]).shape == (1, 2, 6, 8)
    assert vectors_from(np.zeros((6, 8, 2))).shape == (1, 2, 6, 8)


def test_flow_to_the_next_frame_becomes_flow_to_the_one_before() -> None:
    to_next = torch.tensor([2.0, 0]).view(1, 2, 1, 1).expand(3, 2, 6, 8)
    backward, forward, trust = both_directions(to_next, to_next=True, first_missing=True)
    assert backward.mean((2, 3)).tolist() == [[0, 0]] + [[-2, 0]] * 3
    assert forward is not None
    assert torch.equal(forward[1:], to_next)
    assert trust[1:, 0, :, :2].eq(0).all()
    assert trust[1:, 0, :, 2:].eq(1).all()
    same, nothing, _ = both_directions(to_next, to_next=False, first_missing=False)
    assert torch.equal(same, to_next)
    assert nothing is None


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.zeros(2, 5, 6, 3), "2 channels, first or last.*image of flow in colors cannot be read back"),
        ({"forward": 1}, "got dict"),
        ("text", "got str"),
        ([], "got list"),
        ([torch.zeros(2, 4, 4), torch.zeros(2, 3, 4)], "of one size"),
        (torch.full((1, 2, 3, 3), torch.inf), "NaN or infinite"),
    ],
)
def test_what_is_no_flow_says_so(value: Any, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        vectors_from(value)
