import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from dream_core.device import backends
from dream_core.models import packed
from dream_core.models.dream_model import DreamModel
from dream_core.models.efficientnet_lite import Convolution
from dream_core.models.packed import HAS_BFLOAT16, HAS_PACKING, PackedConvolution, pack
from dream_core.models.registry import MODELS
from dream_core.models.truncate import layer_nodes, truncate
from dream_core.settings import DeviceSettings

DTYPES = (torch.float32, *([torch.bfloat16] if HAS_BFLOAT16 else []))
NETWORKS = (
    "efficientnet_lite0",
    "bvlc_googlenet",
    "googlenet",
    "inception_v3",
    "vgg16",
    "resnet50",
    "squeezenet1_1",
)
SIDES = {"inception_v3": 96}

needs_packing = pytest.mark.skipif(not HAS_PACKING, reason="this PyTorch has no oneDNN")


def frozen(network: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    return network.eval().requires_grad_(False).to(dtype, memory_format=torch.channels_last)


def with_gradient(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """An activation, and the gradient of its weighted sum."""
    leaf = x.detach().clone(memory_format=torch.channels_last).requires_grad_()
    result = network(leaf)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((result.float() * weights).sum(), leaf)
    return result.detach(), gradient


def assert_same(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


CONVOLUTIONS = [
    {"kernel_size": 1},
    {"kernel_size": 3, "padding": 1, "bias": False},
    {"kernel_size": (1, 7), "padding": (0, 3)},
    {"kernel_size": 5},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 5, "padding": 2, "groups": 16},
    {"kernel_size": 3, "padding": 1, "stride": 2},
    {"kernel_size": 1, "padding": 1},
]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_a_convolution_and_its_gradient_are_what_they_were(
    options: dict[str, int], dtype: torch.dtype, relu: bool
) -> None:
    torch.manual_seed(0)
    convolution = frozen(nn.Conv2d(16, 32, **options), dtype)
    plain = nn.Sequential(convolution, nn.ReLU() if relu else nn.Identity())
    fast = PackedConvolution(convolution, activation="relu" if relu else "none")
    # The smaller one again: weights packed for another size must not be taken.
    for height, width in ((7, 9), (40, 64), (7, 9)):
        x = torch.randn(2, 16, height, width).to(dtype)
        for found, expected in zip(with_gradient(fast, x), with_gradient(plain, x), strict=True):
            assert_same(found, expected, 1e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2)])
