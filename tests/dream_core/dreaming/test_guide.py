"""Guides and regions of a tiny network: what a dream climbs toward, and where."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dream_core.dreaming.dream import ImageDreamer
from dream_core.dreaming.guide import guide_count, guided_layers, look_at_guide, with_guides
from dream_core.dreaming.objectives import Objective, build_objective, layer
from dream_core.errors import ImageError, SettingsError
from dream_core.models.dream_model import DreamModel
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    ImageSettings,
    ObjectiveSettings,
    OctaveSettings,
    TileSettings,
)

STEPS = DreamSettings(octave=OctaveSettings(octaves=2, octave_steps=6), ascent=AscentSettings(jitter=3))
GRAY = torch.full((1, 3, 32, 40), 0.5)


def guide(red: float, blue: float) -> Tensor:
    return torch.tensor([red, 0.4, blue]).view(1, 3, 1, 1).expand(1, 3, 24, 24).clone()


def toward(model: DreamModel, image: Tensor, *, loss: str = "match", weight: float = 1.0) -> Objective:
    settings = ObjectiveSettings(layers=(f"conv:{weight}",), loss=loss)  # type: ignore[arg-type]
    built = build_objective(settings, model)
    return with_guides(built, [look_at_guide(image, built, model)])


def value(model: DreamModel, objective: Objective, image: Tensor) -> float:
    with torch.no_grad():
        return objective(model.activations(image, ("conv",))).item()


@pytest.mark.parametrize("loss", ["match", "statistics"])
def test_a_dream_becomes_like_its_guide_and_with_a_negative_weight_unlike_it(
    tiny: DreamModel, loss: str
) -> None:
    image = 0.3 + 0.4 * torch.rand(1, 3, 32, 40)
    likeness = toward(tiny, guide(0.9, 0.1), loss=loss)
    before = value(tiny, likeness, image)
    for weight in (1.0, -1.0):
        objective = toward(tiny, guide(0.9, 0.1), loss=loss, weight=weight)
        dreamed = ImageDreamer([tiny], settings=STEPS, objective=objective)(image)
        assert (value(tiny, likeness, dreamed) - before) * weight > 0


def test_tiles_climb_toward_the_same_guide(tiny: DreamModel) -> None:
    image = 0.3 + 0.4 * torch.rand(1, 3, 64, 160)
    objective = toward(tiny, guide(0.9, 0.1))
    tiles = DreamSettings(octave=STEPS.octave, ascent=STEPS.ascent, tile=TileSettings(tile_size=64))
    dreamed = ImageDreamer([tiny], settings=tiles, objective=objective)(image)
    assert value(tiny, objective, dreamed) > value(tiny, objective, image)


def test_layers_and_number_of_guides(tiny: DreamModel) -> None:
    first = build_objective(ObjectiveSettings(layers=("conv",), loss="match"), tiny)
    second = build_objective(ObjectiveSettings(layers=("conv:1:statistics",)), tiny, guide=1)
    assert guided_layers(first + second) == ("conv",)
    assert guide_count(first + second) == 2
    assert guide_count(layer("conv")) == 0


def test_a_guide_that_is_too_small_is_refused(tiny: DreamModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DreamModel, "smallest_side", lambda self, layers: 20)
    with pytest.raises(
        ImageError, match=r"^expected a guide whose shorter side has at least 20 pixels for layer conv"
    ):
        toward(tiny, torch.rand(1, 3, 12, 300))


def test_objectives_with_a_guide_without_one_are_refused(tiny: DreamModel) -> None:
    objective = build_objective(ObjectiveSettings(layers=("conv",), loss="match"), tiny)
    with pytest.raises(SettingsError, match=r"^expected a guide for layer 'conv', got none"):
        ImageDreamer([tiny], settings=STEPS, objective=objective)(GRAY)


@pytest.mark.parametrize("options", [{}, {"optimizer": "classic"}, {"random_transforms": "all"}])
def test_each_objective_acts_in_its_region(tiny: DreamModel, options: dict[str, str]) -> None:
    """The image changes near a region alone, under every kind of view."""
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., 60:] = 1
    image = 0.3 + 0.4 * torch.rand(1, 3, 64, 96)
    still = {"jitter": 4, "turn": 3.0, "spectrum": 0.0, "gradient_blur": 0.0, **options}
    settings = DreamSettings(
        octave=OctaveSettings(octaves=2, octave_steps=4),
        ascent=AscentSettings(**still),  # type: ignore[arg-type]
        image=ImageSettings(keep_brightness=False),
    )
    objective = layer("conv").in_regions({"conv": mask, "other": 1 - mask})
    changed = (ImageDreamer([tiny], settings=settings, objective=objective)(image) - image).abs()
    assert changed[..., 66:].mean() > 20 * changed[..., :50].mean()


def test_an_objective_reaches_as_far_as_its_terms() -> None:
    left = torch.zeros(1, 1, 32, 40)
    left[..., :20] = 1
    masked = layer("conv").in_regions({"conv": left})
    assert torch.equal(masked.reach, left)
    assert (layer("conv") + masked).reach is None
    assert layer("conv").reach is None


def test_two_objectives_share_an_image(tiny: DreamModel) -> None:
    left = torch.zeros(1, 1, 32, 40)
    left[..., :20] = 1
    settings = ObjectiveSettings(layers=("conv",))
    both = build_objective(settings, tiny, region="0") + -1.0 * build_objective(settings, tiny, region="1")
    placed = both.in_regions({"0": left, "1": 1 - left})
    dreamed = ImageDreamer([tiny], settings=STEPS, objective=placed)(GRAY + 0.1 * torch.rand_like(GRAY))
    with torch.no_grad():
        strength = tiny.activations(dreamed, ("conv",))["conv"].square().mean(1)
    assert strength[..., 2:18].mean() > strength[..., 22:38].mean()
