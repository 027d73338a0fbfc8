import copy

import pytest
import torch
from torch import Tensor, nn

from dream_core.errors import SettingsError
from dream_core.models.dream_model import DreamModel
from dream_core.models.hooked import HookedExtractor, count_values, look_at
from dream_core.models.preprocessing import IMAGENET
from dream_core.models.registry import ModelSpec
from dream_core.models.weights import WeightSource

SIZE = 32


class Tokens(nn.Module):
    """As a vision transformer of a fixed size: 4x4 patches, a token of the class, then blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 8, 8)
        self.cls = nn.Parameter(torch.randn(1, 1, 6))
        self.places = nn.Parameter(torch.randn(1, 17, 6))
        self.blocks = nn.Sequential(*(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6)) for _ in range(3)))
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


class Last(nn.Module):
    """Channels that come last, as in Swin, for sides that are multiples of 4."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 5, 4, 4)
        self.mix = nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 4 or x.shape[-2] % 4:
            raise AssertionError("sides should be multiples of 4")
        return self.mix(self.embed(x).permute(0, 2, 3, 1)).mean((1, 2))


class Normed(nn.Module):
    """BatchNorm after convolutions; one convolution is read twice, and an activation is changed in place."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.two, self.twice = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)
        for norm in (self.norm, self.twice):
            nn.init.uniform_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
            nn.init.uniform_(norm.weight, 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.one(x)))
        y = self.two(x)
        x = self.twice(y) + y
        x += 1
        return self.pool(self.act(x)).mean((2, 3))


def made(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return network.eval().requires_grad_(False)


def extractor(network: nn.Module, *names: str, **options: str) -> HookedExtractor:
    return HookedExtractor(network, look_at(copy.deepcopy(network).to("meta"), SIZE), names, **options)


def test_tokens_become_maps_and_a_fixed_size_sees_crops() -> None:
    network = made(Tokens())
    look = look_at(copy.deepcopy(network).to("meta"), SIZE)
    assert (look.multiple, look.layer) == (0, "blocks.1")
    assert {name: (one.kind, one.channels, one.prefix) for name, one in look.forms.items()} == {
        "embed": ("map", 6, 0),
        **{name: ("tokens", 6, 1) for name in look.forms if name.startswith("blocks")},
        "head": ("vector", 5, 0),
    }
    image = torch.rand(1, 3, SIZE, SIZE)
    found = extractor(network, "blocks.0.1", "head")(image)
    inner = network.embed(image).flatten(2).transpose(1, 2)
    inner = network.blocks[0](torch.cat([network.cls, inner], 1) + network.places)[0, 1:]
    torch.testing.assert_close(found["blocks.0.1"][0], inner.T.reshape(6, 4, 4))
    torch.testing.assert_close(found["head"], network(image))

    wide = torch.cat([image, image.flip(-1)], -1)
    maps = extractor(network, "blocks.0.1")(wide)["blocks.0.1"]
    assert maps.shape == (1, 6, 4, 8)
    torch.testing.assert_close(maps[..., :4], found["blocks.0.1"])
    alone = extractor(network, "blocks.0.1")(image.flip(-1))["blocks.0.1"]
    torch.testing.assert_close(maps[..., 4:], alone)


def test_channels_that_come_last_are_moved_and_sides_padded() -> None:
    network = made(Last())
    look = look_at(copy.deepcopy(network).to("meta"), SIZE)
    assert (look.multiple, look.forms["mix"].kind, look.forms["mix"].channels) == (4, "last", 7)
    image = torch.rand(2, 3, 21, 30)
    assert extractor(network, "mix")(image)["mix"].shape == (2, 7, 6, 8)


@pytest.mark.parametrize("wanted", [("norm", "act"), ("one", "twice"), ("two", "pool")])
def test_batchnorm_is_folded_and_nothing_is_changed_in_place(wanted: tuple[str, ...]) -> None:
    network, image = made(Normed()), torch.rand(1, 3, SIZE, SIZE)
    seen: dict[str, Tensor] = {}
    plain = copy.deepcopy(network)
    for name in wanted:
        network.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: out.clone()})
        )
    network(image)
    found = extractor(plain, *wanted)(image)
    for name in wanted:
        torch.testing.assert_close(found[name], seen[name])
    folded = extractor(plain, *wanted).network
    assert isinstance(folded.norm, nn.BatchNorm2d) == ("one" in wanted)
    assert isinstance(folded.twice, nn.BatchNorm2d)  # its convolution is read elsewhere too


def test_pooling_can_be_an_average() -> None:
    network, image = made(Normed()), torch.rand(1, 3, SIZE, SIZE)
    found = extractor(network, "act", "pool", pooling="avg")(image)
    torch.testing.assert_close(found["pool"], nn.functional.avg_pool2d(found["act"], 2))


def test_values_are_counted_without_computing() -> None:
    network = extractor(made(Normed()), "norm").to("meta")
    image = torch.empty(1, 3, 8, 8, device="meta")
    assert count_values(network, image) == 3 * 64 + 4 * 64


def test_a_dream_model_dreams_through_hooks() -> None:
    network = made(Tokens())
    look = look_at(copy.deepcopy(network).to("meta"), SIZE)
    spec = ModelSpec(
        name="tokens",
        build=Tokens,
        preprocessing=IMAGENET,
        layer=look.layer,
        source=WeightSource("tokens"),
        classifier="head",
        size=SIZE,
        look=look,
    )
    model = DreamModel(network, spec)
    assert list(model.layers()) == list(look.forms)
    assert model.smallest_side(["blocks.0"]) == SIZE
    assert model.is_classifier("head")
    assert model.gradient_memory((20, 20), ["blocks.0"]) > 0
    image = torch.rand(1, 3, 20, 50, requires_grad=True)
    found = model.activations(image, ["blocks.1", "head"])
    assert found["blocks.1"].shape == (1, 6, 4, 8)
    assert found["head"].shape == (1, 5, 1, 1)
    found["blocks.1"].square().mean().backward()
    assert (image.grad.abs().sum((0, 1)) > 0).all()
    with pytest.raises(SettingsError, match=r"^tokens has no layer 'blocks.9'; close: blocks"):
        model.activations(image, ["blocks.9"])


def test_a_network_for_something_else_is_refused() -> None:
    with pytest.raises(
        SettingsError, match=r"^expected a network that takes images \(B,3,32,32\), got Linear"
    ):
        look_at(nn.Linear(4, 4, device="meta"), SIZE)
    look = look_at(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE**2, 2)).to("meta"), SIZE)
    with pytest.raises(SettingsError, match=r"^expected a network with a layer of maps, got none"):
        _ = look.layer
