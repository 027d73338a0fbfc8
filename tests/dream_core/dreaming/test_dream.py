import itertools
import math
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from kornia.color import rgb_to_ycbcr
from pretended import Pretended
from torch import Tensor, nn

from dream_core.checks import validate
from dream_core.dreaming.dream import DreamStep, ImageDreamer, dream
from dream_core.dreaming.objectives import (
    Objective,
    build_objective,
    choose_channels,
    diversity,
    layer,
    total_variation,
)
from dream_core.dreaming.octaves import visible_sizes
from dream_core.dreaming.terms import DifferenceTerm, DirectionTerm
from dream_core.errors import ImageError, OutOfMemoryError, SettingsError
from dream_core.image import keep_colors, noise, resize, zoom
from dream_core.models.dream_model import DreamModel, _Uninitialized, load_model
from dream_core.models.preprocessing import Preprocessing
from dream_core.models.registry import MODELS, ModelSpec
from dream_core.models.weights import WeightSource
from dream_core.settings import (
    AscentSettings,
    DreamSettings,
    ImageSettings,
    ModelSettings,
    ObjectiveSettings,
    OctaveSettings,
    TileSettings,
)

NETWORKS = ("bvlc_googlenet", "googlenet", "inception_v3", "vgg16", "vgg19", "resnet50", "squeezenet1_1")


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 5)
        self.act = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Conv2d(6, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.pool(self.act(self.first(x))))


def tiny(kind: type[DreamModel] = DreamModel) -> DreamModel:
    generator = torch.Generator().manual_seed(7)
    network = Tiny()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    spec = ModelSpec(
        name="squeezenet1_1",
        build=Tiny,
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5)),
        layer="second",
        source=WeightSource("tiny.pth"),
        size=64,
    )
    return kind(network, spec, labels=("cat", "hot dog", "dog", "drake"))


@pytest.fixture
def model() -> DreamModel:
    return tiny()


@pytest.fixture
def image() -> Tensor:
    return 0.2 + 0.6 * torch.rand(1, 3, 40, 56)


