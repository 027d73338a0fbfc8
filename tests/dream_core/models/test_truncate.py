import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dream_core.models.dream_model import _Uninitialized
from dream_core.models.registry import MODELS
from dream_core.models.truncate import layer_nodes, truncate

NETWORKS = ("bvlc_googlenet", "googlenet", "inception_v3", "vgg16", "vgg19", "resnet50", "squeezenet1_1")
SIDES = {"inception_v3": 80}


def random_network(name: str) -> nn.Module:
    """The network in float64 with random weights; dense layers do nothing, for they are huge and uncut."""
    with _Uninitialized():
        network = MODELS[name].build()
    if name.startswith("vgg"):
        network.classifier = nn.Identity()
    network.double().eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.normal_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.uniform_(0.5, 1.5)
    return network


def hooked(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output of every module that is called once, cloned before anything overwrites it."""
    seen: dict[str, list[Tensor]] = {}
    handles = [
        module.register_forward_hook(
            lambda m, i, out, name=name: seen.setdefault(name, []).append(out.clone())
        )
        for name, module in network.named_modules()
        if name
    ]
    network(x)
    for handle in handles:
        handle.remove()
    return {name: outputs[0] for name, outputs in seen.items() if len(outputs) == 1}


@pytest.mark.parametrize("name", NETWORKS)
def test_cut_networks_compute_what_the_whole_one_does(name: str) -> None:
    network = random_network(name)
    x = torch.randn(1, 3, SIDES.get(name, 64), SIDES.get(name, 64), dtype=torch.float64)
    expected = hooked(network, x)
    nodes = layer_nodes(network)
    names = [layer for layer in expected if layer in nodes]
    assert len(names) >= len([m for m in network.modules() if isinstance(m, nn.Conv2d)])
    # All at once, where nothing can be folded, and one by one, where everything can.
    together = truncate(network, {nodes[layer] for layer in names})(x)
    for layer in names:
        torch.testing.assert_close(together[nodes[layer]], expected[layer])
    default = MODELS[name].aliases.get(MODELS[name].layer, MODELS[name].layer)
    for layer in (default, names[len(names) // 2]):
        alone = truncate(network, [nodes[layer]])
        torch.testing.assert_close(alone(x)[nodes[layer]], expected[layer])
    torch.testing.assert_close(hooked(network, x), expected)  # the whole network was left as it was


def test_nothing_deeper_than_the_layer_is_kept() -> None:
    with torch.device("meta"):
        network = MODELS["vgg16"].build()
    parts = [
        name
        for name, module in truncate(network, ["features.5"]).named_modules()
        if not list(module.children())
    ]
    assert parts == [f"features.{i}" for i in range(6)]


def test_batchnorm_is_folded_unless_the_convolution_is_wanted() -> None:
    with torch.device("meta"):
        network = MODELS["googlenet"].build().eval()
    nodes = layer_nodes(network)

    def kept(*layers: str) -> list[str]:
        extractor = truncate(network, [nodes[layer] for layer in layers])
        called = [str(node.target) for node in extractor.graph.nodes if node.op == "call_module"]
        return [name for name in called if isinstance(extractor.get_submodule(name), nn.BatchNorm2d)]

    assert kept("inception3a") == []
    assert kept("conv3.bn") == []
    assert kept("inception3a", "conv2.conv") == ["conv2.bn"]


class Small(nn.Module):
    """Every operation that would spoil an earlier activation, and both forms of pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.relu = nn.ReLU(inplace=True)
        self.bn = nn.BatchNorm2d(2)
        self.pool = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        kept = self.relu(x)
        x = self.bn(kept)
        x += kept
        x = F.relu(x, inplace=True)
        x = self.pool(x)
        return F.max_pool2d(x, 2, stride=1, ceil_mode=False)


def test_names_are_in_order_and_identities_are_none() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Identity(), nn.Sequential(nn.ReLU(), nn.Sigmoid()))
    assert layer_nodes(network) == {"0": "0", "2.0": "2.0", "2": "2.1", "2.1": "2.1"}


def test_nothing_is_overwritten() -> None:
    network = Small().eval()
    nn.init.constant_(network.conv.bias, -0.5)
    x = torch.randn(1, 3, 4, 4)
    found = truncate(network, ["conv", "bn", "relu"])(x)
    conv = network.conv(x)
    assert conv.min() < 0
    torch.testing.assert_close(found["conv"], conv)
    torch.testing.assert_close(found["relu"], conv.relu())
    torch.testing.assert_close(found["bn"], network.bn(conv.relu()))


def test_average_pooling_in_both_forms_keeps_the_geometry() -> None:
    network = Small().eval()
    x = torch.ones(1, 3, 5, 6)
    nodes = ["pool", "max_pool2d"]
    largest, average = truncate(network, nodes)(x), truncate(network, nodes, pooling="avg")(x)
    # A constant image stays constant up to its border: the average excludes the padding.
    for node in nodes:
        torch.testing.assert_close(average[node], largest[node])
    x = torch.randn(1, 3, 5, 6)
    average = truncate(network, ["relu_1", *nodes], pooling="avg")(x)
    pooled = F.avg_pool2d(average["relu_1"], 3, 2, padding=1, ceil_mode=True, count_include_pad=False)
    torch.testing.assert_close(average["pool"], pooled)
    torch.testing.assert_close(average["max_pool2d"], F.avg_pool2d(pooled, 2, stride=1))
    assert isinstance(network.pool, nn.MaxPool2d)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_maximum_is_left_anywhere(name: str) -> None:
    with torch.device("meta"):
        network = MODELS[name].build()
    nodes = layer_nodes(network)
    extractor = truncate(network, [list(nodes.values())[-1]], pooling="avg")
    assert "max_pool2d(" not in extractor.code
    assert not [m for m in extractor.modules() if isinstance(m, nn.MaxPool2d)]
