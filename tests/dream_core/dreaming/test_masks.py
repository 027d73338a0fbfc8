"""Masks of a dream: where it may be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dream_core.dreaming.dream import ImageDreamer
from dream_core.dreaming.masks import PARTS, masked_part, prepare_mask
from dream_core.dreaming.step_plan import MARGIN
from dream_core.errors import ImageError
from dream_core.models.dream_model import DreamModel
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    ImageSettings,
    MaskSettings,
    OctaveSettings,
)

STEPS = DreamSettings(octave=OctaveSettings(octaves=2, octave_steps=3), ascent=AscentSettings(jitter=2))


def disc(height: int, width: int, *, x: float, y: float, radius: float) -> Tensor:
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
    return ((columns - x) ** 2 + (rows - y) ** 2 <= radius**2).float()[None, None]


def test_a_mask_fades_inwards_over_the_feather() -> None:
    mask = torch.zeros(1, 1, 40, 60)
    mask[..., 20:] = 1
    found = prepare_mask(mask, MaskSettings(mask_feather=8))[0, 0, 20]
    assert found[:20].eq(0).all()
    assert found[29:].eq(1).all()  # also at the image's own edge
    inside = found[20:29]
    assert (inside.diff() >= 0).all()
    assert 0.35 < inside[4] < 0.65


def test_a_mask_is_inverted_before_it_is_feathered_and_weakened() -> None:
    mask = disc(40, 60, x=30, y=20, radius=10)
    settings = MaskSettings(mask_invert=True, mask_feather=4, mask_strength=0.5)
    found = prepare_mask(mask, settings)
    assert found[mask == 1].eq(0).all()
    assert found.max() == 0.5
    assert torch.equal(prepare_mask(mask, MaskSettings(mask_feather=0)), mask)


def test_the_part_around_a_mask_has_a_margin_and_sides_of_sixteenths() -> None:
    mask = disc(320, 480, x=100, y=60, radius=20)
    part = masked_part(mask, smallest=1)
    assert part is not None
    for span, side, center in ((part.rows, 320, 60), (part.columns, 480, 100)):
        assert len(span) * PARTS % side == 0
        assert 41 + 2 * MARGIN <= len(span) < 41 + 2 * MARGIN + side / PARTS
        assert span.start <= center - 20 - MARGIN
        assert span.stop > center + 20 + MARGIN


def test_the_part_is_as_large_as_the_layers_need_and_within_the_image() -> None:
    corner = disc(320, 480, x=0, y=0, radius=2)
    part = masked_part(corner, smallest=200)
    assert part is not None
    assert (part.rows.start, part.columns.start, len(part.rows), len(part.columns)) == (0, 0, 200, 210)
    whole = masked_part(corner, smallest=1000)
    assert whole is not None
    assert (len(whole.rows), len(whole.columns)) == (320, 480)
    assert masked_part(torch.zeros(1, 1, 320, 480), smallest=1) is None


@pytest.mark.parametrize(
    "settings",
    [
        STEPS,
        DreamSettings(octave=OctaveSettings(octaves=2, octave_steps=3, octave_carry="image")),
        DreamSettings(
            octave=OctaveSettings(octaves=2, octave_steps=2, iterations=2),
            image=ImageSettings(init="random", original_colors=True, contrast=90, zoom=5),
        ),
    ],
    ids=["default", "images between octaves", "all that changes a whole image"],
)
def test_outside_of_the_mask_the_image_comes_back_to_the_last_bit(
    tiny: DreamModel, settings: DreamSettings
) -> None:
    image, mask = torch.rand(1, 3, 90, 120), disc(90, 120, x=40, y=50, radius=18)
    dreamed = ImageDreamer([tiny], settings=settings)(image, mask=mask)
    changed = (dreamed != image).any(1, keepdim=True)
    assert not changed[mask == 0].any()
    assert changed[mask == 1].float().mean() > 0.9


def test_a_mask_of_ones_changes_nothing_and_one_of_zeros_dreams_nothing(tiny: DreamModel) -> None:
    image, dream = torch.rand(1, 3, 60, 80), ImageDreamer([tiny], settings=STEPS)
    whole = dream(image)
    torch.testing.assert_close(dream(image, mask=torch.ones(1, 1, 60, 80)), whole, atol=1e-5, rtol=0)
    assert torch.equal(dream(image, mask=torch.zeros(1, 1, 60, 80)), image)


def test_gray_takes_its_share_of_the_steps(tiny: DreamModel) -> None:
    image = 0.3 + 0.4 * torch.rand(1, 3, 60, 80)
    dream = ImageDreamer([tiny], settings=STEPS)
    full, half = (dream(image, mask=torch.full((1, 1, 60, 80), share)) - image for share in (1.0, 0.5))
    assert 0.4 < float(half.abs().mean() / full.abs().mean()) < 0.65


def test_only_the_part_around_the_mask_is_computed(tiny: DreamModel) -> None:
    seen: list[int] = []

    class Counted(DreamModel):
        def activations(self, image: Tensor, layers: object) -> dict[str, Tensor]:
            seen.append(image.shape[-2] * image.shape[-1])
            return super().activations(image, layers)  # type: ignore[arg-type]

    model, image = Counted(tiny.network, tiny.spec), torch.rand(1, 3, 320, 480)
    dream = ImageDreamer([model], settings=STEPS)
    dream(image)
    whole = sum(seen)
    seen.clear()
    tenth = disc(320, 480, x=200, y=150, radius=70)
    assert tenth.mean() == pytest.approx(0.1, abs=0.01)
    dream(image, mask=tenth)
    assert sum(seen) <= 0.25 * whole


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (torch.ones(1, 1, 60, 81), r"expected mask \(1,1,60,80\).*resize it"),
        (torch.full((1, 1, 60, 80), 2.0), "mask values between 0 and 1"),
        (torch.ones(1, 3, 60, 80), r"expected mask \(1,1,60,80\)"),
    ],
)
def test_a_wrong_mask_is_refused(tiny: DreamModel, mask: Tensor, problem: str) -> None:
    with pytest.raises(ImageError, match=problem):
        ImageDreamer([tiny], settings=STEPS)(torch.rand(1, 3, 60, 80), mask=mask)