@pytest.fixture(scope="session")
def googlenet(test_data: Path) -> DreamModel:
    settings = ModelSettings(model_file=test_data / "weights" / "bvlc_googlenet.safetensors")
    return load_model(settings, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture(scope="session")
def duck(test_data: Path) -> Tensor:
    with av.open(str(test_data / "clips" / "mallard.mp4")) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
    frame = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255  # HWC -> BCHW
    return resize(frame, (96, 128)).clamp(0, 1)


def make(**options) -> DreamSettings:
    """Settings from flat names, independent of the defaults for users."""
    usual = {"octaves": 1, "octave_scale": 0.6, "octave_steps": 3, "jitter": 4}
    options = usual | {"optimizer": "adam", "learning_rate": 1.5} | options
    parts = {
        "objective": ObjectiveSettings,
        "octave": OctaveSettings,
        "ascent": AscentSettings,
        "tile": TileSettings,
        "image": ImageSettings,
    }
    known = {
        name: {key: value for key, value in options.items() if key in kind.__dataclass_fields__}
        for name, kind in parts.items()
    }
    assert sum(map(len, known.values())) == len(options)
    return DreamSettings(**{name: kind(**known[name]) for name, kind in parts.items()})


def excitement(model: DreamModel, image: Tensor, objective: Objective | None = None) -> float:
    objective = objective or layer(model.default_layer)
    with torch.no_grad():
        return objective(model.activations(image, objective.layers)).item()


# The objective


def test_the_default_objective_is_the_networks_layer(model: DreamModel) -> None:
    assert build_objective(ObjectiveSettings(), model) == layer("second")


def test_the_settings_become_terms_of_the_objective(model: DreamModel) -> None:
    settings = ObjectiveSettings(
        layers=("first:0.5,second",),
        channels=("1", "0,1"),
        channel_mode="ignore",
        loss="mean",
        dream_weight=4,
        normalize_weights=True,
        tv_weight=2,
        l2_weight=3,
    )
    objective = build_objective(settings, model)
    assert [(term.layer, term.weight) for term in objective.terms] == [("first", 2), ("second", 4)]
    assert all(term.channels == (1, 0) and term.normalize for term in objective.terms)
    assert {(term.loss, term.channel_mode) for term in objective.terms} == {("mean", "ignore")}
    assert (objective.tv_weight, objective.l2_weight) == (2, 3)


def test_the_loss_makes_the_kind_of_term(model: DreamModel) -> None:
    settings = ObjectiveSettings(
        layers=("second:2:cosine", "first:-1:diversity", "act:3:difference", "first:1:difference"),
        channels=("dog:0.5", "0:2"),
        dream_weight=2,
    )
    assert build_objective(replace(settings, layers=("second:2:cosine",)), model) == Objective(
        (DirectionTerm("second", 4.0, (1, 2, 0), "all", (0.5, 0.5, 2.0), cosine=True),)
    )
    assert build_objective(replace(settings, layers=settings.layers[1:], channels=()), model) == (
        2 * (diversity("first", weight=-1) + Objective((DifferenceTerm("act", 1.0, "first", (3.0, 1.0)),)))
    )
    (neuron,) = build_objective(ObjectiveSettings(loss="neuron", channels=("1",)), model).terms
    assert neuron == DirectionTerm("second", 1.0, (1,), place=(0.5, 0.5))


def test_channels_are_named_by_labels(model: DreamModel) -> None:
    objective = build_objective(ObjectiveSettings(layers=("second",), channels=("dog", "cat")), model)
    assert objective.terms[0].channels == (1, 2, 0)


def test_a_class_by_name_alone_is_raised_on_the_layer_of_classes(image: Tensor) -> None:
    network = load_model(
        ModelSettings(model="efficientnet_lite0"), device=torch.device("cpu"), dtype=torch.float32
    )
    settings = make(channels=("tabby",), octaves=1, octave_steps=4)
    objective = build_objective(settings.objective, network)
    assert objective == layer("classes", loss="mean", channels=(281,))
    assert excitement(network, image, objective) < 0  # squares would make it less likely still
    assert excitement(network, dream(image, [network], settings=settings), objective) > 0
    for own in (
        {"layers": ("block4",)},
        {"layers": ("classes",), "loss": "l2"},
        {"channels": ("3",)},
        {"channel_mode": "strong", "channels": ("3",)},
    ):
        built = build_objective(ObjectiveSettings(**own), network)
        assert (built.layers, built.terms[0].loss) == (own.get("layers", (network.default_layer,)), "l2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ("third",)}, r"^squeezenet1_1 has no layer 'third'"),
        ({"channels": ("4",)}, r"^expected a channel from 0 to 3 of layer second, got 4$"),
        (
            {"channel_mode": "strong"},
            r"^expected one number in `channels` for `channel_mode` strong, how many channels, got none$",
        ),
        ({"channel_mode": "weak", "channels": ("1", "2")}, r"how many channels, got 1, 2$"),
        ({"channel_mode": "avg", "channels": ("dog",)}, r"^expected one number .* got dog$"),
        (
            {"channel_mode": "avg", "channels": ("5",)},
            r"^expected a number from 1 to 4 in `channels` for layer 'second', got 5$",
        ),
        ({"layers": ("second:x",)}, r"^expected a layer as NAME, .* got 'second:x'$"),
        ({"loss": "cosine"}, r"^expected `channels` for `loss` cosine, got none; list some, such as 12 or"),
        ({"channels": ("1:0.5",)}, r"^expected `channels` without strengths for `loss` l2, got 1:0.5; take"),
        ({"channels": ("1:a",)}, r"^expected a channel as CHANNEL or CHANNEL:STRENGTH, got '1:a'$"),
        ({"channels": ("1:2",), "channel_mode": "ignore"}, r"^expected `channel_mode` all for channels with"),
        ({"layers": ("first:1:l9",)}, r"^expected a loss of l2, .* for layer 'first', got 'l9'$"),
        ({"loss": "difference"}, r"^expected two `layers` for `loss` difference, got second$"),
        ({"loss": "neuron", "channels": ("1",), "tile_size": 64}, r"^expected `tile_size` 0 for a neuron"),
    ],
)
def test_wrong_objectives_are_refused(model: DreamModel, image: Tensor, options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        dream(image, [model], settings=make(**options))


def test_channels_are_chosen_on_a_smaller_image() -> None:
    sizes = []

    class Watched(DreamModel):
        def activations(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
            sizes.append(tuple(image.shape[-2:]))
            return super().activations(image, layers)

    model = tiny(Watched)
    objective = layer("second", channels=(2,), channel_mode="strong")
    choose_channels(torch.rand(1, 3, 10, 1024), objective, model)
    choose_channels(torch.rand(1, 3, 100, 200), objective, model)
    assert choose_channels(torch.rand(1, 3, 100, 200), layer("second"), model) == layer("second")
    assert sizes == [(5, 512), (100, 200)]


@pytest.mark.parametrize(("capture", "choices"), [("once", 1), ("octave", 4), ("step", 12)])
def test_channels_are_chosen_as_often_as_asked(
    model: DreamModel, image: Tensor, capture: str, choices: int
) -> None:
    seen = []

    class Watched(Objective):
        def resolve(self, activations: dict[str, Tensor]) -> Objective:
            seen.append(activations)
            return super().resolve(activations)

    objective = Watched(layer("second", channels=(1,), channel_mode="strong").terms)
    settings = make(octaves=2, iterations=2, channel_capture=capture)
    dream(image, [model], settings=settings, objective=objective)
    assert len(seen) == choices


# Ascent


@pytest.mark.parametrize("optimizer", ["clean", "adam", "lbfgs", "classic"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_objective_rises_for_every_model_and_optimizer(name: str, optimizer: str) -> None:
    network = random_model(name)
    side = 80 if name == "inception_v3" else 64
    image = 0.3 + 0.4 * torch.rand(1, 3, side, side)
    dreamed = dream(image, [network], settings=make(optimizer=optimizer, jitter=0, octave_steps=4))
    assert excitement(network, dreamed) > 1.01 * excitement(network, image)


MADE: dict[str, DreamModel] = {}


def random_model(name: str) -> DreamModel:
    """The network with seeded random weights, up to its default layer; dense layers are huge and not needed."""
    if name not in MADE:
        with _Uninitialized():
            network = MODELS[name].build()
        if name.startswith("vgg"):
            network.classifier = nn.Identity()
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
        MADE[name] = DreamModel(network, MODELS[name])
    return MADE[name]


@pytest.mark.parametrize("optimizer", ["clean", "adam", "lbfgs", "classic"])
@pytest.mark.parametrize("tile", [0, 64])
def test_real_weights_climb_a_real_image(
    googlenet: DreamModel, duck: Tensor, optimizer: str, tile: int
) -> None:
    settings = make(optimizer=optimizer, octaves=2, octave_steps=5, jitter=32, tile_size=tile)
    dreamed = dream(duck, [googlenet], settings=settings)
    assert excitement(googlenet, dreamed) > 1.25 * excitement(googlenet, duck)
    assert 1 < (dreamed - duck).abs().mean() * 255 < 15


def test_lbfgs_neither_diverges_nor_stops_on_a_real_network(googlenet: DreamModel, duck: Tensor) -> None:
    steps: list[DreamStep] = []
    settings = make(optimizer="lbfgs", octave_steps=20, jitter=32)
    dream(duck, [googlenet], settings=settings, on_step=steps.append)
    images = [duck, *(step.image for step in steps)]
    moved = [(b - a).abs().mean().item() * 255 for a, b in itertools.pairwise(images)]
    assert max(moved) < 1.51
    assert min(moved) > 0.1
    assert excitement(googlenet, images[-1]) > 1.7 * excitement(googlenet, duck)


@pytest.mark.parametrize("loss", ["l2", "norm", "mse", "mean", "bce", "abs_mean", "abs_l2"])
def test_every_loss_rises(model: DreamModel, image: Tensor, loss: str) -> None:
    dreamed = dream(image, [model], settings=make(loss=loss, octave_steps=8))
    objective = layer("second", loss=loss)
    assert excitement(model, dreamed, objective) > excitement(model, image, objective) + 1e-3


def test_a_negative_weight_suppresses_a_layer(model: DreamModel, image: Tensor) -> None:
    dreamed = dream(image, [model], settings=make(layers=("second:-1",), octave_steps=16))
    assert excitement(model, dreamed) < 0.9 * excitement(model, image)


def test_a_given_objective_replaces_that_of_the_settings(model: DreamModel, image: Tensor) -> None:
    objective = layer("first", channels=(2,), loss="mean")
    dreamed = dream(image, [model], settings=make(layers=("nonsense",)), objective=objective)
    expected = dream(image, [model], settings=make(layers=("first",), channels=("2",), loss="mean"))
    assert torch.equal(dreamed, expected)


def test_the_image_terms_make_the_dream_smoother_and_grayer(model: DreamModel, image: Tensor) -> None:
    plain = dream(image, [model], settings=make(octave_steps=10))
    smooth = dream(image, [model], settings=make(octave_steps=10, tv_weight=1e4))
    gray = dream(image, [model], settings=make(octave_steps=10, l2_weight=1e6))
    assert total_variation(smooth) < 0.8 * total_variation(image) < total_variation(plain)
    assert (gray - 0.5).square().mean() < 0.8 * (image - 0.5).square().mean()


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_blur": 1.5},
        {"laplacian_levels": 3},
        {"fft_block": 2},
        {"norm_percent": 40, "abs_percent": 10, "mean_percent": 10},
        {"random_transforms": "all"},
        {"tile_size": 64},
        {"octave_mode": "advanced", "octaves": 3, "octave_scale": 0.5},
        {"octave_mode": "manual", "octave_sizes": (20, 30, 50, 40)},
        {"octave_mode": "manual_max", "octave_sizes": (30,)},
        {"octave_mode": "manual_min", "octave_sizes": (30,)},
        {"octave_carry": "image", "octaves": 2},
        {"iterations": 2, "zoom": 5},
        {"contrast": 99.9, "original_colors": True},
        {"init": "random"},
    ],
)
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_each_setting_runs_from_end_to_end(model: DreamModel, options: dict, optimizer: str) -> None:
    image = 0.2 + 0.6 * torch.rand(1, 3, 48, 80)
    dreamed = dream(image, [model], settings=make(optimizer=optimizer, **options))
    assert dreamed.shape == image.shape
    assert dreamed.min() >= 0
    assert dreamed.max() <= 1
    assert not torch.allclose(dreamed, image, atol=0.5 / 255)
    assert not torch.equal(dreamed, dream(image, [model], settings=make(optimizer=optimizer)))


# The seed


def test_a_seed_decides_the_dream(model: DreamModel, image: Tensor) -> None:
    settings = make(octaves=2, octave_steps=2, random_transforms="all", tile_size=64)
    image = torch.rand(1, 3, 70, 90)
    first = dream(image, [model], settings=settings)
    dream(torch.rand(1, 3, 30, 30), [model], settings=make(layers=("first",), optimizer="lbfgs", seed=5))
    torch.rand(3)
    assert torch.equal(dream(image, [model], settings=settings), first)
    assert torch.equal(dream(image, [tiny()], settings=settings), first)
    other = replace(settings, ascent=replace(settings.ascent, seed=1))
    assert not torch.allclose(dream(image, [model], settings=other), first, atol=0.01)


def test_the_global_random_state_is_unchanged(model: DreamModel, image: Tensor) -> None:
    state = torch.get_rng_state()
    dream(image, [model], settings=make(init="random"))
    assert torch.equal(torch.get_rng_state(), state)


def test_ignoring_no_channel_gives_a_warning(model: DreamModel, image: Tensor) -> None:
    with pytest.warns(UserWarning, match=r"^`channel_mode` ignore does nothing without `channels`"):
        validate(make(channel_mode="ignore"))


def test_the_colors_of_another_image_are_kept(model: DreamModel, image: Tensor) -> None:
    other, settings = 0.4 + 0.2 * torch.rand(1, 3, 40, 56), make(original_colors=True)
    plain = dream(image, [model], settings=make(), colors=other)
    expected = keep_colors(plain, other).clamp(0, 1)
    assert torch.equal(dream(image, [model], settings=settings, colors=other), expected)
    assert not torch.allclose(dream(image, [model], settings=settings), expected, atol=0.01)


@pytest.mark.parametrize("octaves", [1, 2])
def test_where_nothing_is_due_nothing_is_dreamed(model: DreamModel, image: Tensor, octaves: int) -> None:
    renewal = torch.zeros_like(image[:, :1])
    renewal[..., renewal.shape[-1] // 2 :] = 1
    dreamer = ImageDreamer([model], settings=make(octaves=octaves, keep_brightness=False))
    change = dreamer(image, renewal=renewal) - image
    still, dreamed = change[..., : renewal.shape[-1] // 2 - 8], change[..., renewal.shape[-1] // 2 :]
    assert still.abs().max() < 1e-4
    assert dreamed.abs().mean() > 0.003


def test_where_all_is_due_the_dream_is_the_plain_one(model: DreamModel, image: Tensor) -> None:
    dreamer = ImageDreamer([model], settings=make(octaves=2))
    assert torch.equal(dreamer(image, renewal=torch.ones_like(image[:, :1])), dreamer(image))


def test_progress_counts_the_steps_that_are_taken(model: DreamModel, image: Tensor) -> None:
    seen: list[DreamStep] = []
    dreamer = ImageDreamer([model], settings=make(octaves=2, octave_steps=10))
    dreamer(image, renewal=torch.full_like(image[:, :1], 0.3), on_step=seen.append)
    assert [(step.done, step.total, step.octave) for step in seen] == [
        (done, 6, 1 + (done > 3)) for done in range(1, 7)
    ]


@pytest.mark.parametrize(
    ("renewal", "message"),
    [
        (torch.rand(1, 1, 40, 40), r"^expected renewal \(1,1,40,56\)"),
        (torch.full((1, 1, 40, 56), 1.5), "^expected renewal values between 0 and 1"),
    ],
)
def test_a_wrong_renewal_is_told(model: DreamModel, image: Tensor, renewal: Tensor, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        ImageDreamer([model], settings=make())(image, renewal=renewal)


@pytest.mark.parametrize("level", [0.3, 0.5, 0.7])
def test_a_dream_keeps_the_mean_colors_of_its_image(model: DreamModel, image: Tensor, level: float) -> None:
    image = level + 0.1 * (image - image.mean())

    def shift(**options: object) -> float:
        settings = make(octaves=2, octave_steps=6, learning_rate=2.5, optimizer="classic", **options)
        return float((dream(image, [model], settings=settings) - image).mean((0, 2, 3)).abs().max())

    assert shift() < 0.004
    other = (image + 0.05).clamp(0, 1)
    moved = dream(image, [model], settings=make(octaves=2, octave_steps=6), colors=other)
    torch.testing.assert_close(moved.mean((2, 3)), other.mean((2, 3)), atol=0.004, rtol=0)
    assert shift(keep_brightness=False) > 0.012


# Octaves


class Brightening:
    """A network whose only layer is the mean, so that each step brightens the whole image."""

    device, dtype, exact = torch.device("cpu"), torch.float32, False
    default_layer = "mean"

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def smallest_side(self, layers: object) -> int:
        return 1

    def activations(self, image: Tensor, layers: object) -> dict[str, Tensor]:
        self.seen.append(image.detach().clone())
        return {"mean": image.mean((1, 2, 3), keepdim=True)}


def brighten(image: Tensor, carry: str, *, weight: float = 1) -> tuple[Tensor, list[Tensor]]:
    """Two octaves, a step of 0.1 each; a negative weight darkens."""
    network = Brightening()
    settings = make(
        layers=(f"mean:{weight}",),
        octaves=2,
        octave_scale=0.5,
        octave_steps=1,
        octave_carry=carry,
        learning_rate=25.5,
        loss="mean",
        jitter=0,
        keep_brightness=False,
    )
    return dream(image, [network], settings=settings), network.seen


@pytest.mark.parametrize("weight", [1, -1])
def test_the_residual_is_carried_to_the_next_octave_and_the_image_is_never_resampled(weight: int) -> None:
    image = 0.3 + 0.4 * torch.rand(1, 3, 12, 16)
    dreamed, seen = brighten(image, "residual", weight=weight)
    assert torch.equal(seen[0], resize(image, (6, 8)))
    torch.testing.assert_close(seen[1], image + 0.1 * weight)
    torch.testing.assert_close(dreamed, image + 0.2 * weight)


def test_octave_carry_image_resizes_the_whole_image() -> None:
    image = 0.1 + 0.5 * torch.rand(1, 3, 12, 16)
    dreamed, _ = brighten(image, "image")
    small = resize(image, (6, 8)) + 0.1
    torch.testing.assert_close(dreamed, resize(small, (12, 16)) + 0.1)


@pytest.mark.parametrize("iterations", [1, 2])
def test_no_steps_return_the_image_exactly(model: DreamModel, image: Tensor, iterations: int) -> None:
    told = []
    settings = make(octaves=3, octave_steps=0, iterations=iterations)
    assert torch.equal(dream(image, [model], settings=settings, on_step=told.append), image)
    assert told == []


def test_an_advanced_octave_larger_than_the_image_is_resized_to_it(model: DreamModel, image: Tensor) -> None:
    sizes = []
    settings = make(octave_mode="advanced", octaves=2, octave_scale=0.6)
    dreamed = dream(
        image, [model], settings=settings, on_step=lambda step: sizes.append(tuple(step.image.shape[-2:]))
    )
    assert sizes == [(24, 34)] * 3 + [(48, 67)] * 3
    assert dreamed.shape == image.shape


def test_octaves_too_small_to_see_are_left_out_with_a_warning(model: DreamModel, image: Tensor) -> None:
    # 5x5, pooled by 2, then 3x3: 10 pixels.
    told = []
    settings = make(octaves=4, octave_scale=0.5, octave_steps=2)
    with pytest.warns(UserWarning, match=r"the layer needs at least 10 pixels a side: 5x7$"):
        dream(image, [model], settings=settings, on_step=told.append)
    assert [(step.octave, step.octaves, step.total) for step in told] == [
        (octave, 3, 6) for octave in (1, 1, 2, 2, 3, 3)
    ]


def test_sizes_that_are_large_enough_stay(model: DreamModel) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smallest = model.smallest_side(["second"])
        sizes = visible_sizes((1000, 1200), OctaveSettings(octaves=2, octave_scale=0.5), smallest)
    assert sizes == [(500, 600), (1000, 1200)]


@pytest.mark.parametrize("size", [(97, 131), (1, 1), (1, 40), (33, 2)])
def test_any_size(model: DreamModel, size: tuple[int, int]) -> None:
    image = torch.rand(1, 3, *size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dreamed = dream(image, [model], settings=make(octaves=2, jitter=32))
    assert dreamed.shape == image.shape
    assert torch.isfinite(dreamed).all()
    # One pixel keeps its color, because the mean is kept.
    assert torch.equal(dreamed, image) == (size == (1, 1))


# The image


def test_original_colors_keep_the_frames_chroma(model: DreamModel) -> None:
    frame = 0.4 + 0.2 * torch.rand(1, 3, 40, 56)
    dreamed = dream(frame, [model], settings=make(original_colors=True, octave_steps=8))
    assert dreamed.min() > 0
    assert dreamed.max() < 1
    torch.testing.assert_close(rgb_to_ycbcr(dreamed)[:, 1:], rgb_to_ycbcr(frame)[:, 1:], atol=2e-3, rtol=0)
    assert (rgb_to_ycbcr(dreamed)[:, 0] - rgb_to_ycbcr(frame)[:, 0]).abs().mean() > 0.005


def test_contrast_reaches_white(model: DreamModel) -> None:
    frame = 0.2 * torch.rand(1, 3, 40, 56)
    dreamed = dream(frame, [model], settings=make(contrast=90))
    assert (dreamed == 1).float().mean().item() == pytest.approx(0.1, abs=0.01)


def test_zoom_happens_between_passes(model: DreamModel, image: Tensor) -> None:
    zoomed = make(zoom=10, octave_steps=0, keep_brightness=False)
    assert torch.equal(dream(image, [model], settings=zoomed), image)
    twice = replace(zoomed, octave=replace(zoomed.octave, iterations=3))
    expected = zoom(zoom(image, 10, "percent"), 10, "percent").clamp(0, 1)
    torch.testing.assert_close(dream(image, [model], settings=twice), expected)


def test_random_init_dreams_on_seeded_noise(model: DreamModel, image: Tensor) -> None:
    settings = make(init="random", octave_steps=0, seed=3, keep_brightness=False)
    started = dream(image, [model], settings=settings)
    torch.testing.assert_close(started, noise((40, 56), torch.Generator().manual_seed(3)))
    colored = dream(image, [model], settings=make(init="random", original_colors=True))
    assert not torch.allclose(colored, image, atol=0.1)


def test_the_input_is_not_modified(model: DreamModel, image: Tensor) -> None:
    before = image.clone()
    dream(image, [model], settings=make(octaves=2, octave_steps=0))
    dream(image, [model], settings=make(octaves=2, optimizer="lbfgs"))
    assert torch.equal(image, before)


def test_other_floats_become_float32(model: DreamModel, image: Tensor) -> None:
    dreamed = dream(image.double(), [model], settings=make())
    assert dreamed.dtype == torch.float32
    torch.testing.assert_close(dreamed, dream(image, [model], settings=make()))


# Progress


def test_every_step_is_reported(model: DreamModel, image: Tensor) -> None:
    told: list[DreamStep] = []
    settings = make(octaves=2, iterations=2, keep_brightness=False)
    dreamed = dream(image, [model], settings=settings, on_step=told.append)
    assert [step.done for step in told] == list(range(1, 13))
    assert {(step.total, step.octaves) for step in told} == {(12, 2)}
    assert [step.octave for step in told] == [1, 1, 1, 2, 2, 2] * 2
    assert [tuple(step.image.shape) for step in told] == ([(1, 3, 24, 34)] * 3 + [(1, 3, 40, 56)] * 3) * 2
    assert all(step.objective.shape == () and math.isfinite(step.objective) for step in told)
    torch.testing.assert_close(told[-1].image, dreamed)
    assert torch.equal(dreamed, dream(image, [model], settings=settings))


def test_the_reported_objective_is_from_before_the_step(model: DreamModel, image: Tensor) -> None:
    told: list[DreamStep] = []
    dream(image, [model], settings=make(jitter=0), on_step=told.append)
    images = [image, *(step.image for step in told[:-1])]
    expected = [excitement(model, before) for before in images]
    assert [step.objective.item() for step in told] == pytest.approx(expected)


# Modes of the caller


def test_a_dream_under_no_grad(model: DreamModel, image: Tensor) -> None:
    expected = dream(image, [model], settings=make(octaves=2))
    with torch.no_grad():
        torch.testing.assert_close(dream(image, [model], settings=make(octaves=2)), expected)
    assert not expected.requires_grad


@pytest.mark.parametrize("optimizer", ["clean", "adam", "lbfgs", "classic"])
@pytest.mark.parametrize("loaded_inside", [False, True])
def test_a_dream_under_inference_mode(image: Tensor, optimizer: str, loaded_inside: bool) -> None:
    """Inference mode of the caller surrounds the dream, and loading too or not; the image may be cloned or not."""
    settings = make(octaves=2, optimizer=optimizer)
    expected = dream(image, [tiny()], settings=settings)
    outside = None if loaded_inside else tiny()
    with torch.inference_mode():
        given = image * 1
        assert given.is_inference()
        with torch.inference_mode(False), torch.enable_grad():
            network = outside or tiny()
            torch.testing.assert_close(dream(given.clone(), [network], settings=settings), expected)
            torch.testing.assert_close(dream(given, [network], settings=settings), expected)


# Mistakes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            torch.full((1, 3, 8, 8), math.nan),
            r"^expected finite image in 0..1, got NaN or infinite values",
        ),
        (torch.zeros(3, 8, 8), r"^expected image \(1,3,H,W\) in floating point, got \(3, 8, 8\) float32$"),
        (torch.zeros(2, 3, 8, 8), r"got \(2, 3, 8, 8\) float32$"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"got .* uint8; convert it to floating point in 0..1$"),
    ],
)
def test_wrong_images_are_refused(model: DreamModel, given: Tensor, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        dream(given, [model], settings=make())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"octave_steps": -1}, r"^expected `octave_steps` from 0 to 10000, got -1$"),
        ({"octave_mode": "manual"}, r"^expected `octave_sizes` for `octave_mode` manual"),
        ({"learning_rate": -1}, r"^expected `learning_rate` from 0.001 to 1000, got -1$"),
        ({"tile_overlap": 0.9}, r"^expected `tile_overlap` from 0 to 0.5, got 0.9$"),
        ({"contrast": 200}, r"^expected `contrast` from 0 to 100, got 200$"),
        ({"zoom": 100}, r"^expected `zoom` below 100 percent, got 100$"),
        ({"zoom": 40, "zoom_mode": "pixel"}, r"^expected `zoom` below 40 pixel for an image of 40x56"),
        ({"dream_weight": math.nan}, r"^expected `dream_weight` from -1000000 to 1000000, got nan$"),
    ],
)
def test_wrong_settings_are_refused(model: DreamModel, image: Tensor, options: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        dream(image, [model], settings=make(**options))


@pytest.mark.parametrize("options", [{"tile_overlap": 0.9}, {"contrast": 200}, {"jitter": -1}])
def test_wrong_settings_are_found_before_any_work(model: DreamModel, image: Tensor, options: dict) -> None:
    told = []
    with pytest.raises(SettingsError):
        dream(image, [model], settings=make(**options), on_step=told.append)
    assert told == []


def test_several_devices_need_tiles(model: DreamModel, image: Tensor) -> None:
    with pytest.raises(SettingsError, match=r"several devices share out the tiles"):
        dream(image, [model, tiny()], settings=make())
    settings = make(tile_size=64, octaves=2)
    image = torch.rand(1, 3, 70, 90)
    torch.testing.assert_close(
        dream(image, [model, tiny()], settings=settings), dream(image, [model], settings=settings)
    )


@pytest.mark.parametrize("optimizer", ["clean", "adam", "classic", "lbfgs"])
def test_a_dream_that_is_not_finite_is_refused(model: DreamModel, image: Tensor, optimizer: str) -> None:
    objective = layer("second", weight=math.nan)
    with pytest.raises(
        SettingsError,
        match=r"^expected a finite dream, got NaN or infinite values; lower `learning_rate`, "
        r"check the input for NaN, or use `precision` float32$",
    ):
        dream(image, [model], settings=make(optimizer=optimizer), objective=objective)


# Memory

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB\nSee the documentation"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


class Scarce(DreamModel):
    """Runs out of memory on every image wider than a limit."""

    def __init__(self, model: DreamModel, error: Exception) -> None:
        super().__init__(model.network, model.spec)
        self.error, self.limit = error, 0
        self.failed: list[weakref.ref[Tensor]] = []

    def activations(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        if self.limit and image.shape[-1] > self.limit:
            self.failed.append(weakref.ref(image))
            raise type(self.error)(*self.error.args)  # a new one: its traceback holds the image
        return super().activations(image, layers)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_after_memory_ran_out_it_continues_with_half_the_tile_and_a_warning(
    model: DreamModel, error: Exception
) -> None:
    images, freed, settings = torch.rand(3, 1, 3, 100, 140), [], make(octaves=1)
    scarce = Scarce(model, error)
    dreamer = ImageDreamer(
        [scarce], settings=settings, free=lambda: freed.append([tensor() for tensor in scarce.failed])
    )
    whole = dreamer(images[0])
    scarce.limit = 70
    with pytest.warns(UserWarning, match="memory ran out: going on with tiles of 64 pixels") as told:
        tiled = [dreamer(image) for image in images[1:]]
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    assert freed == [[None]]  # nothing of the failed attempt is alive when memory is freed
    chosen = make(octaves=1, tile_size=64)
    assert torch.equal(whole, dream(images[0], [model], settings=settings))
    for image, dreamed in zip(images[1:], tiled, strict=True):
        assert torch.equal(dreamed, dream(image, [model], settings=chosen))


def test_memory_that_others_held_is_taken_before_tiles_get_smaller(model: DreamModel) -> None:
    image, settings = torch.rand(1, 3, 100, 140), make(octaves=1)
    scarce = Scarce(model, ERRORS[0])
    scarce.limit = 70

    def free() -> bool:
        scarce.limit = 0
        return True

    dreamer = ImageDreamer([scarce], settings=settings, free=free)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(dreamer(image), dream(image, [model], settings=settings))
    assert len(scarce.failed) == 1
    assert dreamer.settings.tile.tile_size == 0


@pytest.mark.filterwarnings("ignore:memory ran out")
def test_memory_that_runs_out_at_the_smallest_tile_is_an_error(model: DreamModel) -> None:
    scarce, freed = Scarce(model, ERRORS[0]), []
    scarce.limit = 9
    dreamer = ImageDreamer([scarce], settings=make(octaves=1), free=lambda: freed.append(True))
    with pytest.raises(
        OutOfMemoryError,
        match=r"tiles of 64 pixels \(CUDA out of memory\. Tried .* 20\.00 GiB\); take a smaller",
    ) as raised:
        dreamer(torch.rand(1, 3, 100, 300))
    assert "\n" not in str(raised.value)
    assert len(freed) == 3


def test_other_errors_are_raised(model: DreamModel, image: Tensor) -> None:
    scarce = Scarce(model, RuntimeError("shapes differ"))
    scarce.limit = 9
    with pytest.raises(RuntimeError, match="shapes differ"):
        ImageDreamer([scarce], settings=make(), free=pytest.fail)(image)


@pytest.mark.parametrize("kind", ["cuda", "mps"])
@pytest.mark.parametrize("optimizer", ["clean", "classic", "adam", "lbfgs"])
def test_a_dream_on_a_gpu_is_that_of_the_cpu(kind: str, optimizer: str, image: Tensor) -> None:
    """The path of a GPU, on one that pretends; pooling in channels_last would abort on Apple's."""
    settings = DreamSettings(
        octave=OctaveSettings(octaves=2, octave_steps=2), ascent=AscentSettings(optimizer=optimizer, jitter=4)
    )
    expected = dream(image, [tiny()], settings=settings)
    with Pretended(kind) as gpu:
        model = tiny().to(gpu.device)
        model.activations(image.to(gpu.device), ["second"])  # whatever it makes once
        gpu.waits.clear()
        dreamed = dream(image, [model], settings=settings)
        assert dreamed.device == gpu.device
        if kind == "cuda" and optimizer != "lbfgs":
            assert gpu.waits == ["__bool__"]  # whether the dream is finite
    torch.testing.assert_close(dreamed, expected, atol=2e-5, rtol=0)


def test_a_network_that_was_moved_is_told_and_not_dreamed_with_elsewhere(image: Tensor) -> None:
    with Pretended("cuda") as gpu:
        model = tiny().to(gpu.device)
        dreamer = ImageDreamer([model], settings=DreamSettings(octave=OctaveSettings(octave_steps=1)))
        model.to("cpu")  # as ComfyUI evicts it
        with pytest.raises(RuntimeError, match=r"expected the network on cuda:0, .* got cpu; move it back"):
            dreamer(image)
        model.to(gpu.device)
        assert dreamer(image).device == gpu.device


@pytest.mark.parametrize("exact", [False, True])
def test_an_exact_network_dreams_without_tf32(exact: bool, image: Tensor) -> None:
    found = []

    class Watched(DreamModel):
        def activations(self, image: Tensor, layers: Any) -> dict[str, Tensor]:
            found.append(torch.backends.cudnn.allow_tf32)
            return super().activations(image, layers)

    model, before = tiny(Watched), torch.backends.cudnn.allow_tf32
    model.exact = exact
    dream(image, [model], settings=DreamSettings(octave=OctaveSettings(octave_steps=1)))
    assert before
    assert set(found) == {not exact}
    assert torch.backends.cudnn.allow_tf32 == before
