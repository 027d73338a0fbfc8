"""EfficientNet-Lite, against an implementation that is written out and knows nothing of the network's module."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dream_core.models.dream_model import DreamModel, load_model, outline
from dream_core.models.efficientnet_lite import scaled_width
from dream_core.models.registry import MODELS
from dream_core.models.weights import read_state_dict
from dream_core.settings import ModelSettings

# Kernel, stride, input added: the sixteen blocks of Lite0 as the paper's table has them.
BLOCKS = (
    *[(3, 1, False)],
    *[(3, 2, False), (3, 1, True)],
    *[(5, 2, False), (5, 1, True)],
    *[(3, 2, False), (3, 1, True), (3, 1, True)],
    *[(5, 1, False), (5, 1, True), (5, 1, True)],
    *[(5, 2, False), (5, 1, True), (5, 1, True), (5, 1, True)],
    *[(3, 1, False)],
)


@pytest.fixture(scope="module")
def lite0() -> DreamModel:
    settings = ModelSettings(model="efficientnet_lite0")
    return load_model(settings, device=torch.device("cpu"), dtype=torch.float32)


class WrittenOut:
    """The same network by the packages' names of tensors: zeros around the image, convolution, BatchNorm."""

    def __init__(self) -> None:
        path = MODELS["efficientnet_lite0"].source.installed
        assert path is not None
        self.state = read_state_dict(path)
        self.found: dict[str, Tensor] = {}

    def convolve(self, x: Tensor, conv: str, norm: str, stride: int = 1) -> Tensor:
        weight = self.state[f"{conv}.weight"]
        kernel = weight.shape[-1]
        height, width = x.shape[-2:]
        # TensorFlow's SAME: so many zeros that ceil(size / stride) windows fit, the odd one below and right.
        down, right = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in (height, width))
        padded = x.new_zeros(*x.shape[:2], height + down, width + right)
        padded[:, :, down // 2 : down // 2 + height, right // 2 : right // 2 + width] = x
        groups = x.shape[1] // weight.shape[1]
        y = F.conv2d(padded, weight, stride=stride, groups=groups)
        gain, shift, mean, variance = (
            self.state[f"{norm}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (y - mean) / (variance + 1e-3).sqrt() * gain + shift

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        found = self.found
        x = found["stem"] = self.convolve((image * 255 - 127) / 128, "_conv_stem", "_bn0", 2).clamp(0, 6)
        for index, (kernel, stride, added) in enumerate(BLOCKS):
            own, given = f"_blocks.{index}", x
            assert self.state[f"{own}._depthwise_conv.weight"].shape[-1] == kernel
            if index:
                x = self.convolve(x, f"{own}._expand_conv", f"{own}._bn0").clamp(0, 6)
                found[f"block{index}.expand"] = x
            x = self.convolve(x, f"{own}._depthwise_conv", f"{own}._bn1", stride).clamp(0, 6)
            found[f"block{index}.depthwise"] = x
            x = self.convolve(x, f"{own}._project_conv", f"{own}._bn2")
            found[f"block{index}.project"] = x
            x = found[f"block{index}"] = x + given if added else x
        x = found["head"] = self.convolve(x, "_conv_head", "_bn1").clamp(0, 6)
        x = found["pool"] = x.mean((2, 3), keepdim=True)
        logits = x.flatten(1) @ self.state["_fc.weight"].T + self.state["_fc.bias"]
        found["classes"] = logits[:, :, None, None]
        return found


@pytest.mark.parametrize("size", [(96, 128), (75, 101)])
def test_all_layers_agree_with_the_network_written_out(lite0: DreamModel, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    expected = WrittenOut()(image)
    found = lite0.activations(image, list(lite0.layers()))
    assert set(found) == set(expected)
    for layer, activation in found.items():
        torch.testing.assert_close(activation, expected[layer], rtol=1e-3, atol=1e-3, msg=layer)


def test_layers_from_fine_to_coarse(lite0: DreamModel) -> None:
    layers = lite0.layers()
    coarse = [name for name in layers if "." not in name]
    assert coarse == ["stem", *(f"block{i}" for i in range(16)), "head", "pool", "classes"]
    assert (layers["block9"], layers["block9.expand"], layers["classes"]) == (112, 672, 1000)
    assert lite0.default_layer in coarse


@pytest.mark.parametrize("layer", ["stem", "block0", "block4", "block9_expand", "block15", "head", "classes"])
def test_the_gradient_of_a_layer_reaches_every_part_of_the_image(lite0: DreamModel, layer: str) -> None:
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    lite0.activations(image, [layer])[layer].square().mean().backward()
    assert image.grad is not None
    patches = F.avg_pool2d(image.grad.abs().sum(1, keepdim=True), 16)
    assert (patches > 0).all()


@pytest.mark.parametrize(
    ("name", "blocks", "widths"),
    [
        ("efficientnet_lite1", [1, 3, 3, 4, 4, 5, 1], [16, 24, 40, 80, 112, 192, 320]),
        ("efficientnet_lite2", [1, 3, 3, 4, 4, 5, 1], [16, 24, 48, 88, 120, 208, 352]),
    ],
)
def test_the_larger_networks_have_the_published_blocks(
    name: str, blocks: list[int], widths: list[int]
) -> None:
    layers = outline(name).layers()
    found = [layers[layer] for layer in layers if layer.startswith("block") and "." not in layer]
    assert found == [width for width, count in zip(widths, blocks, strict=True) for _ in range(count)]
    assert (layers["stem"], layers["head"]) == (32, 1280)
    assert outline(name).default_layer == f"block{sum(blocks[:5]) - 1}"


def test_scaled_widths_lose_at_most_a_tenth() -> None:
    assert [scaled_width(n, 1.1) for n in (24, 40, 80, 112, 192, 320)] == [24, 48, 88, 120, 208, 352]
    assert scaled_width(16, 0.7) == 16  # 8 would be less than nine tenths of 11.2
