import itertools
from pathlib import Path

import av
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pretended import Pretended
from torch import Tensor, nn

from dream_core.dreaming.dream import dream
from dream_core.dreaming.objectives import Objective, cosine, layer, layer_difference
from dream_core.dreaming.tiling import (
    GRID,
    fade_weights,
    objective_gradient,
    spans,
    tiled_gradient,
    tiles,
    whole_gradient,
)
from dream_core.image import resize
from dream_core.models.dream_model import DreamModel, load_model
from dream_core.models.preprocessing import Preprocessing
from dream_core.models.registry import MODELS, ModelSpec
from dream_core.models.weights import WeightSource
from dream_core.settings import DreamSettings, LossMode, ModelSettings, OctaveSettings, TileSettings
from dream_core.video import SAMPLE_CLIP

LOSSES: tuple[LossMode, ...] = ("l2", "mse", "mean", "bce", "abs_mean")


class PixelWise(nn.Module):
    """A network in which pixels do not depend on each other, so that tiles lose nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 1)
        self.act = nn.Softplus()
        self.second = nn.Conv2d(5, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


class Near(nn.Module):
    """Two strides of 2; every position sees at most 15 pixels each way."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.act = nn.Softplus()
        self.pool = nn.MaxPool2d(2)
        self.second = nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.pool(self.act(self.first(x))))


def model(network: nn.Module, *, seed: int = 0) -> DreamModel:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    spec = ModelSpec(
        name="squeezenet1_1",
        build=type(network),
        preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5)),
        layer="second",
        source=WeightSource("tiny.pth"),
        size=64,
    )
    return DreamModel(network, spec)


def frame(clip: Path) -> Tensor:
    with av.open(str(clip)) as container:
        pixels = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255  # HWC -> BCHW


def still(tile: int, overlap: float = 0.25) -> TileSettings:
    return TileSettings(tile_size=tile, tile_overlap=overlap, tile_roll=False)


SIDES = {
    "side": st.integers(1, 400),
    "tile": st.integers(1, 200),
    "overlap": st.floats(0, 0.5),
}


def test_tiles_by_hand() -> None:
    def bounds(*arguments) -> list[tuple[int, int]]:
        return [(span.start, span.stop) for span in spans(*arguments)]

    assert bounds(100, 100, 0.25) == [(0, 100)]
    assert bounds(320, 128, 0.25) == [(0, 128), (96, 224), (192, 320)]
    assert bounds(321, 128, 0.25) == [(0, 128), (96, 224), (160, 288), (224, 321)]
    assert bounds(10, 4, 0.5) == [(0, 4), (2, 6), (4, 8), (6, 10)]
    assert bounds(3, 1, 0.5) == [(0, 1), (1, 2), (2, 3)]


@settings(max_examples=30, deadline=None)
@given(**SIDES)
def test_tiles_cover_a_side(side: int, tile: int, overlap: float) -> None:
    found = spans(side, tile, overlap)
    assert found[0].start == 0
    assert found[-1].stop == side
    assert all(len(span) <= tile for span in found)
    assert all(len(span) == min(tile, side) for span in found[:-1])
    assert len(found[-1]) > min(tile, side) - GRID
    for before, after in itertools.pairwise(found):
        assert before.start < after.start
        assert before.stop - after.start >= int(tile * overlap)
    if tile * (1 - overlap) >= GRID:
        assert all(span.start % GRID == 0 for span in found)


@settings(max_examples=30, deadline=None)
@given(**SIDES)
def test_weights_add_up_to_one_everywhere(side: int, tile: int, overlap: float) -> None:
    found = spans(side, tile, overlap)
    total = torch.zeros(side)
    for span, weight in zip(found, fade_weights(found), strict=True):
        assert (weight > 0).all()
        total[span.start : span.stop] += weight
    torch.testing.assert_close(total, torch.ones(side))


def test_weights_add_up_in_two_dimensions() -> None:
    total = torch.zeros(1, 1, 97, 131)
    for tile in tiles((97, 131), TileSettings(tile_size=48)):
        tile.crop(total).add_(tile.weight)
    torch.testing.assert_close(total, torch.ones(1, 1, 97, 131))


