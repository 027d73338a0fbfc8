import math

import pytest
import torch
from pretended import Pretended

from dream_core.dreaming.objectives import (
    Objective,
    channel,
    cosine,
    direction,
    direction_neuron,
    diversity,
    layer,
    layer_difference,
    neuron,
)
from dream_core.dreaming.terms import DirectionTerm, LayerTerm
from dream_core.errors import SettingsError

# (1,3,1,2): the means of its channels are 1, -1 and 0.
X = torch.tensor([[[[3.0, -1.0]], [[-4.0, 2.0]], [[0.0, 0.0]]]])
SOFTPLUS = sum(math.log1p(math.exp(value)) for value in (3, -1, -4, 2, 0, 0))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("l2", math.sqrt(30)),
        ("norm", math.sqrt(30)),
        ("abs_l2", math.sqrt(30)),
        ("mse", 30 / 6),
        ("mean", 0.0),
        ("abs_mean", 10 / 6),
        ("bce", SOFTPLUS / 6),
    ],
)
def test_each_loss_by_hand(loss: str, expected: float) -> None:
    value = layer("a", loss=loss)({"a": X})
    assert value.shape == ()
    assert value.item() == pytest.approx(expected, abs=1e-6)


def test_bce_is_binary_cross_entropy_against_zero() -> None:
    expected = torch.nn.functional.binary_cross_entropy_with_logits(X, torch.zeros_like(X))
    torch.testing.assert_close(layer("a", loss="bce")({"a": X}), expected)


def test_the_root_of_nothing_has_a_finite_slope() -> None:
    x = torch.zeros(1, 2, 3, 3, requires_grad=True)
    layer("a")({"a": x}).backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_bfloat16_is_summed_in_float32() -> None:
    x = torch.ones(1, 1, 100, 100, dtype=torch.bfloat16)
    value = layer("a", loss="mean")({"a": x})
    assert value.dtype == torch.float32
    assert value.item() == 1


@pytest.mark.parametrize(
    ("mode", "channels", "expected"),
    [
        ("all", (), 0.0),
        ("all", (0,), 1.0),
        ("all", (0, 2), 0.5),
        ("all", (2, 1, 0), 0.0),
        ("all", (0, 0, 2), 0.5),
        ("ignore", (), 0.0),
        ("ignore", (0,), -0.5),
        ("ignore", (1, 2), 1.0),
        ("strong", (1,), 1.0),
        ("strong", (2,), 0.5),
        ("strong", (3,), 0.0),
        ("avg", (1,), 0.0),
        ("weak", (1,), -1.0),
        ("weak", (2,), -0.5),
    ],
)
def test_each_channel_mode_by_hand(mode: str, channels: tuple[int, ...], expected: float) -> None:
    objective = layer("a", loss="mean", channels=channels, channel_mode=mode)
    assert objective.chooses_channels == (mode != "all" and bool(channels))
    resolved = objective.resolve({"a": X})
    assert not resolved.chooses_channels
    assert resolved({"a": X}).item() == pytest.approx(expected)


def test_avg_takes_the_middle_of_four_channels_and_of_equal_ones() -> None:
    x = torch.tensor([5.0, 1.0, 3.0, 2.0]).reshape(1, 4, 1, 1)
    middle = layer("a", channels=(2,), channel_mode="avg").resolve({"a": x})
    assert middle.terms[0].channels == (2, 3)
    equals = layer("a", channels=(2,), channel_mode="weak").resolve({"a": torch.ones(1, 4, 2, 2)})
    assert equals.terms[0].channels == (0, 1)


def test_chosen_channels_stay_when_the_image_changes() -> None:
    resolved = layer("a", loss="mean", channels=(1,), channel_mode="strong").resolve({"a": X})
    assert resolved({"a": -X}).item() == -1


