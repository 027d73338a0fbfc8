"""Terms that compare a layer with a guide, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dream_core.dreaming.guide_terms import MOST_FEATURES, MatchTerm, StatisticsTerm
from dream_core.errors import SettingsError

# Two channels: places along x alone, along y alone, and along both.
GUIDE = torch.tensor([[1.0, 0.0, 1.0], [0.0, 4.0, 1.0]]).view(1, 2, 1, 3)


def match(**options: object) -> MatchTerm:
    term = MatchTerm(layer="a", **options).toward({"a": GUIDE})
    assert isinstance(term, MatchTerm)
    return term


def places(*vectors: tuple[float, float]) -> Tensor:
    return torch.tensor(vectors).T.reshape(1, 2, 1, len(vectors))


def test_each_place_finds_its_match() -> None:
    found = match().matches(places((5.0, 0.0), (0.1, 1.0), (0.0, 0.0)))
    assert found[0, :2].tolist() == [0, 1]


def test_a_match_is_the_product_over_the_roots_of_the_lengths() -> None:
    sums = match().loss_sum({"a": places((9.0, 0.0), (0.0, 16.0))})
    # (9*1)/sqrt(9*1) and (16*4)/sqrt(16*4)
    assert match(weight=2.0).value(sums).item() == pytest.approx(2 * (3 + 8) / 2)


def test_the_gradient_leads_to_the_match() -> None:
    x = places((2.0, 0.2)).requires_grad_()
    term = match()
    for _ in range(200):
        (slope,) = torch.autograd.grad(term.value(term.loss_sum({"a": x})), x)
        x = (x + 0.05 * slope).detach().requires_grad_()
    assert torch.cosine_similarity(x.flatten(), torch.tensor([1.0, 0.0]), dim=0) > 0.999


def test_a_carried_match_holds_until_another_is_clearly_better() -> None:
    x = places((1.0, 0.3), (0.2, 1.0))
    assert match().matches(x).tolist() == [[2, 1]]
    carried = torch.tensor([0.0, 0.0]).view(1, 1, 1, 2)
    assert replace(match(), carried=carried).matches(x).tolist() == [[0, 1]]
    unknown = replace(match(), carried=torch.full((1, 1, 1, 2), -1.0))
    assert torch.equal(unknown.matches(x), match().matches(x))


def test_what_is_carried_moves_with_the_image_without_being_mixed() -> None:
    term = replace(match(), carried=torch.tensor([[[[0.0, 2.0]]]]), mask=torch.tensor([[[[0.0, 1.0]]]]))
    flipped = term.seen(lambda one, nearest: one.flip(-1) if nearest else 0.5 * one.flip(-1))
    assert flipped.carried.tolist() == [[[[2.0, 0.0]]]]
    assert flipped.mask.tolist() == [[[[0.5, 0.0]]]]


def test_statistics_are_at_their_best_at_the_guide_wherever_its_parts_lie() -> None:
    term = StatisticsTerm(layer="a").toward({"a": GUIDE})
    same = term.value(term.loss_sum({"a": GUIDE.flip(-1)}))
    other = term.value(term.loss_sum({"a": GUIDE * 1.5}))
    assert same.item() == pytest.approx(0, abs=1e-6)
    assert other.item() == pytest.approx(-(0.5**2 + 1.25**2) / 2, rel=1e-4)


def test_sums_of_tiles_add_up() -> None:
    for term in (match(), StatisticsTerm(layer="a").toward({"a": GUIDE})):
        x = torch.rand(1, 2, 4, 6)
        parts = [term.loss_sum({"a": part}) for part in x.split(3, dim=-1)]
        whole = term.loss_sum({"a": x})
        torch.testing.assert_close(sum(one.sum for one in parts), whole.sum)
        assert sum(one.values for one in parts) == whole.values


def test_a_fine_layer_is_compared_at_some_of_its_places() -> None:
    side = 2 * math.isqrt(MOST_FEATURES)
    term = MatchTerm(layer="a").toward({"a": torch.rand(1, 2, side, side)})
    assert term.features.shape == (2, MOST_FEATURES)


def test_channels_can_be_chosen_but_not_by_an_image() -> None:
    term = MatchTerm(layer="a", channels=(1,)).toward({"a": GUIDE})
    assert term.features.tolist() == [[0.0, 4.0, 1.0]]
    with pytest.raises(
        SettingsError, match=r"^expected `channel_mode` all or ignore with a guide, got 'strong'"
    ):
        MatchTerm(layer="a", channels=(1,), channel_mode="strong")


def test_a_term_without_its_guide_says_so() -> None:
    with pytest.raises(SettingsError, match=r"^expected a guide for layer 'a', got none; name one"):
        MatchTerm(layer="a").loss_sum({"a": GUIDE})