def test_weights_fall_towards_the_edge_of_a_tile() -> None:
    middle = fade_weights(spans(320, 128, 0.25))[1]
    assert middle[:32].diff().min() > 0
    torch.testing.assert_close(middle[32:96], torch.ones(64))
    torch.testing.assert_close(middle, middle.flip(0))


def several(loss: LossMode = "l2") -> Objective:
    return layer("second", loss=loss) + 0.3 * layer("first", loss="mse", channels=(1, 4)) + -2 * layer("act")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [(50, 70), (97, 131)])
def test_tiles_lose_nothing_where_pixels_do_not_see_each_other(loss: LossMode, size: tuple[int, int]) -> None:
    """Without overlap each position is counted once, except where the last tile is moved onto the grid."""
    network, image = model(PixelWise()), torch.rand(1, 3, *size)
    objective = several(loss)
    value, gradient = whole_gradient(network, objective, image)
    of_tiles, tiled = tiled_gradient([network], objective, image, still(64, 0.0))
    relative = (tiled - gradient).norm() / gradient.norm()
    assert relative < (0.02 if any(side % 32 for side in size) else 1e-5)
    assert of_tiles.item() == pytest.approx(value.item(), rel=0.02)


@pytest.mark.parametrize("objective", [cosine("second", [1, -2, 3]), layer_difference("first", "second")])
def test_directions_and_differences_add_up_over_tiles_too(objective: Objective) -> None:
    network, image = model(PixelWise()), torch.rand(1, 3, 64, 128)
    value, gradient = whole_gradient(network, objective, image)
    of_tiles, tiled = tiled_gradient([network], objective, image, still(64, 0.0))
    torch.testing.assert_close(of_tiles, value)
    torch.testing.assert_close(tiled, gradient)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_a_tile_is_exact_away_from_its_edges(loss: LossMode, overlap: float) -> None:
    """A repeating image has the same sums in every tile; only the surroundings of a tile are missing."""
    network = model(Near())
    image = torch.rand(1, 3, 32, 32).repeat(1, 1, 4, 5)
    objective = layer("second", loss=loss)
    _, gradient = whole_gradient(network, objective, image)
    _, tiled = tiled_gradient([network], objective, image, still(64, overlap))
    # The middle of the first tile is far from its edges and covered by no other tile.
    inside = (..., slice(20, 28), slice(20, 28))
    ratio = (tiled[inside] * gradient[inside]).sum() / gradient[inside].square().sum()
    assert ratio.item() == pytest.approx(1, abs=0.1)
    torch.testing.assert_close(tiled[inside], ratio * gradient[inside], rtol=1e-3, atol=1e-6)
    assert (tiled - gradient).norm() / gradient.norm() < 0.25


def test_tiles_begin_on_the_grid_of_strides() -> None:
    """Tiles off the grid of strides had a gradient with half of the whole one's direction."""
    network, image = model(Near()), torch.rand(1, 3, 101, 121)
    objective = layer("second")
    _, gradient = whole_gradient(network, objective, image)
    _, tiled = tiled_gradient([network], objective, image, still(48))
    assert torch.cosine_similarity(tiled.flatten(), gradient.flatten(), dim=0) > 0.97


def test_tiles_are_close_to_the_whole_on_a_real_image_and_network(test_data: Path) -> None:
    settings = ModelSettings(model_file=test_data / "weights" / "bvlc_googlenet.safetensors")
    network = load_model(settings, device=torch.device("cpu"), dtype=torch.float32)
    image = resize(frame(test_data / "clips" / "mallard.mp4"), (250, 331)).clamp(0, 1)
    for name, least in (("inception_4d_3x3_reduce", 0.9), ("inception_3b_output", 0.97)):
        value, gradient = whole_gradient(network, layer(name), image)
        of_tiles, tiled = tiled_gradient([network], layer(name), image, still(128))
        assert torch.cosine_similarity(tiled.flatten(), gradient.flatten(), dim=0) > least
        assert of_tiles.item() == pytest.approx(value.item(), rel=0.2)