@pytest.mark.parametrize(
    ("mode", "channels", "message"),
    [
        (
            "all",
            (3,),
            r"^expected channels of layer 'a' from 0 to 2, got 3; `print_layers` lists layers with",
        ),
        ("all", (0, -1), r"^expected channels of layer 'a' from 0 to 2, got -1;"),
        ("ignore", (7,), r"^expected channels of layer 'a' from 0 to 2, got 7;"),
        (
            "ignore",
            (0, 1, 2),
            r"^expected a channel of layer 'a' to excite, got all 3 to ignore; ignore fewer$",
        ),
        ("strong", (4,), r"^expected a number from 1 to 3 in `channels` for layer 'a', got 4$"),
        ("avg", (0,), r"^expected one number of at least 1 as channels for channel mode 'avg', got 0$"),
        ("weak", (1, 2), r"^expected one number .* for channel mode 'weak', got 1, 2$"),
    ],
)
def test_wrong_channels_are_refused(mode: str, channels: tuple[int, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        layer("a", channels=channels, channel_mode=mode).resolve({"a": X})


@pytest.mark.parametrize("mode", ["strong", "avg", "weak"])
def test_modes_that_choose_channels_need_a_number(mode: str) -> None:
    with pytest.raises(SettingsError, match=rf"^expected one number .* channel mode '{mode}', got none$"):
        layer("a", channel_mode=mode)


def test_a_channel_that_is_listed_twice_counts_once() -> None:
    assert layer("a", channels=(2, 0, 2)) == layer("a", channels=(2, 0))
    assert layer("a", loss="mean", channels=(2, 0, 2))({"a": X}) == layer("a", loss="mean", channels=(2, 0))(
        {"a": X}
    )


def test_a_wrong_channel_is_found_without_resolving() -> None:
    with pytest.raises(SettingsError, match="expected channels of layer 'a' from 0 to 2, got 9"):
        layer("a", channels=(9,))({"a": X})


def test_unknown_losses_and_modes_are_refused() -> None:
    message = r"^expected a loss of l2, norm, abs_l2, mse, mean, abs_mean, bce, got 'l3'$"
    with pytest.raises(SettingsError, match=message):
        layer("a", loss="l3")
    message = r"^expected a channel mode of all, strong, avg, weak, ignore, got 'loud'$"
    with pytest.raises(SettingsError, match=message):
        layer("a", channel_mode="loud")


def test_weights_scale_and_normalizing_divides_by_all_channels() -> None:
    assert layer("a", weight=-3, loss="mse")({"a": X}).item() == pytest.approx(-15)
    term = LayerTerm("a", weight=6, loss="mean", channels=(0,), normalize=True)
    assert Objective((term,))({"a": X}).item() == pytest.approx(6 * 1 / 3)


def test_chosen_channels_are_copied_to_a_gpu_once() -> None:
    with Pretended("cuda") as gpu:
        activation = torch.rand(1, 6, 4, 5).to(gpu.device)
        term = LayerTerm("any", channels=(1, 4))
        sums = [term.loss_sum({"any": activation}).sum]
        gpu.copies.clear()
        sums += [term.loss_sum({"any": activation}).sum for _ in range(3)]
        assert (gpu.copies, gpu.waits) == ([], [])
        assert sums[0].device == gpu.device
    assert torch.equal(torch.stack(sums), activation[:, [1, 4]].square().sum().expand(4))


# Directions, diversity, difference


def test_directions_by_hand() -> None:
    assert channel("a", 1)({"a": X}).item() == -1
    # Products with (1, -2, 5): 3 + 8, -1 - 4.
    assert direction("a", [1, -2, 5], weight=2)({"a": X}).item() == pytest.approx(2 * (11 - 5) / 2)
    # Lengths: 5 and sqrt(5) of the places, sqrt(30) of the vector.
    expected = (11 / 5 - 5 / math.sqrt(5)) / math.sqrt(30) / 2
    assert cosine("a", [1, -2, 5])({"a": X}).item() == pytest.approx(expected, abs=1e-6)


def test_a_neuron_is_the_channel_in_the_middle_or_where_it_is_said_to_be() -> None:
    x = torch.arange(2 * 4 * 5.0).reshape(1, 2, 4, 5)
    assert neuron("a", 1)({"a": x}).item() == x[0, 1, 2, 2]
    assert neuron("a", 0, x=1, y=0)({"a": x}).item() == x[0, 0, 0, 4]
    expected = torch.cosine_similarity(x[0, :, 2, 2], torch.tensor([1.0, 3.0]), dim=0)
    torch.testing.assert_close(direction_neuron("a", [1, 3])({"a": x}), expected)
    assert neuron("a", 1).needs_whole
    assert not direction("a", [1]).needs_whole
    with pytest.raises(SettingsError, match=r"^expected the place of a neuron from 0 to 1, got \(0.5, 2\)$"):
        neuron("a", 1, x=2)


def test_a_direction_is_made_of_channels_that_an_image_chooses() -> None:
    strongest = Objective((DirectionTerm("a", channels=(1,), channel_mode="strong"),))
    assert strongest.chooses_channels
    assert strongest.resolve({"a": X})({"a": X}).item() == 1


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ((1.0,), r"^expected a strength for each channel .* got 1 for 2 "),
        ((0.0, 0.0), r"got 0 in every channel$"),
    ],
)
def test_wrong_directions_are_refused(strengths: tuple[float, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        DirectionTerm("a", channels=(0, 1), strengths=strengths)


def test_diversity_is_least_where_all_quarters_are_alike() -> None:
    quarter = torch.rand(1, 3, 4, 4)
    alike = quarter.repeat(1, 1, 2, 2)
    assert diversity("a")({"a": alike}).item() == pytest.approx(-3)
    batch = quarter.repeat(5, 1, 1, 1)
    assert diversity("a")({"a": batch}).item() == pytest.approx(-4)  # as in lucent
    different = torch.zeros(1, 4, 2, 2)
    different[0, range(4), (0, 0, 1, 1), (0, 1, 0, 1)] = 1
    assert diversity("a")({"a": different}).item() == pytest.approx(0)
    assert diversity("a")({"a": torch.ones(1, 3, 1, 1)}).item() == 0  # nothing to compare


def test_layers_differ_place_by_place() -> None:
    coarse, fine = torch.full((1, 2, 2, 2), 3.0), torch.ones(1, 5, 4, 4)
    fine[..., :2, :2] = 3
    objective = layer_difference("coarse", "fine", weight=10)
    assert objective.layers == ("coarse", "fine")
    assert objective({"coarse": coarse, "fine": fine}).item() == pytest.approx(10 * 3 * 4 / 4)


@pytest.mark.parametrize("objective", [cosine("a", [1, 2, 3]), diversity("a"), layer_difference("a", "a")])
def test_slopes_are_finite_where_nothing_is_active(objective: Objective) -> None:
    x = torch.zeros(1, 3, 4, 4, requires_grad=True)
    objective({"a": x}).backward()
    assert torch.isfinite(x.grad).all()
