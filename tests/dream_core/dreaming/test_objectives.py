import pytest
import torch

from dream_core.dreaming.objectives import (
    Objective,
    layer,
    total_variation,
)

# (1,3,1,2): the means of its channels are 1, -1 and 0.
X = torch.tensor([[[[3.0, -1.0]], [[-4.0, 2.0]], [[0.0, 0.0]]]])


def test_objectives_add_and_scale() -> None:
    a, b = layer("a", loss="mean", channels=(0,)), layer("b", weight=2, loss="mse")
    activations = {"a": X, "b": torch.full((1, 2, 2, 2), 3.0)}
    both = 0.5 * a + b * 10 + Objective((), tv_weight=1, l2_weight=3) * 2
    assert both(activations).item() == pytest.approx(0.5 * 1 + 10 * 2 * 9)
    assert (both.tv_weight, both.l2_weight) == (2, 6)
    assert (a + a)(activations).item() == 2
    assert (a + b + a).layers == ("a", "b")


def test_total_variation_by_hand() -> None:
    image = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).expand(1, 3, 2, 2)
    # Down: 0.5 + 0.5; right: 1 + 0; over four values per color.
    assert total_variation(image).item() == pytest.approx(2 / 4)
    assert total_variation(torch.rand(1, 3, 1, 1)).item() == 0


def test_image_terms_lower_the_objective() -> None:
    image = torch.tensor([[0.0, 1.0], [0.5, 0.5]]).expand(1, 3, 2, 2)
    objective = Objective((), tv_weight=2, l2_weight=4)
    # Squared distances from 0.5: 0.25, 0.25, 0, 0.
    assert objective.penalty_value(image).item() == pytest.approx(-(2 * 0.5 + 4 * 0.125))
    assert objective.has_penalties
    assert not layer("a").has_penalties