def test_dreams_in_tiles_are_of_the_same_kind_and_strength() -> None:
    """As docs/long-videos.md promises: a correlation of 0.35 at least, and the same strength but for 15 %."""
    network = load_model(
        ModelSettings(model="efficientnet_lite0"), device=torch.device("cpu"), dtype=torch.float32
    )
    image = resize(frame(SAMPLE_CLIP), (90, 160)).clamp(0, 1)

    def residual(tile: int) -> Tensor:
        settings = DreamSettings(
            octave=OctaveSettings(octaves=2, octave_steps=4), tile=TileSettings(tile_size=tile)
        )
        return dream(image, [network], settings=settings) - image

    whole = residual(0)
    assert torch.equal(residual(0), whole)  # the same run, bit for bit
    for tile in (128, 64):
        tiled = residual(tile)
        assert 0.35 < torch.corrcoef(torch.stack([whole.flatten(), tiled.flatten()]))[0, 1] < 0.99
        assert tiled.std().item() == pytest.approx(whole.std().item(), rel=0.15)


def test_one_tile_equals_the_whole_image() -> None:
    network, image = model(Near()), torch.rand(1, 3, 40, 30)
    whole = whole_gradient(network, several_near(), image)
    for tiled in (
        tiled_gradient([network], several_near(), image, still(40)),
        gradient_of(network, image, TileSettings(tile_size=40)),
        gradient_of(network, image, TileSettings()),
    ):
        torch.testing.assert_close(tiled, whole)


def several_near() -> Objective:
    return layer("second") + 0.5 * layer("first", loss="mse")


def gradient_of(network: DreamModel, image: Tensor, tile: TileSettings, *, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return objective_gradient([network], several_near(), image, settings=tile, generator=generator)


@pytest.mark.parametrize("roll", [False, True])
def test_two_devices_give_the_result_of_one(roll: bool) -> None:
    one, other, image = model(Near()), model(Near()), torch.rand(1, 3, 80, 100)
    settings = TileSettings(tile_size=40, tile_roll=roll)
    calls: list[DreamModel] = []
    for network in (one, other):
        network.activations = lambda x, names, network=network: (  # type: ignore[method-assign]
            calls.append(network) or DreamModel.activations(network, x, names)
        )
    found = [
        objective_gradient(
            models,
            several_near() + Objective((), tv_weight=1.0),
            image,
            settings=settings,
            generator=torch.Generator().manual_seed(0),
        )
        for models in ([one], [one, other])
    ]
    torch.testing.assert_close(found[0], found[1])
    assert calls.count(other) > 4


def test_the_roll_is_undone() -> None:
    """If pixels do not depend on each other, rolled tiles give the same gradient at the same place."""
    network, image = model(PixelWise()), torch.rand(1, 3, 96, 64)
    objective = layer("second", loss="mean")
    _, gradient = whole_gradient(network, objective, image)
    for seed in range(3):
        _, rolled = objective_gradient(
            [network],
            objective,
            image,
            settings=TileSettings(tile_size=32, tile_overlap=0),
            generator=torch.Generator().manual_seed(seed),
        )
        torch.testing.assert_close(rolled, gradient)


def test_the_roll_moves_the_grid_of_tiles() -> None:
    network, image = model(Near()), torch.rand(1, 3, 80, 100)
    first, again, other = (
        gradient_of(network, image, TileSettings(tile_size=40), seed=seed)[1] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def border_excess(gradient: Tensor, at: list[int]) -> float:
    """Change of the gradient across these columns, divided by that across all columns."""
    change = gradient.diff(dim=-1).abs().mean(dim=(0, 1, 2))
    return (change[at].mean() / change.mean()).item()


def test_no_seam_builds_up_over_many_steps() -> None:
    """Tiles without overlap leave marks at their fixed borders; rolled ones leave none."""
    network, objective = model(Near()), layer("second", loss="mean")
    image = torch.rand(1, 3, 64, 128)
    at = [31, 63, 95]  # between tiles of 32 pixels
    generator = torch.Generator().manual_seed(0)

    def mean_gradient(tile: TileSettings, steps: int) -> Tensor:
        gradients = [
            objective_gradient([network], objective, image, settings=tile, generator=generator)[1]
            for _ in range(steps)
        ]
        return torch.stack(gradients).mean(0)

    hard = border_excess(mean_gradient(still(32, 0.0), 1), at)
    soft = border_excess(mean_gradient(TileSettings(tile_size=32), 60), at)
    assert abs(hard - 1) > 0.2
    assert soft == pytest.approx(1, abs=0.1)


def test_image_terms_are_computed_on_the_whole_image() -> None:
    network, image = model(PixelWise()), torch.rand(1, 3, 96, 64)
    objective = layer("second", loss="mean") + Objective((), tv_weight=0.5, l2_weight=2.0)
    found = [
        objective_gradient(
            [network], objective, image, settings=settings, generator=torch.Generator().manual_seed(0)
        )
        for settings in (TileSettings(), TileSettings(tile_size=32, tile_overlap=0))
    ]
    torch.testing.assert_close(found[0], found[1])
    leaf = image.clone().requires_grad_()
    value = objective(network.activations(leaf, objective.layers)) + objective.penalty_value(leaf)
    value.backward()
    torch.testing.assert_close(found[0], (value.detach(), leaf.grad))


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (97, 131), (3, 2)])
@pytest.mark.parametrize("tile", [0, 1, 16, 40])
def test_any_size_has_a_finite_gradient(size: tuple[int, int], tile: int) -> None:
    if tile == 1 and size == (97, 131):
        tile = 7
    image = torch.rand(1, 3, *size)
    value, gradient = gradient_of(model(Near()), image, TileSettings(tile_size=tile))
    assert gradient.shape == image.shape
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(value)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("tile", [0, 32])
def test_gradients_are_computed_under_no_grad_too(tile: int) -> None:
    network, image = model(Near()), torch.rand(1, 3, 48, 48)
    expected = gradient_of(network, image, TileSettings(tile_size=tile))
    with torch.no_grad():
        torch.testing.assert_close(gradient_of(network, image, TileSettings(tile_size=tile)), expected)
    assert not expected[0].requires_grad
    assert not expected[1].requires_grad