def test_efficientnets_convolutions_are_what_they_were(
    kernel: int, stride: int, depthwise: bool, linear: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    plain = frozen(Convolution(16, 16, kernel, stride=stride, depthwise=depthwise, linear=linear), dtype)
    fast = PackedConvolution(plain, activation="none" if linear else "relu6")
    for height, width in ((8, 10), (9, 10), (9, 7)):  # uneven padding on two sides, one, none
        x = (10 * torch.randn(2, 16, height, width)).to(dtype)
        for found, expected in zip(with_gradient(fast, x), with_gradient(plain, x), strict=True):
            assert_same(found, expected, 1e-6 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0",
        "bvlc_googlenet",
        "googlenet",
        "inception_v3",
        "vgg16",
        "resnet50",
        "squeezenet1_1",
    ],
)
def test_networks_compute_what_they_did(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    spec = MODELS[name]
    network = spec.build()
    if name.startswith("vgg"):
        network.classifier = nn.Identity()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    frozen(network)
    nodes = layer_nodes(network)
    layer = nodes[spec.aliases.get(spec.layer, spec.layer)]
    side = SIDES.get(name, 64)
    x = torch.rand(1, 3, side, side).to(dtype)
    # Alone, where ReLUs are taken in, and with every layer above, where nothing can be.
    for wanted in ([layer], list(dict.fromkeys(nodes.values()))[: list(nodes.values()).index(layer) + 1]):
        plain = copy.deepcopy(truncate(network, wanted)).to(dtype)
        fast = copy.deepcopy(plain)
        pack(fast)
        activations, expected = fast(x), plain(x)
        assert list(activations) == list(expected)
        for node, activation in activations.items():
            if isinstance(activation, Tensor):
                assert_same(activation, expected[node], 1e-5 if dtype == torch.float32 else 3e-2)
        found, gradient = (
            with_gradient(nn.Sequential(one, Pick(layer)), x)[1].float() for one in (fast, plain)
        )
        # Not value by value: a ReLU of a number that rounds to either side of zero opens or closes.
        assert F.cosine_similarity(found.flatten(), gradient.flatten(), 0) > 0.999


class Pick(nn.Module):
    def __init__(self, node: str) -> None:
        super().__init__()
        self.node = node

    def forward(self, found: dict[str, Tensor]) -> Tensor:
        return found[self.node]


class Branches(nn.Module):
    """1x1 convolutions of one input: three with a ReLU of their own, one without, one whose sum another reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1, bias=False), nn.Conv2d(3, 6, 1)
        self.linear, self.shared = nn.Conv2d(3, 7, 1), nn.Conv2d(3, 8, 1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        a, b, c = self.relu(self.a(x)), F.relu(self.b(x)), torch.relu(self.c(x))
        shared = self.shared(x)
        return torch.cat([c, self.linear(x), a, self.relu(shared), shared, b], 1)


def packed_of(module: fx.GraphModule) -> list[PackedConvolution]:
    return [one for one in module.modules() if isinstance(one, PackedConvolution)]


def test_1x1_convolutions_of_one_input_become_one() -> None:
    torch.manual_seed(0)
    network = frozen(Branches())
    x = torch.randn(1, 3, 6, 5)
    fast = truncate(network, ["cat"])
    pack(fast)
    assert [(one.activation, one.convolution.out_channels) for one in packed_of(fast)] == [
        ("relu", 15),
        ("none", 15),
    ]
    for found, expected in zip(
        with_gradient(nn.Sequential(fast, Pick("cat")), x), with_gradient(network, x), strict=True
    ):
        assert_same(found, expected, 1e-6)
    # A layer that is asked for keeps its own sum.
    named = truncate(network, ["a", "relu"])
    pack(named)
    torch.testing.assert_close(named(x)["a"], network.a(x))
    torch.testing.assert_close(named(x)["relu"], network.a(x).relu())


@needs_packing
def test_models_on_the_cpu_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = DreamModel(MODELS["squeezenet1_1"].build(), MODELS["squeezenet1_1"])
    image, layers = torch.rand(1, 3, 64, 64), ["features.3"]
    model.smallest_side(layers)  # by plain convolutions of shapes alone
    monkeypatch.setattr(F, "conv2d", None)
    assert model.activations(image, layers)["features.3"].shape[1] == 128
    with backends(DeviceSettings(mkldnn=False)), pytest.raises(TypeError, match="NoneType"):
        model.activations(image, layers)


@pytest.mark.parametrize("lacking", ["HAS_PACKING", "mkldnn", "float64"])
def test_without_onednn_convolutions_are_plain(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dtype = torch.float64 if lacking == "float64" else torch.float32
    convolution = frozen(nn.Conv2d(3, 4, 3), dtype)
    x = torch.randn(1, 3, 8, 8, dtype=dtype)
    if lacking == "HAS_PACKING":
        monkeypatch.setattr(packed, "HAS_PACKING", False)
    monkeypatch.setattr(packed._Packed, "__call__", None)
    with backends(DeviceSettings(mkldnn=lacking != "mkldnn")):
        fast = PackedConvolution(convolution, activation="relu")(x)
        assert torch.equal(fast, convolution(x).relu())


@needs_packing
def test_packed_weights_are_kept_once_and_left_out_of_copies() -> None:
    fast = PackedConvolution(frozen(nn.Conv2d(3, 4, 3, padding=1)), activation="none")
    images = [torch.randn(1, 3, 8, width) for width in (8, 9, 10)]
    results = [fast(x) for x in images]
    assert len(fast._forward._by_shape) == 3
    assert len(fast._forward._by_order) == 1
    copied = copy.deepcopy(fast)
    assert not copied._forward._by_shape
    assert torch.equal(copied(images[0]), results[0])
