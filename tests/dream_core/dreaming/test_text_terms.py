"""Dreams toward texts, with an encoder that knows colors: whether they get there can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dream_core.dreaming.dream import ImageDreamer
from dream_core.dreaming.masks import within_reach
from dream_core.dreaming.objectives import Objective, layer, require_region, text_objective
from dream_core.dreaming.text_terms import TextTerm, as_strong_as, draw_crops
from dream_core.dreaming.tiling import objective_gradient
from dream_core.errors import SettingsError
from dream_core.models.dream_model import DreamModel
from dream_core.models.image_text import ImageTextEncoder
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    ImageSettings,
    MaskSettings,
    OctaveSettings,
    OptimizerName,
    TextSettings,
    TileSettings,
)

PLAIN = DreamSettings(
    octave=OctaveSettings(octaves=2, octave_steps=6),
    ascent=AscentSettings(optimizer="classic", jitter=3),
    image=ImageSettings(keep_brightness=False),
)
GRAY = torch.full((1, 3, 40, 48), 0.5)
LEFT = torch.cat([torch.ones(1, 1, 40, 24), torch.zeros(1, 1, 40, 24)], dim=3)


def toward(encoder: ImageTextEncoder, *texts: str, region: str = "") -> Objective:
    return text_objective(TextSettings(text=texts), encoder, region=region)


def dreamed(model: DreamModel, objective: Objective, settings: DreamSettings = PLAIN) -> Tensor:
    return ImageDreamer([model], settings=settings, objective=objective)(GRAY)


def change(image: Tensor) -> list[float]:
    """How much redder, greener and bluer an image is than gray."""
    return (image.mean((0, 2, 3)) - 0.5).tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("texts", "signs"),
    [
        (("red",), (1, -1, -1)),
        (("red:-1",), (-1, 1, 1)),
        (("red", "blue"), (1, -1, 1)),
        (("red", "blue:-1"), (1, 0, -1)),
    ],
)
def test_a_dream_becomes_what_texts_say(
    tiny: DreamModel, colors: ImageTextEncoder, texts: tuple[str, ...], signs: Sequence[int]
) -> None:
    found = change(dreamed(tiny, toward(colors, *texts)))
    assert all(sign == 0 or one * sign > 0.01 for one, sign in zip(found, signs, strict=True)), found


def test_a_heavier_text_outweighs_a_lighter_one(tiny: DreamModel, colors: ImageTextEncoder) -> None:
    red, _, blue = change(dreamed(tiny, toward(colors, "red", "blue:0.3")))
    assert red > blue + 0.01


@pytest.mark.parametrize("optimizer", ["clean", "classic", "adam"])
def test_a_text_alone_dreams_as_strongly_as_its_weight_says(
    tiny: DreamModel, colors: ImageTextEncoder, optimizer: OptimizerName
) -> None:
    once = replace(
        PLAIN,
        octave=OctaveSettings(octaves=1, octave_steps=1),
        ascent=replace(PLAIN.ascent, optimizer=optimizer, clamp=False),
    )

    def dreamed_by(*texts: str, weight: float = 1.0) -> Tensor:
        return dreamed(tiny, weight * toward(colors, *texts), once) - GRAY

    full = dreamed_by("red")
    assert full.abs().amax() > 0
    for share, found in (
        (0.5, dreamed_by("red:0.5")),
        (0.25, dreamed_by("red:0.5", weight=0.5)),
        (1.0, dreamed_by("red:0.5", "red:0.5")),
        (1.0, dreamed_by("red:3", weight=2.0)),
        (0.0, dreamed_by("red:0")),
    ):
        assert (found - share * full).abs().mean() <= 0.01 * full.abs().mean()


def test_texts_act_in_their_regions_and_leave_the_rest(tiny: DreamModel, colors: ImageTextEncoder) -> None:
    both = toward(colors, "red", region="here") + toward(colors, "blue", region="there")
    found = dreamed(tiny, both.in_regions({"here": LEFT, "there": 1 - LEFT}))
    left, right = change(found[..., 8:16]), change(found[..., 32:40])
    assert left[0] > 0.01 > left[2]
    assert right[2] > 0.01 > right[0]

    alone = toward(colors, "red").in_regions({"text": LEFT})
    mask = within_reach(None, alone, MaskSettings(mask_feather=0))
    assert mask is not None
    assert torch.equal(mask, LEFT)
    assert within_reach(None, alone + layer("conv"), MaskSettings()) is None
    require_region("text", alone)
    with pytest.raises(SettingsError, match="of what is excited, conv, got 'text'"):
        require_region("text", layer("conv"))


def test_a_text_pulls_as_strongly_as_a_layer_of_its_weight(
    tiny: DreamModel, colors: ImageTextEncoder
) -> None:
    image = torch.rand(1, 3, 40, 48)

    def gradient(objective: Objective) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        return objective_gradient([tiny], objective, image, settings=TileSettings(), generator=generator)[1]

    for scale in (1.0, 100.0):
        of_layer = gradient(scale * layer("conv"))
        together = gradient(scale * (layer("conv") + 0.5 * toward(colors, "red")))
        assert torch.allclose(
            together - of_layer, 0.5 * as_strong_as(gradient(toward(colors, "red")), of_layer)
        )
        half = gradient(scale * (layer("conv") + toward(colors, "red:0.5")))
        assert torch.allclose(half, together)
    # Where layers have no weight left, the text does not fade with them.
    alone, faded = toward(colors, "red"), 0.0 * layer("conv") + toward(colors, "red")
    assert torch.equal(gradient(alone), gradient(faded))


def test_layers_in_tiles_dream_beside_a_text(tiny: DreamModel, colors: ImageTextEncoder) -> None:
    tiled = DreamSettings(
        octave=PLAIN.octave, ascent=PLAIN.ascent, image=PLAIN.image, tile=TileSettings(tile_size=64)
    )
    image = torch.full((1, 3, 48, 100), 0.5)
    objective = layer("conv") + 4.0 * toward(colors, "green")
    found = ImageDreamer([tiny], settings=tiled, objective=objective)(image)
    red, green, _ = change(found)
    assert green > red + 0.01


def test_the_number_is_the_mean_cosine(colors: ImageTextEncoder) -> None:
    (term,) = toward(colors, "red").texts
    value, gradient = term.gradient(GRAY, torch.Generator())
    assert value.item() == pytest.approx(3**-0.5)
    assert gradient[0, 0].sum() > 0
    doubled = term.weighted(2.0).gradient(GRAY, torch.Generator())[0]
    assert doubled.item() == pytest.approx(2 * 3**-0.5)


def test_crops_are_inside_of_all_sides_and_see_the_edges() -> None:
    crops = draw_crops((40, 60), 200, 0.25, torch.Generator().manual_seed(0))
    assert all(one.top >= 0 <= one.left and one.top + one.side <= 40 for one in crops)
    assert all(one.left + one.side <= 60 for one in crops)
    assert {10, 40} <= {min(one.side for one in crops), max(one.side for one in crops)}
    assert min(one.left for one in crops) == 0
    assert max(one.left + one.side for one in crops) == 60
    again = draw_crops((40, 60), 200, 0.25, torch.Generator().manual_seed(0))
    assert crops == again


def test_crops_are_drawn_where_a_mask_is_white() -> None:
    mask = torch.zeros(1, 1, 40, 60)
    mask[..., 30:, 50:] = 1
    crops = draw_crops((40, 60), 50, 0.25, torch.Generator(), mask)
    assert all(one.top + one.side > 30 and one.left + one.side > 50 for one in crops)
    assert draw_crops((40, 60), 50, 0.25, torch.Generator(), 0 * mask) == []


def test_a_text_in_an_empty_region_does_nothing(tiny: DreamModel, colors: ImageTextEncoder) -> None:
    objective = (layer("conv") + toward(colors, "red")).in_regions({"text": torch.zeros(1, 1, 40, 48)})
    image = torch.rand(1, 3, 40, 48)
    settings = TileSettings()
    alone = objective_gradient([tiny], layer("conv"), image, settings=settings, generator=torch.Generator())
    both = objective_gradient([tiny], objective, image, settings=settings, generator=torch.Generator())
    assert torch.equal(both[1], alone[1])
    assert isinstance(objective.texts[0], TextTerm)