@pytest.mark.parametrize("tile", [0, 64])
@pytest.mark.parametrize("loss", ["l2", "mean"])
def test_gradients_in_float16_neither_overflow_nor_vanish(tile: int, loss: LossMode) -> None:
    """Caffe's activations have squares beyond float16, and a mean over many of them has slopes below it."""
    spec = MODELS["bvlc_googlenet"]
    network = spec.build()
    with torch.no_grad():
        network.conv1_7x7_s2.weight.mul_(20)  # activations of thousands, as with Caffe's weights
    image, settings = torch.rand(1, 3, 96, 96), TileSettings(tile_size=tile, tile_roll=False)
    # As small as over the values of a large image.
    objective = layer("inception_3a_output", loss=loss, weight=1e-6 if loss == "mean" else 1)
    gradients = [
        objective_gradient(
            [DreamModel(network, spec, dtype=dtype)],
            objective,
            image,
            settings=settings,
            generator=torch.Generator(),
        )[1].flatten()
        for dtype in (torch.float32, torch.float16)
    ]
    assert torch.isfinite(gradients[1]).all()
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98
    assert gradients[1].norm() / gradients[0].norm() == pytest.approx(1, abs=0.05)


def test_tiles_on_a_gpu_copy_nothing_and_wait_for_nothing() -> None:
    image, objective = torch.rand(1, 3, 40, 44), layer("second")
    expected = tiled_gradient([model(Near())], objective, image, still(32))[1]
    with Pretended("cuda") as gpu:
        network, there = model(Near()).to(gpu.device), image.to(gpu.device)
        tiled_gradient([network], objective, there, still(32))
        gpu.copies.clear()
        value, gradient = tiled_gradient([network], objective, there, still(32))
        assert (gpu.copies, gpu.waits) == ([], [])
        assert value.device == gradient.device == gpu.device
    torch.testing.assert_close(gradient, expected)
