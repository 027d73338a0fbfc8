"""Number and place of the gradient steps of a dream."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dream_core.dreaming.step_plan import LARGEST_BOX, LARGEST_STEP, MARGIN, PARTS, Box, StepPlan, plan_steps

SIZE = (96, 128)


def shares(background: float, *, top: int = 32, left: int = 48, side: int = 24, inside: float = 1) -> Tensor:
    """A share everywhere, and another one in a square."""
    renewal = torch.full((1, 1, *SIZE), background)
    renewal[..., top : top + side, left : left + side] = inside
    return renewal


def test_without_shares_all_steps_go_everywhere() -> None:
    plan = plan_steps(None, 10)
    assert (plan.whole, plan.extra, plan.box, plan.due) == (10, 0, None, None)
    assert plan.scales(SIZE) == (None, None)


def test_all_due_is_as_without_shares() -> None:
    """To the last bit: no factor of a step is rounded."""
    assert plan_steps(torch.ones(1, 1, *SIZE), 10) == StepPlan(whole=10)


def test_nothing_due_takes_no_step() -> None:
    assert plan_steps(torch.zeros(1, 1, *SIZE), 10).steps == 0
    assert plan_steps(torch.ones(1, 1, *SIZE), 0).steps == 0


@pytest.mark.parametrize(
    ("share", "steps"), [(0.01, 1), (0.05, 1), (0.1, 1), (0.2, 2), (0.33, 3), (0.5, 5), (0.99, 10)]
)
def test_an_even_share_takes_its_number_of_steps(share: float, steps: int) -> None:
    plan = plan_steps(torch.full((1, 1, *SIZE), float(share)), 10)
    assert (plan.whole, plan.extra, plan.box) == (steps, 0, None)
    whole, extra = plan.scales(SIZE)
    assert extra is None
    assert whole is not None
    torch.testing.assert_close(whole, torch.full((1, 1, *SIZE), 10 * share / steps))


def test_a_few_places_take_extra_steps_of_their_own() -> None:
    plan = plan_steps(shares(0.05), 10)
    assert plan.whole == 1
    assert plan.extra == 3  # of ten, because the box is not full
    assert plan.box is not None
    box = plan.box.pixels(SIZE)
    rows, columns = box.rows, box.columns
    assert rows.start <= 32 < 56 <= rows.stop
    assert columns.start <= 48 < 72 <= columns.stop
    assert len(rows) * len(columns) < 0.2 * SIZE[0] * SIZE[1]


@settings(max_examples=60, deadline=None)
@given(
    background=st.floats(0, 1),
    inside=st.floats(0, 1),
    top=st.integers(0, 90),
    left=st.integers(0, 120),
    side=st.integers(1, 90),
    steps=st.integers(1, 30),
)
def test_every_pixel_gets_its_due(
    background: float, inside: float, top: int, left: int, side: int, steps: int
) -> None:
    """Single pixels, which the plan sees only by the cell they lie in, may get less."""
    renewal = shares(background, top=top, left=left, side=side, inside=inside)
    plan = plan_steps(renewal, steps)
    given_ = torch.zeros_like(renewal)
    whole, extra = plan.scales(SIZE)
    given_ += plan.whole * (1 if whole is None else whole)
    given_ += 0 if extra is None else plan.extra * extra
    assert (given_ <= steps * renewal + 1e-4).all()
    short = (given_ < steps * renewal - 1e-3).float().mean()
    assert short < 0.05
    assert plan.whole <= steps
    assert plan.steps <= steps + 1


def test_the_steps_are_never_larger_than_the_largest() -> None:
    for scale in plan_steps(shares(0.01), 100).scales(SIZE):
        assert scale is not None
        assert scale.max() <= LARGEST_STEP


def test_scales_are_those_of_any_octave() -> None:
    plan = plan_steps(shares(0.05), 10)
    for size in ((48, 64), (33, 44)):
        whole, extra = plan.scales(size)
        assert whole is not None
        assert extra is not None
        assert plan.box is not None
        box = plan.box.pixels(size)
        rows, columns = box.rows, box.columns
        inside = (..., slice(rows.start, rows.stop), slice(columns.start, columns.stop))
        outside = torch.ones(size, dtype=torch.bool)
        outside[inside[1:]] = False
        assert extra[..., outside].max() == 0
        assert torch.equal(extra[inside], whole[inside])
        assert extra[inside].max() > 1.5


def test_a_large_box_is_computed_as_the_whole() -> None:
    plan = StepPlan(
        whole=1, extra=2, box=Box(top=0.1, left=0, height=0.75, width=1), due=torch.ones(1, 1, *SIZE)
    )
    assert plan.crop(SIZE, 1) is None
    assert plan_steps(None, 10).crop(SIZE, 1) is None


def test_the_crop_is_the_box_and_a_margin_inside_the_image() -> None:
    plan = StepPlan(
        whole=1, extra=2, box=Box(top=0, left=0.5, height=0.25, width=0.25), due=torch.ones(1, 1, 200, 300)
    )
    crop = plan.crop((200, 300), 1)
    assert crop is not None
    assert (crop.rows.start, crop.rows.stop) == (0, 50 + 2 * MARGIN)  # moved inside
    assert (crop.columns.start, crop.columns.stop) == (150 - MARGIN, 225 + MARGIN)
    large = plan.crop((200, 300), 120)
    assert large is not None
    assert (len(large.rows), len(large.columns)) == (120, 120)
    assert len(large.rows) * len(large.columns) / (200 * 300) < LARGEST_BOX
    image = torch.rand(1, 3, 200, 300)
    assert torch.equal(crop.crop(image), image[..., :82, 134:241])


def test_a_thing_that_moves_and_grows_meets_few_sizes_of_crops() -> None:
    """Each new size costs the libraries for convolutions more time than the step."""
    sizes, octave = set(), (77, 103)
    for top, left, side in product(range(0, 60, 7), range(0, 90, 7), range(4, 36, 3)):
        crop = plan_steps(shares(0.05, top=top, left=left, side=side), 10).crop(octave, 30)
        if crop is not None:
            sizes.add((len(crop.rows), len(crop.columns)))
    assert 1 < len(sizes) <= PARTS**2


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 3), (300, 2)])
def test_any_size(size: tuple[int, int]) -> None:
    plan = plan_steps(torch.full((1, 1, *size), 0.5), 10)
    assert plan.whole == 5
    assert plan.crop(size, 1) is None
